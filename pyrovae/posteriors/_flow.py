"""Posteriors that are transforms of a diagonal normal: where the features go."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Size, Tensor, nn
from torch.distributions import Transform, constraints

from pyrovae.distributions.bounded import bounded
from pyrovae.distributions.flows import Flow
from pyrovae.distributions.normal import Normal
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive

LARGEST_PARAMETER = 5.0
ONE_PASS_A_COORDINATE = (
    "at other values it takes as many passes through its networks as a code has coordinates"
)
START = 0.1  # spread of parameters for features of 0, where most transforms would pass no gradients on

Flows: TypeAlias = Annotated[int, Field(ge=1, description="number of transforms")]
Hidden: TypeAlias = Annotated[
    Sequence[Annotated[int, Field(ge=1)]],
    Field(min_length=1, description="units of each hidden layer of a transform's network"),
]
Context: TypeAlias = Annotated[
    int, Field(ge=1, description="how many features tell the transforms about the datum")
]


def diagonal_normal(features: Tensor) -> dist.TorchDistribution:
    """Independent normal coordinates from features (mu, s), with scales as the ``normal`` posterior's."""
    loc, unbounded = features.chunk(2, dim=-1)
    return Normal(loc, positive(unbounded)).to_event(1)


class AmortizedFlow(Posterior):
    """The features are those of a diagonal normal, and then the parameters of every transform.

    Parameters lie between -5 and 5. They are the features plus a learned start, which is near 0.

    Args:
        event_shape: (d,), the shape of one code.
        flows: number of transforms.
        parameters: how many parameters one transform has.
    """

    support = constraints.real_vector

    def __init__(self, event_shape: Size, flows: int, parameters: int) -> None:
        super().__init__(event_shape)
        self.size = event_shape.numel()
        self.start = nn.Parameter(START * torch.randn(flows, parameters))
        self.features = 2 * self.size + self.start.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        base, moves = features.split([2 * self.size, self.start.numel()], dim=-1)
        parameters = bounded(moves.unflatten(-1, self.start.shape) + self.start, LARGEST_PARAMETER)
        return dist.TransformedDistribution(diagonal_normal(base), self.transforms(parameters.unbind(-2)))

    @abstractmethod
    def transforms(self, parameters: Sequence[Tensor]) -> list[Transform]:
        """The transforms from the parameters of each, (..., parameters)."""


class ContextFlow(Posterior):
    """The features are those of a diagonal normal, and then a context that the transforms' networks see.

    Args:
        event_shape: (d,), the shape of one code.
        context: size of the context.
        flow: the transforms.
    """

    support = constraints.real_vector

    def __init__(self, event_shape: Size, context: int, flow: Flow) -> None:
        super().__init__(event_shape)
        self.flow = flow
        self.sizes = [2 * event_shape.numel(), context]
        self.features = sum(self.sizes)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        base, context = features.split(self.sizes, dim=-1)
        return dist.TransformedDistribution(diagonal_normal(base), self.flow.condition(context))
