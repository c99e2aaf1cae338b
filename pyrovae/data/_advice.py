"""What had better be looked at in rows of numbers: row numbers, codes of missing values; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers that files have where a value is missing: nines, the ends of integers, what netCDF fills in.
_CODES = np.array(
    [sign * (10.0**digits - 1) for sign in (-1, 1) for digits in range(2, 8)]
    + [-(2.0**15), -(2.0**31), -1e20, 1e20, -1e30, 1e30, 9.969209968386869e36]
)
# Of fewer rows nobody can say that a column counts them.
_FEWEST = 10
# How many columns are named.
_MOST = 5


def advice(rows: NDArray[Any], columns: Sequence[str] | None) -> Iterator[str]:
    """Sentences on what may stand in rows without being data.

    Args:
        rows: (n, \\*event_shape), finite.
        columns: the names of the cells of a row, if they have any.
    """
    if len(rows) < _FEWEST or rows.dtype.kind == "b" or rows.dtype == np.uint8:
        return
    # What fills a picture or a grid fills any of its cells.
    table = rows if rows.ndim == 2 else rows.reshape(-1, 1)
    names = columns or [str(i) for i in range(table.shape[1])]
    if rows.ndim == 2 and (counting := [names[i] for i in _counting(rows)]):
        yield f"{_named(counting)} only the number of the row: leave it out if it is no measurement"
    coded: dict[float, list[str]] = {}
    for i, code in _coded(table):
        coded.setdefault(code, []).append(names[i])
    for code, which in coded.items():
        where = _named(which) if rows.ndim == 2 else "the data hold"
        yield (
            f"{where} {code:.8g} far from all other values: if it stands for a missing value, write "
            "NaN in its place"
        )


def _counting(table: NDArray[Any]) -> list[int]:
    """The columns that are 0, 1, 2, ... or 1, 2, 3, ..."""
    n, first = len(table), table[0]
    ends = (first == 0) | (first == 1)
    ends &= (table[1] == first + 1) & (table[-1] == first + n - 1)
    return [int(i) for i in np.flatnonzero(ends) if np.array_equal(table[:, i], first[i] + np.arange(n))]


def _coded(table: NDArray[Any]) -> Iterator[tuple[int, float]]:
    """The columns whose lowest or highest value is a code, and far from all others."""
    for end in (table.min(0), table.max(0)):
        for i in np.flatnonzero(np.isin(end.astype(np.float64), [_CODES, _CODES.astype(np.float32)])):
            others = table[table[:, i] != end[i], i].astype(np.float64)
            if len(others) and np.abs(others - float(end[i])).min() > np.ptp(others):
                yield int(i), float(end[i])


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MOST]))
    if len(names) > _MOST:
        shown += f", ... ({len(names):,} in all)"
    return f"columns {shown} hold" if len(names) > 1 else f"column {shown} holds"
