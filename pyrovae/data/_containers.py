"""What people hold rows in, from tables to PyTorch's data sets, as one array of numbers; knows no file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import data as torch_data

from pyrovae.errors import DataError

_WANTED = "give an array, a tensor or a table of numbers, one row a datum"

# How libraries call a missing value; each of them is not a number.
_MISSING = {"NoneType", "NAType", "NaTType", "MaskedConstant"}
# How the type of a column begins, in pandas, polars and pyarrow, where its values are categories.
_CATEGORIES = ("category", "categorical", "enum", "dictionary")
_KINDS = {"M": "dates", "m": "durations", "c": "complex numbers", "U": "text", "S": "text", "V": "records"}
_MADE_NUMBERS = {
    "text": "pandas.get_dummies makes numbers of text, and column.astype(float) of the text of numbers",
    "categories": "pandas.get_dummies makes numbers of categories",
    "dates": "(column - start) / numpy.timedelta64(1, 'D') makes days of dates",
    "durations": "column / numpy.timedelta64(1, 's') makes seconds of durations",
    "complex numbers": "numpy.stack([x.real, x.imag], -1) makes real numbers of complex ones",
}


class Contents(NamedTuple):
    """What a container holds."""

    rows: NDArray[Any]
    """Real numbers; a missing one is not a number."""
    columns: tuple[str, ...] | None = None
    """The names of the columns, where the container has any."""
    labels: Any = None
    """What it has beside the rows, as it is."""


def contents(place: str, values: Any) -> Contents:
    """The rows in a container, the names of their columns and their labels.

    Args:
        place: what an error calls the rows.
        values: a NumPy array (masked and structured ones too), a tensor, a DataFrame or a table of pandas,
            polars or pyarrow, a sparse matrix, a data set or loader of PyTorch, or a list of rows, tensors or
            images.

    Raises:
        DataError: a container whose rows are not plain, or columns that hold no numbers.
    """
    for is_one, read in _CONTAINERS:
        if is_one(values):
            return read(place, values)
    return Contents(_numbers(place, _array(place, values)))


def label_array(place: str, labels: Any) -> NDArray[Any]:
    """Labels as an array; one column of them is as good as a row."""
    if isinstance(labels, np.ma.MaskedArray) and np.ma.getmaskarray(labels).any():
        labels = np.ma.filled(labels.astype(object), None)
    array = _array(place, labels)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _array(place: str, values: Any) -> NDArray[Any]:
    """Any array, whatever it holds."""
    if isinstance(values, Tensor):
        return _tensor(place, values)
    if isinstance(values, np.memmap):
        return values
    try:
        return np.asarray(values)
    except ValueError as error:
        shapes = list(map(_shape, values))
        odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), 0)
        raise DataError(f"{place}: {_odd(shapes[0], odd, shapes[odd])}.") from error
    except (TypeError, RuntimeError) as error:
        # What an array on another device, or of another library, says of itself.
        reason = str(error).split("\n")[0].rstrip(".")
        raise DataError(
            f"{place} is of type {_type(values)}, and NumPy cannot read it ({reason})."
        ) from error


def _shape(row: Any) -> tuple[int, ...] | None:
    try:
        return np.shape(row)
    except ValueError:
        return None


def _odd(first: tuple[int, ...] | None, row: int, other: tuple[int, ...] | None) -> str:
    """That rows have two shapes, or that one of them has none."""
    if first is None or other is None:
        return f"row {0 if first is None else row} is itself made of rows of several lengths"
    if row == 1 and len(first) > 1 and other == first[:1]:
        return "this is a pair of rows and labels; give them apart, as X and y"
    return f"rows need one shape, and row 0 has {first} and row {row} has {other}"


def _tensor(place: str, values: Tensor) -> NDArray[Any]:
    if values.is_meta:
        raise DataError(f"{place}: a tensor on the device 'meta' holds no numbers.")
    if values.is_nested:
        raise DataError(f"{place}: the rows of a nested tensor have no common shape; pad them to one.")
    if values.is_quantized:
        values = values.dequantize()
    # NumPy has no bfloat16, and float32 is what is stored anyway.
    if values.is_floating_point() and values.element_size() < 4:
        values = values.float()
    return values.to_dense().numpy(force=True)


def _masked(place: str, values: np.ma.MaskedArray[Any, Any]) -> Contents:
    """A masked cell is a missing one."""
    if values.dtype.names:
        return _structured(place, values)
    rows, hidden = _numbers(place, values.data), np.ma.getmaskarray(values)
    if not hidden.any():
        return Contents(rows)
    return Contents(np.where(hidden, np.array(np.nan, np.result_type(rows, np.float32)), rows))


def _structured(place: str, values: NDArray[Any]) -> Contents:
    names = values.dtype.names or ()
    if values.ndim != 1 or any(values.dtype[name].shape for name in names):
        raise DataError(f"{place}: records want one dimension of rows and one number a field.")
    kinds = {values.dtype[name] for name in names}
    if len(kinds) == 1 and kinds.pop().kind in "buif" and not isinstance(values, np.ma.MaskedArray):
        # A view: what stays on disk is not read.
        return Contents(structured_to_unstructured(values), _names(place, names))
    return _columns(place, names, [values[name] for name in names])


def _frame(place: str, frame: Any) -> Contents:
    """A table of pandas, polars or pyarrow, column by column."""
    if hasattr(frame, "column_names"):
        return _columns(place, frame.column_names, frame.columns)
    if hasattr(frame, "get_columns"):
        return _columns(place, frame.columns, frame.get_columns())
    for name in ("collect", "compute"):
        if hasattr(frame, name):
            raise DataError(f"{place}: this table is not in memory; give {place}.{name}().")
    labels = list(frame.columns)
    return _columns(place, labels, [frame.iloc[:, i] for i in range(len(labels))])


def _columns(place: str, labels: Sequence[Any], columns: Iterable[Any]) -> Contents:
    names = _names(place, labels)
    arrays, wrong = [], {}
    for label, column in zip(labels, columns, strict=True):
        array = _contents_of_column(place, column)
        if kind := _kind_of_column(column) or _kind(array):
            wrong[str(label)] = kind
        else:
            arrays.append(_as_numbers(array))
    if wrong:
        raise DataError(f"{place}: {_said_of(wrong)}.")
    rows = np.column_stack(arrays) if arrays else np.empty((0, 0))
    return Contents(rows, names)


def _contents_of_column(place: str, column: Any) -> NDArray[Any]:
    if isinstance(column, np.ma.MaskedArray) and column.dtype.kind in "buif":
        return _masked(place, column).rows
    return _array(place, column)


def _names(place: str, labels: Sequence[Any]) -> tuple[str, ...] | None:
    """The names of columns; columns that are only numbered have none."""
    if list(labels) == list(range(len(labels))):
        return None
    names = tuple(map(str, labels))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            f"{place}: {names.count(twice[0])} columns are called {twice[0]!r}, and nobody could tell them "
            "apart in other data; rename them."
        )
    return names


def _kind_of_column(column: Any) -> str | None:
    kind = str(getattr(column, "dtype", getattr(column, "type", ""))).lower()
    return "categories" if kind.startswith(_CATEGORIES) else None


def _said_of(wrong: Mapping[str, str]) -> str:
    """Which columns hold what, and how numbers are made of it."""
    parts = []
    for kind in dict.fromkeys(wrong.values()):
        names = [repr(name) for name, its in wrong.items() if its == kind]
        which = f"columns {', '.join(names)} hold" if len(names) > 1 else f"column {names[0]} holds"
        parts.append(f"{which} {kind}")
    remedies = [_MADE_NUMBERS[kind] for kind in dict.fromkeys(wrong.values()) if kind in _MADE_NUMBERS]
    return "; ".join([", and ".join(parts), "leave out what is no number", *remedies])


def _numbers(place: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array as real numbers, or why it is none."""
    if array.dtype.names:
        return _structured(place, array).rows
    if array.ndim == 0 and array.dtype.kind == "O":
        raise DataError(f"{place} is of type {_type(array[()])}: {_WANTED}.")
    kind = _kind(array)
    if kind is None:
        return _as_numbers(array)
    if array.dtype.kind == "O" and array.ndim == 2:
        kinds = {str(i): kind for i, column in enumerate(array.T) if (kind := _kind(column))}
        raise DataError(f"{place}: {_said_of(kinds)} (columns are counted from 0).")
    advice = [_MADE_NUMBERS[kind]] if kind in _MADE_NUMBERS else []
    if kind == "text":
        advice = ["where it is the text of numbers, numpy.asarray(rows, float) reads it"]
    if kind.endswith(("ndarray", "list", "Tensor")):
        advice = ["numpy.stack(rows) makes one array of arrays of one shape"]
    raise DataError(
        "; ".join([f"{place}: rows are made of real numbers, and these hold {kind}", *advice]) + "."
    )


def _kind(array: NDArray[Any]) -> str | None:
    """What an array holds that is no real number; ``None`` where there is nothing such."""
    if array.dtype.kind in "buif":
        return None
    if array.dtype.kind != "O":
        return _KINDS.get(array.dtype.kind, f"values of dtype {array.dtype}")
    return next((_kind_of_object(value) for value in array.flat if not _is_number(value)), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal | np.bool_) or type(value).__name__ in _MISSING


def _kind_of_object(value: Any) -> str:
    if isinstance(value, str | bytes):
        return "text"
    if isinstance(value, complex | np.complexfloating):
        return "complex numbers"
    name = _type(value)
    if name.rpartition(".")[2] in ("Timestamp", "datetime", "date", "datetime64"):
        return "dates"
    if name.rpartition(".")[2] in ("Timedelta", "timedelta", "timedelta64"):
        return "durations"
    return f"values of type {name}"


def _as_numbers(array: NDArray[Any]) -> NDArray[Any]:
    return np.vectorize(_float, otypes=[np.float64])(array) if array.dtype.kind == "O" else array


def _float(value: Any) -> float:
    if type(value).__name__ in _MISSING:
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _sparse(place: str, matrix: Any) -> Contents:
    try:
        return Contents(_numbers(place, matrix.toarray()))
    except MemoryError as error:
        raise DataError(f"{place}: all cells of a sparse {matrix.shape} do not fit into memory.") from error


def _tensor_data(place: str, values: torch_data.TensorDataset) -> Contents:
    rows, *others = values.tensors
    if len(others) > 1:
        raise DataError(
            f"{place}: of the {len(values.tensors)} tensors of this TensorDataset it is not plain which are "
            "rows and which are labels; give the rows, as dataset.tensors[0]."
        )
    return Contents(_numbers(place, _tensor(place, rows)), labels=others[0] if others else None)


def _loader(place: str, loader: torch_data.DataLoader[Any]) -> Contents:
    """The data set of a loader that only cuts it into batches."""
    batches: Any = loader.batch_sampler
    sampler: Any = loader.sampler if batches is None else getattr(batches, "sampler", None)
    each_once = type(sampler) is torch_data.SequentialSampler or (
        type(sampler) is torch_data.RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    )
    cuts_only = type(batches) in (torch_data.BatchSampler, type(None)) and loader.collate_fn in (
        torch_data.default_collate,
        torch_data.default_convert,
    )
    if not each_once or not cuts_only:
        raise DataError(
            f"{place}: this DataLoader chooses rows or makes batches in its own way; give the rows, as "
            "torch.cat([x for x, *_ in loader])."
        )
    dataset: Any = loader.dataset
    return _items(place, dataset) if isinstance(dataset, list | tuple) else contents(place, dataset)


def _items(place: str, dataset: Any) -> Contents:
    """The rows of a data set that gives one datum after the other, perhaps with its label."""
    if isinstance(dataset, torch_data.IterableDataset) or not hasattr(dataset, "__len__"):
        raise DataError(f"{place}: a data set without a length may have no end; give a list of its rows.")
    items = [dataset[i] for i in range(len(dataset))]
    if not items:
        raise DataError(f"{place}: there is nothing in this data set.")
    if not _is_pair(items[0]):
        return _sequence(place, items)
    if len(items[0]) > 2:
        raise DataError(
            f"{place}: the data set gives {len(items[0])} things a datum, and it is not plain which are rows "
            "and which are labels; give the rows, as [item[0] for item in dataset]."
        )
    labels = [item[1] for item in items] if len(items[0]) == 2 else None
    return _sequence(place, [item[0] for item in items])._replace(labels=labels)


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and bool(item) and (np.ndim(item[0]) > 0 or _is_image(item[0]))


def _sequence(place: str, rows: Sequence[Any]) -> Contents:
    """A list of rows, each an array, a tensor, an image or a list."""
    if isinstance(rows[0], Mapping):
        keys = ", ".join(map(repr, rows[0]))
        raise DataError(
            f"{place}: each datum is a dictionary ({keys}); give the rows alone, as [row[KEY] for row in "
            "data], or pandas.DataFrame(data) where they are columns."
        )
    if _is_named(rows[0]):
        raise DataError(
            f"{place}: each datum is of type {_type(rows[0])}, whose values have names; give one table of "
            "all, as pandas.DataFrame(data), or pandas.concat(data) of tables."
        )
    arrays = list(_each(place, rows))
    odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if odd is not None:
        raise DataError(f"{place}: {_odd(arrays[0].shape, odd, arrays[odd].shape)}.")
    return Contents(np.stack(arrays))


def _each(place: str, rows: Sequence[Any]) -> Iterator[NDArray[Any]]:
    return ((_image if _is_image(row) else contents)(place, row)[0] for row in rows)


def _is_image(value: Any) -> bool:
    """Whether a value is an image of Pillow's, which need not be imported to know it."""
    return hasattr(value, "getbands") and hasattr(value, "convert")


def _image(place: str, image: Any) -> Contents:
    # The numbers of a palette's colours mean nothing.
    return Contents(np.asarray(image.convert("RGB") if image.mode == "P" else image))


def _refused(message: str) -> Callable[[str, Any], Contents]:
    def refuse(place: str, values: Any) -> Contents:
        raise DataError(f"{place} is of type {_type(values)}: {message}.")

    return refuse


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_list_of_things(values: Any) -> bool:
    """Whether a list holds rows that NumPy alone would misread."""
    return isinstance(values, list | tuple) and any(
        isinstance(row, Tensor | np.ma.MaskedArray | Mapping) or _is_image(row) or _is_named(row)
        for row in values
    )


def _is_named(row: Any) -> bool:
    """Whether the values of a row have names: a series of pandas, a table, a named tuple."""
    return any(hasattr(type(row), name) for name in ("columns", "to_frame", "_fields"))


def _is_frame(values: Any) -> bool:
    # Of the class, since a table that is not in memory warns when it is asked itself.
    has = partial(hasattr, type(values))
    return has("columns") and any(map(has, ("iloc", "get_columns", "column_names", "collect", "compute")))


def _is_kind(*kinds: type) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, kinds)


# The first that knows a container reads it.
_CONTAINERS: tuple[tuple[Callable[[Any], bool], Callable[[str, Any], Contents]], ...] = (
    (_is_kind(np.ma.MaskedArray), _masked),
    (lambda values: isinstance(values, np.ndarray) and bool(values.dtype.names), _structured),
    (_is_kind(torch_data.TensorDataset), _tensor_data),
    (_is_kind(torch_data.DataLoader), _loader),
    (_is_kind(torch_data.Dataset), _items),
    (_is_frame, _frame),
    (lambda values: hasattr(values, "toarray"), _sparse),
    (_is_list_of_things, _sequence),
    (_is_kind(str, bytes, Path), _refused("from Python, give the rows themselves, as numpy.load(PATH)")),
    (
        _is_kind(Mapping),
        _refused("give one of its arrays, or make a pandas.DataFrame of it where they are columns"),
    ),
    (_is_kind(Iterator, Set), _refused("give a list of rows")),
    (_is_image, _refused("give a list of images, one a datum")),
)
