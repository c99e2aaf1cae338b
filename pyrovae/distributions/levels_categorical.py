"""The categorical distribution on evenly spaced numbers, which have a mean; knows no likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.supports import Levels

Grid: TypeAlias = Literal["unit", "integers"]


class LevelsCategorical(TorchDistribution):
    r"""One of K evenly spaced values, each with a probability of its own.

    .. math:: P(x_k) = \operatorname{softmax}(l)_k, \qquad
       x_k = \frac{k}{K - 1} \text{ (unit) or } x_k = k \text{ (integers)}, \quad k = 0, \dots, K - 1

    Torch's class gives whole numbers of an integer type, and no mean.

    Args:
        logits: (..., K), any real numbers.
        grid: whether the values lie in [0, 1] or are the integers from 0.

    Example:
        >>> LevelsCategorical(torch.zeros(3), "integers").mean
        tensor(1.)
    """

    arg_constraints = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, grid: Grid = "unit", validate_args: bool | None = None) -> None:
        self._levels = dist.Categorical(logits=logits, validate_args=False)
        self.logits = self._levels.logits
        self.grid = grid
        self.count = logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def support(self) -> Any:
        if self.grid == "unit":
            return Levels(self.count)
        return constraints.integer_interval(0, self.count - 1)

    @property
    def mean(self) -> Tensor:
        levels = torch.arange(self.count, dtype=self.logits.dtype, device=self.logits.device)
        return self._levels.probs @ levels / self._levels_per_unit

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LevelsCategorical:
        logits = self.logits.expand(*batch_shape, self.count)
        return LevelsCategorical(logits, self.grid, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._levels.log_prob((value * self._levels_per_unit).round())

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._levels.sample(Size(sample_shape)).to(self.logits.dtype) / self._levels_per_unit

    @property
    def _levels_per_unit(self) -> int:
        return self.count - 1 if self.grid == "unit" else 1
