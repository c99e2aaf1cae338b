"""Evaluation against exact answers: means, errors, intervals, tails of weights; and what is printed."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from arviz_stats.base.array import array_stats
from conftest import Build
from test_exact import Exact, N, solve
from torch import Tensor

from pyrovae import VAE, plots
from pyrovae import evaluate as evaluation
from pyrovae.cli import main
from pyrovae.config import selected
from pyrovae.errors import ConfigError, Problem
from pyrovae.evaluate import NAMES, Estimates, Evaluation, evaluate, summarise
from pyrovae.importance import Trust, highest_k, pareto_k
from pyrovae.quantities import Histogram, Quantity, median

each_dimension = pytest.mark.parametrize("d", [2, 10])


def row(found: Evaluation, key: str) -> Quantity:
    (quantity,) = [quantity for quantity in found.quantities if quantity.key == key]
    return quantity


def summary(estimates: Estimates) -> Evaluation:
    return summarise(estimates, cells=12, discrete=False, is_likelihood=True)


def in_single_precision(exact: Exact) -> Exact:
    exact.program.float()
    return exact._replace(x=exact.x.float())


# Exact answers, in single precision ------------------------------------------------------------------------


@each_dimension
def test_every_quantity_meets_its_exact_value_within_three_errors(d: int) -> None:
    exact = solve(d, shift=0.2, stretch=1.3)
    truths = {
        "elbo": exact.elbo,
        "reconstruction": exact.elbo + exact.kl,
        "kl": exact.kl,
        "log_likelihood_corrected": exact.evidence,
    }
    single = in_single_precision(exact)
    found = summary(evaluate(single.program, single.x.split(64), particles=500))
    assert found.notes == []
    for key, truth in truths.items():
        mean = row(found, key).mean
        assert 0 < mean.monte_carlo_error < 0.03, key
        assert abs(mean.value - truth.mean().item()) < 3 * mean.monte_carlo_error, key
        assert mean.data_error == pytest.approx(truth.std().item() / N**0.5, rel=0.1), key


SEEDS = 200


def test_intervals_contain_the_exact_log_likelihood_as_often_as_they_say() -> None:
    # Of 200 intervals that hold it with probability 95% each, 180 to 198 do: false alarm 1 in 400.
    exact = solve(2, shift=1.0, stretch=1.5)
    x, truth = exact.x[:20], exact.evidence[:20].mean().item()
    hits, bounds, corrected = 0, [], []
    for seed in range(SEEDS):
        found = summary(evaluate(exact.program, [x], particles=100, seed=seed))
        mean = row(found, "log_likelihood_corrected").mean
        hits += abs(mean.value - truth) < 1.96 * mean.monte_carlo_error
        bounds.append(row(found, "log_likelihood").mean.value)
        corrected.append(mean.value)
    assert 0.9 * SEEDS <= hits <= 0.99 * SEEDS
    low, right = (torch.tensor(values, dtype=torch.float64) - truth for values in (bounds, corrected))
    error = right.std() / SEEDS**0.5
    assert low.mean() < -3 * error  # the bound lies too low, and the correction makes up for it
    assert abs(right.mean()) < 3 * error


def test_the_effective_sample_size_is_the_one_in_closed_form() -> None:
    # w = p / q of normals with scales 1 and s: (E w)² / E w² = sqrt(2 s² - 1) / s² for each coordinate.
    stretch = 1.4
    exact = solve(2, stretch=stretch)
    size = evaluate(exact.program, [exact.x[:50]], particles=2000, tails=False).effective_sample_size
    truth = 2000 * (math.sqrt(2 * stretch**2 - 1) / stretch**2) ** 2
    assert size.mean().item() == pytest.approx(truth, rel=0.01)
    constant = evaluate(solve(2).program, [exact.x[:5]], particles=30)
    assert not constant.effective_sample_size.isnan().any()


def test_with_the_exact_posterior_the_weights_are_constant() -> None:
    single = in_single_precision(solve(2))
    estimates = evaluate(single.program, [single.x], particles=50)
    assert estimates.pareto_k.eq(-math.inf).all()
    torch.testing.assert_close(estimates.effective_sample_size, torch.full((N,), 50.0).double())
    assert (estimates.log_likelihood_error < 1e-5).all()


def test_the_correction_is_half_the_squared_error_of_the_mean_weight() -> None:
    # From the effective sample size: s² = (K / ESS - 1) / (K - 1), the variance of the mean weight.
    draws = 40
    exact = solve(2, shift=0.2, stretch=1.3)
    found = evaluate(exact.program, [exact.x], particles=draws)
    squared = (draws / found.effective_sample_size - 1) / (draws - 1)
    correction = found.log_likelihood_corrected - found.log_likelihood
    torch.testing.assert_close(correction, squared / 2, rtol=1e-9, atol=1e-12)
    found = evaluate(exact.program, [exact.x], particles=400)
    squared = (400 / found.effective_sample_size - 1) / 399
    assert found.trust.of_rows.all()
    torch.testing.assert_close(found.log_likelihood_error, squared.sqrt(), rtol=1e-9, atol=1e-12)


# Noise -----------------------------------------------------------------------------------------------------


def test_noise_of_different_data_is_independent() -> None:
    # Copies of one datum: correlations of neighbours' estimates, in standard errors; false alarm 1 in 4,000.
    n = 4000
    exact = in_single_precision(solve(2, stretch=1.5))
    elbo = evaluate(exact.program, exact.x[:1].expand(n, -1).split(500), particles=1).elbo
    assert len(elbo.unique()) > 0.99 * n
    scores = (elbo - elbo.mean()) / elbo.std()
    for lag in (1, 2, 3, 500):
        assert abs((scores[lag:] * scores[:-lag]).mean()) < 4 / n**0.5


@pytest.mark.parametrize("size", [1, 7])
def test_batches_and_what_is_decoded_at_once_do_not_change_an_estimate(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = in_single_precision(solve(2, shift=0.3, stretch=1.3))
    before = {name: value.clone() for name, value in exact.program.state_dict().items()}
    x, draws, noise = exact.x[:21], evaluation.DRAWS_AT_ONCE + 60, torch.get_rng_state()
    whole = evaluate(exact.program, [x], particles=draws).of_rows
    again = evaluate(exact.program, [x], particles=draws).of_rows
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 900)
    parts = evaluate(exact.program, x.split(size), particles=draws).of_rows
    for name, value in whole.items():
        relative = 1e-4 if name in ("effective_sample_size", "pareto_k") else 0.0
        torch.testing.assert_close(parts[name], value, atol=1e-4, rtol=relative, msg=name)
    assert all(torch.equal(value, before[name]) for name, value in exact.program.state_dict().items())
    assert torch.equal(noise, torch.get_rng_state())


def test_draws_of_one_datum_are_all_different(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = solve(2, shift=1.0, stretch=1.5)
    monkeypatch.setattr(evaluation, "DRAWS_AT_ONCE", 10)
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 3 * 12)
    model = evaluation._Model(exact.program)
    with evaluation.inspected(exact.program):
        terms = torch.empty(2, 20, 1, dtype=torch.float64)
        for start in (0, 10):
            key, part = (0, start), terms[:, start : start + 10]
            evaluation._log_terms(model, exact.x[:1], range(1), key, part)
    assert len(terms[0].unique()) == 20


@pytest.mark.parametrize("before", ["high", "medium"])
def test_an_evaluation_multiplies_in_float32_whatever_was_set(before: str) -> None:
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = True
        with evaluation.inspected(solve(2).program):
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (
                "highest",
                False,
            )
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (before, True)
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions


def test_more_data_than_there_was_room_for_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = solve(2)
    whole = evaluate(exact.program, exact.x.split(3), particles=4).of_rows
    monkeypatch.setattr(evaluation, "FEWEST_KEPT", 2)
    parts = evaluate(exact.program, exact.x.split(3), particles=4).of_rows
    assert all(torch.equal(parts[name].nan_to_num(), value.nan_to_num()) for name, value in whole.items())


# Tails of weights ------------------------------------------------------------------------------------------


def pareto(shape: float, draws: int, n: int) -> Tensor:
    """Logarithms of 1 + a generalised Pareto variable."""
    u = torch.rand(draws, n, dtype=torch.float64)
    return ((u.pow(-shape) - 1) / shape).log1p()


def test_k_hat_of_weights_that_one_draw_carries_is_no_short_tail() -> None:
    log_weights = 2000 * torch.randn(1000, 5, dtype=torch.float64)
    assert (pareto_k(log_weights) == math.inf).all()


@pytest.mark.parametrize("draws", [25, 100, 225, 226, 1000])
@pytest.mark.parametrize("scale", [0.3, 1.0, 30.0])
def test_k_hat_is_arvizs(draws: int, scale: float) -> None:
    log_weights = scale * torch.randn(draws, 20, dtype=torch.float64)
    arviz = [array_stats.psislw(-column)[1] for column in log_weights.T.numpy()]
    torch.testing.assert_close(pareto_k(log_weights), torch.tensor(np.array(arviz)), rtol=1e-10, atol=1e-10)


def test_the_highest_k_hat_depends_on_the_draws() -> None:
    # Vehtari et al., 2024: min(1 - 1 / log10(S), 0.7), which is 0.7 from 10^(10/3) draws on.
    assert highest_k(100) == pytest.approx(0.5)
    assert highest_k(1000) == pytest.approx(2 / 3)
    assert highest_k(2154) < 0.7 == highest_k(2155) == highest_k(10**6)
    assert highest_k(24) == -math.inf


def test_errors_are_given_to_rows_and_to_the_mean_by_one_rule() -> None:
    k = torch.zeros(100, dtype=torch.float64)
    k[:5] = torch.tensor([0.6, math.inf, math.nan, 0.51, 9.0])
    trust = Trust(k, 100)
    assert trust.of_mean
    assert trust.of_rows.tolist() == [False] * 5 + [True] * 95
    k[5] = 0.6
    assert not Trust(k, 100).of_mean
    assert not Trust(k, 100).of_rows.any()
    assert Trust(k, 1000).of_mean  # more draws bear heavier tails


@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0])
def test_k_hat_recovers_a_known_tail(shape: float) -> None:
    # The mean of 60 estimates, each with a standard deviation of 0.2 at most and a bias below 0.06.
    estimates = pareto_k(pareto(shape, 2000, 60))
    assert estimates.mean().item() == pytest.approx(shape, abs=0.06 + 4 * 0.2 / 60**0.5)
    assert estimates.std() < 0.25


def test_k_hat_of_light_tails_is_low_and_does_not_depend_on_the_scale() -> None:
    bounded = torch.rand(1000, 20, dtype=torch.float64).log1p()
    assert (pareto_k(bounded) < 0.2).all()
    torch.testing.assert_close(pareto_k(bounded - 700), pareto_k(bounded))


def test_k_hat_is_said_to_be_missing_where_it_is() -> None:
    heavy = pareto(0.5, 100, 5)
    assert pareto_k(heavy[:24]).isnan().all()
    assert not pareto_k(heavy[:25]).isnan().any()
    assert pareto_k(torch.full((100, 2), -3.0)).eq(-math.inf).all()
    assert pareto_k(torch.full((100, 2), -math.inf)).isnan().all()
    mostly_nothing = heavy.clone()
    mostly_nothing[:50] = -math.inf
    assert not pareto_k(mostly_nothing).isnan().any()
    discrete = torch.tensor([0.0, 1.0]).repeat(50)[:, None]
    assert pareto_k(discrete).eq(-math.inf).all()


def test_k_hat_of_discrete_codes_is_known_where_enough_draws_are_above_the_others() -> None:
    for above, limit in ((4, math.inf), (5, 0.5), (19, 0.5)):
        weights = torch.zeros(100, 1)
        weights[:above] = 1.0
        assert pareto_k(weights).isinf().all() == (above < 5)
        assert pareto_k(weights).item() <= limit


@each_dimension
def test_a_guide_that_is_much_too_narrow_has_no_error(d: int) -> None:
    exact = in_single_precision(solve(d, stretch=0.25))
    estimates = evaluate(exact.program, [exact.x], particles=1000)
    above = estimates.pareto_k > highest_k(1000)
    assert above.double().mean() > 0.8
    assert estimates.log_likelihood_error.isnan().all()
    found = summary(estimates)
    for key in ("log_likelihood", "log_likelihood_corrected"):
        assert math.isnan(row(found, key).mean.monte_carlo_error)
    assert row(found, "elbo").mean.monte_carlo_error > 0
    share = above.double().mean().item()
    assert row(found, "pareto_k_above").mean.value == pytest.approx(share)
    (note,) = found.notes
    assert f"k-hat is above 0.67 for {share:.0%} of the data" in note
    assert "no error" in note


def test_a_few_tails_leave_an_error_and_a_note() -> None:
    exact = solve(2, shift=0.2, stretch=1.3)
    estimates = evaluate(exact.program, [exact.x], particles=100)
    shapes = torch.zeros(N, dtype=torch.float64)
    shapes[:3] = 0.9
    few = summary(Estimates(**{**vars(estimates), "pareto_k": shapes}))
    assert row(few, "log_likelihood").mean == row(summary(estimates), "log_likelihood").mean
    assert few.notes == [
        "k-hat is above 0.5 for 3 of 200 data: log p(x) of these has no error, and their part in the error "
        "of the mean may be too small"
    ]
    shapes[:11] = 0.9
    many = summary(Estimates(**{**vars(estimates), "pareto_k": shapes}))
    assert math.isnan(row(many, "log_likelihood").mean.monte_carlo_error)


def test_a_share_of_none_has_an_error_too() -> None:
    exact = solve(2)  # the posterior itself: weights are constant
    share = row(summary(evaluate(exact.program, [exact.x], particles=50)), "pareto_k_above").mean
    assert share.value == 0
    assert 0 < share.data_error < 1 / N


def test_few_draws_leave_out_what_they_do_not_give() -> None:
    exact = solve(2)
    one = summary(evaluate(exact.program, [exact.x], particles=1))
    keys = [quantity.key for quantity in one.quantities]
    assert "log_likelihood_corrected" not in keys
    assert "pareto_k" not in keys
    few = summary(evaluate(exact.program, [exact.x], particles=24))
    assert few.notes == ["k-hat needs 25 draws of z: without it, log p(x) has no error"]
    assert math.isnan(row(few, "log_likelihood").mean.monte_carlo_error)


# Discrete and constrained codes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [("bernoulli", "bernoulli"), ("categorical", "categorical"), ("sphere", "power-sphere")],
)
def test_codes_of_every_kind_are_weighted(prior: str, posterior: str, make: Build) -> None:
    program = make(prior=prior, posterior=posterior, latent_dim=3)
    estimates = evaluate(program, [torch.linspace(-1, 1, 60).reshape(10, 6)], particles=300)
    for name, values in estimates.of_rows.items():
        assert values.shape == (10,)
        assert not values.isnan().any() or name in ("pareto_k", "log_likelihood_error"), name
    assert (estimates.log_likelihood_corrected > estimates.elbo).all()
    assert (estimates.effective_sample_size <= 300 + 1e-6).all()


# The command line ------------------------------------------------------------------------------------------

OWN = '''
from typing import Annotated

import torch
from pydantic import Field

from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Quantity, Unavailable
from pyrovae.quantities import Mean


class Ranks(Diagnostic):
    """Ranks that are uniform."""

    def __init__(self, *, levels: Annotated[int, Field(ge=2, description="how many")] = 10) -> None:
        self.levels = levels

    def __call__(self, subject):
        if self.levels > 100:
            raise Unavailable("there are too many levels")
        assert not torch.is_grad_enabled() and not subject.program.training
        ranks = torch.arange(len(subject.rows)) % self.levels
        mean = Quantity("mean", "mean rank", Mean(ranks.double().mean().item(), 0.25), unit="ranks")
        shown = [Histogram("ranks", "rank", ranks, uniform=self.levels)]
        return Findings("ranks of data", [mean], ["They are made up."], shown)
'''


class End(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: object) -> End:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int | None)
    return End(code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    x = (np.random.RandomState(0).rand(60, 9) > 0.5).astype(np.float32)
    vae = VAE(latent_dim=2, network={"name": "mlp", "hidden": [8]}, epochs=1, verbose=False).fit(x)
    vae.save(folder / "run")
    np.save(folder / "rows.npy", x[:20])
    (folder / "own.py").write_text(OWN)
    return folder / "run"


def evaluated(run: Path, *arguments: object) -> End:
    return call("evaluate", run, "--data", run.parent / "rows.npy", "--particles", 30, *arguments)


def own(run: Path) -> str:
    return f"{run.parent / 'own.py'}:Ranks"


def test_the_default_prints_weights_and_active_units(run: Path) -> None:
    end = evaluated(run)
    assert end.code == 0, end.err
    for label in (
        "ELBO",
        "log p(x), importance-sampled bound",
        "log p(x), corrected for its bias",
        "effective sample size, median",
        "k-hat, median",
        "share of data with k-hat > 0.32",
        "active units",
    ):
        assert label in end.out
    assert "figures" not in end.out
    assert not list((run / "figures").glob("active*")) if (run / "figures").exists() else True


def test_a_diagnostic_is_printed_with_its_notes_and_drawn_where_it_says(run: Path) -> None:
    end = evaluated(run, "--with", own(run), "--set", f"{own(run)}.levels=4")
    assert end.code == 0, end.err
    assert "ranks of data" in end.out
    assert "1.500   ranks" in end.out
    assert "They are made up." in end.out
    picture = Path(end.out.splitlines()[-1])
    assert picture.parent == run / "figures"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_pictures_of_several_sources_stand_side_by_side(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    (run.parent / "test").mkdir()
    for copy in ("other.npy", "test/rows.npy"):
        (run.parent / copy).write_bytes((run.parent / "rows.npy").read_bytes())
    for source in ("rows.npy", "other.npy", "test/rows.npy", "../" * 60 + str(run.parent / "rows.npy")[1:]):
        end = call("evaluate", run, "--data", source, "--particles", 2, "--with", own(run))
        assert end.code == 0, end.err
    drawn = {file.name for file in (run / "figures").glob("Ranks-of-*")}
    assert {f"Ranks-of-{name}.npy.png" for name in ("rows", "other", "test-rows")} < drawn
    assert max(map(len, drawn)) < 120


def test_json_holds_everything(run: Path) -> None:
    end = evaluated(run, "--with", own(run), "--json", "--per-datum")
    found = json.loads(end.out)
    assert found["quantities"]["effective_sample_size"]["unit"] == "draws"
    assert {name: len(values) for name, values in found["per_datum"].items()} == dict.fromkeys(NAMES, 20)
    ranks = found["diagnostics"][own(run)]
    assert ranks["quantities"]["mean"] == {
        "label": "mean rank",
        "unit": "ranks",
        "value": 4.5,
        "monte_carlo_error": 0.25,
        "data_error": None,
        "bits_per_dimension": None,
    }
    assert ranks["notes"] == ["They are made up."]
    assert ranks["histograms"][0]["values"] == [*range(10)] * 2
    assert next(iter(found["diagnostics"])) == "active-units"
    assert "per_datum" not in json.loads(evaluated(run, "--json").out)


def test_what_has_nothing_to_say_says_why(run: Path) -> None:
    arguments = ["--with", own(run), "--set", f"{own(run)}.levels=101"]
    end = evaluated(run, *arguments)
    assert end.code == 0, end.err
    assert "not available: there are too many levels" in end.out
    found = json.loads(evaluated(run, *arguments, "--json").out)
    assert found["diagnostics"][own(run)] == {
        "title": own(run),
        "unavailable": "there are too many levels",
    }


def test_every_mistake_is_a_sentence_with_what_is_allowed(run: Path) -> None:
    settings = [
        f"{own(run)}.levels=1",
        f"{own(run)}.level=3",
        "nothing.x=3",
        "ais.steps=3",
        "active-units.x=1",
    ]
    assigned = [part for setting in settings for part in ("--set", setting)]
    asked = [part for name in ("activ-units", "nowhere.py:Ranks", "own.py") for part in ("--with", name)]
    end = evaluated(run, "--with", own(run), *asked, *assigned)
    assert (end.code, end.out) == (2, "")
    for sentence in (
        f"error: {own(run)}.levels: 1 is not allowed; it must be an integer >= 2",
        f"error: {own(run)}.level: 'level' is unknown (did you mean 'levels'?); choose from levels",
        "error: nothing.x: 'nothing' is unknown; choose from active-units,",
        "error: ais.steps: ais is not run; ask for it with --with ais",
        "error: active-units.x: 'x' is unknown; choose from",
        "error: --with: 'activ-units' is unknown (did you mean 'active-units'?); choose from active-units,",
        "error: --with: there is no file nowhere.py",
        "error: --with: 'own.py' is a file: name its class too, as own.py:MyClass",
    ):
        assert any(line.startswith(sentence) for line in end.err.splitlines()), (sentence, end.err)
    assert "--set" in evaluated(run, "--set", "active-units.x").err


def test_options_are_checked_before_anything_is_evaluated(run: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        selected("diagnostic", {"active-units": {"draws": 0.5}}, [Problem("earlier", "a mistake")])
    assert [problem.place for problem in raised.value.problems] == ["earlier", "active-units.draws"]
    assert "rows" not in evaluated(run, "--with", "nothing").err


def test_python_gives_what_the_command_line_prints(run: Path) -> None:
    vae = VAE.load(run, verbose=False)
    x = np.load(run.parent / "rows.npy")
    found = vae.evaluate(x, particles=30)
    printed = json.loads(evaluated(run, "--json").out)["quantities"]
    assert {row.key: row.mean.value for row in found.quantities} == {
        key: pytest.approx(row["value"], abs=1e-9) for key, row in printed.items()
    }
    units = vae.diagnose(x, "active-units")
    assert units.quantities
    with pytest.raises(ConfigError, match="'threshhold' is unknown"):
        vae.diagnose(x, "active-units", threshhold=0.1)


# Figures ---------------------------------------------------------------------------------------------------


def panel(**options: Any) -> Any:
    values = options.pop("values", torch.arange(400) % 20)
    (axis,) = plots.histograms([Histogram("ranks", "rank", values, **options)], title="all").axes
    return axis


def test_a_histogram_has_a_title_units_and_the_value_to_compare_with() -> None:
    axis = panel(marked=3.5, marked_as="data")
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("ranks", "rank", "count")
    assert sum(patch.get_height() for patch in axis.patches) == 400
    assert [line.get_xdata()[0] for line in axis.lines] == [3.5]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["data: 3.5"]


def test_uniform_values_lie_in_the_band_and_others_leave_it() -> None:
    def outside(values: Tensor, levels: int) -> float:
        band, counts = panel(values=values, uniform=levels).patches
        heights, edges, _ = counts.get_data()
        tops, _, bottoms = band.get_data()
        assert (edges[0], edges[-1]) == (-0.5, levels - 0.5)
        return float(((heights > tops) | (heights < bottoms)).mean())

    for levels in (20, 101):  # 101 is prime: bins of different widths
        ranks = torch.randint(levels, (50_000,))
        assert outside(ranks, levels) <= 0.2  # 25 bins at most, each outside with probability 5%: 1 in 1,000
        assert outside(ranks // 2, levels) > 0.5


def test_the_error_of_a_median_is_what_it_says() -> None:
    scores = []
    for _ in range(1000):
        found = median(torch.empty(200).exponential_())
        scores.append((found.value - math.log(2)) / found.data_error)
        assert math.isnan(found.monte_carlo_error)
    within = sum(abs(score) < 1 for score in scores) / len(scores)
    assert abs(within - 0.68) < 0.06  # of 1,000 trials +- 0.015; a distance of ranks is one of 200


def test_a_median_leaves_out_what_is_not_a_number() -> None:
    values = torch.tensor([3.0, math.nan, 1.0, -math.inf, 2.0])
    assert median(values).value == 1.0 == values.nanmedian()
    assert math.isnan(median(torch.tensor([1.0])).data_error)
    assert math.isnan(median(torch.tensor([math.nan])).value)
    assert median(torch.tensor([1.0])).value == 1.0
