"""What the likelihoods of counts share: their set, what the encoder sees, the bounds of rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pyrovae.distributions.bounded import bounded
from pyrovae.likelihoods import Likelihood
from pyrovae.moments import Moments, moments

LARGEST_LOG = 15.0
"""Rates lie below exp(15) times their unit, which is 1 for counts that this is enough for."""
LARGE_COUNT = math.exp(10.0)
"""A cell with larger counts has a rate in units of its mean: near its bound, a rate learns slowly."""

Dispersion: TypeAlias = Annotated[
    Literal["learned", "per-pixel"], Field(description="how the inverse dispersion of a cell is found")
]


def bounded_log(feature: Tensor) -> Tensor:
    """The logarithm of a rate, of a mean or of an inverse dispersion, from any real number; in float64."""
    return bounded(feature.double(), LARGEST_LOG)


class CountLikelihood(Likelihood):
    """A likelihood of counts, of which the encoder sees log(1 + x)."""

    support = constraints.nonnegative_integer

    def seen(self, x: Tensor) -> Tensor:
        return x.log1p()


class RateLikelihood(CountLikelihood):
    r"""A likelihood of counts by a rate, whose logarithm comes from the decoder.

    .. math:: \log \lambda_i = \log u_i + \frac{f_i(z)}{\sqrt{1 + f_i(z)^2 / 15^2}}

    Args:
        event_shape: the shape of one datum.
    """

    unit: Tensor
    """The u of each cell: 1, or the mean of its training data where counts are large."""

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.register_buffer("unit", torch.ones(event_shape))

    def seen(self, x: Tensor) -> Tensor:
        """Logarithms of 1 + x, less the logarithms of the units."""
        return super().seen(x) - self.unit.log()

    def log_rate(self, feature: Tensor) -> Tensor:
        """The logarithm of a rate or of a mean, from any real number; in float64."""
        return bounded_log(feature) + self.unit.double().log()

    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Set the units: the mean of a cell with counts above exp(10), and 1 for the others."""
        found = moments(batches)
        self.unit.copy_(found.mean.where(found.largest > LARGE_COUNT, 1.0).clamp(min=1.0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Weights that were saved without units have 1."""
        state_dict.setdefault(f"{prefix}unit", torch.ones(self.event_shape))
        super()._load_from_state_dict(state_dict, prefix, *others)


class OverdispersedLikelihood(RateLikelihood):
    """A likelihood of counts whose variance is larger than their mean, by an inverse dispersion.

    Args:
        event_shape: the shape of one datum.
        dispersion: how the inverse dispersion is found: ``learned``, or ``per-pixel`` from the last feature.
    """

    log_inverse_dispersion: nn.Parameter | None

    def __init__(self, event_shape: Size, dispersion: str) -> None:
        super().__init__(event_shape)
        self.features = 2 if dispersion == "per-pixel" else 1
        learned = nn.Parameter(torch.zeros(event_shape)) if dispersion == "learned" else None
        self.register_parameter("log_inverse_dispersion", learned)

    def negative_binomial(self, log_mean: Tensor, log_inverse: Tensor | None = None) -> dict[str, Tensor]:
        """The parameters, as torch's class takes them, of counts with a mean and an inverse dispersion.

        Args:
            log_mean: of each cell, any real numbers.
            log_inverse: of each cell, any real numbers; the learned ones without it.
        """
        log_inverse = self.log_inverse_dispersion if log_inverse is None else log_inverse
        assert log_inverse is not None
        log_mean, log_inverse = self.log_rate(log_mean), bounded_log(log_inverse)
        return {"total_count": log_inverse.exp(), "logits": log_mean - log_inverse}

    def strains(self, found: Moments) -> Iterator[str]:
        smallest = found.mean * math.exp(-LARGEST_LOG / 2)
        narrow = (found.mean > math.exp(LARGEST_LOG)) & (smallest > 2 * found.deviation)
        if narrow.any():
            yield (
                f"inverse dispersions lie below exp({LARGEST_LOG:g}), so no standard deviation of counts is "
                f"below {math.exp(-LARGEST_LOG / 2):.2g} of their mean, and {narrow.sum()} cells of these "
                "data vary by less than half of that; poisson and gaussian can be narrower"
            )
