"""Mean, deviation and size of each cell, in double precision; knows no data set and no likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

RESOLVED = 2.0**-49
"""A standard deviation smaller than this share of the largest value is rounding: eight steps of float64."""


class Moments(NamedTuple):
    """What each cell of a datum is like over many data, in float64, (\\*event_shape)."""

    mean: Tensor
    deviation: Tensor
    """Its standard deviation; 0 exactly where a cell never varies, up to the rounding of float64."""
    largest: Tensor
    """The largest absolute value."""

    @property
    def spacing(self) -> Tensor:
        """How far apart neighbouring numbers of float32 are at the largest value, in standard deviations.

        0 where a cell never varies.
        """
        size = self.largest.float()
        apart = size.nextafter(torch.full_like(size, torch.inf)).double() - size.double()
        return (apart / self.deviation).where(self.deviation > 0, 0.0)


def moments(batches: Iterable[Tensor]) -> Moments:
    """The moments of each cell over all data, in one pass.

    In float64 a sum of equal numbers of float32 is exact, up to 500 million of them.

    Args:
        batches: the data, each (n, \\*event_shape).

    Source: Chan, Golub and LeVeque, *Algorithms for Computing the Sample Variance*, 1983, equation 2.1.

    Example:
        >>> moments([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]])]).mean
        tensor([3.], dtype=torch.float64)
    """
    rows, mean, squares, largest = 0, torch.tensor(0.0), torch.tensor(0.0), torch.tensor(0.0)
    for x in batches:
        of_batch = x.mean(0, dtype=torch.float64)
        gap, both = of_batch - mean, rows + len(x)
        squares = squares + (x.double() - of_batch).square().sum(0) + gap.square() * (rows * len(x) / both)
        mean = mean + gap * (len(x) / both)
        largest = torch.maximum(largest, x.abs().amax(0).double())
        rows = both
    deviation = (squares / rows).sqrt()
    return Moments(mean, deviation.where(deviation > RESOLVED * largest, 0.0), largest)
