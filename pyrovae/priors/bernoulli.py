"""The Bernoulli prior, on binary codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Tensor

from pyrovae import supports
from pyrovae.priors import Prior


class Bernoulli(Prior):
    r"""Independent binary variables.

    .. math:: p(z) = \prod_{j=1}^{d} \pi^{z_j} (1 - \pi)^{1 - z_j}, \qquad z_j \in \{0, 1\}

    Args:
        latent_dim: number d of latent variables.
        probability: pi, that of the value 1.

    Source: Mnih and Gregor, *Neural Variational Inference and Learning in Belief Networks*, 2014.

    Example:
        >>> Bernoulli(3, probability=0.25)(encode=None).log_prob(torch.tensor([1.0, 0.0, 0.0])).exp()  # 9/64
        tensor(0.1406)
    """

    support = supports.binary_codes
    has_independent_coordinates = True
    logits: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        probability: Annotated[
            float, Field(ge=1e-6, le=0.999999, description="probability of the value 1")
        ] = 0.5,
    ) -> None:
        super().__init__(latent_dim)
        log_odds = math.log(probability) - math.log1p(-probability)
        self.register_buffer("logits", torch.full((latent_dim,), log_odds), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=self.logits).to_event(1)
