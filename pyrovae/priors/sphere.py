"""The uniform prior on the unit sphere."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import supports
from pyrovae.distributions.spherical_uniform import SphericalUniform
from pyrovae.errors import ConfigError, Problem
from pyrovae.priors import Prior


class Sphere(Prior):
    r"""Uniform on the unit sphere: codes are directions, and none is the centre.

    .. math:: p(z) = \frac{\Gamma(d/2)}{2\, \pi^{d/2}}, \qquad \lVert z \rVert = 1

    The density is that for each unit of the sphere's surface, which has d - 1 dimensions.

    Args:
        latent_dim: number d of latent coordinates, at least 2.

    Raises:
        ConfigError: there is one coordinate only.

    Source: Davidson et al., *Hyperspherical Variational Auto-Encoders*, 2018, section 3.

    Example:
        >>> Sphere(3)(encode=None).log_prob(torch.tensor([0.0, 0.0, 1.0])).exp()  # 1 / (4 pi)
        tensor(0.0796)
    """

    support = supports.sphere
    centre: Tensor

    def __init__(self, latent_dim: int) -> None:
        if latent_dim < 2:
            raise ConfigError(
                [
                    Problem(
                        "latent_dim",
                        f"'sphere' needs at least 2 latent coordinates, and there is {latent_dim}: on a line "
                        "the sphere is two points",
                    )
                ]
            )
        super().__init__(latent_dim)
        self.register_buffer("centre", torch.zeros(latent_dim), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return SphericalUniform(self.latent_dim, dtype=self.centre.dtype, device=self.centre.device)
