"""Names of columns: whether other data have those of the data that a run was trained on; knows no rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeAlias

from pyrovae.errors import DataError

Columns: TypeAlias = tuple[str, ...]

# How many names an error lists.
_MOST = 20


def check_columns(place: str, found: Columns | None, trained: Columns | None) -> None:
    """Raise if data have other columns than a run was trained on, or the same in another order.

    Where only one of them has names there is nothing to compare, and a warning says so, as in scikit-learn.

    Args:
        place: what an error calls the data.
        found: the names of their columns, if they have any.
        trained: the names of the columns that the run was trained on, if they had any.

    Raises:
        DataError: with the names that differ.
    """
    if trained is None and found is not None and sorted(found) == sorted(map(str, range(len(found)))):
        trained = tuple(map(str, range(len(found))))  # columns that are numbered, and not in this order
    if found == trained:
        return
    if found is None or trained is None:
        of_data, of_run = ("with", "without") if trained is None else ("without", "with")
        warnings.warn(
            f"{place} has columns {of_data} names, and this run was trained on columns {of_run}: they are "
            "taken to be the same columns in the same order",
            stacklevel=2,
        )
        return
    missing = [name for name in trained if name not in found]
    added = [name for name in found if name not in trained]
    if not missing and not added:
        raise DataError(
            f"{place} has its columns in another order than this run was trained on: give them as "
            f"{listed(trained)}, and not as {listed(found)}."
        )
    parts = [f"lacks {listed(missing)}"] if missing else []
    parts += [f"has {listed(added)}, which the run was not trained on"] if added else []
    raise DataError(f"{place} has other columns than this run was trained on: it {' and '.join(parts)}.")


def listed(names: Sequence[str]) -> str:
    """Names in quotes, the first of them where they are many."""
    shown = ", ".join(map(repr, names[:_MOST]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > _MOST else shown
