"""The categorical distribution on one-hot vectors, with a log-probability that is linear in them."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.types import _size


class OneHotCategorical(dist.OneHotCategorical):
    r"""One-hot vectors that pass a gradient on through their log-probability.

    .. math:: \log p(z) = \sum_{k=1}^{K} z_k \log \pi_k, \qquad \pi = \operatorname{softmax}(l)

    Torch's class looks up the index of the largest entry, and so tells a straight-through sample nothing of
    how likely its neighbours are. On one-hot vectors both are the same number.

    Args:
        probs: (..., K), probabilities; or
        logits: (..., K), finite, of which the softmax gives the probabilities.

    Source: Bengio, Léonard and Courville, *Estimating or Propagating Gradients Through Stochastic Neurons for
    Conditional Computation*, 2013.

    Example:
        >>> z = torch.tensor([1.0, 0.0], requires_grad=True)
        >>> OneHotCategorical(torch.tensor([0.25, 0.75])).log_prob(z).backward()
        >>> z.grad.exp()  # the gradient is log pi
        tensor([0.2500, 0.7500])
    """

    def sample(self, sample_shape: _size = ()) -> Tensor:
        # Torch's class reads the values back to the host, which no captured graph can.
        chosen = self._categorical.sample(Size(sample_shape)).unsqueeze(-1)
        zeros = torch.zeros(
            self._extended_shape(sample_shape), dtype=self.logits.dtype, device=self.logits.device
        )
        return zeros.scatter(-1, chosen, 1.0)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (value * self.logits).sum(-1)
