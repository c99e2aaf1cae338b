"""Distributions of counts, computed in double precision whatever the data's; knows no likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor


class Counts(TorchDistribution):
    r"""A distribution of counts in float64, for data and log-probabilities of another precision.

    The logarithm of a probability of counts is a small difference of large terms, as in

    .. math:: \log P(k) = k \log \lambda - \lambda - \log \Gamma(k + 1)

    whose terms are near :math:`10^5` for k near :math:`10^4`: float32 leaves an error of a hundredth nat for
    each cell.

    Args:
        double: the distribution, with parameters in float64.
        dtype: of the values that it draws and scores, of the scores and of the mean.

    Example:
        >>> from pyro.distributions import Poisson
        >>> Counts(Poisson(torch.tensor(1e4).double()), torch.float32).log_prob(torch.tensor(1e4))
        tensor(-5.5241)
    """

    arg_constraints = {}

    def __init__(self, double: TorchDistribution, dtype: torch.dtype) -> None:
        self.double = double
        self.dtype = dtype
        super().__init__(double.batch_shape, double.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.double.support

    @property
    def mean(self) -> Tensor:
        return self.double.mean.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        return self.double.variance.to(self.dtype)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Counts:
        return Counts(self.double.expand(batch_shape), self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.double.log_prob(value.double()).to(self.dtype)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.double.sample(Size(sample_shape)).to(self.dtype)


class ZeroInflatedNegativeBinomial(dist.ZeroInflatedNegativeBinomial):
    r"""Zero with probability pi, else negative binomial; with the logit g of pi.

    .. math:: \log P(0) = \log\bigl(\pi + (1 - \pi)\, p(0)\bigr), \qquad
       \log P(k) = \log(1 - \pi) + \log p(k), \quad k > 0, \qquad \pi = \sigma(g)

    Pyro's class scores by the logit until pi has been asked for, as a draw does, and by pi afterwards: where
    that rounds to 1, gradients are no longer numbers. Here pi is not kept, so the logit always counts.

    Args:
        total_count: r of the negative binomial p.
        logits: log mu - log r, where mu is the mean of p.
        gate_logits: g.

    Example:
        >>> zero = torch.zeros(())
        >>> p = ZeroInflatedNegativeBinomial(torch.ones(()), logits=zero, gate_logits=zero)
        >>> p.log_prob(zero).exp()  # 1/2 + 1/2 * 1/2
        tensor(0.7500)
    """

    @property
    def gate(self) -> Tensor:
        return torch.sigmoid(self.gate_logits)
