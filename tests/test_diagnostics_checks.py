"""Simulation-based calibration and predictive checks: exact answers, words, and no word on batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from conftest import Build
from members import MEMBERS, Case, each
from test_exact import CELLS, SIGMA, Exact, N, affine, solve
from torch import Size, Tensor
from torch.distributions import Normal

from pyrovae import generate, pairing, supports
from pyrovae.component import find, names
from pyrovae.data import Split
from pyrovae.diagnostics import Findings, Subject, _points, _simulated, diagnose
from pyrovae.diagnostics.calibration import LIKELIHOOD, Calibration, Ranked, Scalar, holm
from pyrovae.diagnostics.predictive_checks import STATISTICS, Check, PredictiveChecks
from pyrovae.distributions.one_hot import OneHotCategorical
from pyrovae.programs import Program

SIMULATIONS, DRAWS = 1000, 99
Z = 4.0
"""Largest deviation in standard errors: a false alarm in 16,000 comparisons."""
P = 1e-4
"""P-value from which on a seeded test of a true law fails: its false-alarm rate."""
D = 2


def calibrated(program: Program, *, seed: int = 0, cells: int = CELLS, **options: int) -> Findings:
    rows = Split(torch.zeros(1, cells))  # calibration looks at no data
    return diagnose(Calibration(**options), Subject(program, rows, seed))


def single(exact: Exact) -> Exact:
    """The model in float32, as data are."""
    return exact._replace(program=exact.program.float(), x=exact.x.float())


def values(found: Findings) -> Mapping[str, float]:
    assert not found.unavailable
    return {row.key: row.mean.value for row in found.quantities}


def rows(found: Findings) -> Mapping[str, Any]:
    return {row.key: row.mean for row in found.quantities}


def expected_ranks(shift: float, stretch: float) -> tuple[float, float]:
    """Mean rank in units of L, and spread, of a guide that is the posterior with its mean and scale changed.

    Given z* the share u of draws below it is Phi((w - shift) / stretch) with w ~ N(0, 1), and the rank is
    binomial: E[(r/L)^2] = E[u^2] + E[u (1 - u)] / L. Expectations by quadrature.
    """
    w = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    weights = Normal(0.0, 1.0).log_prob(w).exp() * (w[1] - w[0])
    u = Normal(0.0, 1.0).cdf((w - shift) / stretch)
    mean, square = (weights * u).sum(), (weights * (u.square() + u * (1 - u) / DRAWS)).sum()
    about_half = square - mean + 0.25
    return mean.item(), (about_half * 12 * DRAWS / (DRAWS + 2)).item()


def test_the_ranks_of_the_exact_posterior_are_uniform() -> None:
    found = calibrated(solve(D).program, seed=1)
    assert values(found)["p_value"] > P
    assert values(found)["rejected"] == 0
    assert any("no difference between" in note for note in found.notes)
    for name in ("z[0]", "z[1]", "log p(x|z)"):
        for key, uniform in (("mean_rank", 0.5), ("spread", 1.0)):
            row = rows(found)[f"{name}.{key}"]
            assert abs(row.value - uniform) < Z * row.monte_carlo_error


def test_p_values_of_the_exact_posterior_are_those_of_a_true_law() -> None:
    program, seeds = solve(D).program, 60
    found = [values(calibrated(program, seed=seed, simulations=100, draws=19)) for seed in range(seeds)]
    rejections = sum(each["rejected"] > 0 for each in found)
    assert scipy.stats.binom.sf(rejections - 1, seeds, 0.05) > P
    uncorrected = [
        each[f"z[{j}].p_value"] for each in found for j in range(D)
    ]  # the coordinates are independent
    assert abs(torch.tensor(uncorrected).mean() - 0.5) < Z * math.sqrt(1 / 12 / len(uncorrected))
    assert scipy.stats.kstest(uncorrected, "uniform").pvalue > P


WRONG = [
    ({"stretch": 1.3}, "hump-shaped: the guide is too wide", "too wide or lies elsewhere"),
    ({"stretch": 0.75}, "U-shaped: the guide is too narrow", "too low: the guide is too narrow"),
    ({"shift": 0.4}, "sloped: the guide is biased, its draws are too high", ""),
    ({"shift": -0.4}, "sloped: the guide is biased, its draws are too low", ""),
]


@pytest.mark.parametrize(("changes", "words", "of_likelihood"), WRONG, ids=[str(wrong[0]) for wrong in WRONG])
def test_a_wrong_guide_is_rejected_and_the_ranks_are_those_of_the_closed_form(
    changes: Mapping[str, float], words: str, of_likelihood: str
) -> None:
    found = calibrated(solve(D, **changes).program)
    assert values(found)["p_value"] < 1e-6
    mean, spread = expected_ranks(changes.get("shift", 0.0), changes.get("stretch", 1.0))
    assert max(abs(mean - 0.5), abs(spread - 1)) > 0.1
    for j in range(D):
        of = {key: rows(found)[f"z[{j}].{key}"] for key in ("mean_rank", "spread")}
        assert abs(of["mean_rank"].value - mean) < Z * of["mean_rank"].monte_carlo_error
        assert abs(of["spread"].value - spread) < Z * of["spread"].monte_carlo_error
    assert f"{words} (z[0], z[1])" in found.notes
    others = [other for _, other, _ in WRONG if other != words]
    assert not [note for note in found.notes for other in others if other in note]
    if of_likelihood:
        assert any(f"{of_likelihood} (log p(x|z))" in note for note in found.notes)


@torch.no_grad()
def test_a_guide_that_ignores_the_data_and_is_the_prior_is_found_by_the_likelihood_alone() -> None:
    program = solve(D).program
    encoder = affine(program.network.encoder)
    encoder.weight.zero_()
    encoder.bias.zero_()
    found = calibrated(program, seed=1)
    assert values(found)["rejected"] == 1
    assert values(found)["log p(x|z).p_value"] < 1e-6
    assert any("too wide or lies elsewhere (log p(x|z))" in note for note in found.notes)
    assert min(values(found)[f"z[{j}].p_value"] for j in range(D)) > P


def test_draws_that_are_made_in_parts_are_draws_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_simulated, "CELLS_OF_A_DATUM", 7 * CELLS)
    found = calibrated(solve(D).program)
    assert min(values(found)[f"{name}.p_value"] for name in ("z[0]", "z[1]", "log p(x|z)")) > P
    _, spread = expected_ranks(0.0, 1.3)
    wide = rows(calibrated(solve(D, stretch=1.3).program))
    assert abs(wide["z[0].spread"].value - spread) < Z * wide["z[0].spread"].monte_carlo_error
    exact = single(solve(D))
    drawn = checked(exact, statistics=["mean"], replicates=300).histograms[0].values
    mean, deviation = closed_form(exact, "posterior")["mean"]
    assert len(drawn.unique()) > 295
    assert scipy.stats.kstest((drawn - mean) / deviation, "norm").pvalue > P


class Discrete(Program):
    """A category and a bit that depend on each other given x, with the exact posterior, or one to a power.

    Both have some value that is much likelier than others: most draws are ties.

    Args:
        power: of log q, without the normalising constant; 1 is exact.
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__(Size([1]))
        self.power = power
        self.prior = torch.tensor([0.1, 0.6, 0.3])
        self.heights = torch.tensor([-1.0, 0.0, 2.0])

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            bit = pyro.sample("bit", dist.Bernoulli(torch.tensor(0.3)).expand([len(x)]))
            z = pyro.sample("z", OneHotCategorical(self.prior).expand([len(x), 2]).to_event(1))
            pyro.sample("x", dist.Normal(self._mean(bit, z).unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        bits = torch.tensor([0.0, 1.0])
        pairs = torch.eye(3)[torch.cartesian_prod(torch.arange(3), torch.arange(3))]  # (9, 2, 3)
        with pyro.plate("data", len(x)):
            log_p = (
                dist.Bernoulli(torch.tensor(0.3)).log_prob(bits)[:, None]
                + (pairs @ self.prior).log().sum(-1)
                + Normal(self._mean(bits[:, None], pairs), 1.0).log_prob(x[..., None])
            )  # (n, 2, 9)
            of_bits = self.power * log_p.logsumexp(-1)
            bit = pyro.sample("bit", dist.Bernoulli(logits=of_bits[:, 1] - of_bits[:, 0]))
            # Of the pair, only the sum over the other variable is given: exact in each of them alone.
            joint = torch.where((bit == 1)[..., None], log_p[:, 1], log_p[:, 0]).unflatten(-1, (3, 3))
            each = torch.stack([joint.logsumexp(-1), joint.logsumexp(-2)], -2)
            pyro.sample("z", OneHotCategorical(logits=self.power * each).to_event(1))

    def _mean(self, bit: Tensor, z: Tensor) -> Tensor:
        return bit + (z @ self.heights).sum(-1)


def discrete(power: float, **options: int) -> Findings:
    return calibrated(Discrete(power), cells=1, **options)


def test_discrete_codes_have_uniform_ranks_under_the_exact_posterior_though_most_are_ties() -> None:
    found = discrete(1.0, simulations=2000)
    names = ("bit", "log q(z[0]|x)", "log q(z[1]|x)")
    for name in names:
        assert values(found)[f"{name}.p_value"] > P
    ranks = next(histogram.values for histogram in found.histograms if histogram.title == "ranks of bit")
    assert (ranks.min(), ranks.max()) == (0, DRAWS)


@pytest.mark.parametrize(
    ("power", "words"),
    [(3.0, "U-shaped: the guide is too narrow"), (0.2, "ranks too high: the guide is too wide")],
)
def test_discrete_codes_show_a_guide_that_is_too_sure_or_not_sure_enough(power: float, words: str) -> None:
    found = discrete(power)
    assert any(words in note and "log q(z[0]|x), log q(z[1]|x)" in note for note in found.notes), found.notes


@pytest.mark.parametrize(("draws", "n", "bins"), [(99, 1000, 20), (49, 1000, 20), (6, 1000, 7), (99, 55, 5)])
def test_the_statistic_is_pearsons_of_known_bins(draws: int, n: int, bins: int) -> None:
    ranks = (torch.rand(n, dtype=torch.float64).pow(1.1) * (draws + 1)).long()
    edges = [round((draws + 1) * b / bins) for b in range(bins + 1)]
    counts = [((low <= ranks) & (ranks < high)).sum().item() for low, high in pairwise(edges)]
    expected = [n * (high - low) / (draws + 1) for low, high in pairwise(edges)]
    assert sum(counts) == n
    assert min(expected) >= 10
    truth = scipy.stats.chisquare(counts, expected).pvalue
    assert Ranked(LIKELIHOOD, ranks, draws).p_value == pytest.approx(truth, rel=1e-9)


def test_uniform_ranks_have_a_mean_of_one_half_and_a_spread_of_one() -> None:
    for draws in (1, 2, 99):
        ranked = Ranked(Scalar("z", True), torch.arange(draws + 1).repeat(20), draws)
        assert ranked.mean.value == pytest.approx(0.5)
        assert ranked.spread.value == pytest.approx(1.0)
        assert ranked.components() == pytest.approx((0.0, 0.0), abs=1e-6)
        assert ranked.p_value > 0.5


def test_holm_corrects_from_the_smallest_one_on() -> None:
    p = torch.tensor([0.04, 0.01, 0.9, 0.012], dtype=torch.float64)
    assert holm(p).tolist() == pytest.approx([0.08, 0.04, 0.9, 0.04])


def test_of_many_coordinates_those_that_fit_worst_are_shown() -> None:
    exact = solve(10)
    with torch.no_grad():
        affine(exact.program.network.encoder).bias[7] += 1.0
    found = calibrated(exact.program, simulations=200)
    assert len(found.histograms) == 9
    assert "z[7].p_value" in values(found)
    assert values(found)["z[7].p_value"] * 11 == pytest.approx(values(found)["p_value"])
    assert any("9 of 11" in note for note in found.notes)


def test_a_model_whose_draws_cannot_be_scored_says_so(make: Build) -> None:
    program = make()
    with torch.no_grad():
        affine_layers = [
            part for part in program.network.encoder.modules() if isinstance(part, torch.nn.Linear)
        ]
        affine_layers[-1].bias[0] = math.nan
    assert "not a number" in calibrated(program, cells=6, simulations=20, draws=3).unavailable


# Predictive checks


def closed_form(exact: Exact, codes: str) -> Mapping[str, tuple[float, float]]:
    """Mean and standard deviation of the replicated mean and variance over cells, averaged over data.

    Given the datum, x_rep is N(m, C): its mean over cells is normal, and x^T H x / cells, with H the
    projection that takes the mean away, has the mean (m^T H m + tr HC) / cells and the variance
    (2 tr HCHC + 4 m^T HCH m) / cells^2; over many data their average is normal.
    """
    decoder = affine(exact.program.network.decoder)
    w, b = decoder.weight.detach().double(), decoder.bias.detach().double()
    guide = Normal(torch.zeros(N, w.shape[1]), torch.ones(N, w.shape[1])) if codes == "prior" else exact.guide
    m = guide.loc.detach().double() @ w.T + b
    scale = guide.scale.detach().double()
    c = torch.einsum("ij,nj,kj->nik", w, scale.square(), w) + SIGMA**2 * torch.eye(CELLS).double()
    h = torch.eye(CELLS).double() - 1 / CELLS
    hc = h @ c
    trace = hc.diagonal(dim1=1, dim2=2).sum(-1)
    squares = (hc @ hc).diagonal(dim1=1, dim2=2).sum(-1)
    of_mean = torch.einsum("ni,ij,nj->n", m, h, m)
    cross = torch.einsum("ni,nij,nj->n", m, hc @ h, m)
    return {
        "mean": (m.mean().item(), math.sqrt(c.sum().item()) / (CELLS * N)),
        "variance": (
            ((of_mean + trace) / CELLS).mean().item(),
            math.sqrt((2 * squares + 4 * cross).sum().item()) / (CELLS * N),
        ),
    }


def checked(exact: Exact, *, seed: int = 0, batch_size: int = 100, **options: Any) -> Findings:
    subject = Subject(exact.program, Split(exact.x), seed, batch_size)
    return diagnose(PredictiveChecks(**options), subject)


@pytest.mark.parametrize("codes", ["posterior", "prior"])
def test_replicates_have_the_distribution_of_the_closed_form(codes: str) -> None:
    exact, count = single(solve(D)), 1000
    found = checked(exact, codes=codes, statistics=["mean", "variance"], replicates=count)
    drawn = {histogram.title: histogram for histogram in found.histograms}
    for name, (mean, deviation) in closed_form(exact, codes).items():
        replicated, real, p = (rows(found)[f"{name}.{key}"] for key in ("replicated", "real", "p_value"))
        assert replicated.monte_carlo_error == pytest.approx(
            deviation / math.sqrt(count), rel=Z / math.sqrt(2 * count)
        )
        assert abs(replicated.value - mean) < Z * replicated.monte_carlo_error
        truth = 1 - Normal(mean, deviation).cdf(torch.tensor(real.value)).item()
        assert abs(p.value - truth) < Z * p.monte_carlo_error
        assert 0.02 < truth < 0.98  # a test in the middle of the distribution
        (histogram,) = [drawn[title] for title in drawn if title.startswith(f"{name} over cells")]
        assert histogram.marked == pytest.approx(real.value)
        assert len(histogram.values) == count
        assert scipy.stats.kstest((histogram.values - mean) / deviation, "norm").pvalue > P


def test_the_error_of_a_p_value_is_what_it_says() -> None:
    exact = single(solve(D))
    found = [checked(exact, seed=seed, statistics=["mean"], replicates=50) for seed in range(60)]
    p = [rows(each)["mean.p_value"] for each in found]
    deviation = torch.tensor([each.value for each in p]).std().item()
    stated = torch.tensor([each.monte_carlo_error for each in p]).mean().item()
    assert deviation == pytest.approx(stated, rel=Z / math.sqrt(2 * 60))


def test_an_extreme_p_value_has_an_error_too() -> None:
    exact = single(solve(D))
    exact.x.add_(5.0)
    found = checked(exact, statistics=["mean"], codes="prior", replicates=99)
    p = rows(found)["mean.p_value"]
    assert p.value == 0
    assert 0.005 < p.monte_carlo_error < 0.015
    assert any("mean over cells: the data have more of it" in note for note in found.notes)


@pytest.mark.parametrize("replicates", [20, 159, 200, 1000])
@pytest.mark.parametrize("extreme", [0.05, 0.00625])
def test_no_more_ranks_are_called_extreme_than_the_level_allows(replicates: int, extreme: float) -> None:
    """Of a true model the data are one more replicate: each of S + 1 ranks has the same probability."""
    replicated = torch.arange(replicates, dtype=torch.float64)
    checks = [
        Check("mean", torch.tensor([rank - 0.5]).double(), replicated) for rank in range(replicates + 1)
    ]
    flagged = sum("than almost all data" in check.in_words(extreme) for check in checks) / (replicates + 1)
    assert flagged <= 2 * extreme
    assert flagged > 2 * extreme - 2 / (replicates + 1) - 1e-9


@pytest.mark.parametrize("codes", ["posterior", "prior"])
@pytest.mark.parametrize(("noise", "words"), [(0.8, "more"), (0.3, "less"), (SIGMA, "")])
def test_a_wrong_noise_scale_is_exposed_by_the_variance(codes: str, noise: float, words: str) -> None:
    exact = solve(D)
    decoder = affine(exact.program.network.decoder)
    z = torch.randn(2000, D, dtype=torch.float64)
    x = decoder(z).detach() + noise * torch.randn(2000, CELLS, dtype=torch.float64)
    found = checked(single(exact._replace(x=x)), codes=codes, points=2000)
    flagged = [note for note in found.notes if note.startswith("variance over cells: the data have")]
    p = values(found)["variance.p_value"]
    if not words:
        assert flagged == []
        assert 0 < p < 1
    else:
        assert p == (0 if words == "more" else 1)
        assert [words in note for note in flagged] == [True]


def test_codes_of_the_prior_take_no_notice_of_the_data_and_those_of_the_posterior_do() -> None:
    exact = single(solve(D))
    moved = exact._replace(x=exact.x + 5.0)
    for codes, same in (("prior", True), ("posterior", False)):
        drawn = [values(checked(each, codes=codes, statistics=["mean"])) for each in (exact, moved)]
        assert (drawn[0]["mean.replicated"] == drawn[1]["mean.replicated"]) == same
        assert drawn[0]["mean.real"] != drawn[1]["mean.real"]


def test_what_all_replicates_share_with_the_data_says_nothing() -> None:
    found = checked(single(solve(D)), statistics=["sparsity"])
    assert values(found) == {"sparsity.real": 0.0, "sparsity.replicated": 0.0, "sparsity.p_value": 1.0}
    assert any(note.startswith("share of cells that are 0: all replicates") for note in found.notes)


def test_p_values_are_uniform_under_codes_of_the_prior_and_conservative_under_those_of_the_posterior() -> (
    None
):
    exact, sets = single(solve(10)), 100
    p: dict[str, list[float]] = {"posterior": [], "prior": []}
    for seed in range(sets):
        x = generate.sample(exact.program, 40, seed=seed).x
        for codes, found in p.items():
            data = exact._replace(x=x)
            checks = checked(data, seed=seed, codes=codes, statistics=["mean"], replicates=60)
            found.append(values(checks)["mean.p_value"])
            assert any("twice" in note for note in checks.notes) == (codes == "posterior")
    assert scipy.stats.kstest(p["prior"], "uniform").pvalue > P
    variance = torch.tensor(p["posterior"]).var(correction=0).item()
    assert variance < (1 - Z * math.sqrt(0.8 / sets)) / 12  # 0.8: of squares of uniform numbers


def test_statistics_are_those_of_the_cells_of_a_datum() -> None:
    cells = torch.tensor([[0.0, 0.0, 1.0, 3.0], [-1.0, 0.5, 0.0, 0.5]])
    by_hand = {
        "mean": [1.0, 0.0],
        "variance": [1.5, 0.375],
        "sparsity": [0.5, 0.25],
        "minimum": [0.0, -1.0],
        "maximum": [3.0, 0.5],
    }
    assert {name: of_each(cells).tolist() for name, (_, of_each) in STATISTICS.items()} == by_hand


def test_the_rows_are_as_many_as_asked_for_and_the_seed_chooses_them() -> None:
    exact = single(solve(D))
    real = [rows(checked(exact, seed=seed, points=50))["mean.real"] for seed in (0, 0, 1)]
    assert real[0] == real[1] != real[2]
    everything = rows(checked(exact, points=10**6, replicates=2))["mean.real"]
    of_each = exact.x.mean(1)
    assert everything.value == pytest.approx(of_each.mean().item(), abs=1e-6)
    assert everything.data_error == pytest.approx(of_each.std().item() / math.sqrt(N), rel=1e-5)
    assert real[0].data_error > 1.5 * everything.data_error


def test_a_total_that_is_given_is_that_of_the_data(make: Build) -> None:
    program = make(likelihood="multinomial")
    x = torch.randint(0, 9, (30, 6)).float()
    for codes in ("posterior", "prior"):
        found = diagnose(PredictiveChecks(statistics=["mean"], codes=codes), Subject(program, Split(x)))
        assert values(found)["mean.replicated"] == pytest.approx(values(found)["mean.real"], rel=1e-6)


def test_the_model_draws_totals_of_the_training_data_for_calibration(make: Build) -> None:
    program = make(likelihood="multinomial")
    program.initialize(lambda: [torch.full((5, 6), 7.0)])
    totals: list[Tensor] = []
    encode = program.encode
    program.encode = lambda x: (totals.append(x.sum(-1)), encode(x))[1]  # type: ignore[method-assign]
    values(calibrated(program, cells=6, simulations=20, draws=3))
    assert totals
    assert all((each == 42).all() for each in totals)


# Both


def fitting(family: str, name: str) -> dict[str, Any]:
    """A choice of prior and posterior with a component, and one that fits it."""
    other = {"prior": "posterior", "posterior": "prior"}[family]
    for partner in sorted(names(other), key=lambda name: name != "normal"):
        pair = {family: find(family, name), other: find(other, partner)}
        if pairing.misfit(pair["prior"], pair["posterior"]) is None:
            return {family: name, other: partner}
    raise AssertionError(name)


KINDS = [case for case in MEMBERS if case.family in ("prior", "posterior", "likelihood")]


@each(KINDS)
def test_every_kind_of_program_is_checked_or_says_why_not(case: Case, make: Build, untouched: None) -> None:
    choices = {"likelihood": case.name} if case.family == "likelihood" else fitting(case.family, case.name)
    objective = {"objective": "graph-elbo"}
    program = make(**choices, **objective)
    weights = {name: value.clone() for name, value in program.state_dict().items()}
    subject = Subject(program, Split(generate.sample(program, 12).x))
    checks = diagnose(PredictiveChecks(statistics=list(STATISTICS), replicates=7), subject)
    calibration = diagnose(Calibration(simulations=30, draws=5), subject)
    assert bool(calibration.unavailable) == (not program.posterior.is_density), calibration.unavailable
    for found in (checks, calibration):
        for row in found.quantities:
            assert math.isfinite(row.mean.value), row
            assert row.unit != "probability" or 0 <= row.mean.value <= 1
        assert len(found.histograms) >= 1 or found.unavailable
    names_of_ranks = {histogram.title for histogram in calibration.histograms}
    assert calibration.unavailable or "ranks of log p(x|z)" in names_of_ranks
    one_hot = supports.same(program.posterior.support, supports.one_hot_codes)
    assert calibration.unavailable or any("log q(" in name for name in names_of_ranks) == one_hot
    assert all(torch.equal(value, weights[name]) for name, value in program.state_dict().items())


@pytest.mark.parametrize(
    "diagnostic", [Calibration(simulations=60, draws=30), PredictiveChecks(replicates=30)]
)
@pytest.mark.parametrize(
    "choices", [{}, {"prior": "categorical", "posterior": "categorical"}], ids=["", "discrete"]
)
def test_numbers_depend_on_no_batch(
    diagnostic: Any, choices: dict[str, str], make: Build, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        x = torch.randn(40, 6)
    program = make(**choices, **({"objective": "graph-elbo"} if choices else {}))
    whole = diagnose(diagnostic, Subject(program, Split(x)))
    again = diagnose(diagnostic, Subject(program, Split(x), batch_size=7))
    assert values(again) == values(whole)
    monkeypatch.setattr(_points, "CELLS_AT_ONCE", 30 * 6 * 7)
    small = values(diagnose(diagnostic, Subject(program, Split(x), batch_size=1)))
    assert small == pytest.approx(values(whole), abs=1e-4, rel=1e-4)
    other = values(diagnose(diagnostic, Subject(program, Split(x), seed=1)))
    assert other != values(whole)
