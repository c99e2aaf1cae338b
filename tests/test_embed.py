"""Codes of data, in files and as a map: exact, the same every time, and shown as they are."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from accelerator import pretended
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from sklearn.decomposition import PCA
from test_accelerator import moved
from test_cli import fail, one_sentence, succeed
from torch import Size, Tensor

from pyrovae import VAE, generate, plots
from pyrovae.cli import embedding
from pyrovae.config import resolve
from pyrovae.data import Split
from pyrovae.embed import AVERAGED, METHODS, embed, flatten, mapped
from pyrovae.errors import ConfigError
from pyrovae.programs import Program
from pyrovae.run import Run

N = 360
"""Test rows of the digits."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with two latent coordinates, trained for an epoch on a few digits."""
    config = resolve(
        {"latent_dim": 2, "network": {"name": "mlp", "hidden": [8]}},
        {"data": {"limit": 60}, "train": {"epochs": 1, "watch": 0}},
    )
    started = Run.start(config, path=tmp_path_factory.mktemp("runs") / "run")
    assert len(list(started.train())) == 1
    return started


@pytest.fixture(scope="module")
def path(run: Run) -> Path:
    assert run.folder is not None
    return run.folder.path


@pytest.fixture(scope="module")
def rows(run: Run) -> Split:
    found, _ = run.evaluation_rows()
    assert len(found) == N
    return found


def test_means_and_scales_are_the_guide_s_own(run: Run, rows: Split) -> None:
    codes = embed(run.program, rows, scales=True)
    with torch.no_grad():
        q = run.program.encode(rows.rows(slice(None)))
    torch.testing.assert_close(codes.mean, q.mean)
    torch.testing.assert_close(codes.scale, q.stddev)
    assert codes.draws is None


def test_codes_are_the_same_every_time_and_those_of_transform(
    path: Path, rows: Split, untouched: None
) -> None:
    vae = VAE.load(path, verbose=False)
    first, second = (embed(vae.run.program, rows, scales=True, draws=4, seed=3) for _ in range(2))
    assert first.names == second.names == ["z[0]", "z[1]"]
    assert all(torch.equal(one, other) for one, other in zip(first[1:], second[1:], strict=True))
    grey = torch.as_tensor(rows.raw).numpy()
    assert np.array_equal(vae.transform(grey), first.mean.numpy())


def test_draws_are_of_q_and_those_of_a_datum_know_no_other(run: Run, rows: Split) -> None:
    codes = embed(run.program, rows, scales=True, draws=4000)
    assert codes.draws is not None
    assert codes.scale is not None
    assert codes.draws.shape == (N, 4000, 2)
    errors = (codes.draws.mean(1) - codes.mean) / (codes.scale / 4000**0.5)
    assert errors.abs().max() < 4.5
    torch.testing.assert_close(codes.draws.std(1), codes.scale, rtol=0.06, atol=0)
    few = embed(run.program, rows.take(torch.arange(5)), draws=4000)
    torch.testing.assert_close(few.draws, codes.draws[:5])
    other = embed(run.program, rows, draws=4000, seed=1)
    assert not torch.isclose(other.draws, codes.draws).any(-1).all()


def test_codes_do_not_depend_on_how_many_data_are_read_at_a_time(
    rows: Split, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = rows.take(torch.arange(20))
    whole = embed(run.program, some, scales=True, draws=2)
    monkeypatch.setattr("pyrovae.data._dataset._CHUNK_CELLS", 7 * 64)
    assert [len(x) for x in some.batches()] == [7, 7, 6]
    for one, other in zip(embed(run.program, some, scales=True, draws=2)[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, other)
    monkeypatch.setattr(generate, "CELLS_AT_ONCE", 3 * 64 * 2)  # three data with two draws each
    for one, other in zip(embed(run.program, some, scales=True, draws=2)[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_a_negative_number_of_draws_is_refused(run: Run, rows: Split) -> None:
    with pytest.raises(ValueError, match="draws must be at least 0, not -1"):
        embed(run.program, rows, draws=-1)


class Hierarchy(Program):
    """u ~ N(0, 1), then v ~ N(u, 2): a scale of 2 given u, and of the root of 5 without."""

    def __init__(self) -> None:
        super().__init__(Size([3]))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            u, v = self.codes(len(x))
            mean = torch.cat([u.unsqueeze(-1), v], dim=-1)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            self.codes(len(x))

    def codes(self, n: int) -> tuple[Tensor, Tensor]:
        u = pyro.sample("u", dist.Normal(torch.zeros(n), 1.0))
        return u, pyro.sample("v", dist.Normal(u.unsqueeze(-1).expand(*u.shape, 2), 2.0).to_event(1))


def test_a_scale_that_another_variable_widens_is_not_the_conditional_one() -> None:
    codes = embed(Hierarchy(), Split(torch.zeros(200, 3)), scales=True)
    assert codes.scale is not None
    assert codes.scale.shape == (200, 3)
    expected = torch.tensor([1.0, 5**0.5, 5**0.5])
    torch.testing.assert_close(codes.scale.mean(0), expected, rtol=0.03, atol=0)
    assert codes.scale.std() > 0  # of 100 draws, and not in closed form
    assert AVERAGED == 100


@pytest.mark.parametrize(
    ("prior", "posterior", "size"),
    [("dirichlet", "logistic-normal", 3), ("categorical", "categorical", 30), ("sphere", "power-sphere", 3)],
)
def test_codes_of_other_sets(prior: str, posterior: str, size: int, make: Callable[..., Program]) -> None:
    program = make(prior=prior, posterior=posterior, latent_dim=3)
    codes = embed(program, Split(torch.randn(20, 6)), scales=True, draws=3)
    assert codes.mean.shape == (20, size)
    assert codes.scale is not None
    assert codes.scale.shape == (20, size)
    assert (codes.scale >= 0).all()
    assert codes.draws is not None
    assert codes.draws.shape == (20, 3, size)


@pytest.mark.parametrize("posterior", ["normal", "planar"])  # with moments in closed form, and without
def test_codes_and_maps_are_the_same_on_every_device(posterior: str, make: Callable[..., Any]) -> None:
    program, x = make(posterior=posterior), torch.randn(9, 6)
    there, far = moved(program, x)
    near = embed(program, Split(x), scales=True, draws=2)
    with pretended(draws=True):
        found = [values.cpu() for values in embed(there, Split(far), scales=True, draws=2)[1:]]
        shown = mapped(there, Split(far), limit=5)
    for one, other in zip(found, near[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    expected = mapped(program, Split(x), limit=5)
    for one, other in ((shown.points, expected.points), (shown.prior, expected.prior)):
        assert one.device.type == "cpu"
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def read_csv(file: Path) -> dict[str, Any]:
    with file.open(newline="", encoding="utf-8") as opened:
        header, *lines = csv.reader(opened)
    columns = list(zip(*lines, strict=True))
    return {name: np.array(column) for name, column in zip(header, columns, strict=True)}


def test_csv_and_npz_hold_the_same_numbers(path: Path, rows: Split, run: Run, tmp_path: Path) -> None:
    for suffix in (".csv", ".npz"):
        out = tmp_path / f"codes{suffix}"
        assert succeed("embed", path, "--scales", "--draws", 2, "--out", out).out == f"{out}\n"
    table = read_csv(tmp_path / "codes.csv")
    with np.load(tmp_path / "codes.npz") as archive:
        arrays = dict(archive)
    assert list(arrays) == ["row", "label", "mean", "scale", "draws"]
    assert list(table) == [
        *("row", "label", "z[0]", "z[1]", "scale_z[0]", "scale_z[1]"),
        *("draw_1_z[0]", "draw_1_z[1]", "draw_2_z[0]", "draw_2_z[1]"),
    ]
    assert table["row"].astype(int).tolist() == arrays["row"].tolist() == list(range(N))
    assert table["label"].astype(int).tolist() == arrays["label"].tolist() == list(rows.labels)
    for j in range(2):
        columns = {"z": arrays["mean"], "scale_z": arrays["scale"]}
        columns |= {f"draw_{s + 1}_z": arrays["draws"][:, s] for s in range(2)}
        for name, values in columns.items():
            assert np.array_equal(table[f"{name}[{j}]"].astype(np.float32), values[:, j]), name
    assert np.array_equal(arrays["mean"], embed(run.program, rows).mean.numpy())


def test_the_default_file_is_in_the_run_and_holds_means_only(path: Path) -> None:
    assert succeed("embed", path, "--split", "train").out == f"{path / 'codes.npz'}\n"
    with np.load(path / "codes.npz") as archive:
        assert set(archive) == {"row", "label", "mean"}


def test_data_without_labels_and_with_text_for_labels(path: Path, tmp_path: Path, rows: Split) -> None:
    grey = torch.as_tensor(rows.raw).numpy().astype(np.uint8)
    np.save(tmp_path / "plain.npy", grey)
    names = np.array(["a,b", 'say "c"'] * (N // 2))
    np.savez(tmp_path / "named.npz", x=grey, y=names)
    for name in ("plain.npy", "named.npz"):
        succeed("embed", path, "--data", tmp_path / name, "--out", tmp_path / f"{name}.csv")
    assert "label" not in read_csv(tmp_path / "plain.npy.csv")
    assert read_csv(tmp_path / "named.npz.csv")["label"].tolist() == names.tolist()


def test_formats_that_contradict_or_are_none_are_refused_before_anything_is_read() -> None:
    nowhere = Path("nowhere")
    for suffix in (".png", ".xlsx"):
        error = one_sentence(fail(2, "embed", nowhere, "--out", f"codes{suffix}"))
        assert error == f"error: --out: codes are written as .npz, .csv, .parquet, and not as {suffix}\n"
    error = one_sentence(fail(2, "embed", nowhere, "--out", "codes.csv", "--format", "npz"))
    assert error == "error: --format: is npz, but --out ends in .csv\n"


def test_parquet_asks_for_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    error = one_sentence(fail(2, "embed", "nowhere", "--format", "parquet"))
    assert "pip install pyarrow" in error


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_holds_the_same_table(path: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    for suffix in (".csv", ".parquet"):
        succeed("embed", path, "--scales", "--out", tmp_path / f"codes{suffix}")
    table, text = parquet.read_table(tmp_path / "codes.parquet"), read_csv(tmp_path / "codes.csv")
    assert table.column_names == list(text)
    for name in table.column_names:
        values = table[name].to_numpy()
        assert np.array_equal(values, text[name].astype(values.dtype)), name


def test_the_map_of_two_latents_is_the_codes_themselves_over_draws_from_the_model(
    run: Run, rows: Split, untouched: None
) -> None:
    found = mapped(run.program, rows)
    assert torch.equal(found.points, embed(run.program, rows).mean)
    assert found.axes == ("z[0]", "z[1]")
    assert found.labels.tolist() == list(rows.labels)
    assert torch.equal(found.prior, generate.sample(run.program, 1000).z)
    figure = plots.code_map(found.points, found.labels, axes=found.axes, behind=found.prior)
    (axis,) = figure.axes
    prior, *clusters = (part for part in axis.collections if isinstance(part, PathCollection))
    assert np.allclose(prior.get_offsets(), found.prior)
    digits = np.unique(found.labels)
    for digit, cluster in zip(digits, clusters, strict=True):
        assert np.allclose(cluster.get_offsets(), found.points[torch.as_tensor(found.labels == digit)])
    assert (axis.get_xlabel(), axis.get_ylabel()) == found.axes


def test_a_limit_takes_the_same_rows_every_time_and_other_rows_for_another_seed(
    run: Run, rows: Split
) -> None:
    first, second, other = (mapped(run.program, rows, limit=7, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.rows, second.rows)
    assert not torch.equal(first.rows, other.rows)
    assert torch.equal(first.points, embed(run.program, rows).mean[first.rows])
    assert first.labels.tolist() == rows.labels[first.rows.numpy()].tolist()


def test_pca_is_that_of_scikit_learn_with_the_largest_entry_of_a_direction_above_0() -> None:
    codes = torch.randn(50, 6) * torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5, 0.1]) + 5
    points, axes = flatten(codes)
    reference = PCA(2).fit(codes.double().numpy())
    expected = torch.from_numpy(reference.transform(codes.double().numpy()))
    signs = torch.tensor([direction[abs(direction).argmax()] for direction in reference.components_]).sign()
    torch.testing.assert_close(points, expected * signs)
    for name, share in zip(axes, reference.explained_variance_ratio_, strict=True):
        assert name.endswith(f"({share:.0%} of the variance)")


def test_codes_that_have_collapsed_are_one_point() -> None:
    points, axes = flatten(torch.ones(9, 4))
    assert points.abs().max() < 1e-6
    assert axes[0] == "principal component 1 (0% of the variance)"


def test_t_sne_is_the_same_every_time_and_keeps_clusters_apart(untouched: None) -> None:
    centres = 20 * torch.eye(3, 5).repeat_interleave(6, 0)
    codes = centres + torch.randn(18, 5, generator=torch.Generator().manual_seed(0))
    first, second = (flatten(codes, "tsne", seed=4) for _ in range(2))
    assert torch.equal(first.points, second.points)
    distances = torch.cdist(first.points, first.points)
    same = torch.block_diag(*[torch.ones(6, 6)] * 3).bool()
    assert distances[same].max() < distances[~same].min()


def test_t_sne_takes_a_seed_of_any_size() -> None:
    assert flatten(torch.randn(9, 3), "tsne", seed=2**32).points.isfinite().all()


def test_umap_is_given_a_seed_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    class Umap:
        def __init__(self, *, random_state: int, **_: Any) -> None:
            given.append(random_state)

        def fit_transform(self, codes: np.ndarray) -> np.ndarray:
            return codes[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    for seed in (0, 2**32):
        flatten(torch.randn(9, 3), "umap", seed=seed)
    assert all(0 <= seed < 2**32 for seed in given)
    assert len(set(given)) == 2


def test_methods_that_cannot_be_used_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def message(codes: Tensor, method: str | None = None) -> str:
        with pytest.raises(ConfigError) as raised:
            flatten(codes, method)
        return str(raised.value)

    assert "these have one" in message(torch.zeros(9, 1))
    assert "give pca, tsne, umap" in message(torch.zeros(9, 3), "nonsense")
    assert "needs 5 rows or more, and there are 4" in message(torch.zeros(4, 3))
    monkeypatch.setitem(sys.modules, "umap", None)
    assert "pip install umap-learn" in message(torch.zeros(9, 3), "umap")
    assert [method.value for method in embedding.Method] == list(METHODS)


def looks(figure: Any) -> list[tuple[str, Any]]:
    """Colour and marker of every cluster of a map."""
    return [
        (to_hex(part.get_facecolor()[0]), part.get_paths()[0].vertices.tobytes())
        for part in figure.axes[0].collections
    ]


@pytest.mark.parametrize("labels", [2, 8, 9, 10, 20])
def test_labels_are_told_apart_and_named_in_the_legend_and_at_their_medians(labels: int) -> None:
    label = torch.arange(5 * labels) % labels
    points = torch.randn(5 * labels, 2) + 10 * torch.stack([label % 5, label // 5], 1)
    figure = plots.code_map(points, label)
    assert len(set(looks(figure))) == labels
    names = [str(name) for name in range(labels)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    for name, text in zip(names, figure.axes[0].texts, strict=True):
        assert text.get_text() == name
        assert np.allclose(text.xy, np.median(points[label == int(name)], axis=0))


def test_names_of_labels_at_the_same_place_stand_beside_each_other() -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.5], [0.99, 0.5], [10.0, 10.0]])
    figure = plots.code_map(points, torch.arange(5))
    places = torch.tensor([text.xy for text in figure.axes[0].texts])
    distances = torch.cdist(places, places) + 10 * torch.eye(5)
    assert distances.min() > 0.99 * 0.04 * 10
    assert (places - points).norm(dim=1).max() < 0.5
    assert torch.equal(places[4], points[4])


def test_a_label_is_written_as_it_is(tmp_path: Path) -> None:
    names = np.array(["$x^{$", "_hidden", "<b>", "a\\b"] * 3)
    figure = plots.code_map(torch.randn(12, 2), names, title="data of $a$b.npy")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == sorted(set(names))
    plots.save(figure, tmp_path / "map.png")  # matplotlib reads formulas when it draws
    assert (tmp_path / "map.png").stat().st_size > 0


def test_many_numbers_are_a_colour_bar_and_many_texts_or_none_one_colour() -> None:
    points = torch.randn(30, 2)
    figure = plots.code_map(points, torch.arange(30))
    assert len(figure.axes) == 2
    assert figure.axes[1].get_ylabel() == "label"
    for labels in (None, np.array([f"name {i}" for i in range(30)])):
        figure = plots.code_map(points, labels)
        assert len(figure.axes) == 1
        assert not figure.legends
        assert not figure.axes[0].texts
        assert np.allclose(figure.axes[0].collections[0].get_offsets(), points)


def test_the_command_draws_the_map_into_the_run(path: Path, tmp_path: Path) -> None:
    assert succeed("map", path).out == f"{path / 'map.png'}\n"
    assert succeed("map", path, "--method", "pca", "--rows", 9, "--out", tmp_path / "two").out == (
        f"{tmp_path / 'two.png'}\n"
    )
    pixels = plots.png(plots.grid(torch.rand(4, 8, 8)))
    assert pixels.startswith(b"\x89PNG")
    assert (path / "map.png").read_bytes()[:4] == pixels[:4]
