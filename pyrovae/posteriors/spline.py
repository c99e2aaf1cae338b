"""The autoregressive spline flow posterior."""

from __future__ import annotations

from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.transforms import AffineTransform

from pyrovae.distributions.flows import Flow, spline_autoregressive
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._flow import ONE_PASS_A_COORDINATE, Context, Flows, Hidden
from pyrovae.posteriors._scale import positive

BOUND = 4.0  # standard deviations


class Spline(Posterior):
    r"""A standard normal, bent by monotone splines, and then shifted and scaled as the encoder sets.

    .. math:: u_0 \sim \mathcal{N}(0, I), \qquad
       u_{k,j} = g\bigl(u_{k-1,j};\, \theta_{k,j}(u_{k-1,1:j-1}, c(x))\bigr), \qquad
       z = \mu(x) + \sigma(x) \odot u_K

    .. math:: \log q(z|x) = \log \mathcal{N}(u_0; 0, I) - \sum_{j=1}^{d} \log \sigma_j(x)
       - \sum_{k=1}^{K} \sum_{j=1}^{d} \log g'\bigl(u_{k-1,j};\, \theta_{k,j}\bigr)

    The splines g are rational quadratic between -4 and 4 and the identity elsewhere. Hence they stand before
    the shift and the scale: they bend posteriors of any width. The masked networks theta are the posterior's
    own parameters; the encoder gives the context c. The order of the coordinates is reversed after every
    transform. Draws take one pass through the networks.

    Args:
        event_shape: (d,), the shape of one code.
        flows: number K of transforms.
        bins: number of pieces of each spline.
        hidden: units of each hidden layer of a masked network; layers with fewer than d get d.
        context: size of the context c.

    Source: Durkan, Bekasov, Murray and Papamakarios, *Neural Spline Flows*, 2019, sections 3.1 and 3.2.

    Example:
        >>> Spline(torch.Size([2]), context=16).features  # 2 d + 16
        20
    """

    support = constraints.real_vector
    only_own_draws = ONE_PASS_A_COORDINATE

    def __init__(
        self,
        event_shape: Size,
        *,
        flows: Flows = 2,
        bins: Annotated[int, Field(ge=2, le=100, description="number of pieces of each spline")] = 5,
        hidden: Hidden = (64, 64),
        context: Context = 32,
    ) -> None:
        super().__init__(event_shape)
        size = event_shape.numel()
        self.sizes = [size, size, context]
        self.features = sum(self.sizes)
        layers = [spline_autoregressive(size, context, hidden, bins, BOUND) for _ in range(flows)]
        self.flow = Flow(size, layers)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded, context = features.split(self.sizes, dim=-1)
        base = dist.Normal(torch.zeros_like(loc), torch.ones_like(loc)).to_event(1)
        # With a cache: else own draws would come back slightly other than they were, and be inverted anew.
        place = AffineTransform(loc, positive(unbounded), event_dim=1, cache_size=1)
        return dist.TransformedDistribution(base, [*self.flow.condition(context), place])
