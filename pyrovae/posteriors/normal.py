"""The diagonal normal posterior."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.normal import Normal as NormalDistribution
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive


class Normal(Posterior):
    r"""Independent normal coordinates, with mean and scale from the encoder.

    .. math:: q(z|x) = \prod_{j=1}^{d} \mathcal{N}\bigl(z_j;\, \mu_j(x), \sigma_j(x)^2\bigr),
       \qquad \sigma_j = 10^{-5} + \log\bigl(1 + (e - 1)\, e^{s_j(x)}\bigr)

    The features are (mu, s), 2d of them. The softplus keeps scales and their gradients finite for features of
    any size, where an exponential would overflow.

    Args:
        event_shape: (d,), the shape of one code.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, equation 9.

    Example:
        >>> Normal(torch.Size([2]))(torch.zeros(5, 4)).mean.shape
        torch.Size([5, 2])
    """

    support = constraints.real_vector
    has_independent_coordinates = True

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = 2 * event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded = features.chunk(2, dim=-1)
        return NormalDistribution(loc, positive(unbounded)).to_event(1)
