"""Data as a likelihood takes them: changed as configured, refused outside its support; knows no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pyrovae import component, supports
from pyrovae.config import Data, literal
from pyrovae.data import Dataset
from pyrovae.errors import ConfigError, DataError, Problem
from pyrovae.likelihoods import Likelihood

BITS = constraints.boolean
"""The set that binarised data live on."""


@dataclass(frozen=True)
class Prepared:
    """Data as a likelihood takes them."""

    dataset: Dataset
    is_likelihood: bool = True
    """False where the likelihood is evaluated outside its support: no density, but a cross-entropy."""
    notes: tuple[str, ...] = ()
    """What was done with the data, in sentences."""


def prepare(dataset: Dataset, options: Data, likelihood: Likelihood) -> Prepared:
    """Dequantise, squeeze and binarise as configured, and refuse data outside the likelihood's support.

    Validation and test rows are drawn once; training rows anew on every read, until :meth:`Split.drawn`.

    Args:
        dataset: as stored.
        options: of the run.
        likelihood: of the run.

    Raises:
        ConfigError: naming the data's range, the support, and the choices that fit.
        DataError: data that cannot be changed as configured.
    """
    prepared = _changed(dataset, options, likelihood.support)
    if _within(prepared.dataset, likelihood.support):
        return prepared
    tolerated = likelihood.tolerated if options.binarize == "none" else None
    if tolerated is None or not _within(prepared.dataset, tolerated):
        raise ConfigError([_outside(prepared.dataset, dataset, options, likelihood)])
    name = component.name_of(type(likelihood))
    note = f"{name} on grey values is no likelihood: what is maximised bounds minus a cross-entropy"
    return replace(prepared, is_likelihood=False, notes=(*prepared.notes, note))


def _changed(dataset: Dataset, options: Data, support: Constraint) -> Prepared:
    """The data as the options change them for a likelihood with that support."""
    notes = []
    if options.dequantize:
        dataset = dataset.dequantized()
        notes.append(f"whole numbers are dequantised: (value + u) / {dataset.train.divisor + 1:g}, 0 < u < 1")
    if options.squeeze is not None:
        dataset = dataset.squeezed(options.squeeze)
        notes.append(f"values are squeezed into [{options.squeeze:g}, {1 - options.squeeze:g}]")
    mode = options.binarize
    if mode == "auto":
        mode = "dynamic" if supports.same(support, BITS) and _is_grey(dataset) else "none"
    if mode != "none" and not dataset.is_binary():
        dataset = dataset.binarized(mode)
        notes.append(f"grey values are binarised ({mode})")
    return Prepared(dataset, notes=tuple(notes))


def _within(dataset: Dataset, support: Constraint) -> bool:
    return all(
        supports.contains(support, cells) for split in dataset.splits.values() for cells in split.extremes()
    )


def _is_grey(dataset: Dataset) -> bool:
    low, high = dataset.range()
    return low >= 0 and high <= 1 and not dataset.is_binary()


def _fits(dataset: Dataset, options: Data, support: Constraint) -> bool:
    """Whether the data, changed as the options say, lie on a likelihood's support."""
    try:
        return _within(_changed(dataset, options, support).dataset, support)
    except DataError:
        return False


def _outside(prepared: Dataset, dataset: Dataset, options: Data, likelihood: Likelihood) -> Problem:
    """What to say of data that a likelihood does not take."""
    own = component.name_of(type(likelihood))
    low, high = prepared.range()
    values = dataset.distinct()
    others = [
        name
        for name in component.names("likelihood")
        if name != own and _fits(values, options, component.support_of("likelihood", name))
    ]
    choices = [f"likelihood = {', '.join(others)}"] if others else []
    choices += _remedies(values, options, likelihood)
    return Problem(
        "likelihood.name",
        f"{own!r} takes values in {supports.in_words(likelihood.support)}; {dataset.name} has values from "
        f"{low:g} to {high:g}. What fits: {'; '.join(choices) or 'nothing'}",
    )


def _remedies(dataset: Dataset, options: Data, likelihood: Likelihood) -> list[str]:
    """Settings with which a likelihood takes these data, none more than it needs; each has been tried."""
    found: list[Mapping[str, Any]] = []
    for settings in sorted(_settings(dataset, options, likelihood), key=len):
        needless = any(fewer.items() <= settings.items() for fewer in found)
        if not needless and _fits_with(settings, dataset, options, likelihood):
            found.append(settings)
    return [" with ".join(f"{place} = {_typed(value)}" for place, value in each.items()) for each in found]


def _settings(dataset: Dataset, options: Data, likelihood: Likelihood) -> Iterator[dict[str, Any]]:
    """What to try: another divisor, other changes of the data, and a likelihood of as many levels."""
    now, high = dataset.train.divisor, math.ceil(dataset.divided(1).range()[1])
    counts = [name for name, value in likelihood.options.items() if type(value) is int]
    for divisor in sorted({now, 1, 255 if 128 < high <= 255 else max(high, 1)}):
        choices: list[list[dict[str, Any]]] = [
            [{} if divisor == now else {"data.divisor": divisor}],
            [{}, {"data.binarize": "auto"}],
            [{}, {"data.dequantize": not options.dequantize}],
            [{}, {"data.squeeze": 0.001}],
            [{}, *({f"likelihood.{name}": int(divisor) + 1} for name in counts)],
        ]
        for parts in product(*choices):
            yield {place: value for part in parts for place, value in part.items()}


def _fits_with(settings: Mapping[str, Any], dataset: Dataset, options: Data, likelihood: Likelihood) -> bool:
    """Whether the data lie on the likelihood's support once these settings are made too."""
    made: dict[str, dict[str, Any]] = {"data": {}, "likelihood": {}}
    for place, value in settings.items():
        section, _, name = place.partition(".")
        made[section][name] = value
    other = type(likelihood)(**likelihood.given, **{**likelihood.options, **made["likelihood"]})
    divided = dataset.divided(made["data"].get("divisor", dataset.train.divisor))
    return _fits(divided, options.model_copy(update=made["data"]), other.support)


def _typed(value: Any) -> str:
    return literal(value) if isinstance(value, bool) else str(value)
