"""The logistic-normal posterior, on the simplex."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.additive_logistic import AdditiveLogistic
from pyrovae.distributions.normal import Normal
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive


class LogisticNormal(Posterior):
    r"""Parts of a whole whose log-ratios to the last part are normal.

    .. math:: q(z|x) = \prod_{j=1}^{d} \frac{1}{z_j}
       \prod_{j=1}^{d-1} \mathcal{N}\Bigl(\log \frac{z_j}{z_d};\, \mu_j(x), \sigma_j(x)^2\Bigr)

    The features are (mu, s), 2(d - 1) of them, with the scales sigma from s as the ``normal`` posterior has
    them. No part of a draw is 0, and the density at a draw is that of its log-ratios before any rounding.

    Args:
        event_shape: (d,), the shape of one code, d at least 2.

    Source: Aitchison and Shen, *Logistic-normal distributions: Some properties and uses*, 1980, section 1.

    Example:
        >>> q = LogisticNormal(torch.Size([2]))(torch.zeros(2))
        >>> q.log_prob(torch.tensor([0.5, 0.5])).exp()  # 4 / sqrt(2 pi)
        tensor(1.5958)
    """

    support = supports.simplex

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = 2 * (event_shape.numel() - 1)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded = features.chunk(2, dim=-1)
        ratios = Normal(loc, positive(unbounded)).to_event(1)
        # The cache keeps the log-ratios of each draw: where a part is rounded, a draw has lost them.
        return dist.TransformedDistribution(ratios, AdditiveLogistic(cache_size=1))
