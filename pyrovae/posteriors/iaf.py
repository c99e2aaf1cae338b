"""The inverse autoregressive flow posterior."""

from __future__ import annotations

from torch import Size

from pyrovae.distributions.flows import Flow, affine_autoregressive
from pyrovae.posteriors._flow import ONE_PASS_A_COORDINATE, Context, ContextFlow, Flows, Hidden


class IAF(ContextFlow):
    r"""A diagonal normal, each coordinate then shifted and scaled by functions of those before it.

    .. math:: z_0 \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \qquad
       z_{k,j} = m_{k,j}(z_{k-1,1:j-1}, c(x)) + e^{s_{k,j}(z_{k-1,1:j-1}, c(x))}\, z_{k-1,j}

    .. math:: \log q(z_K|x) = \log q(z_0|x) - \sum_{k=1}^{K} \sum_{j=1}^{d} s_{k,j}, \qquad |s| < 3

    The masked networks m and s are the posterior's own parameters; the encoder gives the context c. The order
    of the coordinates is reversed after every transform. Draws take one pass through the networks.

    Args:
        event_shape: (d,), the shape of one code.
        flows: number K of transforms.
        hidden: units of each hidden layer of a masked network; layers with fewer than d get d.
        context: size of the context c.

    Source: Kingma et al., *Improved Variational Inference with Inverse Autoregressive Flow*, 2016,
    equations 10 and 11.

    Example:
        >>> IAF(torch.Size([2]), context=16).features  # 2 d + 16
        20
    """

    only_own_draws = ONE_PASS_A_COORDINATE

    def __init__(
        self, event_shape: Size, *, flows: Flows = 4, hidden: Hidden = (64, 64), context: Context = 32
    ) -> None:
        size = event_shape.numel()
        layers = [affine_autoregressive(size, context, hidden) for _ in range(flows)]
        super().__init__(event_shape, context, Flow(size, layers))
