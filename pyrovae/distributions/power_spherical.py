"""The power spherical distribution, on the unit sphere."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints, register_kl
from torch.nn.functional import normalize
from torch.types import _size

from pyrovae import supports
from pyrovae.distributions.spherical_uniform import SphericalUniform


class PowerSpherical(dist.TorchDistribution):
    r"""Unit vectors around a direction, reparameterised.

    .. math:: p(z) = \frac{\Gamma(\alpha + \beta)}{2^{\alpha + \beta}\, \pi^\beta\, \Gamma(\alpha)}\,
       (1 + \mu^\top z)^\kappa, \qquad \beta = \frac{d - 1}{2}, \quad \alpha = \beta + \kappa

    The density is with respect to the area of the sphere. A draw is made of the cosine of its angle to mu,
    :math:`2b - 1` with :math:`b \sim \operatorname{Beta}(\alpha, \beta)`, and of a direction across mu.

    Args:
        direction: mu, (..., d), of length 1.
        concentration: kappa, (...), above 0; the density is flat where it is 0.

    Source: De Cao and Aziz, *The Power Spherical distribution*, 2020, section 3.

    Example:
        >>> p = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(1.0))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 0.0])).exp()  # 1 / (4 pi) across mu
        tensor(0.0796)
    """

    arg_constraints = {"direction": supports.sphere, "concentration": constraints.positive}
    support = supports.sphere
    has_rsample = True

    def __init__(self, direction: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        batch_shape = torch.broadcast_shapes(direction.shape[:-1], concentration.shape)
        self.direction = direction.expand(batch_shape + direction.shape[-1:])
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, direction.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> PowerSpherical:
        direction = self.direction.expand(Size(batch_shape) + self.event_shape)
        return PowerSpherical(direction, self.concentration.expand(batch_shape), self._validate_args)

    @property
    def mean(self) -> Tensor:
        along, across = self._beta.unbind(-1)
        return ((along - across) / (along + across)).unsqueeze(-1) * self.direction

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        direction = self.direction.expand(shape)
        # A beta variable and its distance from 1, which may be smaller than a float's.
        gammas = dist.Gamma(self._beta, torch.ones_like(self._beta)).rsample(sample_shape)
        near, far = normalize(gammas, p=1, dim=-1).unsqueeze(-1).unbind(-2)
        with torch.no_grad():
            across = normalize(_across(torch.randn_like(direction), direction), dim=-1)
        # A constant turned along with the direction: gradients of the noise's own projection grow as that
        # gets short, and have an infinite variance where d = 3.
        across = _across(across, direction)
        return normalize((near - far) * direction + 2 * (near * far).sqrt() * across, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # Exact opposite the direction too, where 1 + cos rounds to nothing.
        half_of_one_plus_cosine = (value + self.direction).square().sum(-1) / 4
        smallest = torch.finfo(value.dtype).tiny
        return self.concentration * half_of_one_plus_cosine.clamp(min=smallest).log() - self._log_normaliser

    def entropy(self) -> Tensor:
        alpha, beta = self._beta.double().unbind(-1)
        expected_log = torch.digamma(alpha) - torch.digamma(alpha + beta)
        return self._log_normaliser - self.concentration * expected_log.to(self.concentration.dtype)

    @property
    def _beta(self) -> Tensor:
        """(alpha, beta) of (1 + cos) / 2, (..., 2)."""
        beta = (self.event_shape[0] - 1) / 2
        return torch.stack([self.concentration + beta, torch.full_like(self.concentration, beta)], dim=-1)

    @property
    def _log_normaliser(self) -> Tensor:
        """The logarithm of the integral of ((1 + cos) / 2)^kappa over the sphere.

        In float64, because for a large kappa it is a small difference of large numbers.
        """
        alpha, beta = self._beta.double().unbind(-1)
        log_ratio = torch.lgamma(alpha) - torch.lgamma(alpha + beta)
        return (beta * math.log(4 * math.pi) + log_ratio).to(self.concentration.dtype)


def _across(vectors: Tensor, direction: Tensor) -> Tensor:
    """What is left of vectors without their part along a direction."""
    return vectors - (vectors * direction).sum(-1, keepdim=True) * direction


def _kl_to_uniform(p: PowerSpherical, q: SphericalUniform) -> Tensor:
    return q.entropy() - p.entropy()


register_kl(PowerSpherical, SphericalUniform)(_kl_to_uniform)
