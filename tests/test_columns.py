"""Names of columns: kept by a run, and held against the names of all data that it is given later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyrovae import VAE
from pyrovae.cli import main
from pyrovae.data import from_arrays, load
from pyrovae.data._columns import check_columns
from pyrovae.errors import DataError

NAMES = ("age", "height", "weight")
ROWS = np.random.RandomState(0).randn(40, 3).astype(np.float32)
ORDER = r"in another order .* as 'age', 'height', 'weight', and not as 'weight', 'height', 'age'"
OTHERS = "lacks 'age' and has 'years', which the run was not trained on"


def records(names: tuple[str, ...] = NAMES) -> np.ndarray:
    """The columns of those names out of the rows."""
    columns = dict(zip((*NAMES, "years"), (*ROWS.T, ROWS[:, 0]), strict=True))
    table = np.zeros(len(ROWS), [(name, np.float32) for name in names])
    for name in names:
        table[name] = columns[name]
    return table


def frame(names: tuple[str, ...] = NAMES) -> Any:
    return pytest.importorskip("pandas").DataFrame(records(names))


def polars_frame(names: tuple[str, ...] = NAMES) -> Any:
    return pytest.importorskip("polars").DataFrame({name: records(names)[name] for name in names})


def table(names: tuple[str, ...] = NAMES) -> Any:
    return pytest.importorskip("pyarrow").table({name: records(names)[name] for name in names})


def small(**options: Any) -> VAE:
    return VAE(**{"likelihood": "gaussian", "latent_dim": 1, "epochs": 1, "verbose": False, **options})


@pytest.fixture(scope="module")
def vae() -> VAE:
    return small().fit(records())


@pytest.mark.parametrize("make", [records, frame, polars_frame, table])
def test_a_vae_knows_the_names_that_it_was_fitted_on(make: Any) -> None:
    fitted = small().fit(make())
    assert fitted.feature_names_in_.tolist() == list(NAMES)
    assert fitted.feature_names_in_.dtype == object
    assert fitted.n_features_in_ == 3


def test_a_vae_fitted_on_an_array_has_no_names() -> None:
    fitted = small().fit(ROWS)
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.n_features_in_ == 3
    assert not hasattr(small(), "feature_names_in_")


VERBS: dict[str, Any] = {
    "transform": VAE.transform,
    "reconstruct": VAE.reconstruct,
    "score_samples": lambda vae, X: vae.score_samples(X, particles=2),
    "score": VAE.score,
    "evaluate": lambda vae, X: vae.evaluate(X, particles=2),
    "diagnose": lambda vae, X: vae.diagnose(X, "active-units"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_other_columns(vae: VAE, verb: str) -> None:
    VERBS[verb](vae, records())
    with pytest.raises(DataError, match=ORDER):
        VERBS[verb](vae, records(NAMES[::-1]))
    with pytest.raises(DataError, match=OTHERS):
        VERBS[verb](vae, records(("years", *NAMES[1:])))
    with pytest.raises(DataError, match="has 'years', which"):
        VERBS[verb](vae, records((*NAMES, "years")))


@pytest.mark.parametrize("make", [frame, polars_frame, table])
def test_the_order_of_a_table_counts(vae: VAE, make: Any) -> None:
    assert np.array_equal(vae.transform(make()), vae.transform(records()))
    with pytest.raises(DataError, match=ORDER):
        vae.transform(make(NAMES[::-1]))


def test_names_survive_the_folder_and_hold_where_a_run_goes_on(tmp_path: Path) -> None:
    small().fit(records()).save(tmp_path / "run")
    loaded = VAE.load(tmp_path / "run", verbose=False)
    assert loaded.feature_names_in_.tolist() == list(NAMES)
    with pytest.raises(DataError, match=ORDER):
        loaded.resume(records(NAMES[::-1]), epochs=2)
    with pytest.warns(UserWarning, match="X has columns without names"):
        loaded.resume(ROWS, epochs=2)
    assert VAE.load(tmp_path / "run").feature_names_in_.tolist() == list(NAMES)


def test_data_without_names_are_taken_with_a_warning(vae: VAE) -> None:
    with pytest.warns(UserWarning, match="X has columns without names, .* trained on columns with"):
        found = vae.transform(ROWS)
    assert np.array_equal(found, vae.transform(records()))
    nameless = small().fit(ROWS)
    with pytest.warns(UserWarning, match="X has columns with names, .* trained on columns without"):
        nameless.transform(records())


def test_columns_that_are_numbered_have_no_names_but_an_order() -> None:
    pandas = pytest.importorskip("pandas")
    fitted = small().fit(pandas.DataFrame(ROWS))
    assert not hasattr(fitted, "feature_names_in_")
    fitted.transform(ROWS)
    with pytest.raises(DataError, match=r"in another order .* as '0', '1', '2', and not as '2', '1', '0'"):
        fitted.transform(pandas.DataFrame(ROWS)[[2, 1, 0]])


@pytest.mark.parametrize("labels", [[2001, 2002, 2003], ["a", 1, 2], [("a", "x"), ("a", "y"), ("b", "x")]])
def test_labels_of_any_kind_are_names(labels: list[Any]) -> None:
    pandas = pytest.importorskip("pandas")
    named = pandas.DataFrame(ROWS)
    named.columns = pandas.Index(labels)
    assert from_arrays(named).columns == tuple(map(str, labels))


def test_held_out_rows_of_a_file_have_the_columns_of_the_training_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", train=records(), test=records(NAMES[::-1]))
    with pytest.raises(DataError, match=r"^rows\.npz \(test\) has its columns in another order"):
        load(str(tmp_path / "rows.npz"))


def test_long_lists_of_names_are_cut_short() -> None:
    names = tuple(f"gene {i}" for i in range(1000))
    with pytest.raises(DataError, match=r"'gene 19', \.\.\. \(1000 in all\)") as caught:
        check_columns("X", names[::-1], names)
    assert len(str(caught.value)) < 700


COMMANDS = {
    "evaluate": ["--particles", "2"],
    "reconstruct": ["-n", "2"],
    "score": ["--particles", "2"],
    "embed": [],
    "denoise": ["-n", "2", "--noise", "mask:0.1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on a file with a header, and other such files."""
    root = tmp_path_factory.mktemp("columns")
    np.save(root / "own.npy", records())
    np.save(root / "same.npy", records()[:20])
    np.save(root / "turned.npy", records(NAMES[::-1]))
    np.save(root / "others.npy", records(("years", *NAMES[1:])))
    options = ["--likelihood", "gaussian", "--epochs", "1", "--latent-dim", "1"]
    main_(["train", "--data", root / "own.npy", "--run", root / "run", *options])
    return root


def main_(arguments: list[Any]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    assert not stopped.value.code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_other_columns(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def given(name: str) -> list[str]:
        return [command, str(folder / "run"), "--data", str(folder / name), *COMMANDS[command]]

    main_(given("same.npy"))
    for name, message in (("turned.npy", "error: turned.npy has its columns in another order"),
                          ("others.npy", "error: others.npy has other columns")):  # fmt: skip
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(given(name))
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err


def test_a_file_whose_columns_were_turned_is_not_the_runs_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "own.npy", records())
    main_(["train", "--data", tmp_path / "own.npy", "--run", tmp_path / "run", "--likelihood", "gaussian",
           "--epochs", "1", "--latent-dim", "1"])  # fmt: skip
    np.save(tmp_path / "own.npy", records(NAMES[::-1]))
    for arguments in (
        ["evaluate", tmp_path / "run"],
        ["train", "--resume", tmp_path / "run", "--epochs", "2"],
    ):
        with pytest.raises(SystemExit):
            main(list(map(str, arguments)))
        assert "own.npy has its columns in another order" in capsys.readouterr().err


def test_the_checkpoint_tells_the_names(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "run/checkpoints/best.safetensors", "pt") as opened:
        assert json.loads(opened.metadata()["columns"]) == list(NAMES)


def test_a_row_of_a_table_has_the_names_of_its_columns(vae: VAE) -> None:
    start, end = frame().iloc[0], frame().iloc[1]
    assert vae.interpolate(start, end, 3).shape == (3, 3)
    with pytest.raises(DataError, match=ORDER):
        vae.interpolate(start[::-1], end)
    with pytest.raises(DataError, match=ORDER):
        vae.traverse(frame(), at=end[::-1])
