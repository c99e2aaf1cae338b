"""Training that leads nowhere is no success: the loss is measured before the first step, too."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import call, fail, one_sentence, succeed

from pyrovae import VAE, component, plots
from pyrovae.config import resolve
from pyrovae.data import from_arrays
from pyrovae.errors import TrainingError
from pyrovae.outcome import judge
from pyrovae.run import Run
from pyrovae.train import Trainer

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [16]},
    "data": {"source": "digits", "limit": 100},
    "train": {"epochs": 3, "batch_size": 16, "watch": 0},
}

UNIT = ("beta", "bernoulli", "continuous-bernoulli")
"""Likelihoods of values in (0, 1), or of bits."""


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())


def data_for(likelihood: str) -> np.ndarray:
    """Rows that the likelihood takes: counts, numbers in (0, 1), or positive numbers that are in both."""
    random = np.random.RandomState(0)
    if likelihood == "bernoulli":
        return random.randint(0, 2, (120, 6)).astype(np.float32)
    if likelihood in UNIT:
        return random.uniform(0.05, 0.95, (120, 6)).astype(np.float32)
    if likelihood == "categorical" or likelihood.startswith("discretized"):
        return (random.randint(0, 256, (120, 1, 4, 4)) / 255).astype(np.float32)
    return random.poisson(20.0, (120, 6)).astype(np.float32) + 1


@pytest.mark.parametrize("lr", [10.0, 1e4])
@pytest.mark.parametrize("likelihood", component.names("likelihood"))
def test_a_diverged_training_is_no_success_under_any_likelihood(likelihood: str, lr: float) -> None:
    dataset = from_arrays(data_for(likelihood), name="rows", test=0.0)
    run = Run.start(resolve(SMALL, {"likelihood": likelihood, "train": {"lr": lr}}), dataset=dataset)
    with pytest.raises(TrainingError, match=r"has diverged|has not made the model better|stopped in epoch"):
        list(run.train())


def diverged(path: Path, *layers: dict[str, Any]) -> Run:
    run = Run.start(resolve(SMALL, {"train": {"lr": 10.0}}, *layers), path=path)
    with pytest.raises(TrainingError, match=r"smaller train\.lr"):
        list(run.train())
    return run


def test_a_diverged_training_keeps_every_epoch(tmp_path: Path) -> None:
    run = diverged(tmp_path / "run")
    kept = Run.load(tmp_path / "run", "last")
    assert [metrics["epoch"] for metrics in kept.history] == [1, 2, 3]
    assert kept.history == run.history
    assert kept.untrained == run.untrained
    assert (tmp_path / "run" / "figures" / "epoch-0003.png").exists()


def test_without_validation_rows_some_training_rows_are_measured(tmp_path: Path) -> None:
    run = diverged(tmp_path / "run", {"data": {"validation": 0.0}})
    assert run.untrained is not None
    assert set(run.untrained) == {"epoch", "train_loss", "train_elbo", "train_reconstruction", "train_kl"}


def test_the_command_says_it_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--set", "data.limit=100", "--set", "network.hidden=[16]", "--latent-dim", "2", "--epochs", "2"]
    end = call("train", *small, "--lr", "10", "--run", "run")
    assert (end.code, end.out) == (1, "")
    assert "training has not made the model better" in one_sentence(f"{end.err.splitlines()[-1]}\n")
    first, *lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert (first["epoch"], len(lines)) == (0, 2)
    assert succeed("evaluate", "run", "--particles", "2")
    assert "training has not made the model better" in fail(1, "train", "--resume", "run")


def test_a_vae_that_diverged_is_fitted_all_the_same() -> None:
    vae = VAE(latent_dim=2, network={"name": "mlp", "hidden": [8]}, epochs=2, lr=10.0, verbose=False)
    X = np.random.RandomState(0).randint(0, 2, (60, 5))
    with pytest.raises(TrainingError, match="has not made the model better"):
        vae.fit(X)
    assert len(vae.history) == 2
    assert vae.transform(X).shape == (60, 2)


def overfitting(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> Run:
    """A run whose validation losses before the first step, and after each epoch, are these."""
    given = iter(losses)
    measured = Trainer.measure
    monkeypatch.setattr(Trainer, "measure", lambda self: {**measured(self), "validation_loss": next(given)})
    return Run.start(resolve(SMALL, {"train": {"epochs": len(losses) - 1}}))


def test_a_loss_that_ends_above_its_beginning_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    run = overfitting(monkeypatch, [40.0, 30.0, 41.0])
    with pytest.warns(UserWarning, match="'best' has the weights of the lowest loss, 30 after epoch 1"):
        list(run.train())
    assert run.snapshots["best"].epoch == 1


def test_a_loss_that_ends_far_above_its_beginning_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = overfitting(monkeypatch, [40.0, 30.0, 4041.0])
    with pytest.raises(TrainingError, match="has diverged"):
        list(run.train())


def test_the_best_epoch_is_one_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    run = overfitting(monkeypatch, [40.0, 42.0, 41.0])
    with pytest.raises(TrainingError):
        list(run.train())
    assert run.snapshots["best"].epoch == 2


def test_a_loss_below_zero_is_measured_by_its_size() -> None:
    assert judge(-5.0, {1: -6.0}, of="rows") is None
    warned, failed = (judge(-5.0, {1: -6.0, 2: last}, of="rows") for last in (494.0, 496.0))
    assert warned is not None
    assert failed is not None
    assert (warned.is_failure, failed.is_failure) == (False, True)


def test_a_warm_up_that_was_not_over_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = {"objective": {"name": "elbo", "warm_up": 50}, "train": {"epochs": 1, "lr": 1.0}}
    run = Run.start(resolve(SMALL, layer))
    with pytest.raises(TrainingError, match="warm-up of the objective was not over"):
        list(run.train())


@pytest.mark.parametrize(
    "layer",
    [
        {},
        {"network": {"name": "mlp", "hidden": [16], "normalization": "batch", "dropout": 0.3}},
        {"likelihood": {"name": "gaussian", "scale": "optimal"}},
        {"data": {"validation": 0.0}},
        {"objective": "iwae"},
    ],
    ids=str,
)
def test_what_is_measured_before_the_first_step_changes_no_bit(
    layer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.start(resolve(SMALL, layer))
    list(run.train())
    assert run.untrained is not None
    monkeypatch.setattr(Trainer, "untrained", lambda self: None)
    other = Run.start(resolve(SMALL, layer))
    list(other.train())
    run.use("last")
    other.use("last")
    others = other.program.state_dict()
    assert all(torch.equal(value, others[name]) for name, value in run.program.state_dict().items())
    timed = ("seconds", "examples_per_second")
    for one, two in zip(run.history, other.history, strict=True):
        assert [one[key] for key in one if key not in timed] == [two[key] for key in two if key not in timed]  # type: ignore[literal-required]


def test_what_is_measured_before_the_first_step_is_what_an_epoch_without_a_step_would_give() -> None:
    """A learning rate of nearly nothing leaves the weights; the closed form of the scale is in both."""
    layer = {"likelihood": {"name": "gaussian", "scale": "optimal"}, "train": {"lr": 1e-12, "epochs": 1}}
    run = Run.start(resolve(SMALL, layer))
    with suppress(TrainingError):
        list(run.train())
    assert run.untrained is not None
    assert run.untrained["validation_loss"] == pytest.approx(run.history[0]["validation_loss"], rel=1e-2)


def test_the_measurement_is_kept_on_resume(tmp_path: Path) -> None:
    run = Run.start(resolve(SMALL), path=tmp_path / "run")
    list(run.train())
    resumed = Run.resume(tmp_path / "run", epochs=4)
    assert resumed.untrained == run.untrained
    assert [metrics["epoch"] for metrics in resumed.train()] == [4]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2, 3, 4]


def test_a_first_loss_that_is_not_finite_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = overfitting(monkeypatch, [math.inf, 30.0, 20.0])
    assert len(list(run.train())) == 2
    assert run.untrained is None
