"""The variational mixture of posteriors as the prior: learned pseudo-inputs, pushed through the guide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pyrovae.distributions.mixture import Mixture
from pyrovae.priors import Prior


class Vamp(Prior):
    r"""A mixture of the guide's own posteriors at learned pseudo-inputs.

    .. math:: p(z) = \frac{1}{K} \sum_{k=1}^{K} q(z|u_k)

    The pseudo-inputs u are data as the encoder sees them. They are trained with the networks, and start as
    training data chosen at random, or around the mean of the training data. The guide's parameters are not
    kept here: the program passes the guide in.

    Args:
        latent_dim: number d of latent coordinates.
        datum_shape: the shape of one datum.
        components: number K of pseudo-inputs.
        start: ``data`` for rows of the training data, ``mean`` for their mean and standard normal noise times
            ``spread``.
        spread: standard deviation of that noise, in the unit of the data.

    Source: Tomczak and Welling, *VAE with a VampPrior*, 2018, equation 9.

    Example:
        >>> prior = Vamp(2, Size([1, 8, 8]), components=5)
        >>> encode = lambda x: pyro.distributions.Normal(x.flatten(1)[:, :2], 1.0).to_event(1)
        >>> prior(encode).sample().shape
        torch.Size([2])
    """

    support = constraints.real_vector
    scores_posterior = True
    logits: Tensor

    def __init__(
        self,
        latent_dim: int,
        datum_shape: Size,
        *,
        components: Annotated[int, Field(ge=1, description="number of pseudo-inputs")] = 500,
        start: Annotated[
            Literal["data", "mean"],
            Field(description="pseudo-inputs start as training data, or as noise around their mean"),
        ] = "data",
        spread: Annotated[
            float,
            Field(ge=0, le=1e6, description="standard deviation of that noise, in the unit of the data"),
        ] = 0.01,
    ) -> None:
        super().__init__(latent_dim)
        self.start = start
        self.spread = spread
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *datum_shape))
        self.register_buffer("logits", torch.zeros(components), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return Mixture(self.logits, encode(self.pseudo_inputs))

    @torch.no_grad()
    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Set the pseudo-inputs from the training data, with noise from torch's global generator."""
        rows = torch.cat(list(batches))
        if self.start == "data":
            count = len(self.pseudo_inputs)
            chosen = torch.cat([torch.randperm(len(rows)) for _ in range(-(-count // len(rows)))])[:count]
            self.pseudo_inputs.copy_(rows[chosen])
        else:
            noise = torch.randn_like(self.pseudo_inputs)
            self.pseudo_inputs.copy_(rows.mean(0) + self.spread * noise)
