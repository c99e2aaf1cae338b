"""Scales of the posteriors, from features of any size."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus

SMALLEST_SCALE = 1e-5
UNIT_SCALE = math.log(math.e - 1.0)  # softplus(UNIT_SCALE) = 1


def positive(features: Tensor) -> Tensor:
    """Real numbers -> scales: 0 gives 1, and no scale lies below :data:`SMALLEST_SCALE`.

    The softplus keeps scales and their gradients finite for features of any size, where an exponential would
    overflow.
    """
    return SMALLEST_SCALE + softplus(features + UNIT_SCALE)
