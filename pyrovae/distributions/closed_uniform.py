"""The uniform distribution on an interval with both of its ends."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor


class ClosedUniform(dist.Uniform):
    r"""Uniform on [a, b], where torch's class leaves b out.

    .. math:: p(z) = \frac{1}{b - a}, \qquad a \le z \le b

    The difference matters to values that were rounded up to b: torch's density of them is 0.

    Args:
        low: the lower end a.
        high: the upper end b.

    Example:
        >>> ClosedUniform(0.0, 4.0).log_prob(torch.tensor([0.0, 4.0])).exp()
        tensor([0.2500, 0.2500])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        inside = (self.low <= value) & (value <= self.high)
        return torch.where(inside, -torch.log(self.high - self.low), -math.inf)
