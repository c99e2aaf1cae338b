"""Threads of the processor: how many, found by whom, and what does not depend on it."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Build
from members import objective_of
from test_cli import SMALL as FLAGS
from test_cli import succeed
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils._pytree import tree_leaves

from pyrovae import threads
from pyrovae.cli import _app
from pyrovae.config import resolve
from pyrovae.data import Dataset, from_arrays
from pyrovae.engine import CapturedEngine, Engine, SVIEngine
from pyrovae.objectives import Objective
from pyrovae.randomness import seeded
from pyrovae.run import Run

NORMALISED = {"name": "mlp", "hidden": [16], "dropout": 0.3, "normalization": "batch"}

SET_BY_USERS = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME"]


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of threads."""
    for name in [*os.environ]:
        if name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_")):
            monkeypatch.delenv(name)
    return monkeypatch


# ---------------------------------------------------------------------------------------------------------
# How threads wait.


def during_a_command(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that a command has."""
    seen: dict[str, str] = {}
    monkeypatch.setattr(_app, "app", lambda arguments: seen.update(os.environ))
    _app.main([])
    return seen


def test_threads_of_a_command_wait_briefly_and_no_variable_is_left(nothing_set: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    assert during_a_command(nothing_set) == before | {"GOMP_SPINCOUNT": _app.SPINS}
    assert dict(os.environ) == before


def test_a_command_that_fails_leaves_no_variable(nothing_set: pytest.MonkeyPatch) -> None:
    nothing_set.setattr(_app, "app", lambda arguments: fail())
    with pytest.raises(KeyError):
        _app.main([])
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize("name", SET_BY_USERS)
def test_what_a_user_says_of_openmp_stands_alone(nothing_set: pytest.MonkeyPatch, name: str) -> None:
    nothing_set.setenv(name, "3")
    before = dict(os.environ)
    assert during_a_command(nothing_set) == before
    assert dict(os.environ) == before


def test_the_command_line_says_how_threads_wait_before_it_loads_torch(
    nothing_set: pytest.MonkeyPatch,
) -> None:
    watching = """
import builtins, os, sys
original = builtins.__import__
def watched(name, *rest, **named):
    if name == "torch" and "torch" not in sys.modules:
        print("waits", os.environ.get("GOMP_SPINCOUNT"))
    return original(name, *rest, **named)
builtins.__import__ = watched
from pyrovae.cli import main
main(["components"])
"""
    finished = subprocess.run([sys.executable, "-c", watching], capture_output=True, text=True, check=True)
    assert f"waits {_app.SPINS}\n" in finished.stdout
    assert "waits None" not in finished.stdout


# ---------------------------------------------------------------------------------------------------------
# How many.


@pytest.fixture
def two(nothing_set: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads help here, whatever the machine."""
    nothing_set.setattr(threads, "_quota", lambda: 2)
    with threads.threaded(2):
        yield


def fail() -> None:
    raise KeyError


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_are_as_many_as_asked_for_and_as_before_afterwards(count: int) -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), threads.threaded(count):
        assert torch.get_num_threads() == count
        fail()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("cores", "quota", "helping"), [(2, 8, 2), (16, 16, 4), (16, 1, 1)])
def test_threads_that_help_are_the_cores_that_may_be_used_but_not_many(
    monkeypatch: pytest.MonkeyPatch, cores: int, quota: int, helping: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(threads, "_quota", lambda: quota)
    assert threads.that_help() == helping


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 7),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 7),
        ({}, 7),
    ],
)
def test_a_container_says_how_many_processors_it_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], processors: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert threads._quota(tmp_path) == processors


class Clock:
    """Seconds that pass when a step is taken: as many as the machine takes on that many threads."""

    def __init__(self, seconds: Callable[[int, float], float]) -> None:
        self.now = 0.0
        self.seconds = seconds

    def __call__(self) -> float:
        return self.now

    def step(self) -> list[Tensor | None]:
        """Take a step, whose bits depend on the number of threads."""
        count = torch.get_num_threads()
        self.now += self.seconds(count, self.now)
        return [None, torch.tensor(float(count))]

    def steady(self) -> list[Tensor | None]:
        """Take a step, whose bits do not."""
        self.step()
        return [torch.tensor([1.0, math.nan]), None]


def never() -> list[Tensor | None]:
    raise AssertionError("nothing is to be measured")


def seconds(one: float, both: float) -> Callable[[int, float], float]:
    return lambda count, now: one if count == 1 else both


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("both", "number"), [(0.6, 2), (0.99, 1), (40.0, 1)])
@pytest.mark.parametrize("one", [1e-3, 0.04, 3.0])
def test_where_bits_depend_on_threads_the_faster_number_is_chosen_once(
    one: float, both: float, number: int
) -> None:
    clock = Clock(seconds(one, one * both))
    chosen = threads.choose({8: clock.step}, clock=clock)
    assert chosen.recorded == str(number)
    assert chosen.note == f"each step has {in_words(number)}, which was faster before the first step"
    assert (chosen.number, chosen.pacing) == (number, nullcontext)
    assert clock.now < 10 * (one + one * both) + 1.0
    assert torch.get_num_threads() == 2


def in_words(number: int) -> str:
    return f"{number} thread{'s' * (number > 1)}"


@pytest.mark.usefixtures("two")
def test_where_bits_do_not_depend_on_threads_their_number_may_vary() -> None:
    clock = Clock(seconds(1.0, 1.0))
    chosen = threads.choose({8: clock.steady, 9: clock.step, 7: clock.steady}, clock=clock)
    assert chosen.note == "each step has 1 thread or 2, whichever is faster at the time"
    assert (chosen.number, chosen.recorded) == (1, "any")
    assert isinstance(chosen.pacing, threads.Pace)
    assert (chosen.pacing.clock, chosen.pacing.sizes) == (clock, {8, 7})
    assert clock.now == 6.0  # what is compared, and nothing else


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_a_user_asks_for_is_done_without_measuring(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    chosen = threads.choose({8: never}, asked=3, begun_with="1")
    assert (chosen.number, chosen.pacing, chosen.recorded) == (3, nullcontext, "3")
    assert chosen.note == "each step has 3 threads, as train.threads says"
    monkeypatch.setenv(name, "2")  # which torch reads when it is loaded
    for begun_with in (None, "1", "any"):
        chosen = threads.choose({8: never}, begun_with=begun_with)
        assert (chosen.number, chosen.pacing, chosen.recorded) == (2, nullcontext, "2")
        assert chosen.note == f"each step has 2 threads, as {name} says"
    assert threads.choose({8: never}, asked=3).number == 3


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("number", "few"), [(1, ""), (2, ""), (3, ", though only 2 can help here")])
def test_a_training_goes_on_with_the_number_it_was_begun_with(number: int, few: str) -> None:
    clock = Clock(seconds(1.0, 1.0))
    chosen = threads.choose({8: clock.step}, begun_with=str(number), clock=clock)
    assert (chosen.number, chosen.pacing, chosen.recorded) == (number, nullcontext, str(number))
    assert chosen.note == f"each step has {in_words(number)}, as the run was begun{few}"
    assert clock.now == 2.0  # what is compared, and nothing else


@pytest.mark.usefixtures("two")
def test_a_training_whose_bits_do_not_depend_on_threads_goes_on_with_any() -> None:
    for begun_with in ("any", "1", "2", "3"):
        clock = Clock(seconds(1.0, 1.0))
        assert threads.choose({8: clock.steady}, begun_with=begun_with, clock=clock).recorded == "any"


def test_on_one_core_nothing_is_measured(nothing_set: pytest.MonkeyPatch) -> None:
    with threads.threaded(1):
        chosen = threads.choose({8: never})
    assert (chosen.number, chosen.pacing, chosen.recorded) == (1, nullcontext, "1")
    assert chosen.note == "each step has 1 thread, since more would not help"


@pytest.mark.usefixtures("two")
def test_where_another_device_takes_the_steps_nothing_is_said() -> None:
    assert threads.choose({}) == (2, nullcontext, "2", "")


# ---------------------------------------------------------------------------------------------------------
# A number that varies.


def taken(pace: threads.Pace, clock: Clock, until: float) -> list[int]:
    """On how many threads each step is until then."""
    counts = []
    while clock.now < until:
        with pace(8):
            counts.append(torch.get_num_threads())
            clock.step()
    return counts


@pytest.mark.parametrize("both", [0.4, 0.8, 0.97, 1.03, 1.5, 10.0, 40.0])
@pytest.mark.parametrize("one", [2e-4, 5e-3, 0.04, 0.3])
def test_steps_take_little_more_time_than_on_the_better_number(one: float, both: float) -> None:
    clock = Clock(seconds(one, one * both))
    steps = len(taken(threads.Pace(2, {8}, clock), clock, until=2000 * one * max(1.0, both)))
    assert clock.now < 1.05 * steps * one * min(1.0, both) + 5 * threads.BLOCK


def test_numbers_that_are_as_fast_do_not_take_turns() -> None:
    clock = Clock(seconds(1e-3, 0.97e-3))
    counts = taken(threads.Pace(2, {8}, clock), clock, until=20.0)
    assert counts.count(1) > 0.7 * len(counts)


@pytest.mark.parametrize("one", [1e-3, 5e-3])
def test_a_machine_that_gets_busy_is_noticed_and_one_that_gets_quiet_again(one: float) -> None:
    def sharing(count: int, now: float) -> float:
        return one * (1.0 if count == 1 else 20.0 if 30.0 < now < 60.0 else 0.6)

    clock = Clock(sharing)
    pace = threads.Pace(2, {8}, clock)
    quiet, busy, again = (taken(pace, clock, until) for until in (30.0, 60.0, 120.0))
    assert len(quiet) > 0.93 * 30.0 / (0.6 * one)
    assert len(busy) > 0.88 * 30.0 / one
    assert len(again) > 0.85 * 60.0 / (0.6 * one)


def test_batches_of_other_sizes_have_one_thread_and_are_not_timed() -> None:
    clock = Clock(seconds(1.0, 0.1))
    pace = threads.Pace(2, {8}, clock)
    taken(pace, clock, until=10.0)
    with pace(8):
        assert torch.get_num_threads() == 2
    before = pace.before
    for _ in range(10):
        with pace(9):
            assert torch.get_num_threads() == 1
            clock.step()
    assert pace.before == before


def test_a_step_that_fails_leaves_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    pace = threads.Pace(2, {8})
    pace.count = 2
    with contextlib.suppress(KeyError), pace(8):
        assert torch.get_num_threads() == 2
        fail()
    assert torch.get_num_threads() == before


# ---------------------------------------------------------------------------------------------------------
# What a step makes, tried.

SHAPES = [(64, 784), (115, 784), (100, 784), (128, 785), (113, 784), (250, 784), (96, 500), (2, 100, 300)]


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numbers_are_the_same_where_tensors_are_cut_between_vectors(
    shape: tuple[int, ...], count: int, transposed: bool
) -> None:
    x, bias = torch.randn(shape).repeat(5, *[1] * (len(shape) - 1)), torch.randn(shape[-1])
    if transposed:
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    functions = (F.softplus, torch.sigmoid, F.mish, lambda x: torch.logaddexp(x, bias))

    def step() -> list[Tensor | None]:
        return [function(x) for function in functions]

    with threads._Cuts(count) as cuts:
        one = step()
    with threads.threaded(count):
        other = step()
    assert not cuts.between_vectors or all(map(torch.equal, one, other))


def test_cuts_between_vectors_are_told_from_others() -> None:
    def cut_well(*shape: int, count: int = 2, dtype: torch.dtype = torch.float32) -> bool:
        return threads._between_vectors(torch.empty(shape, dtype=dtype), count)

    assert cut_well(128, 784)
    assert cut_well(64, 785)
    assert cut_well(100, 784)
    assert not cut_well(115, 784)
    assert not cut_well(250, 784)
    assert cut_well(250, 784, dtype=torch.float64)
    assert not cut_well(128, 600, count=4)  # three pieces, not of whole rows
    assert all(cut_well(*shape) for shape in [(32768,), (113, 200), (), (0, 5)])  # which are not cut


# A step is tried.

ENGINES: dict[str, Callable[[Objective, Tensor], Engine]] = {
    "eager": lambda objective, x: Engine(objective, "adam", clip=1.0),
    "graph": lambda objective, x: CapturedEngine(objective, "adam", clip=1.0, example=x),
    "svi": lambda objective, x: SVIEngine(objective, "adam", clip=1.0),
}


def kept(engine: Engine) -> list[Tensor]:
    """All that a step may change, copied."""
    state = [*engine.objective.state_dict().values(), *tree_leaves(engine.optimizer.state_dict())]
    return [each.clone() for each in (*state, torch.get_rng_state())]


@pytest.mark.parametrize("name", ENGINES)
def test_a_rehearsed_step_leaves_no_trace(make: Build, name: str) -> None:
    x = torch.randn(8, 6)
    engine = ENGINES[name](objective_of(make(network=NORMALISED)), x)
    engine.objective.eval()
    before = kept(engine)
    one, other = engine.rehearse(x), engine.rehearse(x)
    assert all(map(torch.equal, before, kept(engine)))
    assert not any(part.training for part in engine.objective.modules())
    for mine, again in zip(one, other, strict=True):
        assert mine is again or torch.equal(mine, again)
    assert not torch.equal(one[0], engine.rehearse(2 * x)[0])


def test_a_rehearsal_makes_what_a_step_makes(make: Build) -> None:
    x, engine = torch.randn(8, 6), Engine(objective_of(make(network=NORMALISED)), "adam")
    with torch.no_grad():
        for each in engine.parameters:
            each[each == 0] = 0.1
    number = len(engine.parameters)
    made = engine.rehearse(x)
    with seeded("rehearsal"):
        terms = engine.step(x, lr=1e-3)
    assert torch.equal(made[0], terms)
    for found, expected in zip(made[1 + number :], engine.parameters, strict=False):
        assert torch.equal(found, expected)


def test_weights_that_are_zero_hide_no_gradient(make: Build) -> None:
    x, engine = torch.randn(8, 6), Engine(objective_of(make()), "sgd")
    with torch.no_grad():
        for each in engine.parameters:
            each.zero_()
    gradients = engine.rehearse(x)[1 : 1 + len(engine.parameters)]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


# ---------------------------------------------------------------------------------------------------------
# Runs.

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [300]},
    "train": {"epochs": 2, "batch_size": 128, "watch": 0, "engine": "captured"},
}
TIMES = ("seconds", "examples_per_second")


def pictures(n: int = 320) -> Dataset:
    x = (np.random.RandomState(0).rand(n, 1, 28, 28) < 0.3).astype(np.float32)
    return from_arrays(x, validation=0.2, test=0.0)


class Alternating:
    """Every second step has two threads, or every other one."""

    def __init__(self, most: int, sizes: Any, clock: Any, first: int = 1) -> None:
        self.turns = itertools.cycle([first, most + 1 - first])

    def __call__(self, rows: int) -> Any:
        return threads.threaded(next(self.turns))


def learned(run: Run) -> Any:
    """What is left of a run, but for times."""
    history = [{name: value for name, value in line.items() if name not in TIMES} for line in run.history]
    return history, [tensor.tolist() for tensor in run.snapshots["last"].weights.values()]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """On how many threads each step was."""
    counts: list[int] = []
    step = Engine.step

    def counting(self: Engine, *arguments: Any) -> Tensor:
        counts.append(torch.get_num_threads())
        return step(self, *arguments)

    monkeypatch.setattr(Engine, "step", counting)
    return counts


def test_a_training_on_varying_threads_is_the_same_bits_interrupted_or_not(
    two: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: list[int]
) -> None:
    layer = {"train": {"engine": "eager"}}
    alone = Run.start(resolve(SMALL, layer, {"train": {"threads": 1}}), dataset=pictures())
    list(alone.train())
    assert set(counted) == {1}
    monkeypatch.setattr(threads, "Pace", Alternating)
    varying = Run.start(resolve(SMALL, layer), dataset=pictures(), path=tmp_path / "run")
    epochs = varying.train()
    next(epochs)
    epochs.close()  # type: ignore[attr-defined]
    monkeypatch.setattr(threads, "Pace", partial(Alternating, first=2))
    resumed = Run.resume(tmp_path / "run", dataset=pictures())
    list(resumed.train())
    assert counted[-4:] == [1, 2, 2, 1]
    assert learned(resumed) == learned(alone)
    assert Run.load(tmp_path / "run").facts["threads"] == "any"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiled steps need a C++ compiler")
def test_compiled_steps_keep_the_number_of_threads_they_were_begun_with(
    two: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: list[int]
) -> None:
    monkeypatch.setattr(threads, "_faster", lambda *_: 2)
    config = resolve(SMALL, {"train": {"engine": "captured"}})
    whole = Run.start(config, dataset=pictures())
    list(whole.train())
    run = Run.start(config, dataset=pictures(), path=tmp_path / "run")
    epochs = run.train()
    next(epochs)
    epochs.close()  # type: ignore[attr-defined]
    monkeypatch.setattr(threads, "_faster", lambda *_: never())
    resumed = Run.resume(tmp_path / "run", dataset=pictures())
    list(resumed.train())
    assert resumed.facts["engine"] == "compiled"
    assert resumed.facts["threads"] == "2"
    assert set(counted) == {2}
    assert learned(resumed) == learned(whole)


def test_a_number_found_by_timing_is_recorded_and_kept(
    two: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: list[int]
) -> None:
    config = resolve(SMALL, {"train": {"engine": "eager"}})
    monkeypatch.setattr(threads, "_same_bits", lambda step, most: False)
    monkeypatch.setattr(threads, "_faster", lambda *_: 2)
    run = Run.start(config, dataset=pictures(), path=tmp_path / "run")
    notes: list[str] = []
    epochs = run.train(on_note=notes.append)
    next(epochs)
    epochs.close()  # type: ignore[attr-defined]
    assert set(counted) == {2}
    assert notes[-1] == "each step has 2 threads, which was faster before the first step"
    assert Run.load(tmp_path / "run").facts["threads"] == "2"
    monkeypatch.setattr(threads, "_faster", lambda *_: never())
    with threads.threaded(1):  # fewer cores than then
        list(Run.resume(tmp_path / "run", dataset=pictures()).train(on_note=notes.append))
    assert set(counted) == {2}
    assert notes[-1] == "each step has 2 threads, as the run was begun, though only 1 can help here"


def test_a_run_from_before_the_number_was_recorded_goes_on_with_all(
    two: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(threads, "_same_bits", lambda step, most: False)
    path = shutil.copytree(Path(__file__).parent / "stored_runs" / "resumable", tmp_path / "run")
    notes: list[str] = []
    next(Run.resume(path).train(on_note=notes.append))
    assert notes[-1] == "each step has 2 threads, as the run was begun"


def test_the_command_line_says_how_many_threads_there_are_and_why(two: None, tmp_path: Path) -> None:
    end = succeed("train", *FLAGS, "--epochs", "1", "--threads", "2", "--run", tmp_path / "run")
    assert "each step has 2 threads, as train.threads says\n" in end.err
