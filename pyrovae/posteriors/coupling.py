"""The affine coupling flow posterior."""

from __future__ import annotations

from torch import Size

from pyrovae.distributions.flows import Flow, affine_coupling
from pyrovae.errors import ConfigError, Problem
from pyrovae.posteriors._flow import Context, ContextFlow, Flows, Hidden


class Coupling(ContextFlow):
    r"""A diagonal normal, whose halves take turns in being shifted and scaled by functions of the other half.

    .. math:: z_0 \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \qquad
       z_{k,1:h} = z_{k-1,1:h}, \qquad
       z_{k,h+1:d} = m_k(z_{k-1,1:h}, c(x)) + e^{s_k(z_{k-1,1:h}, c(x))} \odot z_{k-1,h+1:d}

    .. math:: \log q(z_K|x) = \log q(z_0|x) - \sum_{k=1}^{K} \sum_{j=h+1}^{d} s_{k,j}, \qquad |s| < 3

    The networks m and s are the posterior's own parameters; the encoder gives the context c. The order of the
    coordinates is reversed after every transform. The inverse is as fast as a draw: any code can be scored.

    Args:
        event_shape: (d,), the shape of one code, with d at least two.
        flows: number K of transforms.
        hidden: units of each hidden layer of a network.
        context: size of the context c.

    Raises:
        ConfigError: a code has only one coordinate.

    Source: Dinh, Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2017, equations 4 to 8.

    Example:
        >>> Coupling(torch.Size([2]), context=16).features  # 2 d + 16
        20
    """

    def __init__(
        self, event_shape: Size, *, flows: Flows = 4, hidden: Hidden = (64, 64), context: Context = 32
    ) -> None:
        size = event_shape.numel()
        if size < 2:
            raise ConfigError(
                [
                    Problem(
                        "posterior.name",
                        "'coupling' moves one half of a code by the other, and so needs a latent_dim of at "
                        "least 2; flows that take 1: iaf, planar, radial, spline, sylvester",
                    )
                ]
            )
        layers = [affine_coupling(size, context, hidden) for _ in range(flows)]
        super().__init__(event_shape, context, Flow(size, layers))
