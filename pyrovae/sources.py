"""Where data come from: a name or a path, known or refused before anything is read; reads no row."""

from __future__ import annotations

import difflib
from pathlib import Path

from pyrovae.component import module_names
from pyrovae.errors import DataError

SUFFIXES = (".npy", ".npz")
"""How the names of files end that arrays are read from."""

PYTHON_ARRAY = "array-from-python"
"""The source of a run whose data came as an array and are kept nowhere."""

_PATHS = "a path to a .npy or .npz file or to a folder of images"
_FROM_CSV = (
    """; np.save("table.npy", np.loadtxt("table.csv", delimiter=",", skiprows=1)) makes one of a table"""
)


def names() -> list[str]:
    """The sources that have a name, found without importing them."""
    return module_names("pyrovae.data")


def check(source: str) -> None:
    """Refuse a source that is not there, or that is no file of rows.

    Raises:
        DataError: with the names that there are.
    """
    path = Path(source).expanduser()
    is_array = path.suffix.lower() in SUFFIXES
    if source in names() or source == PYTHON_ARRAY or path.is_dir() or (is_array and path.is_file()):
        return
    if path.exists():
        from_csv = _FROM_CSV if path.suffix.lower() == ".csv" else ""
        raise DataError(f"{source} is no file that holds rows of data: give {_PATHS}{from_csv}.")
    if is_array or len(path.parts) > 1:
        raise DataError(f"There is no file or folder {source}.")
    close = difflib.get_close_matches(source, names(), n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise DataError(f"Unknown data source {source!r}{hint}: give {', '.join(names())}, or {_PATHS}.")
