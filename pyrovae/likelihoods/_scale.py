"""What likelihoods with a location and a scale share: how the scale is set or found, and what bounds it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.nn.functional import softplus

from pyrovae import device
from pyrovae.distributions.affine import Affine
from pyrovae.likelihoods import Likelihood
from pyrovae.moments import Moments, moments

UNIT_SCALE = math.log(math.e - 1.0)  # softplus(UNIT_SCALE) = 1

Scale: TypeAlias = Annotated[float, Field(ge=1e-9, le=1e9)] | Literal["learned", "per-pixel"]
ScaleOrOptimal: TypeAlias = (
    Annotated[float, Field(ge=1e-9, le=1e9)] | Literal["learned", "per-pixel", "optimal"]
)
Floor: TypeAlias = Annotated[
    float,
    Field(
        ge=1e-9,
        le=1e9,
        description="smallest scale that can be learned, in the unit of the data, or in standard deviations "
        "of a cell where these are standardised",
    ),
]
Standardize: TypeAlias = Annotated[
    bool | Literal["auto"],
    Field(
        description="whether encoder, decoder, scale and floor work in standard deviations of a cell of the "
        "training data from its mean, while densities and draws stay in the unit of the data; auto: for rows "
        "of a table, whose datum has one axis"
    ),
]


class ScaledLikelihood(Likelihood):
    """A likelihood whose cells have a location, from the decoder, and a scale, which is fixed or found.

    Args:
        event_shape: the shape of one datum.
        scale: a number, or ``learned``, ``per-pixel``, or, where :attr:`error_power` is set, ``optimal``.
        floor: smallest scale that can be learned.
        standardize: whether location and scale are in standard deviations of a cell of the training data from
            its mean; ``auto``: where a datum has one axis.
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
    """The m of each cell, where data are standardised; float64 where float32 cannot hold the data."""
    cell_deviation: Tensor
    """The s of each cell, where data are standardised; as precise as what networks give and are given."""

    def __init__(
        self, event_shape: Size, scale: float | str, floor: float, standardize: bool | str = False
    ) -> None:
        super().__init__(event_shape)
        self.floor = floor
        self.calibrates = scale == "optimal"
        self.features = 2 if scale == "per-pixel" else 1
        fixed = 1.0 if self.calibrates else scale
        self.register_buffer("scale", None if isinstance(fixed, str) else torch.tensor(float(fixed)))
        unbounded = nn.Parameter(torch.tensor(UNIT_SCALE)) if scale == "learned" else None
        self.register_parameter("unbounded_scale", unbounded)
        self.standardizes = len(event_shape) == 1 if standardize == "auto" else bool(standardize)
        if self.standardizes:
            self.register_buffer("cell_mean", torch.zeros(event_shape))
            self.register_buffer("cell_deviation", torch.ones(event_shape))

    @property
    def precision(self) -> torch.dtype:
        return self.cell_mean.dtype if self.standardizes else torch.float32

    def widen(self) -> bool:
        if self.standardizes:
            self.cell_mean = self.cell_mean.double()
        return bool(self.standardizes)

    def seen(self, x: Tensor) -> Tensor:
        """The data in the unit of location and scale."""
        if not self.standardizes:
            return x
        return ((x - self.cell_mean) / self.cell_deviation).to(self.cell_deviation.dtype)

    def of_data(self, p: TorchDistribution) -> TorchDistribution:
        """The distribution of a datum, from that of its cells in the unit of location and scale."""
        return self.in_unit_of_data(p).to_event(len(self.event_shape))

    def in_unit_of_data(self, p: TorchDistribution) -> TorchDistribution:
        """The distribution m + s y of each cell, from that of y."""
        return Affine(p, self.cell_mean, self.cell_deviation) if self.standardizes else p

    def of_cells(self, given_code: TorchDistribution) -> TorchDistribution:
        """The distribution of each cell in the unit of location and scale, from that of a datum."""
        return given_code.base_dist.base_dist if self.standardizes else given_code.base_dist

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
        if not self.standardizes and self.unbounded_scale is None:
            return
        found = moments(batches)
        mean, deviation = found.mean, found.deviation
        if self.standardizes:
            self.set_unit(found)
            mean, deviation = torch.zeros_like(mean), deviation / self.cell_deviation.double()
        if self.unbounded_scale is not None:
            of_all_cells = (deviation.square().mean() + mean.var(correction=0)).sqrt().item()
            nn.init.constant_(self.unbounded_scale, self._unbounded(of_all_cells / self.unit_deviation))

    def set_unit(self, found: Moments) -> None:
        """Set m and s from the moments of what is normal, say, in each cell."""
        self.cell_mean.copy_(found.mean)
        self.cell_deviation.copy_(found.deviation.where(found.deviation > 0, 1.0))

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
        return self.of_cells(given_code).mean - self.seen(x)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Take m as precise as it was saved; weights that were saved without m and s have 0 and 1."""
        if self.standardizes:
            mean = state_dict.setdefault(f"{prefix}cell_mean", torch.zeros(self.event_shape))
            state_dict.setdefault(f"{prefix}cell_deviation", torch.ones(self.event_shape))
            self.cell_mean = self.cell_mean.to(mean.dtype)
        super()._load_from_state_dict(state_dict, prefix, *others)
