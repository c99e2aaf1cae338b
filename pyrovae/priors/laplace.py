"""The Laplace prior, for sparse codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import constraints

from pyrovae.priors import Prior


class Laplace(Prior):
    r"""Independent Laplace coordinates, which favour sparse codes: most near 0, a few far away.

    .. math:: p(z) = \prod_{j=1}^{d} \frac{1}{2b} e^{-|z_j| / b}

    The variance of a coordinate is 2 b squared.

    Args:
        latent_dim: number d of latent coordinates.
        scale: mean absolute value b of a coordinate.

    Source: Barello, Charles and Pillow, *Sparse-Coding Variational Auto-Encoders*, 2018.

    Example:
        >>> Laplace(2, scale=0.5)(encode=None).log_prob(torch.tensor([1.0, -1.0]))  # -4, in nats
        tensor(-4.)
    """

    support = constraints.real_vector
    has_independent_coordinates = True
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        scale: Annotated[
            float, Field(ge=0.001, le=1000, description="mean absolute value of a coordinate")
        ] = 1.0,
    ) -> None:
        super().__init__(latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.full((latent_dim,), float(scale)), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return dist.Laplace(self.loc, self.scale).to_event(1)
