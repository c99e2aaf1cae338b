"""The symmetric Dirichlet prior, for codes that are proportions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Tensor

from pyrovae import supports
from pyrovae.distributions.dirichlet import Dirichlet as DirichletDistribution
from pyrovae.errors import ConfigError, Problem
from pyrovae.priors import Prior


class Dirichlet(Prior):
    r"""Symmetric Dirichlet: codes are proportions, above 0 with sum 1.

    .. math:: p(z) = \frac{\Gamma(d \alpha)}{\Gamma(\alpha)^d} \prod_{j=1}^{d} z_j^{\alpha - 1}, \qquad
       \sum_{j=1}^{d} z_j = 1

    With alpha = 1 all proportions are as likely; with less most of them are near 0, with more all are alike.

    Args:
        latent_dim: number d of proportions, at least 2.
        concentration: alpha.

    Raises:
        ConfigError: there is one proportion only.

    Source: Joo, Lee, Park and Moon, *Dirichlet Variational Autoencoder*, 2019, section 3.

    Example:
        >>> Dirichlet(3)(encode=None).log_prob(torch.tensor([0.5, 0.25, 0.25])).exp()  # Gamma(3)
        tensor(2.)
    """

    support = supports.simplex
    concentration: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        concentration: Annotated[
            float, Field(ge=0.001, le=100, description="below 1 few proportions are large, above 1 all alike")
        ] = 1.0,
    ) -> None:
        if latent_dim < 2:
            raise ConfigError(
                [
                    Problem(
                        "latent_dim",
                        f"'dirichlet' needs at least 2 latent coordinates, and there is {latent_dim}: a "
                        "proportion alone is always 1",
                    )
                ]
            )
        super().__init__(latent_dim)
        alpha = torch.full((latent_dim,), float(concentration))
        self.register_buffer("concentration", alpha, persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return DirichletDistribution(self.concentration)
