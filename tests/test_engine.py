"""Training: the same losses as Pyro's SVI from the same noise, resumed as if never stopped, no trace left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_args

import pyro
import pytest
import torch
from conftest import Build, global_settings
from members import objective_of
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.errors import TrainingError
from pyrovae.evaluate import inspected
from pyrovae.objectives import Elbo, Objective
from pyrovae.optimizers import FORMULAS, OptimizerName
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import seeded
from pyrovae.train import SCHEDULES, Metrics, ScheduleName, Trainer, steps

Weights = dict[str, Tensor]
OF_ANY_CODE = ["elbo", "mean-field-elbo", "graph-elbo"]
"""Objectives that train any program."""


def weights(program: SingleLayer) -> Weights:
    return {name: value.detach().clone() for name, value in program.state_dict().items()}


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def adam() -> Any:
    return Adam({"lr": 1e-2})


# ---------------------------------------------------------------------------------------------------------
# Pyro's SVI is the reference.


def per_datum(function: Callable[[Tensor], None], n: int) -> Any:
    return poutine.scale(function, 1 / n)


def test_the_engine_and_svi_give_the_same_losses_and_weights(make: Build, pyro_store: None) -> None:
    ours, theirs, x = make(), make(), torch.randn(8, 6)
    assert equal(weights(ours), weights(theirs))
    engine = Engine(Elbo(ours), "adam")
    svi = SVI(per_datum(theirs.model, 8), per_datum(theirs.registered_guide(), 8), adam(), Trace_ELBO())
    for number in range(10):
        with seeded(number):
            loss, *_ = engine.step(x, lr=1e-2)
        with seeded(number):
            expected = svi.step(x)
        assert loss.item() / 8 == pytest.approx(expected, rel=1e-5)
    for name, value in weights(ours).items():
        torch.testing.assert_close(value, theirs.state_dict()[name], atol=1e-4, rtol=1e-4)


def test_svi_with_the_plain_guide_trains_nothing(make: Build, pyro_store: None) -> None:
    program, x = make(), torch.randn(8, 6)
    before = weights(program)
    SVI(program.model, program.guide, adam(), Trace_ELBO()).step(x)
    assert equal(before, weights(program))


@pytest.mark.parametrize("interleaved", [False, True])
def test_two_programs_share_nothing_through_pyros_store(
    make: Build, pyro_store: None, interleaved: bool
) -> None:
    x = torch.randn(8, 6)

    def trained(*seeds: int) -> list[Weights]:
        """The weights of programs of these seeds, each after three steps; they take turns if interleaved."""
        programs = [make(seed=seed) for seed in seeds]
        svis = [SVI(each.model, each.registered_guide(), adam(), Trace_ELBO()) for each in programs]
        turns = [(i, number) for i in range(len(seeds)) for number in range(3)]
        for i, number in sorted(turns, key=lambda turn: turn[1]) if interleaved else turns:
            with seeded(seeds[i], number):
                svis[i].step(x)
        return [weights(program) for program in programs]

    one, two = trained(0, 1)
    pyro.clear_param_store()
    assert equal(one, trained(0)[0])
    pyro.clear_param_store()
    assert equal(two, trained(1)[0])
    assert not equal(one, weights(make(seed=0)))
    assert not equal(two, weights(make(seed=1)))


def test_model_and_guide_are_pure(make: Build) -> None:
    program, x = make(), torch.randn(4, 6)
    for function in (program.model, program.guide):
        kinds = {site["type"] for site in poutine.trace(function).get_trace(x).nodes.values()}
        assert "param" not in kinds
    assert not pyro.get_param_store()


# ---------------------------------------------------------------------------------------------------------
# Steps.


def test_the_optimizers_and_schedules_are_the_ones_that_the_configuration_names() -> None:
    assert set(FORMULAS) == set(get_args(OptimizerName)) >= {"adam", "adamw", "rmsprop", "sgd"}
    assert set(SCHEDULES) == set(get_args(ScheduleName)) >= {"constant", "linear", "cosine"}


@pytest.mark.parametrize("optimizer", FORMULAS)
def test_an_optimizer_lowers_the_loss(make: Build, optimizer: Any) -> None:
    engine, x = Engine(Elbo(make()), optimizer), torch.randn(16, 6)
    losses = []
    for _ in range(20):
        with seeded(1):
            losses.append(engine.step(x, lr=1e-2)[0].item())
    assert losses[-1] < losses[0]


def moved(engine: Engine, x: Tensor, lr: float) -> float:
    """The norm of the change of all parameters in one step."""
    before = [value.detach().clone() for value in engine.objective.parameters()]
    engine.step(x, lr)
    changes = [new.detach() - old for new, old in zip(engine.objective.parameters(), before, strict=True)]
    return torch.cat([change.flatten() for change in changes]).norm().item()


def test_clip_bounds_the_norm_of_the_gradient(make: Build) -> None:
    x = 1000 * torch.randn(8, 6)
    assert moved(Engine(Elbo(make()), "sgd"), x, lr=1e-3) > 1e-2
    assert moved(Engine(Elbo(make()), "sgd", clip=0.5), x, lr=1e-3) == pytest.approx(0.5e-3, rel=1e-2)


def test_a_gradient_that_is_small_enough_is_not_clipped(make: Build) -> None:
    def weights(clip: float | None) -> list[torch.Tensor]:
        with seeded("clip"):
            program = make()
            Engine(Elbo(program), "sgd", clip=clip).step(torch.ones(4, 6), lr=1e-2)
        return [each.detach() for each in program.parameters()]

    torch.testing.assert_close(weights(1e6), weights(None), rtol=0, atol=0)


def test_a_step_returns_sums_over_data(make: Build) -> None:
    program, x = make(), torch.randn(8, 6)
    with seeded(1), torch.no_grad():
        per_datum = torch.stack(Elbo(program)(x))
    with seeded(1):
        summed = Engine(Elbo(program), "adam").step(x, lr=1e-3)
    torch.testing.assert_close(summed, 8 * per_datum.double())


# ---------------------------------------------------------------------------------------------------------
# The loop.


def train(program: SingleLayer, rows: Tensor, *, objective: Any = "elbo", **changes: Any) -> Trainer:
    optimizer, clip = changes.pop("optimizer", "adam"), changes.pop("clip", None)
    dynamic = changes.pop("dynamic", False)
    settings: dict[str, Any] = {
        "seed": 0,
        "epochs": 3,
        "batch_size": 4,
        "lr": 1e-3,
        "lr_schedule": "constant",
        "patience": None,
        "history": [],
    }
    validation = Split((rows[:5] > 0.5).float() if dynamic else rows[:5])
    engine = Engine(objective_of(program, objective), optimizer, clip)
    train = Split(rows[5:], noise="binarized" if dynamic else None)
    return Trainer(engine, train, validation, **(settings | changes))


def numbers(history: list[Metrics]) -> list[dict[str, Any]]:
    """Metrics without the times."""
    return [
        {name: value for name, value in metrics.items() if name not in ("seconds", "examples_per_second")}
        for metrics in history
    ]


@pytest.mark.parametrize("objective", OF_ANY_CODE)
def test_the_elbo_is_reconstruction_minus_kl(make: Build, objective: Any) -> None:
    trainer = train(make(), torch.randn(21, 6), objective=objective)
    for count, metrics in enumerate(trainer.run(), 1):
        assert metrics["epoch"] == count == len(trainer.history)
        for split in ("train", "validation"):
            elbo, reconstruction, kl = (
                metrics[f"{split}_{term}"]  # type: ignore[literal-required]
                for term in ("elbo", "reconstruction", "kl")
            )
            assert elbo == pytest.approx(reconstruction - kl, abs=1e-6)
            assert reconstruction < 0
    assert trainer.finished
    assert len(trainer.history) == 3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_starts_at_the_learning_rate_and_never_rises(make: Build, schedule: Any) -> None:
    trainer = train(make(), torch.randn(21, 6), lr_schedule=schedule, epochs=4)
    rates: list[float] = []
    step = trainer.engine.step

    def recorded(x: Tensor, lr: float, ramp: float) -> Tensor:
        rates.append(lr)
        return step(x, lr, ramp)

    trainer.engine.step = recorded  # type: ignore[method-assign]
    list(trainer.run())
    assert rates[0] == 1e-3
    assert all(0 < later <= earlier for earlier, later in pairwise(rates))
    assert (rates[-1] < rates[0]) == (schedule != "constant")


def test_patience_stops_where_nothing_gets_better(make: Build) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 1.0})
    trainer = train(program, torch.randn(21, 6), lr=0.0, epochs=50, patience=3)
    list(trainer.run())
    assert len(trainer.history) == 1 + 3
    assert trainer.stopped_early


@dataclass
class Recording(Engine):
    """Takes no steps, and keeps the batches."""

    objective: Objective
    batches: list[Tensor] = field(default_factory=list)

    def step(self, x: Tensor, lr: float, ramp: float = 1.0) -> Tensor:
        self.batches.append(x)
        return torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
def test_an_epoch_is_every_row_once_and_leaves_no_row_alone(make: Build, batch_size: int) -> None:
    for n in range(1, 16):
        trainer = train(make(), torch.randn(n + 5, 6), epochs=1, batch_size=batch_size)
        rows = trainer.train.rows(slice(None))
        trainer.engine = Recording(trainer.engine.objective)
        list(trainer.run())
        sizes = [len(batch) for batch in trainer.engine.batches]
        assert len(sizes) == steps(n, batch_size)
        assert all(batch_size <= size <= batch_size + 1 for size in sizes[:-1])
        assert 1 not in sizes or n == 1 or batch_size == 1
        assert torch.cat(trainer.engine.batches).sort(0).values.equal(rows.sort(0).values)


def test_every_epoch_has_an_order_of_its_own_and_every_run_has_the_same(make: Build) -> None:
    def order(seed: int) -> list[Tensor]:
        trainer = train(make(), torch.arange(150.0).reshape(25, 6), epochs=2, batch_size=20, seed=seed)
        trainer.engine = Recording(trainer.engine.objective)
        list(trainer.run())
        return list(trainer.engine.batches)

    first, second = order(0)
    assert not torch.equal(first, second)
    assert torch.equal(torch.stack(order(0)), torch.stack([first, second]))
    assert not torch.equal(order(1)[0], first)


def test_batch_normalisation_trains_where_one_row_is_left_over(make: Build) -> None:
    program = make(network={"name": "mlp", "hidden": [8], "normalization": "batch"})
    assert len(list(train(program, torch.randn(5 + 9, 6), epochs=1).run())) == 1


MLP = {"name": "mlp", "hidden": [8], "dropout": 0.3, "normalization": "batch"}
RESUMED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gaussian-optimal": ({"likelihood": {"name": "gaussian", "scale": "optimal"}, "network": MLP}, {}),
    "bernoulli-dynamic": ({"likelihood": "bernoulli", "network": MLP}, {"dynamic": True}),
    "particles-sgd-cosine": ({"network": MLP}, {"optimizer": "sgd", "lr_schedule": "cosine", "clip": 1.0}),
    "rmsprop-mean-field": ({"network": MLP}, {"optimizer": "rmsprop", "objective": "mean-field-elbo"}),
}


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("choices", RESUMED)
def test_a_resumed_training_equals_an_uninterrupted_one(make: Build, choices: str, after: int) -> None:
    (parts, settings), rows = RESUMED[choices], torch.rand(26, 6)
    whole = train(make(**parts), rows, epochs=4, **settings)
    list(whole.run())

    first = train(make(**parts), rows, epochs=4, **settings)
    epochs = first.run()
    for _ in range(after):
        next(epochs)
    snapshot, history = first.snapshot(), list(first.history)
    next(epochs)  # what comes later must not reach into the snapshot
    torch.rand(7)  # nor may the global generator matter

    second = train(make(seed=9, **parts), rows, epochs=4, history=history, **settings)
    second.restore(snapshot)
    list(second.run())
    assert numbers(second.history) == numbers(whole.history)
    assert equal(weights(second.engine.objective.program), weights(whole.engine.objective.program))
    assert not equal(snapshot.weights, weights(whole.engine.objective.program))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_weights_that_explode_are_an_error_that_names_the_epoch(make: Build, optimizer: Any) -> None:
    with pytest.raises(TrainingError, match=r"epoch 1: the .* (is|are)"):
        list(train(make(), torch.randn(21, 6), lr=1e30, optimizer=optimizer).run())


def test_data_that_are_too_large_are_an_error_that_names_the_reconstruction(make: Build) -> None:
    trainer = train(make(), 1e30 * torch.randn(21, 6), lr=1e-3)
    with pytest.raises(
        TrainingError, match=r"epoch 1: the reconstruction is (-inf|nan); there is no earlier"
    ):
        list(trainer.run())
    assert not trainer.history


def test_a_kl_that_is_not_finite_is_named(make: Build) -> None:
    program = make()
    program.prior.scale.fill_(1e-30)
    with pytest.raises(TrainingError, match=r"epoch 1: the KL is (inf|nan)"):
        list(train(program, torch.randn(21, 6)).run())


def test_training_leaves_the_process_as_it_was(make: Build, untouched: None) -> None:
    program, rows = make(network=MLP), Split(torch.linspace(-1, 1, 120).reshape(20, 6))
    before = global_settings()
    trainer = train(program, rows.raw)
    for _ in trainer.run():
        assert global_settings() == before
    assert not pyro.get_param_store()


@pytest.mark.usefixtures("untouched")
def test_inspection_gives_every_module_its_own_mode_back(make: Build) -> None:
    program = make(network=MLP)
    program.train()
    program.network.decoder.eval()
    modes = [part.training for part in program.modules()]
    before = global_settings()
    with inspected(program):
        assert not any(part.training for part in program.modules())
        assert not torch.is_grad_enabled()
    assert [part.training for part in program.modules()] == modes
    assert global_settings() == before
