"""The categorical likelihood, for grey values and for columns of categories."""

from __future__ import annotations

from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae import supports
from pyrovae.distributions.levels_categorical import Grid, LevelsCategorical
from pyrovae.likelihoods import Likelihood


class Categorical(Likelihood):
    r"""Independent cells with K values, each with a probability of its own; the decoder gives logits l(z).

    .. math:: P(x|z) = \prod_i \operatorname{softmax}\bigl(l_i(z)\bigr)_{k_i}, \qquad k_i = 0, \dots, K - 1

    ============  ===================================================================
    ``grid``      the value of category k
    ============  ===================================================================
    ``unit``      k / (K - 1): grey values in [0, 1]
    ``integers``  k: columns of categories, of which the encoder sees k / (K - 1)
    ============  ===================================================================

    The mean is the expected value on that grid, whether or not categories have an order.

    Args:
        event_shape: the shape of one datum.
        categories: number K of values of a cell.
        grid: which numbers stand for the categories.

    Source: van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel Recurrent Neural Networks*, 2016, section 2.2.

    Example:
        >>> Categorical(torch.Size([1]))(torch.zeros(256, 1)).log_prob(torch.ones(1))  # -log(256), in nats
        tensor(-5.5452)
    """

    support: constraints.Constraint = supports.Levels(256)

    def __init__(
        self,
        event_shape: Size,
        *,
        categories: Annotated[int, Field(ge=2, le=4096, description="number of values of a cell")] = 256,
        grid: Annotated[Grid, Field(description="numbers that stand for the categories")] = "unit",
    ) -> None:
        super().__init__(event_shape)
        self.features = categories
        self.grid = grid
        integers = constraints.integer_interval(0, categories - 1)
        self.support = supports.Levels(categories) if grid == "unit" else integers

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        logits = features.movedim(-1 - len(self.event_shape), -1)
        return LevelsCategorical(logits, self.grid).to_event(len(self.event_shape))

    def seen(self, x: Tensor) -> Tensor:
        return x if self.grid == "unit" else x / (self.features - 1)
