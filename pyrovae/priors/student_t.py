"""The Student t prior, with heavy tails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.student_t import StudentT as StudentTDistribution
from pyrovae.priors import Prior


class StudentT(Prior):
    r"""Independent Student t coordinates, whose heavy tails leave room for unusual codes.

    .. math:: p(z) = \prod_{j=1}^{d} \frac{\Gamma\bigl(\frac{\nu + 1}{2}\bigr)}
       {\sqrt{\nu \pi}\, \Gamma\bigl(\frac{\nu}{2}\bigr)} \Bigl(1 + \frac{z_j^2}{\nu}\Bigr)^{-(\nu + 1) / 2}

    The variance of a coordinate is nu / (nu - 2); hence nu is above 2. At most it is 100, where this is the
    normal prior in all but name.

    Args:
        latent_dim: number d of latent coordinates.
        df: degrees of freedom nu; the fewer, the heavier the tails.

    Source: Abiri and Ohlsson, *Variational Auto-Encoders with Student's t-Prior*, 2019, section 2, with
    coordinates that share no scale.

    Example:
        >>> StudentT(1, df=3.0)(encode=None).log_prob(torch.zeros(1)).exp()  # 2 / (sqrt(3) pi)
        tensor(0.3676)
    """

    support = constraints.real_vector
    has_independent_coordinates = True
    df: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        df: Annotated[
            float, Field(gt=2, le=100, description="degrees of freedom; the fewer, the heavier the tails")
        ] = 5.0,
    ) -> None:
        super().__init__(latent_dim)
        self.register_buffer("df", torch.full((latent_dim,), float(df)), persistent=False)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return StudentTDistribution(self.df, self.loc, self.scale).to_event(1)
