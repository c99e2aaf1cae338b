"""The standard normal prior."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor, ones, zeros
from torch.distributions import constraints

from pyrovae.distributions.normal import Normal as NormalDistribution
from pyrovae.priors import Prior


class Normal(Prior):
    r"""Independent standard normal coordinates.

    .. math:: p(z) = \prod_{j=1}^{d} \frac{1}{\sqrt{2\pi}} e^{-z_j^2 / 2}

    Args:
        latent_dim: number d of latent coordinates.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, section 3.

    Example:
        >>> Normal(2)(encode=None).log_prob(torch.zeros(2))  # -log(2 pi), in nats
        tensor(-1.8379)
    """

    support = constraints.real_vector
    has_independent_coordinates = True
    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.register_buffer("loc", zeros(latent_dim), persistent=False)
        self.register_buffer("scale", ones(latent_dim), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return NormalDistribution(self.loc, self.scale).to_event(1)
