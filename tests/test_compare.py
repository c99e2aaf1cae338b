"""Comparing runs: exact differences on the same data, intervals that cover, and no claim without seeds."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from test_cli import fail, forget, one_sentence, succeed
from torch import Tensor, nn

from pyrovae import plots
from pyrovae.compare import Rows, compare, picture, same_rows, settings
from pyrovae.config import resolve
from pyrovae.contrast import Comparison, Scored, compared
from pyrovae.errors import RunError
from pyrovae.evaluate import evaluate
from pyrovae.generate import encode
from pyrovae.intervals import Interval, paired, welch
from pyrovae.quantities import Mean, Quantity
from pyrovae.run import Run

# Intervals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n", "scale"), [(3, 3, 1.0), (3, 8, 10.0), (20, 5, 0.1)])
def test_an_interval_over_seeds_is_scipys(m: int, n: int, scale: float) -> None:
    first, second = torch.randn(m).double(), scale * torch.randn(n).double() + 1
    found = stats.ttest_ind(first.numpy(), second.numpy(), equal_var=False)
    low, high = found.confidence_interval(0.95)
    expected = (first.mean() - second.mean(), low, high, found.df)
    assert welch(first, second) == pytest.approx(tuple(map(float, expected)))


def test_an_interval_over_seeds_is_that_of_another_program() -> None:
    """Published for R's t.test on 10, 11, ..., 20 and 20, 20.5, ..., 26: -10.4146 to -5.5854."""
    found = welch(torch.arange(10.0, 21), torch.arange(20, 26.5, 0.5))
    assert found == pytest.approx((-8.0, -10.4146, -5.5854, 15.58), abs=1e-4, rel=1e-4)


def test_an_interval_over_data_is_scipys() -> None:
    first, second = torch.randn(2, 12).double()
    found = stats.ttest_rel(first.numpy(), second.numpy())
    low, high = found.confidence_interval(0.95)
    expected = ((first - second).mean().item(), float(low), float(high), 11.0)
    assert paired(first, second) == pytest.approx(expected)


def test_an_interval_over_seeds_covers_the_truth_as_often_as_it_says() -> None:
    """Binomial, 2,000 times; Welch's approximation itself is within a percent for these."""
    first, second = torch.randn(2000, 5).double(), 0.3 * torch.randn(2000, 4).double() + 1
    covering = [not welch(a + 1, b).excludes_zero for a, b in zip(first, second, strict=True)]
    assert sum(covering) / 2000 == pytest.approx(0.95, abs=0.01 + 3 * math.sqrt(0.95 * 0.05 / 2000))


@pytest.mark.parametrize(
    "interval",
    [
        welch(torch.ones(1), torch.arange(3.0)),
        welch(torch.arange(3.0) + 9, torch.ones(1)),
        welch(torch.ones(3), torch.zeros(3)),
        paired(torch.ones(1), torch.zeros(1)),
    ],
)
def test_without_a_variance_there_is_no_interval_and_no_claim(interval: Interval) -> None:
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert not interval.excludes_zero


# Known scores ----------------------------------------------------------------------------------------------


def scored(
    name: str, log_p: Tensor, seed: int = 0, *, error: float = 0.0, bound: bool = False, **changes: Any
) -> Scored:
    """A run with that log p(x) of each datum, whatever the ELBO, the rate and the distortion."""
    rate = torch.linspace(1, 2, len(log_p))
    values = {"bound": log_p - 0.1, "elbo": log_p - 1, "rate": rate, "distortion": 1 - log_p - rate}
    values |= {} if bound else {"log_likelihood": log_p}
    share = Quantity("pareto_k_above", "", Mean(0.08 if bound else 0.0), unit="")
    choices = {"settings": {"prior.name": "normal"}, **changes}
    errors = {key: torch.full_like(log_p, error) for key in values}
    return Scored(
        name=name, seed=seed, values=values, errors=errors, quantities={share.key: share}, **choices
    )


def seeds(name: str, mean: float, count: int, *, between: float = 0.1, **changes: Any) -> list[Scored]:
    """Runs of one configuration, whose means over data differ from seed to seed."""
    changes = {"settings": {"prior.name": name}, **changes}
    base = torch.linspace(-3, 3, 40).double()
    means = mean + between * torch.randn(count).double()
    return [scored(f"{name}-{seed}", base + value, seed, **changes) for seed, value in enumerate(means)]


def test_a_difference_is_paired_over_data() -> None:
    first, second = scored("a", 10 * torch.randn(50), error=0.3), scored("b", torch.randn(50), error=0.4)
    (found,) = compared([first, second]).differences
    difference = (second.values["log_likelihood"] - first.values["log_likelihood"]).double()
    mean = found.means["log_likelihood"]
    assert mean.value == pytest.approx(difference.mean().item())
    assert mean.data_error == pytest.approx(difference.std().item() / math.sqrt(50))
    assert mean.monte_carlo_error == pytest.approx(0.7 / math.sqrt(50))  # noise is common, and may add up
    half = stats.t.ppf(0.975, 49) * mean.data_error
    assert found.intervals["log_likelihood"][:3] == pytest.approx(
        (mean.value, mean.value - half, mean.value + half)
    )


def test_what_data_have_in_common_is_no_error_of_a_difference() -> None:
    difficulty, own = 100 * torch.randn(40).double(), torch.randn(40).double()
    plain = compared([scored("a", 0 * own), scored("b", own)]).differences[0]
    hard = compared([scored("a", difficulty), scored("b", difficulty + own)]).differences[0]
    for score in ("log_likelihood", "elbo", "rate", "distortion"):
        assert vars(hard.means[score]) == pytest.approx(vars(plain.means[score]), abs=1e-9)


def test_the_run_that_is_subtracted_can_be_chosen() -> None:
    runs = [scored("a", torch.zeros(4)), scored("b", torch.arange(4.0)), scored("c", torch.ones(4))]
    comparison = compared(runs, baseline="b")
    assert [(found.run, found.baseline) for found in comparison.differences] == [("a", "b"), ("c", "b")]
    assert comparison.differences[0].means["log_likelihood"].value == -1.5


def test_configurations_are_told_apart_by_the_means_of_their_runs() -> None:
    runs = seeds("normal", -30, 4) + seeds("vamp", -29, 5)
    comparison = compared(runs)
    assert [group.name for group in comparison.groups] == ["prior = normal", "prior = vamp"]
    assert [list(group.seeds) for group in comparison.groups] == [[0, 1, 2, 3], [0, 1, 2, 3, 4]]
    means = torch.stack([run.values["elbo"].mean() for run in runs])
    normal, vamp = comparison.groups
    assert normal.means["elbo"] == pytest.approx(means[:4].mean().item())
    assert vamp.deviations["elbo"] == pytest.approx(means[4:].std().item())
    (contrast,) = comparison.contrasts
    assert (contrast.group, contrast.baseline) == ("prior = vamp", "prior = normal")
    assert contrast.intervals["elbo"] == pytest.approx(welch(means[4:], means[:4]))


def test_the_error_over_data_of_a_configuration_is_that_of_its_runs_mean_scores() -> None:
    noise = torch.randn(6, 30)
    runs = [scored(f"{i}", noise[i], i % 3, settings={"prior.name": str(i // 3)}) for i in range(6)]
    (contrast,) = compared(runs).contrasts
    difference = noise[3:].mean(0) - noise[:3].mean(0)
    expected = difference.std().item() / math.sqrt(30)
    assert contrast.data_errors["log_likelihood"] == pytest.approx(expected)


def claims(comparison: Comparison) -> list[str]:
    return [note for note in comparison.notes if note.startswith("Configurations")]


def test_five_against_five_seeds_of_one_configuration_differ_as_seldom_as_chance_says() -> None:
    sides = [[f"normal-{i}" for i in range(5)], [f"normal-{i}" for i in range(5, 10)]]
    wrong = 0
    for _ in range(150):
        (contrast,) = compared(seeds("normal", -30, 10), sides=sides).contrasts
        wrong += contrast.intervals["log_likelihood"].excludes_zero
    assert wrong / 150 == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 150))


def test_sides_of_one_configuration_are_called_by_their_runs() -> None:
    sides = [[f"normal-{i}" for i in range(5)], [f"normal-{i}" for i in range(5, 10)]]
    comparison = compared(seeds("normal", -30, 10, between=1e-3), sides=sides)
    (said,) = claims(comparison)
    first, second = (", ".join(side) for side in sides)
    assert f"{second} and of {first} cannot be told apart" in said
    assert "Welch's t over 5 and 5 seeds" in said


@pytest.mark.parametrize(("count", "last"), [(6, "normal-4, normal-5"), (8, "normal-4 and 3 more")])
def test_of_many_runs_the_first_are_named_and_the_others_counted(count: int, last: str) -> None:
    sides = [[f"normal-{i}" for i in range(count)]]
    (group,) = compared(seeds("normal", 0, count), sides=sides).groups
    assert group.name == f"normal-0, normal-1, normal-2, normal-3, {last}"


def test_the_baseline_is_on_the_side_that_is_subtracted() -> None:
    sides = [[f"normal-{i}" for i in range(3)], [f"normal-{i}" for i in range(3, 6)]]
    (contrast,) = compared(seeds("normal", 0, 6), baseline="normal-4", sides=sides).contrasts
    assert contrast.baseline == "normal-3, normal-4, normal-5"


def test_configurations_that_differ_do_and_it_is_said_by_how_much() -> None:
    (said,) = claims(compared(seeds("normal", -30, 3) + seeds("vamp", -25, 3)))
    assert "log p(x) of prior = vamp is higher than that of prior = normal by " in said
    number = float(said.partition(" by ")[2].split()[0])
    assert number == pytest.approx(5, abs=0.5)
    (said,) = claims(compared(seeds("vamp", -25, 3) + seeds("normal", -30, 3)))
    assert "log p(x) of prior = normal is lower than that of prior = vamp by " in said


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (5, 2), (1, 0)])
def test_nothing_is_claimed_of_configurations_with_fewer_than_three_seeds(m: int, n: int) -> None:
    comparison = compared(seeds("normal", -30, m) + seeds("vamp", -20, n) + seeds("normal", 0, 1)[:0])
    assert not comparison.contrasts
    assert not claims(comparison)
    assert comparison.notes[-1].startswith("Nothing is claimed about configurations: that takes 3 seeds")
    assert f"{m} of " in comparison.notes[-1]


def test_of_many_configurations_is_said_how_many_have_seeds_enough() -> None:
    runs = seeds("flow", -28, 2) + seeds("normal", -30, 3) + seeds("vamp", -29, 1)
    assert compared(runs).notes[-1].endswith("3 seeds of each of two, and 1 of these 3 have as many")


def test_of_the_configuration_without_seeds_enough_nothing_is_said_beside_the_others() -> None:
    comparison = compared(seeds("flow", -28, 2) + seeds("normal", -30, 3) + seeds("vamp", -29, 3))
    (contrast,) = comparison.contrasts
    assert (contrast.group, contrast.baseline) == ("prior = vamp", "prior = normal")
    assert comparison.notes[-1] == "Nothing is claimed about prior = flow: fewer than 3 seeds"


def test_several_claims_are_not_sold_as_one() -> None:
    comparison = compared(seeds("flow", -28, 3) + seeds("normal", -30, 3) + seeds("vamp", -29, 3))
    assert {found.baseline for found in comparison.contrasts} == {"prior = flow"}
    assert any("95% one by itself" in note for note in comparison.notes)


def test_a_seed_counts_once() -> None:
    runs = [*seeds("normal", -30, 2), *seeds("vamp", -20, 3)]
    again = scored("again", torch.full((40,), -10.0).double(), 0, settings={"prior.name": "normal"})
    comparison = compared([*runs, again])
    assert not comparison.contrasts
    assert list(comparison.groups[0].runs) == ["normal-0", "normal-1", "again"]
    assert list(comparison.groups[0].seeds) == [0, 1]
    expected = torch.stack([run.values["elbo"].mean() for run in runs[:2]]).mean().item()
    assert comparison.groups[0].means["elbo"] == pytest.approx(expected)
    assert any("count once" in note for note in comparison.notes)


def test_a_side_is_of_one_configuration() -> None:
    runs = seeds("normal", -30, 2) + seeds("vamp", -29, 1)
    with pytest.raises(RunError, match=r"normal-0 and vamp-0 differ in prior\.name"):
        compared(runs, sides=[["normal-1"], ["normal-0", "vamp-0"]])


def test_two_runs_are_spoken_of_as_these_two_runs() -> None:
    noise = torch.linspace(-1, 1, 100)
    apart = compared([scored("a", 0 * noise), scored("b", 0.1 * noise - 2)])
    assert apart.notes[0] == (
        "These two runs, over data like these 100: log p(x) of b is lower than that of a by 2.00 nats per "
        "datum (95% interval 1.99 to 2.01, paired)"
    )
    same = compared([scored("a", 0 * noise), scored("b", 10 * noise)])
    assert same.notes[0].endswith(
        "log p(x) of b and of a cannot be told apart, the difference is +0.00 nats per datum (95% interval "
        "-1.16 to +1.16, paired)"
    )


@pytest.mark.parametrize("measure", ["a density", "a cross-entropy"])
def test_a_density_and_a_probability_are_not_compared(measure: str) -> None:
    runs = seeds("normal", 0, 3) + seeds("gaussian", 50, 3, measure=measure)
    comparison = compared(runs)
    *_, apart = comparison.differences
    assert set(apart.means) == set(apart.intervals) == {"rate"}
    assert apart.incomparable == f"gaussian-2 gives {measure}, normal-0 a probability"
    assert set(comparison.differences[0].means) == {"log_likelihood", "bound", "elbo", "rate", "distortion"}
    assert set(comparison.contrasts[0].intervals) == {"rate"}
    assert not claims(comparison)
    assert sum("not comparable" in note for note in comparison.notes) == 3


def test_where_one_has_only_a_bound_all_are_compared_by_bounds_and_it_is_said() -> None:
    a, b = torch.zeros(30), torch.linspace(0, 1, 30)
    comparison = compared([scored("a", a), scored("b", b, bound=True)])
    assert comparison.score == "bound"
    assert "log_likelihood" not in comparison.differences[0].means
    assert comparison.differences[0].means["bound"].value == pytest.approx(0.5)
    assert comparison.notes[0].startswith("k-hat is too high for more than 5% of the data of b, and log p(x)")
    assert "the bound of log p(x) of b is higher than that of a by 0.50" in comparison.notes[1]
    assert compared([scored("a", a), scored("b", b)]).score == "log_likelihood"


def test_a_cross_entropy_is_called_one() -> None:
    pair = [scored(name, torch.zeros(9), measure="a cross-entropy") for name in "ab"]
    notes = compared(pair).notes
    assert "minus the cross-entropy of b" in notes[0]
    assert not any("log p(x)" in note for note in notes)


def test_configurations_are_named_by_what_differs_between_them() -> None:
    common = {"latent_dim": 8, "train.lr": 0.001}
    choices: Sequence[dict[str, Any]] = [
        {"prior.name": "normal"},
        {"prior.name": "vamp", "prior.components": 50},
        {"prior.name": "vamp", "prior.components": 500},
    ]
    runs = [scored(str(i), torch.zeros(3), settings={**common, **choice}) for i, choice in enumerate(choices)]
    assert [group.name for group in compared(runs).groups] == [
        "prior = normal",
        "prior = vamp, prior.components = 50",
        "prior = vamp, prior.components = 500",
    ]
    assert [group.name for group in compared(runs[:2]).groups] == ["prior = normal", "prior = vamp"]


# Runs ------------------------------------------------------------------------------------------------------

SMALL = {"latent_dim": 2, "network": {"name": "mlp", "hidden": [8]}, "data": {"limit": 60}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def trained(folder: Path, name: str, *layers: dict[str, Any]) -> Run:
    run = Run.start(resolve(SMALL, {"train": {"epochs": 2, "watch": 0}}, *layers), path=folder / name)
    assert len(list(run.train())) == 2
    return run


@pytest.fixture(scope="module")
def normal(folder: Path) -> Run:
    return trained(folder, "normal")


@pytest.fixture(scope="module")
def laplace(folder: Path) -> Run:
    return trained(folder, "laplace", {"prior": "laplace", "posterior": "laplace", "seed": 1})


@pytest.fixture(scope="module")
def rows(normal: Run) -> Rows:
    found = same_rows({"normal": normal})
    return found._replace(split=found.split.take(torch.arange(30)))


def test_scores_are_those_of_an_evaluation_of_each(normal: Run, laplace: Run, rows: Rows) -> None:
    comparison = compare({"normal": normal, "laplace": laplace}, rows, particles=300, seed=3)
    one, other = (
        evaluate(run.program, rows.split.batches(7), particles=300, seed=3) for run in (normal, laplace)
    )
    (found,) = comparison.differences
    expected = {
        "bound": other.log_likelihood - one.log_likelihood,
        "log_likelihood": other.log_likelihood_corrected - one.log_likelihood_corrected,
        "elbo": other.elbo - one.elbo,
        "rate": other.kl - one.kl,
        "distortion": one.reconstruction - other.reconstruction,
    }
    assert set(found.means) == set(expected)
    for score, values in expected.items():
        assert found.means[score].value == pytest.approx(values.mean().item(), abs=1e-5)
        assert found.means[score].data_error == pytest.approx(values.std().item() / math.sqrt(30), rel=1e-4)
    error = one.elbo_error + other.elbo_error
    assert found.means["elbo"].monte_carlo_error == pytest.approx(error.square().sum().sqrt().item() / 30)


def test_the_table_has_what_each_run_is(normal: Run, laplace: Run, rows: Rows) -> None:
    comparison = compare({"normal": normal, "laplace": laplace}, rows, particles=30)
    for run, found in zip((normal, laplace), comparison.runs, strict=True):
        numbers = {key: row.mean.value for key, row in found.quantities.items()}
        assert numbers["elbo"] == pytest.approx(-numbers["rate"] - numbers["distortion"])
        assert numbers["seconds"] == pytest.approx(sum(line["seconds"] for line in run.history))
        assert numbers["parameters"] == sum(values.numel() for values in run.program.parameters())
        assert numbers["units"] == 2
        assert numbers["active_units"] in (0, 1, 2)
        assert list(found.curve) == [line["validation_elbo"] for line in run.history]
        assert found.seed == run.config.seed


def test_a_run_does_not_differ_from_itself(normal: Run, rows: Rows) -> None:
    (found,) = compare({"it": normal, "itself": normal}, rows, particles=5).differences
    assert {(mean.value, mean.data_error) for mean in found.means.values()} == {(0.0, 0.0)}
    assert not any(interval.excludes_zero for interval in found.intervals.values())


def test_few_draws_give_bounds(normal: Run, laplace: Run, rows: Rows) -> None:
    comparison = compare({"normal": normal, "laplace": laplace}, rows, particles=9)
    assert comparison.score == "bound"
    assert comparison.notes[0].startswith("k-hat needs 25 draws of z to be known for normal, laplace")


def test_runs_of_one_configuration_may_differ_in_seed_device_and_pictures(normal: Run) -> None:
    other = Run.start(
        resolve(SMALL, {"seed": 9, "train": {"epochs": 2, "device": "cpu", "watch": 3, "threads": 1}})
    )
    assert settings(other) == settings(normal)
    assert settings(normal)["train.epochs"] == 2


@pytest.mark.parametrize(
    ("place", "layer"),
    [
        ("latent_dim", {"latent_dim": 3}),
        ("prior.name", {"prior": "laplace"}),
        ("likelihood.name", {"likelihood": "gaussian"}),
        ("network.hidden", {"network": {"hidden": [9]}}),
        ("objective.beta", {"objective": {"beta": 2.0}}),
        ("data.limit", {"data": {"limit": 61}}),
        ("train.lr", {"train": {"lr": 0.01}}),
        ("train.epochs", {"train": {"epochs": 3}}),
    ],
)
def test_what_else_differs_is_another_configuration(normal: Run, place: str, layer: dict[str, Any]) -> None:
    other = settings(Run.start(resolve(SMALL, {"train": {"epochs": 2}}, layer)))
    assert other[place] != settings(normal)[place]


def test_a_run_that_was_stopped_is_of_another_configuration(normal: Run, folder: Path) -> None:
    stopped = Run.load(folder / "normal")
    stopped.history = stopped.history[:1]
    assert settings(stopped) == {**settings(normal), "train.epochs": 1}


def test_other_training_rows_are_another_configuration(normal: Run, folder: Path) -> None:
    other = Run.load(folder / "normal")
    other.facts["data"] = "other rows"
    assert settings(other) != settings(normal)


def test_data_of_another_shape_are_refused(normal: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random((40, 5)) < 0.5)
    other = Run.start(resolve(SMALL, {"data": {"source": str(tmp_path / "rows.npy"), "limit": None}}))
    with pytest.raises(RunError, match=r"normal is for data of shape \(1, 8, 8\), other for .* \(5,\)"):
        same_rows({"normal": normal, "other": other})


def test_another_binarisation_is_refused_and_named(normal: Run) -> None:
    other = Run.start(resolve(SMALL, {"data": {"binarize": "threshold"}}))
    with pytest.raises(RunError, match=r"different test rows \(data\.binarize = auto and threshold\)"):
        same_rows({"normal": normal, "other": other})


def test_bits_and_grey_values_are_refused(normal: Run) -> None:
    other = Run.start(resolve(SMALL, {"likelihood": "continuous-bernoulli"}))
    with pytest.raises(RunError, match=r"different validation rows .*one are bits, those of the other"):
        same_rows({"normal": normal, "other": other}, "validation")


def test_the_same_bits_are_the_same_however_they_are_stored(normal: Run, tmp_path: Path) -> None:
    bits = normal.evaluation_rows()[0].rows(slice(20)).numpy()
    np.save(tmp_path / "floats.npy", bits)
    np.save(tmp_path / "bytes.npy", bits.astype(np.uint8))
    one, other = (
        Run.start(resolve(SMALL, {"data": {"source": str(tmp_path / f"{kind}.npy"), "limit": None}}))
        for kind in ("floats", "bytes")
    )
    assert len(same_rows({"one": one, "other": other}).split) == 2


def test_a_density_and_a_probability_of_the_same_bits_are_told_apart(rows: Rows) -> None:
    bits = {"data": {"binarize": "threshold"}}
    runs = {name: Run.start(resolve(SMALL, bits, {"likelihood": name})) for name in ("bernoulli", "gaussian")}
    comparison = compare(runs, Rows(same_rows(runs).split.take(torch.arange(20))), particles=5)
    assert comparison.differences[0].incomparable == "gaussian gives a density, bernoulli a probability"
    assert [run.measure for run in comparison.runs] == ["a probability", "a density"]


def test_a_likelihood_outside_its_support_is_a_cross_entropy() -> None:
    runs = {"grey": Run.start(resolve(SMALL, {"data": {"binarize": "none"}}))}
    rows = same_rows(runs)
    assert list(rows.cross_entropies) == ["grey"]
    found = compare(runs, rows._replace(split=rows.split.take(torch.arange(9))), particles=5)
    assert found.runs[0].measure == "a cross-entropy"


def test_a_probability_given_a_statistic_is_another_measure() -> None:
    counts = {"data": {"divisor": 1.0}}
    runs = {
        name: Run.start(resolve(SMALL, counts, {"likelihood": name})) for name in ("poisson", "multinomial")
    }
    rows = Rows(same_rows(runs).split.take(torch.arange(9)))
    assert [run.measure for run in compare(runs, rows, particles=5).runs] == [
        "a probability",
        "a probability given its total",
    ]


def test_a_point_has_a_distortion_and_no_bound(normal: Run, rows: Rows) -> None:
    point = Run.start(resolve(SMALL, {"posterior": "delta"}))
    comparison = compare({"normal": normal, "point": point}, rows, particles=5)
    assert set(comparison.differences[0].means) == {"distortion"}
    assert comparison.score == "bound"
    assert "is a point and no density" in comparison.notes[0]
    assert not comparison.runs[1].curve


def test_a_point_beside_others_leaves_these_comparable() -> None:
    runs = seeds("normal", -30, 3) + seeds("vamp", -29, 3)
    point = Scored("point", {}, 0, {"distortion": torch.ones(40)}, {"distortion": torch.zeros(40)}, {})
    comparison = compared([*runs, point])
    assert comparison.score == "log_likelihood"
    assert len(claims(comparison)) == 1
    assert compared([point, *runs]).score is None
    assert compared([point, *runs]).notes[-1].startswith("point has no log p(x)")


def test_a_run_without_the_rows_is_named(normal: Run) -> None:
    other = Run.start(resolve(SMALL, {"data": {"validation": 0.0}}))
    with pytest.raises(RunError, match="other: the run has no validation rows"):
        same_rows({"normal": normal, "other": other}, "validation")


def test_a_picture_has_the_coordinates_that_tell_data_apart_first(rows: Rows) -> None:
    run = Run.start(resolve(SMALL, {"latent_dim": 5}))
    with torch.no_grad():
        *_, layer = (part for part in run.program.network.encoder.modules() if isinstance(part, nn.Linear))
        layer.weight[:5] *= torch.tensor([1.0, 8.0, 0.1, 30.0, 2.0]).unsqueeze(1)
    seen = picture(run, rows.split)
    assert seen.coordinates[0] == "z[3]"
    variances = encode(run.program, rows.split.batches()).var(0)
    order = [int(name[2:-1]) for name in seen.coordinates]
    assert variances[order].diff().le(0).all()
    assert seen.prior.shape == (1000, 5)
    assert seen.posterior.shape == (30, 5)
    means = encode(run.program, rows.split.batches())[:, 3]
    assert torch.corrcoef(torch.stack([seen.posterior[:, 0], means]))[0, 1] > 0.7


# The command -----------------------------------------------------------------------------------------------


def test_the_command_prints_tables_and_sentences_and_writes_a_figure(
    normal: Run, laplace: Run, folder: Path
) -> None:
    said = succeed(
        "compare", folder / "normal", folder / "laplace", "--particles", "30", "--split", "validation"
    ).out
    lines = said.splitlines()
    assert lines[0].startswith("best checkpoints on 6 validation rows of digits, 30 draws of z each")
    assert "minus normal" in said
    assert any(line.split()[:1] == ["laplace"] and "of 2" in line for line in lines)
    assert "These two runs, over data like these 6:" in said
    assert "Nothing is claimed about configurations" in said
    assert lines[-1] == str(folder / "normal" / "comparison.png")
    assert Path(lines[-1]).read_bytes().startswith(b"\x89PNG")


def test_the_command_says_everything_in_json(normal: Run, laplace: Run, folder: Path, tmp_path: Path) -> None:
    arguments = ("--particles", "9", "--split", "validation", "--json", "--out", tmp_path / "figure")
    out = succeed(
        "compare", folder / "normal", folder / "laplace", "--baseline", folder / "laplace", *arguments
    ).out
    document = json.loads(out)
    assert document["baseline"] == "laplace"
    assert document["figure"] == str(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").exists()
    assert document["score"] == "bound"
    results = document["results"]
    assert set(results) == {"normal", "laplace"}
    assert results["laplace"]["seed"] == 1
    assert results["normal"]["settings"]["prior.name"] == "normal"
    (difference,) = document["differences"]
    value = difference["scores"]["elbo"]["value"]
    elbo = {name: result["quantities"]["elbo"]["value"] for name, result in results.items()}
    assert value == pytest.approx(elbo["normal"] - elbo["laplace"])
    low, high = difference["scores"]["elbo"]["interval"]
    assert low < value < high
    assert [group["name"] for group in document["configurations"]] == [
        "prior = normal, posterior = normal",
        "prior = laplace, posterior = laplace",
    ]
    assert document["contrasts"] == []


def test_sides_are_compared_over_their_seeds(normal: Run, folder: Path, tmp_path: Path) -> None:
    for seed in range(6):
        copy = shutil.copytree(folder / "normal", tmp_path / f"seed-{seed}")
        forget(copy / "checkpoints" / "best.safetensors", "config")
        config = (copy / "config.toml").read_text()
        (copy / "config.toml").write_text(config.replace("seed = 0 ", f"seed = {seed} "))
    runs = [tmp_path / f"seed-{seed}" for seed in range(6)]
    arguments = ("--particles", "9", "--split", "validation", "--json")
    document = json.loads(succeed("compare", *runs[:3], "vs", *runs[3:], *arguments).out)
    (contrast,) = document["contrasts"]
    assert contrast["baseline"] == "seed-0, seed-1, seed-2"
    assert contrast["scores"]["elbo"]["value"] == 0
    assert contrast["scores"]["elbo"]["interval"] == [None, None]  # copies do not vary
    assert [group["seeds"] for group in document["configurations"]] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["normal"], "name two runs or more"),
        (["normal", "normal/."], "is named twice"),
        (["normal", "vs"], "no run stands on one side"),
        (["normal", "laplace", "--baseline", "other"], "other is none of the runs"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    normal: Run, laplace: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(folder)
    assert said in one_sentence(fail(2, "compare", *arguments))


def test_runs_that_are_called_the_same_are_called_by_their_paths(
    normal: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(folder / "normal", tmp_path / name / "run")
    arguments = ("--particles", "3", "--split", "validation", "--json")
    document = json.loads(succeed("compare", "a/run", "b/run", *arguments).out)
    assert set(document["results"]) == {"a/run", "b/run"}


# The figure ------------------------------------------------------------------------------------------------


def model(codes: Tensor, **more: Any) -> plots.Compared:
    return plots.Compared(torch.rand(4, 8, 8), codes, codes[:5], -20.0, 0.5, **more)


def labels(models: dict[str, plots.Compared], **options: Any) -> list[str]:
    figure = plots.comparison(models, **options)
    figure.canvas.draw_idle()
    return [axis.get_ylabel().partition("\n")[0] for axis in figure.axes]


def test_a_figure_has_the_panels_for_which_there_are_numbers() -> None:
    codes = torch.randn(20, 3)
    plain = {"a": model(codes), "b": model(codes)}
    assert labels(plain) == ["", "z[1]", "", "z[1]", "log p(x)"]
    more = {"a": model(codes), "b": model(codes, curve=[-3.0, -2.0], difference=(1.0, 0.5, 2.0))}
    found = labels(more, difference="minus a", log_likelihood="-H")
    assert found == ["", "z[1]", "", "z[1]", "-H", "minus a", "validation ELBO"]


def test_many_models_have_pictures_of_the_first_of_each_kind() -> None:
    models = {
        f"{kind}-{i}": model(torch.randn(9, 2), kind=kind) for kind in ("one", "other") for i in range(4)
    }
    figure = plots.comparison(models)
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == ["one-0", "other-0"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "other", "p(z)", "q(z)"]
    alone = {str(i): model(torch.randn(9, 2)) for i in range(8)}
    assert len([axis for axis in plots.comparison(alone).axes if axis.get_title()]) == 6


def test_no_legend_covers_data() -> None:
    models = {f"{kind}-{i}": model(torch.randn(9, 2), kind=kind) for kind in "ab" for i in range(2)}
    figure = plots.comparison(models)
    figure.draw_without_rendering()
    assert not any(axis.get_legend() for axis in figure.axes)
    panels = [axis.get_window_extent() for axis in figure.axes]
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(panel) for panel in panels)


def test_samples_of_a_table_have_one_scale_in_all_models() -> None:
    tables = {"a": torch.rand(4, 3) * torch.tensor([1e-3, 1.0, 1e3])}
    tables["b"] = tables["a"] + torch.tensor([0, 0, 1e3])
    models = {name: model(torch.randn(9, 2))._replace(samples=table) for name, table in tables.items()}
    titled = [axis for axis in plots.comparison(models).axes if axis.get_title()]
    first, second = (np.asarray(axis.images[0].get_array()) for axis in titled)
    assert np.concatenate([first, second]).std(0) == pytest.approx(1)
    assert (second - first).mean(0) == pytest.approx([0, 0, (second - first)[0, 2]])
    assert titled[0].images[0].get_clim() == titled[1].images[0].get_clim()


def test_codes_of_one_coordinate_and_of_zeros_and_ones_are_shown_as_distributions() -> None:
    ones = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    figure = plots.comparison({"one": model(torch.randn(50, 1)), "bits": model(ones)})
    density, bits = figure.axes[1], figure.axes[3]
    assert (density.get_xlabel(), density.get_ylabel()) == ("z[0]", "density")
    assert (bits.get_xlabel(), bits.get_ylabel()) == ("entry of the code", "share of ones")
    assert np.asarray(bits.lines[0].get_ydata()).tolist() == [0.0, 1.0, 0.5]


def test_a_curve_begins_with_its_first_epoch_and_its_end_is_in_view() -> None:
    curve = [-500.0, *np.linspace(-30, -20, 20)]
    axis = plots.comparison({"a": model(torch.randn(9, 2), curve=curve)}).axes[-1]
    assert np.asarray(axis.lines[0].get_xdata()).tolist() == list(range(1, 22))
    low, high = axis.get_ylim()
    assert -40 < low < -28
    assert -20 < high < -19


def test_a_lower_bound_has_a_mark_of_its_own() -> None:
    axis = plots.comparison({"a": model(torch.randn(9, 2), is_bound=True)}).axes[-1]
    assert "lower bound" in axis.get_ylabel()
    assert axis.lines[0].get_marker() == "^"
