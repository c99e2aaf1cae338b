"""Components of the user's own, by file and class: as good as other names, and run only where trusted."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrovae import VAE, component
from pyrovae.cli import main
from pyrovae.config import resolve
from pyrovae.errors import ConfigError, RunError
from pyrovae.priors import Prior
from pyrovae.run import Run

NETS = '''
from typing import Annotated
from pydantic import Field
from torch import nn
from pyrovae.networks import Network, Shapes

print("this code has run")

class MyPair(Network):
    """A pair of mine.

    .. math:: h = A x
    """

    def __init__(
        self, shapes: Shapes, *, units: Annotated[int, Field(ge=1, description="units")] = 8
    ) -> None:
        cells = shapes.event_shape.numel()
        up = nn.Linear(units, shapes.posterior_features)
        down = nn.Linear(units, shapes.likelihood_features * cells)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(cells, units), up)
        super().__init__(shapes, encoder, nn.Sequential(nn.Linear(shapes.code_size, units), down))

class Hungry(Network):
    def __init__(self, shapes: Shapes, weather: str) -> None: ...

Alias = Hungry

class Other: ...
'''
PRIOR = """
import pyro.distributions as dist
import torch
from torch.distributions import constraints
from pyrovae.priors import Prior

class Shifted(Prior):
    support = constraints.real_vector

    def forward(self, encode):
        return dist.Normal(torch.ones(self.latent_dim), 1.0).to_event(1)

class Empty(Prior):
    support = constraints.real_vector
"""
LACKING = """
from torch import Size, nn
from torch.distributions import constraints
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior

class Anywhere(Prior):
    def forward(self, encode): ...

class Nowhere(Posterior):
    features = 3

class Mute(Posterior):
    support = constraints.real_vector
    def forward(self, features): ...

class Everything(Likelihood):
    def forward(self, features): ...

class Unbegun(Likelihood):
    support = constraints.boolean
    def __init__(self, event_shape): ...
    def forward(self, features): ...

class Half(Network):
    def __init__(self, shapes):
        nn.Module.__init__(self)
        self.encoder = nn.Identity()
"""
WRONG = {
    "broken.py": "1 / 0",
    "script.py": "raise SystemExit(3)",
    "bare.py": "from pyrovae.component import Component\nclass Bare(Component): ...",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's file, in the folder where the user works."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_nets.py"
    path.write_text(textwrap.dedent(NETS))
    yield path
    forget(path)


def forget(path: Path) -> None:
    """As in a new process."""
    sys.modules.pop(str(path), None)
    for name in [name for name in component._IMPORTED if name.startswith(str(path))]:
        del component._IMPORTED[name]


def train(*arguments: str) -> None:
    main_until_exit(["train", "--epochs", "1", "--set", "data.limit=100", "--run", "run", *arguments])


def main_until_exit(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0)


def test_a_file_and_a_class_are_a_name_with_options(file: Path) -> None:
    config = resolve({"network": {"name": "my_nets.py:MyPair", "units": 3}})
    assert config.network.name == f"{file}:MyPair"  # wherever the run is read
    assert config.network.options == {"units": 3}
    assert resolve(config.model_dump()).model_dump() == config.model_dump()


def test_every_family_takes_a_class_of_a_file(file: Path) -> None:
    (file.parent / "mine.py").write_text(PRIOR)
    run = Run.start(resolve({"prior": "mine.py:Shifted", "network": "my_nets.py:MyPair"}))
    assert type(run.program.prior).__name__ == "Shifted"
    assert type(run.program.network).__name__ == "MyPair"
    forget(file.parent / "mine.py")


def test_a_class_of_an_installed_module_is_a_name_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    assert resolve({"network": "my_nets:MyPair"}).network.name == "my_nets:MyPair"
    sys.modules.pop("my_nets")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_nets.py:MyPear", "my_nets.py holds no component 'MyPear'; those it holds: MyPair, Hungry"),
        ("my_nets.py:Other", "my_nets.py holds no component 'Other'"),
        ("my_nests.py:MyPair", "there is no file my_nests.py"),
        (
            "no.such.package:MyPair",
            "no.such.package cannot be imported: ModuleNotFoundError: No module named 'no'",
        ),
        ("my_nets.py", "'my_nets.py' is a file: name its class too, as my_nets.py:MyClass"),
        ("my_nets.py:Alias", "my_nets.py holds no component 'Alias'; those it holds: MyPair, Hungry"),
        ("broken.py:MyPair", "broken.py cannot be imported: ZeroDivisionError: division by zero"),
        ("script.py:MyPair", "script.py cannot be imported: SystemExit: 3"),
        (
            "bare.py:Bare",
            "bare.py holds no component 'Bare'; those it holds: none (a network derives from "
            "pyrovae.networks.Network)",
        ),
    ],
)
def test_what_is_wrong_with_a_class_is_said_in_a_sentence(
    file: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, text in WRONG.items():
        (file.parent / wrong).write_text(text)
    assert main_until_exit(["config", "--set", f"network.name={name}"]) == 2
    assert f"error: network.name: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("units=8", "has options without a type or a default: units; write for example units: int = 8"),
        ("units: int", "has options without a type or a default: units; write for example units: int = 8"),
        ("units: Nope = 8", "cannot be read: name 'Nope' is not defined"),
        (
            'units: int = "a"',
            "has an option units with the default 'a', which no table can hold; options are",
        ),
        ("units: torch.Tensor = 8", "has an option units with the default 8, which no table can hold"),
        ("units: type = torch.nn.ReLU", "has an option units with the default <class 'torch.nn.modules"),
        ('name: str = "a"', "has an option name with the default 'a', which no table can hold; "),
    ],
)
def test_an_option_that_is_not_declared_whole_is_named(
    file: Path, option: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["from __future__ import annotations", "import torch", "from pyrovae.networks import Network"]
    lines += ["class Mine(Network):", f"    def __init__(self, shapes, *, {option}) -> None: ..."]
    (file.parent / "mine.py").write_text("\n".join(lines))
    assert main_until_exit(["config", "--set", "network.name=mine.py:Mine"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: network.name: ")
    assert message in error


def test_a_class_without_what_its_family_must_have_is_refused(file: Path) -> None:
    (file.parent / "mine.py").write_text(PRIOR)
    with pytest.raises(ConfigError, match=r"prior.name: 'mine.py:Empty' has no forward"):
        resolve({"prior": "mine.py:Empty"})


@pytest.mark.parametrize(
    ("family", "name", "lacks"),
    [
        ("prior", "Anywhere", "has no support"),
        ("posterior", "Nowhere", "has no forward and no support"),
        ("posterior", "Mute", "has no features; every posterior has support, features"),
        ("likelihood", "Everything", "has no support; every likelihood has support, features"),
        ("likelihood", "Unbegun", "has no features; every likelihood has support, features"),
        ("network", "Half", "has no decoder; every network has encoder, decoder"),
    ],
)
def test_what_a_component_lacks_is_said_in_a_sentence_that_names_class_and_file(
    file: Path, capsys: pytest.CaptureFixture[str], family: str, name: str, lacks: str
) -> None:
    (file.parent / "lacking.py").write_text(LACKING)
    assert main_until_exit(["train", "--set", f"{family}.name=lacking.py:{name}", "--run", "run"]) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"error: {family}.name: '(/.*/)?lacking.py:{name}' {lacks}", error), error
    assert not Path("run").exists()


def test_an_object_that_lacks_something_is_refused_too(file: Path) -> None:
    class Anywhere(Prior):
        def forward(self, encode: object) -> Any: ...

    with pytest.raises(ConfigError, match=r"Anywhere' has no support"):
        VAE(prior=Anywhere(2), latent_dim=2).fit(torch.rand(20, 5).round())


def test_a_file_that_could_not_be_run_to_its_end_is_no_better_the_second_time(file: Path) -> None:
    (file.parent / "half.py").write_text(f"{NETS}\n1 / 0")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"half.py cannot be imported: ZeroDivisionError"):
            resolve({"network": "half.py:MyPair"})


def test_a_class_of_another_family_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"prior.name: 'my_nets.py:MyPair' is a network, and no prior"):
        resolve({"prior": "my_nets.py:MyPair"})


def test_a_constructor_that_asks_for_more_is_told_what_there_is(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"network.name: .*Hungry asks for weather; a network is given shapes"
    ):
        Run.start(resolve({"network": "my_nets.py:Hungry"}))


LOADING = [["evaluate", "run"], ["sample", "run"], ["reconstruct", "run"], ["train", "--resume", "run"]]


@pytest.mark.parametrize(
    "named",
    [
        'network = "my_nets.py:MyPair"',
        '[network]\nname = "my_nets.py:MyPair"',
        'network = "my_nets:MyPair"',
        'network = "nowhere.my_nets:MyPair"',
    ],
)
def test_in_no_spelling_does_a_configuration_run_code_that_is_not_trusted(
    file: Path, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    Path("run").mkdir()
    Path("run/config.toml").write_text(named)
    for command in LOADING:
        assert main_until_exit(command) == 1
        printed = capsys.readouterr()
        assert "MyPair, and loading it runs that code: allow it with --trust" in printed.err
        assert "this code has run" not in printed.out


def test_a_run_with_code_of_its_own_loads_only_where_it_is_trusted(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--network", "my_nets.py:MyPair")
    weights = Run.load(Path("run")).program.state_dict()  # its code runs in this process anyway
    capsys.readouterr()
    forget(file)
    for command in LOADING:
        assert main_until_exit(command) == 1
        printed = capsys.readouterr()
        assert f"{file}:MyPair, and loading it runs that code: allow it with --trust" in printed.err
        assert "this code has run" not in printed.out
    with pytest.raises(RunError, match="trust=True"):
        VAE.load("run")
    loaded = VAE.load("run", trust=True)
    assert "this code has run" in capsys.readouterr().out
    assert all(torch.equal(weights[name], value) for name, value in loaded.program_.state_dict().items())


@pytest.mark.slow
def test_a_trusted_run_does_all_that_others_do(file: Path) -> None:
    train("--network", "my_nets.py:MyPair")
    commands = [
        ["evaluate", "run", "--particles", "3"],
        ["sample", "run"],
        ["train", "--resume", "run", "--epochs", "2"],
    ]
    for command in commands:
        program = f"from pyrovae.cli import main; main({[*command, '--trust']!r})"
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert [metrics["epoch"] for metrics in Run.load(Path("run")).history] == [1, 2]


def test_code_that_has_changed_since_is_warned_of(file: Path) -> None:
    train("--network", "my_nets.py:MyPair")
    recorded = json.loads(Run.load(Path("run")).facts["code"])
    assert list(recorded) == [str(file)]
    file.write_text(file.read_text() + "# a remark\n")
    with pytest.raises(RunError, match="--trust"):  # what has run in this process is the code as it was
        Run.load(Path("run"))
    with pytest.warns(UserWarning, match="my_nets.py has changed since the run was trained with it"):
        Run.load(Path("run"), trust=True)


def test_a_file_that_was_edited_is_read_anew(file: Path) -> None:
    for units in (7, 8):  # as many characters, within a second: a cache could not tell
        file.write_text(textwrap.dedent(NETS).replace("= 8", f"= {units}"))
        run = Run.start(resolve({"network": "my_nets.py:MyPair"}))
        assert run.program.network.options == {"units": units}
        assert json.loads(run.facts["code"])[str(file)] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert list(file.parent.iterdir()) == [file]
