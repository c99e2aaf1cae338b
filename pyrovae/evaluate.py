"""Trained program -> numbers, in nats per datum, each with its errors; trains, draws and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

from pyrovae import device
from pyrovae.capture import Captured
from pyrovae.importance import Trust, pareto_k
from pyrovae.isolation import isolated, switched
from pyrovae.programs import PARTICLES, Program, particle_plate
from pyrovae.quantities import Findings, Mean, Quantity, mean, median
from pyrovae.randomness import DatumNoise
from pyrovae.units import STORED, Unit

CELLS_AT_ONCE = 2**19
"""How many cells of data are decoded at a time: few enough that they stay in a processor's cache."""

DRAWS_AT_ONCE = 250
"""How many codes of a datum are drawn at a time; the draws depend on it."""

FEWEST_KEPT = 1024
"""Data for which there is room at first. All estimates are in one piece of memory: the small pieces of each
batch would stand between the large ones of the next, which then took new memory every time."""


@dataclass(frozen=True)
class Estimates:
    """One estimate for each datum, on the processor in float64, in nats; ``_error``: its Monte-Carlo error.

    The errors are those of the mean over draws (by the delta method for ``log_likelihood``), and not a number
    where there is only one draw; nor is that of ``log_likelihood`` where :class:`~pyrovae.importance.Trust`
    does not trust it.

    Args:
        elbo: mean of log w.
        elbo_error: of it.
        reconstruction: mean of log p(x|z).
        reconstruction_error: of it.
        kl: mean of log q(z|x) - log p(z).
        kl_error: of it.
        log_likelihood: log of the mean of w, a lower bound of log p(x) in expectation.
        log_likelihood_error: of it, s: the standard deviation of w over its mean and the root of K.
        log_likelihood_corrected: it plus s² / 2, by which the log of a mean is too low.
        effective_sample_size: (sum of w)² / sum of w², between 1 and K.
        pareto_k: k-hat, the shape of the weights' upper tail: above 1/2 their variance is not finite.
        draws: of z for each datum, K.
    """

    elbo: Tensor
    elbo_error: Tensor
    reconstruction: Tensor
    reconstruction_error: Tensor
    kl: Tensor
    kl_error: Tensor
    log_likelihood: Tensor
    log_likelihood_error: Tensor
    log_likelihood_corrected: Tensor
    effective_sample_size: Tensor
    pareto_k: Tensor
    draws: int

    @property
    def trust(self) -> Trust:
        """Which errors of log p(x) can be trusted."""
        return Trust(self.pareto_k, self.draws)

    @property
    def of_rows(self) -> dict[str, Tensor]:
        """All that is known of every datum, by name."""
        return {name: values for name, values in vars(self).items() if isinstance(values, Tensor)}

    def errors(self, name: str) -> Tensor:
        """The Monte-Carlo errors from which that of a mean over data is made, (n,).

        Of log p(x), they are those of all data or of none: also of the few that have no error by themselves.

        Args:
            name: of an estimate, as ``log_likelihood``.
        """
        if not name.startswith("log_likelihood"):
            return self.of_rows[f"{name}_error"]
        spread = (2 * (self.log_likelihood_corrected - self.log_likelihood)).sqrt()
        return spread if self.trust.of_mean else torch.full_like(spread, math.nan)


NAMES = [field.name for field in fields(Estimates) if field.name != "draws"]


@dataclass(frozen=True, repr=False)
class Evaluation(Findings):
    """What an evaluation found: means over data, and the estimates of every datum.

    Args:
        estimates: of every datum.
        unit: of what is said in nats, and what densities are per.
        to_stored: nats per datum to be added to a log-density for that of the stored values; ``None`` where
            there is no density.
    """

    estimates: Estimates | None = None
    unit: str = "nats per datum"
    to_stored: float | None = None


def evaluate(
    program: Program,
    batches: Iterable[Tensor],
    *,
    seed: int = 0,
    particles: int = 1000,
    tails: bool = True,
) -> Estimates:
    r"""ELBO, its two terms, and the importance-sampled log-likelihood of every datum.

    .. math:: w_k = \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x), \qquad
       \widehat{ELBO} = \frac{1}{K} \sum_k \log w_k, \qquad
       \log \hat{p}(x) = \log \frac{1}{K} \sum_k w_k

    The last one is a lower bound of log p(x) in expectation, tight as K grows: too low by about
    :math:`s^2 / 2`, with :math:`s^2 = \operatorname{Var}(w) / (K\, \mathbb{E}[w]^2)`. Noise of datum i is a
    function of the seed and i alone, whatever the batches are. The program is in evaluation mode meanwhile.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        seed: of the noise.
        particles: draws K of z for each datum.
        tails: whether to fit the tails of the weights, for ``pareto_k``: a fifth of a millisecond for each
            datum. Without, it is not a number, and neither are the errors of ``log_likelihood``.

    Raises:
        ValueError: particles is less than one.

    Source: Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders*, 2016, equation 8. k-hat:
    Vehtari et al., *Pareto Smoothed Importance Sampling*, 2024, section 3.

    Example:
        >>> evaluate(program, [x], particles=100).elbo.shape
        torch.Size([16])
    """
    if particles < 1:
        raise ValueError(f"particles must be at least 1, not {particles}")
    model, kept = _Model(program), _Kept()
    for x, data in numbered(program, batches):
        with inspected(program):
            kept.add(_evaluate_batch(model, x, data, seed, particles, tails=tails))
    return kept.all()


def summarise(
    estimates: Estimates,
    *,
    cells: int,
    discrete: bool,
    is_likelihood: bool,
    is_bound: bool = True,
    unit: Unit = STORED,
    given: str = "",
) -> Evaluation:
    """The means over data of all estimates, and whether their errors can be trusted.

    The mean of log p(x) has an error where :class:`~pyrovae.importance.Trust` trusts it.

    Args:
        estimates: for each datum.
        cells: how many numbers a datum has.
        discrete: whether the likelihood is a probability, and no density.
        is_likelihood: whether the data lie in the likelihood's support; if not, the sums are cross-entropies.
        is_bound: whether q(z|x) has a density; if not, there is no bound, no KL and no importance sampling.
        unit: of the data, which densities are per.
        given: what of the datum the likelihood is conditional on as well, as ``its total``.

    Example:
        >>> estimates = evaluate(program, [x], particles=9)
        >>> summarise(estimates, cells=64, discrete=True, is_likelihood=True).notes
        ['k-hat needs 25 draws of z: without it, log p(x) has no error']
    """
    labels = LABELS if is_likelihood else CROSS_ENTROPY_LABELS
    if not is_bound:
        labels = {"reconstruction": POINT_LABELS[is_likelihood], "penalty": "penalty -log p(z)"}
    is_density = is_likelihood and not discrete
    quantities = []
    for key, label in labels.items():
        if key == "log_likelihood_corrected" and estimates.log_likelihood_corrected.isnan().all():
            continue  # of one draw
        average, bits = mean(*_values(estimates, key)), None
        if key in IN_BITS and is_density:
            bits = unit.bits_per_dimension(average.value, cells)
        elif key in IN_BITS and is_likelihood:
            bits = -average.value / cells / math.log(2)
        quantities.append(Quantity(key, _given(label, given), average, bits))
    notes = []
    if is_density:
        notes.append(unit.of_stored(cells, what="ELBO, reconstruction and log p(x)"))
    if is_density and is_bound and unit.is_dequantized:
        notes.append("bits/dim are of the whole numbers, from above: noise was added to them (dequantised)")
    if is_bound:
        what = _given("log p(x)", given) if is_likelihood else "the importance-sampled cross-entropy"
        notes += estimates.trust.notes(what)
        quantities += _weights(estimates)
    return Evaluation(
        f"{TITLE}; {unit.title}" if is_density else TITLE,
        quantities,
        [*filter(None, notes)],
        estimates=estimates,
        unit=f"nats per datum; {unit.title}" if is_density else "nats per datum",
        to_stored=cells * unit.log_slope if is_density else None,
    )


def given(program: Program) -> str:
    """What of a datum its likelihood is conditional on, as ``its total``; empty where it is on nothing."""
    return getattr(program.scorer, "conditional", "")


def caveats(program: Program) -> list[str]:
    """What a reader of any of a program's numbers must know, in sentences."""
    codes, statistic, found = program.codes, given(program), []
    if statistic:
        reason = f"the likelihood is conditional on {statistic}, whose probability is no part of it"
        found.append(f"log p(x) is log p(x | {statistic}): {reason}")
    if not codes.is_density:
        found.append(
            f"{codes.name!r} is a point and no density: what is maximised, log p(x|z) + log p(z), is no "
            "bound of log p(x), and importance sampling is undefined"
        )
    return found


TITLE = "mean over data"
IN_BITS = ("elbo", "log_likelihood", "log_likelihood_corrected")
LABELS = {
    "elbo": "ELBO",
    "reconstruction": "reconstruction E_q[log p(x|z)]",
    "kl": "KL(q(z|x) || p(z))",
    "log_likelihood": "log p(x), importance-sampled bound",
    "log_likelihood_corrected": "log p(x), corrected for its bias",
}
CROSS_ENTROPY_LABELS = {
    "elbo": "cross-entropy bound",
    "reconstruction": "minus cross-entropy",
    "kl": "KL(q(z|x) || p(z))",
    "log_likelihood": "cross-entropy bound, importance-sampled",
    "log_likelihood_corrected": "minus cross-entropy, importance-sampled and corrected",
}
POINT_LABELS = {
    True: "log p(x|z) at the point z of x",
    False: "minus cross-entropy at the point z of x",
}


def _given(label: str, what: str) -> str:
    """A label of probabilities that are conditional on something of the datum besides."""
    if not what:
        return label
    return label.replace("p(x)", f"p(x | {what})").replace("p(x|z)", f"p(x|z, {what})")


def _values(estimates: Estimates, key: str) -> tuple[Tensor, Tensor]:
    """A quantity of every datum, and its errors."""
    name = "kl" if key == "penalty" else key  # the KL's formula, with a density of 1 at the point
    return estimates.of_rows[name], estimates.errors(name)


def _weights(estimates: Estimates) -> Iterator[Quantity]:
    """What the importance weights of all data are like."""
    size, k, trust = estimates.effective_sample_size, estimates.pareto_k, estimates.trust
    share = trust.share_above
    n = len(size)
    yield Quantity("effective_sample_size", "effective sample size, median", median(size), unit="draws")
    yield Quantity(
        "smallest_effective_sample_size",
        "effective sample size, smallest",
        Mean(size.min().item()),
        unit="draws",
    )
    if trust.is_known:
        yield Quantity("pareto_k", "k-hat, median", median(k), unit="")
        shrunk = (n * share + 1) / (n + 2)  # above 0, so that none of n is no certainty
        above = Mean(share, data_error=math.sqrt(shrunk * (1 - shrunk) / n))
        yield Quantity("pareto_k_above", f"share of data with k-hat > {trust.limit:.2g}", above, unit="")


def numbered(
    program: Program, batches: Iterable[Tensor], at_once: int | None = None
) -> Iterator[tuple[Tensor, range]]:
    """The data of all batches with their numbers, at most so many at a time, as precise as they should be.

    Batches may be made by the caller's code as they are asked for: ask outside of :func:`inspected`.

    Args:
        program: which is to take them.
        batches: the data in order, each batch (n, \\*event_shape).
        at_once: how many data at most; whole batches, if not given.
    """
    first, dtype = 0, torch.promote_types(device.dtype_of(program), program.scorer.precision)
    for batch in batches:
        for x in batch.to(dtype).split(at_once or max(1, len(batch))):
            yield x, range(first, first + len(x))
            first += len(x)


@contextmanager
def inspected(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, float32 products, no gradients, no validation and nothing of the caller's inside.

    Afterwards all is as before: see :func:`~pyrovae.isolation.isolated`.

    Raises:
        ConfigError: something inside needs numbers that the device does not have.
    """
    place = device.of(module)
    with (
        isolated(),
        switched(module, training=False),
        device.explaining(place),
        device.multiplying("float32", place),
        torch.no_grad(),
        pyro.validation_enabled(False),
    ):
        yield


class _Kept:
    """The estimates of all data, in one piece of memory."""

    @isolated()
    def __init__(self) -> None:
        self.n = self.draws = 0
        self.rows = torch.empty(len(NAMES), FEWEST_KEPT, dtype=torch.float64)

    def add(self, some: Estimates) -> None:
        """Keep the estimates of the next data."""
        start, self.n = self.n, self.n + len(some.elbo)
        if self.n > self.rows.shape[1]:
            self.rows = nn.functional.pad(self.rows, (0, 2 * self.n - self.rows.shape[1]))
        self.draws = some.draws
        for row, name in zip(self.rows, NAMES, strict=True):
            row[start : self.n] = getattr(some, name)

    @isolated()
    def all(self) -> Estimates:
        """The estimates, with the errors that can be trusted: all data have a say in each."""
        found = Estimates(**dict(zip(NAMES, self.rows[:, : self.n].clone(), strict=True)), draws=self.draws)
        error = found.log_likelihood_error.where(found.trust.of_rows, math.nan)
        return replace(found, log_likelihood_error=error)


def _evaluate_batch(
    model: _Model, x: Tensor, data: range, seed: int, particles: int, *, tails: bool
) -> Estimates:
    # One piece of memory for all draws: small ones between large ones would keep these from being used again.
    terms = torch.empty(2, particles, len(x), dtype=device.widest(x.device), device=x.device)
    for start in range(0, particles, DRAWS_AT_ONCE):
        _log_terms(model, x, data, (seed, start), terms[:, start : start + DRAWS_AT_ONCE])
    reconstruction, minus_kl = terms.cpu().double()
    log_weights = reconstruction + minus_kl
    log_likelihood = log_weights.logsumexp(0) - math.log(particles)
    relative_weights = (log_weights - log_likelihood).exp()
    error = _error(relative_weights)
    return Estimates(
        elbo=log_weights.mean(0),
        elbo_error=_error(log_weights),
        reconstruction=reconstruction.mean(0),
        reconstruction_error=_error(reconstruction),
        kl=-minus_kl.mean(0),
        kl_error=_error(minus_kl),
        log_likelihood=log_likelihood,
        log_likelihood_error=error,
        log_likelihood_corrected=log_likelihood + error.square() / 2,
        effective_sample_size=particles**2 / relative_weights.square().sum(0),
        pareto_k=pareto_k(log_weights) if tails else torch.full_like(error, math.nan),
        draws=particles,
    )


def _error(values: Tensor) -> Tensor:
    """The standard error of the mean over draws; not a number where there is only one."""
    draws = len(values)
    return values.std(0) / math.sqrt(draws) if draws > 1 else torch.full_like(values[0], math.nan)


def _log_terms(model: _Model, x: Tensor, data: range, key: tuple[int, int], terms: Tensor) -> None:
    """log p(x|z) and log p(z) - log q(z|x) under draws z ~ q(z|x), in nats, into terms (2, draws, n).

    All draws at once are drawn and scored by the guide, few at once by the model: what is large are the data.
    """
    draws = terms.shape[1]
    with DatumNoise(key, data), particle_plate(draws):
        guide = _scored(poutine.trace(model.program.guide).get_trace(x))
    at_once = min(draws, max(1, CELLS_AT_ONCE // x.numel()))
    for start in range(0, draws, at_once):
        some = slice(start, start + at_once)
        with DatumNoise((*key, start), data):
            for term, values in zip(terms[:, some], model(x, guide, some), strict=True):
                term.copy_(values)
    terms[1] -= _total(guide, guide.stochastic_nodes)


class _Model:
    """log p(x|z) and log p(z) of a program at codes that its guide has drawn; a graph when it has run often.

    Args:
        program: whose weights do not change meanwhile.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.codes: dict[str, Any] = {}
        self.terms = Captured(self._terms)

    def __call__(self, x: Tensor, guide: poutine.Trace, draws: slice) -> tuple[Tensor, ...]:
        """Both terms under some of the draws, each (draws, n)."""
        self.codes = {name: guide.nodes[name] for name in guide.stochastic_nodes}
        return self.terms(x, *(self._some(site, draws) for site in self.codes.values()))

    def _terms(self, x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        replayed = poutine.Trace()
        for (name, site), value in zip(self.codes.items(), values, strict=True):
            replayed.nodes[name] = site | {"value": value}
            draws = value.shape[self._axis(site)]
        with particle_plate(draws):
            model = _scored(poutine.trace(poutine.replay(self.program.model, replayed)).get_trace(x))
        return tuple(_total(model, names) for names in (model.observation_nodes, model.stochastic_nodes))

    def _some(self, site: Any, draws: slice) -> Tensor:
        return site["value"][(slice(None),) * self._axis(site) + (draws,)]

    def _axis(self, site: Any) -> int:
        """The dimension of a site's value in which its draws lie."""
        return site["value"].dim() - site["fn"].event_dim + PARTICLES


def _scored(trace: poutine.Trace) -> poutine.Trace:
    """The trace without the sites of plates, and with log-probabilities."""
    trace = prune_subsample_sites(trace)
    trace.compute_log_prob()
    return trace


def _total(trace: poutine.Trace, names: Iterable[str]) -> Tensor:
    """The sum of the sites' log-probabilities, (draws, n); of several, in the device's highest precision."""
    scores = [trace.nodes[name]["log_prob"] for name in names]
    if len(scores) == 1:
        return scores[0]
    return sum((score.to(device.widest(score.device)) for score in scores), torch.zeros(()))
