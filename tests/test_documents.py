"""What programs read of the commands: a document of JSON each, and nothing beside it where that is asked."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pyrovae.cli import main
from pyrovae.component import FAMILIES, names

SMALL = ("--set", "data.limit=60", "--set", "network.hidden=[16]", "--latent-dim", "2", "--epochs", "1")

WRITING: dict[str, tuple[str, ...]] = {
    "sample": ("-n", "2"),
    "reconstruct": ("-n", "2"),
    "predict": ("-n", "2", "--rows", "2"),
    "denoise": ("-n", "2", "--rows", "2"),
    "interpolate": ("--from", "row:0", "--to", "row:1", "--steps", "2"),
    "traverse": ("--steps", "2"),
    "plane": ("--steps", "2"),
    "embed": (),
    "map": ("--rows", "20"),
    "report": ("--rows", "20", "--particles", "2"),
    "score": ("--particles", "2", "--top", "1"),
}
"""Commands that read a run and write files, with options that make them quick."""

TALKING = {
    "evaluate": ("--particles", "2"),
    "score": ("--particles", "2", "--top", "0", "--jsonl"),
    "report": WRITING["report"],
}


class End(NamedTuple):
    out: str
    err: str


def succeed(*arguments: str | Path) -> End:
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main([str(argument) for argument in arguments])
    assert not ended.value.code, err.getvalue()
    return End(out.getvalue(), err.getvalue())


def refused(*arguments: str) -> str:
    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    return err.getvalue()


def document(*arguments: str | Path) -> dict[str, Any]:
    found = json.loads(succeed(*arguments, "--json").out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("command", WRITING)
def test_what_writes_files_says_in_a_document_where_they_are_and_what_they_hold(
    command: str, run: Path, tmp_path: Path, empty_pictures: None
) -> None:
    given = (command, run, *WRITING[command], "--out", tmp_path / "made")
    found = document(*given)
    assert (found["run"], found["checkpoint"], found["epoch"]) == (str(run), "best", 1)
    written = sorted(str(file) for file in tmp_path.iterdir())
    assert sorted(found["files"]) == sorted(found["holds"]) == written
    for file in (Path(file) for file in found["files"] if file.endswith(".npz")):
        with np.load(file) as arrays:
            assert found["holds"][str(file)] == {name: list(array.shape) for name, array in arrays.items()}
    assert [line for line in succeed(*given).out.splitlines() if line in written] == found["files"]


def test_codes_in_a_table_are_told_by_their_columns(run: Path, tmp_path: Path) -> None:
    found = document("embed", run, "--out", tmp_path / "codes.csv")
    assert found["holds"] == {str(tmp_path / "codes.csv"): {"columns": ["row", "label", "z[0]", "z[1]"]}}


def test_a_training_is_a_document(tmp_path: Path, empty_pictures: None) -> None:
    found = document("train", *SMALL, "--run", tmp_path / "run", "--quiet")
    assert (found["run"], found["epochs"], found["best_epoch"]) == (str(tmp_path / "run"), 1, 1)
    _, line = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert found["metrics"]["last"] == found["metrics"]["best"] == json.loads(line)
    assert all(Path(file).is_file() for file in found["files"])


def test_a_configuration_is_a_document() -> None:
    found = document("config", "--set", "prior=mixture")
    assert (found["prior"], found["train"]["epochs"]) == ({"name": "mixture", "components": 10}, 100)


def test_a_film_is_a_document(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    for epoch in (1, 2):
        (run / "figures").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(run / "figures" / f"epoch-{epoch:04d}.png")
    found = document("animate", run, "--out", tmp_path / "film")
    assert (found["pictures"], found["files"]) == (2, [str(tmp_path / "film.gif")])


@pytest.mark.parametrize("command", TALKING)
def test_quiet_commands_print_their_results_alone(
    command: str, run: Path, tmp_path: Path, empty_pictures: None
) -> None:
    given = (command, run, *TALKING[command])
    loud, quiet = succeed(*given), succeed(*given, "--quiet")
    assert loud.err
    assert quiet == End(loud.out, "")


def test_a_quiet_training_prints_its_table_alone(tmp_path: Path, empty_pictures: None) -> None:
    end = succeed("train", *SMALL, "--run", tmp_path / "run", "-q")
    assert end.err == ""
    assert end.out.splitlines()[-1] == str(tmp_path / "run")


def test_quiet_commands_still_say_what_is_wrong() -> None:
    assert refused("components", "priro").startswith(
        "error: FAMILY: 'priro' is unknown (did you mean 'prior'?)"
    )
    assert "train.epochs" in refused("train", "--epochs", "0", "--quiet")


# Components ------------------------------------------------------------------------------------------------


def test_one_family_and_one_component_are_listed() -> None:
    prior = succeed("components", "prior").out
    assert re.findall(r"^(\w+)$", prior, re.MULTILINE) == ["prior"]
    assert re.findall(r"^  (\S+)", prior, re.MULTILINE) == names("prior")
    one = succeed("components", "prior", "mixture").out
    assert re.findall(r"^  (\S+)", one, re.MULTILINE) == ["mixture"]
    assert "--set prior.components=10" in one


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_of_the_list_is_longer_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    printed = succeed("components", "prior").out
    assert all(len(line) <= width for line in printed.splitlines() if "--set" not in line)
    assert " ".join(printed.split()).count("pseudo-inputs start as training data, or as noise around") == 1


def test_components_are_a_document() -> None:
    found = document("components")
    assert {family: list(members) for family, members in found.items()} == {
        family: names(family) for family in FAMILIES
    }
    assert found["prior"]["mixture"]["options"]["components"]["default"] == 10
    assert document("components", "prior", "normal")["prior"]["normal"]["values"] == "real vectors"
    fits = document("components", "--matrix")["real vectors"]
    assert fits["normal"]["vamp"] is None
    assert "a point" in fits["delta"]["vamp"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("priro",), "FAMILY: 'priro' is unknown (did you mean 'prior'?); choose from program, prior"),
        (("prior", "norml"), "NAME: 'norml' is unknown (did you mean 'normal'?); choose from bernoulli"),
        (("mixture",), "FAMILY: 'mixture' is a prior: write 'pyrovae components prior mixture'"),
        (("prior", "--matrix"), "--matrix: is about priors and posteriors"),
    ],
)
def test_unknown_names_are_answered_with_those_that_there_are(arguments: tuple[str, ...], said: str) -> None:
    assert refused("components", *arguments).startswith(f"error: {said}")
