"""The one schema of a run: what is in force, what is written down, and what is said of every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import pyrovae
from pyrovae import component
from pyrovae.cli import main
from pyrovae.config import Config, dump, parse_assignment, read, resolve
from pyrovae.errors import ConfigError, DataError

CHOSEN: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a fixed scale": {"likelihood": {"name": "gaussian", "scale": 0.25, "floor": 1e-3}},
    "a named scale": {"likelihood": {"name": "gaussian", "scale": "per-pixel"}},
    "linear": {"network": "linear", "objective": {"name": "mean-field-elbo", "particles": 3}},
    "conv": {"network": {"name": "conv", "channels": [4, 8, 16], "kernel": 5, "activation": "silu"}},
    "mlp": {"network": {"name": "mlp", "hidden": [32, 16], "normalization": "batch", "dropout": 0.25}},
    "no hidden layer": {"network": {"hidden": []}},
    "all of data": {
        "data": {
            "source": 'C:\\my "data"\\ä.npy',
            "dir": "/some where",
            "binarize": "static",
            "divisor": 255.0,
            "validation": 0.0,
            "test": 0.5,
            "limit": 10,
            "exclude_labels": [3, "cat", "4"],
            "size": [8, 6],
            "color": True,
        }
    },
    "all of train": {
        "seed": 7,
        "latent_dim": 3,
        "train": {
            "epochs": 5,
            "batch_size": 2,
            "lr": 5e-4,
            "lr_schedule": "cosine",
            "optimizer": "sgd",
            "clip": 10.0,
            "patience": 4,
            "watch": 0,
        },
    },
}


def _flat(table: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Every value of nested tables by its place."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = f"{place}.{key}".lstrip(".")
        flat |= _flat(value, inner) if isinstance(value, Mapping) else {inner: value}
    return flat


def _settings(config: Config) -> dict[str, Any]:
    flat = _flat(config.model_dump())
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flat.items()}


def _problems(*layers: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a wrong configuration, by place."""
    with pytest.raises(ConfigError) as caught:
        resolve(*layers)
    assert len({problem.place for problem in caught.value.problems}) == len(caught.value.problems)
    return {problem.place: problem.message for problem in caught.value.problems}


def _resolved(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What ``pyrovae config`` prints, as tables."""
    with pytest.raises(SystemExit) as ended:
        main(["config", *arguments])
    assert ended.value.code == 0
    return tomllib.loads(capsys.readouterr().out)


# Precedence ------------------------------------------------------------------------------------------------


def test_later_layers_win_and_leave_the_rest_alone() -> None:
    config = resolve({"train": {"epochs": 3, "lr": 0.1}}, {"train": {"lr": 0.2}}, {"seed": 5})
    assert (config.train.epochs, config.train.lr, config.seed, config.train.batch_size) == (3, 0.2, 5, 64)


def test_set_wins_over_the_file_and_the_file_over_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nlatent_dim = 3\n[train]\nepochs = 7\nlr = 0.5\n")
    shown = _resolved(capsys, "--config", str(file), "--set", "seed=2", "--set", "train.lr=0.25")
    assert (shown["seed"], shown["latent_dim"], shown["train"]["epochs"]) == (2, 3, 7)
    assert (shown["train"]["lr"], shown["train"]["batch_size"]) == (0.25, 64)


def test_of_two_sets_of_one_place_the_last_wins(capsys: pytest.CaptureFixture[str]) -> None:
    assert _resolved(capsys, "--set", "seed=1", "--set", "seed=2")["seed"] == 2


@pytest.mark.parametrize("section", ["prior", "likelihood", "posterior", "network", "objective"])
def test_a_string_is_the_name_of_a_component(section: str) -> None:
    name = getattr(resolve(), section).name
    assert dump(resolve({section: name})) == dump(resolve({section: {"name": name}}))


def test_a_string_is_the_source_of_the_data() -> None:
    assert resolve({"data": "mnist"}).data == resolve({"data": {"source": "mnist"}}).data
    assert resolve({"data": {"limit": 5}}, {"data": "mnist"}).data.limit == 5


def test_another_component_drops_the_options_of_the_replaced_one() -> None:
    layer = {"network": {"name": "mlp", "hidden": [16], "dropout": 0.5}}
    assert dump(resolve(layer, {"network": "conv"})) == dump(resolve({"network": "conv"}))


def test_the_same_component_keeps_the_options_of_earlier_layers() -> None:
    config = resolve(
        {"network": {"name": "mlp", "hidden": [16]}}, {"network": "mlp"}, {"network": {"dropout": 0.5}}
    )
    assert config.network.options == {**resolve().network.options, "hidden": [16], "dropout": 0.5}


def test_options_may_come_without_the_name_of_the_default_component() -> None:
    assert resolve({"network": {"hidden": [16]}}).network.name == "mlp"


def test_resolving_changes_none_of_its_layers() -> None:
    layers = [{"network": {"hidden": [16]}}, {"network": {"dropout": 0.5}, "train": {"lr": 0.1}}]
    before = json.dumps(layers)
    resolve(*layers)
    assert json.dumps(layers) == before


# Assignments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("seed=3", {"seed": 3}),
        ("train.lr=5e-4", {"train": {"lr": 5e-4}}),
        ("train.lr = 5e-4", {"train": {"lr": 5e-4}}),
        ("network.hidden=[512, 256]", {"network": {"hidden": [512, 256]}}),
        ("data.exclude_labels=[3, 'cat']", {"data": {"exclude_labels": [3, "cat"]}}),
        ("data.color=true", {"data": {"color": True}}),
        ("prior.name=normal", {"prior": {"name": "normal"}}),
        ("prior=normal", {"prior": "normal"}),
        ("likelihood={name='gaussian', scale=0.1}", {"likelihood": {"name": "gaussian", "scale": 0.1}}),
        ("data=some/my.data.npy", {"data": "some/my.data.npy"}),
        ("data.source=/a=b/c.d.npy", {"data": {"source": "/a=b/c.d.npy"}}),
        ("data.source=C:\\data", {"data": {"source": "C:\\data"}}),
        ('data.source="3"', {"data": {"source": "3"}}),
        ("data.source='two words'", {"data": {"source": "two words"}}),
        ("data.source=two words", {"data": {"source": "two words"}}),
        ("data.source=a#b", {"data": {"source": "a#b"}}),
    ],
)
def test_values_of_set_are_toml_and_other_words_are_strings(text: str, layer: dict[str, Any]) -> None:
    assert parse_assignment(text) == layer


@pytest.mark.parametrize("text", ["seed", "=3", "train.=3", ".lr=3", ""])
def test_what_is_no_assignment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set: .*no assignment.*--set train\.lr=5e-4"):
        parse_assignment(text)


# What is written down --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", CHOSEN)
def test_the_written_configuration_is_read_as_the_same_one(chosen: str) -> None:
    config = resolve(CHOSEN[chosen])
    again = resolve(tomllib.loads(dump(config)))
    assert _settings(again) == _settings(config)
    assert dump(again) == dump(config)


@pytest.mark.parametrize("chosen", CHOSEN)
def test_what_was_chosen_is_what_is_written(chosen: str) -> None:
    written = _flat(tomllib.loads(dump(resolve(CHOSEN[chosen]))))
    given = {
        key: {"name": value} if isinstance(value, str) else value for key, value in CHOSEN[chosen].items()
    }
    for place, value in _flat(given).items():
        assert written[place] == value


@pytest.mark.parametrize("chosen", CHOSEN)
def test_every_setting_is_written_even_one_that_is_not_set(chosen: str) -> None:
    config = resolve(CHOSEN[chosen])
    lines = dump(config).splitlines()
    for place, value in _settings(config).items():
        key = place.rpartition(".")[2]
        start = f"# {key} =" if value is None else f"{key} ="
        assert any(line.startswith(start) for line in lines), place


@pytest.mark.parametrize("chosen", CHOSEN)
def test_every_line_has_a_comment_with_meaning_and_choices(chosen: str) -> None:
    above = ""
    for line in dump(resolve(CHOSEN[chosen])).splitlines():
        setting = line.removeprefix("# ")
        if line.startswith("["):
            assert "  # " in line
        elif " =" in setting.split("#")[0]:
            key = setting.split(" =")[0]
            comment = line.rpartition("  # ")[2] if "  # " in line else above
            assert len(comment) > 10, line
            assert comment.endswith(")") or key in ("source", "dir"), line
        above = line


def test_the_comments_tell_choices_and_bounds() -> None:
    text = dump(resolve({"likelihood": "gaussian"}))
    assert f"({', '.join(component.names('likelihood'))})" in text
    assert "(a number >= 1e-09 and <= 1e+09, or learned, per-pixel, optimal)" in text
    assert "(a number >= 0 and < 1)" in text
    assert "(relu, leaky-relu, elu, gelu, silu, softplus, tanh)" in text


def test_the_default_run_is_the_written_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert _resolved(capsys) == tomllib.loads(dump(resolve()))


# Mistakes --------------------------------------------------------------------------------------------------

INTEGER = "an integer >= 1"
FAMILIES = {"prior": "normal", "likelihood": "bernoulli", "posterior": "normal", "network": "mlp"}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_component_is_told_with_the_known_ones_and_the_nearest(family: str) -> None:
    known = FAMILIES[family]
    problems = _problems({family: f"{known}x"})
    assert set(problems) == {f"{family}.name"}
    assert f"'{known}x' is unknown (did you mean '{known}'?)" in problems[f"{family}.name"]
    assert "choose from" in problems[f"{family}.name"]


@pytest.mark.parametrize(
    ("layer", "place", "said"),
    [
        ({"pror": "normal"}, "pror", ["did you mean 'prior'?", "seed, latent_dim, program, prior", "train"]),
        ({"train": {"epoch": 3}}, "train.epoch", ["did you mean 'epochs'?", "batch_size", "watch"]),
        (
            {"network": {"hiden": [3]}},
            "network.hiden",
            [
                "did you mean 'hidden'?",
                "choose from hidden, activation",
                ", the options of the network 'mlp'",
            ],
        ),
        (
            {"network": {"name": "linear", "hidden": [3]}},
            "network.hidden",
            ["'hidden' is unknown", "the network 'linear' has no options"],
        ),
        ({"prior": {"scale": 1.0}}, "prior.scale", ["'scale' is unknown; the prior 'normal' has no options"]),
        (
            {"objective": {"name": "iwae", "beta": 2.0}},
            "objective.beta",
            ["'beta' is unknown; choose from particles", ", the options of the objective 'iwae'"],
        ),
        ({"objective": "iwea"}, "objective.name", ["'iwea'", "elbo", "mean-field-elbo"]),
        ({"train": {"optimizer": "adm"}}, "train.optimizer", ["'adm'", "adam, adamw, rmsprop, sgd"]),
        ({"train": {"lr_schedule": 1}}, "train.lr_schedule", ["constant, linear, cosine"]),
        ({"data": {"binarize": "yes"}}, "data.binarize", ["dynamic, static, threshold, auto, none"]),
        ({"network": {"name": "conv", "kernel": 4}}, "network.kernel", ["4", "3, 5, 7"]),
        ({"latent_dim": "4"}, "latent_dim", ["'4'", INTEGER]),
        ({"latent_dim": True}, "latent_dim", ["True", INTEGER]),
        ({"latent_dim": 2.5}, "latent_dim", ["2.5", INTEGER]),
        ({"latent_dim": 0}, "latent_dim", ["0", INTEGER]),
        ({"latent_dim": {"a": 1}}, "latent_dim", [INTEGER]),
        ({"latent_dim": [1]}, "latent_dim", [INTEGER]),
        ({"seed": -1}, "seed", ["-1", "an integer >= 0"]),
        ({"train": {"lr": "fast"}}, "train.lr", ["'fast'", "a number > 0"]),
        ({"train": {"lr": 0}}, "train.lr", ["0", "a number > 0"]),
        ({"train": {"lr": float("nan")}}, "train.lr", ["nan", "a number > 0"]),
        ({"train": {"epochs": {"x": {"y": 1}}}}, "train.epochs", [INTEGER]),
        ({"train": {"clip": -1.0}}, "train.clip", ["-1.0", "a number > 0"]),
        ({"data": {"validation": 1.0}}, "data.validation", ["1.0", "a number >= 0 and < 1"]),
        ({"data": {"limit": 0}}, "data.limit", ["0", INTEGER]),
        ({"data": {"color": "yes"}}, "data.color", ["'yes'", "true or false"]),
        ({"data": {"color": 1}}, "data.color", ["1", "true or false"]),
        ({"data": {"source": 3}}, "data.source", ["3", "text"]),
        ({"data": {"size": [8]}}, "data.size", ["[8]", "a list of 2", INTEGER]),
        ({"data": {"size": [8, 0]}}, "data.size[1]", ["0", INTEGER]),
        ({"data": {"exclude_labels": 3}}, "data.exclude_labels", ["3", "a list"]),
        ({"data": {"exclude_labels": [3, 1.5]}}, "data.exclude_labels[1]", ["1.5", "an integer, or text"]),
        ({"network": {"hidden": 4}}, "network.hidden", ["4", "a list"]),
        ({"network": {"hidden": "4"}}, "network.hidden", ["'4'", "a list"]),
        ({"network": {"hidden": [4, "a"]}}, "network.hidden[1]", ["'a'", INTEGER]),
        ({"network": {"hidden": [4, True]}}, "network.hidden[1]", ["True", INTEGER]),
        ({"network": {"hidden": [0]}}, "network.hidden[0]", ["0", INTEGER]),
        ({"network": {"hidden": {"a": 1}}}, "network.hidden", ["a list"]),
        ({"network": {"dropout": 1.0}}, "network.dropout", ["1.0", "a number >= 0 and < 1"]),
        ({"network": {"name": "conv", "channels": []}}, "network.channels", ["[]"]),
        (
            {"likelihood": {"name": "gaussian", "scale": 0.0}},
            "likelihood.scale",
            ["0.0", ">= 1e-09", "optimal"],
        ),
        (
            {"likelihood": {"name": "gaussian", "scale": "lerned"}},
            "likelihood.scale",
            ["'lerned'", "learned"],
        ),
        ({"likelihood": {"name": "gaussian", "scale": True}}, "likelihood.scale", ["True", ">= 1e-09"]),
        ({"data": [1]}, "data", ["[1]", "no table"]),
        ({"data": 3}, "data", ["3", "no table"]),
        ({"train": "fast"}, "train", ["'fast'", "no table"]),
        ({"objective": 3}, "objective.name", ["3", "elbo"]),
        ({"prior": 3}, "prior.name", ["3", "normal"]),
        ({"prior": [1]}, "prior.name", ["[1]", "normal"]),
        ({"prior": True}, "prior.name", ["True", "normal"]),
        ({"prior": {"name": 3}}, "prior.name", ["3", "normal"]),
        ({"prior": {"name": {"a": 1}}}, "prior.name", ["normal"]),
        (
            {"network": {"name": ["mlp"]}},
            "network.name",
            ["choose from conv, gated-conv, gated-mlp, linear, mlp, resnet"],
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
    layer: dict[str, Any], place: str, said: list[str]
) -> None:
    problems = _problems(layer)
    assert set(problems) == {place}
    for words in said:
        assert words in problems[place]


def test_a_whole_number_is_a_number() -> None:
    assert resolve({"train": {"lr": 1}}).train.lr == 1.0


def test_all_mistakes_are_told_at_once() -> None:
    layers = [
        {"prior": "norml", "sed": 1, "latent_dim": "8"},
        {"train": {"lr": -1.0, "epoch": 3}, "network": {"hidden": [16, "b", 0]}, "data": [1]},
    ]
    expected = {"prior.name", "sed", "latent_dim", "train.lr", "train.epoch"}
    assert set(_problems(*layers)) == {*expected, "network.hidden[1]", "network.hidden[2]", "data"}


def test_the_command_line_lists_all_mistakes_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", "--set", "prior=norml", "--set", "train.lr=fast", "--set", "sed=1"])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert [line.split(": ")[:2] for line in printed.err.splitlines()] == [
        ["error", "prior.name"],
        ["error", "train.lr"],
        ["error", "sed"],
    ]


def test_a_file_that_is_no_toml_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("seed = \n")
    with pytest.raises(ConfigError, match=r"run\.toml: no valid TOML.*line 1"):
        read(tmp_path / "run.toml")


def test_a_configuration_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the configuration .*nowhere\.toml: No such file"):
        read(tmp_path / "nowhere.toml")


# A new component in one new file ---------------------------------------------------------------------------

THROWAWAY = '''"""A prior for a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Tensor, zeros
from torch.distributions import constraints

from pyrovae.priors import Prior


class Throwaway(Prior):
    """Independent Laplace coordinates."""

    support = constraints.real_vector

    def __init__(
        self,
        latent_dim: int,
        *,
        scale: Annotated[float, Field(gt=0, le=9, description="spread of the throw-away codes")] = 1.0,
    ) -> None:
        super().__init__(latent_dim)
        self.scale = scale

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        return dist.Laplace(zeros(self.latent_dim), self.scale).to_event(1)
'''

# Runs every command line that it is given, each as a user would, and tells how each ended.
DRIVER = """
import contextlib, io, json, sys
import pyrovae.cli
ends = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            pyrovae.cli.main(arguments)
        except SystemExit as end:
            code = end.code
    ends.append([code, out.getvalue(), err.getvalue()])
from pyrovae.priors import Throwaway
json.dump([pyrovae.__file__, Throwaway(2).options, ends], sys.stdout)
"""

TINY = ["--set", "data.limit=60", "--set", "network.hidden=[4]", "--latent-dim", "2", "--epochs", "1"]
COMMANDS = {
    "help": ["train", "--help"],
    "components": ["components"],
    "config": ["config", "--set", "prior=throwaway"],
    "file": ["config", "--config", "run.toml"],
    "train": ["train", "--prior", "throwaway", "--set", "prior.scale=2.5", *TINY, "--run", "run"],
    "trained": ["config", "--config", "run/config.toml"],
    "evaluate": ["evaluate", "run", "--particles", "2"],
    "sample": ["sample", "run", "-n", "2"],
    "bad value": ["config", "--set", "prior.name=throwaway", "--set", "prior.scale=10.5"],
    "bad option": ["config", "--set", "prior.name=throwaway", "--set", "prior.scal=1.0"],
    "bad name": ["config", "--set", "prior=throwawy"],
}
End = tuple[int, str, str]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, End]:
    """How commands ended in a package that has one more file."""
    folder = tmp_path_factory.mktemp("throwaway")
    copy = folder / "pyrovae"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pyrovae.__file__).parent, copy, ignore=ignored)
    (copy / "priors" / "throwaway.py").write_text(THROWAWAY)
    (folder / "run.toml").write_text('prior = { name = "throwaway", scale = 3.0 }\n')
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, json.dumps(list(COMMANDS.values()))],
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    file, options, ends = json.loads(done.stdout)
    assert Path(file).is_relative_to(folder)
    assert options == {"scale": 1.0}
    return {name: (code, out, err) for name, (code, out, err) in zip(COMMANDS, ends, strict=True)}


def test_a_new_file_is_a_component_that_the_help_names(ends: dict[str, End]) -> None:
    code, out, _ = ends["help"]
    assert code == 0
    assert "throwaway" in out


def test_a_new_file_is_listed_with_its_options(ends: dict[str, End]) -> None:
    code, out, _ = ends["components"]
    assert code == 0
    assert "Independent Laplace coordinates." in out
    assert "--set prior.scale=1.0" in out
    assert "spread of the throw-away codes (a number > 0 and <= 9)" in out


def test_a_new_file_is_part_of_the_configuration(ends: dict[str, End]) -> None:
    code, out, _ = ends["config"]
    assert code == 0
    assert tomllib.loads(out)["prior"] == {"name": "throwaway", "scale": 1.0}
    assert re.search(r"which prior \(.*normal, .*, throwaway, .*\)", out)
    assert "spread of the throw-away codes (a number > 0 and <= 9)" in out
    assert tomllib.loads(ends["file"][1])["prior"] == {"name": "throwaway", "scale": 3.0}


@pytest.mark.parametrize("command", ["train", "evaluate", "sample"])
def test_a_new_file_trains_evaluates_and_samples(ends: dict[str, End], command: str) -> None:
    code, out, err = ends[command]
    assert code == 0, err
    assert "run" in out


def test_an_option_of_a_new_file_reaches_the_run(ends: dict[str, End]) -> None:
    assert tomllib.loads(ends["trained"][1])["prior"] == {"name": "throwaway", "scale": 2.5}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("bad value", "error: prior.scale: 10.5 is not allowed; it must be a number > 0 and <= 9"),
        ("bad option", "error: prior.scal: 'scal' is unknown (did you mean 'scale'?)"),
        ("bad name", "error: prior.name: 'throwawy' is unknown (did you mean 'throwaway'?)"),
    ],
)
def test_a_new_file_is_named_in_what_is_said_of_mistakes(
    ends: dict[str, End], command: str, said: str
) -> None:
    code, out, err = ends[command]
    assert (code, out) == (2, "")
    assert err.startswith(said)


def test_a_new_file_is_among_the_alternatives(ends: dict[str, End]) -> None:
    assert re.search(r"choose from .*normal, .*, throwaway, ", ends["bad name"][2])
