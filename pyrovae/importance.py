"""Importance weights -> k-hat, and which errors of importance sampling can be trusted; knows no program."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

HIGHEST_K = 0.7
"""A k-hat above which no number of draws makes the error of importance sampling one to be trusted."""

TOLERATED_SHARE = 0.05
"""Share of data whose k-hat may be too high before no error is given at all.

Of weights that are nearly heavy-tailed, those that happen to have a low k-hat are those whose largest draws
are missing: their errors are the ones that are too small (measured: 95% intervals of the rows below the
limit hold 11 to 90% of the time where more than half of the rows are above it). So what the other rows say
counts for each row.
"""

FEWEST_IN_TAIL = 5
"""Draws that a tail is fitted to."""

FEWEST_DRAWS = 5 * FEWEST_IN_TAIL
"""Of which the tail is a fifth."""

SHORT = 225
"""Draws up to which the tail is a fifth of them; of more it is three times their square root."""

PRIOR_DRAWS = 10
"""Draws that the prior of k-hat, 1/2, counts for."""

LONGEST_TAIL = 700.0
"""Nats between weights above which the smaller one is 0 beside the larger one, in double precision."""

CONSTANT = 1e-3
"""Weights that differ by less, in nats, are constant up to rounding."""


def highest_k(draws: int) -> float:
    r"""The k-hat up to which an error from S draws can be trusted.

    .. math:: \min(1 - 1 / \log_{10} S,\; 0.7)

    Args:
        draws: S, of z for each datum.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto Smoothed Importance Sampling*, 2024, section 3.2.

    Example:
        >>> [round(highest_k(draws), 2) for draws in (30, 100, 1000, 10_000)]
        [0.32, 0.5, 0.67, 0.7]
    """
    return min(1 - 1 / math.log10(draws), HIGHEST_K) if draws >= FEWEST_DRAWS else -math.inf


@dataclass(frozen=True)
class Trust:
    """Which errors of importance-sampled estimates can be trusted: the one rule, for rows and for means.

    No error is given unless k-hat is at most :func:`highest_k` for 95% of the data. Where it is, each of
    these data has an error, and so has the mean over all. A k-hat that is not known is too high.

    Args:
        k: k-hat of each datum, (n,).
        draws: of z for each datum.

    Source: the limit, Vehtari et al., *Pareto Smoothed Importance Sampling*, 2024, section 3.2. The share is
    measured: on models that can be solved, the 95% intervals that are left contain the exact log p(x) at
    least 90% of the time (tests/test_exact.py).

    Example:
        >>> trust = Trust(torch.tensor([0.1, 0.2, 0.9]), draws=100)
        >>> round(trust.share_above, 2), trust.of_mean, trust.of_rows.tolist()
        (0.33, False, [False, False, False])
    """

    k: Tensor
    draws: int

    @property
    def limit(self) -> float:
        """The highest k-hat that is trusted."""
        return highest_k(self.draws)

    @property
    def is_known(self) -> bool:
        """Whether there is a k-hat of any datum."""
        return not bool(self.k.isnan().all())

    @property
    def share_above(self) -> float:
        """The share of data whose k-hat is too high, or not known."""
        return 1 - (self.k <= self.limit).double().mean().item()

    @property
    def of_mean(self) -> bool:
        """Whether the mean over data has an error that can be trusted."""
        return self.share_above <= TOLERATED_SHARE + 1e-9

    @property
    def of_rows(self) -> Tensor:
        """Whether each datum has one, (n,)."""
        return (self.k <= self.limit) & self.of_mean

    def notes(self, what: str, bound: str = "a lower bound") -> Iterator[str]:
        """What is to be said of errors that are withheld, in sentences.

        Args:
            what: the estimate, as ``log p(x)``.
            bound: what it is in expectation.
        """
        above = f"k-hat is above {self.limit:.2g} for"
        if not self.is_known:
            yield f"k-hat needs {FEWEST_DRAWS} draws of z: without it, {what} has no error"
        elif not self.of_mean:
            yield (
                f"{above} {self.share_above:.0%} of the data, more than {TOLERATED_SHARE:.0%}: a few draws "
                f"of z carry their weights. So {what} has no error that could be trusted, neither of a datum "
                f"nor of the mean: take it for {bound} in expectation. More draws (--particles) or a "
                "posterior nearer to p(z|x) make it tighter"
            )
        elif self.share_above > 0:
            number = int((~self.of_rows).sum())
            yield (
                f"{above} {number:,} of {len(self.k):,} data: {what} of these has no error, and their part "
                "in the error of the mean may be too small"
            )


def pareto_k(log_weights: Tensor) -> Tensor:
    r"""k-hat: the shape of the generalised Pareto distribution that fits the tail of each datum's weights.

    The weights have about 1 / k finite moments. Above 0.7, more draws than anyone has would be needed for an
    estimate of their mean with an error that can be trusted.

    Args:
        log_weights: (K, n), in nats.

    Returns:
        (n,): minus infinity where the weights, or those of the tail, are constant; infinity where the tail
        spans more than numbers can, or fewer than five draws are above the others; not a number where there
        are fewer draws than 25, or weights that are not finite.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto Smoothed Importance Sampling*, 2024, section 3,
    with the fit of Zhang and Stephens, *A New and Efficient Estimation Method for the Generalized Pareto
    Distribution*, 2009, and a prior of ten draws with k = 1/2. The numbers are ArviZ's, of all data at once.

    Example:
        >>> pareto_k(torch.zeros(100, 3))
        tensor([-inf, -inf, -inf], dtype=torch.float64)
    """
    draws, n = log_weights.shape
    if draws < FEWEST_DRAWS:
        return torch.full((n,), math.nan, dtype=torch.float64)
    log_weights = log_weights.cpu().double()
    smallest, largest = log_weights.aminmax(dim=0)
    length = draws // 5 if draws <= SHORT else math.floor(3 * math.sqrt(draws))
    top = log_weights.topk(length + 1, dim=0).values - largest
    *tail, cut = top.exp()
    excess = (torch.stack(tail) - cut).flip(0)
    counts, k = (excess > 0).sum(0), torch.full((n,), math.inf, dtype=torch.float64)
    for m in counts.unique().tolist():  # one number, but for discrete codes, of which many weigh the same
        if m >= FEWEST_IN_TAIL:
            k[counts == m] = _generalised_pareto(excess[-m:, counts == m])
    k = k.where(top[0] - top[-2] > 0, -math.inf)
    k = k.where(top[-2] > -LONGEST_TAIL, math.inf)  # smaller weights are 0, which a fit takes for short
    k = k.where(largest - smallest >= CONSTANT, -math.inf)
    return k.where(largest.isfinite(), math.nan)


def _generalised_pareto(excess: Tensor) -> Tensor:
    """The shape of the distribution of each column of what lies above a threshold, sorted, (M, n)."""
    m = len(excess)
    points = 30 + math.isqrt(m)
    grid = 1 - (points / (torch.arange(1, points + 1, dtype=excess.dtype) - 0.5)).sqrt()
    b = grid.unsqueeze(1) / (3 * excess[int(m / 4 + 0.5) - 1]) + 1 / excess[-1]  # (points, n)
    shapes = torch.log1p(-b.unsqueeze(1) * excess).mean(1)
    weights = (m * ((-b / shapes).log() - shapes - 1)).softmax(0)
    weights = weights.where(weights >= 10 * torch.finfo(weights.dtype).eps, 0.0)
    b = (weights * b).sum(0) / weights.sum(0)
    return (m * torch.log1p(-b * excess).mean(0) + PRIOR_DRAWS / 2) / (m + PRIOR_DRAWS)
