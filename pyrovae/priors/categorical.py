"""The uniform prior on one-hot codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.one_hot import OneHotCategorical
from pyrovae.priors import Prior


class Categorical(Prior):
    r"""Independent categorical variables, each written as a one-hot vector; all categories are as likely.

    .. math:: p(z) = \prod_{j=1}^{d} \prod_{k=1}^{K} \Bigl(\frac{1}{K}\Bigr)^{z_{jk}}, \qquad
       z_{jk} \in \{0, 1\},\ \sum_{k=1}^{K} z_{jk} = 1

    Args:
        latent_dim: number d of latent variables.
        categories: number K of categories of each.

    Source: Jang, Gu and Poole, *Categorical Reparameterization with Gumbel-Softmax*, 2017, section 4.

    Example:
        >>> Categorical(2, categories=5)(encode=None).log_prob(torch.eye(5)[[3, 1]]).exp()  # 1 / 5^2
        tensor(0.0400)
    """

    support = supports.one_hot_codes
    has_independent_coordinates = True
    logits: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        categories: Annotated[int, Field(ge=2, description="categories of each latent variable")] = 10,
    ) -> None:
        super().__init__(latent_dim)
        self.register_buffer("logits", torch.zeros(latent_dim, categories), persistent=False)

    @property
    def event_shape(self) -> Size:
        return self.logits.shape

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return OneHotCategorical(logits=self.logits).to_event(1)
