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

from pyrovae import device
from pyrovae.distributions.affine import Affine
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
Standardize: TypeAlias = Annotated[
    bool,
    Field(
        description="whether encoder, decoder, scale and floor work in standard deviations of a cell of the "
        "training data from its mean; densities and draws stay in the unit of the data"
    ),
]


class ScaledLikelihood(Likelihood):
    """A likelihood whose cells have a location, from the decoder, and a scale, which is fixed or found.

    Args:
        event_shape: the shape of one datum.
        scale: a number, or ``learned``, ``per-pixel``, or, where :attr:`error_power` is set, ``optimal``.
        floor: smallest scale that can be learned.
        standardize: whether location and scale are in standard deviations of a cell of the training data from
            its mean.
    """

    ceiling: ClassVar[float] = math.inf
    """Largest scale that can be learned."""

    unit_deviation: float = 1.0
    """The standard deviation of a cell whose scale is 1."""

    error_power: ClassVar[int]
    """The k for which the most likely scale is the k-th root of the mean of \\|x - mean\\|^k."""

    scale: Tensor | None
    unbounded_scale: nn.Parameter | None
    cell_mean: Tensor
    """The m of each cell, where data are standardised."""
    cell_deviation: Tensor
    """The s of each cell, where data are standardised."""

    def __init__(
        self, event_shape: Size, scale: float | str, floor: float, standardize: bool = False
    ) -> None:
        super().__init__(event_shape)
        self.floor = floor
        self.calibrates = scale == "optimal"
        self.features = 2 if scale == "per-pixel" else 1
        fixed = 1.0 if self.calibrates else scale
        self.register_buffer("scale", None if isinstance(fixed, str) else torch.tensor(float(fixed)))
        unbounded = nn.Parameter(torch.tensor(UNIT_SCALE)) if scale == "learned" else None
        self.register_parameter("unbounded_scale", unbounded)
        self.standardize = standardize
        if standardize:
            self.register_buffer("cell_mean", torch.zeros(event_shape))
            self.register_buffer("cell_deviation", torch.ones(event_shape))

    def seen(self, x: Tensor) -> Tensor:
        """The data in the unit of location and scale."""
        return (x - self.cell_mean) / self.cell_deviation if self.standardize else x

    def of_data(self, p: TorchDistribution) -> TorchDistribution:
        """The distribution of a datum, from that of its cells in the unit of location and scale."""
        if self.standardize:
            p = Affine(p, self.cell_mean, self.cell_deviation)
        return p.to_event(len(self.event_shape))

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
        """Set m and s, and start a learned scale where a cell would vary as much as all cells do."""
        if not self.standardize and self.unbounded_scale is None:
            return
        mean, variance = _moments(batches)
        if self.standardize:
            self.cell_mean.copy_(mean)
            self.cell_deviation.copy_(variance.sqrt())
            self.cell_deviation.masked_fill_(self.cell_deviation == 0, 1.0)
            mean, variance = torch.zeros_like(mean), variance / self.cell_deviation.double().square()
        if self.unbounded_scale is not None:
            deviation = (variance.mean() + mean.var(correction=0)).sqrt().item()
            nn.init.constant_(self.unbounded_scale, self._unbounded(deviation / self.unit_deviation))

    def _unbounded(self, scale: float) -> float:
        """The s that gives a scale, which is first brought inside the bounds, where s is finite."""
        width = self.ceiling - self.floor
        above = max(min(scale - self.floor, 0.999 * width), 0.001 * self.floor)
        return above + math.log(-math.expm1(-above)) - math.log1p(-math.exp(above - width))

    def calibrate(self, pairs: Iterable[tuple[TorchDistribution, Tensor]]) -> None:
        """Set the scale to its most likely value, given the errors in all cells of all pairs."""
        total, cells = torch.zeros(()), 0
        for given_code, x in pairs:
            errors = self._errors(given_code, x).abs()
            total = total + errors.pow(self.error_power).sum(dtype=device.widest(x.device))
            cells += x.numel()
        assert self.scale is not None
        most_likely = (total.item() / cells) ** (1 / self.error_power)
        self.scale.fill_(min(max(most_likely, self.floor), self.ceiling))

    def _errors(self, given_code: TorchDistribution, x: Tensor) -> Tensor:
        """How far means are from the data, in the unit of the scale."""
        if not self.standardize:
            return given_code.mean - x
        return given_code.base_dist.base_dist.mean - self.seen(x)


def _moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each cell, in one pass; 0 exactly is the variance of a cell that never varies.

    In float64 a sum of equal numbers of float32 is exact, up to 500 million of them.
    """
    rows, mean, squares = 0, torch.tensor(0.0), torch.tensor(0.0)
    for x in batches:
        of_batch = x.mean(0, dtype=torch.float64)
        gap, both = of_batch - mean, rows + len(x)
        squares = squares + (x.double() - of_batch).square().sum(0) + gap.square() * (rows * len(x) / both)
        mean = mean + gap * (len(x) / both)
        rows = both
    return mean, squares / rows
