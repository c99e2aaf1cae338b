"""The logit-normal posterior, on the unit cube."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.transforms import SigmoidTransform
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.normal import Normal
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive


class LogitNormal(Posterior):
    r"""Independent coordinates in (0, 1) whose logits are normal.

    .. math:: q(z|x) = \prod_{j=1}^{d}
       \frac{\mathcal{N}\bigl(\operatorname{logit} z_j;\, \mu_j(x), \sigma_j(x)^2\bigr)}{z_j (1 - z_j)}

    The features are (mu, s), 2d of them, with the scales sigma from s as the ``normal`` posterior has them.
    A draw never rounds to 0 or 1, and the density at a draw is that of its logit before any rounding.

    Args:
        event_shape: (d,), the shape of one code.

    Source: Aitchison and Shen, *Logistic-normal distributions: Some properties and uses*, 1980, section 1,
    for two parts.

    Example:
        >>> LogitNormal(torch.Size([1]))(torch.zeros(2)).log_prob(torch.tensor([0.5])).exp()  # 4 / sqrt(2 pi)
        tensor(1.5958)
    """

    support = supports.unit_cube
    has_independent_coordinates = True

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = 2 * event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded = features.chunk(2, dim=-1)
        logits = Normal(loc, positive(unbounded))
        # The cache keeps the logit of each draw: rounded near 1, a draw has lost it.
        return dist.TransformedDistribution(logits, SigmoidTransform(cache_size=1)).to_event(1)
