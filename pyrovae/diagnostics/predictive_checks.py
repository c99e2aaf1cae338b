"""Posterior and prior predictive checks; knows no component."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from pyro import poutine
from torch import Tensor

from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Quantity, Subject
from pyrovae.diagnostics._points import Block, Points, blocks
from pyrovae.diagnostics._simulated import chunks, data_of, draws_at_once
from pyrovae.programs import particle_plate
from pyrovae.quantities import Mean
from pyrovae.randomness import DatumNoise

Statistic = Literal["mean", "variance", "sparsity", "minimum", "maximum"]

LEVEL = 0.05
"""Probability, shared out among statistics and sides, that any p-value is called extreme by chance."""

ROUNDING = 1e-9
"""Relative difference of sums in float64 that are one and the same number."""

STATISTICS: Mapping[Statistic, tuple[str, Callable[[Tensor], Tensor]]] = {
    "mean": ("mean over cells", lambda cells: cells.mean(-1)),
    "variance": ("variance over cells", lambda cells: cells.var(-1, correction=0)),
    "sparsity": ("share of cells that are 0", lambda cells: (cells == 0).to(cells).mean(-1)),
    "minimum": ("smallest cell", lambda cells: cells.amin(-1)),
    "maximum": ("largest cell", lambda cells: cells.amax(-1)),
}
"""What each is of a datum, in words, and from its cells (..., cells)."""

UNITS = {"variance": "squared unit of the data", "sparsity": "share of cells"}


class PredictiveChecks(Diagnostic):
    r"""Predictive checks: statistics of the data against those of data that the model draws in their place.

    .. math:: T(x) = \frac{1}{n} \sum_{i=1}^{n} t(x_i), \qquad
       x^{\text{rep}}_i \sim p(x|z_i), \quad z_i \sim q(z|x_i) \ \text{or}\ p(z), \qquad
       p = P\bigl(T(x^{\text{rep}}) \ge T(x)\bigr)

    ============  ===================================================================
    statistic     t(x) of a datum
    ============  ===================================================================
    ``mean``      mean over its cells
    ``variance``  variance over its cells: the mean square about their mean
    ``sparsity``  share of its cells that are exactly 0
    ``minimum``   its smallest cell
    ``maximum``   its largest cell
    ============  ===================================================================

    A p-value near 0 says that the data have more of a statistic than the model makes, one near 1 that they
    have less: both speak against the model. With codes from q(z|x) the data are used twice, once to find the
    codes and once to compare, so that p-values lie nearer to 1/2 than uniform ones would: they are
    conservative. Codes from p(z) ask more of the model, namely that data with new codes be like the old ones.
    Parameters are those that were trained.

    A likelihood that is conditional on a statistic of the datum, as the multinomial is on its total, draws
    data that share it.

    Args:
        statistics: which ones.
        codes: from q(z|x) of the datum that is replaced (``posterior``), or from p(z) (``prior``).
        replicates: S, how many data sets are drawn.
        points: how many data, chosen by the seed.

    Source: Gelman, Meng and Stern, *Posterior Predictive Assessment of Model Fitness via Realized
    Discrepancies*, 1996, section 2; that p-values are conservative: Meng, *Posterior Predictive p-Values*,
    1994.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.diagnostics import diagnose
        >>> found = diagnose(PredictiveChecks(statistics=["mean"], replicates=20), Subject(program, Split(x)))
        >>> [row.key for row in found.quantities]
        ['mean.real', 'mean.replicated', 'mean.p_value']
    """

    def __init__(
        self,
        *,
        statistics: Annotated[
            Sequence[Statistic], Field(min_length=1, description="of each datum; their means are compared")
        ] = ("mean", "variance", "sparsity", "maximum"),
        codes: Annotated[
            Literal["posterior", "prior"], Field(description="whether codes come from q(z|x) or p(z)")
        ] = "posterior",
        replicates: Annotated[int, Field(ge=2, description="data sets drawn from the model")] = 200,
        points: Points = 1000,
    ) -> None:
        self.statistics = tuple(dict.fromkeys(statistics))
        self.codes = codes
        self.replicates = replicates
        self.points = points

    def __call__(self, subject: Subject) -> Findings:
        real, sums = [], torch.zeros(self.replicates, len(self.statistics), dtype=torch.float64)
        at_once = draws_at_once(subject, self.replicates)
        for block in blocks(subject, self.points, at_once):
            real.append(self._of_each(block.x, subject))
            for chunk in chunks(self.replicates, at_once):
                drawn = self._replicates(subject, block, chunk)
                sums[chunk.start : chunk.stop] += self._of_each(drawn, subject).sum(1)
        of_data = torch.cat(real)
        replicated = sums / len(of_data)
        checks = [
            Check(statistic, of_data[:, place], replicated[:, place])
            for place, statistic in enumerate(self.statistics)
        ]
        return self._findings(checks)

    def _replicates(self, subject: Subject, block: Block, chunk: range) -> Tensor:
        """Data that the model draws in the place of those of a block, (replicates, n, \\*event_shape)."""
        program, key = subject.program, (subject.seed, "predictive-checks", self.codes, chunk.start)
        with DatumNoise(key, block.data), particle_plate(len(chunk)):
            model = program.model
            if self.codes == "posterior":
                model = poutine.replay(model, poutine.trace(program.guide).get_trace(block.x))
            return data_of(poutine.trace(poutine.uncondition(model)).get_trace(block.x))

    def _of_each(self, x: Tensor, subject: Subject) -> Tensor:
        """The statistics of data, (..., \\*event_shape) -> (..., statistics), float64, on the processor."""
        cells = x.flatten(x.dim() - len(subject.program.event_shape))
        return torch.stack([STATISTICS[name][1](cells) for name in self.statistics], -1).double().cpu()

    def _findings(self, checks: Sequence[Check]) -> Findings:
        n = len(checks[0].real)
        title = f"{self.codes} predictive checks: means over {n:,} rows, drawn {self.replicates:,} times"
        notes = [
            "a p-value is the share of replicated data sets with at least as much of a statistic as the real "
            "one: near 0 the data have more of it than the model makes, near 1 less"
        ]
        notes += [sentence for check in checks if (sentence := check.in_words(LEVEL / len(checks) / 2))]
        if self.codes == "posterior":
            notes.append(
                "the data were used twice, to find codes and to compare: p-values lie nearer to 1/2 than "
                "uniform ones would (conservative): one near 1/2 says little, one near 0 or 1 much"
            )
        quantities = [row for check in checks for row in check.rows()]
        return Findings(title, quantities, notes, [check.histogram() for check in checks])


class Check(NamedTuple):
    """A statistic of the data and of the data sets that were drawn in their place."""

    statistic: Statistic
    real: Tensor
    """Of each datum, (n,)."""
    replicated: Tensor
    """Means over data, (replicates,)."""

    @property
    def label(self) -> str:
        return STATISTICS[self.statistic][0]

    @property
    def unit(self) -> str:
        return UNITS.get(self.statistic, "unit of the data")

    @property
    def slack(self) -> float:
        """How far apart two means may be that are equal but for rounding."""
        return ROUNDING * max(1e-30, self.real.abs().mean().item())

    def share_above(self) -> float:
        """The p-value: the share of replicates with at least as much of the statistic."""
        return (self.replicated >= self.real.mean() - self.slack).double().mean().item()

    def share_below(self) -> float:
        """The share of replicates with at most as much of the statistic."""
        return (self.replicated <= self.real.mean() + self.slack).double().mean().item()

    def p_value(self) -> Mean:
        """With a standard error that is above 0 even where no replicate, or every one, has more.

        .. math:: \\sqrt{\\tilde p\\, (1 - \\tilde p) / S}, \\qquad \\tilde p = \\frac{S p + 1}{S + 2}
        """
        p, count = self.share_above(), len(self.replicated)
        shrunk = (p * count + 1) / (count + 2)
        return Mean(p, math.sqrt(shrunk * (1 - shrunk) / count))

    def rows(self) -> list[Quantity]:
        n, count = len(self.real), len(self.replicated)
        over_data = self.real.std().item() / math.sqrt(n) if n > 1 else math.nan
        real = Mean(self.real.mean().item(), 0.0, over_data)
        drawn = Mean(self.replicated.mean().item(), self.replicated.std().item() / math.sqrt(count))
        return [
            Quantity(f"{self.statistic}.real", f"{self.label}: real", real, unit=self.unit),
            Quantity(f"{self.statistic}.replicated", f"{self.label}: replicated", drawn, unit=self.unit),
            Quantity(
                f"{self.statistic}.p_value",
                f"{self.label}: p-value",
                self.p_value(),
                unit="probability",
            ),
        ]

    def in_words(self, extreme: float) -> str:
        """What an extreme p-value says, or one that is none; nothing of any other."""
        if not self.replicated.isfinite().all():
            return f"{self.label}: some replicates are not finite"
        if self.share_above() == self.share_below() == 1:
            return f"{self.label}: all replicates have as much of it as the data, which says nothing"
        count = len(self.replicated)
        for share, more in ((self.share_above(), "more"), (self.share_below(), "less")):
            # The data are one more draw, if the model is right: (r + 1) / (S + 1) has a false-alarm rate.
            if (share * count + 1) / (count + 1) < extreme:
                return f"{self.label}: the data have {more} of it than almost all data that the model draws"
        return ""

    def histogram(self) -> Histogram:
        title = f"{self.label}, mean over data"
        return Histogram(title, self.unit, self.replicated, marked=self.real.mean().item(), marked_as="data")
