"""Simulation-based calibration of the guide; knows no component."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pyrovae import sites, supports
from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Quantity, Subject, Unavailable
from pyrovae.diagnostics._points import block_size
from pyrovae.diagnostics._simulated import chunks, codes_of, draws_at_once, simulated
from pyrovae.programs import particle_plate
from pyrovae.quantities import Mean
from pyrovae.randomness import DatumNoise, seeded

LEVEL = 0.05
"""Probability that an exact guide is rejected at all."""

MOST_BINS = 20
FEWEST_IN_A_BIN = 10
"""Expected ranks in a bin, from which on chi-square is a good approximation."""

MOST_SHOWN = 9
"""Quantities in the table and the figure, where there are more."""

FEWEST_SIMULATIONS = 2 * FEWEST_IN_A_BIN


class Calibration(Diagnostic):
    r"""Simulation-based calibration: whether q(z|x) is the posterior of data that the model itself draws.

    .. math:: z^*, x^* \sim p(x, z), \qquad z_1, \dots, z_L \sim q(z|x^*), \qquad
       r = \#\{l : f(z_l, x^*) < f(z^*, x^*)\}

    If q(z|x) is p(z|x), then z* is one more draw from it, and the rank r of any scalar f is uniform on
    0, ..., L. Ties, of which discrete codes have many, are broken at random, which keeps that law. The
    scalars are:

    - every coordinate of a code, on whatever set it lives;
    - for a one-hot variable, whose categories have no order, log q(z_j|x), how likely the guide holds it;
    - log p(x|z). The coordinates alone would find no fault with a guide that ignores the data and is p(z).

    Ranks are counted in B bins, as many as hold 10 of them each, at most 20, and compared with uniform ones:

    .. math:: \chi^2 = \sum_{b=1}^{B} \frac{(n_b - S\,p_b)^2}{S\,p_b} \sim \chi^2_{B - 1}

    with S simulations and the share p_b of the L + 1 ranks that belong to bin b. P-values are corrected by
    Holm's method, so that an exact guide is rejected at all with a probability of at most 5%. What is wrong
    is seen in the mean rank, which is to be 1/2 in units of L, and in the spread of ranks, their mean square
    about 1/2 relative to that of uniform ones: the first two components of Neyman's smooth test.

    ===============  =============================  ============================================
    ranks of z_j     seen in                        the guide is
    ===============  =============================  ============================================
    U-shaped         spread above 1                 too narrow
    hump-shaped      spread below 1                 too wide
    sloped           mean rank below or above 1/2   too high, or too low
    ===============  =============================  ============================================

    A U or a hump of log q(z_j|x) says the same. Its ranks, or those of log p(x|z), are too low where the
    guide is too narrow, and too high where it is too wide or lies elsewhere.

    Args:
        simulations: S, pairs of a code and a datum drawn from the model.
        draws: L, codes drawn from the guide for each.

    Raises:
        Unavailable: q(z|x) is a point, or the model draws data of which it cannot say how likely they are.

    Source: Talts, Betancourt, Simpson, Vehtari and Gelman, *Validating Bayesian Inference Algorithms with
    Simulation-Based Calibration*, 2018, theorem 1 and section 4; for scalars of code and datum Modrák et al.,
    *Simulation-Based Calibration Checking for Bayesian Computation: The Choice of Test Quantities Shapes
    Sensitivity*, 2023; for the components Neyman, *"Smooth Test" for Goodness of Fit*, 1937.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.diagnostics import diagnose
        >>> found = diagnose(Calibration(simulations=50, draws=9), Subject(program, Split(x)))
        >>> [row.key for row in found.quantities[:2]]
        ['p_value', 'rejected']
    """

    def __init__(
        self,
        *,
        simulations: Annotated[
            int, Field(ge=FEWEST_SIMULATIONS, description="pairs of a code and a datum drawn from the model")
        ] = 1000,
        draws: Annotated[int, Field(ge=1, description="codes drawn from the guide for each of them")] = 99,
    ) -> None:
        self.simulations = simulations
        self.draws = draws

    def __call__(self, subject: Subject) -> Findings:
        if not subject.program.codes.is_density:
            raise Unavailable("q(z|x) is a point, of which no code drawn from the model is a draw")
        parts = [
            self._counts(subject, part.tolist())
            for part in torch.arange(self.simulations).split(block_size(subject, self._at_once(subject)))
        ]
        scalars = parts[0].scalars
        below = torch.cat([part.below for part in parts])
        equal = torch.cat([part.equal for part in parts])
        with seeded(subject.seed, "calibration", "ties"):
            uniform = torch.rand(equal.shape, dtype=torch.float64)
        ranks = below + (uniform * (equal + 1)).long()
        return _findings([Ranked(*each, self.draws) for each in zip(scalars, ranks.T, strict=True)])

    def _at_once(self, subject: Subject) -> int:
        return draws_at_once(subject, self.draws)

    def _counts(self, subject: Subject, data: list[int]) -> Counts:
        """How many of the guide's draws have smaller scalars than the true code, and how many equal ones."""
        program, key = subject.program, (subject.seed, "calibration")
        x, truth = simulated(subject, DatumNoise((*key, "model"), data))
        codes = codes_of(truth)
        true = _of_codes(poutine.trace(poutine.replay(program.guide, truth)).get_trace(x), codes)
        true[LIKELIHOOD] = _log_likelihood(poutine.trace(poutine.replay(program.model, truth)).get_trace(x))
        below: Any = 0
        equal: Any = 0
        for chunk in chunks(self.draws, self._at_once(subject)):
            with DatumNoise((*key, "guide", chunk.start), data), particle_plate(len(chunk)):
                guide = poutine.trace(program.guide).get_trace(x)
                model = poutine.trace(poutine.replay(program.model, guide)).get_trace(x)
            drawn = _of_codes(guide, codes_of(guide))
            # The same code is a tie, even if a product was rounded otherwise.
            drawn[LIKELIHOOD] = torch.where(_same(guide, codes), true[LIKELIHOOD], _log_likelihood(model))
            left, right = (torch.stack(list(values.values()), -1) for values in (drawn, true))
            _check(left, right, list(drawn))
            below += (left < right).sum(0)
            equal += (left == right).sum(0)
        return Counts(list(true), below.cpu(), equal.cpu())


class Scalar(NamedTuple):
    """A function of code and datum whose values are ranked."""

    name: str
    is_coordinate: bool
    """Whether it is a coordinate of a code, and no log-probability."""


class Counts(NamedTuple):
    """How true codes compare with the guide's draws."""

    scalars: list[Scalar]
    below: Tensor
    """(n, scalars)."""
    equal: Tensor
    """(n, scalars)."""


LIKELIHOOD = Scalar("log p(x|z)", is_coordinate=False)


def _of_codes(guide: Trace, codes: Mapping[str, Tensor]) -> dict[Scalar, Tensor]:
    """The scalars of codes, each (..., n), from a trace of the guide with these very codes."""
    found: dict[Scalar, Tensor] = {}
    for name, value in codes.items():
        q: Any = guide.nodes[name]["fn"]
        if _is_one_hot(q.support):
            of_each = sites.coordinates(q)
            if of_each is None:
                found[Scalar(f"log q({name}|x)", False)] = q.log_prob(value)
                continue
            scores, shape, pattern = of_each.log_prob(value), (q.event_shape[0],), f"log q({name}[{{}}]|x)"
            is_coordinate = False
        else:
            leading = value.dim() - len(q.event_shape)
            scores, shape = value.reshape(*value.shape[:leading], -1), tuple(q.event_shape)
            pattern = f"{name}[{{}}]" if shape else name
            is_coordinate = True
        for place, score in zip(product(*map(range, shape)), scores.unbind(-1), strict=True):
            found[Scalar(pattern.format(",".join(map(str, place))), is_coordinate)] = score
    return found


def _is_one_hot(support: Constraint) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return supports.same(support, constraints.one_hot)


def _same(guide: Trace, codes: Mapping[str, Tensor]) -> Tensor:
    """Which of the guide's draws are the true code, (particles, n)."""
    same = []
    for name, code in codes.items():
        site: Any = guide.nodes[name]
        leading = len(site["fn"].batch_shape)
        equal = site["value"] == code
        same.append(equal.reshape(*equal.shape[:leading], -1).all(-1))
    return torch.stack(same).all(0)


def _log_likelihood(model: Trace) -> Tensor:
    """log p(x|z), (..., n), in nats."""
    model = prune_subsample_sites(model)
    model.compute_log_prob(lambda name, site: site["is_observed"])
    return sites.observed(model)


def _check(drawn: Tensor, true: Tensor, scalars: Sequence[Scalar]) -> None:
    wrong = (drawn.isnan() | true.isnan()).flatten(0, -2).any(0)
    if wrong.any():
        name = scalars[int(wrong.int().argmax())].name
        raise Unavailable(f"{name} is not a number for some of the data that the model draws")


class Ranked(NamedTuple):
    """The ranks of one scalar in all simulations."""

    scalar: Scalar
    ranks: Tensor
    """Whole numbers from 0 to ``draws``, (simulations,)."""
    draws: int

    @property
    def p_value(self) -> float:
        """Of the chi-square test of uniform ranks."""
        n, levels = len(self.ranks), self.draws + 1
        bins = max(2, min(MOST_BINS, levels, n // FEWEST_IN_A_BIN))
        edges = torch.linspace(0, levels, bins + 1, dtype=torch.float64).round()
        expected = n * edges.diff() / levels
        counts = torch.bucketize(self.ranks.double(), edges[1:-1], right=True).bincount(minlength=bins)
        statistic = ((counts - expected).square() / expected).sum()
        return torch.special.gammaincc(statistic.new_tensor((bins - 1) / 2), statistic / 2).item()

    @property
    def mean(self) -> Mean:
        """The mean rank in units of L."""
        return _mean(self.ranks / self.draws)

    @property
    def spread(self) -> Mean:
        """The mean square of ranks about L/2, relative to that of uniform ranks."""
        return _mean(self._squares())

    def components(self) -> tuple[float, float]:
        """Slope and curvature of the ranks' histogram; of uniform ranks in standard errors, uncorrelated."""
        levels = torch.arange(self.draws + 1)
        uniform = self._replace(ranks=levels)
        slope = _deviation(self.ranks / self.draws, uniform.ranks / self.draws)
        return slope, _deviation(self._squares(), uniform._squares())

    def shape(self) -> str:
        """The histogram of ranks in words, and what it says of the guide."""
        slope, curvature = self.components()
        if max(abs(slope), abs(curvature)) < 3:
            return "neither sloped nor curved; look at the histogram"
        if abs(slope) < abs(curvature):
            return self._curved(curvature)
        if self.scalar.is_coordinate:
            return f"sloped: the guide is biased, its draws are too {'low' if slope > 0 else 'high'}"
        if slope > 0:
            return "sloped, ranks too high: the guide is too wide or lies elsewhere"
        return "sloped, ranks too low: the guide is too narrow"

    def _curved(self, curvature: float) -> str:
        shape, width = ("U", "narrow") if curvature > 0 else ("hump", "wide")
        if self.scalar == LIKELIHOOD:  # how much it varies is not how wide the guide is
            return f"{shape}-shaped; look at the histogram"
        return f"{shape}-shaped: the guide is too {width}"

    def _squares(self) -> Tensor:
        variance = (self.draws + 2) / (12 * self.draws)
        return (self.ranks / self.draws - 0.5).square() / variance


def _mean(values: Tensor) -> Mean:
    return Mean(values.double().mean().item(), values.double().std().item() / math.sqrt(len(values)))


def _deviation(values: Tensor, population: Tensor) -> float:
    """By how many standard errors a mean differs from that of a population of equally likely values."""
    deviation = values.double().mean() - population.double().mean()
    error = population.double().std(correction=0) / math.sqrt(len(values))
    return (deviation / error).item() if error > 1e-9 else 0.0


def holm(p_values: Tensor) -> Tensor:
    """P-values corrected for their number: the probability that any of them is below a level is at most that.

    Source: Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, 1979.

    Example:
        >>> holm(torch.tensor([0.5, 0.01, 0.02]))
        tensor([0.5000, 0.0300, 0.0400])
    """
    order = p_values.argsort()
    remaining = torch.arange(len(p_values), 0, -1)
    corrected = (p_values[order] * remaining).cummax(0).values.clamp(max=1)
    return torch.empty_like(corrected).scatter(0, order, corrected)


def _findings(ranked: Sequence[Ranked]) -> Findings:
    p_values = torch.tensor([each.p_value for each in ranked], dtype=torch.float64)
    corrected = holm(p_values)
    rejected = [each for each, p in zip(ranked, corrected, strict=True) if p < LEVEL]
    count, n, draws = len(ranked), len(ranked[0].ranks), ranked[0].draws
    shown = sorted(p_values.argsort(stable=True)[:MOST_SHOWN].tolist())

    quantities = [
        Quantity(
            "p_value",
            f"smallest p-value of {count}, corrected (Holm)",
            Mean(corrected.min().item()),
            unit="probability",
        ),
        Quantity("rejected", f"rejected at {LEVEL:.0%}", Mean(len(rejected)), unit=f"of {count}"),
    ]
    for place in shown:
        each, name = ranked[place], ranked[place].scalar.name
        quantities += [
            Quantity(
                f"{name}.p_value",
                f"{name}: p-value, uncorrected",
                Mean(p_values[place].item()),
                unit="probability",
            ),
            Quantity(f"{name}.mean_rank", f"{name}: mean rank, uniform: 0.5", each.mean, unit="of L"),
            Quantity(f"{name}.spread", f"{name}: spread of ranks, uniform: 1", each.spread, unit="ratio"),
        ]
    notes = [
        "each p-value is of a chi-square test of uniform ranks; with an exact guide, the smallest corrected "
        f"one is below {LEVEL:g} for at most about {LEVEL:.0%} of all seeds"
    ]
    if rejected:
        notes += _in_words(rejected)
    else:
        notes.append(
            f"no difference between q(z|x) and p(z|x) shows in {n:,} simulations; a small one takes more"
        )
    if len(shown) < count:
        notes.append(f"the table has the {len(shown)} of {count} with the smallest p-values")
    notes.append("the data are the model's own draws: on other data the guide may do worse")
    histograms = [
        Histogram(f"ranks of {ranked[place].scalar.name}", "rank", ranked[place].ranks, uniform=draws + 1)
        for place in shown
    ]
    title = f"calibration: {n:,} simulations, L = {draws:,} draws from q(z|x) each"
    return Findings(title, quantities, notes, histograms)


def _in_words(rejected: Sequence[Ranked]) -> list[str]:
    """One sentence for each shape of histogram that is there, with the quantities that have it."""
    names: dict[str, list[str]] = {}
    for each in rejected:
        names.setdefault(each.shape(), []).append(each.scalar.name)
    return [f"{shape} ({', '.join(having)})" for shape, having in names.items()]
