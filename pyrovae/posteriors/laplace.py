"""The Laplace posterior."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive


class Laplace(Posterior):
    r"""Independent Laplace coordinates, with location and scale from the encoder.

    .. math:: q(z|x) = \prod_{j=1}^{d} \frac{1}{2 b_j(x)} \exp\Bigl(-\frac{|z_j - \mu_j(x)|}{b_j(x)}\Bigr)

    The features are (mu, s), 2d of them, with the scales b from s as the ``normal`` posterior has them.

    Args:
        event_shape: (d,), the shape of one code.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, section 2.4.

    Example:
        >>> Laplace(torch.Size([1]))(torch.zeros(2)).log_prob(torch.zeros(1)).exp()  # 1 / (2 b), here b = 1
        tensor(0.5000)
    """

    support = constraints.real_vector
    has_independent_coordinates = True

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = 2 * event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded = features.chunk(2, dim=-1)
        return dist.Laplace(loc, positive(unbounded)).to_event(1)
