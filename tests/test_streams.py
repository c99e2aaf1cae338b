"""Rows that stay on disk, rows on another device, and reading ahead: the same data as in memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerator import pretended
from torch import Tensor

from pyrovae.data import Dataset, Split, _dataset, from_arrays, load
from pyrovae.data import _disk as disk
from pyrovae.data._disk import RowsOnDisk
from pyrovae.errors import DataError

KINDS = ["bool", "uint8", "int8", "int64", "uint16", "float16", "float32", "float64", ">f4", ">i2"]


def rows_of(kind: str, n: int = 60) -> np.ndarray:
    """Rows that no two of are equal, but for bits."""
    return (np.arange(n * 6).reshape(n, 2, 3) % (2 if kind == "bool" else 127)).astype(kind)


@pytest.fixture
def everything_stays_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.data._arrays._IN_MEMORY", 0)


@pytest.fixture(autouse=True)
def no_thread_remains() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def pair(raw: np.ndarray, folder: Path, **changes: Any) -> tuple[Split, Split]:
    """The same split on disk and in memory; not all rows of the file, and in another order."""
    np.save(folder / "rows.npy", raw)
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(raw))[: len(raw) * 2 // 3])
    on_disk = Split(
        RowsOnDisk(np.load(folder / "rows.npy", mmap_mode="r"), rounded=True), np.arange(len(raw)), **changes
    )
    stored = raw.astype(np.uint8 if raw.dtype in (np.uint8, np.bool_) else np.float32)
    return on_disk.take(order), Split(torch.from_numpy(stored), np.arange(len(raw)), **changes).take(order)


CHANGES: dict[str, Callable[[Split], Split]] = {
    "as stored": lambda split: split,
    "squeezed": lambda split: replace(split, margin=0.01),
    "binarised": lambda split: replace(split, noise="binarized"),
    "binarised once": lambda split: replace(split, noise="binarized").drawn(),
    "thresholded": lambda split: split.thresholded(),
    "thresholded once": lambda split: split.thresholded().drawn(),
    "dequantised": lambda split: replace(split, noise="dequantized"),
    "dequantised once, squeezed": lambda split: replace(split, margin=0.1, noise="dequantized").drawn(),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def told(split: Split) -> dict[str, Any]:
    """Whatever a split says of its rows."""
    return {
        "length": len(split),
        "shape": split.event_shape,
        "cells": split.raw.numel(),
        "dtype": split.raw.dtype,
        "range": split.range(),
        "bits": split.is_binary(),
        "whole": split.is_whole(),
        "distinct": split.distinct().raw[:].tolist(),
        "fingerprint": split.fingerprint(),
        "labels": split.labels.tolist(),
        "raw": split.raw[:].tolist(),
    }


# Rows on disk


@pytest.mark.parametrize("kind", KINDS)
def test_rows_on_disk_tell_the_same_of_themselves_as_rows_in_memory(kind: str, tmp_path: Path) -> None:
    on_disk, in_memory = pair(rows_of(kind), tmp_path, divisor=2.0)
    assert told(on_disk) == told(in_memory)
    again = torch.tensor([5, 0, 39])
    assert told(on_disk.take(again)) == told(in_memory.take(again))
    assert isinstance(on_disk.take(again).raw, RowsOnDisk)


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
@each_change
def test_rows_on_disk_are_changed_as_rows_in_memory_are(
    change: Callable[[Split], Split], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.data._dataset._CHUNK_CELLS", chunk)
    on_disk, in_memory = map(change, pair(rows_of("uint8"), tmp_path, divisor=127.0))
    for index in (slice(None), slice(3, 20, 4), torch.tensor([7, 7, 0])):
        torch.manual_seed(1)
        expected = in_memory.rows(index)
        torch.manual_seed(1)
        assert torch.equal(on_disk.rows(index), expected)
    torch.manual_seed(1)
    expected = torch.cat(list(in_memory.batches(7)))
    torch.manual_seed(1)
    assert torch.equal(torch.cat(list(on_disk.batches(7))), expected)
    assert on_disk.is_binary() == in_memory.is_binary()
    low, high = on_disk.range()
    assert (low <= in_memory.range()[0], high >= in_memory.range()[1]) == (True, True)
    assert isinstance(on_disk.raw, RowsOnDisk)


def test_arrays_in_any_order_of_their_cells(tmp_path: Path) -> None:
    raw = np.asfortranarray(rows_of("float64"))
    np.save(tmp_path / "rows.npy", raw)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert not mapped.flags.c_contiguous
    split = Split(RowsOnDisk(mapped))
    assert split.rows(slice(2, 5)).is_contiguous()
    contiguous = torch.tensor(np.ascontiguousarray(raw))
    assert split.fingerprint() == Split(contiguous).fingerprint() == Split(contiguous.float()).fingerprint()


def test_what_is_read_from_disk_is_a_copy(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((3, 2), np.float32))
    split = Split(RowsOnDisk(np.load(tmp_path / "rows.npy", mmap_mode="c")))
    split.rows(slice(None)).add_(1)
    assert split.range() == (0.0, 0.0)


@pytest.mark.usefixtures("everything_stays_on_disk")
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_file_is_the_data_that_a_small_one_is(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows_of(kind))
    options: dict[str, Any] = {"validation": 0.2, "test": 0.2, "limit": 50}
    large = load(str(tmp_path / "rows.npy"), **options)
    small = from_arrays(rows_of(kind), name="rows.npy", **options)
    assert all(isinstance(split.raw, RowsOnDisk) for split in large.splits.values())
    assert large.fingerprint() == small.fingerprint()
    assert large.describe() == small.describe()
    for name, split in large.splits.items():
        assert torch.equal(split.rows(slice(None)), small.splits[name].rows(slice(None)))


@pytest.mark.usefixtures("everything_stays_on_disk")
def test_a_mapped_array_from_python_stays_on_disk_with_its_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows_of("float64"))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    data = from_arrays(mapped, np.arange(60) % 3, exclude_labels=[1])
    assert isinstance(data.train.raw, RowsOnDisk)
    expected = from_arrays(rows_of("float64"), np.arange(60) % 3, exclude_labels=[1])
    assert told(data.train) == told(expected.train)


def test_small_files_and_arrays_are_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows_of("float64"))
    for data in (load(str(tmp_path / "rows.npy")), from_arrays(rows_of("uint8"))):
        assert isinstance(data.train.raw, Tensor)


@pytest.mark.usefixtures("everything_stays_on_disk")
@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e300])
def test_numbers_that_are_not_finite_are_found_on_disk_too(bad: float, tmp_path: Path) -> None:
    raw = rows_of("float64")
    raw[41, 1, 2] = bad
    np.save(tmp_path / "rows.npy", raw)
    with pytest.raises(
        DataError, match=r"1 of 60 rows hold values that are missing or not finite .* is row 41"
    ):
        load(str(tmp_path / "rows.npy"))


def test_many_different_numbers_are_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.data._dataset._CHUNK_CELLS", 50)
    split = Split(torch.arange(400.0).reshape(100, 4), np.arange(100))
    assert split.distinct().raw.tolist() == split.raw.tolist()
    assert Split(split.raw % 40).distinct().raw.tolist() == [list(range(40))]


@pytest.mark.parametrize("row", range(3))
def test_bits_are_bits_to_the_last_row(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.data._dataset._CHUNK_CELLS", 2)
    raw = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert Split(raw).is_binary()
    raw[row, 1] = 0.5
    assert not Split(raw).is_binary()


def test_a_set_of_all_bytes_is_known_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.data._dataset._CHUNK_CELLS", 64)
    raw = torch.arange(256, dtype=torch.uint8).reshape(4, 64)
    for rows in (raw, torch.cat([raw, raw]), torch.cat([raw[3:], raw]), raw[:3], raw[1:]):
        split = Split(rows)
        assert split.distinct().raw.tolist() == [rows.unique().tolist()]
        assert split.range() == (rows.min().item(), rows.max().item())


MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from pyrovae.data import _arrays, load

torch.set_num_threads(1)
_arrays._IN_MEMORY = 2**20
shape = (2**28 // 784, 1, 28, 28)  # 256 MiB, most of them a hole in the file
file = np.lib.format.open_memmap(sys.argv[1], "w+", np.uint8, shape)
file[-1] = file[5] = 255
del file
load("digits").binarized("dynamic")  # whatever torch and NumPy want once
held = next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held * 1024 + 2**27,) * 2)

data = load(sys.argv[1], divisor=255.0, validation=0.2, limit=300_000)
assert data.describe().endswith("values 0 to 1") and data.is_binary() and data.fingerprint()
assert data.binarized("threshold").range() == data.binarized("static").range() == (0, 1)
data = data.binarized("dynamic")
for x in data.train.reading(torch.randperm(len(data.train))[:12_800].split(128)):
    assert x.shape == (128, 1, 28, 28)
for x, _ in zip(data.validation.batches(), range(2)):
    assert len(x) > 1000
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_no_step_of_the_way_holds_all_rows_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "rows.npy")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


# Reading ahead


@pytest.mark.parametrize("place", ["on disk", "in memory"])
@each_change
def test_reading_gives_what_rows_give_bit_for_bit(
    place: str, change: Callable[[Split], Split], tmp_path: Path
) -> None:
    split = change(pair(rows_of("uint8"), tmp_path, divisor=127.0)[place == "in memory"])
    batches = torch.randperm(len(split)).tensor_split([7, 14, 15, 30])
    torch.manual_seed(1)
    expected = [(split.rows(index), torch.rand(3)) for index in batches]
    torch.manual_seed(1)
    # What the reader draws between two batches is the same too.
    found = [(rows, torch.rand(3)) for rows in split.reading(batches)]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_nothing_to_read(tmp_path: Path) -> None:
    for split in pair(rows_of("uint8"), tmp_path):
        assert list(split.reading([])) == []
        assert list(split.take(torch.arange(0)).batches()) == []


def test_rows_on_disk_are_asked_for_a_few_batches_ahead_and_rows_in_memory_are_not(tmp_path: Path) -> None:
    for split, most in zip(pair(rows_of("uint8"), tmp_path), (disk._AHEAD + 1, 1), strict=True):
        asked: list[int] = []
        given = split.reading(asked.append(i) or torch.tensor([i]) for i in range(20))  # type: ignore[misc]
        assert asked == []
        ahead = [len(asked) - done for done, _ in enumerate(given)]
        assert ahead[0] == most
        assert max(ahead) == most
        assert len(ahead) == len(asked) == 20


def test_rows_in_memory_are_read_without_a_thread_and_rows_on_disk_by_some(tmp_path: Path) -> None:
    before = threading.active_count()
    for split, more in zip(pair(rows_of("uint8"), tmp_path), (disk._READERS, 0), strict=True):
        given = split.reading([torch.tensor([i]) for i in range(20)])
        next(given)
        assert threading.active_count() - before == more
        del given
        assert threading.active_count() == before


def test_a_reader_that_raises_leaves_no_thread(tmp_path: Path) -> None:
    split, _ = pair(rows_of("uint8"), tmp_path)

    def consume() -> None:
        for _ in split.reading([torch.tensor([i]) for i in range(20)]):
            raise KeyError

    with pytest.raises(KeyError):
        consume()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pyrovae")]


def test_what_goes_wrong_in_the_background_reaches_the_reader_at_its_batch(tmp_path: Path) -> None:
    split, _ = pair(rows_of("uint8"), tmp_path)
    given = split.reading([torch.tensor([0]), torch.tensor([1]), torch.tensor([999]), torch.tensor([2])])
    next(given), next(given)
    with pytest.raises(IndexError, match="999"):
        next(given)


# Devices

ELSEWHERE = torch.device("meta")  # no numbers, but everything has to be on it


@pytest.mark.parametrize("place", ["on disk", "in memory"])
@each_change
def test_data_moved_to_a_device_are_the_same(
    place: str, change: Callable[[Split], Split], tmp_path: Path
) -> None:
    split = change(pair(rows_of("uint8"), tmp_path, divisor=127.0)[place == "in memory"])
    moved = Dataset("moved", split, split, split).to("cpu").validation
    torch.manual_seed(1)
    expected = split.rows(slice(None))
    torch.manual_seed(1)
    assert torch.equal(moved.rows(slice(None)), expected)
    assert told(moved) == told(split)


@pytest.mark.parametrize("place", ["on disk", "in memory"])
@pytest.mark.parametrize("change", ["as stored", "squeezed", "binarised", "thresholded", "dequantised"])
def test_everything_happens_on_the_device_of_the_data(place: str, change: str, tmp_path: Path) -> None:
    split = CHANGES[change](pair(rows_of("uint8"), tmp_path, divisor=127.0)[place == "in memory"])
    far = split.to(ELSEWHERE)
    index = torch.tensor([3, 1])
    for rows in (far.rows(index), far.rows(slice(2)), *far.reading([index]), *far.batches(20)):
        assert (rows.device, rows.dtype) == (ELSEWHERE, torch.float32)
    assert far.raw.dtype == torch.uint8
    assert far.raw.device == ELSEWHERE
    assert far.take(index).raw.device == ELSEWHERE
    assert isinstance(far.raw, RowsOnDisk) == (place == "on disk")


@pytest.mark.parametrize("place", ["on disk", "in memory"])
@pytest.mark.parametrize("change", ["as stored", "squeezed", "thresholded", "binarised once"])
def test_an_accelerator_has_the_numbers_of_the_processor(place: str, change: str, tmp_path: Path) -> None:
    split = pair(rows_of("uint8"), tmp_path, divisor=127.0)[place == "in memory"]
    if change == "binarised once":
        split = replace(split, noise="binarized", draws="own")
    else:
        split = CHANGES[change](split)
    index = torch.tensor([3, 1])
    with pretended() as device:
        far = Dataset("far", split, split, split).to(device).test
        for rows in (far.rows(index), far.rows(index.to(device)), far.take(index).rows(slice(None))):
            assert torch.equal(rows.cpu(), split.rows(index))
        assert told(far) == told(split)


# Noise


@pytest.mark.parametrize("level", [0, 1, 2, 127, 128, 254, 255])
def test_bits_have_their_grey_values_as_means(level: int) -> None:
    split = Split(torch.full((1, 2**21 + 3), level, dtype=torch.uint8), None, 255.0, noise="binarized")
    n, grey = 4 * split.raw.numel(), level / 255
    ones = sum(split.rows(slice(None)).double().sum().item() for _ in range(4))
    assert abs(ones - n * grey) <= 5 * (n * grey * (1 - grey)) ** 0.5


def test_noise_of_bits_is_uniform_on_the_middles_of_equal_cells() -> None:
    noise = _dataset._coarse_noise(torch.empty(3, 200_001)).double()
    cells = noise * 2**16 - 0.5
    assert torch.equal(cells, cells.round())
    assert (cells.min(), cells.max()) == (0, 2**16 - 1)
    counts = (cells // 2**10).long().flatten().bincount(minlength=64)
    expected = noise.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 140  # chi-squared, 63 degrees: once in 10^7


def test_bits_of_a_read_are_independent_of_each_other() -> None:
    split = Split(torch.full((1, 2**20), 0.5), noise="binarized")
    bits = 2 * split.rows(slice(None)).double().flatten() - 1
    for lag in (1, 2, 3, 4, 5, 8):
        assert abs((bits[:-lag] * bits[lag:]).sum()) < 5 * len(bits) ** 0.5


def test_evaluated_rows_are_drawn_when_they_are_first_read() -> None:
    data = load("digits").binarized("dynamic")
    assert torch.equal(data.test.rows(slice(None)), load("digits").binarized("static").test.rows(slice(None)))
    assert data.test.drawn().raw.unique().tolist() == [0, 1]
    assert data.test._settled is data.test._settled
