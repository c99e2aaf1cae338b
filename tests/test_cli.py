"""The commands as a user types them: what they print, write and refuse, and the code that they end with."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pyrovae import plots, tables
from pyrovae.cli import main
from pyrovae.contrast import Comparison, Contrast
from pyrovae.folder import Folder
from pyrovae.intervals import Interval
from pyrovae.progress import Report
from pyrovae.train import Snapshot

SMALL = ("--set", "data.limit=100", "--set", "network.hidden=[16]", "--latent-dim", "2")


class End(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def call(*arguments: str | Path) -> End:
    """Run a command line in this process, with no terminal; none may end in a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int | None)
    return End(code or 0, out.getvalue(), err.getvalue())


def succeed(*arguments: str | Path) -> End:
    end = call(*arguments)
    assert end.code == 0, end.err
    return end


def fail(code: int, *arguments: str | Path) -> str:
    """What a command says that must fail: sentences on standard error, nothing on standard output."""
    end = call(*arguments)
    assert (end.code, end.out) == (code, ""), end
    assert "Traceback" not in end.err
    return end.err


def one_sentence(error: str) -> str:
    """The text of an error that must be one line."""
    assert re.fullmatch(r"error: .+\n", error), error
    return error


def metrics(run: Path) -> list[dict[str, float]]:
    """The metrics of every epoch that was trained."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["epoch"] > 0]


def without_times(run: Path) -> list[dict[str, float]]:
    timed = ("seconds", "examples_per_second")
    return [{key: value for key, value in line.items() if key not in timed} for line in metrics(run)]


def same_runs(one: Path, other: Path) -> None:
    """Both runs have the same metrics and weights, bit for bit."""
    assert without_times(one) == without_times(other)
    for name in ("best", "last"):
        weights, others = (load_file(run / "checkpoints" / f"{name}.safetensors") for run in (one, other))
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[key], others[key]) for key in weights)


def forget(file: Path, fact: str) -> None:
    """Write a checkpoint as an older pyrovae did, which did not know of a fact."""
    with safe_open(file, "pt") as opened:
        facts = opened.metadata()
    del facts[fact]
    save_file(load_file(file), file, facts)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C at that step of training."""
    steps = 0

    def interrupted(report: Report) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Report, "step", interrupted)


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in that all tests of this file share; what they write there has different names."""
    folder = tmp_path_factory.mktemp("work")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture
def pictures() -> None:
    """Pictures are drawn in this test; elsewhere their files are empty: drawing takes most of the time."""


@pytest.fixture(autouse=True)
def _empty_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())


@pytest.fixture(scope="module")
def trained(work: Path) -> End:
    """The training of ``work/run``, which other tests read and leave as it is."""
    return succeed("train", *SMALL, "--epochs", "2", "--batch-size", "16", "--run", "run")


@pytest.fixture
def run(work: Path, trained: End) -> Path:
    return Path("run")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return shutil.copytree(run, tmp_path / "copy")


# Help ------------------------------------------------------------------------------------------------------


COMMANDS = (
    *("train", "evaluate", "sample", "reconstruct", "predict", "denoise", "interpolate", "traverse", "plane"),
    *("embed", "map", "score", "compare", "report", "animate", "components", "config"),
)

SLOW = {"matplotlib", "pandas", "PIL", "scipy", "sklearn", "torchvision"}
"""Libraries that take long to import, and that few commands need."""

SLOWER = {*SLOW, "numpy", "pyro", "rich", "safetensors", "torch"}
"""Libraries that take a person's time who only asks what there is to type."""


def imported(*arguments: str, folder: Path | None = None, before: str = "", **environment: str) -> set[str]:
    """The libraries that are there when a command line has ended in a process of its own."""
    program = f"""
import atexit, sys
sys.argv = ["pyrovae", *{arguments!r}]
atexit.register(lambda: print("imported", *{{name.partition(".")[0] for name in sys.modules}}))
from pyrovae.cli import main
{before}
main()
"""
    end = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    said, _, last = end.stdout.rpartition("imported ")
    assert said or before, end.stderr
    assert "pyrovae" in last.split()
    return set(last.split())


def test_help_imports_nothing_but_what_reads_the_command_line() -> None:
    assert not imported("--help") & {*SLOWER, "pydantic"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_nothing_that_is_slow(command: str) -> None:
    assert not imported(command, "--help") & SLOWER  # typer itself takes pydantic


def test_completion_imports_nothing_that_is_slow() -> None:
    asked = {"_PYROVAE_COMPLETE": "complete_bash", "COMP_WORDS": "pyrovae train --prior n", "COMP_CWORD": "3"}
    assert not imported(**asked) & SLOWER


@pytest.mark.parametrize("arguments", [["components"], ["components", "--matrix"]])
def test_the_list_of_components_imports_little_beside_torch(arguments: list[str]) -> None:
    libraries = imported(*arguments)
    assert {"torch", "pyro"} <= libraries
    assert not libraries & {*SLOW, "arviz_stats", "sympy"}


def test_training_begins_before_anything_slow_is_imported(tmp_path: Path) -> None:
    stopping = "from pyrovae.engine import Engine; Engine.step = lambda *_, **__: sys.exit()"
    arguments = ["train", "--data", "digits", "--epochs", "1", "--run", "run"]
    assert not imported(*arguments, folder=tmp_path, before=stopping) & SLOW
    assert (tmp_path / "run" / "config.toml").exists()
    assert not metrics(tmp_path / "run")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert f"{command} [OPTIONS]" in succeed(command, "-h").out


def test_components_lists_every_component_of_every_family() -> None:
    out = succeed("components").out
    for name in ("normal", "bernoulli", "gaussian", "linear", "mlp", "conv"):
        assert re.search(rf"^  {name} +\S", out, re.MULTILINE)
    for option in ("likelihood.scale", "likelihood.floor", "network.hidden", "network.channels"):
        assert f"{option}=" in out


def test_the_settings_that_components_lists_can_be_typed_as_they_stand() -> None:
    lines = re.findall(r"^ +(--set .*)$", succeed("components").out, re.MULTILINE)
    settings = [shlex.split(line) for line in lines]
    assert ["--set", "network.hidden=[300, 300]"] in settings
    assert all(len(words) == 2 for words in settings)


def test_the_matrix_has_a_cell_for_every_prior_and_posterior_on_one_set_and_a_reason_for_every_no() -> None:
    printed = succeed("components", "--matrix").out
    rows = {tuple(line.split()[:2]): line for line in printed.splitlines() if line.strip()}
    assert rows["normal", "fits"].split() == ["normal"] + ["fits"] * 6
    assert rows["planar", "fits"].split()[:-2] == ["planar"] + ["fits"] * 5
    for posterior in ("planar", "radial", "sylvester", "iaf", "spline", "delta"):
        reason = (
            rf"\(\d+\) the prior 'vamp' needs q\(z\|x\) at any value, and '{posterior}' gives it at .*: .+"
        )
        assert re.search(reason, printed)
    assert printed.count("no (") == 6
    for pair in ("the unit sphere   sphere", "power-sphere     fits", "on one-hot codes", "on the simplex"):
        assert re.search(pair.replace(" ", r"\s+"), printed)
    assert "live on different sets, and do not fit" in printed


def test_a_point_is_trained_under_another_name_than_a_bound_and_evaluated_without_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = succeed("train", *SMALL, "--posterior", "delta", "--epochs", "1", "--run", run)
    assert "ELBO" not in trained.out + trained.err
    assert "objective" in trained.out
    assert "penalty" in trained.out
    caveat = "'delta' is a point and no density"
    assert caveat in trained.err
    end = succeed("evaluate", run, "--particles", "1")
    assert "log p(x|z) at the point z of x" in end.out
    assert f"{caveat}: what is maximised, log p(x|z) + log p(z), is no bound of log p(x)" in end.out
    assert "ELBO" not in end.out
    assert "KL" not in end.out
    assert "importance-sampled" not in end.out
    facts = json.loads(succeed("evaluate", run, "--json").out)
    assert list(facts["quantities"]) == ["reconstruction", "penalty"]
    assert caveat in facts["caveats"][0]


def test_a_bound_comes_without_caveats(tmp_path: Path) -> None:
    succeed("train", *SMALL, "--epochs", "1", "--run", tmp_path / "run")
    assert (
        json.loads(succeed("evaluate", tmp_path / "run", "--particles", "1", "--json").out)["caveats"] == []
    )


# Training --------------------------------------------------------------------------------------------------


def test_training_prints_a_table_and_last_the_path_of_the_run(trained: End, run: Path) -> None:
    *table, path = trained.out.splitlines()
    assert path == "run"
    assert any("nats per datum" in line and "validation ELBO" in line for line in table)
    last = metrics(run)[-1]
    (row,) = [line.split() for line in table if line.split()[:1] == ["last"]]
    assert row == ["last", "2", f"{last['train_elbo']:.2f}", *(f"{last[key]:.2f}" for key in VALIDATION)]


VALIDATION = ("validation_elbo", "validation_reconstruction", "validation_kl")


def test_a_loss_that_is_not_minus_the_elbo_stands_in_the_table_which_says_why_an_epoch_is_the_best(
    work: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    end = succeed("train", *SMALL, "--epochs", "2", "--set", "objective.beta=0", "--run", path)
    assert "validation loss" in end.out
    history = metrics(path)
    best = min(history, key=lambda line: line["validation_loss"])
    (row,) = [line.split() for line in end.out.splitlines() if line.split()[:1] == ["best"]]
    assert (row[1], row[-1]) == (str(int(best["epoch"])), f"{best['validation_loss']:.2f}")


def test_training_tells_its_progress_on_standard_error_in_plain_lines(trained: End, run: Path) -> None:
    assert "epoch" not in trained.out.replace("nats per datum   epoch", "")
    assert "\x1b" not in trained.err + trained.out
    lines = trained.err.splitlines()
    assert [line[:9] for line in lines[-2:]] == ["epoch 1/2", "epoch 2/2"]
    assert f"{metrics(run)[-1]['train_elbo']:.2f}" in lines[-1]
    assert "nats" in lines[-1]


def test_training_states_data_and_range_and_that_they_are_binarised(trained: End) -> None:
    first, second, third, *_ = trained.err.splitlines()
    assert first == "digits: 90 train, 10 validation, 360 test rows of (1, 8, 8), values 0 to 1"
    assert "binarised (dynamic)" in second
    assert third == "training into run"


def test_a_run_without_a_name_is_put_under_runs(work: Path) -> None:
    end = succeed("train", *SMALL, "--epochs", "1")
    path = Path(end.out.splitlines()[-1])
    assert path.parent == Path("runs")
    assert (path / "config.toml").is_file()


def test_flags_win_over_set_and_set_over_the_file(work: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nlatent_dim = 5\ntrain = { epochs = 9, batch_size = 8, lr = 0.5 }\n")
    given = ["--config", file, "--set", "train.epochs=7", "--set", "seed=3", "--set", "train.lr=0.25"]
    succeed("train", *given, *SMALL, "--epochs", "1", "--seed", "4", "--run", tmp_path / "run")
    kept = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (kept["seed"], kept["latent_dim"], kept["train"]["epochs"]) == (4, 2, 1)
    assert (kept["train"]["batch_size"], kept["train"]["lr"], kept["data"]["limit"]) == (8, 0.25, 100)


def test_an_option_set_beside_a_flag_that_names_its_component_is_in_force(work: Path, tmp_path: Path) -> None:
    given = ["--likelihood", "gaussian", "--set", "likelihood.scale=0.5"]
    succeed("train", *given, *SMALL, "--epochs", "1", "--run", tmp_path / "run")
    kept = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert kept["likelihood"]["scale"] == 0.5


def test_every_flag_reaches_the_configuration(work: Path, tmp_path: Path) -> None:
    chosen = {"likelihood": "gaussian", "prior": "normal", "posterior": "normal", "network": "linear"}
    flags = [f"--{family}={name}" for family, name in chosen.items()]
    numbers = ["--latent-dim=3", "--epochs=1", "--batch-size=50", "--lr=0.125", "--seed=9"]
    where = ["--data=digits", f"--data-dir={tmp_path}", "--objective=mean-field-elbo"]
    succeed("train", *flags, *numbers, *where, "--set", "data.limit=100", "--run", tmp_path / "run")
    kept = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert {family: kept[family]["name"] for family in chosen} == chosen
    assert (kept["latent_dim"], kept["seed"], kept["objective"]["name"]) == (3, 9, "mean-field-elbo")
    assert (kept["train"]["epochs"], kept["train"]["batch_size"], kept["train"]["lr"]) == (1, 50, 0.125)
    assert (kept["data"]["source"], kept["data"]["dir"]) == ("digits", str(tmp_path))


def test_the_kept_configuration_alone_repeats_the_run(run: Path, tmp_path: Path) -> None:
    succeed("train", "--config", run / "config.toml", "--run", tmp_path / "again")
    same_runs(run, tmp_path / "again")
    assert (tmp_path / "again" / "config.toml").read_text() == (run / "config.toml").read_text()


def test_another_seed_is_another_run(run: Path, tmp_path: Path) -> None:
    succeed("train", "--config", run / "config.toml", "--seed", "1", "--run", tmp_path / "other")
    assert without_times(tmp_path / "other") != without_times(run)


def test_mnist_is_trained_on_from_files_on_disk(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 60), ("t10k", 12)):
        for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            values = np.random.RandomState(0).randint(0, 10, shape).astype(np.uint8)
            header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())
    names = ["--likelihood", "bernoulli", "--prior", "normal", "--data", "mnist", "--data-dir", tmp_path]
    end = succeed("train", *names, "--epochs", "1", *SMALL, "--run", tmp_path / "run")
    assert "mnist: 54 train, 6 validation, 12 test rows of (1, 28, 28), values 0 to 1" in end.err


# Evaluation ------------------------------------------------------------------------------------------------

QUANTITIES = ["elbo", "reconstruction", "kl", "log_likelihood", "log_likelihood_corrected"]


def evaluated(*arguments: str | Path) -> dict[str, Any]:
    """``evaluate --json``, with few draws."""
    numbers = json.loads(succeed("evaluate", *arguments, "--json", "--particles", "20").out)
    assert isinstance(numbers, dict)
    return numbers


def values(numbers: dict[str, Any]) -> list[float]:
    return [numbers["quantities"][key]["value"] for key in QUANTITIES if key in numbers["quantities"]]


def test_evaluate_prints_the_quantities_with_errors_and_bits(run: Path) -> None:
    out = succeed("evaluate", run, "--particles", "20").out
    for label in ("ELBO", "reconstruction", "KL(q(z|x) || p(z))", "log p(x), corrected for its bias"):
        assert re.search(
            rf"^ +{re.escape(label)} .*-?\d+\.\d{{3,}} +nats +[\d.e-]+ +[\d.e-]+ +(-|\d\.\d{{4}})", out, re.M
        )
    for column in ("nats", "Monte-Carlo error", "error over data", "bits/dim"):
        assert column in out
    assert "360 test rows of digits, 20 draws of z each" in out


@pytest.mark.parametrize("width", [50, 80])
def test_no_word_of_a_table_is_cut_in_a_narrow_terminal(
    width: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    setting = ("--set", "objective.beta=2")  # for the widest table of a training
    trained = succeed("train", *SMALL, "--epochs", "1", *setting, "--run", tmp_path / "run").out
    out = succeed("evaluate", run, "--particles", "30", "--with", "predictive-checks").out
    assert "\u2026" not in trained + out
    table = [line for line in (trained + out).splitlines() if line[:1] == " " and line[-1:] != ":"]
    assert max(map(len, table)) <= width
    if width == 80:  # nor broken
        for word in ("reconstruction", "validation", "importance-sampled", "Monte-Carlo", "replicated"):
            assert word in {part.strip() for line in table for part in line.split()}


def test_estimates_of_every_datum_are_refused_where_they_would_not_be_printed(run: Path) -> None:
    assert "--json" in one_sentence(fail(2, "evaluate", run, "--per-datum"))


def test_evaluate_as_json_has_units_errors_and_bits(run: Path) -> None:
    numbers = evaluated(run)
    assert (numbers["unit"], numbers["rows"], numbers["particles"]) == ("nats per datum", 360, 20)
    quantities = numbers["quantities"]
    sizes = ["effective_sample_size", "smallest_effective_sample_size"]  # and no k-hat, which needs 25 draws
    assert list(quantities) == [*QUANTITIES, *sizes]
    for key in QUANTITIES:  # without a k-hat, nobody knows whether the error of log p(x) can be trusted
        error = quantities[key]["monte_carlo_error"]
        assert error is None if key.startswith("log_likelihood") else error > 0
        assert quantities[key]["data_error"] > 0
    elbo, reconstruction, kl, log_likelihood, corrected = values(numbers)
    assert corrected > log_likelihood
    assert elbo == pytest.approx(reconstruction - kl, abs=1e-9)
    assert log_likelihood >= elbo
    bits = {key: quantities[key]["bits_per_dimension"] for key in QUANTITIES}
    assert bits["elbo"] == pytest.approx(-elbo / 64 / np.log(2))
    assert bits["log_likelihood"] == pytest.approx(-log_likelihood / 64 / np.log(2))
    assert (bits["reconstruction"], bits["kl"]) == (None, None)


def test_one_draw_has_no_error_and_says_so(run: Path) -> None:
    numbers = json.loads(succeed("evaluate", run, "--json", "--particles", "1").out)
    assert all(row["monte_carlo_error"] is None for row in numbers["quantities"].values())
    assert values(numbers)[3] == pytest.approx(values(numbers)[0])


def test_evaluating_twice_prints_the_same(run: Path) -> None:
    assert evaluated(run) == evaluated(run)
    assert values(evaluated(run, "--seed", "1")) != values(evaluated(run))


@pytest.mark.parametrize("size", ["1", "7", "360"])
def test_the_batch_size_does_not_change_the_numbers(run: Path, size: str) -> None:
    few = json.loads(succeed("evaluate", run, "--json", "--particles", "2", "--batch-size", size).out)
    usual = json.loads(succeed("evaluate", run, "--json", "--particles", "2").out)
    np.testing.assert_allclose(values(few), values(usual), rtol=0, atol=1e-4)


def test_the_splits_are_told_apart(run: Path) -> None:
    rows = {split: evaluated(run, "--split", split) for split in ("train", "validation", "test")}
    assert {split: numbers["rows"] for split, numbers in rows.items()} == {
        "train": 90,
        "validation": 10,
        "test": 360,
    }
    assert len({values(numbers)[0] for numbers in rows.values()}) == 3


def test_evaluation_changes_no_file_of_the_run(run: Path) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    evaluated(run)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_the_best_checkpoint_is_read_unless_the_last_is_asked_for(copy: Path) -> None:
    best, last = (copy / "checkpoints" / f"{name}.safetensors" for name in ("best", "last"))
    both = [evaluated(copy, "--checkpoint", name) for name in ("best", "last")]
    assert [numbers["epoch"] for numbers in both] == [2, 2]
    succeed("train", "--resume", copy, "--epochs", "3")
    shutil.copy(last, copy / "third")
    succeed("train", "--config", copy / "config.toml", "--epochs", "1", "--run", copy / "first")
    shutil.copy(copy / "first" / "checkpoints" / "last.safetensors", best)
    assert evaluated(copy)["epoch"] == evaluated(copy, "--checkpoint", "best")["epoch"] == 1
    assert evaluated(copy, "--checkpoint", "last")["epoch"] == 3
    assert evaluated(copy) != evaluated(copy, "--checkpoint", "last")


def test_a_run_is_read_from_another_folder(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("table.npy", np.random.RandomState(0).rand(60, 5) > 0.5)
    succeed("train", "--data", "table.npy", *SMALL, "--epochs", "1", "--run", "run")
    here = evaluated("run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert values(evaluated("../run")) == values(here)


def test_other_rows_are_evaluated_all_of_them(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.RandomState(0).rand(11, 1, 8, 8) > 0.5)
    numbers = evaluated(run, "--data", tmp_path / "rows.npy")
    assert (numbers["rows"], numbers["split"], numbers["data"]) == (11, "given", str(tmp_path / "rows.npy"))


def test_of_other_data_with_a_test_set_that_is_evaluated(run: Path, tmp_path: Path) -> None:
    bits = np.random.RandomState(0).rand(11, 1, 8, 8) > 0.5
    np.savez(tmp_path / "rows.npz", train=bits, test=bits[:4])
    assert evaluated(run, "--data", tmp_path / "rows.npz")["rows"] == 4


def test_data_of_another_shape_are_refused(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((5, 7)))
    error = one_sentence(fail(1, "evaluate", run, "--data", tmp_path / "rows.npy"))
    assert "(7,)" in error
    assert "(1, 8, 8)" in error


def test_data_outside_the_support_are_refused_by_evaluate(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.full((5, 1, 8, 8), 9.0))
    assert "values from 9 to 9" in one_sentence(fail(2, "evaluate", run, "--data", tmp_path / "rows.npy"))


def test_grey_values_under_bernoulli_are_called_a_cross_entropy(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    end = succeed("train", *SMALL, "--epochs", "2", "--set", "data.binarize=none", "--run", path)
    assert end.err.count("no likelihood") == 1
    out = succeed("evaluate", path, "--particles", "5").out
    assert "cross-entropy bound" in out
    assert "log p(x)" not in out
    numbers = evaluated(path)
    labels = {key: row["label"] for key, row in numbers["quantities"].items()}
    assert "cross-entropy" in labels["elbo"]
    assert "cross-entropy" in labels["log_likelihood"]
    assert all(row["bits_per_dimension"] is None for row in numbers["quantities"].values())


# Pictures --------------------------------------------------------------------------------------------------


def picture(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def test_sample_writes_a_picture_and_arrays_and_prints_where(run: Path, pictures: None) -> None:
    out = succeed("sample", run, "-n", "5").out
    assert out.split() == [str(run / "samples.png"), str(run / "samples.npz")]
    assert min(picture(run / "samples.png")) > 100
    drawn = arrays(run / "samples.npz")
    assert {name: array.shape for name, array in drawn.items()} == {
        "x": (5, 1, 8, 8),
        "mean": (5, 1, 8, 8),
        "z": (5, 2),
    }
    assert set(np.unique(drawn["x"])) == {0.0, 1.0}
    assert 0 < drawn["mean"].min() < drawn["mean"].max() < 1


def test_sampling_repeats_under_a_seed_and_differs_under_another(run: Path, tmp_path: Path) -> None:
    drawn = []
    for stem, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        succeed("sample", run, "-n", "4", "--seed", seed, "--out", tmp_path / stem)
        assert (tmp_path / f"{stem}.png").is_file()
        drawn.append(arrays(tmp_path / f"{stem}.npz"))
    assert all(np.array_equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert all(not np.array_equal(drawn[0][name], drawn[2][name]) for name in drawn[0])


def test_more_samples_begin_with_the_same_ones(run: Path, tmp_path: Path) -> None:
    for n in ("2", "6"):
        succeed("sample", run, "-n", n, "--out", tmp_path / n)
    few, many = arrays(tmp_path / "2.npz"), arrays(tmp_path / "6.npz")
    np.testing.assert_allclose(few["z"], many["z"][:2], rtol=1e-5)


def test_expected_data_alone_are_another_picture_of_the_same_arrays(
    run: Path, tmp_path: Path, pictures: None
) -> None:
    succeed("sample", run, "-n", "4", "--out", tmp_path / "both")
    succeed("sample", run, "-n", "4", "--mean", "--out", tmp_path / "mean")
    assert picture(tmp_path / "mean.png")[0] < picture(tmp_path / "both.png")[0]
    both, mean = arrays(tmp_path / "both.npz"), arrays(tmp_path / "mean.npz")
    assert np.array_equal(both["mean"], mean["mean"])


def test_reconstruct_shows_data_beside_draws(run: Path, tmp_path: Path) -> None:
    out = succeed("reconstruct", run, "-n", "5").out
    assert out.split() == [str(run / "reconstructions.png"), str(run / "reconstructions.npz")]
    drawn = arrays(run / "reconstructions.npz")
    assert {name: array.shape for name, array in drawn.items()} == {
        "data": (5, 1, 8, 8),
        "x": (5, 1, 8, 8),
        "mean": (5, 1, 8, 8),
        "z": (5, 2),
    }
    assert set(np.unique(drawn["data"])) == {0.0, 1.0}
    succeed("reconstruct", run, "-n", "5", "--out", tmp_path / "again")
    succeed("reconstruct", run, "-n", "5", "--out", tmp_path / "other", "--seed", "1")
    again, other = arrays(tmp_path / "again.npz"), arrays(tmp_path / "other.npz")
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)
    assert np.array_equal(drawn["data"], other["data"])
    assert not np.array_equal(drawn["z"], other["z"])


def test_reconstruct_takes_other_splits_and_other_data(run: Path, tmp_path: Path) -> None:
    bits = np.random.RandomState(0).rand(3, 1, 8, 8) > 0.5
    np.save(tmp_path / "rows.npy", bits)
    succeed("reconstruct", run, "--data", tmp_path / "rows.npy", "--out", tmp_path / "a")
    assert np.array_equal(arrays(tmp_path / "a.npz")["data"], bits)
    succeed("reconstruct", run, "--split", "validation", "--out", tmp_path / "b")
    assert len(arrays(tmp_path / "b.npz")["data"]) == 10


def test_a_folder_that_cannot_be_written_to_is_one_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "samples"
    assert "cannot write" in one_sentence(fail(1, "sample", run, "-n", "1", "--out", out))


# Every kind of data, network and likelihood ----------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of numbers, and a folder of coloured pictures in two classes, dark and bright."""
    folder = tmp_path_factory.mktemp("sources")
    random = np.random.RandomState(0)
    np.save(folder / "table.npy", random.normal(3.0, 2.0, (60, 5)))
    for i in range(40):
        path = folder / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = random.randint(0, 100, (9, 7, 3)) + 150 * (i % 2)
        Image.fromarray(grey.astype(np.uint8)).save(path)
    return folder


@pytest.mark.parametrize("scale", ["0.5", "learned", "per-pixel", "optimal"])
def test_a_gaussian_of_every_scale_on_a_table(scale: str, work: Path, sources: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    given = ["--set", "likelihood.name=gaussian", "--set", f"likelihood.scale={scale}"]
    succeed("train", "--data", sources / "table.npy", *given, *SMALL, "--epochs", "1", "--run", path)
    numbers = evaluated(path)
    assert all(row["bits_per_dimension"] is None for row in numbers["quantities"].values())
    assert "bits/dim" not in succeed("evaluate", path, "--particles", "2").out  # of densities
    succeed("sample", path, "-n", "3")
    assert arrays(path / "samples.npz")["x"].shape == (3, 5)
    succeed("reconstruct", path, "-n", "3")
    assert arrays(path / "reconstructions.npz")["data"].shape == (3, 5)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (["--data", "digits"], (1, 8, 8)),
        (["--data", "PICTURES"], (1, 9, 7)),
        (["--data", "PICTURES", "--set", "data.color=true"], (3, 9, 7)),
        (["--data", "PICTURES", "--set", "data.size=[6, 5]"], (1, 6, 5)),
    ],
)
def test_convolutions_on_pictures(
    pictures: None, options: list[str], shape: tuple[int, ...], work: Path, sources: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    data = [option.replace("PICTURES", str(sources / "pictures")) for option in options]
    network = ["--set", "network={name='conv', channels=[4, 8], hidden=8, normalization='batch'}"]
    few = ["--set", "data.limit=30", "--set", "data.exclude_labels=[]", "--epochs", "9", "--latent-dim", "2"]
    succeed("train", *data, *network, *few, "--batch-size", "8", "--run", path)
    evaluated(path, "--split", "validation")
    succeed("sample", path, "-n", "2")
    assert arrays(path / "samples.npz")["x"].shape == (2, *shape)
    assert picture(path / "samples.png")[0] > 100


def test_a_run_on_a_folder_of_pictures_is_evaluated_on_an_array(
    work: Path, sources: Path, tmp_path: Path
) -> None:
    data = ["--data", sources / "pictures", "--set", "data.size=[6, 5]"]
    few = ["--set", "data.validation=0", "--epochs", "3", "--lr", "0.01"]
    succeed("train", *data, *SMALL, *few, "--run", tmp_path / "run")
    np.save(tmp_path / "rows.npy", np.random.RandomState(0).rand(9, 1, 6, 5))
    assert evaluated(tmp_path / "run", "--data", tmp_path / "rows.npy")["rows"] == 9


def test_labels_are_excluded_by_the_names_of_folders(work: Path, sources: Path, tmp_path: Path) -> None:
    given = ["--data", sources / "pictures", "--set", "data.exclude_labels=['a']", "--epochs", "1"]
    end = succeed("train", *given, *SMALL, "--run", tmp_path / "run")
    assert "pictures: 16 train, 2 validation, 2 test rows" in end.err


@pytest.mark.parametrize(
    "option",
    [
        "train.optimizer=adamw",
        "train.optimizer=sgd",
        "train.optimizer=rmsprop",
        "train.clip=0.001",
        "train.lr_schedule=linear",
        "train.lr_schedule=cosine",
        "objective.name=mean-field-elbo",
        "objective.particles=3",
    ],
)
def test_every_option_of_training_changes_the_run(option: str, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    succeed("train", "--config", run / "config.toml", "--set", option, "--run", path)
    assert without_times(path) != without_times(run)


def test_without_validation_the_last_epoch_is_the_best(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    end = succeed("train", *SMALL, "--epochs", "2", "--set", "data.validation=0", "--run", path)
    assert "validation_elbo" not in metrics(path)[0]
    assert [line.split()[:2] for line in end.out.splitlines() if line.split()[:1] == ["best"]] == [
        ["best", "2"]
    ]
    assert evaluated(path)["epoch"] == 2
    assert "no validation rows" in one_sentence(fail(1, "evaluate", path, "--split", "validation"))


def test_early_stopping_without_validation_is_refused(work: Path, tmp_path: Path) -> None:
    given = ["--set", "data.validation=0", "--set", "train.patience=2", "--run", tmp_path / "run"]
    assert "train.patience" in one_sentence(fail(2, "train", *SMALL, *given))
    assert not (tmp_path / "run").exists()


# Mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prior", "norml"], "prior.name: 'norml' is unknown (did you mean 'normal'?)"),
        (["--epochs", "0"], "train.epochs: 0 is not allowed; it must be an integer >= 1"),
        (["--lr", "-1"], "train.lr: -1.0 is not allowed; it must be a number > 0"),
        (["--set", "train.lr"], "--set: 'train.lr' is no assignment"),
        (
            ["--objective", "iwea"],
            "objective.name: 'iwea' is unknown (did you mean 'iwae'?); choose from elbo",
        ),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_makes_no_folder(
    arguments: list[str], said: str, work: Path, tmp_path: Path
) -> None:
    assert said in one_sentence(fail(2, "train", *arguments, "--run", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--epochs", "many"],
        ["train", "--nonsense"],
        ["evaluate"],
        ["sample", "run", "-n", "0"],
        ["tran"],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], work: Path) -> None:
    assert fail(2, *arguments)


def test_a_posterior_of_data_that_are_no_images_is_told_what_fits(work: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.random.RandomState(0).rand(30, 5))
    given = ["--data", tmp_path / "table.npy", "--network", "conv", "--run", tmp_path / "run"]
    error = one_sentence(fail(2, "train", *given))
    assert "'conv' needs images" in error
    assert "'mlp'" in error


@pytest.mark.parametrize(
    ("low", "high", "fits"),
    [
        (-1.0, 1.0, ["likelihood = gaussian"]),
        (0.0, 255.0, ["likelihood = gaussian", "data.divisor = 255"]),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "none"])
def test_data_outside_the_support_are_refused_with_range_support_and_choices(
    low: float, high: float, fits: list[str], mode: str, work: Path, tmp_path: Path
) -> None:
    rows = np.random.RandomState(0).uniform(low, high, (30, 5))
    rows[0, :2] = low, high
    np.save(tmp_path / "table.npy", rows)
    given = ["--data", tmp_path / "table.npy", "--set", f"data.binarize={mode}", "--run", tmp_path / "run"]
    error = one_sentence(fail(2, "train", *given))
    for words in ("'bernoulli'", "{0, 1}", f"values from {low:g} to {high:g}", *fits):
        assert words in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("choice", ["data.divisor=255", "likelihood=gaussian"])
def test_the_choices_that_are_said_to_fit_do(choice: str, work: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.random.RandomState(0).randint(0, 256, (30, 5)))
    path = tmp_path / "run"
    data = ["--data", tmp_path / "table.npy", "--set", choice]
    succeed("train", *data, *SMALL, "--epochs", "1", "--run", path)
    assert len(metrics(path)) == 1


@pytest.mark.parametrize("source", ["nowhere.npy", "no/such/folder", "digitz"])
def test_data_that_are_not_there_are_one_sentence(source: str, work: Path, tmp_path: Path) -> None:
    assert source in one_sentence(fail(1, "train", "--data", source, "--run", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_table_of_text_is_refused_with_the_line_that_converts_it(work: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n3,4.5\n")
    error = one_sentence(fail(1, "train", "--data", tmp_path / "table.csv", "--run", tmp_path / "run"))
    line = re.search(r"np\.save\(.+\)\)", error)
    assert line is not None
    with contextlib.chdir(tmp_path):
        exec(line[0], {"np": np})
    assert np.load(tmp_path / "table.npy").tolist() == [[1, 2], [3, 4.5]]


def test_a_configuration_file_that_is_not_there_is_one_sentence(work: Path) -> None:
    assert "nowhere.toml" in one_sentence(fail(1, "train", "--config", "nowhere.toml"))


READING = [["evaluate"], ["sample"], ["reconstruct"], ["train", "--resume"]]


@pytest.mark.parametrize("command", READING)
def test_a_run_that_is_not_there_is_one_sentence(command: list[str], work: Path) -> None:
    assert "there is no run folder nowhere" in one_sentence(fail(1, *command, "nowhere"))


@pytest.mark.parametrize("command", READING)
def test_a_folder_that_is_no_run_is_one_sentence(command: list[str], work: Path, tmp_path: Path) -> None:
    assert "is no run" in one_sentence(fail(1, *command, tmp_path))


@pytest.mark.parametrize("command", READING[:3])
def test_a_run_without_a_checkpoint_is_one_sentence(command: list[str], copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    error = one_sentence(fail(1, *command, copy))
    assert "no checkpoint 'best'; the checkpoints of its epochs are missing" in error


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("command", READING)
def test_a_damaged_checkpoint_is_one_sentence(command: list[str], copy: Path) -> None:
    _halve(copy / "checkpoints" / "best.safetensors")
    assert "best.safetensors is damaged" in one_sentence(fail(1, *command, copy))


@pytest.mark.parametrize("content", ["half", "nothing", "text"])
def test_a_damaged_state_to_resume_from_is_one_sentence(content: str, copy: Path) -> None:
    file = copy / "checkpoints" / "resume.pt"
    if content == "half":
        _halve(file)
    else:
        file.write_text("" if content == "nothing" else "hello")
    assert "resume.pt" in one_sentence(fail(1, "train", "--resume", copy, "--epochs", "3"))


def test_damaged_metrics_are_one_sentence(copy: Path) -> None:
    (copy / "metrics.jsonl").write_text('{"epoch": 1, "tra\n')
    assert "metrics.jsonl" in one_sentence(fail(1, "evaluate", copy))


def test_weights_of_another_network_are_one_sentence(copy: Path) -> None:
    file = copy / "config.toml"
    file.write_text(file.read_text().replace("hidden = [16]", "hidden = [17]"))
    assert str(copy) in one_sentence(fail(1, "evaluate", copy))


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_weights_that_pyrovae_did_not_write_are_one_sentence(name: str, copy: Path) -> None:
    save_file({"a": torch.zeros(2)}, copy / "checkpoints" / name)
    checkpoint = name.partition(".")[0]
    assert str(copy) in one_sentence(fail(1, "evaluate", copy, "--checkpoint", checkpoint))


def test_a_configuration_that_was_damaged_lists_its_mistakes(copy: Path) -> None:
    file = copy / "config.toml"
    file.write_text(file.read_text().replace("seed = 0", "seed = -1"))
    assert "seed: -1 is not allowed" in fail(2, "evaluate", copy)


def test_an_existing_run_is_refused_and_left_alone(copy: Path) -> None:
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    error = one_sentence(fail(1, "train", *SMALL, "--run", copy))
    assert "exists" in error
    assert f"--resume {copy}" in error
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before


def test_a_file_in_the_place_of_a_run_is_called_one(work: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = one_sentence(fail(1, "train", *SMALL, "--run", tmp_path / "file"))
    assert error == f"error: {tmp_path / 'file'} is a file and no run: name a folder with --run\n"


def test_to_go_on_with_a_folder_that_is_no_run_is_not_proposed(work: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    error = one_sentence(fail(1, "train", *SMALL, "--run", tmp_path))
    assert error == f"error: {tmp_path} exists and is no run: name another folder with --run\n"
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


# Going on --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--lr", "0.1"], "--lr"),
        (["--data", "mnist"], "--data"),
        (["--prior", "normal"], "--prior"),
        (["--set", "train.epochs=9"], "--set"),
        (["--run", "other"], "--run"),
        (["--config", "run.toml"], "--config"),
        (["--seed", "0"], "--seed"),
    ],
)
def test_resuming_with_other_options_is_refused(options: list[str], named: str, run: Path) -> None:
    assert named in one_sentence(fail(2, "train", "--resume", run, *options))


@pytest.mark.parametrize("epochs", ["0", "-3"])
def test_resuming_to_no_epochs_is_refused_and_leaves_the_run_as_it_was(epochs: str, copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    before = (copy / "config.toml").read_text()
    error = one_sentence(fail(2, "train", "--resume", copy, "--epochs", epochs))
    assert "train.epochs" in error
    assert (copy / "config.toml").read_text() == before


def test_resuming_a_finished_run_changes_nothing(copy: Path, run: Path) -> None:
    end = succeed("train", "--resume", copy)
    assert end.out.splitlines()[-1] == str(copy)
    same_runs(copy, run)


def test_fewer_epochs_than_were_trained_are_refused_and_lose_nothing(copy: Path, run: Path) -> None:
    assert "2 epochs" in one_sentence(fail(1, "train", "--resume", copy, "--epochs", "1"))
    same_runs(copy, run)
    evaluated(copy)


VARIANTS = {
    "dropout": ["--set", "network.dropout=0.5", "--set", "network.normalization=layer", *SMALL],
    "batch normalisation, rmsprop, clipping": [
        *["--set", "network.normalization=batch", "--set", "train.optimizer=rmsprop"],
        *["--set", "train.clip=1.0", *SMALL],
    ],
    "convolutions": [
        *["--set", "network={name='conv', channels=[4], hidden=8, dropout=0.2}", "--set", "data.limit=60"],
        *["--set", "objective.particles=2", "--latent-dim", "2"],
    ],
    "a calibrated scale": [
        *["--set", "likelihood={name='gaussian', scale='optimal'}", "--set", "data.validation=0", *SMALL],
        *["--set", "train.optimizer=sgd", "--lr", "1e-5"],
    ],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    variant: str, work: Path, tmp_path: Path
) -> None:
    options = [*VARIANTS[variant], "--batch-size", "16"]
    succeed("train", *options, "--epochs", "3", "--run", tmp_path / "whole")
    succeed("train", *options, "--epochs", "1", "--run", tmp_path / "parts")
    succeed("train", "--resume", tmp_path / "parts", "--epochs", "2")
    end = succeed("train", "--resume", tmp_path / "parts", "--epochs", "3")
    same_runs(tmp_path / "whole", tmp_path / "parts")
    assert "epoch 3/3" in end.err
    assert "epoch 2/3" not in end.err
    kept = [(tmp_path / name / "config.toml").read_text() for name in ("whole", "parts")]
    assert kept[0] == kept[1]


def test_ctrl_c_drops_the_unfinished_epoch_and_ends_with_130(
    work: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patched:
        interrupt_at(patched, step=9)
        end = call("train", "--config", run / "config.toml", "--run", path)
    assert (end.code, end.out) == (130, "")
    assert f"1 of 2 epochs are saved; go on with: pyrovae train --resume {path}" in end.err
    assert without_times(path) == without_times(run)[:1]
    assert evaluated(path)["epoch"] == 1
    succeed("train", "--resume", path)
    same_runs(path, run)


def test_ctrl_c_while_an_epoch_is_being_saved_counts_what_is_saved(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write, states = tmp_path / "run", Folder.write_state, 0

    def interrupted(folder: Folder, snapshot: Snapshot) -> None:
        nonlocal states
        states += 1
        if states == 2:
            raise KeyboardInterrupt
        write(folder, snapshot)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write_state", interrupted)
        end = call("train", "--config", run / "config.toml", "--run", path)
    assert end.code == 130
    assert "1 of 2 epochs are saved" in end.err
    assert evaluated(path)["epoch"] in (1, 2)
    succeed("train", "--resume", path)
    same_runs(path, run)


def test_a_run_that_was_interrupted_in_its_first_epoch_starts_afresh(
    work: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patched:
        interrupt_at(patched, step=2)
        assert call("train", "--config", run / "config.toml", "--run", path).code == 130
    assert "no epoch was finished" in one_sentence(fail(1, "evaluate", path))
    succeed("train", "--resume", path)
    same_runs(path, run)


def test_a_run_whose_first_epoch_was_interrupted_goes_on(
    work: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    command = ["train", "--config", run / "config.toml", "--run", path]
    with monkeypatch.context() as patched:
        interrupt_at(patched, step=2)
        assert call(*command).code == 130
    assert f"--resume {path}" in one_sentence(fail(1, *command))
    succeed("train", "--resume", path)
    same_runs(path, run)


def test_a_run_that_has_lost_its_checkpoints_does_not_begin_again(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    metrics = (copy / "metrics.jsonl").read_bytes()
    assert "cannot go on" in one_sentence(fail(1, "train", "--resume", copy))
    assert (copy / "metrics.jsonl").read_bytes() == metrics


def test_a_signal_interrupts_and_the_finished_epochs_are_kept(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    options = [*SMALL, "--set", "network.dropout=0.5", "--set", "train.watch=0", "--batch-size", "4"]
    options += ["--set", "train.engine=eager"]  # auto would compile the longer run
    command = [sys.executable, "-m", "pyrovae", "train", *options, "--epochs", "100000", "--run", str(path)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process: sums depend on it
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=one_thread,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background shells ignore it
    )
    try:
        deadline = time.monotonic() + 60
        while not (path / "checkpoints" / "resume.pt").exists() and started.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=60)
    finally:
        started.kill()
    assert (started.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    said = re.search(r"interrupted: (\d+) of 100000 epochs are saved", err)
    assert said is not None
    done = int(said[1])
    assert done >= 1
    succeed("train", "--resume", path, "--epochs", str(done + 1))
    whole = tmp_path / "whole"
    succeed("train", *options, "--epochs", str(done + 1), "--run", whole)
    same_runs(path, whole)


@pytest.fixture
def on_a_file(work: Path, tmp_path: Path) -> Callable[[], Path]:
    """Trains on a file of numbers, which the caller may change."""

    def train() -> Path:
        np.save(tmp_path / "table.npy", np.random.RandomState(0).rand(60, 5) > 0.5)
        path = tmp_path / "run"
        succeed("train", "--data", tmp_path / "table.npy", *SMALL, "--epochs", "1", "--run", path)
        return path

    return train


@pytest.mark.parametrize("command", [["evaluate"], ["reconstruct"], ["train", "--epochs", "2", "--resume"]])
def test_data_that_have_changed_since_training_are_refused(
    command: list[str], on_a_file: Callable[[], Path], tmp_path: Path
) -> None:
    path = on_a_file()
    np.save(tmp_path / "table.npy", np.random.RandomState(1).rand(60, 5) > 0.5)
    assert "have changed" in one_sentence(fail(1, *command, path))
    (tmp_path / "table.npy").unlink()
    assert "table.npy" in one_sentence(fail(1, *command, path))


def test_samples_need_no_data(on_a_file: Callable[[], Path], tmp_path: Path) -> None:
    path = on_a_file()
    (tmp_path / "table.npy").unlink()
    succeed("sample", path, "-n", "2")
    assert arrays(path / "samples.npz")["x"].shape == (2, 5)


def test_a_refused_resume_leaves_the_run_as_it_was(on_a_file: Callable[[], Path], tmp_path: Path) -> None:
    path = on_a_file()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    np.save(tmp_path / "table.npy", np.random.RandomState(1).rand(60, 5) > 0.5)
    fail(1, "train", "--resume", path, "--epochs", "2")
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("missing", ["metrics.jsonl", "checkpoints/resume.pt"])
def test_a_run_that_has_lost_a_file_is_not_started_afresh(missing: str, copy: Path) -> None:
    (copy / missing).unlink()
    weights = (copy / "checkpoints" / "last.safetensors").read_bytes()
    assert "cannot go on" in one_sentence(fail(1, "train", "--resume", copy, "--epochs", "4"))
    assert (copy / "checkpoints" / "last.safetensors").read_bytes() == weights


def test_a_checkpoint_that_is_not_there_is_named_beside_those_that_are(copy: Path) -> None:
    (copy / "checkpoints" / "best.safetensors").unlink()
    assert "no checkpoint 'best'; it has last" in one_sentence(fail(1, "evaluate", copy))


def test_training_goes_on_without_its_folder_of_figures(copy: Path) -> None:
    shutil.rmtree(copy / "figures")
    succeed("train", "--resume", copy, "--epochs", "3")
    assert (copy / "figures" / "epoch-0003.png").exists()


def test_a_split_of_other_data_is_refused(run: Path, work: Path) -> None:
    error = fail(1, "evaluate", run, "--data", "digits", "--split", "train")
    assert "not both" in one_sentence(error)


@pytest.mark.parametrize("suffix", ["", ".png", ".npz"])
def test_out_may_have_a_suffix(suffix: str, run: Path, tmp_path: Path) -> None:
    succeed("sample", run, "-n", "2", "--out", tmp_path / f"drawn{suffix}")
    assert sorted(path.name for path in tmp_path.glob("drawn*")) == ["drawn.npz", "drawn.png"]


@pytest.mark.parametrize("name", ["run.v2", "beta-0.5"])
def test_what_follows_a_dot_is_kept_where_it_is_no_suffix(name: str, run: Path, tmp_path: Path) -> None:
    succeed("sample", run, "-n", "2", "--out", tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} >= {f"{name}.png", f"{name}.npz"}


@pytest.mark.parametrize(
    ("command", "out", "said"),
    [
        (["sample"], "new.csv", "samples are written as .png, .npz, and not as .csv"),
        (["sample"], "new.PNG", "samples are written as .png, .npz, and not as .PNG"),
        (["report"], "page.png", "reports are written as .html, and not as .png"),
        (["animate"], "film.mp4", "films are written as .gif, and not as .mp4"),
        (["compare", "other"], "one.pdf", "comparisons are written as .png, and not as .pdf"),
    ],
)
def test_a_suffix_that_is_not_written_is_refused_before_anything_is_read(
    command: list[str], out: str, said: str, work: Path
) -> None:
    assert one_sentence(fail(2, *command, "nowhere", "--out", out)) == f"error: --out: {said}\n"


@pytest.mark.parametrize(
    ("out", "example"), [(".", "samples"), ("..", "../samples"), ("/", "/samples"), ("a/..", "a/../samples")]
)
def test_out_that_names_no_file_is_refused(out: str, example: str, run: Path) -> None:
    error = one_sentence(fail(2, "sample", run, "--out", out))
    assert error == f"error: --out: {out} names no file: add a name to it, as {example}\n"


def test_a_score_that_is_not_finite_is_null_in_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    contrast = Contrast("b", "a", {"elbo": Interval(-math.inf, math.nan, math.nan, math.nan)}, {"elbo": 0.5})
    tables.print_comparison_json({}, Comparison([], "a", "a probability", "elbo", [], [], [contrast]))
    (found,) = json.loads(capsys.readouterr().out)["contrasts"]
    assert found["scores"]["elbo"]["value"] is None
    assert found["scores"]["elbo"]["data_error"] == 0.5


def test_the_table_of_a_comparison_says_what_its_seconds_are(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"checkpoint": "best", "rows": 9, "split": "test", "data": "digits", "particles": 5}
    tables.print_comparison(facts, Comparison([], "a", "a probability", "elbo", [], [], []))
    assert "seconds of training, without validation" in capsys.readouterr().out.splitlines()[0]


def test_batch_normalisation_of_single_rows_is_refused(work: Path, tmp_path: Path) -> None:
    given = ["--batch-size", "1", "--set", "network.normalization=batch", "--run", tmp_path / "run"]
    assert "train.batch_size" in one_sentence(fail(2, "train", *given))


def test_a_file_with_a_byte_order_mark_is_read(work: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("latent_dim = 3\n", encoding="utf-8-sig")
    assert "latent_dim = 3 " in succeed("config", "--config", tmp_path / "run.toml").out
