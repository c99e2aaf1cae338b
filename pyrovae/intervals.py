"""Differences of means with a confidence interval, by Student's t; knows no run and no model."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A difference of means, and a 95% confidence interval; its ends are not numbers where there is none."""

    difference: float
    low: float
    high: float
    degrees_of_freedom: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is told apart from none."""
        return self.low > 0 or self.high < 0


def paired(first: Tensor, second: Tensor) -> Interval:
    r"""The mean difference of two scores of the same data.

    .. math:: \bar d \pm t_{n-1}\, s_d / \sqrt n, \qquad d_i = a_i - b_i

    Args:
        first: the scores a, (n,).
        second: the scores b of the same data, (n,).

    Source: Student, *The Probable Error of a Mean*, 1908.

    Example:
        >>> paired(torch.tensor([2.0, 3.0, 4.0]), torch.tensor([1.0, 1.0, 1.0])).difference
        2.0
    """
    differences = first.double() - second.double()
    n = len(differences)
    return _interval(differences.mean().item(), _variance_of_mean(differences), n - 1)


def welch(first: Tensor, second: Tensor) -> Interval:
    r"""The difference of the means of two independent samples, whose variances need not be equal.

    .. math:: \bar a - \bar b \pm t_\nu \sqrt{v_a + v_b}, \qquad
       \nu = \frac{(v_a + v_b)^2}{v_a^2 / (m - 1) + v_b^2 / (n - 1)}, \qquad
       v_a = \frac{s_a^2}{m}, \quad v_b = \frac{s_b^2}{n}

    Args:
        first: the sample a, (m,).
        second: the sample b, (n,).

    Source: Welch, *The Generalization of "Student's" Problem when Several Different Population Variances are
    Involved*, 1947.

    Example:
        >>> interval = welch(torch.tensor([3.0, 5.0, 4.0]), torch.tensor([1.0, 2.0, 0.0]))
        >>> interval.difference, round(interval.degrees_of_freedom, 3), interval.excludes_zero
        (3.0, 4.0, True)
    """
    parts = [(_variance_of_mean(sample), len(sample) - 1) for sample in (first, second)]
    variance = sum(v for v, _ in parts)
    spread = sum(v**2 / degrees for v, degrees in parts if v > 0)
    degrees = variance**2 / spread if spread else math.nan
    return _interval((first.double().mean() - second.double().mean()).item(), variance, degrees)


def _variance_of_mean(sample: Tensor) -> float:
    """Its estimate; not a number where there is one value only."""
    return sample.double().var().item() / len(sample) if len(sample) > 1 else math.nan


def _interval(difference: float, variance: float, degrees: float) -> Interval:
    from scipy.special import stdtrit  # the quantiles of Student's t; scipy takes long to import

    half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Interval(difference, difference - half, difference + half, degrees)
