"""What the likelihoods of counts share: their set, what the encoder sees, the bounds of rates."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pyrovae.distributions.bounded import bounded
from pyrovae.likelihoods import Likelihood

LARGEST_LOG = 15.0
"""Rates lie below exp(15), 3.3 million: float32 tells counts apart up to 16 million."""

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


class OverdispersedLikelihood(CountLikelihood):
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
        log_mean, log_inverse = bounded_log(log_mean), bounded_log(log_inverse)
        return {"total_count": log_inverse.exp(), "logits": log_mean - log_inverse}
