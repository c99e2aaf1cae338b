"""Mixtures of distributions of one family, whose components are scored together; knows no prior."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.types import _size


class Mixture(TorchDistribution):
    r"""A weighted sum of densities, with any event shape.

    .. math:: p(z) = \sum_{k=1}^{K} \pi_k\, p_k(z)

    Unlike torch's ``MixtureSameFamily``, its batch shape is expanded without copies of the components, and
    diagonal normal components are scored by matrix products, without n K d differences.

    Args:
        logits: of the weights, (K,), any real numbers.
        components: with batch shape (K,).

    Example:
        >>> components = dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
        >>> Mixture(torch.zeros(3), components).log_prob(torch.zeros(2))  # -log(2 pi), in nats
        tensor(-1.8379)
    """

    arg_constraints = {"logits": constraints.real_vector}

    def __init__(
        self,
        logits: Tensor,
        components: TorchDistribution,
        batch_shape: Size = Size(),
        validate_args: bool | None = None,
    ) -> None:
        self.logits = logits
        self.components = components
        super().__init__(batch_shape, components.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return self.components.support

    @property
    def mean(self) -> Tensor:
        weights = self.logits.softmax(-1).reshape(-1, *(1 for _ in self.event_shape))
        return (weights * self.components.mean).sum(0).expand(self.batch_shape + self.event_shape)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Mixture:
        return Mixture(self.logits, self.components, Size(batch_shape), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return torch.logsumexp(self.logits.log_softmax(-1) + cross_log_prob(self.components, value), dim=-1)

    def sample(self, sample_shape: _size = Size()) -> Tensor:
        with torch.no_grad():
            chosen = dist.Categorical(logits=self.logits).expand(self.batch_shape).sample(sample_shape)
            of_each = self.components.expand(chosen.shape + self.components.batch_shape).sample()
            index = chosen.reshape(*chosen.shape, 1, *(1 for _ in self.event_shape))
            index = index.expand(*chosen.shape, 1, *self.event_shape)
            return of_each.take_along_dim(index, dim=chosen.dim()).squeeze(chosen.dim())


def cross_log_prob(components: TorchDistribution, value: Tensor) -> Tensor:
    """The log-density of every value under every component.

    Args:
        components: with batch shape (K,).
        value: (..., *event_shape).

    Returns:
        (..., K), in nats.
    """
    if isinstance(components, dist.Independent):
        return _of_independent(components.base_dist, components, value)
    return _one_by_one(components, value)


def _one_by_one(components: TorchDistribution, value: Tensor) -> Tensor:
    leading = value.shape[: value.dim() - len(components.event_shape)]
    shape = leading + components.batch_shape
    value = value.unsqueeze(len(leading)).expand(shape + components.event_shape)
    return components.expand(shape).log_prob(value)


@singledispatch
def _of_independent(base: TorchDistribution, components: TorchDistribution, value: Tensor) -> Tensor:
    return _one_by_one(components, value)


@_of_independent.register
def _(base: dist.Normal, components: TorchDistribution, value: Tensor) -> Tensor:
    r"""Diagonal normals, as two matrix products.

    .. math:: -2 \log p_k(z) = \sum_j \frac{z_j^2}{\sigma_{kj}^2} - 2 z_j \frac{\mu_{kj}}{\sigma_{kj}^2}
       + \frac{\mu_{kj}^2}{\sigma_{kj}^2} + \log 2 \pi \sigma_{kj}^2

    In float64, because the first three terms can be many orders larger than their sum.
    """
    size = components.event_shape.numel()
    loc, scale = (part.flatten(1).double() for part in (base.loc, base.scale))
    precision = scale.square().reciprocal()
    z = value.flatten(value.dim() - len(components.event_shape)).double()
    distance = z.square() @ precision.T - 2 * z @ (loc * precision).T + (loc.square() * precision).sum(1)
    log_volume = scale.log().sum(1) + size / 2 * math.log(2 * math.pi)
    return (-distance / 2 - log_volume).to(value.dtype)
