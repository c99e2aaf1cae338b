"""Every engine takes the same steps from the same noise; and which one runs, and why no other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyro
import pytest
import torch
from conftest import Build, global_settings
from members import Case, cases, each, objective_of
from test_cli import SMALL as FLAGS
from test_cli import succeed
from test_programs import COMBINATIONS, Combination, prepared
from torch import Tensor

from pyrovae import component, plots
from pyrovae.capture import Uncapturable, Uncompilable, capture, compilation_pays
from pyrovae.choices import EngineName
from pyrovae.config import resolve
from pyrovae.data import Split
from pyrovae.engine import (
    FEWEST_STEPS,
    MODES,
    CapturedEngine,
    Engine,
    Mode,
    SVIEngine,
    start,
)
from pyrovae.errors import ConfigError
from pyrovae.objectives import Need, Objective
from pyrovae.optimizers import FORMULAS
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import seeded
from pyrovae.run import Run
from pyrovae.train import Trainer

BITS: dict[str, Any] = {"prior": "bernoulli", "posterior": "bernoulli"}
NORMALISED = {"name": "mlp", "hidden": [16], "dropout": 0.3, "normalization": "batch"}
DROPPED = {"name": "mlp", "hidden": [16], "dropout": 0.3}
CONVOLVED = {"name": "conv", "channels": [4], "dropout": 0.3, "normalization": "batch"}

# Of the second to last batch there are fewer data than of the others; ramps are numbers of float32.
SIZES = 8, 8, 8, 5, 8
RAMPS = 0.0, 0.25, 0.75, 1.0, 1.0
RATES = 1e-2, 1e-2, 3e-3, 3e-3, 1e-3

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler"
)

Made = tuple[Tensor, dict[str, Tensor]]
"""The terms of every step, and the weights and buffers in the end."""


def codes_of(objective: str) -> dict[str, Any]:
    """A prior and a posterior that an objective can train."""
    return BITS if Need.SUMMABLE in component.find("objective", objective).needs else {}  # type: ignore[attr-defined]


def rows(*shape: int) -> Tensor:
    return torch.randn(max(SIZES), *(shape or (6,)), generator=torch.Generator().manual_seed(1))


def taken(engine: Engine, x: Tensor, ramps: tuple[float, ...] = RAMPS) -> Made:
    """What steps of full batches and of a short one make, under noise of the step."""
    engine.objective.train()
    terms = []
    with pyro.validation_enabled(False):
        for number, (size, rate, ramp) in enumerate(zip(SIZES, RATES, ramps, strict=True)):
            with seeded("step", number):
                terms.append(engine.step(x[:size], rate, ramp))
    state = engine.objective.program.state_dict()
    return torch.stack(terms), {name: value.clone() for name, value in state.items()}


def graph_of(objective: Objective, x: Tensor, *settings: Any) -> Engine:
    """An engine that must have run its graph for every full batch."""
    captured = CapturedEngine(objective, *(settings or ("adam",)), example=x[: max(SIZES)])
    return counted(captured)


def compiled_of(objective: Objective, x: Tensor) -> Engine:
    captured = CapturedEngine(objective, "sgd", example=x)
    captured.compile(x)
    assert captured.run is not captured.graph
    return counted(captured)


def counted(captured: CapturedEngine) -> Engine:
    run, captured.calls = captured.run, 0  # type: ignore[attr-defined]

    def once(*arguments: Any) -> Any:
        captured.calls += 1  # type: ignore[attr-defined]
        return run(*arguments)

    captured.run = once
    return captured


def assert_the_same(one: Made, other: Made) -> None:
    assert torch.equal(one[0], other[0])
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        assert torch.equal(value, other[1][name]), name


def assert_close(one: Made, other: Made, rtol: float = 1e-5, of_weights: float = 1e-5) -> None:
    largest = other[0].abs().max().item()
    torch.testing.assert_close(one[0], other[0], rtol=0.0, atol=rtol * largest)
    torch.testing.assert_close(one[1], other[1], rtol=of_weights, atol=of_weights)


# ---------------------------------------------------------------------------------------------------------
# A graph takes exactly the steps that the program takes.

OBJECTIVES = [Case("objective", name, {}) for name in component.names("objective")]
OPTIONS = [
    Case("objective", "elbo", {"particles": 3, "beta": 4.0, "warm_up": 2.0}),
    Case("objective", "elbo", {"free_bits": 0.5, "warm_up": 2.0}),
    Case("objective", "elbo", {"capacity": 3.0, "warm_up": 2.0}),
    Case("objective", "elbo", {"gradient": "sticking-the-landing"}),
    Case("objective", "iwae", {"gradient": "doubly-reparameterised"}),
]
FAMILIES: list[dict[str, Any]] = [
    BITS,
    {"prior": "vamp"},
    {"posterior": "iaf"},
    {"prior": "categorical", "posterior": "gumbel-softmax"},
    {"prior": "flow", "posterior": "sylvester"},
    {"prior": "sphere", "posterior": "power-sphere"},
    {"likelihood": {"name": "student-t"}, "network": NORMALISED},
    {"network": CONVOLVED, "event_shape": (1, 8, 8), "likelihood": {"name": "gaussian", "scale": "optimal"}},
]


def compare(
    make: Callable[[], Objective],
    x: Tensor,
    ramps: tuple[float, ...] = RAMPS,
    same: Callable[[Made, Made], None] = assert_the_same,
) -> None:
    """The steps of a graph must be those of the program, bit for bit if nothing else is said."""
    captured = graph_of(make(), x)
    same(taken(captured, x, ramps), taken(Engine(make(), "adam"), x, ramps))
    assert captured.calls == sum(size == len(x) for size in SIZES)  # type: ignore[attr-defined]


@each(OBJECTIVES + OPTIONS)
def test_a_graph_of_every_objective_takes_the_same_steps(make: Build, case: Case) -> None:
    codes = codes_of(case.name)
    compare(lambda: objective_of(make(**codes), case.name, **case.options), rows())


@pytest.mark.slow
@each([case for case in cases("objective") if case.options])
def test_a_graph_of_every_option_takes_the_same_steps(make: Build, case: Case) -> None:
    codes = codes_of(case.name)
    try:
        objective_of(make(**codes), case.name, **case.options)
    except ConfigError:
        pytest.skip("makes no sense alone")
    compare(lambda: objective_of(make(**codes), case.name, **case.options), rows())


@each(FAMILIES, "parts")
def test_a_graph_of_a_program_takes_the_same_steps(make: Build, parts: dict[str, Any]) -> None:
    x = rows(*parts.get("event_shape", ()))

    def objective() -> Objective:
        program = make(**parts)
        with seeded("initialize"):
            program.initialize(lambda: [x])
        return objective_of(program)

    compare(objective, x)


@pytest.mark.slow
@each(COMBINATIONS, "combination")
def test_a_graph_of_every_combination_takes_the_same_steps(combination: Combination) -> None:
    _, x = prepared(combination)

    def objective() -> Objective:
        program = combination.make()
        with seeded("initialize"):
            program.initialize(lambda: [x])
        return objective_of(program, combination.objective)

    if "spline" in str(combination):  # Pyro's pick values by a mask
        with pytest.raises(Uncapturable, match=r"value.*\(spline\.py, line"):
            compare(objective, x[: max(SIZES)])
    elif "graph-elbo" in str(combination):  # gradients of vamp add up in another order
        compare(objective, x[: max(SIZES)], same=partial(assert_close, rtol=1e-4, of_weights=1e-3))
    else:
        compare(objective, x[: max(SIZES)])


def test_the_ramp_is_an_input_of_the_graph(make: Build) -> None:
    """Its number in float32 is not exactly 0.3, which the loss shows and the gradient does not."""
    x, options = rows(), {"beta": 2.0, "warm_up": 10.0}
    made = [
        taken(build(objective_of(make(), **options)), x, (0.3,) * len(SIZES))
        for build in (lambda it: graph_of(it, x), lambda it: Engine(it, "adam"))
    ]
    assert_close(*made, rtol=1e-7)
    other = taken(graph_of(objective_of(make(), **options), x), x, (0.6,) * len(SIZES))
    assert abs(other[0][0, 0] - made[0][0][0, 0]) > 0.1


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adamw"])
def test_clipping_and_optimizers_are_the_same_beside_a_graph(make: Build, optimizer: Any) -> None:
    x = 10 * rows()
    captured = taken(graph_of(objective_of(make()), x, optimizer, 0.5), x)
    assert_the_same(captured, taken(Engine(objective_of(make()), optimizer, 0.5), x))
    assert not torch.equal(captured[0], taken(Engine(objective_of(make()), optimizer), x)[0])


# ---------------------------------------------------------------------------------------------------------
# Compiled, it takes them but for rounding, with the same random numbers.

COMPILED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dropout, batch normalisation": ({"network": NORMALISED}, {"warm_up": 2.0}),
    "free bits, particles": ({}, {"free_bits": 0.5, "warm_up": 2.0, "particles": 2}),
    "convolutions": ({"network": CONVOLVED, "event_shape": (1, 8, 8)}, {}),
    "vamp": ({"prior": "vamp"}, {}),
    "iaf": ({"posterior": "iaf"}, {}),
    "iwae": ({}, {"name": "iwae", "particles": 4}),
    "bits, summed over": (BITS, {"name": "enum-elbo"}),
}


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("setting", COMPILED)
def test_a_compiled_graph_takes_the_same_steps(make: Build, setting: str) -> None:
    """By gradient descent: Adam makes whole steps of the rounding of gradients that are 0."""
    parts, options = COMPILED[setting]
    x = rows(*parts.get("event_shape", ()))

    def objective() -> Objective:
        program = make(**parts)
        with seeded("initialize"):
            program.initialize(lambda: [x])
        return objective_of(program, **options)

    captured = compiled_of(objective(), x)
    assert_close(taken(captured, x), taken(Engine(objective(), "sgd"), x))
    assert captured.calls == 4  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------------
# Pyro's SVI is the reference.


@each(OBJECTIVES + OPTIONS)
def test_svi_takes_the_same_steps_on_every_objective(make: Build, case: Case) -> None:
    codes, x = codes_of(case.name), rows()
    made = [
        taken(engine(objective_of(make(**codes), case.name, **case.options), "adam"), x)
        for engine in (SVIEngine, Engine)
    ]
    assert_close(*made)


@pytest.mark.parametrize("optimizer", FORMULAS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_svi_takes_the_same_steps_with_every_optimizer(
    make: Build, optimizer: Any, clip: float | None
) -> None:
    x = 10 * rows()
    made = [
        taken(engine(objective_of(make(network=DROPPED)), optimizer, clip), x)
        for engine in (SVIEngine, Engine)
    ]
    assert_close(*made)


def test_svi_leaves_pyros_store_as_it_was(make: Build, pyro_store: None) -> None:
    pyro.param("mine", torch.ones(2))
    taken(SVIEngine(objective_of(make()), "adam"), rows())
    assert list(pyro.get_param_store().keys()) == ["mine"]


def test_two_programs_share_nothing_through_svi(make: Build) -> None:
    x = rows()
    alone = taken(SVIEngine(objective_of(make()), "adam"), x)
    engines = [SVIEngine(objective_of(make(seed=seed)), "adam") for seed in (0, 1)]
    for number, (size, rate, ramp) in enumerate(zip(SIZES, RATES, RAMPS, strict=True)):
        for each_engine in engines:
            each_engine.objective.train()
            with seeded("step", number), pyro.validation_enabled(False):
                each_engine.step(x[:size], rate, ramp)
    state = engines[0].objective.program.state_dict()
    assert all(torch.equal(value, alone[1][name]) for name, value in state.items())


# ---------------------------------------------------------------------------------------------------------
# A capture leaves no trace.


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "compiles", [False, pytest.param(True, marks=needs_compiler)], ids=["captured", "compiled"]
)
def test_a_rehearsal_changes_nothing(make: Build, compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiles:  # that it is called once, as a compiled one is, is all that matters here
        monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    program = make(network=NORMALISED, posterior="iaf")
    program.train()
    program.network.decoder.eval()
    before, modes = global_settings(), [part.training for part in program.modules()]
    weights = {name: value.clone() for name, value in program.state_dict().items()}
    numpys = np.random.get_state()[1].copy()
    captured = CapturedEngine(objective_of(program), "adam", example=rows())
    if compiles:
        captured.compile(rows())
    assert [part.training for part in program.modules()] == modes
    assert global_settings() == before
    assert all(torch.equal(value, weights[name]) for name, value in program.state_dict().items())
    assert all(each.grad is None for each in program.parameters())
    assert np.array_equal(np.random.get_state()[1], numpys)


def trained(engine: Callable[..., Engine], program: SingleLayer, x: Tensor) -> tuple[Any, Trainer]:
    """The metrics of three epochs without their times, and what trained."""
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 8, "lr": 1e-2, "lr_schedule": "cosine"}
    objective = objective_of(program, "elbo", warm_up=2.0)
    trainer = Trainer(
        engine(objective, "adam"), Split(x), Split(x[:5]), 0, patience=None, history=[], **settings
    )
    timed = ("seconds", "examples_per_second")
    return [
        {name: metrics[name] for name in metrics if name not in timed} for metrics in trainer.run()
    ], trainer


def test_scales_that_are_set_between_epochs_reach_the_graph(make: Build) -> None:
    parts: dict[str, Any] = {"likelihood": {"name": "gaussian", "scale": "optimal"}, "network": NORMALISED}
    x = torch.randn(21, 6)
    metrics, trainer = trained(partial(CapturedEngine, example=x[:8]), make(**parts), x)
    expected, eager = trained(Engine, make(**parts), x)
    for found, wanted in zip(metrics, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-7)
    state = trainer.engine.objective.program.state_dict()
    for name, value in eager.engine.objective.program.state_dict().items():
        assert torch.equal(state[name], value), name


# ---------------------------------------------------------------------------------------------------------
# Which engine runs.


class Fussy(SingleLayer):
    """Its model is another one for other values."""

    def model(self, x: Tensor) -> None:
        super().model(x if x.mean() > 0 else -x)


class Outside(SingleLayer):
    """Half of its model is made outside torch."""

    def model(self, x: Tensor) -> None:
        super().model(torch.from_numpy(np.tanh(x.numpy())))


class Undecided(SingleLayer):
    """Its noise is not torch's."""

    def model(self, x: Tensor) -> None:
        super().model(x * np.random.uniform(1, 2))


def of_kind(kind: type[SingleLayer], program: SingleLayer) -> Objective:
    return objective_of(kind(program.prior, program.likelihood, program.posterior, program.network))


def begun(make: Build, wanted: Any, *, steps: int = 10**9, kind: type[SingleLayer] = SingleLayer) -> Any:
    return start(wanted, of_kind(kind, make()), "adam", None, example=rows(), steps=steps)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nand more of it")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)


@pytest.fixture
def as_if_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)


def test_every_mode_has_words_and_can_be_wanted_again() -> None:
    assert set(MODES) == set(get_args(Mode))
    assert set(get_args(EngineName)) == {"auto", "captured", "eager", "svi"}


@pytest.mark.usefixtures("as_if_compiled")
@pytest.mark.parametrize(
    ("wanted", "steps", "mode"),
    [
        ("auto", FEWEST_STEPS - 1, "eager"),
        ("auto", FEWEST_STEPS, "graph"),
        ("auto", 10**9, "compiled"),
        ("captured", 1, "compiled"),
        ("compiled", 1, "compiled"),
        ("graph", 1, "graph"),
        ("graph", 10**9, "graph"),
        ("eager", 10**9, "eager"),
        ("svi", 10**9, "svi"),
    ],
)
def test_the_choice_is_a_function_of_what_is_wanted_and_the_steps(
    make: Build, wanted: Any, steps: int, mode: Mode
) -> None:
    chosen = begun(make, wanted, steps=steps)
    assert chosen.mode == mode
    assert chosen.note == f"steps run {MODES[mode]}"
    assert isinstance(chosen.engine, CapturedEngine) == (mode in ("graph", "compiled"))
    assert isinstance(chosen.engine, SVIEngine) == (mode == "svi")


def chain(operations: int, cells: int, products: int = 0) -> Any:
    """The graph of a chain of operations."""

    def function(x: Tensor, square: Tensor) -> tuple[Tensor, ...]:
        for _ in range(operations):
            x = x.tanh()
        for _ in range(products):
            square = square @ square
        return x, square

    return capture(function, torch.zeros(cells), torch.zeros(2, 2), may_draw=False)


def fewest_calls(graph: Any) -> int:
    """Calls from which on compiling pays, to a tenth."""
    calls = 1
    while not compilation_pays(graph, calls):
        calls = 1 + calls * 11 // 10
    assert all(compilation_pays(graph, calls * more) for more in (1, 2, 1000))
    return calls


def test_compiling_pays_the_sooner_the_more_there_is_to_save() -> None:
    assert fewest_calls(chain(20, 10**6)) < fewest_calls(chain(20, 10**4))
    assert fewest_calls(chain(40, 10)) < fewest_calls(chain(20, 10))
    assert fewest_calls(chain(20, 10**4)) > 100
    assert fewest_calls(chain(20, 10, products=40)) > fewest_calls(chain(20, 10))


def test_compiling_convolutions_never_pays() -> None:
    def function(x: Tensor, kernel: Tensor) -> tuple[Tensor, ...]:
        return (torch.nn.functional.conv1d(x, kernel).tanh(),)

    graph = capture(function, torch.zeros(1, 1, 10**6), torch.zeros(1, 1, 3), may_draw=False)
    assert not compilation_pays(graph, 10**9)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("wanted", ["auto", "captured", "compiled"])
def test_without_a_compiler_the_graph_runs(make: Build, wanted: Any) -> None:
    chosen = begun(make, wanted)
    assert chosen.mode == "graph"
    assert chosen.note == ("steps run as one graph, which cannot be compiled: No working C++ compiler found")
    taken(chosen.engine, rows())


def test_where_the_compiler_is_not_what_it_should_be_the_graph_runs(
    make: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch._inductor.config  # takes a second

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (str(tmp_path / "nowhere"),))
    captured = CapturedEngine(objective_of(make()), "adam", example=rows())
    with pytest.raises(Uncompilable) as refused:
        captured.compile(rows())
    assert "\n" not in str(refused.value)


READ = r"a number is read from a tensor's value, as by an if or item\(\) \(test_engines.py, line \d+\)"
PASSED = r"its numbers pass through something else than torch, as by numpy\(\) or tolist\(\)"


@pytest.mark.parametrize(
    ("wanted", "kind", "reason"),
    [("auto", Fussy, READ), ("captured", Outside, PASSED), ("graph", Undecided, PASSED)],
)
def test_a_program_that_cannot_be_captured_runs_eagerly_and_says_why(
    make: Build, kind: type[SingleLayer], reason: str, wanted: Any
) -> None:
    chosen = begun(make, wanted, kind=kind)
    assert (chosen.mode, type(chosen.engine)) == ("eager", Engine)
    with pytest.raises(AssertionError, match=f"since the program cannot be captured: {reason}$"):
        raise AssertionError(chosen.note)
    assert "\n" not in chosen.note
    np.random.seed(0)
    taken(chosen.engine, rows())


# ---------------------------------------------------------------------------------------------------------
# Runs.

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": NORMALISED,
    "data": {"source": "digits", "limit": 100},
    "objective": {"name": "elbo", "warm_up": 2.0},
    "train": {"epochs": 3, "batch_size": 16, "watch": 0, "lr_schedule": "cosine", "optimizer": "adam"},
}


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of a few steps are captured, as if they were long."""
    with monkeypatch.context() as patch:
        patch.setattr("pyrovae.engine.FEWEST_STEPS", 1)
        yield


def learned(run: Run) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """What is left of a run, but for times."""
    timed = ("seconds", "examples_per_second")
    history = [{name: value for name, value in line.items() if name not in timed} for line in run.history]
    return history, dict(run.snapshots["last"].weights)


def interrupted(path: Path, *layers: dict[str, Any]) -> None:
    """A run in a folder, stopped in its second epoch."""
    run = Run.start(resolve(SMALL, *layers), path=path)
    epochs = run.train()
    next(epochs)
    epochs.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_no_pictures", "few_are_many")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("auto", "graph"),
        ("eager", "eager"),
        ("svi", "svi"),
        pytest.param("captured", "compiled", marks=[pytest.mark.slow, needs_compiler]),
    ],
)
def test_an_interrupted_run_equals_an_uninterrupted_one(
    tmp_path: Path, name: str, mode: str, optimizer: str
) -> None:
    layer = {"train": {"engine": name, "optimizer": optimizer, "clip": 20.0}}
    whole = Run.start(resolve(SMALL, layer))
    list(whole.train())
    interrupted(tmp_path / "run", layer)
    resumed = Run.resume(tmp_path / "run")
    list(resumed.train())
    assert resumed.facts["engine"] == whole.facts["engine"] == mode
    (history, weights), (expected, others) = learned(resumed), learned(whole)
    assert history == expected
    assert len(history) == 3
    for key, value in weights.items():
        assert torch.equal(value, others[key]), key


@pytest.mark.usefixtures("_no_pictures")
def test_a_resumed_run_keeps_its_engine_although_it_is_longer(tmp_path: Path) -> None:
    interrupted(tmp_path / "run")
    notes: list[str] = []
    run = Run.resume(tmp_path / "run", epochs=FEWEST_STEPS)
    next(run.train(on_note=notes.append))
    assert run.facts["engine"] == "eager"
    assert notes[0] == "steps run operation by operation"
    assert Run.load(tmp_path / "run").facts["engine"] == "eager"


@pytest.mark.usefixtures("_no_pictures")
def test_a_resumed_run_keeps_its_engine_although_it_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pyrovae.engine.FEWEST_STEPS", 1)
        interrupted(tmp_path / "run")
    run = Run.resume(tmp_path / "run", epochs=2)
    notes: list[str] = []
    list(run.train(on_note=notes.append))
    assert notes[0] == "steps run as one graph"


@pytest.mark.usefixtures("_no_pictures")
def test_another_engine_is_another_configuration(tmp_path: Path) -> None:
    assert resolve(SMALL).train.engine == "auto"
    for name in get_args(EngineName):
        assert resolve(SMALL, {"train": {"engine": name}}).train.engine == name
    for name in ("graph", "compiled", "fast", ""):
        with pytest.raises(ConfigError, match=r"train\.engine"):
            resolve(SMALL, {"train": {"engine": name}})


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize("name", ["eager", "svi"])
def test_the_command_says_which_engine_runs(tmp_path: Path, name: Mode) -> None:
    end = succeed(
        "train", *FLAGS, "--epochs", "1", "--set", f"train.engine={name}", "--run", tmp_path / "run"
    )
    assert end.err.count("steps run") == 1
    assert f"steps run {MODES[name]}\n" in end.err


@pytest.mark.slow
def test_a_machine_without_a_compiler_trains(tmp_path: Path) -> None:
    """In a process of its own, whose compiler is nowhere, and which finds nothing compiled before."""
    command = [sys.executable, "-m", "pyrovae", "train", *FLAGS, "--epochs", "1", "--run", "run"]
    nowhere = {"CXX": str(tmp_path / "nowhere"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    end = subprocess.run(
        [*command, "--set", "train.engine=captured"],
        cwd=tmp_path,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"^steps run as one graph, which cannot be compiled: .+$", end.stderr, re.MULTILINE)
    assert "Traceback" not in end.stderr
    assert Run.load(tmp_path / "run").facts["engine"] == "graph"
