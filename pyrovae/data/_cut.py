"""From what a source brings to the splits of a dataset; knows no file and no run's seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrovae.data._columns import check_columns
from pyrovae.data._dataset import Dataset, Labels, Split
from pyrovae.errors import DataError
from pyrovae.isolation import isolated

# What a random choice is for is its seed: no choice depends on another, and none on the seed of a run.
_LIMIT, _TEST, _VALIDATION = 0, 1, 2


class Parts(NamedTuple):
    """What a source brings: training rows, and the held-out rows that are its own, if it has any."""

    train: Split
    validation: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()
    """What was decided when they were read, in sentences."""

    @classmethod
    def of(cls, parts: Mapping[str, Split], notes: Iterable[str] = ()) -> Parts:
        """The parts of a mapping by their names, training rows always among them."""
        return cls(parts["train"], parts.get("validation"), parts.get("test"), tuple(notes))

    def map(self, change: Callable[[Split], Split]) -> Parts:
        """The same parts, each one changed."""
        return Parts.of({name: change(part) for name, part in self.present().items()}, self.notes)

    def present(self) -> dict[str, Split]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    def holding(self, name: str) -> Split:
        """The part that has the rows of that name: the training rows, where it is not there itself."""
        return self.present().get(name, self.train)


@isolated()
def assemble(
    name: str,
    parts: Parts,
    *,
    validation: float,
    test: float,
    limit: int | None,
    exclude_labels: Sequence[int | str],
    divisor: float | None,
) -> Dataset:
    """Scale, drop labels, limit, and cut off what the source does not hold out itself, in this order."""
    _check_options(validation, test, limit, divisor)
    _check_shapes(name, parts)
    if divisor is not None:
        parts = parts.map(lambda part: replace(part, divisor=divisor))
    places = {key: torch.arange(len(part)) for key, part in parts.present().items()}
    if exclude_labels:
        places = _without_labels(name, parts, {str(label) for label in exclude_labels})
    if limit is not None and limit < len(places["train"]):
        _, places["train"] = _held_out(places["train"], limit, _LIMIT)
    for key, fraction, seed in (("test", test, _TEST), ("validation", validation, _VALIDATION)):
        if key not in places:
            rows = places["train"]
            places["train"], places[key] = _held_out(rows, round(fraction * len(rows)), seed)
    if not len(places["train"]):
        raise DataError(
            f"{name}: no training row remains; hold out less with data.test and data.validation, "
            "raise data.limit, or exclude fewer labels."
        )
    # Only now are rows copied, and each of them once.
    cut = {key: _taken(parts.holding(key), rows) for key, rows in places.items()}
    return Dataset(name, cut["train"], cut["validation"], cut["test"], parts.notes)


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """The split without ``count`` rows chosen at random, and those rows, both in their stored order."""
    kept, held = _held_out(torch.arange(len(split)), count, _TEST)
    return _taken(split, kept), _taken(split, held)


def _held_out(rows: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of rows without ``count`` of them chosen at random, and those, both in their order."""
    order = _shuffled(len(rows), seed)
    return rows[order[count:].sort().values], rows[order[:count].sort().values]


def _taken(split: Split, rows: Tensor) -> Split:
    return split if len(rows) == len(split) else split.take(rows)


def _shuffled(n: int, seed: int) -> Tensor:
    # RandomState's stream is frozen, unlike those of NumPy's and torch's generators: splits never change.
    return torch.from_numpy(np.random.RandomState(seed).permutation(n))


def _without_labels(name: str, parts: Parts, unwanted: set[str]) -> dict[str, Tensor]:
    """The numbers of the rows of each part that have none of the labels."""
    # Typed on a command line, a label may be a number where the data have a string: compare them as strings.
    texts = {key: _texts(f"{name} ({key})", part.labels) for key, part in parts.present().items()}
    known = set().union(*(map(str, np.unique(labels)) for labels in texts.values()))
    if unknown := unwanted - known:
        raise DataError(
            f"data.exclude_labels: {name} has no label {_quoted(unknown)}; its labels are {_quoted(known)}."
        )
    return {
        key: torch.from_numpy(np.flatnonzero(~np.isin(labels, sorted(unwanted))))
        for key, labels in texts.items()
    }


def _texts(place: str, labels: Labels | None) -> Labels:
    if labels is None:
        raise DataError(f"data.exclude_labels: the rows of {place} have no labels, so none can be excluded.")
    return labels.astype(str)


def _quoted(labels: set[str], at_most: int = 20) -> str:
    # Numbers in the order of numbers: 2 before 10.
    ordered = sorted(labels, key=lambda label: (len(label), label) if label.isdigit() else (math.inf, label))
    return ", ".join(map(repr, ordered[:at_most])) + (", ..." if len(ordered) > at_most else "")


def _check_shapes(name: str, parts: Parts) -> None:
    for key, part in parts.present().items():
        if part.event_shape != parts.train.event_shape:
            raise DataError(
                f"{name}: training rows have shape {parts.train.event_shape} and {key} rows have "
                f"{part.event_shape}; all rows need one shape."
            )
        check_columns(f"{name} ({key})", part.columns, parts.train.columns)


def _check_options(validation: float, test: float, limit: int | None, divisor: float | None) -> None:
    for key, fraction in {"validation": validation, "test": test}.items():
        if not 0 <= fraction < 1:
            raise DataError(f"data.{key} is a fraction of the rows, from 0 to below 1, and not {fraction}.")
    if limit is not None and limit < 1:
        raise DataError(f"data.limit is the number of training rows to keep, at least 1, and not {limit}.")
    if divisor is not None and not 0 < divisor < math.inf:
        raise DataError(f"data.divisor is what values are divided by, a number above 0, and not {divisor}.")
