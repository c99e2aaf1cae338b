"""A verb gives the same numbers whatever surrounds it, and leaves everything there as it was."""

from __future__ import annotations

import inspect
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import sklearn
import torch
from conftest import global_settings
from pyro import poutine
from pyro.poutine.runtime import _DIM_ALLOCATOR, _ENUM_ALLOCATOR, _PYRO_STACK
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pyrovae import VAE, codes, component, embed, engine, generate, hmc, predict, score, walks
from pyrovae import evaluate as evaluate_
from pyrovae.compare import picture
from pyrovae.config import resolve
from pyrovae.corruption import Corruption, corrupt
from pyrovae.data import Split, from_arrays
from pyrovae.density import Density
from pyrovae.diagnostics import Subject, diagnose
from pyrovae.errors import ConfigError
from pyrovae.isolation import isolated
from pyrovae.objectives.elbo import Elbo
from pyrovae.priors.mixture import Mixture
from pyrovae.programs import Program, check, rehearse
from pyrovae.randomness import DatumNoise, Streams
from pyrovae.run import Run

Alone: TypeAlias = Callable[[str], Any]
N, CELLS = 12, 6
X = torch.linspace(-2, 2, N * CELLS).reshape(N, CELLS).sin()
CODES = torch.ones(N, 2)
SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [8]},
    "likelihood": "gaussian",
    "data": {"validation": 0.0},  # of a row or two nothing can be told
    "verbose": False,
    "lr": 0.01,
}


def small(**options: Any) -> VAE:
    return VAE(**{**SMALL, "epochs": 2, "batch_size": 5, "lr": 0.01, **options})


@pytest.fixture(autouse=True)
def _graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of two steps run as a graph, as long ones do."""
    monkeypatch.setattr(engine, "FEWEST_STEPS", 0)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return small().fit(X)


class TwoLayers(Program):
    """A program of the user's own, whose code has no closed form and whose buffers are made when it is."""

    def __init__(self, event_shape: torch.Size, latent_dim: int) -> None:
        super().__init__(event_shape)
        self.encoder = nn.Linear(event_shape.numel(), 2 * latent_dim)
        self.decoder = nn.Linear(latent_dim, event_shape.numel())
        self.latent_dim = latent_dim

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            one = torch.ones(self.latent_dim)
            w = pyro.sample("w", dist.Normal(0 * one, one).expand([len(x), self.latent_dim]).to_event(1))
            z = pyro.sample("z", dist.Normal(w, one).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), torch.ones(())).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean, inner = self.encoder(x).chunk(2, -1)
            w = pyro.sample("w", dist.Normal(mean, 0.5).to_event(1))
            pyro.sample("z", dist.Normal(inner + w, 0.5).to_event(1))


OWN = TwoLayers(torch.Size([CELLS]), 2)


@pytest.fixture(scope="module")
def alone(vae: VAE) -> Callable[[str], Any]:
    """What a verb gives where nothing surrounds it."""
    return cache(lambda verb: plain(VERBS[verb](vae)))


# What is called, of a trained VAE: whatever it gives is compared bit for bit.
VERBS: Mapping[str, Callable[[VAE], Any]] = {
    "VAE.fit": lambda vae: _trained(small()),
    "VAE.fit, objects": lambda vae: _trained(small(prior=vae.program_.prior)),  # type: ignore[attr-defined]
    "VAE.fit, bits": lambda vae: _trained(small(likelihood="bernoulli"), (X > 0).float()),
    "VAE.fit, eager": lambda vae: _trained(small(train={"engine": "eager"})),
    "VAE.fit, svi": lambda vae: _trained(small(train={"engine": "svi"})),
    "VAE.fit, enumerated": lambda vae: _trained(
        small(prior="bernoulli", posterior="bernoulli", objective="enum-elbo")
    ),
    "VAE.fit, vamp": lambda vae: _trained(small(prior={"name": "vamp", "components": 3}, objective="iwae")),
    "VAE.transform": lambda vae: vae.transform(X),
    "VAE.reconstruct": lambda vae: vae.reconstruct(X),
    "VAE.sample": lambda vae: vae.sample(5),
    "VAE.score_samples": lambda vae: vae.score_samples(X, particles=30),
    "VAE.score": lambda vae: vae.score(X),
    "VAE.evaluate": lambda vae: vae.evaluate(X, particles=30),
    "VAE.diagnose": lambda vae: vae.diagnose(X, "active-units"),
    "VAE.encode": lambda vae: vae.encode(X, draws=3),
    "VAE.decode": lambda vae: vae.decode(CODES),
    "VAE.inverse_transform": lambda vae: vae.inverse_transform(CODES),
    "VAE.posterior_predictive": lambda vae: vae.posterior_predictive(X, 3),
    "VAE.denoise": lambda vae: vae.denoise(X, "gaussian:0.5", draws=3),
    "VAE.interpolate": lambda vae: vae.interpolate(X[0], X[1], 3),
    "VAE.traverse": lambda vae: vae.traverse(X, steps=3),
    "VAE.plane": lambda vae: vae.plane(X, steps=3),
    "VAE.map": lambda vae: vae.map(X),
    "VAE.resume": lambda vae: _resumed(),
    "generate.sample": lambda vae: generate.sample(vae.program_, 5),
    "generate.reconstruct": lambda vae: generate.reconstruct(vae.program_, X.split(5)),
    "generate.encode": lambda vae: generate.encode(vae.program_, X.split(5)),
    "generate.order": lambda vae: generate.order(vae.program_),
    "codes.names": lambda vae: codes.names(vae.program_),
    "codes.layout": lambda vae: codes.layout(vae.program_),
    "codes.drawn": lambda vae: codes.drawn(vae.program_, 5),
    "codes.decode": lambda vae: codes.decode(vae.program_, CODES[:3]),
    "evaluate.given": lambda vae: evaluate_.given(vae.program_),
    "evaluate.caveats": lambda vae: evaluate_.caveats(OWN),
    "evaluate.evaluate": lambda vae: evaluate_.evaluate(vae.program_, X.split(5), particles=30),
    "score.score": lambda vae: score.score(vae.program_, X.split(5), particles=30),
    "score.contributions": lambda vae: score.contributions(vae.program_, X.split(5), draws=10),
    "predict.predict": lambda vae: predict.predict(vae.program_, X.split(5), draws=10),
    "predict.denoise": lambda vae: predict.denoise(
        vae.program_, X.split(5), Corruption("gaussian", 0.5), extremes=(-1.0, 1.0), draws=10
    ),
    "corruption.corrupt": lambda vae: corrupt(
        X, Corruption("gaussian", 0.5), range(N), seed=0, extremes=(-1.0, 1.0), support=vae.program_.support
    ),
    "embed.embed": lambda vae: embed.embed(vae.program_, Split(X), scales=True, draws=3),
    "embed.mapped": lambda vae: embed.mapped(vae.program_, Split(X)),
    "embed.mapped, t-SNE": lambda vae: embed.mapped(vae.program_, Split(X), "tsne"),
    "walks.interpolate": lambda vae: walks.interpolate(vae.program_, X[0], X[1], 5),
    "walks.traverse": lambda vae: walks.traverse(vae.program_, Split(X), at=X[0], steps=3),
    "walks.plane": lambda vae: walks.plane(vae.program_, Split(X), steps=3),
    "walks.located": lambda vae: walks.located(vae.program_, X),
    "compare.picture": lambda vae: picture(vae.run, Split(X)),
    "programs.check": lambda vae: check(vae.program_, X),
    "programs.rehearse": lambda vae: rehearse(vae.program_, Elbo(vae.program_), X),
    "Program.support": lambda vae: str(OWN.support),
    "Program.codes": lambda vae: OWN.codes,
    "Density": lambda vae: _densities(vae.program_),
    "hmc.sample": lambda vae: _chains(vae.program_),
    "own program": lambda vae: _trained(
        VAE(program=OWN, latent_dim=2, epochs=2, batch_size=5, verbose=False, data={"validation": 0.0})
    ),
    "own program, encoded": lambda vae: generate.encode(OWN, X.split(5)),
}
DIAGNOSTICS: Mapping[str, Mapping[str, Any]] = {
    "ais": {"points": 2, "chains": 2, "steps": 2},
    "refinement": {"points": 2, "chains": 2, "steps": 4, "warmup": 4},
    "gaps": {"points": 2, "steps": 3, "particles": 30},
}


def _trained(vae: VAE, data: Tensor = X) -> Any:
    vae.fit(data)
    timeless = [{key: value for key, value in epoch.items() if "second" not in key} for epoch in vae.history]
    return timeless, dict(vae.program_.state_dict())


def _resumed() -> Any:
    with TemporaryDirectory() as folder:
        vae = small(epochs=1).fit(X)
        vae.save(f"{folder}/run")
        vae.resume(X, epochs=2)
        return dict(vae.program_.state_dict())


def _densities(program: Program) -> Any:
    density = Density(program, X)
    u = density.from_guide(DatumNoise((0,), range(N)), 3)
    v = density.from_prior(DatumNoise((1,), range(N)), 3)
    return u, v, density.log_joint(u), density.log_guide(v), density.codes(u)


def _chains(program: Program) -> Any:
    density = Density(program, X)
    u = density.from_guide(DatumNoise((0,), range(N)), 3)
    return hmc.sample(
        density.log_joint, u, Streams((0,), range(N)), warmup=2, draws=2, leapfrog=2, scale=CODES
    )


@contextmanager
def _handlers() -> Iterator[None]:
    """All of Pyro's handlers that change what a program does, and a plate of the same name as ours."""

    def model() -> None:
        pass

    with ExitStack() as stack:
        for handler in (
            poutine.mask(mask=False),
            poutine.scale(scale=3.0),
            poutine.condition(data={"x": X + 1, "z": torch.ones(N, 2)}),
            poutine.do(data={"z": torch.ones(N, 2)}),
            poutine.uncondition(),
            poutine.block(hide=["z"]),
            poutine.lift(prior=dist.Normal(0.0, 1.0)),
            poutine.infer_config(config_fn=lambda site: {"enumerate": "parallel"}),
            pyro.plate("data", 3),
        ):
            stack.enter_context(handler)
        yield


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _validating() -> Iterator[None]:
    with pyro.validation_enabled(True), np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextmanager
def _seeking_anomalies() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it is slow
        with torch.autograd.detect_anomaly():
            warnings.simplefilter("error")
            yield


@contextmanager
def _products() -> Iterator[None]:
    """Products rounded to bfloat16, by torch's new settings: the old ones cannot be read then."""
    onednn: Any = torch.backends.mkldnn
    before = onednn.matmul.fp32_precision, onednn.conv.fp32_precision
    onednn.matmul.fp32_precision = onednn.conv.fp32_precision = "bf16"
    try:
        yield
        assert (onednn.matmul.fp32_precision, onednn.conv.fp32_precision) == ("bf16", "bf16")
    finally:
        onednn.matmul.fp32_precision, onednn.conv.fp32_precision = before


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _without_denormals() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Counting(torch.overrides.TorchFunctionMode):
    """A mode of the user's that looks on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


SURROUNDINGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "trace": poutine.trace,
    "plate": lambda: pyro.plate("data", 3),
    "mask": lambda: poutine.mask(mask=False),
    "scale": lambda: poutine.scale(scale=3.0),
    "handlers": _handlers,
    "double": lambda: _default_dtype(torch.float64),
    "half": lambda: _default_dtype(torch.float16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference": torch.inference_mode,
    "device": lambda: torch.device("meta"),
    "products": _products,
    "deterministic": _deterministic,
    "denormals": _without_denormals,
    "anomaly": _seeking_anomalies,
    "validation": _validating,
    "function mode": Counting,
    "dispatch mode": lambda: FlopCounterMode(display=False),
}


@contextmanager
def _all_at_once() -> Iterator[None]:
    with ExitStack() as stack:
        for name in ("handlers", "trace", "double", "autocast", "inference", "device", "validation"):
            stack.enter_context(SURROUNDINGS[name]())
        yield


def state() -> Any:
    """What belongs to the whole process, or to the thread."""
    return {
        **global_settings(),
        "handlers": [*_PYRO_STACK],
        "plates": [*_DIM_ALLOCATOR._stack],
        "enumeration": {**vars(_ENUM_ALLOCATOR)},
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "device": torch.get_default_device(),
        "anomaly": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch's noise": torch.get_rng_state().tolist(),
        "NumPy's noise": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "Python's noise": random.getstate(),
        "NumPy's errors": np.geterr(),
    }


def plain(value: Any) -> Any:
    """A result as nested lists of numbers that can be compared, bit for bit."""
    if isinstance(value, Tensor):
        return str(value.dtype), plain(value.detach().cpu().double().numpy())
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return repr(value)


def inside(surroundings: Callable[[], AbstractContextManager[Any]], verb: Callable[[], Any]) -> Any:
    """What a verb gives inside; refuses one that changes what is around it."""
    with surroundings() as around:
        before = state()
        result = verb()
        after = state()
        if isinstance(around, poutine.trace_messenger.TraceMessenger):
            assert not around.trace.stochastic_nodes
    assert after == before
    return plain(result)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gives_the_same_whatever_surrounds_it(vae: VAE, alone: Alone, verb: str) -> None:
    assert inside(_all_at_once, lambda: VERBS[verb](vae)) == alone(verb)


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_diagnostic_gives_the_same_whatever_surrounds_it(vae: VAE, name: str) -> None:
    member: Any = component.find("diagnostic", name)

    def verb() -> Any:
        return diagnose(member(**DIAGNOSTICS[name]), Subject(vae.program_, Split(X)))

    alone = plain(verb())
    assert inside(_all_at_once, verb) == alone


@pytest.mark.parametrize("verb", ["VAE.fit", "VAE.fit, bits", "VAE.fit, enumerated", "VAE.sample", "Density"])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_each_thing_around_a_verb_changes_nothing(vae: VAE, alone: Alone, name: str, verb: str) -> None:
    assert inside(SURROUNDINGS[name], lambda: VERBS[verb](vae)) == alone(verb)


def test_every_function_of_a_program_is_tried_here() -> None:
    modules = (codes, embed, evaluate_, generate, predict, score, walks)
    verbs = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__
        if not inspect.isgeneratorfunction(function)
        if not name.startswith("_") and "program" in inspect.signature(function).parameters
    }
    assert verbs
    assert verbs <= {*VERBS}


def test_every_verb_of_a_vae_is_tried_here() -> None:
    written = ("save", "load")  # or read: no numbers are computed
    of_sklearn = {*dir(TransformerMixin), *dir(BaseEstimator)} - {"fit", "transform"}
    verbs = {
        f"VAE.{name}"
        for name, method in inspect.getmembers(VAE, inspect.isfunction)
        if not (name.startswith(("_", "plot_")) or name.endswith("_request"))  # metadata of scikit-learn's
        if name not in {*of_sklearn, *written}
    }
    assert "VAE.sample" in verbs
    assert verbs <= {*VERBS}


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """What calls give, each in a thread of its own, all at a time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        ready = threading.Barrier(len(calls))

        def together(call: Callable[[], Any]) -> Any:
            ready.wait()
            return plain(call())

        return list(pool.map(together, calls))


MIXED = (
    "VAE.fit",
    "VAE.transform",
    "VAE.sample",
    "VAE.score_samples",
    "VAE.diagnose",
    "Density",
    "VAE.fit, svi",
)


@pytest.mark.parametrize("verbs", [4 * ("VAE.sample",), 3 * ("VAE.fit",), MIXED])
def test_threads_do_not_notice_each_other(vae: VAE, alone: Alone, verbs: tuple[str, ...]) -> None:
    before = state()
    for _ in range(3):
        assert in_threads(*(partial(VERBS[verb], vae) for verb in verbs)) == [*map(alone, verbs)]
    assert state() == before


def _run(seed: int) -> Run:
    config = {key: SMALL[key] for key in ("latent_dim", "network", "likelihood")}
    train = {"epochs": 3, "batch_size": 5, "lr": 0.003}
    data = {"validation": 0.25, "test": 0.0}
    dataset = from_arrays(X, validation=0.25, test=0.0)
    return Run.start(resolve({**config, "seed": seed, "train": train, "data": data}), dataset=dataset)


def _learned(run: Run) -> Any:
    epochs = [{key: value for key, value in each.items() if "second" not in key} for each in run.history]
    return plain((epochs, dict(run.program.state_dict())))


def test_trainings_side_by_side_learn_what_each_learns_alone() -> None:
    alone = [_run(seed) for seed in (0, 1)]
    for run in alone:
        list(run.train())
    together = [_run(seed) for seed in (0, 1)]
    for _ in zip(*(run.train() for run in together), strict=True):
        pass
    assert [_learned(run) for run in together] == [_learned(run) for run in alone]


@pytest.mark.parametrize("name", ["trace", "double", "inference", "device", "no_grad"])
def test_between_two_epochs_the_caller_is_where_it_was(name: str) -> None:
    with SURROUNDINGS[name]():
        before, run = state(), _run(0)
        for _ in run.train():
            assert state() == before
    alone = _run(0)
    list(alone.train())
    assert _learned(run) == _learned(alone)


def test_what_the_caller_does_between_two_epochs_changes_nothing() -> None:
    alone, disturbed = _run(0), _run(0)
    list(alone.train())
    for _ in disturbed.train():
        torch.manual_seed(3)
        generate.sample(disturbed.program, 3)
        disturbed.program.eval()
        torch.rand(7)
    assert _learned(disturbed) == _learned(alone)


def test_a_training_that_is_left_midway_leaves_nothing() -> None:
    before, run = state(), _run(0)
    epochs = run.train()
    next(epochs)
    epochs.close()
    assert state() == before
    assert in_threads(lambda: generate.sample(run.program, 3).x)  # the lock is free


def test_an_object_made_under_another_default_is_refused_by_name_of_the_setting() -> None:
    with _default_dtype(torch.float64):
        made = Mixture(2)
    with pytest.raises(ConfigError, match=r"prior: the object .* torch.set_default_dtype\(torch.float64\)"):
        small(prior=made).fit(X)
    small(prior=made.float()).fit(X)


def test_batches_are_made_where_the_caller_is(vae: VAE) -> None:
    seen = []

    def batches() -> Iterator[Tensor]:
        for part in X.split(5):
            seen.append((torch.get_default_dtype(), torch.is_grad_enabled(), len(_PYRO_STACK)))
            in_threads(lambda: vae.sample(1))  # by someone who waits for a verb in another thread
            yield part.double()

    alone = plain(generate.encode(vae.program_, [part.clone() for part in X.split(5)]))
    with poutine.trace(), _default_dtype(torch.float64):
        assert plain(generate.encode(vae.program_, batches())) == alone
    assert seen == 3 * [(torch.float64, True, 1)]


def test_a_verb_that_fails_leaves_nothing(vae: VAE) -> None:
    before = state()
    with pytest.raises(RuntimeError):
        generate.encode(vae.program_, [torch.ones(2, CELLS + 1)])
    assert state() == before
    assert in_threads(lambda: vae.sample(1))


def test_programs_stay_open_to_handlers(vae: VAE) -> None:
    program = vae.program_
    with poutine.trace() as outer, poutine.condition(data={"z": torch.ones(N, 2)}):
        program.model(X)
    assert outer.trace.nodes["z"]["is_observed"]
    assert torch.equal(outer.trace.nodes["z"]["value"], torch.ones(N, 2))


def test_isolation_within_isolation_is_isolation() -> None:
    with pyro.plate("data", 3), isolated(), pyro.plate("data", 2):
        assert pyro.sample("z", dist.Normal(0.0, 1.0)).shape == (2,)
        with isolated():
            assert pyro.sample("z", dist.Normal(0.0, 1.0)).shape == ()
        assert pyro.sample("z", dist.Normal(0.0, 1.0)).shape == (2,)


def test_scikit_learns_containers_do_not_come_inside(vae: VAE, alone: Alone) -> None:
    pytest.importorskip("pandas")
    verb = "embed.mapped, t-SNE"
    assert inside(
        lambda: sklearn.config_context(transform_output="pandas"), lambda: VERBS[verb](vae)
    ) == alone(verb)


IMPORTED_LATE = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
import numpy as np
from pyrovae import VAE
X = np.linspace(0, 1, 72, dtype=np.float32).reshape(12, 6)
options = {"network": {"name": "mlp", "hidden": [8]}, "data": {"validation": 0.0}, "lr": 0.01}
vae = VAE(latent_dim=2, epochs=2, verbose=False, **options).fit(X)
print(vae.score(X), vae.sample(2).tolist())
"""


@pytest.mark.slow
def test_settings_made_before_the_import_change_nothing() -> None:
    plainly = "\n".join(line for line in IMPORTED_LATE.splitlines() if "set_default" not in line)
    printed = [
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (IMPORTED_LATE, plainly)
    ]
    assert printed[0] == printed[1]
