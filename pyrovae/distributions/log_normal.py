"""The log-normal distribution, from the distribution of a logarithm; knows no likelihood."""

from __future__ import annotations

from typing import Any, Self

import pyro.distributions as dist
from torch import Tensor
from torch.distributions.transforms import ExpTransform
from torch.types import _size


class LogNormal(dist.TransformedDistribution):
    r"""The distribution of :math:`e^y`, for normal y in any unit and precision.

    .. math:: p(x) = \frac{1}{x}\, p_y(\log x), \qquad
       \mathbb{E}[x] = e^{\mathbb{E}[y] + \operatorname{Var}[y] / 2}

    Torch's class wants location and scale of y, where y in another unit has lost digits already.

    Args:
        y: a normal distribution, one for each cell.

    Example:
        >>> LogNormal(pyro.distributions.Normal(torch.tensor(0.0), 2.0)).mean.log()
        tensor(2.)
    """

    def __init__(self, y: Any) -> None:
        super().__init__(y, ExpTransform(), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return (self.base_dist.mean + self.base_dist.variance / 2).exp()

    @property
    def variance(self) -> Tensor:
        mean, variance = self.base_dist.mean, self.base_dist.variance
        return variance.expm1() * (2 * mean + variance).exp()

    def expand(self, batch_shape: _size, _instance: None = None) -> Self:
        return type(self)(self.base_dist.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        log = value.log()
        of_log: Tensor = self.base_dist.log_prob(log)
        return of_log - log.to(of_log.dtype)
