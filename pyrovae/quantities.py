"""What an evaluation says: numbers, each with its unit and errors; computes these, and knows no program."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

NEAR_CEILING = 1.0
"""Nats below log N, its ceiling, in which I(x; z) of N rows is no estimate: they are too few."""

ROUNDING = 1e-9
"""Of a share times a number of values, which is a whole number but for that."""


@dataclass(frozen=True)
class Mean:
    """The mean over data of one quantity.

    ``monte_carlo_error`` is the standard error from finitely many draws, for these very data; ``data_error``
    is the standard error of the mean as an estimate for the population of data. Not a number where unknown.
    """

    value: float
    monte_carlo_error: float = math.nan
    data_error: float = math.nan


def mean(values: Tensor, errors: Tensor) -> Mean:
    """The mean over data, with both of its standard errors.

    Args:
        values: one for each datum.
        errors: Monte-Carlo standard errors of the values.
    """
    n = len(values)
    spread = values.std().item() if n > 1 else math.nan
    return Mean(values.mean().item(), errors.square().sum().sqrt().item() / n, spread / math.sqrt(n))


def median(values: Tensor) -> Mean:
    r"""The median over data, with half the distance of the values one standard error of their ranks apart.

    .. math:: \tfrac{1}{2} \bigl(x_{(\lceil (n + \sqrt n) / 2 \rceil)} -
       x_{(\lfloor (n - \sqrt n) / 2 \rfloor + 1)}\bigr)

    Of n data, those below the population's median are binomial, n/2 with a standard error of
    :math:`\sqrt n / 2`. What a finite number of draws adds is not known.

    Args:
        values: one for each datum; what is not a number does not count.

    Source: McKean and Schrader, *A comparison of methods for studentizing the sample median*, 1984.

    Example:
        >>> median(torch.arange(100.0))
        Mean(value=49.0, monte_carlo_error=nan, data_error=4.5)
    """
    ordered = values[~values.isnan()].sort().values
    n = len(ordered)
    if not n:
        return Mean(math.nan)
    low, high = math.floor((n - math.sqrt(n)) / 2), math.ceil((n + math.sqrt(n)) / 2) - 1
    error = ((ordered[high] - ordered[low]) / 2).item() if n > 1 else math.nan
    return Mean(ordered[(n - 1) // 2].item(), data_error=error)


def jackknife(statistic: Callable[..., Tensor], *draws: Tensor) -> tuple[Tensor, Tensor]:
    r"""A statistic of independent draws, and its standard error, from those without one of the draws each.

    .. math:: C\, t - (C - 1)\, \bar t, \qquad s^2 = \frac{C - 1}{C} \sum_{c=1}^{C} (t_{-c} - \bar t)^2

    t is of all C draws, :math:`t_{-c}` without draw c, and :math:`\bar t` the mean of these. A bias in
    proportion to 1 / C, as a mean's variance leaves in its square, is taken away.

    Args:
        statistic: of tensors whose first dimension are the draws.
        draws: one or more, with as many draws each.

    Source: Efron and Stein, *The Jackknife Estimate of Variance*, 1981.

    Example:
        >>> value, error = jackknife(lambda draws: draws.mean(0), torch.tensor([1.0, 2.0, 3.0]))
        >>> value.item(), round(error.item(), 4)
        (2.0, 0.5774)
    """
    count = len(draws[0])
    others = [[draw for draw in range(count) if draw != left_out] for left_out in range(count)]
    without = torch.stack([statistic(*(values[kept] for values in draws)) for kept in others])
    unbiased = count * statistic(*draws) - (count - 1) * without.mean(0)
    return unbiased, (without.var(0, correction=0) * (count - 1)).sqrt()


@dataclass(frozen=True)
class Quantity:
    """One row of an evaluation."""

    key: str
    label: str
    mean: Mean
    bits_per_dimension: float | None = None
    """Minus the value, in bits for each cell of a datum; only for log-probabilities of discrete data."""

    unit: str = "nats"


@dataclass(frozen=True)
class Histogram:
    """Values whose distribution is to be looked at.

    Args:
        title: what they are.
        unit: of the values, as an axis has it.
        values: (m,).
        marked: the value that they are compared with, if there is one.
        marked_as: what that is.
        uniform: whether they should be uniform: over 0, ..., uniform - 1; 0 where not.
    """

    title: str
    unit: str
    values: Tensor
    marked: float | None = None
    marked_as: str = ""
    uniform: int = 0


@dataclass(frozen=True)
class Findings:
    """What an evaluation or a diagnostic found.

    Args:
        title: of the table.
        quantities: its rows.
        notes: what a reader of these numbers must know, a sentence each.
        histograms: what may be drawn.
        unavailable: why there are none, as a part of a sentence; empty where there are.
    """

    title: str
    quantities: Sequence[Quantity] = ()
    notes: Sequence[str] = ()
    histograms: Sequence[Histogram] = field(default=())
    unavailable: str = ""
