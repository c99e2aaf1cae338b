"""The normal posterior with a covariance of low rank beside its diagonal."""

from __future__ import annotations

from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive

START = 0.1  # where the factor is 0, no gradient reaches it: the covariance has its square


class LowRankNormal(Posterior):
    r"""A normal distribution with a few directions of correlation.

    .. math:: q(z|x) = \mathcal{N}\bigl(z;\, \mu(x), S (I + V V^\top) S\bigr), \qquad
       S = \operatorname{diag}(\sigma(x)), \quad V_{jk} = \operatorname{arsinh}(v_{jk}(x) + c_{jk})

    The features are (mu, s, v), d (2 + rank) of them, with the scales sigma from s as the ``normal``
    posterior has them; c is 0.1 where j - k is a multiple of min(d, rank) and 0 elsewhere: features of 0 give
    correlations of about 0.01, and not the saddle at 0. The matrix that is inverted, I + V'V, has eigenvalues
    from 1, whatever the scales, to 60 d rank for features of 1000, and so is safe in float32.

    Args:
        event_shape: (d,), the shape of one code.
        rank: number of columns of V.

    Source: Ong, Nott and Smith, *Gaussian Variational Approximation with a Factor Covariance Structure*,
    2018, section 3.

    Example:
        >>> LowRankNormal(torch.Size([2]), rank=1)(torch.zeros(6)).covariance_matrix
        tensor([[1.0100, 0.0100],
                [0.0100, 1.0100]])
    """

    support = constraints.real_vector
    start: Tensor

    def __init__(
        self,
        event_shape: Size,
        *,
        rank: Annotated[int, Field(ge=1, description="number of directions of correlation")] = 4,
    ) -> None:
        super().__init__(event_shape)
        d = event_shape.numel()
        difference = torch.arange(d).unsqueeze(1) - torch.arange(rank)
        self.register_buffer("start", START * (difference % min(d, rank) == 0), persistent=False)
        self.sizes = [d, d, d * rank]
        self.features = sum(self.sizes)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded, entries = features.split(self.sizes, dim=-1)
        scale = positive(unbounded)
        factor = (entries.unflatten(-1, self.start.shape) + self.start).asinh()
        return dist.LowRankMultivariateNormal(loc, scale.unsqueeze(-1) * factor, scale.square())
