"""Discrete distributions whose draws pass the gradient of a relaxed draw on, scored by their mass."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions.utils import clamp_probs
from torch.types import _size

from pyrovae.distributions.one_hot import OneHotCategorical


class StraightThroughOneHotCategorical(OneHotCategorical):
    r"""One-hot vectors with the gradient of a Gumbel-softmax draw.

    .. math:: z = \text{one-hot}\Bigl(\arg\max_k\, (\log \pi_k + g_k)\Bigr), \qquad
       \frac{\partial z}{\partial l} := \frac{\partial}{\partial l}
       \operatorname{softmax}\Bigl(\frac{\log \pi + g}{\tau}\Bigr), \quad g_k \sim \operatorname{Gumbel}(0, 1)

    The value is exactly one-hot, and its log-probability is that of the category. Pyro's
    ``RelaxedOneHotCategoricalStraightThrough`` scores the relaxed draw by its density, which has no place
    beside a prior that is a mass.

    Args:
        temperature: tau, above 0.
        logits: (..., K), finite, of which the softmax gives the probabilities.

    Source: Jang, Gu and Poole, *Categorical Reparameterization with Gumbel-Softmax*, 2017, section 2.2.

    Example:
        >>> q = StraightThroughOneHotCategorical(1.0, logits=torch.zeros(4))
        >>> q.log_prob(q.rsample()).exp()
        tensor(0.2500)
    """

    has_rsample = True

    def __init__(self, temperature: float, logits: Tensor, validate_args: bool | None = None) -> None:
        self.temperature = temperature
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> StraightThroughOneHotCategorical:
        logits = self.logits.expand(Size(batch_shape) + self.event_shape)
        return StraightThroughOneHotCategorical(self.temperature, logits, self._validate_args)

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        perturbed = self.logits - (-_uniform(self._extended_shape(sample_shape), self.logits).log()).log()
        chosen = perturbed.argmax(-1, keepdim=True)
        hard = torch.zeros_like(perturbed).scatter(-1, chosen, 1.0)
        return _with_gradient_of(hard, (perturbed / self.temperature).softmax(-1))


class StraightThroughBernoulli(dist.Bernoulli):
    r"""Bits with the gradient of a relaxed draw.

    .. math:: z = [\, l + g > 0 \,], \qquad \frac{\partial z}{\partial l} := \frac{\partial}{\partial l}
       \operatorname{sigmoid}\Bigl(\frac{l + g}{\tau}\Bigr), \quad g \sim \operatorname{Logistic}(0, 1)

    The value is exactly 0 or 1, and its log-probability is that of the bit. Pyro's
    ``RelaxedBernoulliStraightThrough`` scores the relaxed draw by its density.

    Args:
        temperature: tau, above 0.
        logits: (...), any real numbers.

    Source: Maddison, Mnih and Teh, *The Concrete Distribution*, 2017, appendix B; Jang, Gu and Poole,
    *Categorical Reparameterization with Gumbel-Softmax*, 2017, section 2.2.

    Example:
        >>> q = StraightThroughBernoulli(1.0, logits=torch.zeros(()))
        >>> q.log_prob(q.rsample()).exp()
        tensor(0.5000)
    """

    has_rsample = True

    def __init__(self, temperature: float, logits: Tensor, validate_args: bool | None = None) -> None:
        self.temperature = temperature
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> StraightThroughBernoulli:
        logits = self.logits.expand(batch_shape)
        return StraightThroughBernoulli(self.temperature, logits, self._validate_args)

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        perturbed = self.logits + _uniform(self._extended_shape(sample_shape), self.logits).logit()
        return _with_gradient_of((perturbed > 0).to(perturbed), (perturbed / self.temperature).sigmoid())


def _uniform(shape: Size, like: Tensor) -> Tensor:
    """Uniform noise on the open interval (0, 1)."""
    return clamp_probs(torch.rand(shape, dtype=like.dtype, device=like.device))


def _with_gradient_of(hard: Tensor, relaxed: Tensor) -> Tensor:
    """The first tensor, to the bit, with the gradient of the second."""
    return hard + (relaxed - relaxed.detach())
