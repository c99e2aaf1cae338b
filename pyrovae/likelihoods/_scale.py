"""What likelihoods with a location and a scale share: how the scale is set or found, and what bounds it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.nn.functional import softplus

from pyrovae.likelihoods import Likelihood

UNIT_SCALE = math.log(math.e - 1.0)  # softplus(UNIT_SCALE) = 1

Scale: TypeAlias = Annotated[float, Field(ge=1e-9, le=1e9)] | Literal["learned", "per-pixel"]
ScaleOrOptimal: TypeAlias = (
    Annotated[float, Field(ge=1e-9, le=1e9)] | Literal["learned", "per-pixel", "optimal"]
)
Floor: TypeAlias = Annotated[
    float,
    Field(ge=1e-9, le=1e9, description="smallest scale that can be learned, in the unit of the data"),
]


class ScaledLikelihood(Likelihood):
    """A likelihood whose cells have a location, from the decoder, and a scale, which is fixed or found.

    Args:
        event_shape: the shape of one datum.
        scale: a number, or ``learned``, ``per-pixel``, or, where :attr:`error_power` is set, ``optimal``.
        floor: smallest scale that can be learned.
    """

    ceiling: ClassVar[float] = math.inf
    """Largest scale that can be learned."""

    unit_deviation: float = 1.0
    """The standard deviation of a cell whose scale is 1."""

    error_power: ClassVar[int]
    """The k for which the most likely scale is the k-th root of the mean of \\|x - mean\\|^k."""

    scale: Tensor | None
    unbounded_scale: nn.Parameter | None

    def __init__(self, event_shape: Size, scale: float | str, floor: float) -> None:
        super().__init__(event_shape)
        self.floor = floor
        self.calibrates = scale == "optimal"
        self.features = 2 if scale == "per-pixel" else 1
        fixed = 1.0 if self.calibrates else scale
        self.register_buffer("scale", None if isinstance(fixed, str) else torch.tensor(float(fixed)))
        unbounded = nn.Parameter(torch.tensor(UNIT_SCALE)) if scale == "learned" else None
        self.register_parameter("unbounded_scale", unbounded)

    def loc_and_scale(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The first feature of each cell, and a scale for each cell or for all of them."""
        loc, *unbounded = features.unbind(-1 - len(self.event_shape))
        return loc, self._scale(*unbounded)

    def _scale(self, unbounded: Tensor | None = None) -> Tensor:
        if self.scale is not None:
            return self.scale
        shared = self.unbounded_scale if unbounded is None else unbounded
        assert shared is not None
        scale = self.floor + softplus(shared)
        # A softplus less the same one moved right levels off at the distance between the two.
        return scale if math.isinf(self.ceiling) else scale - softplus(shared - (self.ceiling - self.floor))

    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Start a learned scale where a cell would vary as much as all cells of the training data do."""
        if self.unbounded_scale is not None:
            unbounded = self._unbounded(_standard_deviation(batches) / self.unit_deviation)
            nn.init.constant_(self.unbounded_scale, unbounded)

    def _unbounded(self, scale: float) -> float:
        """The s that gives a scale, which is first brought inside the bounds, where s is finite."""
        width = self.ceiling - self.floor
        above = max(min(scale - self.floor, 0.999 * width), 0.001 * self.floor)
        return above + math.log(-math.expm1(-above)) - math.log1p(-math.exp(above - width))

    def calibrate(self, pairs: Iterable[tuple[TorchDistribution, Tensor]]) -> None:
        """Set the scale to its most likely value, given the errors in all cells of all pairs."""
        total, cells = 0.0, 0
        for given_code, x in pairs:
            errors = (given_code.mean - x).abs()
            total += errors.pow(self.error_power).sum(dtype=torch.float64).item()
            cells += x.numel()
        assert self.scale is not None
        most_likely = (total / cells) ** (1 / self.error_power)
        self.scale.fill_(min(max(most_likely, self.floor), self.ceiling))


def _standard_deviation(batches: Iterable[Tensor]) -> float:
    """Of all cells of all batches together, in one pass."""
    cells, mean, squares = 0, 0.0, 0.0
    for x in batches:
        of_batch = x.mean(dtype=torch.float64).item()
        gap, both = of_batch - mean, cells + x.numel()
        squares += (x.double() - of_batch).square().sum().item() + gap**2 * cells * x.numel() / both
        mean += gap * x.numel() / both
        cells = both
    return math.sqrt(squares / cells)
