"""The film of learning: the pictures that a training saved, one after the other, without a flicker."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae import plots
from pyrovae.cli import main

SMALL = ["--set", "data.limit=60", "--set", "network.hidden=[8]", "--latent-dim", "2"]


def command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, all of them pictured."""
    path = tmp_path_factory.mktemp("film") / "run"
    assert command("train", *SMALL, "--epochs", "3", "--watch", "1", "--run", path) == 0
    return path


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def test_watch_pictures_every_epoch_and_stands_in_the_configuration(run: Path) -> None:
    assert [file.name for file in sorted((run / "figures").iterdir())] == [
        f"epoch-000{epoch}.png" for epoch in (1, 2, 3)
    ]
    assert "\nwatch = 1\n" in (run / "config.toml").read_text()


def test_the_film_has_a_frame_for_every_picture_and_rests_on_the_last(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("animate", run, "--fps", "5") == 0
    assert capsys.readouterr().out == f"{run / 'learning.gif'}\n"
    with Image.open(run / "learning.gif") as film:
        durations, frames = [], []
        for number in range(film.n_frames):
            film.seek(number)
            durations.append(film.info["duration"])
            frames.append(np.asarray(film.convert("RGB")))
        assert film.info["loop"] == 0  # for ever
    assert durations == [200, 200, 2000]
    for frame, file in zip(frames, sorted((run / "figures").iterdir()), strict=True):
        assert np.array_equal(frame, pixels(file))  # greys lose nothing


def test_where_nothing_is_learned_nothing_moves_but_the_title(run: Path, tmp_path: Path) -> None:
    """Data, codes and noise of the pictures are the same in every epoch: what moves has been learned."""
    still = tmp_path / "still"
    assert command("train", *SMALL, "--epochs", "2", "--lr", "1e-12", "--watch", "1", "--run", still) == 1
    for path, same in ((still, True), (run, False)):
        first, second = (pixels(file) for file in sorted((path / "figures").iterdir())[:2])
        below = first.shape[0] // 8
        assert not np.array_equal(first[:below], second[:below])  # the epoch's number
        assert np.array_equal(first[below:], second[below:]) == same


def test_the_film_goes_where_it_is_wanted(run: Path, tmp_path: Path) -> None:
    assert command("animate", run, "--out", tmp_path / "new" / "mine") == 0
    with Image.open(tmp_path / "new" / "mine.gif") as film:
        assert film.n_frames == 3


@pytest.mark.parametrize(("kept", "said"), [(1, "has 1 picture of"), (0, "has no pictures of")])
def test_one_picture_makes_no_film(
    run: Path, tmp_path: Path, kept: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(run, tmp_path / "run")
    for file in sorted((path / "figures").iterdir())[kept:]:
        file.unlink()
    assert command("animate", path) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "train with --watch 1" in error


def test_what_is_no_picture_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shutil.copytree(run, tmp_path / "run")
    (path / "figures" / "epoch-0002.png").write_text("no picture")
    assert command("animate", path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write")
    assert "epoch-0002.png" in error


def test_epochs_are_in_their_order_beyond_four_digits(run: Path, tmp_path: Path) -> None:
    path = shutil.copytree(run, tmp_path / "run")
    (path / "figures" / "epoch-0001.png").rename(path / "figures" / "epoch-10000.png")
    (path / "figures" / "epoch-0002.png").rename(path / "figures" / "epoch-9999.png")
    assert command("animate", path) == 0
    with Image.open(path / "learning.gif") as film:
        film.seek(2)
        assert np.array_equal(film.convert("RGB"), pixels(path / "figures" / "epoch-10000.png"))


def test_frames_of_other_sizes_and_colours_are_framed_and_keep_them(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.new("RGB", (8, 4), (200, 30, 30)).save(files[0])
    last = Image.new("RGB", (6, 6), (30, 30, 200))
    last.paste((200, 30, 30), (0, 0, 3, 3))
    last.save(files[1])
    plots.save_film(files, tmp_path / "film.gif", fps=2)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (8, 6)
        first = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(first[:4] - (200, 30, 30)).max() <= 4
    assert np.abs(first[4:] - 255).max() <= 4
