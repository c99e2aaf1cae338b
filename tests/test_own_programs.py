"""Programs of the user's own: a model and a guide in a file do all that the ones made of components do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from members import objective_of
from torch import Size
from torch.distributions import constraints

from pyrovae import VAE, codes, component, generate, supports, walks
from pyrovae.assembly import build
from pyrovae.cli import main
from pyrovae.config import dump, resolve
from pyrovae.data import Split
from pyrovae.diagnostics import Subject, Unavailable
from pyrovae.diagnostics.ais import AIS
from pyrovae.diagnostics.calibration import Calibration
from pyrovae.diagnostics.gaps import Gaps
from pyrovae.engine import start
from pyrovae.errors import ConfigError, RunError
from pyrovae.evaluate import evaluate, inspected
from pyrovae.priors import Prior
from pyrovae.programs import Codes, Program, check
from pyrovae.run import Run

PROGRAMS = '''
import pyro
import pyro.distributions as dist
import torch
from torch import nn
from pyrovae.programs import Program
from pyrovae.programs.single_layer import SingleLayer

print("this code has run")

def normal(features):
    loc, scale = features.chunk(2, -1)
    return dist.Normal(loc, nn.functional.softplus(scale) + 0.01).to_event(1)

class TwoLayers(Program):
    def __init__(self, event_shape, latent_dim, *, units: int = 8):
        super().__init__(event_shape)
        cells = event_shape.numel()
        self.up, self.top = nn.Linear(cells, 2 * latent_dim), nn.Linear(latent_dim, 4)
        self.down = nn.Linear(2, 2 * latent_dim)
        self.logits = nn.Sequential(nn.Linear(latent_dim, units), nn.ReLU(), nn.Linear(units, cells))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", normal(self.down(z2)))
            self.observe(self.logits(z1).unflatten(-1, self.event_shape), x)

    def observe(self, logits, x):
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(len(self.event_shape)), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", normal(self.up(x.flatten(1))))
            pyro.sample("z2", normal(self.top(z1)))

class OneLayer(Program):
    """As the one of components: a standard normal prior, and a linear network."""

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.up, self.down = nn.Linear(event_shape.numel(), 4), nn.Linear(2, event_shape.numel())

    def prior(self, x):
        return dist.Normal(x.new_zeros(2), 1.0).to_event(1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            self.observe(self.down(z).unflatten(-1, self.event_shape), x)

    def observe(self, logits, x):
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(len(self.event_shape)), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(self.up(x.flatten(1))))

    def posterior(self, features):
        return normal(features)

class Grey(OneLayer):
    def observe(self, logits, x):
        pyro.sample("x", dist.Normal(logits, 1.0).to_event(len(self.event_shape)), obs=x)

class Point(OneLayer):
    def posterior(self, features):
        return dist.Delta(features[..., :2]).to_event(1)

class Planar(OneLayer):
    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.flow = dist.transforms.planar(2)

    def posterior(self, features):
        return dist.TransformedDistribution(normal(features), [self.flow])

class Bits(OneLayer):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = [pyro.sample(f"z_{j}", dist.Bernoulli(x.new_tensor(0.5))) for j in range(2)]
            z = torch.stack(torch.broadcast_tensors(*z), -1)
            self.observe(self.down(z).unflatten(-1, self.event_shape), x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            for j, logits in enumerate(self.up(x.flatten(1))[..., :2].unbind(-1)):
                pyro.sample(f"z_{j}", dist.Bernoulli(logits=logits))

class Kinds(OneLayer):
    """A category as an integer, beside two numbers."""

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.up, self.shift = nn.Linear(event_shape.numel(), 7), nn.Embedding(3, 2)

    def model(self, x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=x.new_zeros(3)))
            z = pyro.sample("z", self.prior(x))
            self.observe(self.down(z + self.shift(k)).unflatten(-1, self.event_shape), x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            logits, features = self.up(x.flatten(1)).split([3, 4], -1)
            pyro.sample("k", dist.Categorical(logits=logits))
            pyro.sample("z", normal(features))

class Twisted(SingleLayer):
    """Made of components, and no more than that said differently."""

class Sideways(SingleLayer):
    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_ones(2), 1.0).to_event(1))

class NoPlate(OneLayer):
    def model(self, x):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
        self.observe(self.down(z).unflatten(-1, self.event_shape), x)

class OtherPlate(OneLayer):
    def guide(self, x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", normal(self.up(x.flatten(1))))

class Subsampled(OneLayer):
    def model(self, x):
        with pyro.plate("data", 100, subsample_size=len(x)):
            z = pyro.sample("z", self.prior(x))
            self.observe(self.down(z).unflatten(-1, self.event_shape), x)

class Blind(OneLayer):
    def observe(self, logits, x): ...

class TwoSights(OneLayer):
    def observe(self, logits, x):
        super().observe(logits, x)
        pyro.sample("total", dist.Normal(0.0, 1.0), obs=x.flatten(1).sum(1))

class Flat(OneLayer):
    def observe(self, logits, x):
        pyro.sample("x", dist.Bernoulli(logits=logits.flatten(-3)).to_event(1), obs=x.flatten(1))

class Forgetful(OneLayer):
    def guide(self, x): ...

class Chatty(OneLayer):
    def posterior(self, features):
        pyro.sample("w", dist.Normal(0.0, 1.0))
        return super().posterior(features)

class Codeless(OneLayer):
    def model(self, x):
        with pyro.plate("data", len(x)):
            self.observe(self.down.bias.unflatten(-1, self.event_shape).expand(len(x), -1, -1, -1), x)

    def guide(self, x): ...

class Loose(OneLayer):
    """Its codes have as many coordinates as data are tried at first."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(5), 1.0))
            self.observe(self.down(x.new_zeros(len(x), 2)).unflatten(-1, self.event_shape), x)

    def posterior(self, features):
        return dist.Normal(features.new_zeros(5), 1.0)

class Tired(OneLayer):
    def observe(self, logits, x):
        raise RuntimeError("I am tired")

class Shy(OneLayer):
    def observe(self, logits, x):
        if len(x) > 10:
            raise ValueError("that is a crowd")
        super().observe(logits, x)

class Rigid(OneLayer):
    def observe(self, logits, x):
        super().observe(logits.reshape(len(x), *self.event_shape), x)

class Registering(OneLayer):
    def guide(self, x):
        pyro.module("up", self.up)
        super().guide(x)

class Peeking(OneLayer):
    def observe(self, logits, x):
        if x.isnan().any():
            raise ValueError("what am I to see?")
        super().observe(logits, x)

class Unshaped(OneLayer):
    def __init__(self, event_shape):
        super().__init__()

class Wanting(OneLayer):
    def __init__(self, event_shape, z_dim=50):
        super().__init__(event_shape)

class Half(Program):
    def model(self, x): ...

class Plain(nn.Module):
    def model(self, x): ...
    def guide(self, x): ...
'''
CROWDED = 'raise ValueError("that is a crowd")'
SAID = {
    "NoPlate": 'its model has z outside a plate "data"; write pyro.plate("data", len(x))',
    "OtherPlate": 'its guide has z outside a plate "data"; write pyro.plate("data", len(x))',
    "Subsampled": 'its model counts z 20 times; write pyro.plate("data", len(x))',
    "Blind": 'its model observes nothing; write pyro.sample("x", ..., obs=x)',
    "TwoSights": "its model observes x, total, and one site is taken",
    "Flat": "its model observes x of shape (64,), and a datum has (1, 8, 8)",
    "Forgetful": "its guide does not draw z, which its model draws",
    "Chatty": "its guide draws w, which its model does not",
    "Codeless": "its model draws nothing that could be a code",
    "Loose": "Shape mismatch inside plate('data') at site z dim -1, 2 vs 5 (mine.py, line ",
    "Tired": "raises RuntimeError: I am tired (mine.py, line ",
    "Rigid": "given several draws of z for each datum as dimensions on the left, raises RuntimeError: shape",
    "Registering": "it calls pyro.module or pyro.param (up$$$weight); parameters live on the program",
    "Peeking": "run without data as it is to sample, raises ValueError: what am I to see? (mine.py, line ",
    "Unshaped": "cannot be made: TypeError: ",
    "Wanting": "asks for z_dim; a program is given event_shape, latent_dim, and its options stand behind a *",
    "Half": "has no guide",
    "Plain": "(a program derives from pyrovae.programs.Program)",
    "Nothing": "mine.py holds no component 'Nothing'; those it holds: TwoLayers, OneLayer, ",
}
DIGITS = (1, 8, 8)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's file, in the folder where the user works."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(PROGRAMS)
    yield path
    forget(path)


def forget(path: Path) -> None:
    """As in a new process."""
    sys.modules.pop(str(path), None)
    for name in [name for name in component._IMPORTED if name.startswith(str(path))]:
        del component._IMPORTED[name]


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


def train(program: str, *arguments: str) -> int:
    small = ("--latent-dim", "3") if program == "TwoLayers" else ()
    settings = ("--epochs", "1", "--set", "data.limit=100", "--run", "run")
    return command("train", "--program", f"mine.py:{program}", *small, *settings, *arguments)


def made(name: str, shape: tuple[int, ...] = DIGITS, **choices: Any) -> Program:
    return build(resolve({"program": f"mine.py:{name}"}, choices), Size(shape))


def bits(n: int = 12) -> torch.Tensor:
    return torch.rand(n, *DIGITS, generator=torch.Generator().manual_seed(1)).round()


# From the command line, end to end


def test_a_program_does_all_that_others_do(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("TwoLayers", "--set", "program.units=5", "--watch", "1") == 0
    assert "grey values are binarised (dynamic)" in capsys.readouterr().err  # as the model's Bernoulli asks
    commands = [
        ["train", "--resume", "run", "--epochs", "2"],
        ["evaluate", "run", "--particles", "30", "--batch-size", "5", "--json"],
        ["sample", "run", "-n", "7"],
        ["reconstruct", "run", "-n", "5"],
        ["evaluate", "run", "--particles", "3", *(f"--with={name}" for name in ("coordinates", "gaps"))],
    ]
    printed = []
    for arguments in commands:
        assert command(*arguments, "--trust") == 0
        printed.append(capsys.readouterr().out)
    quantities = json.loads(printed[1])["quantities"]
    assert quantities["elbo"]["value"] < quantities["log_likelihood"]["value"]
    assert quantities["elbo"]["bits_per_dimension"] > 0  # it is a probability
    assert np.load("run/samples.npz")["z"].shape == (7, 3 + 2)
    assert np.load("run/samples.npz")["x"].shape == (7, *DIGITS)
    assert np.load("run/reconstructions.npz")["mean"].shape == (5, *DIGITS)
    assert "KL of z1[2]" in printed[4]
    assert "gaps: not available: the program has no posterior whose features could be optimised" in printed[4]
    run = Run.load(Path("run"))
    assert [metrics["epoch"] for metrics in run.history] == [1, 2]
    assert run.program.options == {"units": 5}


def test_a_resumed_training_equals_an_uninterrupted_one(file: Path) -> None:
    layers = {"program": "mine.py:TwoLayers", "data": {"limit": 60}, "train": {"epochs": 2}}
    whole, first = Run.start(resolve(layers)), Run.start(resolve(layers, {"train": {"epochs": 1}}))
    list(whole.train())
    list(first.train())
    first.save(Path("run"))
    second = Run.resume(Path("run"), epochs=2)
    list(second.train())
    kept = whole.program.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in second.program.state_dict().items())


def test_its_code_runs_only_where_it_is_trusted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("TwoLayers") == 0
    weights = Run.load(Path("run")).program.state_dict()
    for arguments in (["evaluate", "run"], ["sample", "run"], ["train", "--resume", "run"]):
        forget(file)
        capsys.readouterr()
        assert command(*arguments) == 1
        printed = capsys.readouterr()
        assert f"{file}:TwoLayers, and loading it runs that code: allow it with --trust" in printed.err
        assert "this code has run" not in printed.out
    loaded = VAE.load("run", trust=True)
    assert "this code has run" in capsys.readouterr().out
    assert all(torch.equal(weights[name], value) for name, value in loaded.program_.state_dict().items())
    assert loaded.sample(3).shape == (3, *DIGITS)


def test_a_file_that_has_changed_is_warned_of(file: Path) -> None:
    assert train("TwoLayers") == 0
    file.write_text(f"{PROGRAMS}\n# a remark\n")
    with pytest.raises(RunError, match="--trust"):
        Run.load(Path("run"))
    with pytest.warns(UserWarning, match="mine.py has changed since the run was trained with it"):
        Run.load(Path("run"), trust=True)


# The configuration


def test_what_it_does_not_ask_for_is_refused_and_stands_nowhere(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("OneLayer", "--prior", "vamp", "--set", "network.hidden=[3]", "--latent-dim", "4") == 2
    lines = capsys.readouterr().err.splitlines()
    reason = "whose constructor asks for event_shape"
    assert lines == [
        f"error: {entry}: is of no use to the program '{file}:OneLayer', {reason}"
        for entry in ("prior", "network", "latent_dim")
    ]
    assert not Path("run").exists()
    config = resolve({"program": "mine.py:OneLayer"})
    assert set(config.model_dump()) == {"seed", "program", "objective", "data", "train"}
    assert not {"latent_dim", "[prior]", "[network]"} & set(dump(config).split())
    assert resolve(config.model_dump()).model_dump() == config.model_dump()
    assert "latent_dim = 8 " in dump(resolve({"program": "mine.py:TwoLayers"}))


def test_a_program_of_parts_takes_every_part(file: Path) -> None:
    choices = {"prior": "laplace", "posterior": "laplace", "latent_dim": 2}
    own, usual = made("Twisted", **choices), build(resolve(choices), Size(DIGITS))
    assert type(own).__name__ == "Twisted"
    assert all(torch.equal(usual.state_dict()[name], weights) for name, weights in own.state_dict().items())


def test_a_run_that_names_no_program_has_the_usual_one() -> None:
    assert resolve({"prior": "laplace"}).program.name == "single-layer"


def test_rounded_products_of_networks_that_it_does_not_have_are_refused(file: Path) -> None:
    layers = {"program": "mine.py:OneLayer", "train": {"precision": "bf16"}, "data": {"limit": 20}}
    with pytest.raises(ConfigError, match=r"train.precision: the program has no network of pyrovae.networks"):
        Run.start(resolve(layers))


def test_an_object_is_copied_and_trained(file: Path) -> None:
    program: Any = component.find("program", "mine.py:OneLayer")
    given = program(Size((1, 8, 8)))
    vae = VAE(program=given, epochs=1, verbose=False).fit(bits())
    assert type(vae.program_) is program
    assert vae.program_ is not given
    assert vae.transform(bits()).shape == (12, 2)


# What a program is found to be


@pytest.mark.parametrize(
    ("name", "support"),
    [
        ("OneLayer", constraints.boolean),
        ("Grey", constraints.real),
    ],
)
def test_where_its_data_live_is_that_of_the_site_that_it_observes(
    file: Path, name: str, support: Any, untouched: None
) -> None:
    assert supports.same(made(name).support, support)


def test_sets_of_whole_data_are_any_values() -> None:
    joint = supports.of_cells(dist.Multinomial(3, torch.ones(4)))
    assert supports.same(joint, supports.Anything(is_discrete=True))
    assert supports.contains(joint, torch.tensor([7.5]))
    bounds = supports.of_cells(dist.Uniform(torch.zeros(2), torch.tensor([1.0, 2.0])).to_event(1))
    assert supports.same(bounds, supports.Anything(is_discrete=False))


def test_data_outside_are_refused_with_what_fits(file: Path) -> None:
    layers = {"program": "mine.py:OneLayer", "data": {"limit": 20, "binarize": "none"}}
    with pytest.raises(ConfigError) as caught:
        Run.start(resolve(layers))
    (problem,) = caught.value.problems
    assert problem.place == "program.name"
    assert "mine.py:OneLayer' takes values in {0, 1}; digits has values from 0 to 1. What fits: " in str(
        problem
    )
    assert "data.binarize = auto" in str(problem)
    assert "likelihood" not in str(problem)


CODES: dict[str, dict[str, Any]] = {
    "OneLayer": {"has_independent_coordinates": True},
    "TwoLayers": {"has_independent_sites": False},
    "Point": {"is_density": False, "only_own_draws": "z is a point", "has_independent_coordinates": True},
    "Planar": {"only_own_draws": "at others, z raises"},
    "Bits": {
        "reparameterized": False,
        "one_site_per_variable": True,
        "has_independent_coordinates": True,
        "values": (2, 2),
    },
}


@pytest.mark.parametrize("name", CODES)
def test_what_its_codes_are_like_is_found_by_running_it(file: Path, name: str, untouched: None) -> None:
    program = made(name)
    usual: dict[str, Any] = {
        "name": f"{file}:{name}",
        "reparameterized": True,
        "only_own_draws": None,
        "is_density": True,
        "one_site_per_variable": False,
        "has_independent_coordinates": False,
    }
    program.train()
    assert program.codes == Codes(**usual | CODES[name])
    assert program.training


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [("normal", "normal"), ("normal", "full-normal"), ("bernoulli", "bernoulli"), ("normal", "delta"),
     ("categorical", "categorical"), ("mixture", "iaf"), ("normal", "planar"), ("sphere", "power-sphere")],
)  # fmt: skip
def test_what_is_found_is_what_components_declare(prior: str, posterior: str) -> None:
    choices = {"prior": prior, "posterior": posterior, "latent_dim": 3, "network": {"hidden": [4]}}
    program = build(resolve(choices), Size((6,)))
    declared, found = program.codes, Program.codes.fget(program)  # type: ignore[attr-defined]
    for field in (
        "reparameterized",
        "is_density",
        "one_site_per_variable",
        "values",
        "has_independent_sites",
    ):
        assert getattr(found, field) == getattr(declared, field), field
    assert found.only_own_draws is None or declared.only_own_draws is not None
    assert found.has_independent_coordinates <= (
        declared.has_independent_coordinates or declared.one_site_per_variable
    )
    assert supports.same(Program.support.fget(program), program.support)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "objective", "reason"),
    [
        ("TwoLayers", "mean-field-elbo", "needs a guide that draws codes in the order of the model"),
        ("TwoLayers", "tc", "needs codes whose coordinates are independent"),
        ("TwoLayers", "info", "needs sites of codes that do not depend on each other"),
        ("TwoLayers", "enum-elbo", "sums over discrete codes"),
        ("Bits", "mean-field-elbo", "needs gradients through draws"),
        ("Point", "iwae", "needs a density q(z|x)"),
        ("Planar", "tc", "needs codes whose coordinates are independent"),
    ],
)
def test_an_objective_that_needs_more_is_refused_before_a_folder_is_made(
    file: Path, name: str, objective: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(name, "--objective", objective) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: objective.name: ")
    assert reason in error
    assert not Path("run").exists()


def test_an_option_that_needs_more_is_refused_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("Planar", "--set", "objective.gradient=sticking-the-landing") == 2
    reason = "gives it at its own draws only: at others, z raises"
    assert f"mine.py:Planar' {reason}" in capsys.readouterr().err


def test_its_discrete_codes_are_summed_out(file: Path) -> None:
    program = made("Bits")
    one, other = (objective_of(program, "enum-elbo")(bits()).loss for _ in range(2))
    assert torch.equal(one, other)
    sampled = -evaluate(program, [bits()], particles=4000).elbo.mean()
    assert one.item() == pytest.approx(sampled.item(), abs=0.1)


def test_a_point_has_no_bound(file: Path) -> None:
    run = Run.start(resolve({"program": "mine.py:Point", "data": {"limit": 20}}))
    assert run.terms["kl"] == "penalty"
    assert run.caveats[0].startswith(f"'{file}:Point' is a point and no density")
    assert [row.key for row in run.evaluate([bits()], particles=2).quantities] == [
        "reconstruction",
        "penalty",
    ]


@pytest.mark.parametrize(
    ("name", "diagnostic", "reason"),
    [
        ("Point", Calibration(simulations=50, draws=5), "is a point"),
        ("Point", Gaps(points=4), "no posterior whose features"),
        ("Sideways", Gaps(points=4), "no posterior whose features"),
    ],
)
def test_what_does_not_fit_its_guide_is_not_available(
    file: Path, name: str, diagnostic: Any, reason: str
) -> None:
    program = made(name, latent_dim=2) if name == "Sideways" else made(name)
    with inspected(program), pytest.raises(Unavailable, match=reason):
        diagnostic(Subject(program, Split(bits())))


def test_annealing_starts_at_the_prior_where_the_guide_is_known_at_its_own_draws_only(file: Path) -> None:
    subject = Subject(made("Planar"), Split(bits()))
    with inspected(subject.program):
        found, prior = (AIS(points=3, steps=4, chains=2, start=start)(subject) for start in ("best", "prior"))
    assert [row.mean.value for row in found.quantities] == [row.mean.value for row in prior.quantities]


def test_a_category_that_is_an_integer_is_a_number_of_the_code(file: Path) -> None:
    program, x = made("Kinds"), bits()
    drawn = generate.sample(program, 20)
    assert set(drawn.z[:, 0].tolist()) <= {0.0, 1.0, 2.0}
    assert torch.equal(codes.drawn(program, 20), drawn.z)
    decoded = codes.decode(program, drawn.z).mean
    with torch.no_grad():
        logits = program.down(drawn.z[:, 1:] + program.shift(drawn.z[:, 0].long()))
    assert torch.allclose(decoded, logits.sigmoid().unflatten(-1, DIGITS), atol=1e-6)
    expected, few = (generate.encode(program, [some], draws=2000) for some in (x, x[:2]))
    with torch.no_grad():
        p = program.up(x.flatten(1))[:, :3].softmax(-1)
    assert torch.allclose(expected[:, 0], p @ torch.arange(3.0), atol=0.1)
    assert torch.allclose(expected[:2], few, atol=1e-5)
    way = walks.interpolate(program, x[0], x[1], 5)
    assert (way.z[:, 0] == way.z[:, 0].round()).all()
    found = {walk.name: walk for walk in walks.traverse(program, Split(x), steps=3)}
    assert set(found["k"].value.tolist()) == {0.0, 1.0, 2.0}


# Mistakes


@pytest.mark.parametrize("name", SAID)
def test_a_mistake_is_said_in_one_sentence(file: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(name) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: program.name: ")
    assert SAID[name] in line
    assert not Path("run").exists()


def test_what_it_raises_after_it_was_tried_is_said_in_one_sentence(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("Shy") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    line = PROGRAMS.splitlines().index(f"            {CROWDED}") + 1
    assert said == f"error: ValueError: that is a crowd (mine.py, line {line})"


def test_what_anything_else_raises_is_no_mistake_of_the_users(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("of pyrovae")

    monkeypatch.setattr("pyrovae.run.build", broken)
    with pytest.raises(ValueError, match="of pyrovae"):
        main(["train", "--program", "mine.py:OneLayer", "--set", "data.limit=100"])


def test_a_program_of_components_is_what_a_program_must_be(make: Any, untouched: None) -> None:
    class Broken(Prior):
        support = constraints.real_vector

        def forward(self, encode: Any) -> Any:
            raise KeyError("nothing here")

    program = make()
    check(program, torch.ones(5, 6))
    program.prior = Broken(2)
    with pytest.raises(
        ConfigError, match=r"'single-layer' raises KeyError: 'nothing here' \(test_own_programs.py"
    ):
        check(program, torch.ones(5, 6))


# Numbers


def test_its_numbers_are_those_of_the_same_model_made_of_components(file: Path) -> None:
    own: Any = made("OneLayer")
    choices = {"network": "linear", "latent_dim": 2, "likelihood": "bernoulli"}
    usual: Any = build(resolve(choices), Size(DIGITS))
    usual.network.decoder.network.load_state_dict(own.down.state_dict(), strict=False)
    with torch.no_grad():
        for mine, other in zip(own.down.parameters(), usual.network.decoder.parameters(), strict=True):
            other.copy_(mine)
    drawn, expected = generate.sample(own, 5, seed=3), generate.sample(usual, 5, seed=3)
    torch.testing.assert_close(drawn.z, expected.z)
    torch.testing.assert_close(drawn.mean, expected.mean)


def test_codes_stand_in_the_order_of_the_model(file: Path) -> None:
    program: Any = made("TwoLayers", latent_dim=3)
    codes = generate.encode(program, [bits()], draws=2000)
    loc, _ = program.up(bits().flatten(1)).chunk(2, -1)
    torch.testing.assert_close(codes[:, 2:], loc, atol=0.1, rtol=0.0)


@pytest.mark.parametrize("name", ["TwoLayers", "Bits"])
@pytest.mark.parametrize("mode", ["graph", "svi"])
def test_every_engine_takes_the_steps_of_the_eager_one(file: Path, name: str, mode: Any) -> None:
    results = []
    for engine in (mode, "eager"):
        program = made(name)
        started = start(engine, objective_of(program), "sgd", None, example=bits(), steps=10)
        assert started.mode == engine, started.note
        for step in range(3):
            torch.manual_seed(step)
            terms = started.engine.step(bits(), lr=0.01)
        results.append((terms, program.state_dict()))
    (terms, weights), (expected, others) = results
    torch.testing.assert_close(terms, expected)
    for key, value in others.items():
        torch.testing.assert_close(weights[key], value)
