"""Arrays from memory, .npy and .npz files as rows of data; knows nothing of splits that are cut."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrovae.data._cut import Parts
from pyrovae.data._dataset import Labels, Split
from pyrovae.data._disk import RowsOnDisk
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


def read_npy(path: Path) -> Parts:
    """The rows of a .npy file: in memory, or on disk where the file is large."""
    with _reading(path.name):
        # Copy on write, since torch takes no array that is read-only; a system may refuse to map a file that
        # is larger than its memory so.
        array = np.lib.format.open_memmap(path, mode="r" if path.stat().st_size > _IN_MEMORY else "c")
    return Parts(split_of(path.name, array))


def read_npz(path: Path) -> Parts:
    """The rows of an .npz file, and its held-out rows and labels, under the keys of ``_KEYS``."""
    arrays = _members(path)
    _check_keys(path.name, arrays.keys())
    parts = {key: _part(path.name, arrays, key) for key in _KEYS}
    return Parts(**{key: part for key, part in parts.items() if part is not None})


def split_of(place: str, rows: ArrayLike | Tensor, labels: ArrayLike | Tensor | None = None) -> Split:
    """Rows, and labels if there are any, checked and stored; ``place`` is what an error calls them."""
    stored = _rows(place, _array(place, rows))
    return Split(stored, None if labels is None else _labels(place, _array(place, labels), len(stored)))


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


def _part(place: str, arrays: Mapping[str, NDArray[Any]], part: str) -> Split | None:
    rows, labels = (_member(place, arrays, keys) for keys in _KEYS[part])
    if rows is None and labels is not None:
        raise DataError(f"{place}: there are labels for {part} rows and no {part} rows.")
    return None if rows is None else split_of(f"{place} ({part})", rows, labels)


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


def _array(place: str, values: ArrayLike | Tensor) -> NDArray[Any]:
    if isinstance(values, np.memmap):
        return values
    if isinstance(values, Tensor):
        # NumPy has no bfloat16, and float32 is what is stored anyway.
        return (values.float() if values.is_floating_point() else values).numpy(force=True)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{place}: these are not rows of one shape ({error}).") from error


def _rows(place: str, array: NDArray[Any]) -> Tensor | RowsOnDisk:
    if array.dtype.kind not in "buif":
        raise DataError(f"{place}: rows are made of real numbers, and these have dtype {array.dtype}.")
    if array.ndim < 2:
        raise DataError(
            f"{place}: one row a datum is wanted, at least 2 dimensions, and the shape is {array.shape}."
        )
    if not array.size:
        raise DataError(f"{place}: there is nothing in an array of shape {array.shape}.")
    if array.dtype.kind == "f":
        _check_finite(place, array)
    if isinstance(array, np.memmap) and array.nbytes > _IN_MEMORY:
        return RowsOnDisk(np.asarray(array))
    return torch.from_numpy(_stored(array))


def _stored(array: NDArray[Any]) -> NDArray[Any]:
    """The array as uint8 or float32, writeable and in C order, copied only where it has to be."""
    kind = np.uint8 if array.dtype.kind == "b" or array.dtype == np.uint8 else np.float32
    return np.require(array.astype(kind, copy=False), requirements=["C", "W"])


def _check_finite(place: str, array: NDArray[Any]) -> None:
    bad = [start + row for start, part in _chunks(array) for row in _not_finite(part)]
    if bad:
        raise DataError(
            f"{place}: {len(bad):,} of {len(array):,} rows hold values that are not finite as float32, "
            f"the first is row {bad[0]} (counted from 0); remove these rows or fill the values in."
        )


def _not_finite(rows: NDArray[Any]) -> NDArray[np.intp]:
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False)
    return np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))


def _chunks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    size = max(1, _CHUNK_CELLS // math.prod(array.shape[1:]))
    return ((start, array[start : start + size]) for start in range(0, len(array), size))


def _labels(place: str, labels: NDArray[Any], n: int) -> Labels:
    if labels.shape != (n,):
        raise DataError(f"{place}: {n} rows want labels of shape ({n},), and theirs is {labels.shape}.")
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels):
        return labels.astype(str)
    if labels.dtype.kind in "US":
        return labels.astype(str)
    if labels.dtype.kind in "buif" and np.array_equal(labels, whole := _whole(labels)):
        return whole
    raise DataError(f"{place}: labels are whole numbers or strings, and these have dtype {labels.dtype}.")


def _whole(labels: NDArray[Any]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        return labels.astype(np.int64)
