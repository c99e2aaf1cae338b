"""The Bernoulli distribution, with a log-probability that takes no log1p."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Size, Tensor


class Bernoulli(dist.Bernoulli):
    r"""Two values, 0 and 1, from a logit l.

    .. math:: \log p(x) = x l - \log(1 + e^l)
       = (x - \tfrac{1}{2})\, l - \tfrac{1}{2} |l| + \log \frac{1}{1 + e^{-|l|}}

    The last form needs a sigmoid and a logarithm, and torch's the ``log1p`` of an exponential: on some
    processors five times as dear as a logarithm. A sigmoid near 1 is rounded by 6e-8 in float32, and so is
    its logarithm: the sum over cells is rounded by as much anyway.

    Args:
        logits: l, any real numbers.

    Example:
        >>> Bernoulli(logits=torch.tensor([0.0, 30.0])).log_prob(torch.ones(2))
        tensor([-0.6931,  0.0000])
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Bernoulli:
        return Bernoulli(self.logits.expand(Size(batch_shape)), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of grey values in [0, 1], where they are not refused: minus the binary cross-entropy."""
        if self._validate_args:
            self._validate_sample(value)
        size = self.logits.abs()
        return torch.addcmul(size.sigmoid().log(), value - 0.5, self.logits).sub(size, alpha=0.5)
