"""The multinomial distribution with a total for each row, known or not; knows no likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.nn.functional import pad

NEVER = -1e30
"""The logarithm of a probability that is zero, with which one can still calculate."""


class Multinomial(TorchDistribution):
    r"""Counts of given total, shared out among cells; torch's class wants one total for all rows.

    .. math:: \log P(x \mid n) = \log n! - \sum_i \log x_i! + \sum_i x_i \log \pi_i, \qquad \sum_i x_i = n

    A value is scored given its own total. A draw of an unknown total takes one of ``totals`` at random. Then
    it splits the total between the two halves of the cells, by a binomial draw, and so on down to single
    cells: exact, with as many random operations as the number of cells has binary digits.

    Args:
        total: n, (...), not a number where it is unknown.
        logits: (..., \*event_shape), any real numbers.
        totals: the totals that are possible where it is unknown, all equally likely.

    Example:
        >>> p = Multinomial(torch.tensor([2.0, 7.0]), torch.zeros(2, 3, 5), totals=torch.ones(1))
        >>> p.sample().sum((-1, -2))
        tensor([2., 7.])
    """

    arg_constraints = {"logits": constraints.real}

    def __init__(
        self, total: Tensor, logits: Tensor, totals: Tensor, validate_args: bool | None = None
    ) -> None:
        event_shape = logits.shape[total.dim() :]
        self.total = total
        self.logits = logits.flatten(total.dim()).log_softmax(-1).reshape(logits.shape)
        self.totals = totals
        super().__init__(total.shape, event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.nonnegative_integer, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        expected = torch.where(self.total.isnan(), self.totals.mean(), self.total)
        return expected.reshape(self.batch_shape + (1,) * len(self.event_shape)) * self.logits.exp()

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Multinomial:
        batch_shape = Size(batch_shape)
        return Multinomial(
            self.total.expand(batch_shape),
            self.logits.expand(batch_shape + self.event_shape),
            self.totals,
            self._validate_args,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        cells = tuple(range(-len(self.event_shape), 0))
        log_arrangements = torch.lgamma(value.sum(cells) + 1) - torch.lgamma(value + 1).sum(cells)
        return log_arrangements + (value * self.logits).sum(cells)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            leading = Size(sample_shape) + self.batch_shape
            uniform = torch.rand(leading, dtype=self.totals.dtype, device=self.totals.device)
            drawn = self.totals[(uniform * len(self.totals)).long()]
            total = torch.where(self.total.isnan(), drawn, self.total)
            log_probs = self.logits.flatten(len(self.batch_shape)).expand(*leading, -1)
            return _split(total, log_probs).reshape(leading + self.event_shape)


def _split(total: Tensor, log_probs: Tensor) -> Tensor:
    """Counts of each cell, (..., n), from their total, (...), by binomial draws down a binary tree."""
    n = log_probs.shape[-1]
    digits = (n - 1).bit_length()
    tree = [pad(log_probs, (0, 2**digits - n), value=NEVER)]
    for _ in range(digits):
        tree.append(tree[-1].unflatten(-1, (-1, 2)).logsumexp(-1))
    counts = total.unsqueeze(-1)
    for halves in reversed(tree[:-1]):
        left, right = halves.unflatten(-1, (-1, 2)).unbind(-1)
        of_left = torch.binomial(counts, torch.sigmoid(left - right))
        counts = torch.stack([of_left, counts - of_left], dim=-1).flatten(-2)
    return counts[..., :n]
