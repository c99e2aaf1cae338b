"""What a run keeps, what it refuses, and what its numbers mean."""

from __future__ import annotations

import json
import math
import os
import pickle
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from members import objective_of
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from pyrovae import plots
from pyrovae.config import dump, resolve
from pyrovae.data import Dataset, from_arrays
from pyrovae.engine import Engine
from pyrovae.errors import ConfigError, PyrovaeError, RunError, TrainingError
from pyrovae.evaluate import evaluate, inspected
from pyrovae.randomness import seeded
from pyrovae.run import Run

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [16]},
    "data": {"source": "digits", "limit": 100},
    "train": {"epochs": 3, "batch_size": 16, "watch": 0},
}
GAUSSIAN: dict[str, Any] = {"name": "gaussian", "scale": "optimal", "standardize": False}


def numbers(n: int = 60, cells: int = 5) -> np.ndarray:
    return np.random.RandomState(0).normal(2.0, 3.0, (n, cells)).astype(np.float32)


def finished(*layers: dict[str, Any], path: Path | None = None, dataset: Dataset | None = None) -> Run:
    """A trained run of a small configuration."""
    run = Run.start(resolve(SMALL, *layers), path=path, dataset=dataset)
    list(run.train())
    return run


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time, and is tested with the command line."""
    monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of five epochs in a folder, with a picture of every second one."""
    path = tmp_path_factory.mktemp("runs") / "watched"
    return finished({"train": {"epochs": 5, "watch": 2}}, path=path)


def folder_of(run: Run) -> Path:
    assert run.folder is not None
    return run.folder.path


# The folder ------------------------------------------------------------------------------------------------


def test_a_run_is_a_folder_of_these_files(watched: Run) -> None:
    path = folder_of(watched)
    assert sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()) == [
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/resume.pt",
        "config.toml",
        "figures/epoch-0002.png",
        "figures/epoch-0004.png",
        "figures/epoch-0005.png",
        "metrics.jsonl",
        "training.toml",
    ]


def test_without_watching_there_is_a_picture_of_the_last_epoch_only(tmp_path: Path) -> None:
    run = finished(path=tmp_path / "run")
    assert [file.name for file in (folder_of(run) / "figures").iterdir()] == ["epoch-0003.png"]


def test_the_kept_configuration_is_the_resolved_one(watched: Run) -> None:
    text = (folder_of(watched) / "config.toml").read_text()
    assert text == dump(watched.config)
    assert tomllib.loads(text)["train"]["watch"] == 2
    assert dump(resolve(tomllib.loads(text))) == text


def test_metrics_have_a_line_an_epoch_with_these_numbers(watched: Run) -> None:
    file = folder_of(watched) / "metrics.jsonl"
    untrained, *lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert untrained == watched.untrained
    assert untrained["epoch"] == 0
    assert lines == watched.history
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        terms = ("loss", "elbo", "reconstruction", "kl")
        parts = {f"{part}_{key}" for part in ("train", "validation") for key in terms}
        assert set(line) == {"epoch", "seconds", "examples_per_second", *parts}
        assert line["seconds"] > 0
        assert line["examples_per_second"] == pytest.approx(90 / line["seconds"])


def test_the_elbo_is_the_reconstruction_minus_the_kl(watched: Run) -> None:
    for line in watched.history:
        assert line["train_elbo"] == pytest.approx(line["train_reconstruction"] - line["train_kl"])
        terms = line["validation_reconstruction"] - line["validation_kl"]
        assert line["validation_elbo"] == pytest.approx(terms)


def test_training_raises_the_elbo(watched: Run) -> None:
    assert watched.history[-1]["train_elbo"] > watched.history[0]["train_elbo"] + 0.5


def test_validation_metrics_agree_with_evaluation(watched: Run) -> None:
    assert watched.prepared is not None
    watched.use("last")
    draws = evaluate(watched.program, watched.prepared.dataset.validation.batches(3), particles=200)
    # One draw a datum: the false-alarm rate of four of its standard errors is 6e-5.
    error = 4 * (draws.elbo_error.square().sum() * 200).sqrt().item() / len(draws.elbo)
    assert watched.history[-1]["validation_elbo"] == pytest.approx(draws.elbo.mean().item(), abs=error)
    assert error < 5


@pytest.mark.parametrize("objective", [{"name": "elbo", "beta": 4.0, "warm_up": 100}, {"name": "iwae"}])
def test_the_best_epoch_is_that_of_what_is_minimised(objective: dict[str, Any]) -> None:
    run = finished({"objective": objective, "train": {"epochs": 4}})
    losses = [line["validation_loss"] for line in run.history]
    assert run.snapshots["best"].epoch == 1 + losses.index(min(losses))
    for line in run.history:
        weighted = 4.0 * line["validation_kl"] - line["validation_reconstruction"]
        if objective["name"] == "elbo":
            assert line["validation_loss"] == pytest.approx(weighted)  # whatever the warm-up
        else:
            assert line["validation_loss"] < -line["validation_elbo"]


# Checkpoints -----------------------------------------------------------------------------------------------


def test_checkpoints_tell_their_epoch(watched: Run) -> None:
    for name, epoch in (("last", 5), ("best", best(watched)["epoch"])):
        with safe_open(folder_of(watched) / "checkpoints" / f"{name}.safetensors", "pt") as file:
            assert file.metadata()["epoch"] == str(epoch)


def best(run: Run) -> Any:
    return min(run.history, key=lambda metrics: metrics["validation_loss"])


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose last epoch is not its best."""
    path = tmp_path_factory.mktemp("runs") / "overfitted"
    layer = {"train": {"epochs": 6, "lr": 0.5, "optimizer": "adam"}, "seed": 1}
    run = finished(layer, path=path)
    assert best(run)["epoch"] < 6
    return run


def test_the_best_checkpoint_is_the_epoch_with_the_lowest_validation_loss(overfitted: Run) -> None:
    run = Run.load(folder_of(overfitted))
    assert int(run.facts["epoch"]) == best(overfitted)["epoch"]
    assert overfitted.prepared is not None
    rows, objective = overfitted.prepared.dataset.validation.rows(slice(None)), objective_of(run.program)
    with seeded(run.config.seed, "validate"), inspected(objective):
        assert objective(rows).loss.item() == pytest.approx(best(overfitted)["validation_loss"], abs=1e-4)


def test_after_training_the_program_has_the_best_weights(overfitted: Run) -> None:
    weights = load_file(folder_of(overfitted) / "checkpoints" / "best.safetensors")
    last = load_file(folder_of(overfitted) / "checkpoints" / "last.safetensors")
    held = overfitted.program.state_dict()
    assert all(torch.equal(held[name], weights[name]) for name in weights)
    assert any(not torch.equal(held[name], last[name]) for name in last)


def test_loading_gives_identical_numbers(watched: Run) -> None:
    x = torch.rand(5, 1, 8, 8).round()
    watched.use("last")
    saved, loaded = (
        evaluate(run.program, [x], particles=3) for run in (watched, Run.load(folder_of(watched), "last"))
    )
    assert torch.equal(saved.log_likelihood, loaded.log_likelihood)


def test_a_loaded_run_is_only_read(watched: Run) -> None:
    with pytest.raises(RunError, match=r"Run\.resume"):
        next(Run.load(folder_of(watched)).train())


# What a file may not do ------------------------------------------------------------------------------------


class Malicious:
    """Unpickled without care, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_loading_a_run_runs_no_code(tmp_path: Path) -> None:
    run = finished({"train": {"epochs": 1}}, path=tmp_path / "run")
    trap = tmp_path / "trap"
    file = folder_of(run) / "checkpoints" / "resume.pt"
    torch.save({"epoch": 1, "weights": {}, "optimizer": Malicious(trap)}, file)
    with pytest.raises(RunError, match=r"resume\.pt"):
        Run.resume(folder_of(run), epochs=2)
    assert not trap.exists()


def test_a_pickle_in_the_place_of_weights_is_refused(tmp_path: Path) -> None:
    run = finished({"train": {"epochs": 1}}, path=tmp_path / "run")
    trap = tmp_path / "trap"
    (folder_of(run) / "checkpoints" / "best.safetensors").write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(RunError, match="damaged"):
        Run.load(folder_of(run))
    assert not trap.exists()


# Losses that are not finite --------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_names_term_and_epoch() -> None:
    wild = from_arrays(numbers() * 1e30, name="wild", test=0.0)
    run = Run.start(resolve(SMALL, {"likelihood": {**GAUSSIAN, "scale": 0.1}}), dataset=wild)
    with pytest.raises(TrainingError, match=r"epoch 1: the reconstruction is -?(inf|nan)"):
        list(run.train())
    assert run.history == []


def test_the_last_good_checkpoint_is_kept_when_a_later_epoch_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = Engine.step, 0

    def poisoned(engine: Engine, x: Tensor, lr: float, ramp: float) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 14:  # in the third epoch of six steps
            with torch.no_grad():
                next(iter(engine.objective.parameters())).fill_(math.nan)
        return step(engine, x, lr, ramp)

    monkeypatch.setattr(Engine, "step", poisoned)
    run = Run.start(resolve(SMALL, {"train": {"epochs": 9}}), path=tmp_path / "run")
    with pytest.raises(TrainingError, match=r"epoch 3: .* is nan"):
        list(run.train())
    kept = Run.load(tmp_path / "run", "last")
    assert kept.facts["epoch"] == "2"
    assert [line["epoch"] for line in kept.history] == [1, 2]
    rows, _ = kept.evaluation_rows("test")
    for quantity in kept.evaluate([rows.rows(slice(9))], particles=3).quantities:
        assert math.isfinite(quantity.mean.value)


def test_a_learning_rate_that_breaks_the_weights_is_told_and_what_may_help(tmp_path: Path) -> None:
    layer = {"train": {"lr": 1e30, "optimizer": "sgd"}, "likelihood": "gaussian"}
    with pytest.raises(TrainingError, match=r"epoch 1: .*smaller train\.lr"):
        finished(layer, path=tmp_path / "run")
    with pytest.raises(RunError, match="no epoch was finished"):
        Run.load(tmp_path / "run")


# Scales ----------------------------------------------------------------------------------------------------


def test_the_optimal_scale_is_the_root_of_the_mean_squared_error_and_is_stored(tmp_path: Path) -> None:
    data = from_arrays(numbers(), name="table", test=0.0, validation=0.0)
    run = finished({"likelihood": GAUSSIAN}, path=tmp_path / "run", dataset=data)
    stored = load_file(tmp_path / "run" / "checkpoints" / "last.safetensors")["likelihood.scale"]
    x = data.train.rows(slice(None))
    errors = []
    with inspected(run.program):
        for seed in range(200):
            torch.manual_seed(seed)
            given_code = run.program.decode(run.program.encode(x).sample())
            errors.append((given_code.mean - x).square().mean().item())
    spread = np.std(errors)
    assert abs(stored.item() ** 2 - np.mean(errors)) < 5 * spread
    assert spread < 0.1 * np.mean(errors)
    assert stored.item() != 1.0
    assert run.program.decode(torch.zeros(1, 2)).base_dist.scale[0, 0] == stored


@pytest.mark.parametrize("scale", ["learned", "per-pixel", "optimal"])
def test_no_scale_falls_below_its_floor(scale: str) -> None:
    constant = from_arrays(np.ones((40, 3), np.float32), name="constant", test=0.0)
    layer = {"likelihood": {**GAUSSIAN, "scale": scale, "floor": 0.5}}
    run = finished(layer, {"train": {"lr": 0.1, "epochs": 60, "batch_size": 40}}, dataset=constant)
    scales = run.program.decode(run.program.encode(torch.ones(4, 3)).mean).base_dist.scale
    assert 0.5 <= scales.min().item() < 0.6


def test_an_optimal_scale_beats_the_scale_that_it_started_from() -> None:
    data = from_arrays(numbers() / 100, name="small", test=0.0)
    given = {"train": {"epochs": 3}}
    optimal = finished({"likelihood": GAUSSIAN}, given, dataset=data)
    fixed = finished({"likelihood": {**GAUSSIAN, "scale": 1.0}}, given, dataset=data)
    assert optimal.history[-1]["validation_elbo"] > fixed.history[-1]["validation_elbo"] + 1


# Data as a likelihood takes them ---------------------------------------------------------------------------


def prepared(*layers: dict[str, Any]) -> Run:
    return Run.start(resolve(SMALL, *layers))


def splits(run: Run) -> dict[str, tuple[Tensor, Tensor]]:
    """Every split of a run's data, read twice."""
    assert run.prepared is not None
    everything = slice(None)
    return {
        name: (split.rows(everything), split.rows(everything))
        for name, split in run.prepared.dataset.splits.items()
    }


@pytest.mark.parametrize("mode", ["auto", "dynamic"])
def test_training_rows_are_drawn_anew_and_others_once(mode: str) -> None:
    rows = splits(prepared({"data": {"binarize": mode}}))
    for first, second in rows.values():
        assert set(first.unique().tolist()) == {0.0, 1.0}
        assert set(second.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(*rows["train"])
    assert torch.equal(*rows["validation"])
    assert torch.equal(*rows["test"])


@pytest.mark.parametrize("mode", ["static", "threshold"])
def test_all_rows_are_binarised_once(mode: str) -> None:
    rows = splits(prepared({"data": {"binarize": mode}}))
    for first, second in rows.values():
        assert set(first.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(first, second)


@pytest.mark.parametrize(("likelihood", "mode"), [("bernoulli", "none"), ("gaussian", "auto")])
def test_grey_values_stay_where_nothing_asks_for_bits(likelihood: str, mode: str) -> None:
    run = prepared({"likelihood": likelihood, "data": {"binarize": mode}})
    train, again = splits(run)["train"]
    assert torch.equal(train, again)
    assert len(train.unique()) > 2
    assert run.prepared is not None
    assert run.prepared.is_likelihood == (likelihood == "gaussian")


def test_validation_rows_do_not_depend_on_the_seed_of_the_run() -> None:
    one, other = (splits(prepared({"seed": seed})) for seed in (0, 1))
    assert torch.equal(one["validation"][0], other["validation"][0])
    assert torch.equal(one["test"][0], other["test"][0])


def test_training_rows_are_drawn_once_to_be_evaluated(watched: Run) -> None:
    rows, is_likelihood = Run.load(folder_of(watched)).evaluation_rows("train")
    assert torch.equal(rows.rows(slice(None)), rows.rows(slice(None)))
    assert is_likelihood


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (numbers(), ["'bernoulli'", "{0, 1}", "likelihood = gaussian"]),
        (np.arange(300).reshape(60, 5) % 256, ["0 to 255", "likelihood = gaussian", "data.divisor = 255"]),
    ],
)
def test_data_outside_the_support_are_refused_with_what_fits(data: np.ndarray, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Run.start(resolve(SMALL), dataset=from_arrays(data, name="table", test=0.0))
    (problem,) = caught.value.problems
    assert problem.place == "likelihood.name"
    for words in (f"{data.min():g} to {data.max():g}", "table", *said):
        assert words in problem.message


@pytest.mark.parametrize("mode", ["dynamic", "static", "threshold"])
def test_values_that_cannot_be_binarised_are_refused(mode: str) -> None:
    data = from_arrays(numbers(), name="table", test=0.0)
    with pytest.raises(PyrovaeError, match="table"):
        Run.start(resolve(SMALL, {"data": {"binarize": mode}}), dataset=data)


def test_every_epoch_has_noise_of_its_own() -> None:
    layer = {"data": {"binarize": "threshold"}, "train": {"lr": 1e-12, "optimizer": "sgd"}}
    run = Run.start(resolve(SMALL, layer))
    with pytest.raises(TrainingError, match=r"hardly moved.*larger train\.lr"):
        list(run.train())
    assert len({metrics["train_elbo"] for metrics in run.history}) == 3
    assert len({metrics["validation_elbo"] for metrics in run.history}) == 1


# Early stopping and schedules ------------------------------------------------------------------------------


def test_training_stops_when_validation_has_not_improved() -> None:
    run = finished({"train": {"epochs": 60, "lr": 0.3, "patience": 3}, "seed": 1})
    assert len(run.history) < 60
    assert len(run.history) == best(run)["epoch"] + 3


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    layer = {"train": {"epochs": 60, "lr": 0.3, "patience": 3}, "seed": 1}
    run = finished(layer, path=tmp_path / "run")
    assert list(Run.resume(tmp_path / "run").train()) == []
    assert (tmp_path / "run" / "figures" / f"epoch-{len(run.history):04d}.png").is_file()


@pytest.mark.parametrize(
    ("schedule", "shares"), [("constant", [1, 1]), ("linear", [1, 0.5]), ("cosine", [1, 0.5])]
)
def test_the_learning_rate_follows_its_schedule(
    schedule: str, shares: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, rates = Engine.step, []

    def noted(engine: Engine, x: Tensor, lr: float, ramp: float) -> Tensor:
        rates.append(lr)
        return step(engine, x, lr, ramp)

    monkeypatch.setattr(Engine, "step", noted)
    finished({"train": {"epochs": 2, "lr": 0.01, "lr_schedule": schedule, "batch_size": 90}})
    assert rates == pytest.approx([0.01 * share for share in shares])


def test_clipping_bounds_the_step() -> None:
    layer = {"optimizer": "sgd", "lr": 1.0, "batch_size": 90, "epochs": 1}
    before = [value.clone() for value in Run.start(resolve(SMALL)).program.parameters()]
    after = finished({"train": {**layer, "clip": 0.01}}).program.parameters()
    moved = sum((new - old).detach().square().sum() for new, old in zip(after, before, strict=True))
    assert float(moved) ** 0.5 == pytest.approx(0.01, rel=1e-3)


# Nothing else is touched -----------------------------------------------------------------------------------


def test_training_and_evaluation_leave_the_global_generators_alone(untouched: None) -> None:
    state = np.random.get_state()[1].copy()
    run = finished({"network": {"dropout": 0.5}, "train": {"epochs": 1}})
    rows, _ = run.evaluation_rows("validation")
    run.evaluate(rows.batches(10), particles=2)
    assert np.array_equal(np.random.get_state()[1], state)


def test_evaluation_changes_no_weight_and_no_mode() -> None:
    run = finished({"network": {"normalization": "batch", "dropout": 0.5}, "train": {"epochs": 1}})
    run.program.train()
    before = {name: value.clone() for name, value in run.program.state_dict().items()}
    rows, _ = run.evaluation_rows("validation")
    first, again = (run.evaluate(rows.batches(size), particles=2).quantities[0] for size in (10, 3))
    assert again.mean.value == pytest.approx(first.mean.value, abs=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in run.program.state_dict().items())
    assert all(part.training for part in run.program.modules())
