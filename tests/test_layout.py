"""Where the channels of pictures stand: read off the shape or refused, and given back as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import VAE, plots
from pyrovae.cli import main
from pyrovae.config import read
from pyrovae.data import from_arrays, load
from pyrovae.errors import DataError

RANDOM = np.random.RandomState(0)
PICTURES = RANDOM.rand(24, 8, 6, 3).astype(np.float32)
CONV = {"name": "conv", "channels": [4], "hidden": 8}


@pytest.mark.parametrize(
    ("shape", "read_as"),
    [
        ((32, 32, 3), (3, 32, 32)),
        ((32, 32, 1), (1, 32, 32)),
        ((32, 32, 4), (4, 32, 32)),
        ((5, 6, 2), (2, 5, 6)),
        ((32, 24, 3), (3, 32, 24)),
        ((64, 64, 12), (12, 64, 64)),
        ((3, 32, 32), (3, 32, 32)),
        ((1, 8, 8), (1, 8, 8)),
        ((4, 32, 24), (4, 32, 24)),
        ((1, 4, 4), (1, 4, 4)),
        ((4, 4, 1), (1, 4, 4)),
        ((12, 64, 64), (12, 64, 64)),
        ((10, 20, 30), (10, 20, 30)),
        ((8, 8), (8, 8)),
        ((3,), (3,)),
        ((2, 3, 4, 5), (2, 3, 4, 5)),
    ],
)
def test_one_reading_of_a_shape_is_taken(shape: tuple[int, ...], read_as: tuple[int, ...]) -> None:
    rows = RANDOM.rand(3, *shape).astype(np.float32)
    found = from_arrays(rows, validation=0, test=0)
    assert found.event_shape == read_as
    expected = rows if read_as == shape else np.moveaxis(rows, -1, 1)
    assert np.array_equal(np.asarray(found.train.raw), expected)
    assert bool(found.notes) == (read_as != shape or (len(shape) == 3 and shape[0] > 4))


@pytest.mark.parametrize("shape", [(3, 32, 3), (4, 4, 4), (3, 3, 3), (4, 5, 3), (2, 2, 2)])
def test_two_readings_are_refused_until_one_is_chosen(shape: tuple[int, int, int]) -> None:
    rows = RANDOM.rand(3, *shape)
    with pytest.raises(
        DataError, match=r"may be \d channels of .*, or \d .*data\.layout = channels-first or"
    ):
        from_arrays(rows)
    one, other, last = shape
    assert from_arrays(rows, layout="channels-first").event_shape == shape
    assert from_arrays(rows, layout="channels-last").event_shape == (last, one, other)


def test_what_was_decided_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    said = "read as 3 channels of 8 rows and 6 columns (data.layout = channels-last)"
    fit(PICTURES, verbose=True)
    assert capsys.readouterr().err.count(said) == 1
    fit(PICTURES, verbose=True, data={"layout": "channels-last"})
    fit(np.moveaxis(PICTURES, -1, 1), verbose=True)
    assert "read as" not in capsys.readouterr().err


def test_tables_have_no_channels() -> None:
    with pytest.raises(DataError, match=r"channels-last is for data of three axes .* shape \(8, 6\)"):
        from_arrays(PICTURES[..., 0], layout="channels-last")
    assert from_arrays(PICTURES[..., 0], layout="channels-first").layout is None
    with pytest.raises(DataError, match="digits has its channels first"):
        load("digits", layout="channels-last")


def fit(X: np.ndarray, **options: Any) -> VAE:
    given = {"network": CONV, "likelihood": "gaussian", "latent_dim": 2, "epochs": 1, "verbose": False}
    return VAE(**{**given, **options}).fit(X)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("network", [CONV, "mlp"])
def test_the_layout_changes_no_number(channels: int, network: Any) -> None:
    last = RANDOM.rand(24, 8, 6, channels).astype(np.float32)
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    one, other = fit(last, network=network), fit(first, network=network)
    assert one.program_.event_shape == (channels, 8, 6)
    assert np.array_equal(one.transform(last), other.transform(first))
    assert np.array_equal(one.sample(3), np.moveaxis(other.sample(3), 1, -1))
    assert np.array_equal(one.reconstruct(last), np.moveaxis(other.reconstruct(first), 1, -1))
    assert one.score(last) == other.score(first)


def test_new_data_have_the_layout_of_the_run(tmp_path: Path) -> None:
    fitted = fit(PICTURES)
    with pytest.raises(
        DataError, match=r"shape \(3, 8, 6\); .* shape \(8, 6, 3\) \(rows, columns, channels\)"
    ):
        fitted.transform(np.moveaxis(PICTURES, -1, 1))
    fitted.save(tmp_path / "run")
    assert read(tmp_path / "run/config.toml")["data"]["layout"] == "channels-last"
    loaded = VAE.load(tmp_path / "run", verbose=False)
    assert loaded.sample(2).shape == (2, 8, 6, 3)
    assert np.array_equal(loaded.transform(PICTURES), fitted.transform(PICTURES))
    assert len(loaded.resume(PICTURES, epochs=2).history) == 2


def test_a_run_from_before_layouts_reads_data_as_they_are_stored(tmp_path: Path) -> None:
    fit(PICTURES, data={"layout": "channels-first"}).save(tmp_path / "run")
    config = tmp_path / "run/config.toml"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("layout =")))
    assert VAE.load(tmp_path / "run").transform(PICTURES).shape == (24, 2)


def test_large_files_are_read_from_the_disk_in_their_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "rows.npy", PICTURES)
    in_memory = load(str(tmp_path / "rows.npy"))
    monkeypatch.setattr("pyrovae.data._arrays._IN_MEMORY", 0)
    on_disk = load(str(tmp_path / "rows.npy"))
    assert torch.equal(on_disk.train.rows(slice(None)), in_memory.train.rows(slice(None)))
    assert on_disk.fingerprint() == in_memory.fingerprint()


def run_(arguments: list[Any]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    assert not stopped.value.code


def test_commands_write_arrays_in_the_layout_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "rows.npy", PICTURES)
    run = tmp_path / "run"
    run_(["train", "--data", tmp_path / "rows.npy", "--run", run, "--likelihood", "gaussian", "--network",
          "conv", "--set", "network.channels=[4]", "--epochs", "1", "--latent-dim", "2"])  # fmt: skip
    assert "read as 3 channels of 8 rows and 6 columns" in capsys.readouterr().err
    data = ["--data", tmp_path / "rows.npy"]
    run_(["sample", run, "-n", "5"])
    run_(["reconstruct", run, "-n", "5", *data])
    run_(["predict", run, "-n", "3", "--rows", "5", *data])
    run_(["denoise", run, "-n", "3", "--rows", "5", *data])
    run_(["interpolate", run, "--from", "row:0", "--to", "row:1", "--steps", "5", *data])
    run_(["traverse", run, "--steps", "5", *data])
    run_(["plane", run, "--steps", "5", *data])
    written = "samples reconstructions predictions denoised-salt interpolation-0-1 traversal plane"
    for file in written.split():
        with np.load(run / f"{file}.npz") as arrays:
            shapes = {name: arrays[name].shape for name in arrays}
        data_shapes = [shape for shape in shapes.values() if len(shape) > 3]
        assert data_shapes, file
        assert {shape[-3:] for shape in data_shapes} == {(8, 6, 3)}, shapes
    with np.load(run / "reconstructions.npz") as arrays:
        assert np.array_equal(arrays["data"], PICTURES[:5])


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_look_the_same_in_both_layouts(channels: int) -> None:
    last = RANDOM.rand(4, 5, 6, channels)
    images = [plots.grid(data).axes[0].images[0].get_array() for data in (last, np.moveaxis(last, -1, 1))]
    assert np.array_equal(*images)


def test_the_way_between_two_pictures_looks_the_same_in_both_layouts() -> None:
    ends, way = RANDOM.rand(2, 5, 6, 3), RANDOM.rand(4, 5, 6, 3)
    first, last = (
        plots.interpolation(*arrays, names=("one", "other"))
        for arrays in ((ends, way), (np.moveaxis(ends, -1, 1), np.moveaxis(way, -1, 1)))
    )
    for one, other in zip(first.axes, last.axes, strict=True):
        assert np.array_equal(one.images[0].get_array(), other.images[0].get_array())


VIEWS: dict[str, Any] = {
    "decode": lambda vae: vae.decode(vae.encode(PICTURES)),
    "posterior_predictive": lambda vae: vae.posterior_predictive(PICTURES, 2),
    "denoise": lambda vae: vae.denoise(PICTURES, draws=2),
    "interpolate": lambda vae: vae.interpolate(PICTURES[0], PICTURES[1], 5),
    "traverse": lambda vae: vae.traverse(PICTURES, steps=5, at=PICTURES[0])["z[0]"],
    "plane": lambda vae: vae.plane(PICTURES, steps=5),
}


@pytest.fixture(scope="module")
def vae() -> VAE:
    return fit(PICTURES)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_the_layout_of_the_data(vae: VAE, view: str) -> None:
    assert VIEWS[view](vae).shape[-3:] == (8, 6, 3)
