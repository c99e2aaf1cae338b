"""The multinomial likelihood, for counts given their total."""

from __future__ import annotations

from collections.abc import Iterable

import pyro.distributions as dist
import torch
from torch import Size, Tensor

from pyrovae.distributions.counts import Counts
from pyrovae.distributions.multinomial import Multinomial as Shared
from pyrovae.likelihoods._counts import CountLikelihood

STORED_TOTALS = 1000


class Multinomial(CountLikelihood):
    r"""Counts given their total: each of n things falls into cell i with a probability from the decoder.

    .. math:: P(x|z, n) = \frac{n!}{\prod_i x_i!} \prod_i \pi_i(z)^{x_i}, \qquad
       n = \sum_i x_i, \quad \pi = \operatorname{softmax}(l(z))

    All cells of a datum share one softmax. Everything is conditional on the total of each datum:
    ``evaluate`` and ``score`` give log p(x | its total), and say so. A sample has the total of the datum that
    it stands for or, where there is none, that of a training datum: 1,000 of their totals are kept, at
    equally spaced ranks. Before training data are seen, each is one. The encoder sees log(1 + x).

    Args:
        event_shape: the shape of one datum.

    Source: Liang, Krishnan, Hoffman and Jebara, *Variational Autoencoders for Collaborative Filtering*, 2018,
    equation 2.

    Example:
        >>> likelihood, features = Multinomial(torch.Size([2])), torch.zeros(1, 2)
        >>> likelihood(features).log_prob(torch.tensor([1.0, 1.0]))  # log(1/2), in nats
        tensor(-0.6931)
        >>> likelihood.conditioned(features, torch.tensor([3.0, 5.0])).mean
        tensor([4., 4.])
    """

    conditional = "its total"
    totals: Tensor

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.register_buffer("totals", torch.ones(STORED_TOTALS))

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        logits = features.squeeze(-1 - len(self.event_shape))
        return self._given_total(logits.new_tensor(torch.nan), logits)

    def conditioned(self, features: Tensor, x: Tensor) -> dist.TorchDistribution:
        logits = features.squeeze(-1 - len(self.event_shape))
        return self._given_total(x.flatten(x.dim() - len(self.event_shape)).double().sum(-1), logits)

    def _given_total(self, total: Tensor, logits: Tensor) -> dist.TorchDistribution:
        batch_shape = logits.shape[: logits.dim() - len(self.event_shape)]
        shared = Shared(total.double().expand(batch_shape), logits.double(), self.totals.double())
        return Counts(shared, logits.dtype)

    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Keep the totals of the training data at equally spaced ranks."""
        totals = torch.cat([x.flatten(1).double().sum(1) for x in batches]).sort().values
        ranks = (2 * torch.arange(STORED_TOTALS) + 1) * len(totals) // (2 * STORED_TOTALS)
        self.totals.copy_(totals[ranks])
