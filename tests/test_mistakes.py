"""Mistakes are answered at once: before torch is imported, with what may have been meant."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrovae import places
from pyrovae.config import outline, resolve, selected
from pyrovae.errors import ConfigError, RunError

SLOW = {"matplotlib", "pyro", "scipy", "sklearn", "torch", "torchvision"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two runs, of which nothing but their configurations is there, and some files."""
    folder = tmp_path_factory.mktemp("work")
    for age, name in enumerate(("mnist-vamp", "mnist-normal")):
        made(folder / "runs" / name, age)
    made(folder / "runs" / "broken", 9, "latent_dim = = 3")
    (folder / "bad.toml").write_text("latent_dim = = 3")
    (folder / "table.csv").write_text("a,b\n1,2\n")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def made(run: Path, age: int, config: str = "latent_dim = 2") -> None:
    """A run that was made so many days ago, of which only the configuration is there."""
    run.mkdir(parents=True)
    (run / "config.toml").write_text(config)
    os.utime(run / "config.toml", (1e9 - 86400 * age,) * 2)


def ended(*arguments: str, folder: Path) -> tuple[int, str, set[str]]:
    """How a command line ends in a process of its own: exit code, standard error, libraries imported."""
    program = f"""
import atexit, sys
sys.argv = ["pyrovae", *{arguments!r}]
atexit.register(lambda: print(*{{name.partition(".")[0] for name in sys.modules}}))
from pyrovae.cli import main
main()
"""
    end = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)
    return end.returncode, end.stderr, set(end.stdout.split())


READING = ("evaluate", "sample", "reconstruct", "predict", "denoise", "traverse", "plane", "embed", "map")
NEAR = "there is no run folder mnist-normla (did you mean runs/mnist-normal"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        *((f"{command} mnist-normla", 1, NEAR) for command in (*READING, "report", "score", "animate")),
        ("interpolate mnist-normla --from 1 --to 2", 1, NEAR),
        ("train --resume mnist-normla", 1, NEAR),
        ("compare runs/mnist-vamp mnist-normla", 1, NEAR),
        ("sample runs/broken", 2, "no valid TOML"),
        ("evaluate runs/mnist-vamp --data nowhere.npy", 1, "There is no file or folder nowhere.npy"),
        ("evaluate runs/mnist-vamp --with gasp", 2, "'gasp' is unknown (did you mean 'gaps'?)"),
        ("evaluate runs/mnist-vamp --set gaps.points=3", 2, "gaps is not run"),
        ("train --latent-dim 0", 2, "latent_dim: 0 is not allowed; it must be an integer >= 1"),
        ("train --lr -1", 2, "train.lr: -1.0 is not allowed"),
        ("train --device gpu", 2, "'gpu' is not allowed; it must be auto, cpu, cuda, cuda:1, mps"),
        ("train --prior norml", 2, "'norml' is unknown (did you mean 'normal'?)"),
        ("train --set train.lrr=1", 2, "'lrr' is unknown (did you mean 'lr'?)"),
        ("train --set trane.lr=1", 2, "'trane' is unknown (did you mean 'train'?)"),
        ("train --config bad.toml", 2, "bad.toml: no valid TOML"),
        ("train --config nowhere.toml", 1, "nowhere.toml"),
        ("train --data nowhere.npy", 1, "There is no file or folder nowhere.npy"),
        ("train --data digitz", 1, "did you mean digits?"),
        ("train --data table.csv", 1, "is no file that holds rows of data"),
        ("train --run runs/mnist-vamp", 1, "or go on with --resume runs/mnist-vamp"),
        ("train --run bad.toml", 1, "is a file and no run"),
        ("config --set seed=-1", 2, "seed: -1 is not allowed"),
        ("components priro", 2, "did you mean 'prior'?"),
    ],
)
def test_a_mistake_is_answered_before_anything_slow_is_imported(
    command: str, code: int, said: str, work: Path
) -> None:
    returned, error, libraries = ended(*command.split(), folder=work)
    assert returned == code, error
    assert said in error
    assert all(line.startswith("error: ") for line in error.splitlines())
    assert "pyrovae" in libraries
    assert not libraries & SLOW


def test_what_is_seen_at_once_is_all_or_left_to_those_who_see_more() -> None:
    with pytest.raises(ConfigError) as found:
        outline({"prior": "norml", "latent_dim": 0})
    assert [problem.place for problem in found.value.problems] == ["prior.name", "latent_dim"]
    outline({"prior": {"name": "mixture", "components": 0}, "latent_dim": 0})
    with pytest.raises(ConfigError) as found:
        resolve({"prior": {"name": "mixture", "components": 0}, "latent_dim": 0})
    assert {problem.place for problem in found.value.problems} == {"prior.components", "latent_dim"}
    with pytest.raises(ConfigError) as found:
        selected("diagnostic", {"gasp": {}, "active-units": {"treshold": 1.0}}, place="--with")
    assert {problem.place for problem in found.value.problems} == {"--with", "active-units.treshold"}


# Which run -------------------------------------------------------------------------------------------------


def test_a_command_without_a_run_names_the_newest(work: Path) -> None:
    code, error, libraries = ended("sample", folder=work)
    assert code == 2
    assert error == ("error: RUN: name the folder of a run, as the newest: pyrovae sample runs/mnist-vamp\n")
    assert not libraries & SLOW
    error = ended("compare", folder=work)[1]
    assert error.endswith("as the newest: pyrovae compare runs/mnist-vamp runs/mnist-normal\n")
    error = ended("interpolate", "--from", "1", "--to", "2", folder=work)[1]
    assert "pyrovae interpolate runs/mnist-vamp" in error
    assert "'--from'" in ended("interpolate", "runs/mnist-vamp", folder=work)[1]


def test_where_there_is_no_run_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    assert "there is none under runs/ yet, and 'pyrovae train' makes one" in ended("map", folder=tmp_path)[1]
    made(tmp_path / "runs" / "one", 0)
    assert "there is only runs/one, and 'pyrovae train' makes another" in ended("compare", folder=tmp_path)[1]


def test_runs_are_suggested_beside_a_path_and_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "elsewhere" / "vamp", 0)
    made(tmp_path / "runs" / "vamp", 1)
    made(tmp_path / "runs" / "other", 2)
    with pytest.raises(RunError, match=r"elsewhere/vampp \(did you mean elsewhere/vamp or runs/vamp\?\)"):
        places.check(Path("elsewhere/vampp"))
    with pytest.raises(RunError, match=r"there is no run folder xyz; the newest run is runs/vamp$"):
        places.check(Path("xyz"))
    with pytest.raises(RunError, match=r"runs is no run: .* runs in it: runs/vamp and runs/other$"):
        places.check(Path("runs"))
    (tmp_path / "runs" / "other" / "metrics.jsonl").touch()
    assert places.newest() == [Path("runs/other"), Path("runs/vamp")]


def test_a_run_that_is_there_is_found(work: Path) -> None:
    places.check(Path("runs/mnist-vamp"))
    places.check_free(Path("runs/new"))
    assert len(places.runs_in(Path("runs"))) == 3
