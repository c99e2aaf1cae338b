"""Data as what scores them takes them: changed as configured, else refused; knows no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import torch
from pydantic import TypeAdapter, ValidationError
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pyrovae import component, supports
from pyrovae.config import Data, literal
from pyrovae.data import Dataset
from pyrovae.errors import ConfigError, DataError, Problem
from pyrovae.isolation import isolated
from pyrovae.likelihoods import Likelihood
from pyrovae.moments import Moments, moments
from pyrovae.programs import Program
from pyrovae.randomness import seeded

Scorer: TypeAlias = Likelihood | Program
"""What scores data, and so says which ones it takes."""

BITS = constraints.boolean
"""The set that binarised data live on."""

FAR = 10.0
"""A mean of more standard deviations than that, and of more than 1, is far from 0."""

UNIT_SCALE = 0.03, 30.0
"""Standard deviations that a network learns about as well as 1."""

GREY = 0.5
"""Values from 0 to at least this, and at most to 1, are grey values in their usual unit."""

HELD = 2.0**-12
"""Standard deviations of a cell by which numbers of float32 may be apart where float32 holds the cell.

Values are then moved by less than a hundredth of the smallest scale that a likelihood learns by default.
"""

LOST = 2.0**-7
"""Standard deviations of a cell by which numbers of float32 may be apart where nothing else is to be had."""

SMALLEST = torch.finfo(torch.float32).tiny
"""Of the standard deviations that a likelihood can keep."""

CELLS_TO_JUDGE = 2**22

STANDARDIZED = (
    "columns are standardised (likelihood.standardize = auto): networks, scale and floor work in standard "
    "deviations of a column from its mean; densities and samples stay in the unit of the data"
)


@dataclass(frozen=True)
class Prepared:
    """Data as what scores them takes them."""

    dataset: Dataset
    is_likelihood: bool = True
    """False where the likelihood is evaluated outside its support: no density, but a cross-entropy."""
    notes: tuple[str, ...] = ()
    """What was done with the data, or had better be, in sentences."""


def as_precise(dataset: Dataset, scorer: Scorer) -> Dataset:
    """Training data in the precision of what scores them, which takes float64 where float32 cannot hold them.

    Args:
        dataset: as stored.
        scorer: of a new run; a likelihood that standardises is made to take float64 if need be.

    Raises:
        ConfigError: naming the columns that float32 cannot hold, where what scores them takes nothing else.
    """
    if dataset.train.raw.dtype != torch.float64:
        return dataset
    found = moments(dataset.train.batches())
    if ((found.deviation > 0) & (found.deviation < SMALLEST)).any():
        raise ConfigError([_too_small(dataset, found)])
    rounded_by = found.spacing.max()
    widened = rounded_by > HELD and isinstance(scorer, Likelihood) and scorer.widen()
    if rounded_by > LOST and not widened:
        raise ConfigError([_too_fine(dataset, found, scorer)])
    return _rounded_for(dataset, scorer)


def _rounded_for(dataset: Dataset, scorer: Scorer) -> Dataset:
    return dataset if scorer.precision == torch.float64 else dataset.rounded()


def _too_small(dataset: Dataset, found: Moments) -> Problem:
    """What to say of data whose deviation is no number of float32."""
    smallest = found.deviation[found.deviation > 0].min().item()
    return Problem(
        "data.source",
        f"a column of {dataset.name} has a standard deviation of {smallest:.3g}, and float32 has no such "
        f"number; multiply the data by {10.0 ** -round(math.log10(smallest)):g}",
    )


def _too_fine(dataset: Dataset, found: Moments, scorer: Scorer) -> Problem:
    """What to say of data that float32 cannot hold to a scorer that takes nothing else."""
    places = [tuple(place) for place in (found.spacing > LOST).nonzero().tolist()]
    first = places[0]
    if dataset.columns is not None:
        name = f"column {dataset.columns[first[0]]!r}"
    else:
        name = f"column {first[0]} (counted from 0)" if len(first) == 1 else f"cell {first}"
    others = f" and {len(places) - 1:,} more" if places[1:] else ""
    standardizing = [
        other
        for other in component.names(scorer.family)
        if "standardize" in component.options(component.find(scorer.family, other))
    ]
    remedy = f"{', '.join(standardizing)}, with standardize = true; or " if standardizing else ""
    return Problem(
        f"{scorer.family}.name",
        f"{component.name_of(type(scorer))!r} computes in float32, which rounds away what varies in {name}"
        f"{others} of {dataset.name}: its values are about {found.mean[first]:.6g} and their "
        f"standard deviation is {found.deviation[first]:.3g}. What fits: {remedy}subtract from each column "
        "what its values have in common",
    )


@isolated()
def prepare(dataset: Dataset, options: Data, scorer: Scorer) -> Prepared:
    """Dequantise, squeeze and binarise as configured, and refuse data outside the support.

    Validation and test rows are drawn once; training rows anew on every read, until :meth:`Split.drawn`.

    Args:
        dataset: as stored.
        options: of the run.
        scorer: the likelihood of the run, or a program that scores data itself.

    Raises:
        ConfigError: naming the data's range, the support, and the choices that fit.
        DataError: data that cannot be changed as configured.
    """
    dataset = _rounded_for(dataset, scorer)
    prepared = _changed(dataset, options, scorer.support)
    if _within(prepared.dataset, scorer.support):
        return replace(prepared, notes=(*prepared.notes, *_advice(prepared.dataset, scorer)))
    tolerated = scorer.tolerated if options.binarize == "none" else None
    if tolerated is None or not _within(prepared.dataset, tolerated):
        raise ConfigError([_outside(prepared.dataset, dataset, options, scorer)])
    name = component.name_of(type(scorer))
    note = f"{name} on grey values is no likelihood: what is maximised bounds minus a cross-entropy"
    return replace(prepared, is_likelihood=False, notes=(*prepared.notes, note))


def _changed(dataset: Dataset, options: Data, support: Constraint) -> Prepared:
    """The data as the options change them for a likelihood with that support."""
    notes = list(dataset.notes)
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
        high = dataset.range()[1]
        dataset = dataset.binarized(mode)
        keeping = "data.binarize = none, or another likelihood, keeps them"
        notes.append(f"grey values are binarised ({mode}): {keeping}")
        if high < GREY:
            notes.append(
                f"no value is above {high:.3g}, so most bits are 0: set data.divisor = {high:.3g} where that "
                "value stands for white"
            )
    return Prepared(dataset, notes=tuple(notes))


def _advice(dataset: Dataset, scorer: Scorer) -> Iterator[str]:
    """What to say of the unit of the data to a likelihood that standardises them, or could."""
    if not isinstance(scorer, Likelihood):
        return
    if scorer.standardizes and scorer.options.get("standardize") == "auto":
        yield STANDARDIZED
    step = math.ceil(dataset.train.raw.numel() / CELLS_TO_JUDGE)
    with seeded("advice"):
        found = moments([dataset.train.rows(slice(None, None, step)).flatten(1)])
    varies = found.deviation > 0
    if not varies.any():
        return
    yield from scorer.strains(found)
    if scorer.standardizes is not False or not supports.same(scorer.support, constraints.real):
        return
    low, high = dataset.range()
    if low >= 0 and GREY <= high <= 1:
        return  # near enough to unit scale, however little most cells vary
    mean, deviation = found.mean[varies].abs(), found.deviation[varies]
    far, usual = mean > (FAR * deviation).clamp(min=1), deviation.median().item()
    if far.double().mean() >= 0.1 or not UNIT_SCALE[0] <= usual <= UNIT_SCALE[1]:
        yield (
            "data far from unit scale train slowly: the median standard deviation of a cell is "
            f"{usual:.3g}, and {far.sum()} of {len(far)} cells that vary have means of more than {FAR:g} "
            "standard deviations; --set likelihood.standardize=true has networks work in standard deviations "
            "from the mean of each cell"
        )


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


def _outside(prepared: Dataset, dataset: Dataset, options: Data, scorer: Scorer) -> Problem:
    """What to say of data that a likelihood does not take."""
    own = component.name_of(type(scorer))
    low, high = prepared.range()
    values = dataset.distinct()
    others = [
        name
        for name in component.names(scorer.family)
        if name != own and (support := component.support_of(scorer.family, name)) is not None
        if _fits(values, options, support)
    ]
    choices = [f"{scorer.family} = {', '.join(others)}"] if others else []
    choices += _remedies(values, options, scorer)
    return Problem(
        f"{scorer.family}.name",
        f"{own!r} takes values in {supports.in_words(scorer.support)}; {dataset.name} has values from "
        f"{low:g} to {high:g}. What fits: {'; '.join(choices) or 'nothing'}",
    )


def _remedies(dataset: Dataset, options: Data, scorer: Scorer) -> list[str]:
    """The fewest settings with which a likelihood takes these data, in all ways; each has been tried."""
    for _, as_many in groupby(sorted(_settings(dataset, options, scorer), key=len), key=len):
        if found := [each for each in as_many if _fits_with(each, dataset, options, scorer)]:
            return [" with ".join(f"{place} = {_typed(value)}" for place, value in s.items()) for s in found]
    return []


def _settings(dataset: Dataset, options: Data, scorer: Scorer) -> Iterator[dict[str, Any]]:
    """What to try: another divisor, other changes of the data, and another option of the likelihood."""
    now, high = dataset.train.divisor, max(1, math.ceil(dataset.divided(1).range()[1]))
    for divisor in sorted({now, 1, 255 if 128 < high <= 255 else high}):
        choices: list[list[dict[str, Any]]] = [
            [{} if divisor == now else {"data.divisor": divisor}],
            [{}, {"data.binarize": "auto"}],
            [{}, {"data.dequantize": not options.dequantize}],
            [{}, {"data.squeeze": 0.001}],
            [{}, *_other_options(scorer, counts={int(divisor) + 1, high + 1})],
        ]
        for parts in product(*choices):
            yield {place: value for part in parts for place, value in part.items()}


def _other_options(scorer: Scorer, counts: Set[int]) -> Iterator[dict[str, Any]]:
    """One option at a time: one of the counts, within its bounds, or one of the words that it may be.

    Of a program's own options, none is known to be about data.
    """
    if not isinstance(scorer, Likelihood):
        return
    for name, (annotation, _) in component.options(type(scorer)).items():
        others: list[Any]
        if type(scorer.options[name]) is int:
            others = [count for count in sorted(counts) if _is_allowed(annotation, count)]
        else:
            others = _words(annotation)
        yield from ({f"likelihood.{name}": other} for other in others)


def _is_allowed(annotation: Any, value: int) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def _words(annotation: Any) -> list[str]:
    if get_origin(annotation) is Annotated:
        return _words(get_args(annotation)[0])
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _fits_with(settings: Mapping[str, Any], dataset: Dataset, options: Data, scorer: Scorer) -> bool:
    """Whether the data lie on the likelihood's support once these settings are made too."""
    made: dict[str, dict[str, Any]] = {"data": {}, "likelihood": {}}
    for place, value in settings.items():
        section, _, name = place.partition(".")
        made[section][name] = value
    other = scorer
    if made["likelihood"]:
        other = type(scorer)(**scorer.given, **{**scorer.options, **made["likelihood"]})
    divided = dataset.divided(made["data"].get("divisor", dataset.train.divisor))
    return _fits(divided, options.model_copy(update=made["data"]), other.support)


def _typed(value: Any) -> str:
    return literal(value) if isinstance(value, bool) else str(value)
