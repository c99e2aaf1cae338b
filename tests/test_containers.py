"""Whatever holds rows: the numbers of the plain array, or a sentence that names what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch.utils import data as torch_data

from pyrovae.data import from_arrays, load
from pyrovae.data._disk import RowsOnDisk
from pyrovae.errors import DataError

ROWS = np.random.RandomState(0).randn(12, 3).astype(np.float32)
IMAGES = np.random.RandomState(1).randint(0, 256, (12, 5, 6)).astype(np.uint8)
CLASSES = np.arange(12) % 3
NAMES = ["a", "b", "c"]


def stored(x: Any, y: Any = None) -> np.ndarray:
    """All rows as they are stored."""
    return np.asarray(from_arrays(x, y, validation=0, test=0).train.raw)


def records(rows: np.ndarray) -> np.ndarray:
    return np.array(list(map(tuple, rows)), [(name, rows.dtype) for name in NAMES])


class Pairs(torch_data.Dataset[Any]):
    """A data set as torchvision's: an image of Pillow's and its class."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, i: int) -> Any:
        return Image.fromarray(IMAGES[i]), int(CLASSES[i])


class Elsewhere:
    """An array that NumPy may not read, as cupy's."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("copy it to the host first.")


def pandas_frame(rows: np.ndarray, **others: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows, columns=NAMES, **others)


def polars_frame(rows: np.ndarray) -> Any:
    return pytest.importorskip("polars").DataFrame(dict(zip(NAMES, rows.T, strict=True)))


def arrow_table(rows: np.ndarray) -> Any:
    return pytest.importorskip("pyarrow").table(dict(zip(NAMES, rows.T, strict=True)))


PLAIN: dict[str, Callable[[np.ndarray], Any]] = {
    "tensor": torch.from_numpy,
    "tensor with a gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "sparse tensor": lambda x: torch.from_numpy(x).to_sparse(),
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "list of arrays": list,
    "lists": lambda x: x.tolist(),
    "objects": lambda x: x.astype(object),
    "big endian": lambda x: x.astype(">f4"),
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "nothing masked": np.ma.masked_array,
    "records": records,
    "masked records": lambda x: np.ma.masked_array(records(x)),
    "csr matrix": sparse.csr_matrix,
    "csc array": sparse.csc_array,
    "TensorDataset": lambda x: torch_data.TensorDataset(torch.from_numpy(x)),
    "TensorDataset with targets": lambda x: torch_data.TensorDataset(*[torch.from_numpy(x)] * 2),
    "Subset": lambda x: torch_data.Subset(torch_data.TensorDataset(torch.from_numpy(x)), range(len(x))),
    "ConcatDataset": lambda x: torch_data.ConcatDataset(
        [torch_data.TensorDataset(torch.from_numpy(part)) for part in (x[:5], x[5:])]
    ),
    "DataLoader": lambda x: torch_data.DataLoader(torch_data.TensorDataset(torch.from_numpy(x)), 5),
    "shuffling DataLoader": lambda x: torch_data.DataLoader(torch.from_numpy(x), 5, shuffle=True),  # type: ignore[arg-type]
    "DataLoader of pairs": lambda x: torch_data.DataLoader(list(zip(x, CLASSES, strict=True)), 5),  # type: ignore[arg-type]
    "pandas": pandas_frame,
    "pandas, nullable": lambda x: pandas_frame(x).convert_dtypes(),
    "pandas, objects": lambda x: pandas_frame(x.astype(object)),
    "pandas, sparse": lambda x: pandas_frame(x).astype("Sparse[float32]"),
    "polars": polars_frame,
    "pyarrow": arrow_table,
}  # fmt: skip


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_containers_have_the_numbers_of_the_array(kind: str) -> None:
    assert np.array_equal(stored(PLAIN[kind](ROWS)), ROWS)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint16", "int64", ">i2", "bool", "uint8"])
def test_numbers_of_every_type_are_taken(dtype: str) -> None:
    rows = (ROWS > 0).astype(dtype)
    found = from_arrays(rows, validation=0, test=0).train
    assert found.raw.dtype == (torch.uint8 if dtype in ("bool", "uint8") else torch.float32)
    assert np.array_equal(np.asarray(found.raw), (ROWS > 0).astype(np.float32))


def test_columns_keep_their_common_type() -> None:
    bits = ROWS > 0
    assert stored(records(bits)).dtype == np.uint8
    assert stored(pandas_frame(bits)).dtype == np.uint8


IMAGE_SETS: dict[str, Callable[[], Any]] = {
    "images": lambda: [Image.fromarray(image) for image in IMAGES],
    "data set": Pairs,
    "subset": lambda: torch_data.Subset(Pairs(), range(12)),
    "list of bytes": lambda: [torch.from_numpy(image) for image in IMAGES],
}


@pytest.mark.parametrize("kind", IMAGE_SETS)
def test_images_are_bytes_as_in_an_array(kind: str) -> None:
    found = stored(IMAGE_SETS[kind]())
    assert found.dtype == np.uint8
    assert np.array_equal(found, IMAGES)


def test_a_palette_is_read_as_its_colours() -> None:
    colored = Image.fromarray(np.stack([IMAGES[0]] * 3, -1))
    assert stored([colored.quantize(256)] * 2).shape == (2, 3, 5, 6)


def test_the_labels_of_a_data_set_can_be_left_out() -> None:
    paired = torch_data.TensorDataset(torch.from_numpy(ROWS), torch.from_numpy(CLASSES))
    for dataset in (paired, torch_data.DataLoader(paired), Pairs()):
        kept = from_arrays(dataset, validation=0, test=0, exclude_labels=[1]).train
        assert kept.labels is not None
        assert kept.labels.tolist() == CLASSES[CLASSES != 1].tolist()


HIDDEN = np.arange(36).reshape(12, 3) % 17 == 4


def _holed(value: Any) -> np.ndarray:
    rows = ROWS.astype(object)
    rows[HIDDEN] = value
    return rows


def _nullable() -> Any:
    frame = pandas_frame(np.arange(36).reshape(12, 3)).astype("Int64")
    return frame.mask(HIDDEN)


MISSING: dict[str, Callable[[], Any]] = {
    "masked": lambda: np.ma.masked_array(np.where(HIDDEN, -9999, ROWS), HIDDEN),
    "masked integers": lambda: np.ma.masked_array(np.where(HIDDEN, -9999, 1), HIDDEN),
    "masked bytes": lambda: np.ma.masked_array(np.ones((12, 3), np.uint8), HIDDEN),
    "masked records": lambda: np.ma.masked_array(
        records(ROWS), list(map(tuple, HIDDEN)), dtype=records(ROWS).dtype
    ),
    "a list of masked rows": lambda: list(np.ma.masked_array(ROWS, HIDDEN)),
    "None": lambda: _holed(None),
    "None in lists": lambda: _holed(None).tolist(),
    "not a number": lambda: np.where(HIDDEN, np.nan, ROWS),
    "infinity": lambda: np.where(HIDDEN, -np.inf, ROWS),
    "beyond float32": lambda: np.where(HIDDEN, 1e40, ROWS.astype(float)),
    "an integer beyond float64": lambda: _holed(10**400),
    "NaT": lambda: _holed(pytest.importorskip("pandas").NaT),
    "NA": lambda: _holed(pytest.importorskip("pandas").NA),
    "nullable pandas": _nullable,
    "null in polars": lambda: polars_frame(_nullable().to_numpy(object, na_value=None)),
    "null in pyarrow": lambda: pytest.importorskip("pyarrow").table(_nullable()),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_cells_are_refused_with_their_rows(kind: str) -> None:
    with pytest.raises(DataError, match=r"^X: 2 of 12 rows hold .*the first is row 1 \(counted from 0\)"):
        from_arrays(MISSING[kind](), name="X")


def _with(**columns: Any) -> Any:
    return pandas_frame(ROWS).assign(**columns)


WORDS = ["one", "two"] * 6

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a path": (lambda: "rows.npy", r"X is of type str: .*numpy\.load"),
    "nothing": (lambda: None, "X is of type NoneType"),
    "a dictionary": (lambda: {"a": [1.0]}, r"X is of type dict: .*pandas\.DataFrame"),
    "dictionaries": (lambda: [{"a": 1.0}], r"each datum is a dictionary \('a'\)"),
    "a generator": (lambda: iter(ROWS), r"X is of type .*iterator: give a list of rows"),
    "a set": (lambda: {1.0, 2.0}, "X is of type set: give a list of rows"),
    "an object": (object, "X is of type object: give an array"),
    "a number": (lambda: 3.0, r"the shape is \(\)"),
    "a row": (lambda: ROWS[0], r"shape is \(3,\); rows\.reshape\(-1, 1\)"),
    "one image": (lambda: Image.fromarray(IMAGES[0]), "give a list of images"),
    "images of two sizes": (
        lambda: [Image.new("L", (5, 6)), Image.new("L", (6, 6))],
        r"row 0 has \(6, 5\) and row 1 has \(6, 6\)",
    ),
    "rows of two lengths": (lambda: [[1.0, 2.0], [3.0]], r"row 0 has \(2,\) and row 1 has \(1,\)"),
    "a row that is none": (lambda: [[1.0, 2.0], None], r"row 0 has \(2,\) and row 1 has \(\)"),
    "ragged within a row": (lambda: [[1.0, [2.0]], [1.0, 2.0]], "row 0 is itself made of rows of several"),
    "rows and labels": (lambda: (ROWS, CLASSES), "a pair of rows and labels; give them apart"),
    "tensors of rows and labels": (
        lambda: [torch.from_numpy(ROWS), torch.from_numpy(CLASSES)],
        "a pair of rows and labels; give them apart",
    ),
    "no rows": (list, r"there is nothing in an array of shape \(0,\)"),
    "no numbers": (lambda: torch.empty(3, 2, device="meta"), "device 'meta' holds no numbers"),
    "bytes of a file": (lambda: b"rows", "X is of type bytes: from Python, give the rows"),
    "a list of series": (
        lambda: [row for _, row in pandas_frame(ROWS).iterrows()],
        r"each datum is of type pandas\..*Series, whose values have names; .*pandas\.DataFrame",
    ),
    "a list of tables": (lambda: [pandas_frame(ROWS)] * 2, r"DataFrame, whose values have names; .*concat"),
    "named tuples": (
        lambda: list(pandas_frame(ROWS).itertuples(index=False)),
        "whose values have names; give one table",
    ),
    "complex": (lambda: ROWS * 1j, r"complex numbers; numpy\.stack\(\[x\.real, x\.imag\], -1\)"),
    "complex tensor": (lambda: torch.from_numpy(ROWS * 1j), "complex numbers"),
    "text": (lambda: np.array([["1", "2"]]), r"hold text; .*numpy\.asarray\(rows, float\)"),
    "dates": (lambda: np.array([["2020-01-01"]], "M8[D]"), "hold dates; "),
    "durations": (lambda: np.array([[3]], "m8[s]"), "hold durations; "),
    "text among objects": (
        lambda: np.array([[1.0, "x", 2, "y"]], object),
        r"columns '1', '3' hold text; .*get_dummies.* \(columns are counted from 0\)",
    ),
    "an array of arrays": (
        lambda: pandas_frame(ROWS).apply(np.asarray, axis=1),
        r"hold values of type numpy\.ndarray; numpy\.stack\(rows\)",
    ),
    "a dataset of pyrovae": (lambda: from_arrays(ROWS), r"X is of type pyrovae\..*Dataset: give an array"),
    "an array of another device": (Elsewhere, r"of type .*Elsewhere, and NumPy cannot read it \(copy"),
    "arrays as objects": (lambda: np.array([[1, ROWS]], object), "column '1' holds values of type numpy"),
    "text in records": (lambda: np.array([(1, "x")], [("n", int), ("s", "U3")]), "column 's' holds text"),
    "arrays in records": (lambda: np.zeros(3, [("n", float, 2)]), "records want .* one number a field"),
    "nested tensor": (
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        "nested tensor",
    ),
    "three tensors": (
        lambda: torch_data.TensorDataset(*[torch.from_numpy(ROWS)] * 3),
        r"dataset\.tensors\[0\]",
    ),
    "dictionaries in a data set": (
        lambda: torch_data.ConcatDataset([[{"image": ROWS[0], "label": 1}]]),  # type: ignore[list-item]
        r"each datum is a dictionary \('image', 'label'\)",
    ),
    "a weighted loader": (
        lambda: torch_data.DataLoader(
            torch_data.TensorDataset(torch.from_numpy(ROWS)),
            sampler=torch_data.WeightedRandomSampler([1.0] * 12, 12),
        ),
        r"this DataLoader chooses rows .*torch\.cat",
    ),
    "a loader with batches of a subset": (
        lambda: torch_data.DataLoader(
            torch_data.TensorDataset(torch.from_numpy(ROWS)),
            batch_sampler=torch_data.BatchSampler(torch_data.SubsetRandomSampler([0, 1]), 2, False),
        ),
        "chooses rows or makes batches in its own way",
    ),
    "a loader with a list of batches": (
        lambda: torch_data.DataLoader(
            torch_data.TensorDataset(torch.from_numpy(ROWS)), batch_sampler=[[0, 1], [3, 4]]
        ),
        "chooses rows or makes batches in its own way",
    ),
    "a loader of its own batches": (
        lambda: torch_data.DataLoader(torch_data.TensorDataset(torch.from_numpy(ROWS)), collate_fn=len),
        "makes batches in its own way",
    ),
    "a text column": (lambda: _with(d=WORDS, e=WORDS), "columns 'd', 'e' hold text; "),
    "a column of categories": (
        lambda: _with(d=pytest.importorskip("pandas").Categorical(CLASSES)),
        "column 'd' holds categories; leave out .*get_dummies",
    ),
    "dates and text": (
        lambda: _with(d=WORDS, e=pytest.importorskip("pandas").date_range("2020", periods=12, tz="UTC")),
        "column 'd' holds text, and column 'e' holds dates; .*days of dates",
    ),
    "polars categories": (
        lambda: polars_frame(ROWS).with_columns(d=pytest.importorskip("polars").Series(WORDS).cast(
            pytest.importorskip("polars").Categorical)),
        "column 'd' holds categories",
    ),
    "a lazy table": (lambda: polars_frame(ROWS).lazy(), r"not in memory; give X\.collect\(\)"),
    "a dictionary in pyarrow": (
        lambda: arrow_table(ROWS).append_column(
            "d", pytest.importorskip("pyarrow").array(WORDS).dictionary_encode()),
        "column 'd' holds categories",
    ),
    "the same name twice": (
        lambda: pandas_frame(ROWS).set_axis(["a", "b", "a"], axis=1),
        "2 columns are called 'a'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_plain_is_refused_in_a_sentence(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(DataError, match=message) as caught:
        from_arrays(make(), name="X")
    assert "\n" not in str(caught.value)


def test_decimals_and_fractions_are_numbers() -> None:
    assert stored([[Decimal("0.5"), True], [1, 2.5]]).tolist() == [[0.5, 1.0], [1.0, 2.5]]


UNREAD: dict[str, Any] = {
    "real": ROWS[:, 0],
    "one-hot": np.eye(3)[CLASSES],
    "not a number": np.full(12, np.nan),
    "too few": CLASSES[:3],
    "None in places": np.array([None, 1, 2] * 4, object),
    "rows": ROWS,
    "masked": np.ma.masked_array(CLASSES, CLASSES == 1),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_labels_are_checked_only_where_they_are_read(kind: str, tmp_path: Path) -> None:
    assert np.array_equal(stored(ROWS, UNREAD[kind]), ROWS)
    with pytest.raises(DataError, match="labels"):
        from_arrays(ROWS, UNREAD[kind], exclude_labels=[1])
    if UNREAD[kind].dtype != object:
        np.savez(tmp_path / "rows.npz", x=ROWS, y=np.asarray(UNREAD[kind], float))
        assert load(str(tmp_path / "rows.npz")).train.raw.shape == (10, 3)


@pytest.mark.parametrize(
    ("labels", "row", "said"),
    [
        ([0, 1, None], 2, "None"),
        ([0, 1, float("nan")], 2, "nan"),
        (["a", "b", None], 0, "a"),
        ([0, 1.5, 2], 1, "1.5"),
        (np.array(["2020", "2021", "2022"], "M8[Y]"), 0, "2020"),
    ],
)
def test_the_first_label_that_is_no_class_is_named(labels: Any, row: int, said: str) -> None:
    given = np.tile(np.asarray(labels if isinstance(labels, np.ndarray) else np.array(labels, object)), 4)
    with pytest.raises(DataError, match=rf"the label of row {row} \(counted from 0\) is {said}"):
        from_arrays(ROWS, given, exclude_labels=[1])


@pytest.mark.parametrize("dtype", [object, float, bool, np.uint8])
def test_whole_numbers_of_every_type_are_classes(dtype: Any) -> None:
    given = (CLASSES == 1).astype(dtype)
    kept = from_arrays(ROWS, given, validation=0, test=0, exclude_labels=[1]).train.labels
    assert kept is not None
    assert kept.tolist() == [0] * 8


def test_a_large_file_with_a_header_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "rows.npy", records(ROWS))
    monkeypatch.setattr("pyrovae.data._arrays._IN_MEMORY", 0)
    found = load(str(tmp_path / "rows.npy"), validation=0, test=0).train
    assert isinstance(found.raw, RowsOnDisk)
    assert found.columns == tuple(NAMES)
    assert np.array_equal(found.rows(slice(None)), ROWS)


def test_a_column_of_labels_is_as_good_as_a_row() -> None:
    found = from_arrays(ROWS, CLASSES[:, None], validation=0, test=0, exclude_labels=[2]).train
    assert len(found) == 8


@pytest.mark.parametrize("make", [records, pandas_frame])
def test_missing_cells_are_refused_with_their_columns(make: Callable[[np.ndarray], Any]) -> None:
    rows = ROWS.copy()
    rows[3, 1] = rows[5, 2] = np.nan
    with pytest.raises(DataError, match=r"2 of 12 rows .* first is row 3 .*, and the columns are 'b', 'c';"):
        from_arrays(make(rows))


# What is said of numbers that may be no data


def noted(x: Any) -> tuple[str, ...]:
    return from_arrays(x).notes


@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_only_counts_the_rows_is_pointed_out(start: int) -> None:
    counted = ROWS.copy()
    counted[:, 1] = start + np.arange(12)
    assert noted(records(counted)) == (
        "column 'b' holds only the number of the row: leave it out if it is no measurement",
    )
    assert "column '1' holds only the number" in noted(counted)[0]
    counted[[3, 4], 1] = counted[[4, 3], 1]
    assert noted(counted) == ()


@pytest.mark.parametrize("code", [-9999, -99.0, 99999, -32768, 1e20, 9.969209968386869e36])
def test_codes_of_missing_values_are_pointed_out(code: float) -> None:
    coded = np.where(HIDDEN, code, ROWS.astype(np.float64))
    (note,) = noted(coded)
    assert note.startswith(f"columns '0', '1' hold {code:.8g} far from all other values")
    assert "if it stands for a missing value, write NaN" in note
    grid = np.where(np.arange(12 * 30).reshape(12, 5, 6) % 17 == 4, code, IMAGES / 255)
    assert ["the data hold" in note for note in noted(grid)] == [True]


def test_ordinary_tables_and_pictures_have_no_notes() -> None:
    assert noted(ROWS) == ()
    assert noted(IMAGES) == ()
    assert noted(1000 * ROWS) == ()
    assert noted(np.array([[99.0], [98.0], [97.0], [100.0]] * 5)) == ()


def test_labels_of_a_file_that_are_no_classes_are_said_to_be_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=ROWS, y=ROWS[:, 0])
    assert load(str(tmp_path / "rows.npz")).notes == (
        "the labels of rows.npz (train) are neither whole numbers nor text, and are left out",
    )
