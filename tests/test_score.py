"""Scores of data, thresholds and contributions of cells: against the same numbers from other code."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import Build
from sklearn.metrics import roc_auc_score
from test_cli import End, fail, one_sentence, succeed
from torch import Tensor

from pyrovae import plots
from pyrovae import score as scoring
from pyrovae.data import Split
from pyrovae.errors import DataError
from pyrovae.evaluate import evaluate
from pyrovae.importance import Trust, highest_k
from pyrovae.score import (
    NoProductOverCells,
    auroc,
    contributions,
    reference_rows,
    rows_needed,
    score,
    threshold,
)

CELLS = 6


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, CELLS).round()


# Scores ----------------------------------------------------------------------------------------------------


def test_a_score_is_minus_the_log_likelihood_with_its_error(make: Build, x: Tensor) -> None:
    program = make(likelihood="bernoulli")
    found, estimates = score(program, [x], particles=50, seed=3), evaluate(program, [x], particles=50, seed=3)
    assert torch.equal(found.surprise, -estimates.log_likelihood)
    assert torch.equal(found.pareto_k, estimates.pareto_k)
    assert torch.equal(found.error.nan_to_num(), estimates.log_likelihood_error.nan_to_num())


def test_scores_come_near_the_integral_over_codes(make: Build, x: Tensor) -> None:
    program = make(likelihood="bernoulli", latent_dim=1)
    grid = torch.linspace(-8, 8, 4001).unsqueeze(-1)
    with torch.no_grad():
        log_joint = program.decode(grid.unsqueeze(1)).log_prob(x) + dist.Normal(0, 1).log_prob(grid)
    exact = -(log_joint.double().logsumexp(0) + np.log(16 / 4000))
    found = score(program, [x], particles=4000)
    assert found.trust.of_rows.all()
    assert ((found.surprise - exact).abs() < 5 * found.error + 1e-4).all()


def test_an_untrusted_score_has_no_error(make: Build) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 0.01})
    found = score(program, [3 * torch.randn(8, CELLS)], particles=30)
    assert (found.pareto_k > highest_k(30)).any()
    assert found.error.isnan().all()


def test_at_a_point_there_is_no_error(make: Build, x: Tensor) -> None:
    program = make(likelihood="bernoulli", posterior="delta")
    found = score(program, [x], particles=30)
    with torch.no_grad():
        z = program.encode(x).mean
        log_joint = program.decode(z).log_prob(x) + dist.Normal(0, 1).log_prob(z).sum(-1)
    assert torch.allclose(found.surprise.float(), -log_joint, atol=1e-4)
    assert found.error.isnan().all()


def test_the_ranking_begins_with_the_highest_score() -> None:
    surprise = torch.tensor([1.0, 3.0, 2.0, 3.0])
    assert scoring.Scores(surprise, surprise, surprise, Trust(surprise, 30)).ranking.tolist() == [1, 3, 2, 0]


# Thresholds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "rank"), [(0.9, 91), (0.905, 92), (0.99, 100), (0.5, 51), (0.001, 1)])
def test_a_threshold_is_the_order_statistic_of_one_more_datum(level: float, rank: int) -> None:
    held_out = torch.arange(1.0, 101.0)[torch.randperm(100)]
    assert threshold(held_out, level).value == rank


@pytest.mark.parametrize(("n", "level"), [(9, 0.9), (20, 0.9), (99, 0.99), (7, 0.5)])
def test_a_new_datum_is_above_a_threshold_no_more_often_than_promised(n: int, level: float) -> None:
    draws = torch.randn(20_000, n + 1, dtype=torch.float64)
    rank = int(threshold(torch.arange(1.0, n + 1), level).value)
    above = (draws[:, 0] > draws[:, 1:].kthvalue(rank, dim=1).values).double().mean().item()
    exact = 1 - rank / (n + 1)
    assert 1 - level - 1 / (n + 1) < exact <= 1 - level + 1e-12  # no more than promised, and no rank too high
    assert above == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.parametrize(
    ("level", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999), (0.5, 1), (0.05, 1)]
)
def test_a_threshold_of_too_few_rows_is_refused_with_how_many_it_needs(level: float, needed: int) -> None:
    assert rows_needed(level) == needed
    assert threshold(torch.arange(float(needed)), level).value == needed - 1
    with pytest.raises(DataError, match=f"needs {needed} held-out rows or more, and there are {needed - 1}"):
        threshold(torch.arange(needed - 1.0), level)


def test_a_score_that_is_not_a_number_counts_as_the_highest() -> None:
    held_out = torch.tensor([math.nan, 1.0, 2.0, math.inf])
    assert [threshold(held_out, level).value for level in (0.2, 0.4, 0.6)] == [1.0, 2.0, math.inf]
    assert math.isnan(threshold(held_out, 0.8).value)


def test_the_error_of_a_threshold_is_that_of_its_rank() -> None:
    draws = torch.randn(4000, 400, dtype=torch.float64)
    found = [threshold(row, 0.9) for row in draws[:300]]
    spread = draws.kthvalue(361, dim=1).values.std().item()
    # Ranks are rounded outwards: 13 of them instead of 12.
    assert np.mean([each.data_error for each in found]) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize(("n", "level"), [(1, 0.5), (99, 0.99), (100, 0.001)])
def test_a_threshold_at_the_end_of_the_data_has_no_error(n: int, level: float) -> None:
    found = threshold(torch.rand(n), level)
    assert math.isfinite(found.value)
    assert math.isnan(found.data_error)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(torch.rand(9), level)


def test_reference_rows_are_different_rows_in_their_order(untouched: None) -> None:
    rows = Split(torch.arange(50.0).unsqueeze(1))
    chosen = reference_rows(rows, 20).rows(slice(None)).flatten().tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 20
    assert chosen != reference_rows(rows, 20, seed=1).rows(slice(None)).flatten().tolist()
    assert len(reference_rows(rows, 90)) == 50


def test_the_area_under_the_curve_is_scikit_learns_and_its_error_that_of_all_pairs() -> None:
    usual, outlying = torch.randint(0, 9, (40,)).double(), torch.randint(3, 12, (25,)).double()
    found = auroc(usual, outlying)
    labels = np.repeat([0, 1], [40, 25])
    assert found.value == pytest.approx(roc_auc_score(labels, torch.cat([usual, outlying]).numpy()))
    pairs = (outlying > usual.unsqueeze(1)).double() + 0.5 * (outlying == usual.unsqueeze(1))
    variance = pairs.mean(1).var() / 40 + pairs.mean(0).var() / 25
    assert found.data_error == pytest.approx(variance.sqrt().item())


def test_the_error_of_an_area_is_its_spread_over_data() -> None:
    areas = [auroc(torch.randn(60), torch.randn(40) + 1) for _ in range(400)]
    spread = np.std([area.value for area in areas])
    assert np.mean([area.data_error for area in areas]) == pytest.approx(spread, rel=0.12)


# Contributions ---------------------------------------------------------------------------------------------


def test_contributions_of_a_datum_have_its_own_noise_wherever_it_stands(make: Build, x: Tensor) -> None:
    program = make()
    found = contributions(program, [x], draws=3)
    assert torch.equal(contributions(program, [x[[4, 1]]], draws=3, numbers=[4, 1]), found[[4, 1]])


def test_contributions_of_bits_are_their_cross_entropies(make: Build, x: Tensor) -> None:
    program = make(likelihood="bernoulli", posterior="delta")
    found = contributions(program, [x[:2], x[2:]], draws=3)
    with torch.no_grad():
        p = program.decode(program.encode(x).mean).mean.double()
    assert torch.allclose(found, -(x * p.log() + (1 - x) * (1 - p).log()), atol=1e-5)


def test_contributions_are_means_over_the_guide_that_add_up_to_the_reconstruction(
    make: Build, x: Tensor
) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 0.5})
    found = contributions(program, [x], draws=2000).sum(1)
    estimates = evaluate(program, [x], particles=2000, tails=False)
    assert ((found + estimates.reconstruction).abs() < 8 * estimates.reconstruction_error).all()


@pytest.mark.parametrize("likelihood", ["categorical", "poisson", "gaussian", "negative-binomial"])
def test_cells_of_every_product_are_shaped_as_the_data(likelihood: str, make: Build, x: Tensor) -> None:
    program = make(likelihood=likelihood, posterior="delta")
    found = contributions(program, [x], draws=2)
    with torch.no_grad():
        log_p = program.decode(program.encode(x).mean).log_prob(x)
    assert found.shape == x.shape
    assert torch.allclose(-found.sum(1).float(), log_p, rtol=1e-5)


@pytest.mark.parametrize(
    ("likelihood", "shape"), [("multinomial", (CELLS,)), ("discretized-logistic-mixture", (3, 2, 2))]
)
def test_cells_that_depend_on_each_other_have_no_contributions(
    likelihood: str, shape: tuple[int, ...], make: Build
) -> None:
    program = make(event_shape=shape, likelihood=likelihood)
    with pytest.raises(NoProductOverCells, match="no product over cells"):
        contributions(program, [torch.ones(2, *shape)])


def test_noise_of_a_datum_is_a_function_of_seed_and_number(
    make: Build, x: Tensor, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make()
    found = contributions(program, [x], draws=4)
    assert torch.allclose(found, contributions(program, [x[:3], x[3:]], draws=4), rtol=1e-5)
    assert not torch.allclose(found, contributions(program, [x], draws=4, seed=1), rtol=1e-5)
    monkeypatch.setattr(scoring, "CELLS_AT_ONCE", 1)
    assert torch.allclose(found, contributions(program, [x], draws=4), rtol=1e-5)


def test_contributions_need_a_draw(make: Build, x: Tensor) -> None:
    with pytest.raises(ValueError, match="draws"):
        contributions(make(), [x], draws=0)


# Figures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(CELLS,), (8, 8), (3, 4, 4)])
@pytest.mark.parametrize("known", [True, False])
def test_scores_are_drawn_above_the_most_surprising_data(
    shape: tuple[int, ...], known: bool, tmp_path: Path
) -> None:
    data, captions = torch.rand(3, *shape), ["label 1\nrow 2", "b", "c"]
    surprising = plots.Surprising(data, captions, data / 2 if known else None)
    extra: dict[str, Any] = {"reference": torch.randn(50), "threshold": 2.0} if known else {}
    figure = plots.scores(torch.randn(30), surprising, title="a title", **extra)
    plots.save(figure, tmp_path / "scores.png")
    texts = [axis.get_xlabel() for axis in figure.axes]
    assert "$-$log p(x), nats" in texts
    entries = [
        text.get_text() for axis in figure.axes if axis.get_legend() for text in axis.get_legend().texts
    ]
    assert ("threshold 2" in entries) == known


def heat(figure: Any) -> tuple[Any, str]:
    """The numbers of the only heat map, and what its bar is called."""
    (image,) = (image for axis in figure.axes for image in axis.images)
    return np.asarray(image.get_array()), image.colorbar.ax.get_ylabel()


def test_of_a_table_is_shown_by_how_much_cells_differ_from_the_usual() -> None:
    surprise = torch.rand(9, CELLS)
    constant = torch.logspace(-4, 6, CELLS).log()  # of scales

    def shown(rows: int, added: Tensor = surprise) -> tuple[Any, str]:
        chosen = plots.Surprising(added[:rows], "a" * rows, added[:rows])
        return heat(plots.scores(torch.randn(30), chosen))

    values, unit = shown(9, surprise + constant)
    assert values == pytest.approx((surprise - surprise.median(0).values)[:8].numpy(), abs=1e-5)
    assert "less its median\nover these 9 rows, nats" in unit
    values, unit = shown(1)
    assert values == pytest.approx(surprise[:1].numpy())
    assert "median" not in unit


@pytest.mark.parametrize("shape", [(CELLS,), (8, 8)])
@pytest.mark.parametrize("score", [math.inf, math.nan])
def test_scores_that_are_not_finite_are_counted_and_left_out(
    shape: tuple[int, ...], score: float, tmp_path: Path
) -> None:
    surprising = plots.Surprising(torch.rand(2, *shape), "ab", torch.full((2, *shape), score))
    figure = plots.scores(torch.full((4,), score), surprising, reference=torch.tensor([1.0, score]))
    plots.save(figure, tmp_path / "scores.png")
    (legend,) = (axis.get_legend() for axis in figure.axes if axis.get_legend())
    counts = [text.get_text() for text in legend.get_texts()]
    assert counts == ["1 finite of 2 held-out rows", "0 finite of 4 rows scored"]
    plots.scores(torch.full((4,), score), surprising)


def test_a_curve_has_the_area_that_it_is_labelled_with() -> None:
    usual, outlying = torch.randint(0, 9, (40,)).double(), torch.randint(3, 12, (25,)).double()
    figure = plots.detection({"score": plots.Detection(usual, outlying, "area")}, title="title")
    _, curve = figure.axes[0].lines
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(auroc(usual, outlying).value)


# The command -----------------------------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Six rows, of which the third is like no digit."""
    rows = np.zeros((6, 1, 8, 8), np.float32)
    rows[:, :, :, 2:6] = 1
    rows[2] = np.indices((8, 8)).sum(0) % 2
    np.save(tmp_path / "odd.npy", rows)
    return tmp_path / "odd.npy"


def lines(end: End) -> list[dict[str, Any]]:
    return [json.loads(line) for line in end.out.splitlines()]


def test_a_line_of_json_for_each_row_the_most_surprising_first(
    run: Path, odd: Path, empty_pictures: None
) -> None:
    end = succeed("score", run, "--data", odd, "--threshold", "0.05", "--particles", "30", "--jsonl")
    found = lines(end)
    assert sorted(line["row"] for line in found) == list(range(6))
    assert found[0]["row"] == 2
    scores = [line["score_nats"] for line in found]
    assert scores == sorted(scores, reverse=True)
    limit = float(re.search(r"threshold ([\d.]+) nats", end.err)[1])  # type: ignore[index]
    assert [line["flagged"] for line in found] == [score > limit for score in scores]
    assert found[0]["flagged"]
    assert all(line["error_nats"] is None for line in found)
    assert "k-hat is above 0.32 for" in end.err
    assert "So the score has no error that could be trusted" in end.err
    assert "an upper bound of -log p(x) in expectation" in end.err
    assert str(run / "scores.png") in end.err
    assert (run / "scores.png").exists()


def test_a_threshold_comes_from_the_validation_rows_and_from_no_training_rows(run: Path) -> None:
    arguments = ("--threshold", "0.5", "--particles", "30", "--top", "0", "--jsonl")
    end = succeed("score", run, "--split", "validation", *arguments)
    found = lines(end)
    n = len(found)
    flags = [line["flagged"] for line in found]
    assert sum(flags) == n - math.ceil((n + 1) / 2)
    assert flags == sorted(flags, reverse=True)
    assert (
        f"from {n} validation rows: a new row like these is above it with a probability of at most 0.5"
        in end.err
    )
    assert "about new rows: these rows set it" in end.err
    assert (
        "about new rows: these rows were trained on"
        in succeed("score", run, "--split", "train", *arguments).err
    )
    assert "about new rows" not in succeed("score", run, *arguments).err


def test_the_most_surprising_data_are_drawn_under_their_names(
    run: Path, odd: Path, monkeypatch: pytest.MonkeyPatch, empty_pictures: None
) -> None:
    drawn: list[plots.Surprising] = []
    draw = plots.scores
    monkeypatch.setattr(
        plots, "scores", lambda *given, **more: drawn.append(given[1]) or draw(*given, **more)
    )
    found = lines(succeed("score", run, "--data", odd, "--particles", "30", "--top", "2", "--jsonl"))
    (surprising,) = drawn
    assert list(surprising.captions) == [
        f"row {line['row']}\n{line['score_nats']:.1f} nats" for line in found[:2]
    ]
    assert np.array_equal(surprising.data[0], np.load(odd)[2])
    assert surprising.contributions is not None
    assert surprising.contributions.shape == (2, 1, 8, 8)


def test_the_highest_scores_are_printed_and_all_are_in_the_file(run: Path, tmp_path: Path) -> None:
    arguments = ("score", run, "--split", "train", "--particles", "5", "--top", "0")
    found = lines(succeed(*arguments, "--jsonl"))
    out = succeed(*arguments, "--out", tmp_path / "all").out
    assert out.splitlines()[0] == f"the 10 highest scores of {len(found)} rows"
    assert out.splitlines()[-1] == str(tmp_path / "all.csv")
    printed = [row.split() for row in out.splitlines() if re.match(r" +\d", row)]
    assert [int(row[0]) for row in printed] == [line["row"] for line in found[:10]]
    assert [float(row[2]) for row in printed] == pytest.approx(
        [line["score_nats"] for line in found[:10]], abs=1e-3
    )
    with (tmp_path / "all.csv").open(newline="") as opened:
        table = list(csv.DictReader(opened))
    assert list(table[0]) == ["row", "label", "score_nats", "error_nats", "pareto_k"] == list(found[0])
    assert [float(row["score_nats"]) for row in table] == [line["score_nats"] for line in found]
    assert table[0]["pareto_k"] == ""  # of five draws


def test_scores_are_one_document_too(run: Path, odd: Path, tmp_path: Path, empty_pictures: None) -> None:
    arguments = (
        "score",
        run,
        "--data",
        odd,
        "--threshold",
        "0.5",
        "--particles",
        "30",
        "--out",
        tmp_path / "s",
    )
    end = succeed(*arguments, "--json", "--quiet")
    assert end.err == ""
    document = json.loads(end.out)
    assert document["rows"] == lines(succeed(*arguments, "--jsonl"))
    assert document["files"] == [str(tmp_path / "s.png"), str(tmp_path / "s.csv")]
    assert any(f"threshold {document['threshold']:.2f}" in note for note in document["notes"])
    printed = succeed(*arguments).out
    assert all(note in printed for note in document["notes"])
    error = one_sentence(fail(2, *arguments, "--json", "--jsonl"))
    assert error == "error: --jsonl: prints lines, and --json a document: leave one of them out\n"


def test_labels_stand_beside_rows_and_nothing_is_drawn_unless_asked_for(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("*.png"))
    end = succeed("score", copy, "--split", "validation", "--top", "0", "--jsonl")
    assert all(line["label"] in range(10) for line in lines(end))
    assert not list(copy.glob("*.png"))


@pytest.mark.parametrize("level", ["0", "1", "99"])
def test_a_threshold_that_is_no_share_is_one_sentence(level: str, run: Path) -> None:
    assert "--threshold" in one_sentence(fail(2, "score", run, "--threshold", level))


def test_a_level_that_needs_more_held_out_rows_is_refused_with_how_many(run: Path, tmp_path: Path) -> None:
    error = one_sentence(fail(2, "score", run, "--threshold", "0.99"))
    assert re.search(r"--threshold: 0.99 needs 99 validation rows or more, and the run has \d+", error)
    assert "--set data.validation=" in error
    error = one_sentence(fail(2, "score", run, "--threshold", "0.8", "--reference", "3"))
    assert error == "error: --reference: --threshold 0.8 needs 4 rows or more\n"
    small = (
        "--set",
        "data.limit=60",
        "--set",
        "network.hidden=[4]",
        "--epochs",
        "1",
        "--run",
        tmp_path / "run",
    )
    succeed("train", *small, "--set", "data.validation=0")
    error = one_sentence(fail(2, "score", tmp_path / "run", "--threshold", "0.5"))
    assert "held out of training, and the run has no validation rows (data.validation = 0" in error
    assert "--set data.validation=" in error


def test_what_would_be_ignored_is_refused(run: Path) -> None:
    error = one_sentence(fail(2, "score", run, "--reference", "100"))
    assert error == "error: --reference: is of rows that set a threshold: give --threshold, too\n"


def test_what_cannot_be_said_of_cells_is_said_in_a_sentence(tmp_path: Path, empty_pictures: None) -> None:
    np.save(tmp_path / "counts.npy", np.arange(240, dtype=np.float32).reshape(40, 6) % 7)
    small = ("--set", "network.hidden=[8]", "--latent-dim", "2", "--epochs", "1", "--run", tmp_path / "run")
    succeed("train", "--data", tmp_path / "counts.npy", "--likelihood", "multinomial", *small)
    end = succeed("score", tmp_path / "run", "--particles", "5")
    assert "contributions of cells: not available: p(x|z) is no product over cells" in end.out
