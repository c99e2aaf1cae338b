"""What the likelihoods of grey values share: the number of levels, the unit and the bounds of features."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from pydantic import Field
from torch import Tensor

from pyrovae.distributions.bounded import bounded

# Beyond 4,096 levels (12 bits), float32 begins to confuse a level with the next one.
LevelCount: TypeAlias = Annotated[
    int, Field(ge=2, le=4096, description="number of grey values from 0 to 1, both ends with them")
]


def location(features: Tensor) -> Tensor:
    """Real numbers, in a unit in which grey values go from -1 to 1 -> the same in the unit of the data."""
    return (1 + features) / 2


def scale(features: Tensor, levels: int) -> Tensor:
    """Logarithms of scales in that unit -> scales in the unit of the data: 0 gives one half.

    A smooth bound holds them between a twentieth of the step from level to level, where a single level can
    have all the probability, and 5 times the number of steps.
    """
    return bounded(features, math.log(10 * (levels - 1))).exp() / 2
