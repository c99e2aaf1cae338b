"""Arrays from memory, .npy and .npz files as rows of data; knows nothing of splits that are cut."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Set
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.data._advice import advice
from pyrovae.data._columns import Columns, listed
from pyrovae.data._containers import contents, label_array
from pyrovae.data._cut import Parts
from pyrovae.data._dataset import Labels, Split
from pyrovae.data._disk import RowsOnDisk
from pyrovae.data._layout import LayoutOption, channels_first, note, settle
from pyrovae.errors import DataError

# Each part of an .npz: the keys its rows may have, and the keys its labels may have.
_KEYS = {
    "train": (("x", "train"), ("y", "y_train")),
    "validation": (("validation",), ("y_validation",)),
    "test": (("test",), ("y_test",)),
}
_WANTED = (
    "'x' or 'train' (rows), and if you like 'test', 'validation', 'y' or 'y_train', 'y_test', 'y_validation'"
)

# Bytes of a file whose rows are in memory; those of a larger one stay on disk.
_IN_MEMORY = 2**28
# How many cells are looked at together.
_CHUNK_CELLS = 2**20


def read_file(path: Path, *, needs_labels: bool, layout: LayoutOption) -> Parts:
    """The rows of a .npy or .npz file, which stay on disk where there is one array and the file is large.

    The held-out rows and the labels of an .npz file stand under the keys of ``_KEYS``.
    """
    given: dict[str, tuple[str, Any, Any]]
    if path.suffix.lower() == ".npy":
        given = {"train": (path.name, _mapped(path), None)}
    else:
        arrays = _members(path)
        _check_keys(path.name, arrays.keys())
        found = {part: _part(path.name, arrays, part) for part in _KEYS}
        given = {part: each for part, each in found.items() if each}
    parts = parts_of(given, needs_labels=needs_labels, layout=layout)
    lost = [
        given[key][0] for key, part in parts.present().items() if given[key][2] is not part.labels is None
    ]
    notes = [f"the labels of {place} are neither whole numbers nor text, and are left out" for place in lost]
    return parts._replace(notes=(*parts.notes, *notes))


def parts_of(given: Mapping[str, tuple[str, Any, Any]], *, needs_labels: bool, layout: LayoutOption) -> Parts:
    """Rows and their labels, checked and stored.

    Args:
        given: For each part, what an error calls its rows, any container of these, and their labels or None.
        needs_labels: Whether labels that are no classes are refused; else they are left out.
        layout: Where the channels of data of three axes stand.
    """
    read = {part: _split(*each, needs_labels, layout) for part, each in given.items()}
    notes = dict.fromkeys(note for _, notes in read.values() for note in notes)
    return Parts.of({part: split for part, (split, _) in read.items()}, notes)


def _split(
    place: str, values: Any, labels: Any, needs_labels: bool, layout: LayoutOption
) -> tuple[Split, list[str]]:
    """Rows and their labels, and what to say of how they were read."""
    held = contents(place, values)
    labels = held.labels if labels is None else labels
    settled = settle(place, held.rows.shape[1:], layout)
    stored = _rows(place, channels_first(held.rows, settled), held.columns)
    classes = None if labels is None else _labels(place, labels, len(stored), needs_labels)
    said = note(held.rows.shape[1:], settled, layout)
    notes = [*([said] if said else []), *advice(held.rows, held.columns)]
    return Split(stored, classes, columns=held.columns, layout=settled), notes


def _mapped(path: Path) -> NDArray[Any]:
    with _reading(path.name):
        # Copy on write, since torch takes no array that is read-only; a system may refuse to map a file that
        # is larger than its memory so.
        return np.lib.format.open_memmap(path, mode="r" if path.stat().st_size > _IN_MEMORY else "c")


@contextlib.contextmanager
def _reading(place: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise DataError(
            f"{place} cannot be read as a NumPy file without objects in it ({reason})."
        ) from error


def _members(path: Path) -> dict[str, NDArray[Any]]:
    with _reading(path.name), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path.name} is no .npz archive; one array belongs in a file that ends in .npy.")
        return dict(archive)


def _part(
    place: str, arrays: Mapping[str, NDArray[Any]], part: str
) -> tuple[str, NDArray[Any], NDArray[Any] | None] | None:
    rows, labels = (_member(place, arrays, keys) for keys in _KEYS[part])
    if rows is None and labels is not None:
        raise DataError(f"{place}: there are labels for {part} rows and no {part} rows.")
    return None if rows is None else (f"{place} ({part})", rows, labels)


def _member(place: str, arrays: Mapping[str, NDArray[Any]], keys: tuple[str, ...]) -> NDArray[Any] | None:
    found = [key for key in keys if key in arrays]
    if len(found) > 1:
        raise DataError(f"{place}: {found[0]!r} and {found[1]!r} mean the same; keep one of them.")
    return arrays[found[0]] if found else None


def _check_keys(place: str, found: Set[str]) -> None:
    allowed = {key for rows, labels in _KEYS.values() for key in rows + labels}
    if found - allowed or not found & {"x", "train"}:
        keys = ", ".join(map(repr, sorted(found))) or "nothing"
        raise DataError(f"{place} holds {keys}; wanted are {_WANTED}, and nothing else.")


def _rows(place: str, array: NDArray[Any], columns: Columns | None) -> Tensor | RowsOnDisk:
    if array.ndim and not array.size:
        raise DataError(f"{place}: there is nothing in an array of shape {array.shape}.")
    if array.ndim < 2:
        remedy = "; rows.reshape(-1, 1) makes each number a row, rows.reshape(1, -1) all of them one"
        raise DataError(
            f"{place}: one row a datum is wanted, at least 2 dimensions, and the shape is {array.shape}"
            f"{remedy if array.ndim else ''}."
        )
    if array.dtype.kind == "f":
        _check_finite(place, array, columns)
    elif not _is_exact(array, np.float64):
        raise DataError(
            f"{place}: whole numbers above 2^53 are not told apart even in double precision; subtract the "
            "smallest one, or leave out columns of such numbers, as of identifiers."
        )
    if isinstance(array, np.memmap) and array.nbytes > _IN_MEMORY:
        return RowsOnDisk(np.asarray(array), rounded=_is_exact(array, np.float32))
    return torch.from_numpy(_stored(array))


def _stored(array: NDArray[Any]) -> NDArray[Any]:
    """The array as uint8, float32 or float64, writeable and in C order, copied only where it has to be.

    What float32 holds to the last digit is stored so; how much of the other digits is kept is decided when it
    is known what scores the data.
    """
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        kind: type[np.generic] = np.uint8
    else:
        kind = np.float32 if _is_exact(array, np.float32) else np.float64
    return np.require(array.astype(kind, copy=False), requirements=["C", "W"])


def _is_exact(array: NDArray[Any], kind: type[np.generic]) -> bool:
    """Whether each value is a number of that kind."""
    if np.can_cast(array.dtype, kind) and array.dtype.itemsize < 8:  # NumPy calls int64 to float64 safe
        return True
    with np.errstate(invalid="ignore"):
        return all(np.array_equal(part, part.astype(kind).astype(part.dtype)) for _, part in _chunks(array))


def _check_finite(place: str, array: NDArray[Any], columns: Columns | None) -> None:
    bad = [start + row for start, part in _chunks(array) for row in _not_finite(part)]
    if bad:
        where = ""
        if columns is not None:
            wrong = [i for i in range(len(columns)) if len(_not_finite(array[:, i : i + 1]))]
            where = f", and the columns are {listed([columns[i] for i in wrong])}"
        raise DataError(
            f"{place}: {len(bad):,} of {len(array):,} rows hold values that are missing or not finite as "
            f"float32, the first is row {bad[0]} (counted from 0){where}; remove these rows or fill the "
            "values in."
        )


def _not_finite(rows: NDArray[Any]) -> NDArray[np.intp]:
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False)
    return np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))


def _chunks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    size = max(1, _CHUNK_CELLS // math.prod(array.shape[1:]))
    return ((start, array[start : start + size]) for start in range(0, len(array), size))


def _labels(place: str, given: Any, n: int, needed: bool) -> Labels | None:
    """Labels as classes; ``None`` for those that are none, where nobody needs them."""
    try:
        return _classes(place, label_array(place, given), n)
    except DataError:
        if needed:
            raise
        return None


def _classes(place: str, labels: NDArray[Any], n: int) -> Labels:
    if labels.shape != (n,):
        raise DataError(f"{place}: {n} rows want labels of shape ({n},), and theirs is {labels.shape}.")
    if labels.dtype.kind in "US" or all(isinstance(label, str) for label in labels):
        return labels.astype(str)
    wrong = next((i for i, label in enumerate(labels) if not _is_whole(label)), None)
    if wrong is not None:
        raise DataError(
            f"{place}: labels are whole numbers or text, and the label of row {wrong} (counted from 0) is "
            f"{labels[wrong]!s}."
        )
    return labels.astype(np.int64)


def _is_whole(label: Any) -> bool:
    return isinstance(label, Real | np.bool_) and math.isfinite(label) and float(label).is_integer()
