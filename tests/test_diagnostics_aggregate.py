"""Active units, the KL by coordinate and the aggregate posterior: exact answers, and every pair that fits."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import Build
from members import shaken
from scipy.integrate import quad
from test_exact import Exact, each_dimension, solve
from torch import Size, Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.distributions.transforms import AffineTransform

from pyrovae import component, pairing
from pyrovae.data import Split
from pyrovae.diagnostics import (
    ActiveUnits,
    Aggregate,
    Coordinates,
    Diagnostic,
    Findings,
    Subject,
    aggregate,
    diagnose,
)
from pyrovae.evaluate import evaluate
from pyrovae.programs import Program

ERRORS = 4
"""Standard errors that a single estimate may be off: by chance it is further off once in 16,000 times."""

DIAGNOSTICS: list[Diagnostic] = [ActiveUnits(each=True), Coordinates(), Aggregate(by_coordinate=True)]
each_diagnostic = pytest.mark.parametrize("diagnostic", DIAGNOSTICS, ids=lambda one: type(one).__name__)


def subject(program: Program, x: Tensor, **settings: Any) -> Subject:
    return Subject(program, Split(x), **settings)


def found(diagnostic: Diagnostic, program: Program, x: Tensor, **settings: Any) -> Findings:
    return diagnose(diagnostic, subject(program, x, **settings))


def columns(findings: Findings) -> dict[str, tuple[float, float, float]]:
    """(value, Monte-Carlo error, error over data) of each row."""
    assert not findings.unavailable
    return {
        row.key: (row.mean.value, row.mean.monte_carlo_error, row.mean.data_error)
        for row in findings.quantities
    }


def single(d: int, *, hidden: bool, **guide: float) -> Exact:
    """The linear-Gaussian model in float32; ``hidden``: q(z|x) as a transform, with no closed forms."""
    exact = solve(d, **guide)
    exact.program.float()
    posterior: Any = exact.program.posterior
    if hidden:
        plain = posterior.forward

        def forward(features: Tensor) -> Any:
            base = plain(features).base_dist
            return dist.TransformedDistribution(base, [AffineTransform(0.0, 1.0)]).to_event(1)

        posterior.forward = forward
    return exact


def guide_of(exact: Exact) -> Normal:
    """q(z|x), (n, d), float64."""
    loc, unbounded = exact.program.network.encoder(exact.x.float()).detach().double().chunk(2, -1)
    scale = exact.program.posterior.__class__.forward(
        exact.program.posterior, torch.cat([loc, unbounded], -1)
    ).base_dist.scale
    return Normal(loc, scale.double())


@each_dimension
def test_variances_of_posterior_means_are_exact_where_these_are(d: int) -> None:
    exact = single(d, hidden=False)
    count, *units = columns(found(ActiveUnits(each=True), exact.program, exact.x.float())).values()
    assert count[:2] == (d, 0.0)
    truth = guide_of(exact).loc.var(0)
    for j, (value, noise, _) in enumerate(units):
        assert value == pytest.approx(truth[j].item(), rel=1e-5)
        assert noise == 0


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("draws", [4, 64])
def test_errors_of_variances_are_what_they_say(hidden: bool, draws: int) -> None:
    """Mean squares of 400 standard scores: 1 +- 0.07 if normal and independent."""
    noises, populations = [], []
    for seed in range(40):
        # p(z|x) itself: E_q[z_j] has the variance Var(z_j) - Var(z_j|x).
        exact = single(10, hidden=hidden)
        findings = found(ActiveUnits(each=True, draws=draws), exact.program, exact.x.float(), seed=seed)
        values, noise, over_data = torch.tensor(list(columns(findings).values())[1:]).double().T
        q = guide_of(exact)
        populations.append((values - (1 - q.scale[0].square())) / over_data)
        if hidden:
            noises.append((values - q.loc.var(0)) / noise)
    for scores in (populations, noises):
        if scores:
            assert 0.75 < torch.stack(scores).square().mean() < 1.35
            assert abs(torch.stack(scores).mean()) < 0.3


def test_a_mean_of_few_draws_does_not_make_units_active() -> None:
    exact = single(2, hidden=True, stretch=3.0)
    with torch.no_grad():
        weight = next(exact.program.network.encoder.parameters())
        weight.zero_()
    findings = found(ActiveUnits(each=True, draws=4), exact.program, exact.x.float())
    _, *units = columns(findings).values()
    for value, noise, _ in units:
        assert abs(value) < ERRORS * noise
        assert noise < 0.5  # the variances of means of four draws are 1.7 and 0.3


def test_what_is_near_the_threshold_is_named_and_the_count_has_an_error(make: Build) -> None:
    program, x = shaken(make()).float(), torch.randn(900, 6)
    first, second = list(columns(found(ActiveUnits(each=True), program, x)).values())[1:]
    assert abs(first[0] - second[0]) > 2 * max(first[2], second[2])
    near = found(ActiveUnits(threshold=first[0] * (1 - 1e-6)), program, x)
    (note,) = near.notes
    assert "z[0] (" in note
    assert "z[1]" not in note
    (count,) = near.quantities
    assert count.unit == "units"
    assert count.mean.value == 1 + (second[0] > first[0])
    assert count.mean.data_error == pytest.approx(0.5, abs=0.1)
    assert count.mean.monte_carlo_error < 1e-9
    far = found(ActiveUnits(threshold=10 * max(first[0], second[0])), program, x)
    assert not far.notes
    assert far.quantities[0].mean.value == 0
    assert far.histograms[0].values.tolist() == [first[0], second[0]]


@pytest.mark.parametrize(
    ("posterior", "names"), [("categorical", ["z_0", "z_1"]), ("gumbel-softmax", ["z[0]", "z[1]"])]
)
def test_a_unit_of_one_hot_codes_is_a_variable(make: Build, posterior: str, names: list[str]) -> None:
    program = shaken(make(prior={"name": "categorical", "categories": 3}, posterior=posterior)).float()
    x = torch.randn(30, 6)
    probs = program.network.encoder(x).detach().unflatten(-1, (2, 3)).softmax(-1)
    rows = columns(found(ActiveUnits(each=True), program, x))
    assert list(rows)[1:] == names
    for j, name in enumerate(names):
        assert rows[name][0] == pytest.approx(probs[:, j].var(0).sum().item(), rel=1e-5)


def test_a_variance_needs_two_rows(make: Build) -> None:
    assert "two rows" in found(ActiveUnits(), make(), torch.zeros(1, 6)).unavailable


@each_dimension
@pytest.mark.parametrize("hidden", [False, True])
def test_the_kl_of_each_coordinate_meets_the_closed_form(d: int, hidden: bool) -> None:
    """Fourteen numbers are estimates, each off by three errors once in 400 times."""
    exact = single(d, hidden=hidden, shift=0.3, stretch=1.3)
    rows = columns(found(Coordinates(), exact.program, exact.x.float()))
    truth = kl_divergence(guide_of(exact), Normal(0.0, 1.0))
    assert list(rows) == [*(f"z[{j}]" for j in range(d)), "sum"]
    for (value, noise, over_data), of_data in zip(
        rows.values(), [*truth.unbind(1), truth.sum(1)], strict=True
    ):
        assert abs(value - of_data.mean().item()) < (3 * noise if hidden else 1e-5)
        assert (noise > 1e-4) == hidden
        assert over_data == pytest.approx(of_data.std().item() / len(of_data) ** 0.5, rel=0.1)


def test_errors_of_the_kl_are_what_they_say() -> None:
    """The mean square of 150 standard scores, 1 +- 0.12."""
    exact = single(2, hidden=True, shift=0.3, stretch=1.3)
    truth = kl_divergence(guide_of(exact), Normal(0.0, 1.0)).mean(0)
    scores = []
    for seed in range(50):
        rows = columns(found(Coordinates(draws=10), exact.program, exact.x.float(), seed=seed))
        scores += [(rows[f"z[{j}]"][0] - truth[j].item()) / rows[f"z[{j}]"][1] for j in range(2)]
        scores.append((rows["sum"][0] - truth.sum().item()) / rows["sum"][1])
    assert 0.6 < torch.tensor(scores).square().mean() < 1.5


@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_coordinates_add_up_to_the_kl_of_the_evaluation(make: Build, posterior: str) -> None:
    program, x = shaken(make(prior="student-t", posterior=posterior)).float(), torch.randn(12, 6)
    rows = columns(found(Coordinates(), program, x))
    estimates = evaluate(program, [x], particles=400)
    error = math.hypot(estimates.kl_error.square().sum().sqrt().item() / 12, rows["sum"][1])
    assert abs(estimates.kl.mean().item() - rows["sum"][0]) < ERRORS * error
    assert sum(row[0] for row in list(rows.values())[:-1]) == pytest.approx(rows["sum"][0])


def mutual(log_given: Tensor, log_prior: Tensor, weights: Tensor) -> dict[str, float]:
    """Both parts of the mean KL from log q(z|x_i), (N, values), log p(z) and the weights of the values."""
    q = log_given.exp()
    log_aggregate = log_given.logsumexp(0) - math.log(len(q))
    inside = [(log_given - log_aggregate), (log_aggregate - log_prior)]
    first, second = ((torch.where(q > 0, q * part, 0.0) * weights).sum(1).mean().item() for part in inside)
    return {"mutual_information": first, "aggregate_kl": second, "kl": first + second}


def check(rows: dict[str, tuple[float, float, float]], truth: dict[str, float], most: float) -> None:
    for key, value in truth.items():
        assert abs(rows[key][0] - value) < 3 * rows[key][1] < 3 * most, key


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [
        ({"name": "categorical", "categories": 3}, "categorical"),
        ({"name": "categorical", "categories": 3}, "gumbel-softmax"),
        ("bernoulli", "bernoulli"),
        ("bernoulli", "relaxed-bernoulli"),
    ],
    ids=str,
)
def test_discrete_codes_meet_sums_over_all_of_them(make: Build, prior: Any, posterior: str) -> None:
    """Each of five numbers of four cases is off by three errors once in 400 times."""
    program, x = shaken(make(prior=prior, posterior=posterior)).float(), 2 * torch.randn(4, 6)
    features = 3 * program.network.encoder(x).detach()
    program.network.encoder.forward = lambda x, encoder=program.network.encoder.forward: 3 * encoder(x)
    logits = program.prior.logits.detach()
    if posterior in ("categorical", "gumbel-softmax"):
        of_each, of_prior = (
            features.unflatten(-1, (2, 3)).log_softmax(-1),
            logits.log_softmax(-1).expand(2, 3),
        )
    else:
        of_each, of_prior = (
            torch.stack([torch.nn.functional.logsigmoid(-odds), torch.nn.functional.logsigmoid(odds)], -1)
            for odds in (features, logits.expand(2))
        )
    codes = list(product(range(of_prior.shape[1]), repeat=2))
    log_given = torch.stack([of_each[:, 0, a] + of_each[:, 1, b] for a, b in codes], -1)
    log_prior = torch.stack([of_prior[0, a] + of_prior[1, b] for a, b in codes])
    truth = mutual(log_given, log_prior, torch.ones(len(codes)).double())
    log_marginals = of_each.logsumexp(0) - math.log(4)
    truth["coordinate_kl"] = (log_marginals.exp() * (log_marginals - of_prior)).sum().item()
    truth["total_correlation"] = truth["aggregate_kl"] - truth["coordinate_kl"]
    assert min(truth.values()) > 0.01
    findings = found(Aggregate(draws=3000, by_coordinate=True), program, x)
    check(columns(findings), truth, most=0.02)


def test_one_dimension_meets_quadrature(make: Build) -> None:
    """Three numbers, each off by three errors once in 400 times."""
    program = shaken(make(latent_dim=1, prior="laplace")).float()
    x = 2 * torch.randn(5, 6)
    q = program.encode(x).base_dist
    p = program.prior(program.encode).base_dist
    components = [Normal(loc, scale) for loc, scale in zip(q.loc.detach(), q.scale.detach(), strict=True)]

    def log_aggregate(z: Tensor) -> Tensor:
        return torch.stack([one.log_prob(z) for one in components]).logsumexp(0) - math.log(5)

    def integral(value: Any) -> float:
        def at(z: float) -> float:
            return value(torch.tensor([z], dtype=torch.float64)).item()

        return sum(quad(at, *ends, epsabs=1e-9, limit=200)[0] for ends in ((-30, 0), (0, 30)))

    def information(z: Tensor) -> Tensor:
        return sum(one.log_prob(z).exp() * (one.log_prob(z) - log_aggregate(z)) for one in components) / 5

    def distance(z: Tensor) -> Tensor:
        return log_aggregate(z).exp() * (log_aggregate(z) - p.log_prob(z).detach())

    truth = {"mutual_information": integral(information), "aggregate_kl": integral(distance)}
    truth["kl"] = sum(truth.values())
    assert min(truth.values()) > 0.02
    check(columns(found(Aggregate(draws=3000), program, x)), truth, most=0.02)


def test_errors_of_the_aggregate_are_what_they_say(make: Build) -> None:
    """Mean squares of 100 standard scores around their own mean: 1 +- 0.14."""
    program, x = shaken(make()).float(), 2 * torch.randn(20, 6)
    runs = [columns(found(Aggregate(by_coordinate=True), program, x, seed=seed)) for seed in range(100)]
    for key in ("mutual_information", "aggregate_kl", "total_correlation", "coordinate_kl", "kl"):
        values, errors = torch.tensor([run[key][:2] for run in runs]).double().T
        assert 0.5 < (values.var() / errors.square().mean()) < 1.8, key


@each_dimension
def test_information_and_distance_add_up_to_the_mean_kl(d: int) -> None:
    exact = single(d, hidden=False, shift=0.3, stretch=1.3)
    rows = columns(found(Aggregate(by_coordinate=True), exact.program, exact.x.float()))
    assert rows["mutual_information"][0] + rows["aggregate_kl"][0] == pytest.approx(rows["kl"][0], abs=1e-9)
    assert rows["total_correlation"][0] + rows["coordinate_kl"][0] == pytest.approx(
        rows["aggregate_kl"][0], abs=1e-9
    )
    truth = kl_divergence(guide_of(exact), Normal(0.0, 1.0)).sum(1).mean().item()
    assert abs(rows["kl"][0] - truth) < ERRORS * rows["kl"][1]
    assert rows["log_n"][0] == math.log(len(exact.x))
    # Of a population, these say nothing; the mean KL does.
    assert all(math.isnan(rows[key][2]) for key in rows if key != "kl")
    assert 0 < rows["kl"][2] < 1


@pytest.mark.parametrize("choice", [{}, {"prior": "categorical", "posterior": "categorical"}], ids=str)
def test_the_split_by_coordinates_changes_nothing_else(make: Build, choice: Any) -> None:
    program, x = shaken(make(**choice)).float(), torch.randn(20, 6)
    split = columns(found(Aggregate(by_coordinate=True), program, x))
    for key, row in columns(found(Aggregate(), program, x)).items():
        assert row[:2] == pytest.approx(split[key][:2], abs=1e-5)


def test_information_is_log_n_where_codes_tell_all_rows_apart_and_this_is_said(make: Build) -> None:
    program, x = shaken(make()).float(), 100 * torch.randn(9, 6)
    findings = found(Aggregate(), program, x)
    assert findings.quantities[0].mean.value == pytest.approx(math.log(9), abs=1e-6)
    assert "within 1 nat of its ceiling log N = 2.20" in " ".join(findings.notes)
    same = found(Aggregate(), program, x[:1].expand(9, 6) / 100)
    assert same.quantities[0].mean.value == pytest.approx(0, abs=1e-5)
    assert "ceiling" not in " ".join(same.notes)


@each_diagnostic
@pytest.mark.parametrize(
    "choice",
    [
        {"posterior": "normal", "prior": "student-t"},
        {"posterior": "full-normal"},
        {"posterior": "categorical", "prior": "categorical"},
        {"posterior": "coupling"},
    ],
    ids=lambda choice: choice["posterior"],
)
def test_neither_batches_nor_chunks_change_a_number(
    make: Build, choice: Any, diagnostic: Diagnostic, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, x = shaken(make(**choice)).float(), torch.randn(15, 6)
    whole = found(diagnostic, program, x, seed=3)
    monkeypatch.setattr(aggregate, "NUMBERS_AT_ONCE", 20)
    for size in (1, 7):
        other = found(diagnostic, program, x, seed=3, batch_size=size)
        assert other.unavailable == whole.unavailable
        for one, two in zip(whole.quantities, other.quantities, strict=True):
            assert one.key == two.key
            assert one.mean.value == pytest.approx(two.mean.value, abs=1e-6)
    again = found(diagnostic, program, x, seed=3)
    assert repr(again.quantities) == repr(found(diagnostic, program, x, seed=3).quantities)


def test_some_of_the_rows_are_chosen_at_random_and_keep_their_draws(make: Build) -> None:
    program, x = shaken(make()).float(), torch.randn(30, 6)
    whole = found(Aggregate(rows=30), program, x)
    assert repr(whole.quantities) == repr(found(Aggregate(), program, x).quantities)
    some = found(Aggregate(rows=10), program, x)
    assert some.quantities[-1].mean.value == math.log(10)
    assert some.notes[0] == "For the aggregate of these 10 rows, chosen at random of 30."
    two = [found(Aggregate(rows=10), program, x, seed=seed).quantities[0].mean.value for seed in (0, 1)]
    assert two[0] != two[1]
    # A row's own terms do not depend on which others are there.
    chosen, index = Aggregate(rows=10)._chosen(subject(program, x))
    assert torch.equal(chosen.rows(slice(None)), x[index])
    own, _ = aggregate._own_draws(subject(program, x), chosen, index, 4, False)
    of_all, _ = aggregate._own_draws(subject(program, x), Split(x), list(range(30)), 4, False)
    torch.testing.assert_close(own.log_given, of_all.log_given[index], atol=1e-5, rtol=0)


class Hierarchy(Program):
    """z_1 depends on z_0, in the model and in the guide: (z_0, z_1) given x is normal, with a covariance."""

    def __init__(self) -> None:
        super().__init__(Size([1]))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            first = pyro.sample("z_0", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            second = pyro.sample("z_1", dist.Normal(first, 1.0))
            pyro.sample("x", dist.Normal(second.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            first = pyro.sample("z_0", dist.Normal(0.8 * x[:, 0], 0.5))
            pyro.sample("z_1", dist.Normal(1.5 * first - 0.4 * x[:, 0], 0.6))


LOC, FACTOR = torch.tensor([0.8, 0.8]), torch.tensor([[0.5, 0.0], [0.75, 0.6]])


def test_a_variable_that_depends_on_another_has_no_mean_in_closed_form_although_it_claims_one() -> None:
    """E_q[z_1] = 1.5 E_q[z_0] - 0.4 x = 0.8 x."""
    x = torch.randn(300, 1)
    rows = columns(found(ActiveUnits(each=True, draws=16), Hierarchy(), x))
    truth = 0.64 * x.var().item()
    assert rows["z_0"][0] == pytest.approx(truth, rel=1e-5)
    assert rows["z_0"][1] == 0
    assert 0.005 < rows["z_1"][1] < 0.1
    assert abs(rows["z_1"][0] - truth) < ERRORS * rows["z_1"][1]


def test_the_aggregate_of_a_hierarchy_meets_a_sum_over_a_grid() -> None:
    """Three numbers, each off by three errors once in 400 times; float32 adds 1e-5."""
    x = torch.tensor([[-2.0], [-0.5], [0.0], [1.5]])
    line = torch.linspace(-9, 9, 451, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    log_given = torch.stack(
        [MultivariateNormal((LOC * one).double(), scale_tril=FACTOR.double()).log_prob(z) for one in x]
    )
    log_prior = Normal(0.0, 1.0).log_prob(z[:, 0]) + Normal(z[:, 0], 1.0).log_prob(z[:, 1])
    truth = mutual(log_given, log_prior, torch.full((), (18 / 450) ** 2))
    findings = found(Aggregate(draws=3000, by_coordinate=True), Hierarchy(), x)
    check(columns(findings), truth, most=0.02)
    assert "total_correlation" not in columns(findings)
    assert "z_1 depends on other variables" in findings.notes[1]
    rows = columns(found(Coordinates(draws=2000), Hierarchy(), x))
    assert list(rows) == ["z_0", "z_1", "sum"]
    assert abs(rows["sum"][0] - truth["kl"]) < 3 * rows["sum"][1] < 0.1


FITTING = [
    (prior, posterior)
    for prior, posterior in product(component.names("prior"), component.names("posterior"))
    if pairing.misfit(component.find("prior", prior), component.find("posterior", posterior)) is None
]


def test_many_pairs_fit() -> None:
    assert len(FITTING) > 60


@pytest.mark.parametrize(("prior", "posterior"), FITTING)
def test_a_pair_is_answered_with_finite_numbers_or_with_a_reason(
    make: Build, prior: str, posterior: str, untouched: None
) -> None:
    with torch.random.fork_rng(devices=[]):
        program, x = make(prior=prior, posterior=posterior), torch.randn(12, 6)
    weights = {name: value.clone() for name, value in program.state_dict().items()}
    p, q = program.prior, program.posterior
    available = {
        ActiveUnits: True,
        Coordinates: q.is_density and p.has_independent_coordinates and q.has_independent_coordinates,
        Aggregate: q.is_density and q.only_own_draws is None,
    }
    for diagnostic in DIAGNOSTICS:
        findings = found(diagnostic, program, x)
        assert (findings.unavailable == "") == available[type(diagnostic)], findings.unavailable
        assert not findings.unavailable or len(findings.unavailable.split()) > 5
        assert q.is_density or not findings.unavailable or "is a point" in findings.unavailable
        for row in findings.quantities:
            assert math.isfinite(row.mean.value), row
            assert row.mean.monte_carlo_error >= 0, row
        if isinstance(diagnostic, Aggregate) and not findings.unavailable:
            split = any(row.key == "total_correlation" for row in findings.quantities)
            assert split == available[Coordinates]
            rows = columns(findings)
            assert rows["mutual_information"][0] + 4 * rows["mutual_information"][1] >= -1e-6
            assert rows["mutual_information"][0] <= math.log(12) + 1e-6
    assert all(torch.equal(value, weights[name]) for name, value in program.state_dict().items())
