"""Sources of data, each a name or a path, as splits in memory; knows no model.

A named source is a module of this folder without a leading underscore: its name is the module's, and its
``read(data_dir)`` gives the parts that the source brings.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from pyrovae.data._arrays import parts_of, read_file
from pyrovae.data._classes import ClassesOption
from pyrovae.data._columns import Columns, check_columns
from pyrovae.data._cut import Parts, assemble
from pyrovae.data._dataset import Binarization, Dataset, Split
from pyrovae.data._images import read_folder
from pyrovae.data._layout import LayoutOption, as_given, channels_first, shape_as_given
from pyrovae.errors import DataError
from pyrovae.sources import check, names

__all__ = [
    "Binarization",
    "Columns",
    "Dataset",
    "Split",
    "as_given",
    "channels_first",
    "check_columns",
    "from_arrays",
    "load",
    "names",
    "shape_as_given",
]


class _OfFolders(TypedDict):
    """The options of folders of images."""

    size: tuple[int, int] | None
    color: bool
    classes: ClassesOption


def load(
    source: str,
    *,
    data_dir: Path | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    limit: int | None = None,
    exclude_labels: Sequence[int | str] = (),
    divisor: float | None = None,
    layout: LayoutOption = "auto",
    size: tuple[int, int] | None = None,
    color: bool = False,
    classes: ClassesOption = "auto",
) -> Dataset:
    """Load a named source, a .npy or .npz file or a folder of images.

    The same source and options always give the same splits, whatever the seed of a run is.

    Args:
        source: One of :func:`names`, or a path; a name goes first, and ``./digits`` is always a path.
        data_dir: Where downloaded data lie, torchvision's root; by default the user's cache folder.
        validation: The fraction of the training rows (after ``test``) to validate on, for a source without
            validation rows of its own.
        test: The fraction of the rows to test on, for a source without test rows of its own.
        limit: Keep at most this many training rows, chosen before test and validation rows are cut off.
        exclude_labels: Leave out the rows that have these labels, in every split.
        divisor: What stored values are divided by; else the source's own 16 (digits), 255 (images) or 1.
        layout: Where the channels of data of three axes stand in a file: ``channels-first``,
            ``channels-last``, or what the shape says. In the splits they come first.
        size: Height and width that the images of a folder are resized to.
        color: Whether the images of a folder keep their colours.
        classes: Whether the label of an image is the folder it lies in (``leaf``) or the highest one that
            does not hold all images (``top``); ``auto`` takes the one that is meant, or asks.

    Raises:
        DataError: No such source, or rows, labels or options that are of no use.

    Example:
        >>> load("digits").describe()
        'digits: 1,293 train, 144 validation, 360 test rows of (1, 8, 8), values 0 to 1'
    """
    of_folders: _OfFolders = {"size": size, "color": color, "classes": classes}
    name, parts = _read(str(source), data_dir, of_folders, layout, needs_labels=bool(exclude_labels))
    return assemble(
        name,
        parts,
        validation=validation,
        test=test,
        limit=limit,
        exclude_labels=exclude_labels,
        divisor=divisor,
    )


def from_arrays(
    x: Any,
    y: Any = None,
    *,
    name: str = "array",
    validation: float = 0.1,
    test: float = 0.1,
    limit: int | None = None,
    exclude_labels: Sequence[int | str] = (),
    divisor: float | None = None,
    layout: LayoutOption = "auto",
) -> Dataset:
    """A dataset of rows ``x``, and labels ``y``, that are there already; options as in :func:`load`.

    Values are taken as they are and divided by ``divisor`` only where it is given. Labels are checked only
    where ``exclude_labels`` reads them; those that are no classes are left out.

    Args:
        x: Rows, in an array (masked cells are missing ones), a tensor, a DataFrame or table of pandas, polars
            or pyarrow, a sparse matrix, a data set or a loader of PyTorch, or a list of rows or images.
        y: One label a row; those of a data set, where none are given.

    Raises:
        DataError: Rows that are no numbers, or not finite; a container whose rows are not plain.

    Example:
        >>> from_arrays(X, validation=0.2, test=0.2).event_shape
        (8, 8)
    """
    return assemble(
        name,
        parts_of({"train": (name, x, y)}, needs_labels=bool(exclude_labels), layout=layout),
        validation=validation,
        test=test,
        limit=limit,
        exclude_labels=exclude_labels,
        divisor=divisor,
    )


def _read(
    source: str,
    data_dir: Path | None,
    of_folders: _OfFolders,
    layout: LayoutOption,
    *,
    needs_labels: bool,
) -> tuple[str, Parts]:
    path = Path(source).expanduser()
    named = source in names()
    if layout == "channels-last" and (named or path.is_dir()):
        raise DataError(f"data.layout is for arrays: {source} has its channels first.")
    if path.is_dir() and not named:
        return path.resolve().name, read_folder(path, **of_folders)
    if of_folders != {"size": None, "color": False, "classes": "auto"}:
        raise DataError(
            f"data.size, data.color and data.classes are for folders of images, and {source} is none."
        )
    if named:
        return source, importlib.import_module(f"{__name__}.{source.replace('-', '_')}").read(data_dir)
    check(source)
    return path.name, read_file(path, needs_labels=needs_labels, layout=layout)
