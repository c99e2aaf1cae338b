"""Trained runs -> their scores of the same data, and how they look; knows no component, trains nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pyrovae.codes import names as names_of_codes
from pyrovae.contrast import CROSS_ENTROPY, Comparison, Scored, compared, places_that_differ
from pyrovae.data import Split
from pyrovae.errors import RunError
from pyrovae.evaluate import Evaluation, given
from pyrovae.generate import encode, reconstruct, sample
from pyrovae.quantities import Findings, Mean, Quantity, mean
from pyrovae.run import Run
from pyrovae.stretches import changed_on_the_way

WITHOUT_EFFECT = (
    *("seed", "data.source", "data.dir"),
    *("train.device", "train.threads", "train.engine", "train.watch"),
)
"""In what runs of one configuration may differ: seeds, paths, and how the same numbers are computed."""

SOURCES = {
    "log_likelihood": "log_likelihood_corrected",
    "bound": "log_likelihood",
    "elbo": "elbo",
    "rate": "kl",
    "distortion": "reconstruction",
}
"""The estimate of every datum that a score is, but for its sign."""

CODES_SHOWN = 1000
SAMPLES_SHOWN = 36


class Rows(NamedTuple):
    """Data that runs are compared on."""

    split: Split
    """The rows, in an order and drawn once for all."""
    cross_entropies: Collection[str] = ()
    """The runs whose likelihood is none on these rows."""


class Picture(NamedTuple):
    """What a run looks like."""

    samples: Tensor
    """The expected data of codes from the prior, (36, \\*event_shape)."""
    prior: Tensor
    """Codes z ~ p(z), (1000, d); of more than two coordinates, those that tell data apart best come first."""
    posterior: Tensor
    """Codes z ~ q(z|x), one for each of up to 1,000 data, with the coordinates in the same order."""
    coordinates: tuple[str, ...]
    """What these coordinates are called, as ``z[3]``."""


def same_rows(
    runs: Mapping[str, Run],
    split: str | None = None,
    *,
    data: str | None = None,
    source: str | None = None,
) -> Rows:
    """The rows that runs are compared on, which all of them see value by value the same.

    Args:
        runs: by name.
        split: ``train``, ``validation`` or ``test`` (the default) of the runs' own data.
        data: other data instead.
        source: where the runs' own data are now, if they have moved.

    Raises:
        RunError: runs of data of different shapes, or that see other values, as by another binarisation.

    Example:
        >>> from pyrovae.run import Run
        >>> runs = {name: Run.start(resolve({"prior": name})) for name in ("normal", "laplace")}
        >>> len(same_rows(runs).split)
        360
    """
    (first, run), *others = runs.items()
    for name, other in others:
        if other.program.event_shape != run.program.event_shape:
            raise RunError(
                f"{first} is for data of shape {tuple(run.program.event_shape)}, {name} for data of shape "
                f"{tuple(other.program.event_shape)}: runs are compared on the same data"
            )
    rows, is_likelihood = _rows(first, run, split, data, source)
    fingerprint, cross_entropies = _fingerprint(rows), [] if is_likelihood else [first]
    for name, other in others:
        found, is_likelihood = _rows(name, other, split, data, source)
        if _fingerprint(found) != fingerprint:
            raise RunError(
                f"{first} and {name} are evaluated on different {split or 'test'} rows"
                f"{_because(run, other, rows, found)}: runs are compared on the same data"
            )
        cross_entropies += [] if is_likelihood else [name]
    return Rows(rows, cross_entropies)


def compare(
    runs: Mapping[str, Run],
    rows: Rows,
    *,
    particles: int = 1000,
    seed: int = 0,
    batch_size: int = 100,
    baseline: str | None = None,
    sides: Sequence[Collection[str]] = (),
    on_batch: Callable[[], None] = lambda: None,
) -> Comparison:
    """Evaluate runs on the same data under the same noise, and compare them.

    Args:
        runs: by name.
        rows: the data, as :func:`same_rows` finds them.
        particles: draws of z for each datum.
        seed: of the noise.
        batch_size: data at a time; no number depends on it.
        baseline: name of the run that is subtracted from the others; the first one, if not given.
        sides: names of the runs on each side; if not given, runs of one configuration are found by it.
        on_batch: called after every batch of every run.

    Raises:
        RunError: a side holds runs of different configurations.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.run import Run
        >>> runs = {name: Run.start(resolve({"prior": name})) for name in ("normal", "laplace")}
        >>> comparison = compare(runs, Rows(Split(x)), particles=10)
        >>> sorted(comparison.differences[0].means)
        ['bound', 'distortion', 'elbo', 'rate']
        >>> comparison.notes[-1].partition(":")[0]
        'Nothing is claimed about configurations'
    """
    scored = []
    for name, run in runs.items():
        is_likelihood = name not in rows.cross_entropies
        batches = _reported(rows.split.batches(batch_size), on_batch)
        found = run.evaluate(
            batches, particles=particles, seed=seed, is_likelihood=is_likelihood, unit=rows.split.unit
        )
        units = run.diagnose("active-units", rows.split, seed=seed, batch_size=batch_size)
        scored.append(_scored(name, run, found, units, _measure(run, rows.split, is_likelihood)))
    return compared(scored, baseline=baseline, sides=sides)


def settings(run: Run) -> dict[str, Any]:
    """The configuration of a run by place, without what runs of one configuration may differ in.

    Of the data, it has a hash of the training rows; of code of the user's own, one of each file. Without
    early stopping, the number of epochs is that of those that were finished. An entry of ``train`` that was
    changed while the run was trained has all of its values.

    Example:
        >>> from pyrovae.run import Run
        >>> settings(Run.start(resolve({"seed": 3})))["prior.name"]
        'normal'
    """
    sections = run.config.model_dump()
    tables = {name: table for name, table in sections.items() if isinstance(table, dict)}
    flat = {name: value for name, value in sections.items() if name not in tables}
    flat |= {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}
    if run.config.train.patience is None and run.history:
        flat["train.epochs"] = len(run.history)
    flat |= changed_on_the_way(run.stretches)
    code = sorted(json.loads(run.facts.get("code", "{}")).values())
    found = {place: value for place, value in flat.items() if place not in WITHOUT_EFFECT}
    return {**found, "training rows": run.facts["data"], **({"code": code} if code else {})}


def picture(run: Run, rows: Split, *, seed: int = 0) -> Picture:
    """Samples, and codes from the prior and from the aggregate posterior.

    Args:
        run: the run.
        rows: data to encode.
        seed: of the draws.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.run import Run
        >>> picture(Run.start(resolve()), Split(x)).samples.shape
        torch.Size([36, 1, 8, 8])
    """
    draws = sample(run.program, CODES_SHOWN, seed=seed)
    some = [rows.rows(slice(CODES_SHOWN))]
    codes = reconstruct(run.program, some, seed=seed).z
    order = list(range(codes.shape[1]))
    if len(order) > 2:
        variances = encode(run.program, some, seed=seed).double().var(0)
        order = variances.argsort(descending=True, stable=True).tolist()
    names = names_of_codes(run.program)
    return Picture(
        draws.mean[:SAMPLES_SHOWN].cpu(),
        draws.z[:, order].cpu(),
        codes[:, order].cpu(),
        tuple(names[j] for j in order),
    )


def _scored(name: str, run: Run, found: Evaluation, units: Findings, measure: str) -> Scored:
    """What an evaluation and the active units tell of a run."""
    assert found.estimates is not None
    rows = {quantity.key: quantity for quantity in found.quantities}
    values, errors, quantities = {}, {}, {}
    for score, source in SOURCES.items():
        if source in rows and (score != "log_likelihood" or found.estimates.trust.of_mean):
            sign, label = 1, rows[source].label
            if score == "distortion":
                sign, label = -1, f"minus {label}"
            values[score] = sign * getattr(found.estimates, source)
            errors[score] = found.estimates.errors(source)
            average = mean(values[score], errors[score])
            quantities[score] = Quantity(score, label, average, rows[source].bits_per_dimension)
    if "pareto_k_above" in rows:
        quantities["pareto_k_above"] = rows["pareto_k_above"]
    has_bound = "elbo" in rows
    return Scored(
        name=name,
        settings=settings(run),
        seed=run.config.seed,
        values=values,
        errors=errors,
        quantities={**quantities, **{quantity.key: quantity for quantity in _of_run(run, units)}},
        measure=measure,
        curve=[line["validation_elbo"] for line in run.history if has_bound and "validation_elbo" in line],
        notes=found.notes,
        caveats=[*run.caveats, *([found.unit] if found.to_stored else [])],
    )


def _of_run(run: Run, units: Findings) -> Iterator[Quantity]:
    """What else there is to say of a run in numbers."""
    if not units.unavailable:
        yield units.quantities[0]
        yield Quantity("units", "latent units", Mean(len(units.histograms[0].values)), unit="units")
    seconds = sum(metrics["seconds"] for metrics in run.history)
    yield Quantity("seconds", "training, all epochs without validation", Mean(seconds), unit="s")
    parameters = sum(parameter.numel() for parameter in run.program.parameters())
    yield Quantity("parameters", "trained numbers", Mean(parameters), unit="")


def _measure(run: Run, rows: Split, is_likelihood: bool) -> str:
    """What the log-likelihood of these rows is the logarithm of."""
    if not is_likelihood:
        return CROSS_ENTROPY
    kind = "a probability" if run.program.support.is_discrete else "a density"
    statistic = given(run.program)
    return f"{kind} given {statistic}" if statistic else kind


def _rows(name: str, run: Run, split: str | None, data: str | None, source: str | None) -> tuple[Split, bool]:
    """The rows of a run, and whether its likelihood is one on them; an error says which run it is."""
    try:
        return run.evaluation_rows(split, data=data, source=source)
    except RunError as error:
        raise RunError(f"{name}: {error}") from None


def _fingerprint(rows: Split) -> str:
    """A hash of the data as a model sees them, however they are stored."""
    digest = hashlib.blake2b(repr((len(rows), rows.event_shape)).encode())
    for x in rows.batches():
        digest.update(x.float().cpu().numpy().tobytes())  # some models are given more digits
    return digest.hexdigest()


def _because(run: Run, other: Run, rows: Split, found: Split) -> str:
    """Why two runs do not see the same data, as far as their settings tell."""
    both = settings(run), settings(other)
    differ = [
        f"{place} = {' and '.join(str(each[place]) for each in both)}"
        for place in places_that_differ(*both)
        if place.startswith("data.")
    ]
    if rows.is_binary() != found.is_binary():
        differ.append("the values of one are bits, those of the other are not")
    return f" ({'; '.join(differ)})" if differ else ""


def _reported(batches: Iterable[Tensor], on_batch: Callable[[], None]) -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        on_batch()
