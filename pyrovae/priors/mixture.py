"""A mixture of Gaussians as the prior, learned with the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.distributions.mixture import Mixture as MixtureDistribution
from pyrovae.distributions.normal import Normal
from pyrovae.priors import Prior

SMALLEST_SCALE = 1e-3
UNIT_SCALE = math.log(math.e - 1.0)  # softplus(UNIT_SCALE) = 1


class Mixture(Prior):
    r"""A learned mixture of normal distributions with diagonal covariance.

    .. math:: p(z) = \sum_{k=1}^{K} \pi_k \prod_{j=1}^{d} \mathcal{N}(z_j;\, \mu_{kj}, \sigma_{kj}^2)

    Weights, means and scales are trained with the networks. The means start at draws from the standard
    normal, the scales at 1, and stay above 0.001: a component that collapsed on one code would have a density
    without bound.

    Args:
        latent_dim: number d of latent coordinates.
        components: number K of normal distributions.

    Source: Dilokthanakul et al., *Deep Unsupervised Clustering with Gaussian Mixture Variational
    Autoencoders*, 2016; Tomczak and Welling, *VAE with a VampPrior*, 2018, the baseline of section 4.

    Example:
        >>> Mixture(2, components=5)(encode=None).sample().shape
        torch.Size([2])
    """

    support = constraints.real_vector

    def __init__(
        self,
        latent_dim: int,
        *,
        components: Annotated[int, Field(ge=2, description="number of normal distributions")] = 10,
    ) -> None:
        super().__init__(latent_dim)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent_dim))
        self.unbounded_scale = nn.Parameter(torch.full((components, latent_dim), UNIT_SCALE))

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        scale = SMALLEST_SCALE + softplus(self.unbounded_scale)
        return MixtureDistribution(self.logits, Normal(self.loc, scale).to_event(1))
