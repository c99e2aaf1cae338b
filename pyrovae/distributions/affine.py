"""A distribution in another unit and from another origin, with the mean that torch leaves out."""

from __future__ import annotations

from typing import Any, Self

import pyro.distributions as dist
from torch import Tensor
from torch.distributions.transforms import AffineTransform
from torch.types import _size


class _Rounded(AffineTransform):
    """The transformation y -> m + s y, whose inverse is rounded to the precision of s when x - m is known."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc, scale)
        self.precision = scale.dtype

    def _inverse(self, y: Tensor) -> Tensor:
        x: Tensor = super()._inverse(y)
        return x.to(self.precision)


class Affine(dist.TransformedDistribution):
    r"""The distribution of m + s y, for y from another one.

    .. math:: p(x) = \frac{1}{s}\, p_y\Bigl(\frac{x - m}{s}\Bigr)

    The density is that of y at (x - m) / s, where neither a large m / s nor an s whose square is no float32
    loses digits, as both do in a location and a scale. Where m is in float64, so are x, draws and means; y
    and log-probabilities are as precise as s.

    Args:
        y: a univariate distribution, one for each cell.
        loc: m.
        scale: s, positive.

    Example:
        >>> x = Affine(pyro.distributions.Normal(0.5, 1.0), torch.tensor(1e3), torch.tensor(2.0))
        >>> x.mean, x.variance
        (tensor(1001.), tensor(4.))
    """

    def __init__(self, y: Any, loc: Tensor, scale: Tensor) -> None:
        self.loc = loc
        self.scale = scale
        super().__init__(y, _Rounded(loc, scale), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * self.base_dist.variance

    def expand(self, batch_shape: _size, _instance: None = None) -> Self:
        return type(self)(self.base_dist.expand(batch_shape), self.loc, self.scale)
