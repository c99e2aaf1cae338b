"""The uniform prior on the unit cube."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import supports
from pyrovae.distributions.closed_uniform import ClosedUniform
from pyrovae.priors import Prior


class Uniform(Prior):
    r"""Uniform on the unit cube: every coordinate is a position between two ends.

    .. math:: p(z) = 1, \qquad z \in [0, 1]^d

    Args:
        latent_dim: number d of latent coordinates.

    Source: Papamakarios et al., *Normalizing Flows for Probabilistic Modeling and Inference*, 2021, section
    2.2: every density is the image of this one under some map.

    Example:
        >>> Uniform(2)(encode=None).log_prob(torch.tensor([0.0, 1.0]))
        tensor(0.)
    """

    support = supports.unit_cube
    has_independent_coordinates = True
    low: Tensor
    high: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.register_buffer("low", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("high", torch.ones(latent_dim), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return ClosedUniform(self.low, self.high).to_event(1)
