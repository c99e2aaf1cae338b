"""A run knows what it was trained with, on which data, by which versions; an edited file is not believed."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_cli import fail, one_sentence, succeed

from pyrovae import VAE, plots
from pyrovae.compare import settings
from pyrovae.config import resolve
from pyrovae.errors import ConfigError, DataError, RunError
from pyrovae.run import Run

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [16]},
    "data": {"source": "digits", "limit": 100},
    "train": {"epochs": 2, "batch_size": 16, "watch": 0, "lr_schedule": "cosine"},
}
DATA_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("evaluate", "--particles", "2"),
    ("embed",),
    ("reconstruct",),
    ("predict", "-n", "2"),
    ("denoise", "-n", "2", "--rows", "5"),
    ("traverse",),
    ("interpolate", "--from", "row:0", "--to", "row:1"),
    ("map",),
    ("plane",),
    ("score", "--particles", "2"),
    ("report", "--particles", "2", "--rows", "9"),
)


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())


def trained(path: Path, *layers: dict[str, Any]) -> Run:
    run = Run.start(resolve(SMALL, *layers), path=path)
    list(run.train())
    return run


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "save", lambda figure, path: path.touch())
        trained(path)
    return path


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stored, tmp_path / "run")


def edit(run: Path, old: str, new: str) -> None:
    file = run / "config.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


# What was edited -------------------------------------------------------------------------------------------

EDITS = {
    'name = "normal"': ('name = "laplace"', 'prior.name = "normal" -> "laplace"'),
    "latent_dim = 2": ("latent_dim = 3", "latent_dim = 2 -> 3"),
    "seed = 0": ("seed = 1", "seed = 0 -> 1"),
    "hidden = [16]": ("hidden = [17]", "network.hidden = [16] -> [17]"),
    "validation = 0.1": ("validation = 0.2", "data.validation = 0.1 -> 0.2"),
    "# divisor =": ("divisor = 2.0 #", "data.divisor = not set -> 2.0"),
    "limit = 100": ("# limit = 100", "data.limit = 100 -> not set"),
    'source = "digits"': ('source = "mnist"', 'data.source = "digits" -> "mnist"'),
    "beta = 1.0": ("beta = 4.0", "objective.beta = 1.0 -> 4.0"),
}


@pytest.mark.parametrize("old", EDITS)
def test_a_configuration_that_was_edited_is_refused_with_the_lines_that_differ(old: str, copy: Path) -> None:
    new, said = EDITS[old]
    edit(copy, old, new)
    for read in (Run.load, Run.resume):
        with pytest.raises(RunError) as caught:
            read(copy)
        assert said in str(caught.value)
        assert "config.toml" in str(caught.value)


def test_the_options_of_another_component_are_not_listed(copy: Path) -> None:
    edit(copy, 'name = "normal"', 'name = "mixture"')
    with pytest.raises(RunError, match=r'with: prior\.name = "normal" -> "mixture"; put'):
        Run.load(copy)


def test_comments_and_another_order_are_no_change(copy: Path) -> None:
    file = copy / "config.toml"
    tables = file.read_text(encoding="utf-8").split("\n\n")
    file.write_text("\n\n".join([tables[0], "# mine", *reversed(tables[1:])]), encoding="utf-8")
    assert Run.load(copy).program.state_dict().keys()
    Run.resume(copy)


def test_an_entry_that_an_older_pyrovae_did_not_know_stands_for_its_default(copy: Path) -> None:
    def without(sections: dict[str, Any]) -> None:
        del sections["data"]["squeeze"], sections["network"]["dropout"]

    for name in ("best", "last"):
        rewrite(copy / "checkpoints" / f"{name}.safetensors", changing=without)
    Run.load(copy)
    edit(copy, "dropout = 0.0", "dropout = 0.5")
    with pytest.raises(RunError, match=r"network\.dropout = 0\.0 -> 0\.5"):
        Run.load(copy)


def test_a_run_without_the_fact_loads_as_ever(copy: Path) -> None:
    for name in ("best", "last"):
        rewrite(copy / "checkpoints" / f"{name}.safetensors", without="config")
    edit(copy, "beta = 1.0", "beta = 4.0")
    Run.load(copy)


def rewrite(file: Path, *, without: str = "", changing: Any = None, **facts: str) -> None:
    """Write a checkpoint with other metadata."""
    with safe_open(file, "pt") as opened:
        found = opened.metadata()
    found.pop(without, None)
    if changing is not None:
        sections = json.loads(found["config"])
        changing(sections)
        found["config"] = json.dumps(sections)
    save_file(load_file(file), file, found | facts)


def test_train_is_taken_from_what_was_trained_until_the_run_goes_on(copy: Path) -> None:
    edit(copy, "lr = 0.001", "lr = 0.5")
    assert Run.load(copy).config.train.lr == 0.001
    assert settings(Run.load(copy))["train.lr"] == 0.001
    assert Run.resume(copy, epochs=3).config.train.lr == 0.5


# Stretches of epochs ---------------------------------------------------------------------------------------


def test_a_run_that_was_extended_can_be_reproduced_from_its_folder(copy: Path, tmp_path: Path) -> None:
    edit(copy, "lr = 0.001", "lr = 0.002")
    notes: list[str] = []
    run = Run.resume(copy, epochs=4)
    list(run.train(on_note=notes.append))
    assert {"from epoch 3 on: train.epochs = 2 -> 4", "from epoch 3 on: train.lr = 0.001 -> 0.002"} < set(
        notes
    )
    table = tomllib.loads((copy / "training.toml").read_text(encoding="utf-8"))["stretch"]
    assert [(each["from_epoch"], each["train"]["epochs"], each["train"]["lr"]) for each in table] == [
        (1, 2, 0.001),
        (3, 4, 0.002),
    ]

    kept = tomllib.loads((copy / "config.toml").read_text(encoding="utf-8"))
    again = tmp_path / "again"
    list(Run.start(resolve({**kept, "train": table[0]["train"]}), path=again).train())
    edit(again, "lr = 0.001", "lr = 0.002")
    list(Run.resume(again, epochs=4).train())
    one, other = (load_file(path / "checkpoints" / "last.safetensors") for path in (copy, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    straight = trained(tmp_path / "straight", {"train": {"epochs": 4, "lr": 0.002}})
    straight.use("last")
    assert not all(torch.equal(one[name], value) for name, value in straight.program.state_dict().items())
    assert settings(Run.load(copy)) != settings(Run.load(tmp_path / "straight"))
    assert settings(Run.load(copy)) == settings(Run.load(again))


def test_a_run_that_goes_on_as_it_was_has_one_stretch(copy: Path) -> None:
    list(Run.resume(copy).train())
    assert [stretch.from_epoch for stretch in Run.load(copy).stretches] == [1]


def test_more_epochs_at_a_constant_rate_are_the_same_configuration(tmp_path: Path) -> None:
    constant = {"train": {"lr_schedule": "constant"}}
    trained(tmp_path / "run", constant)
    list(Run.resume(tmp_path / "run", epochs=3).train())
    longer = trained(tmp_path / "longer", constant, {"train": {"epochs": 3}})
    assert settings(Run.load(tmp_path / "run")) == settings(longer)


def test_every_run_has_the_versions_that_trained_it(copy: Path) -> None:
    (stretch,) = Run.load(copy).stretches
    assert set(stretch.versions) == {"python", "pyrovae", "torch", "pyro", "numpy"}
    assert stretch.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    document = json.loads(succeed("evaluate", copy, "--particles", "2", "--json").out)
    assert document["trained"][0]["versions"] == stretch.versions
    succeed("report", copy, "--particles", "2", "--rows", "9")
    assert f"torch {stretch.versions['torch']}" in (copy / "report.html").read_text(encoding="utf-8")


def test_another_version_is_another_stretch(copy: Path) -> None:
    file = copy / "training.toml"
    file.write_text(file.read_text().replace(np.__version__, "0.0.1"))
    list(Run.resume(copy, epochs=3).train())
    assert [stretch.versions["numpy"] for stretch in Run.load(copy).stretches] == ["0.0.1", np.__version__]


def test_a_saved_vae_has_them_too(tmp_path: Path) -> None:
    X = np.random.RandomState(0).randint(0, 2, (60, 5))
    VAE(latent_dim=2, epochs=3, verbose=False, data={"validation": 0.0}).fit(X).save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert len(loaded.stretches) == 1
    assert loaded.untrained is not None
    np.save(tmp_path / "X.npy", X)
    rows, _ = loaded.evaluation_rows("train", source=str(tmp_path / "X.npy"))
    assert len(rows) == 60
    with pytest.raises(RunError, match=r"--source FILE\.npy"):
        loaded.evaluation_rows("train")


# Data that have moved --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose data were renamed, and other data."""
    folder = tmp_path_factory.mktemp("moved")
    X = np.random.RandomState(0).randint(0, 2, (80, 6)) * np.ones((80, 1))
    X[::2] = 0
    np.save(folder / "old.npy", X)
    np.save(folder / "other.npy", 1 - X)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "save", lambda figure, path: path.touch())
        trained(folder / "run", {"data": {"source": str(folder / "old.npy")}, "train": {"lr": 0.01}})
    (folder / "old.npy").rename(folder / "new.npy")
    return folder


@pytest.mark.parametrize("command", DATA_COMMANDS, ids=" ".join)
def test_every_command_is_told_where_the_data_are_now(command: tuple[str, ...], moved: Path) -> None:
    name, *options = command
    message = one_sentence(fail(1, name, moved / "run", *options))
    assert "old.npy" in message
    assert "--source PATH says where they are now" in message
    succeed(name, moved / "run", *options, "--source", moved / "new.npy")
    message = one_sentence(fail(1, name, moved / "run", *options, "--source", moved / "other.npy"))
    assert "does not hold the run's own data" in message


def test_a_comparison_is_told_where_the_data_are_now(moved: Path, tmp_path: Path) -> None:
    other = shutil.copytree(moved / "run", tmp_path / "other")
    assert "--source PATH" in fail(1, "compare", moved / "run", other, "--particles", "2")
    succeed("compare", moved / "run", other, "--particles", "2", "--source", moved / "new.npy")


def test_a_run_goes_on_where_the_data_are_now_and_keeps_the_place(moved: Path, tmp_path: Path) -> None:
    run = shutil.copytree(moved / "run", tmp_path / "run")
    assert "--source PATH" in one_sentence(fail(1, "train", "--resume", run, "--epochs", "3"))
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    assert "own data" in fail(1, "train", "--resume", run, "--epochs", "3", "--source", moved / "other.npy")
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    succeed("train", "--resume", run, "--epochs", "3", "--source", moved / "new.npy")
    assert Run.load(run).config.data.source == str(moved / "new.npy")
    succeed("evaluate", run, "--particles", "2")


def test_a_source_and_other_data_are_not_both_given(moved: Path) -> None:
    run, new, other = moved / "run", moved / "new.npy", moved / "other.npy"
    assert "not both" in one_sentence(fail(1, "evaluate", run, "--data", other, "--source", new))
    succeed("report", run, "--data", other, "--source", new, "--particles", "2")  # beside its training rows
    assert "--resume" in one_sentence(fail(2, "train", "--source", new, "--data", other))


def test_a_path_that_was_edited_by_hand_is_checked_by_the_hash(moved: Path, tmp_path: Path) -> None:
    run = shutil.copytree(moved / "run", tmp_path / "run")
    edit(run, "old.npy", "new.npy")
    Run.load(run).evaluation_rows("test")
    edit(run, "new.npy", "other.npy")
    with pytest.raises(RunError, match="the data have changed"):
        Run.load(run).evaluation_rows("test")


def test_other_test_rows_are_noticed(tmp_path: Path) -> None:
    X = np.eye(6).repeat(12, 0)
    np.savez(tmp_path / "rows.npz", train=X, test=X[:9])
    data = {"source": str(tmp_path / "rows.npz"), "validation": 0.0}
    run = trained(tmp_path / "run", {"data": data, "train": {"lr": 0.01}})
    np.savez(tmp_path / "rows.npz", train=X, test=X[9:18])
    with pytest.raises(RunError, match="validation or test rows"):
        run.evaluation_rows("test")


def test_the_folder_of_a_data_set_with_a_name_may_be_named(copy: Path, tmp_path: Path) -> None:
    rows, _ = Run.load(copy).evaluation_rows("test", source=str(tmp_path))  # digits lie in no folder
    assert len(rows) == 360


# What strangers write --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["best", "last"])
def test_weights_that_are_not_finite_are_refused_by_name(name: str, value: float, copy: Path) -> None:
    file = copy / "checkpoints" / f"{name}.safetensors"
    with safe_open(file, "pt") as opened:
        facts = opened.metadata()
    weights = load_file(file)
    place = next(place for place in weights if weights[place].dim() == 2)
    weights[place][0, 1] = value
    save_file(weights, file, facts)
    message = one_sentence(fail(1, "evaluate", copy, "--checkpoint", name, "--particles", "2"))
    assert f"{place} has 1 of {weights[place].numel():,} values that are not finite" in message
    with pytest.raises(RunError, match=place):
        VAE.load(copy, checkpoint=name)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["weights", "optimizer"])
def test_a_state_that_is_not_finite_does_not_go_on(part: str, copy: Path) -> None:
    file = copy / "checkpoints" / "resume.pt"
    state = torch.load(file, weights_only=True)
    tensors = [
        leaf for leaf in torch.utils._pytree.tree_leaves(state[part]) if isinstance(leaf, torch.Tensor)
    ]
    next(leaf for leaf in tensors if leaf.dim() == 2)[0, 0] = float("nan")
    torch.save(state, file)
    with pytest.raises(RunError, match=r"resume\.pt cannot be used: .* 1 of"):
        Run.resume(copy, epochs=3)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("epoch", "second"),
        ("event_shape", "eight"),
        ("event_shape", '{"a": 1}'),
        ("event_shape", "[-1, 8]"),
        ("event_shape", "[8.5]"),
        ("code", "[]"),
        ("code", '{"a": 1}'),
        ("config", "3"),
        ("columns", "7"),
        ("threads", "100000"),
        ("threads", "-1"),
        ("threads", "many"),
    ],
)
def test_metadata_of_another_kind_are_one_sentence(fact: str, value: str, copy: Path) -> None:
    rewrite(copy / "checkpoints" / "best.safetensors", **{fact: value})
    assert "metadata have a wrong" in one_sentence(fail(1, "evaluate", copy))


def test_a_configuration_of_another_kind_in_the_metadata_is_one_sentence(copy: Path) -> None:
    rewrite(
        copy / "checkpoints" / "best.safetensors", changing=lambda sections: sections.update(prior=[None])
    )
    assert "prior" in one_sentence(fail(1, "evaluate", copy))


@pytest.mark.parametrize(
    "text", ["stretch = 3", "[[stretch]]\nfrom_epoch = 1", "a =", '[[stretch]]\nfrom_epoch = "1"\ntrain = {}']
)
def test_a_damaged_account_of_the_training_is_one_sentence(text: str, copy: Path) -> None:
    (copy / "training.toml").write_text(text)
    assert "training.toml is damaged" in one_sentence(fail(1, "evaluate", copy))


def test_an_entry_of_the_training_that_nobody_knows_is_a_sentence(copy: Path) -> None:
    file = copy / "training.toml"
    file.write_text(file.read_text().replace("batch_size", "batch_sise"))
    with pytest.raises(ConfigError, match=r"train\.batch_sise"):
        Run.load(copy)


@pytest.mark.parametrize("line", ['{"epoch": 1, "train_loss": "low"}', "[]", '{"epoch": 7}', "3"])
def test_a_line_of_metrics_of_another_kind_is_one_sentence(line: str, copy: Path) -> None:
    (copy / "metrics.jsonl").write_text(f"{line}\n")
    assert "metrics.jsonl is damaged" in one_sentence(fail(1, "evaluate", copy))


def test_data_that_cannot_be_read_where_they_are_are_said_as_ever(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "new.npy").write_text("no array")
    with pytest.raises(DataError, match=r"new\.npy cannot be read"):
        Run.load(moved / "run").evaluation_rows("test", source=str(tmp_path / "new.npy"))
