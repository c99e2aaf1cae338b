"""The laws of every source of data, and what is said when data are of no use; needs no network."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest

from pyrovae.data import Dataset, Split, from_arrays, load, names
from pyrovae.errors import DataError

LABELS = 3
Source: TypeAlias = tuple[str, Callable[..., Dataset]]


def _numbered(n: int, shape: tuple[int, ...], start: int = 0) -> np.ndarray:
    """Rows of bytes that all differ, so that a row tells which one it is."""
    rows = np.random.RandomState(start).randint(0, 256, (n, *shape)).astype(np.uint8)
    rows.reshape(n, -1)[:, 0] = (np.arange(n) + start) % 256
    rows.reshape(n, -1)[:, 1] = (np.arange(n) + start) // 256
    return rows


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def _idx_files(root: Path, kind: str) -> dict[str, Any]:
    folder = root / kind / "raw"
    folder.mkdir(parents=True)
    for part, n, start in (("train", 90, 0), ("t10k", 12, 90)):
        _write_idx(folder / f"{part}-images-idx3-ubyte", _numbered(n, (28, 28), start))
        _write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8) % LABELS)
    return {"data_dir": root}


def _digits(root: Path) -> dict[str, Any]:
    return {"source": "digits"}


def _mnist(root: Path) -> dict[str, Any]:
    return {"source": "mnist", **_idx_files(root, "MNIST")}


def _fashion_mnist(root: Path) -> dict[str, Any]:
    return {"source": "fashion-mnist", **_idx_files(root, "FashionMNIST")}


def _npy(root: Path) -> dict[str, Any]:
    np.save(root / "rows.npy", _numbered(90, (4, 5)))
    return {"source": str(root / "rows.npy"), "divisor": 255.0}


def _npy_on_disk(root: Path) -> dict[str, Any]:
    return _npy(root)


def _npz(root: Path) -> dict[str, Any]:
    np.savez(root / "rows.npz", x=_numbered(90, (7,)), y=np.arange(90) % LABELS)
    return {"source": str(root / "rows.npz"), "divisor": 255.0}


def _npz_with_splits(root: Path) -> dict[str, Any]:
    np.savez(
        root / "splits.npz",
        train=_numbered(90, (7,)),
        y_train=np.arange(90) % LABELS,
        validation=_numbered(9, (7,), 90),
        y_validation=np.arange(9) % LABELS,
        test=_numbered(12, (7,), 99),
        y_test=np.arange(12) % LABELS,
    )
    return {"source": str(root / "splits.npz"), "divisor": 255.0}


def _write_images(folder: Path, rows: np.ndarray) -> None:
    for i, row in enumerate(rows):
        place = folder / str(i % LABELS)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row).save(place / f"{i:03}.png")


def _folder(root: Path) -> dict[str, Any]:
    _write_images(root / "faces", _numbered(90, (6, 5)))
    return {"source": str(root / "faces")}


def _folder_with_splits(root: Path) -> dict[str, Any]:
    _write_images(root / "faces" / "train", _numbered(90, (6, 5)))
    _write_images(root / "faces" / "test", _numbered(12, (6, 5), 90))
    return {"source": str(root / "faces")}


SOURCES: dict[str, Callable[[Path], dict[str, Any]]] = {
    source.__name__.strip("_"): source
    for source in (
        _digits,
        _mnist,
        _fashion_mnist,
        _npy,
        _npy_on_disk,
        _npz,
        _npz_with_splits,
        _folder,
        _folder_with_splits,
    )
}
OWN_TEST = {"digits", "mnist", "fashion_mnist", "npz_with_splits", "folder_with_splits"}
OWN_VALIDATION = {"npz_with_splits"}
UNLABELLED = {"npy", "npy_on_disk"}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A source's name here, and a call that loads it with options."""
    if request.param == "npy_on_disk":
        monkeypatch.setattr("pyrovae.data._arrays._IN_MEMORY", 0)
    options = SOURCES[request.param](tmp_path)
    return request.param, lambda **others: load(**{**options, **others})


def _keys(*splits: Split) -> list[bytes]:
    return [row.numpy().tobytes() for split in splits for row in split.raw[:]]


def _same(a: Dataset, b: Dataset) -> bool:
    return all(_keys(a.splits[name]) == _keys(b.splits[name]) for name in a.splits)


# Laws of every source


def test_every_named_source_is_tried() -> None:
    assert names() == ["digits", "fashion-mnist", "mnist"]
    assert {name.replace("-", "_") for name in names()} <= set(SOURCES)


def test_splits_are_disjoint_and_cover_the_source(source: Source) -> None:
    key, read = source
    data = read(validation=0.2, test=0.25)
    held_out_nothing = read(validation=0.0, test=0.0)
    everything = _keys(*held_out_nothing.splits.values())
    assert sorted(_keys(*data.splits.values())) == sorted(everything)
    if key != "digits":  # of the digits, a few are equal
        assert len(set(everything)) == len(everything)
    assert (len(held_out_nothing.test) > 0) == (key in OWN_TEST)
    assert (len(held_out_nothing.validation) > 0) == (key in OWN_VALIDATION)
    assert {split.event_shape for split in held_out_nothing.splits.values()} == {data.event_shape}


def test_fractions_are_honoured(source: Source) -> None:
    key, read = source
    n = len(read(validation=0.0, test=0.0).train)
    data = read(validation=0.2, test=0.5)
    rest = n if key in OWN_TEST else n - len(data.test)
    if key not in OWN_TEST:
        assert len(data.test) == round(0.5 * n)
    assert len(data.validation) == (9 if key in OWN_VALIDATION else round(0.2 * rest))


def test_the_same_options_give_the_same_splits_whatever_the_seed(source: Source) -> None:
    key, read = source
    torch.manual_seed(1)
    np.random.seed(1)
    first = read()
    torch.manual_seed(2)
    np.random.seed(2)
    again = read()
    assert _same(first, again)
    assert first.fingerprint() == again.fingerprint()
    assert _same(first, read(validation=0.3, test=0.3)) == (key in OWN_VALIDATION)


def test_own_test_rows_stay_whatever_the_options_are(source: Source) -> None:
    key, read = source
    same = _keys(read().test) == _keys(read(test=0.4, validation=0.3, limit=30).test)
    assert same == (key in OWN_TEST)


def test_limit_keeps_that_many_rows_nested_in_larger_limits(source: Source) -> None:
    key, read = source
    few, more = (set(_keys(read(limit=n, validation=0.0, test=0.0).train)) for n in (20, 40))
    assert len(few) == 20
    assert few < more
    cut = read(limit=20, validation=0.5, test=0.5)
    of_twenty = [split for name, split in cut.splits.items() if name == "train" or key not in _owners(name)]
    assert sum(map(len, of_twenty)) == 20
    assert set(_keys(*of_twenty)) == few


def _owners(split: str) -> set[str]:
    return OWN_TEST if split == "test" else OWN_VALIDATION


def test_each_row_is_copied_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take = Split.take
    monkeypatch.setattr(Split, "take", lambda split, rows: taken.append(len(rows)) or take(split, rows))
    from_arrays(np.arange(100.0)[:, None], np.arange(100) % 5, limit=70, exclude_labels=[3])
    assert sum(taken) == 70


def test_a_limit_above_all_rows_changes_nothing(source: Source) -> None:
    _, read = source
    assert _same(read(), read(limit=10**6))


@pytest.mark.parametrize("unwanted", [1, "1"], ids=["number", "string"])
def test_excluded_labels_are_gone_from_every_split(source: Source, unwanted: int | str) -> None:
    key, read = source
    if key in UNLABELLED:
        with pytest.raises(DataError, match=r"rows of rows.npy \(train\) have no labels"):
            read(exclude_labels=[unwanted])
        return
    before, after = (read(exclude_labels=labels, validation=0.0, test=0.0) for labels in ([], [unwanted]))
    for name, split in after.splits.items():
        labels = before.splits[name].labels.astype(str)
        assert split.labels.astype(str).tolist() == labels[labels != "1"].tolist()
    assert len(after.train) < len(before.train)


def test_labels_go_with_their_rows(source: Source) -> None:
    key, read = source
    if key in UNLABELLED:
        assert read().train.labels is None
        return
    whole, cut = read(validation=0.0, test=0.0), read(validation=0.3, test=0.3, limit=70)
    rows = [
        (str(label), row)
        for s in whole.splits.values()
        for label, row in zip(s.labels, _keys(s), strict=True)
    ]
    for split in cut.splits.values():
        assert {(str(label), row) for label, row in zip(split.labels, _keys(split), strict=True)} <= set(rows)


def test_bytes_are_stored_as_bytes_and_read_as_scaled_floats(source: Source) -> None:
    key, read = source
    data = read()
    divisor = 16.0 if key == "digits" else 255.0
    for split in data.splits.values():
        assert (split.raw.dtype, split.divisor) == (torch.uint8, divisor)
    read_back = data.train.rows(slice(3, 9))
    assert read_back.dtype == torch.float32
    assert torch.equal(read_back, data.train.raw[3:9].float() / divisor)
    assert torch.equal(read_back[[2, 0]], data.train.rows(torch.tensor([5, 3])))
    assert data.range() == (0.0, 1.0)


def test_scale_replaces_the_divisor(source: Source) -> None:
    _, read = source
    data = read(divisor=1)
    assert torch.equal(data.train.rows(slice(0, 5)), data.train.raw[:5].float())


def test_no_global_random_state_is_touched(source: Source) -> None:
    _, read = source
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    data = read(limit=60, exclude_labels=[] if read().train.labels is None else [1])
    data.binarized("dynamic"), data.binarized("static"), data.fingerprint(), data.describe()
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_described_in_one_line(source: Source) -> None:
    _, read = source
    data = read()
    assert "\n" not in data.describe()
    assert data.describe().startswith(f"{data.name}: {len(data.train):,} train, ")


# Binarisation


def test_dynamic_draws_have_the_grey_value_as_their_mean_and_are_fresh(source: Source) -> None:
    _, read = source
    data = read().binarized("dynamic")
    torch.manual_seed(0)
    draws = torch.stack([data.train.rows(slice(0, 2)) for _ in range(2000)])
    grey = data.train.raw[:2].float() / data.train.divisor
    # 0.056 is five standard errors of a mean of 2000 draws where they are widest.
    assert (draws.mean(0) - grey).abs().max() < 0.056
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(draws[0], draws[1])
    torch.manual_seed(0)
    assert torch.equal(data.train.rows(slice(0, 2)), draws[0])


def test_validation_and_test_rows_are_drawn_once(source: Source) -> None:
    _, read = source
    dynamic, static = read().binarized("dynamic"), read().binarized("static")
    everything = slice(None)
    for name in ("validation", "test"):
        rows = dynamic.splits[name].rows(everything)
        assert torch.equal(rows, dynamic.splits[name].rows(everything))
        assert torch.equal(rows, static.splits[name].rows(everything))
    assert torch.equal(static.train.rows(everything), static.train.rows(everything))
    assert not torch.equal(static.train.rows(everything), dynamic.train.rows(everything))


@pytest.mark.parametrize("mode", ["dynamic", "static", "threshold"])
def test_binarized_data_are_binary(source: Source, mode: str) -> None:
    _, read = source
    grey, data = read(), read().binarized(mode)
    assert not grey.is_binary()
    assert data.is_binary()
    assert data.range() == (0.0, 1.0)
    for name, split in data.splits.items():
        assert set(split.rows(slice(None)).unique().tolist()) == {0.0, 1.0}
        assert np.array_equal(split.labels, grey.splits[name].labels)
        if split.noise is None:
            assert (split.raw.dtype, split.divisor) == (torch.uint8, 1.0)


def test_threshold_is_above_one_half() -> None:
    x = np.array([[0.0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 1.0]], np.float32)
    data = from_arrays(x, validation=0, test=0).binarized("threshold")
    assert data.train.raw.tolist() == [[0, 0, 1, 1]]


def test_static_draws_have_the_grey_value_as_their_mean() -> None:
    grey = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    different = torch.linspace(0, 1, 50_000)[:, None]  # equal rows would be drawn alike
    rows = torch.cat([grey.repeat(50_000, 1), different], dim=1)
    data = from_arrays(rows, validation=0, test=0).binarized("static")
    means = data.train.rows(slice(None)).mean(0)[:-1]
    assert (means - grey).abs().max() < 0.012  # five standard errors
    assert means[0] == 0
    assert means[-1] == 1


@pytest.mark.parametrize("cells", [7, 300_000], ids=["one chunk", "many chunks"])
def test_static_bits_of_a_row_depend_on_its_grey_values_alone(cells: int) -> None:
    grey = torch.rand(11, cells, generator=torch.Generator().manual_seed(0))
    whole = Split(grey, noise="binarized").drawn().raw
    for rows in (slice(1), slice(3, 4), slice(2, 10), torch.tensor([7, 0, 3])):
        assert torch.equal(Split(grey[rows], noise="binarized").drawn().raw, whole[rows])
    assert not torch.equal(Split(1 - grey, noise="binarized").drawn().raw, 1 - whole)
    assert not torch.equal(Split(grey * 0.999, noise="binarized").drawn().raw, whole)


def test_binarizing_zeros_and_ones_changes_nothing() -> None:
    x = np.random.RandomState(0).rand(50, 6) > 0.5
    data = from_arrays(x)
    for mode in ("dynamic", "static", "threshold"):
        assert _same(data, data.binarized(mode))  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [lambda x: x.dequantized(), lambda x: x.squeezed(0.1)])
@pytest.mark.parametrize("mode", ["dynamic", "static", "threshold"])
def test_bits_are_neither_dequantised_nor_squeezed(changed: Callable[[Dataset], Dataset], mode: Any) -> None:
    with pytest.raises(DataError, match=r"digits would be binarised, .* leave out data\.dequantize"):
        changed(load("digits")).binarized(mode)


# Dequantisation

LEVELS = [1, 2, 16, 255, 1000, 65_535]


def _all_levels(divisor: int) -> Split:
    return Split(torch.arange(divisor + 1).float().unsqueeze(0), divisor=divisor)


def test_dequantised_training_rows_are_fresh_and_fall_back_to_what_is_stored(source: Source) -> None:
    _, read = source
    data = read().dequantized()
    stored, levels = data.train.raw[:20].float(), data.train.divisor + 1
    torch.manual_seed(0)
    first, other = data.train.rows(slice(20)), data.train.rows(slice(20))
    assert (first != other).all()
    assert ((first > 0) & (first < 1)).all()
    for rows in (first, other):
        assert torch.equal((rows.double() * levels).floor(), stored.double())
    torch.manual_seed(0)
    noise = torch.rand(first.shape)
    torch.testing.assert_close(first, (stored + noise) / levels)
    torch.manual_seed(0)
    assert torch.equal(data.train.rows(slice(20)), first)


@pytest.mark.parametrize("draw", [lambda split: split.rows(slice(None)), lambda split: split.drawn().raw])
def test_the_noise_of_dequantised_values_is_uniform(draw: Callable[[Split], torch.Tensor]) -> None:
    raw = (torch.arange(256) ^ torch.arange(40)[:, None]).repeat(1, 10).to(torch.uint8)
    split = Split(raw, divisor=255.0, noise="dequantized")
    noise = draw(split).double() * 256 - split.raw
    # Kolmogorov's statistic: above 2.7 once in 2 million samples.
    assert kstest(noise.flatten().numpy(), "uniform").statistic * noise.numel() ** 0.5 < 2.7
    correlation = torch.corrcoef(torch.stack([noise.flatten(), split.raw.flatten()]))[0, 1]
    assert abs(correlation) < 5 / noise.numel() ** 0.5


def test_dequantised_validation_and_test_rows_are_drawn_once(source: Source) -> None:
    _, read = source
    torch.manual_seed(1)
    one = read().dequantized()
    torch.manual_seed(2)
    other = read().dequantized()
    for name in ("validation", "test"):
        split = one.splits[name]
        rows = split.rows(slice(None))
        assert torch.equal(rows, split.rows(slice(None)))
        assert torch.equal(rows, other.splits[name].rows(slice(None)))
        stored = read().splits[name].raw[:]
        assert torch.equal((rows.double() * (one.train.divisor + 1)).floor(), stored.double())
        assert np.array_equal(split.labels, read().splits[name].labels)
    drawn = one.train.drawn()
    assert torch.equal(drawn.rows(slice(None)), drawn.rows(slice(None)))
    assert drawn.drawn() is drawn


@pytest.mark.parametrize("cells", [7, 300_000], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("margin", [0.0, 0.125])
def test_noise_drawn_once_depends_on_the_values_of_its_row_alone(cells: int, margin: float) -> None:
    raw = torch.randint(256, (11, cells), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = Split(raw, divisor=255.0, margin=margin, noise="dequantized")
    whole = split.drawn().raw
    for rows in (torch.arange(1), torch.arange(2, 10), torch.tensor([7, 0, 3])):
        assert torch.equal(split.take(rows).drawn().raw, whole[rows])
    assert torch.equal(Split(raw.float(), None, 255.0, margin, "dequantized").drawn().raw, whole)
    plain = replace(split, margin=0.0).drawn().raw
    torch.testing.assert_close(whole, margin + (1 - 2 * margin) * plain)


@pytest.mark.parametrize("divisor", LEVELS)
@pytest.mark.parametrize("u", [0.0, 2**-24, 1 - 2**-24])
def test_no_noise_carries_a_value_into_the_next_cell(
    divisor: int, u: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = replace(_all_levels(divisor), noise="dequantized")
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, u))
    x = split.rows(slice(None))
    assert ((x > 0) & (x < 1)).all()
    expected = (split.raw.double() + u) / (divisor + 1)
    torch.testing.assert_close(x.double(), expected, atol=2e-7, rtol=0)
    ends = (split.raw + 1) / (divisor + 1)
    assert (x <= ends).all()


def test_counts_that_are_not_divided_are_dequantised_too() -> None:
    data = from_arrays(np.array([[0, 7, 19]]), validation=0, test=0).dequantized()
    assert data.range()[0] == 0
    assert data.range()[1] == pytest.approx(10)
    assert ((2 * data.train.rows(slice(None))).floor() == torch.tensor([0.0, 7.0, 19.0])).all()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float64])
def test_whole_numbers_of_every_kind_are_dequantised(kind: Any) -> None:
    rows = np.array([[0, 1], [1, 1]]).astype(kind)
    data = from_arrays(rows, validation=0, test=0).dequantized()
    assert torch.equal((data.train.rows(slice(None)) * 2).floor(), torch.from_numpy(rows).float())
    assert not data.is_binary()


@pytest.mark.parametrize("row", [0, 29])
def test_fractions_are_not_dequantised(row: int) -> None:
    rows = np.arange(60.0).reshape(30, 2)
    rows[row, 1] -= 0.5
    with pytest.raises(DataError, match=r"Only whole numbers can be dequantised, and array holds fractions"):
        from_arrays(rows).dequantized()


# Squeezing


@pytest.mark.parametrize("margin", [1e-6, 0.001, 0.25, 0.4999])
def test_squeezed_values_lie_strictly_inside_the_unit_interval(source: Source, margin: float) -> None:
    _, read = source
    grey, data = read(), read().squeezed(margin)
    for name, split in data.splits.items():
        x, before = split.rows(slice(None)), grey.splits[name].rows(slice(None))
        assert ((x > 0) & (x < 1)).all()
        torch.testing.assert_close(x, margin + (1 - 2 * margin) * before)
        assert np.array_equal(split.labels, grey.splits[name].labels)
    assert data.range() == pytest.approx((margin, 1 - margin), abs=1e-7)


def test_the_ends_and_the_middle_are_squeezed_exactly() -> None:
    data = from_arrays(np.array([[0.0, 0.5, 1.0]]), validation=0, test=0).squeezed(0.125)
    assert data.train.rows(slice(None)).tolist() == [[0.125, 0.5, 0.875]]


@pytest.mark.parametrize("margin", [1e-6, 0.001, 0.25])
@pytest.mark.parametrize("divisor", LEVELS)
def test_dequantised_values_are_squeezed_afterwards(divisor: int, margin: float) -> None:
    data = from_arrays(np.arange(divisor + 1).repeat(3).reshape(-1, 3), divisor=divisor).dequantized()
    squeezed = data.squeezed(margin)
    for name, split in squeezed.splits.items():
        torch.manual_seed(0)
        x = split.rows(slice(None))
        torch.manual_seed(0)
        torch.testing.assert_close(x, margin + (1 - 2 * margin) * data.splits[name].rows(slice(None)))
        assert all(((part > 0) & (part < 1)).all() for part in split.extremes())


@pytest.mark.parametrize("margin", [0.0, 0.5, -0.1, float("nan")])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(DataError, match=r"data\.squeeze is a number above 0 and below 1/2, and not"):
        load("digits").squeezed(margin)


@pytest.mark.parametrize(
    ("rows", "held"),
    [
        ([[0.0, 1.5]], r"0 to 1\.5: set data\.divisor \(255 for grey values of 8 bits\)\."),
        ([[-0.5, 1.0]], r"-0\.5 to 1\."),  # no divisor makes them fit
    ],
)
def test_values_outside_the_unit_interval_are_not_squeezed(rows: list[list[float]], held: str) -> None:
    message = f"Only values between 0 and 1 can be squeezed, and array holds {held}$"
    with pytest.raises(DataError, match=message):
        from_arrays(rows, validation=0, test=0).squeezed(0.1)


# Whatever stored values become

CHANGES: dict[str, Callable[[Dataset], Dataset]] = {
    "as stored": lambda data: data,
    "dequantised": lambda data: data.dequantized(),
    "squeezed": lambda data: data.squeezed(0.01),
    "dequantised and squeezed": lambda data: data.dequantized().squeezed(0.01),
    "binarised": lambda data: data.binarized("dynamic"),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@each_change
def test_what_is_said_of_the_values_is_true_of_every_read(
    source: Source, change: Callable[[Dataset], Dataset]
) -> None:
    _, read = source
    data = change(read())
    for split in data.splits.values():
        low, high = split.range()
        reads = torch.cat([split.rows(slice(None)) for _ in range(3)])
        assert low <= reads.min()
        assert reads.max() <= high
        assert split.is_binary() == ((reads == 0) | (reads == 1)).all()
        extremes = torch.cat([part.flatten() for part in split.extremes()])
        assert extremes.min() <= reads.min()
        assert extremes.max() >= reads.max()
    assert f"values {data.range()[0]:g} to {data.range()[1]:g}" in data.describe()


@each_change
def test_the_hash_is_of_what_is_stored(source: Source, change: Callable[[Dataset], Dataset]) -> None:
    _, read = source
    assert change(read()).fingerprint() == read().fingerprint()


@each_change
def test_chosen_rows_are_read_as_all_of_them_are(change: Callable[[Dataset], Dataset]) -> None:
    train = change(load("digits")).train
    index = torch.tensor([5, 3, 100])
    torch.manual_seed(0)
    rows = train.rows(index)
    torch.manual_seed(0)
    assert torch.equal(train.take(index).rows(slice(None)), rows)


@each_change
def test_changes_leave_the_global_noise_alone(source: Source, change: Callable[[Dataset], Dataset]) -> None:
    _, read = source
    before = torch.get_rng_state()
    data = change(read())
    data.describe(), data.is_binary(), data.fingerprint(), data.drawn(), data.distinct()
    for split in data.splits.values():
        list(split.extremes())
    assert torch.equal(before, torch.get_rng_state())


@each_change
def test_empty_splits_are_changed_into_empty_splits(change: Callable[[Dataset], Dataset]) -> None:
    data = change(from_arrays(np.eye(3), validation=0, test=0))
    assert data.test.rows(slice(None)).shape == (0, 3)
    assert (len(data.test.drawn()), len(data.test.distinct())) == (0, 0)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_distinct_values_are_each_there_once(kind: Any) -> None:
    rows = np.array([[3, 3, 255], [0, 3, 7]]).astype(kind)
    distinct = Split(torch.from_numpy(rows), np.array([0, 1]), 255.0, 0.1, "dequantized").distinct()
    assert distinct.raw.tolist() == [[0, 3, 7, 255]]
    assert (distinct.labels, distinct.divisor, distinct.margin) == (None, 255.0, 0.1)
    assert distinct.noise == "dequantized"


def test_another_divisor_is_that_of_every_split() -> None:
    data = load("digits").divided(4)
    assert data.range() == (0.0, 4.0)
    assert {split.divisor for split in data.splits.values()} == {4}


# Splits and datasets


def test_an_empty_split_has_the_shape_and_no_range() -> None:
    data = from_arrays(np.arange(12.0).reshape(3, 4), validation=0, test=0)
    assert (len(data.test), data.test.event_shape) == (0, (4,))
    assert data.test.rows(slice(None)).shape == (0, 4)
    assert data.range() == (0.0, 11.0)
    assert data.test.drawn().raw.shape == (0, 4)


def test_what_is_read_is_no_view_of_what_is_stored() -> None:
    data = from_arrays(np.zeros((3, 2), np.float32), validation=0, test=0)
    data.train.rows(slice(None)).add_(1)
    assert data.range() == (0.0, 0.0)


def test_is_binary_sees_every_split_and_the_divisor() -> None:
    zeros = Split(torch.zeros(2, 3))
    assert Dataset("a", zeros, zeros, zeros).is_binary()
    assert not Dataset("a", zeros, zeros, Split(torch.full((2, 3), 0.5))).is_binary()
    bytes_ = Split(torch.full((2, 3), 255, dtype=torch.uint8))
    assert not bytes_.is_binary()
    assert Split(bytes_.raw, divisor=255.0).is_binary()


def test_the_fingerprint_follows_the_training_rows() -> None:
    rows = _numbered(200, (9,))
    first = from_arrays(rows).fingerprint()
    assert first == from_arrays(rows.copy()).fingerprint()
    assert first != from_arrays(rows, divisor=255).fingerprint()
    assert first != from_arrays(rows.reshape(200, 3, 3)).fingerprint()
    assert first != from_arrays(rows.astype(np.float32)).fingerprint()


@pytest.mark.parametrize("row", [0, 5, -1])
def test_the_fingerprint_sees_every_row(row: int) -> None:
    rows = _numbered(9, (300_000,))
    changed = rows.copy()
    changed[row, -1] ^= 1
    prints = [from_arrays(x, validation=0, test=0).fingerprint() for x in (rows, changed)]
    assert prints[0] != prints[1]


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    prints = []
    for start in (0, 7):
        np.save(tmp_path / "rows.npy", _numbered(30, (4,), start))
        prints.append(load(str(tmp_path / "rows.npy")).fingerprint())
    assert prints[0] != prints[1]


def test_the_digits_are_what_they_are() -> None:
    data = load("digits")
    assert data.describe() == "digits: 1,293 train, 144 validation, 360 test rows of (1, 8, 8), values 0 to 1"
    # The held-out digits never change, or no result is comparable with an older one.
    assert data.test.labels[:12].tolist() == HELD_OUT_DIGITS


HELD_OUT_DIGITS = [0, 3, 8, 0, 9, 9, 8, 1, 0, 8, 6, 3]


# Arrays


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.uint8, torch.uint8),
        (np.bool_, torch.uint8),
        (np.int64, torch.float32),
        (np.float64, torch.float32),
        (np.dtype(">f4"), torch.float32),
        (np.float16, torch.float32),
    ],
    ids=str,
)
def test_types_of_arrays(given: Any, stored: torch.dtype) -> None:
    x = (np.arange(20) % 2).reshape(10, 2).astype(given)
    data = from_arrays(x, validation=0, test=0)
    assert data.train.raw.dtype == stored
    assert data.train.rows(slice(None)).tolist() == x.astype(float).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8, torch.bool])
def test_tensors_are_taken_as_they_are(dtype: torch.dtype) -> None:
    x = torch.eye(6).to(dtype)
    data = from_arrays(x, torch.arange(6), validation=0, test=0)
    assert torch.equal(data.train.rows(slice(None)), torch.eye(6))
    assert data.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.name == "array"


def test_an_array_that_is_read_only_or_reversed() -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)[::-1]
    x.setflags(write=False)
    assert from_arrays(x, validation=0, test=0).train.raw.tolist() == x.tolist()


@pytest.mark.parametrize("y", [["a", "b", "c"], [1.0, 2.0, 3.0], [True, False, True], [b"a", b"b", b"c"]])
def test_labels_become_whole_numbers_or_strings(y: list[Any]) -> None:
    labels = from_arrays(np.ones((3, 2)), y, validation=0, test=0).train.labels
    assert labels.tolist() == [label.decode() if isinstance(label, bytes) else label for label in y]
    assert labels.dtype.kind in "iU"


def test_strings_as_objects_are_labels() -> None:
    labels = from_arrays(np.ones((2, 2)), np.array(["a", "bcd"], object), validation=0, test=0).train.labels
    assert labels.tolist() == ["a", "bcd"]


# Images


def test_images_are_read_in_the_order_of_their_paths_with_the_folder_as_label(tmp_path: Path) -> None:
    rows = _numbered(9, (6, 5))
    _write_images(tmp_path / "faces", rows)
    (tmp_path / "faces" / "notes.txt").write_text("no image")
    (tmp_path / "faces" / "1" / "._001.png").write_bytes(b"left behind")
    data = load(str(tmp_path / "faces"), validation=0, test=0)
    order = [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert data.train.raw.tolist() == rows[order][:, None].tolist()
    assert data.train.labels.tolist() == list("000111222")
    assert data.name == "faces"


def test_images_of_a_flat_folder_have_no_labels(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.bmp")
    assert load(str(tmp_path)).train.labels is None


def test_colours_and_sizes(tmp_path: Path) -> None:
    Image.new("RGB", (8, 4), (255, 0, 51)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 8), (255, 0, 51)).save(tmp_path / "b.PNG")
    data = load(str(tmp_path), size=(2, 3), color=True, validation=0, test=0)
    assert data.train.raw.shape == (2, 3, 2, 3)
    assert data.train.rows(slice(None))[:, :, 1, 1].tolist() == [[1.0, 0.0, pytest.approx(0.2)]] * 2
    assert load(str(tmp_path), size=(2, 3)).event_shape == (1, 2, 3)


def test_the_first_frame_of_an_animation_and_the_right_way_up(tmp_path: Path) -> None:
    frames = [Image.new("L", (2, 4), shade) for shade in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("L", (4, 2), 7).save(tmp_path / "b.png", exif=exif)
    data = load(str(tmp_path), validation=0, test=0)
    assert data.event_shape == (1, 4, 2)
    assert data.train.raw.flatten(1).unique(dim=1).tolist() == [[0], [7]]


@pytest.mark.parametrize("held_out", ["validation", "val", "valid", "test"])
def test_a_folder_held_out_never_joins_the_training_rows(held_out: str, tmp_path: Path) -> None:
    for name, count in (("train", 3), (held_out, 2)):
        (tmp_path / name / "bus").mkdir(parents=True)
        for index in range(count):
            Image.new("L", (2, 2)).save(tmp_path / name / "bus" / f"{index}.png")
    data = load(str(tmp_path), validation=0, test=0)
    split = data.test if held_out == "test" else data.validation
    assert (len(data.train), len(split)) == (3, 2)
    assert set(split.labels) == {"bus"}


def test_folders_called_train_are_classes_beside_others(tmp_path: Path) -> None:
    for name in ("train", "test", "bus"):
        (tmp_path / name).mkdir()
        Image.new("L", (2, 2)).save(tmp_path / name / "a.png")
    assert load(str(tmp_path), validation=0, test=0).train.labels.tolist() == ["bus", "test", "train"]


NESTED: dict[str, tuple[list[str], list[str] | None, str]] = {
    "one level": (["cat/1", "dog/2"], ["cat", "dog"], "classes are the folders 'cat', 'dog'"),
    "unpacked into a folder": (
        ["all/cat/1", "all/cat/2", "all/dog/3"],
        ["cat", "cat", "dog"],
        "classes are the folders 'cat', 'dog'",
    ),
    "a folder in each class": (
        ["cat/png/1", "dog/png/2"],
        ["cat", "dog"],
        "'cat', 'dog' (data.classes = top,",
    ),
    "other names, same classes": (
        ["cat/a/1", "dog/b/2"],
        ["cat", "dog"],
        "(data.classes = top, and not leaf)",
    ),
    "a folder for each image": (
        ["cat/a/1", "cat/b/1", "dog/c/1", "dog/d/1"],
        ["cat", "cat", "dog", "dog"],
        "(data.classes = top,",
    ),
    "no folder": (["1", "2"], None, "they have no classes"),
    "some in no folder": (["1", "cat/2"], None, "no classes, since some images lie in faces itself"),
}


def _write_tree(root: Path, names: list[str], image: Image.Image | None = None) -> str:
    for name in names:
        (root / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (image or Image.new("L", (3, 2))).save(root / "faces" / f"{name}.png")
    return str(root / "faces")


@pytest.mark.parametrize("kind", NESTED)
def test_the_classes_of_nested_folders_are_those_that_are_meant(kind: str, tmp_path: Path) -> None:
    names, labels, said = NESTED[kind]
    data = load(_write_tree(tmp_path, names), validation=0, test=0)
    assert (None if data.train.labels is None else data.train.labels.tolist()) == labels
    assert len(data.notes) == 1
    assert said in data.notes[0]


UNCLEAR = {
    "two levels": (
        ["cat/tabby/1", "cat/manx/2", "dog/pug/3", "dog/pug/4"],
        "'cat', 'dog'",
        "'manx', 'pug', 'tab",
    ),
    "two levels unpacked into a folder": (
        ["all/cat/tabby/1", "all/cat/manx/2", "all/dog/pug/3", "all/dog/pug/4"],
        "'cat', 'dog'",
        "'manx', 'pug', 'tab",
    ),
    "two depths": (["cat/1", "cat/2", "cat/best/3", "dog/4"], "'cat', 'dog'", "'best', 'cat', 'dog'"),
    "splits below classes": (
        ["cat/train/1", "cat/test/2", "dog/train/3", "dog/test/4"],
        "'cat'",
        "'test', 'train'",
    ),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_classes_that_are_not_plain_are_asked_for(kind: str, tmp_path: Path) -> None:
    names, top, leaf = UNCLEAR[kind]
    source = _write_tree(tmp_path, names)
    with pytest.raises(
        DataError, match=rf"set data\.classes = top for {top}.* data\.classes = leaf for {leaf}"
    ):
        load(source)
    parts = [name.removeprefix("all/").split("/") for name in sorted(names)]
    for option, level in (("top", 0), ("leaf", -2)):
        data = load(source, classes=option, validation=0, test=0)
        assert sorted(data.train.labels) == sorted(each[level] for each in parts)


def test_splits_in_a_folder_of_their_own_are_splits(tmp_path: Path) -> None:
    source = _write_tree(tmp_path, ["all/train/cat/1", "all/train/dog/2", "all/test/cat/3"])
    data = load(source, validation=0)
    assert (len(data.train), len(data.test)) == (2, 1)
    assert data.train.labels.tolist() == ["cat", "dog"]


def test_how_images_were_read_is_said_with_the_options(tmp_path: Path) -> None:
    source = _write_tree(tmp_path, ["cat/1", "cat/2"], Image.new("RGB", (3, 2)))
    _write_tree(tmp_path, ["dog/3"], Image.new("LA", (3, 2)))
    assert load(source).notes == (
        "3 images are read grey (though 2 are coloured; data.color = true keeps colours), of 2 rows and 3 "
        "columns (data.size = [rows, columns] resizes them); their classes are the folders 'cat', 'dog'; the "
        "transparency of 1 is left out",
    )
    (note,) = load(source, color=True, size=(4, 4)).notes
    assert note.startswith("3 images are read in colour, resized to 4 rows and 4 columns; their classes")
    assert (
        load(_write_tree(tmp_path / "grey", ["1"])).notes[0].startswith("1 images are read grey, of 2 rows")
    )


def _write_run(folder: Path) -> None:
    (folder / "figures").mkdir(parents=True)
    for name in ("config.toml", "metrics.jsonl"):
        (folder / name).touch()
    Image.new("L", (9, 9)).save(folder / "figures" / "samples.png")


@pytest.mark.parametrize("place", ["vae", "runs/vae", "train/vae"])
def test_figures_of_runs_are_no_data(place: str, tmp_path: Path) -> None:
    for name, count in (("train", 3), ("test", 2)):
        _write_images(tmp_path / name, _numbered(count, (2, 2)))
    _write_run(tmp_path / place)
    data = load(str(tmp_path), validation=0, test=0)
    assert (len(data.train), len(data.test)) == (3, 2)
    assert set(data.train.labels) == {"0", "1", "2"}


def test_a_folder_that_is_no_run_is_data_whatever_else_lies_in_it(tmp_path: Path) -> None:
    _write_images(tmp_path, _numbered(3, (2, 2)))
    for folder in tmp_path.iterdir():
        (folder / "config.toml").touch()
    assert len(load(str(tmp_path), validation=0, test=0).train) == 3


# What is said when data are of no use


def _save(name: str, **arrays: Any) -> Callable[[Path], dict[str, Any]]:
    def prepare(root: Path) -> dict[str, Any]:
        if name.endswith(".npz"):
            np.savez(root / name, **arrays)
        else:
            np.save(root / name, arrays["x"], allow_pickle=True)
        return {"source": str(root / name)}

    return prepare


def _excluding(**arrays: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda root: {**_save("a.npz", **arrays)(root), "exclude_labels": [1]}


def _renamed(name: str, other: str) -> Callable[[Path], dict[str, Any]]:
    def prepare(root: Path) -> dict[str, Any]:
        path = Path(_save(name, x=np.ones((4, 2)))(root)["source"])
        return {"source": str(path.rename(root / other))}

    return prepare


def _text(name: str, content: bytes = b"text") -> Callable[[Path], dict[str, Any]]:
    def prepare(root: Path) -> dict[str, Any]:
        (root / name).write_bytes(content)
        return {"source": str(root / name)}

    return prepare


def _images(*images: tuple[str, Image.Image | bytes], **options: Any) -> Callable[[Path], dict[str, Any]]:
    def prepare(root: Path) -> dict[str, Any]:
        for name, image in images:
            place = root / name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(image) if isinstance(image, bytes) else image.save(place)
        return {"source": str(root), **options}

    return prepare


def _digits_with(**options: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda root: {"source": "digits", **options}


ONES = np.ones((4, 2))
HOLED = np.where(np.arange(12).reshape(6, 2) > 6, np.nan, 1.0)
GREY = Image.new("L", (4, 4))

MISTAKES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "misspelt": (
        lambda root: {"source": "mnits"},
        r"'mnits' \(did you mean mnist\?\): give digits, fashion-mnist, ",
    ),
    "unknown": (lambda root: {"source": "zzz"}, r"Unknown data source 'zzz': give .* or a path to a \.npy"),
    "no file": (lambda root: {"source": str(root / "no.npy")}, r"no file or folder .*no\.npy\."),
    "no file here": (lambda root: {"source": "no.npz"}, r"There is no file or folder no\.npz\."),
    "no folder": (lambda root: {"source": str(root / "no")}, "There is no file or folder "),
    "a text": (_text("notes.txt"), r"notes\.txt is no file that holds rows of data: give a path to"),
    "a text as npy": (_text("a.npy"), r"a\.npy cannot be read as a NumPy file"),
    "nothing as npy": (_text("a.npy", b""), r"a\.npy cannot be read as a NumPy file"),
    "a text as npz": (_text("a.npz"), r"a\.npz cannot be read as a NumPy file"),
    "a broken zip": (_text("a.npz", b"PK\x03\x04 and no more"), r"a\.npz cannot be read as a NumPy file"),
    "objects": (_save("a.npy", x=np.array([[{}]], object)), r"a\.npy cannot be read .* without objects"),
    "objects in npz": (
        _save("a.npz", x=np.array([[{}]], object)),
        r"a\.npz cannot be read .* without objects",
    ),
    "strings": (_save("a.npy", x=np.array([["a"]])), r"a\.npy: rows are made of real numbers, .* hold text"),
    "complex": (_save("a.npy", x=ONES * 1j), "real numbers, and these hold complex numbers; numpy.stack"),
    "one dimension": (_save("a.npy", x=np.ones(4)), r"at least 2 dimensions, and the shape is \(4,\)"),
    "no rows": (_save("a.npz", x=np.ones((0, 4))), r"there is nothing in an array of shape \(0, 4\)"),
    "nan": (
        _save("a.npy", x=HOLED),
        r"3 of 6 rows hold .* not finite .*, the first is row 3 \(counted from 0\)",
    ),
    "too large": (
        _save("a.npy", x=ONES * 1e300),
        "4 of 4 rows hold values that are missing or not finite as float32",
    ),
    "keys": (_save("a.npz", images=ONES), r"a\.npz holds 'images'; wanted are 'x' or 'train'"),
    "more keys": (_save("a.npz", x=ONES, z=ONES), r"a\.npz holds 'x', 'z'; wanted"),
    "both keys": (_save("a.npz", x=ONES, train=ONES), "'x' and 'train' mean the same; keep one"),
    "labels of none": (_save("a.npz", x=ONES, y_test=np.ones(4)), "labels for test rows and no test rows"),
    "few labels": (_excluding(x=ONES, y=np.ones(3)), r"4 rows want labels of shape \(4,\), .* \(3,\)"),
    "real labels": (
        _excluding(x=ONES, y=ONES[:, 0] / 2),
        r"labels are whole numbers or text, and the label of row 0 .* is 0\.5",
    ),
    "shapes": (_save("a.npz", x=ONES, test=np.ones((4, 3))), r"shape \(2,\) and test rows have \(3,\)"),
    "part without labels": (
        _excluding(x=ONES, y=np.arange(4), test=ONES),
        r"the rows of a\.npz \(test\) have no labels",
    ),
    "npy as npz": (_renamed("a.npy", "b.npz"), r"b\.npz is no .npz archive; .* ends in \.npy"),
    "npz as npy": (_renamed("a.npz", "b.npy"), r"b\.npy cannot be read as a NumPy file"),
    "no rows in npy": (
        _save("a.npy", x=np.ones((0, 4))),
        r"a\.npy: there is nothing in an array of shape \(0, 4\)",
    ),
    "no label": (
        _digits_with(exclude_labels=[3, "x", 11]),
        "digits has no label '11', 'x'; its labels are '0', '1'",
    ),
    "all labels": (_digits_with(exclude_labels=range(10)), "digits: no training row remains"),
    "limit 0": (_digits_with(limit=0), "data.limit is .* at least 1, and not 0"),
    "validation 1": (_digits_with(validation=1.0), "data.validation is a fraction .* and not 1.0"),
    "test below 0": (_digits_with(test=-0.1), "data.test is a fraction .* and not -0.1"),
    "nan fraction": (_digits_with(test=float("nan")), "data.test is a fraction .* and not nan"),
    "nothing to train": (_digits_with(limit=1, validation=0.9), "digits: no training row remains"),
    "divisor 0": (_digits_with(divisor=0), "data.divisor is .* above 0, and not 0"),
    "size of digits": (
        _digits_with(size=(4, 4)),
        r"data\.size, data\.color and data\.classes are for folders .* digits is none",
    ),
    "colour of digits": (_digits_with(color=True), r"data\.size, data\.color and data\.classes are for"),
    "no images": (_text(".hidden.png"), "no file that holds rows"),
    "empty folder": (_images(), "holds no images: wanted are files ending in .bmp, .gif"),
    "empty test": (_images(("train/a.png", GREY), ("test/a.txt", b"")), "test holds no images"),
    "broken image": (_images(("a.png", GREY), ("b.png", b"no image")), r"b\.png cannot be read as an image"),
    "broken png": (
        _images(("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\0IHDR")),
        r"a\.png cannot be read as an image",
    ),
    "two sizes": (
        _images(("a.png", GREY), ("b.png", Image.new("L", (6, 5)))),
        r"b\.png has height 5 and width 6, .*a\.png has 4 and 4; data\.size",
    ),
    "deep image": (_images(("a.png", Image.new("I;16", (4, 4)))), r"a\.png has more than 8 bits a channel"),
    "size 0": (_images(("a.png", GREY), size=(0, 4)), r"data\.size is .* and not \(0, 4\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_plain_sentence(mistake: str, tmp_path: Path) -> None:
    prepare, message = MISTAKES[mistake]
    options = prepare(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load(**options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_rows_of_several_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="array: rows need one shape, and row 0 has"):
        from_arrays([[1.0], [1.0, 2.0]])  # type: ignore[list-item]


@pytest.mark.parametrize("mode", ["dynamic", "static", "threshold"])
def test_values_outside_the_unit_interval_are_not_binarized(mode: str) -> None:
    with pytest.raises(DataError, match=r"array holds 0 to 19: set data\.divisor"):
        from_arrays(np.arange(20.0).reshape(10, 2)).binarized(mode)  # type: ignore[arg-type]


def test_an_unknown_binarization_is_refused() -> None:
    with pytest.raises(DataError, match="no binarisation 'often': choose dynamic, static or threshold"):
        load("digits").binarized("often")  # type: ignore[arg-type]


# torchvision's files


@pytest.mark.parametrize("error", [RuntimeError("Tried:\nno route"), URLError("no route")])
def test_a_failed_download_says_which_files_belong_where_and_leaves_nothing(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torchvision.datasets.mnist

    def fail(*args: Any, **kwargs: Any) -> None:
        print("Downloading")
        raise error

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    with pytest.raises(DataError, match="MNIST could not be downloaded") as caught:
        load("mnist", data_dir=tmp_path / "a" / "b")
    for part in (
        "train-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        str(tmp_path / "a/b/MNIST/raw"),
        "--data-dir",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_failed_download_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets.mnist

    def fail(url: str, download_root: str, **kwargs: Any) -> None:
        (Path(download_root) / "begun").touch()
        raise RuntimeError("no route")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="could not be downloaded"):
        load("mnist", data_dir=tmp_path / "empty")
    assert (tmp_path / "empty" / "MNIST" / "raw" / "begun").exists()


def test_data_are_downloaded_where_they_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets.mnist

    def deliver(url: str, download_root: str, **kwargs: Any) -> None:
        if not (tmp_path / "done").exists():
            (tmp_path / "done").touch()
            Path(download_root).rmdir()
            Path(download_root).parent.rmdir()
            _idx_files(tmp_path / "cache", "MNIST")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", deliver)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache")
    assert len(load("mnist").test) == 12


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("train-images-idx3-ubyte", lambda content: content[:1000]),
        ("train-images-idx3-ubyte", lambda content: content[:3]),
        ("train-images-idx3-ubyte", lambda content: content + b"more"),
        ("t10k-images-idx3-ubyte", lambda content: content[:2] + bytes([9]) + content[3:]),
        ("t10k-labels-idx1-ubyte", lambda content: content[:7] + bytes([11]) + content[8:-1]),
    ],
    ids=["cut off", "no header", "too long", "other kind", "other length"],
)
def test_damaged_files_are_named(file: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    options = _mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"files of MNIST in .*raw are damaged; remove them"):
        load(**options)


@pytest.mark.parametrize("error", [ImportError("none"), RuntimeError("no nms"), OSError("no symbol")])
def test_a_torchvision_that_cannot_be_imported(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("torchvision"):
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(DataError, match=rf"MNIST is downloaded by torchvision, .* imported \({error}\)"):
        load("mnist", data_dir=tmp_path)
    assert len(load("digits").train)
    assert len(load(**_mnist(tmp_path)).train)


def test_data_that_are_there_are_read_without_the_libraries_they_came_with(tmp_path: Path) -> None:
    _idx_files(tmp_path, "MNIST")
    code = (
        "import sys; from pathlib import Path; from pyrovae.data import load; load('digits')\n"
        f"load('mnist', data_dir=Path({str(tmp_path)!r}))\n"
        "print(*{'torchvision', 'sklearn', 'PIL'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""


def test_named_sources_are_what_the_libraries_read(tmp_path: Path) -> None:
    from torchvision.datasets import MNIST

    _idx_files(tmp_path, "MNIST")
    data = load("mnist", data_dir=tmp_path, validation=0)
    for split, part in ((data.train, True), (data.test, False)):
        read = MNIST(tmp_path, train=part)
        assert torch.equal(split.raw, read.data.unsqueeze(1))
        assert split.labels.tolist() == read.targets.tolist()
        assert split.labels.dtype == np.int64


@pytest.mark.parametrize("how", ["its file", "its function"])
def test_the_digits_are_those_of_scikit_learn(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    if how == "its function":
        monkeypatch.setattr("pyrovae.data.digits.find_spec", lambda name: None)
    else:
        monkeypatch.setattr("sklearn.datasets.load_digits", lambda: pytest.fail("the file was not found"))
    parts, digits = importlib.import_module("pyrovae.data.digits").read(None), load_digits()
    seen = {
        part.raw[i].numpy().tobytes() + bytes([part.labels[i]])
        for part in parts.present().values()
        for i in range(len(part))
    }
    assert seen == {
        image.astype(np.uint8).tobytes() + bytes([label])
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    assert (len(parts.train), len(parts.test)) == (1437, 360)
    assert parts.train.labels.dtype == np.int64
    assert load("digits").fingerprint() == "30901bca20960cab"  # as runs of old have stored it
