"""Gaps, annealing and refinement against exact answers: closed forms, quadrature, enumeration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import Build
from pyro import poutine
from test_exact import CELLS, SIGMA, Exact, N, affine, each_dimension, solve
from torch import Size, Tensor
from torch.distributions import MultivariateNormal

from pyrovae import component, hmc, pairing, supports
from pyrovae.data import Split
from pyrovae.density import Density
from pyrovae.diagnostics import Findings, Subject, Unavailable, _points
from pyrovae.diagnostics._simulated import simulated
from pyrovae.diagnostics.ais import AIS, Noise, Path, schedule
from pyrovae.diagnostics.gaps import Estimates, Gaps, _differentiable_elbo
from pyrovae.diagnostics.refinement import Refinement
from pyrovae.evaluate import inspected
from pyrovae.programs import Program
from pyrovae.quantities import Mean
from pyrovae.randomness import DatumNoise, Streams

Z = 4.0
"""Largest deviation in standard errors: a false alarm in 16,000 comparisons; seeds are fixed."""

SMALL = {
    "gaps": Gaps(points=5, steps=4, particles=20),
    "ais": AIS(points=5, steps=6, chains=3, leapfrog=2, simulated=True),
    "refinement": Refinement(points=5, chains=3, warmup=4, steps=6, leapfrog=2),
}
each_diagnostic = pytest.mark.parametrize("name", SMALL)
of_codes = pytest.mark.parametrize("name", ["ais", "refinement"])
each_start = pytest.mark.parametrize("start", ["guide", "prior"])


def found(diagnostic: Any, program: Program, x: Tensor, **settings: Any) -> Findings:
    with inspected(program):
        return diagnostic(Subject(program, Split(x), **settings))  # type: ignore[no-any-return]


def means(findings: Findings) -> dict[str, Mean]:
    return {quantity.key: quantity.mean for quantity in findings.quantities}


def single(exact: Exact) -> Exact:
    """The exact model, with what is exact about it, in float32."""
    posterior, evidence = exact.posterior, exact.evidence
    return Exact(exact.program.float(), exact.x.float(), evidence, posterior)


def evidence(program: Any, x: Tensor) -> Tensor:
    """log p(x) of a linear-Gaussian program."""
    decoder = affine(program.network.decoder)
    w, b = decoder.weight.detach().double(), decoder.bias.detach().double()
    marginal = MultivariateNormal(b, w @ w.T + SIGMA**2 * torch.eye(CELLS, dtype=torch.float64))
    return marginal.log_prob(x.double())


def near(mean: Mean, truth: Tensor | float, slack: float = 0.0) -> bool:
    return abs(mean.value - float(truth)) < Z * mean.monte_carlo_error + slack


# ---------------------------------------------------------------------------------------------------------
# Densities of unconstrained codes.


@torch.no_grad()
def test_densities_of_the_exact_model_are_the_closed_forms() -> None:
    exact = solve(3, shift=0.3, stretch=1.4)
    with inspected(exact.program):
        density = Density(exact.program, exact.x)
        u = density.from_guide(DatumNoise((0,), range(N)), 5)
        log_prior, log_likelihood = density.log_model(u)
        log_guide = density.log_guide(u + 0.5)
        mean = affine(exact.program.network.decoder)(u)
    assert density.size == 3
    expected = dist.Normal(0.0, 1.0).log_prob(u).sum(-1)
    torch.testing.assert_close(log_prior, expected)
    torch.testing.assert_close(log_likelihood, dist.Normal(mean, SIGMA).log_prob(exact.x).sum(-1))
    torch.testing.assert_close(log_guide, exact.guide.log_prob(u + 0.5).sum(-1))
    torch.testing.assert_close(density.log_joint(u), log_prior + log_likelihood)


def test_the_gradient_of_the_density_is_that_of_the_closed_form() -> None:
    exact = solve(2)
    with inspected(exact.program):
        density = Density(exact.program, exact.x)
        u = density.from_guide(DatumNoise((0,), range(N)), 3) + 0.2
        with torch.enable_grad():
            u.requires_grad_()
            (gradient,) = torch.autograd.grad(density.log_joint(u).sum(), u)
    posterior = exact.posterior
    towards = (posterior.loc - u.detach()) / posterior.scale.square()
    torch.testing.assert_close(gradient, towards)
    assert all(parameter.grad is None for parameter in exact.program.parameters())


PARTNERS = [
    (prior, posterior)
    for prior, posterior in itertools.product(component.names("prior"), component.names("posterior"))
    if pairing.misfit(component.find("prior", prior), component.find("posterior", posterior)) is None
]


def refusal(kind: Any) -> str | None:
    """What the reason must say why codes cannot move freely; ``None`` where they can."""
    if not kind.is_density:
        return "a point"
    if kind.support.is_discrete:
        return "codes are discrete: "
    return "the unit sphere" if kind.support is supports.sphere else None


@pytest.mark.parametrize(("prior", "posterior"), PARTNERS)
@torch.no_grad()
def test_every_pair_has_densities_at_any_codes_or_says_why_not(
    make: Build, prior: str, posterior: str
) -> None:
    program = make(prior=prior, posterior=posterior, latent_dim=3).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    kind = component.find("posterior", posterior)
    with inspected(program):
        if reason := refusal(kind):
            with pytest.raises(Unavailable, match=reason):
                Density(program, x)
            return
        density = Density(program, x)
        u = density.from_guide(DatumNoise((0,), range(4)), 5)
        with DatumNoise((0,), range(4)), pyro.plate("particles", 5, dim=-2):
            guide = poutine.trace(program.guide).get_trace(x)
            model = poutine.trace(poutine.replay(program.model, guide)).get_trace(x)
        assert u.shape == (5, 4, density.size)
        guide.compute_log_prob()
        model.compute_log_prob()
        log_prior, log_likelihood = density.log_model(u)
        volume = density.log_volume(u)
        torch.testing.assert_close(log_prior - volume, model.nodes["z"]["log_prob"])
        torch.testing.assert_close(log_likelihood, model.nodes["x"]["log_prob"])
        torch.testing.assert_close(density.codes(u), guide.nodes["z"]["value"])
        if kind.only_own_draws is None:
            torch.testing.assert_close(density.log_guide(u) - volume, guide.nodes["z"]["log_prob"])
        else:
            with pytest.raises(Unavailable, match="own draws"):
                density.log_guide(u)


def test_some_pairs_of_each_kind_are_there() -> None:
    assert {("normal", "normal"), ("uniform", "logit-normal"), ("dirichlet", "logistic-normal")} <= {
        *PARTNERS
    }
    assert {("sphere", "power-sphere"), ("bernoulli", "bernoulli"), ("normal", "delta")} <= {*PARTNERS}


@torch.no_grad()
def test_sparse_proportions_keep_their_density_in_single_precision(make: Build) -> None:
    program, x = make(prior="dirichlet", posterior="logistic-normal", latent_dim=3), torch.randn(50, 6)
    layer = [part for part in program.network.encoder.modules() if isinstance(part, torch.nn.Linear)][-1]
    layer.bias += torch.tensor([20.0, 8.0, 0.0, 0.0])  # of the last part, exp(-20) is left
    with inspected(program):
        density = Density(program, x)
        u = density.from_guide(DatumNoise((0,), range(50)), 4)
        with DatumNoise((0,), range(50)), pyro.plate("particles", 4, dim=-2):
            guide = poutine.trace(program.guide).get_trace(x)
        guide.compute_log_prob()
        log_guide = density.log_guide(u) - density.log_volume(u)
    torch.testing.assert_close(density.codes(u), guide.nodes["z"]["value"])
    torch.testing.assert_close(log_guide.float(), guide.nodes["z"]["log_prob"], rtol=1e-4, atol=1e-3)


class Bounded(Program):
    """Two variables, one of them positive and given the other; x is about their product."""

    def __init__(self) -> None:
        super().__init__(Size([2]))
        self.anchor = torch.nn.Parameter(torch.tensor(0.3))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            b = pyro.sample("b", dist.LogNormal(a[..., 0] + self.anchor, 0.5))
            pyro.sample("x", dist.Normal(a * b[..., None], 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.LogNormal(x[..., 0] / 4, 0.6))
            pyro.sample("a", dist.Normal(x / 2, 0.7).to_event(1))


@torch.no_grad()
def test_sites_stand_side_by_side_each_with_its_own_map() -> None:
    program, x = Bounded(), torch.tensor([[0.4, -1.0], [2.0, 0.5]])
    with inspected(program):
        density = Density(program, x)
        u = density.from_guide(DatumNoise((0,), range(2)), 3)
        log_prior, _ = density.log_model(u)
        log_guide = density.log_guide(u)
    log_b, a = u[..., 0], u[..., 1:]  # in the guide's order; the logarithm of b is unconstrained
    expected = dist.Normal(0.0, 1.0).log_prob(a).sum(-1) + dist.Normal(a[..., 0] + 0.3, 0.5).log_prob(log_b)
    torch.testing.assert_close(log_prior.float(), expected)
    expected = dist.Normal(x / 2, 0.7).log_prob(a).sum(-1) + dist.Normal(x[:, 0] / 4, 0.6).log_prob(log_b)
    torch.testing.assert_close(log_guide.float(), expected)


class Shared(Program):
    """A variable that all data have in common."""

    def model(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0).expand([len(x), 2]).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(0.0, 1.0))


class Mismatched(Bounded):
    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.LogNormal(x[..., 0] / 4, 0.6))


@pytest.mark.parametrize(
    ("program", "reason"), [(Shared(Size([2])), "one datum each"), (Mismatched(), "same variables")]
)
def test_a_program_whose_codes_are_not_of_one_datum_each_is_told_so(program: Program, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        Density(program, torch.zeros(3, 2))


# ---------------------------------------------------------------------------------------------------------
# Codes with bounds, in one dimension: quadrature.

GRID = torch.linspace(-14, 14, 4001, dtype=torch.float64)
BOUNDED = {
    "unit cube": {"prior": "uniform", "posterior": "logit-normal", "latent_dim": 1},
    "simplex": {"prior": "dirichlet", "posterior": "logistic-normal", "latent_dim": 2},
    "reals": {"prior": "student-t", "posterior": "laplace", "latent_dim": 1},
}
each_bounded = pytest.mark.parametrize("name", BOUNDED)


def bounded(make: Build, name: str) -> tuple[Any, Tensor]:
    program = make(**BOUNDED[name], likelihood={"name": "gaussian", "scale": 0.5})
    with torch.no_grad():
        for parameter in program.network.decoder.parameters():
            parameter *= 2
        return program, program.decode(torch.eye(2)[:1, : BOUNDED[name]["latent_dim"]]).sample((6,)).squeeze(
            1
        )


def integral(log_density: Tensor) -> Tensor:
    """Of functions on the grid, (grid, n)."""
    return torch.trapezoid(log_density.exp(), GRID, dim=0)


@torch.no_grad()
def quadrature(program: Program, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log p(x), mean and standard deviation of z's first coordinate given x, E[log p(x, z)] given x: (n,)."""
    with inspected(program):
        density = Density(program.double(), x.double())
        u = GRID[:, None, None].expand(-1, len(x), 1)
        log_joint, volume, z = density.log_joint(u), density.log_volume(u), density.codes(u)[..., 0]
        assert (integral(density.log_guide(u)) - 1).abs().max() < 1e-3
        assert (integral(density.log_model(u)[0]) - 1).abs().max() < 0.02  # Student's tails go on
    program.float()
    p = log_joint.exp() / integral(log_joint)
    mean = torch.trapezoid(p * z, GRID, dim=0)
    scale = (torch.trapezoid(p * z**2, GRID, dim=0) - mean**2).sqrt()
    return integral(log_joint).log(), mean, scale, torch.trapezoid(p * (log_joint - volume), GRID, dim=0)


@each_bounded
@each_start
def test_annealing_meets_quadrature(make: Build, name: str, start: Any) -> None:
    program, x = bounded(make, name)
    log_p, *_ = quadrature(program, x)
    annealed = means(found(AIS(start=start, steps=30, chains=40, leapfrog=5), program, x))["ais"]
    assert annealed.monte_carlo_error < 0.15
    assert near(annealed, log_p.mean())


@each_bounded
def test_refinement_meets_quadrature(make: Build, name: str) -> None:
    program, x = bounded(make, name)
    _, mean, scale, log_joint = quadrature(program, x)
    with inspected(program):
        refined = Refinement(chains=20, warmup=50, steps=100, leapfrog=4).refined(program, x, range(6), 0)
    assert ((refined.code[:, 0] - mean).abs() < Z * refined.code_error[:, 0]).all()
    assert ((refined.scale[:, 0] - scale).abs() < Z * refined.scale_error[:, 0]).all()
    assert (refined.code_error[:, 0] < 0.2 * scale).all()
    assert ((refined.after - log_joint).abs() < Z * refined.after_error).all()
    assert refined.after_error.max() < 0.2


# ---------------------------------------------------------------------------------------------------------
# Hamiltonian Monte Carlo itself.

SCALES = torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [3.0, 0.5, 1.0]])
CENTRES = torch.tensor([[0.0, 1.0, 2.0]]).T.expand(3, 3)


def normals(u: Tensor) -> Tensor:
    """Of three data with three coordinates, up to a constant."""
    return -((u - CENTRES) / SCALES).square().sum(-1) / 2


def test_chains_find_the_moments_and_an_acceptance_for_each_datum() -> None:
    start = torch.zeros(30, 3, 3)
    noise, ones = Streams((0,), range(3)), torch.ones(3, 3)
    chains = hmc.sample(normals, start, noise, warmup=150, draws=100, leapfrog=7, scale=ones)
    assert chains.draws.shape == (100, 30, 3, 3)
    for power, truth in ((1, torch.zeros(3, 3)), (2, torch.ones(3, 3))):
        values = (((chains.draws - CENTRES) / SCALES) ** power).mean(0)
        assert ((values.mean(0) - truth).abs() < Z * values.std(0) / 30**0.5).all()
        assert (values.std(0) / 30**0.5 < 0.1).all()
    acceptance = chains.acceptance.mean(0)
    assert ((acceptance > 0.5) & (acceptance < 0.9)).all()


def test_a_transition_leaves_the_density_as_it_is() -> None:
    n = 20_000
    start = CENTRES + SCALES * torch.randn(n, 3, 3)
    step_size = torch.tensor([1.0, 0.12, 0.6])  # large enough that a third is refused
    after, acceptance = hmc.transition(
        normals, start, step_size, Streams((0,), range(3)), leapfrog=3, scale=torch.ones(3, 3)
    )
    assert (acceptance.mean(0) < 0.95).all()
    assert ((after == start).all(-1).float().mean(0) - (1 - acceptance.mean(0))).abs().max() < 0.02
    z = (after - CENTRES) / SCALES
    assert (z.mean(0).abs() < Z / n**0.5).all()
    assert ((z.square().mean(0) - 1).abs() < Z * (2 / n) ** 0.5).all()


def test_what_is_no_number_is_refused() -> None:
    def half_line(u: Tensor) -> Tensor:
        return u.squeeze(-1).log() - u.squeeze(-1)  # Gamma(2, 1), and not a number below 0

    start = dist.Gamma(2.0, 1.0).sample(torch.Size([4000, 1, 1]))
    noise = Streams((0,), [0])
    after, _ = hmc.transition(
        half_line, start, torch.tensor([1.5]), noise, leapfrog=3, scale=torch.ones(1, 1)
    )
    assert (after > 0).all()
    assert (after == start).float().mean() > 0.05
    assert abs(after.mean() - 2) < Z * (2 / 4000) ** 0.5


def test_step_sizes_shrink_where_too_little_is_accepted() -> None:
    adapted = hmc.DualAveraging(torch.full((3,), 0.1))
    for _ in range(200):
        adapted.update((-adapted.step_size * torch.tensor([1.0, 10.0, 100.0])).exp())
    expected = -math.log(hmc.TARGET) / torch.tensor([1.0, 10.0, 100.0])
    torch.testing.assert_close(adapted.average, expected, rtol=0.1, atol=0)


def test_noise_belongs_to_the_datum(untouched: None) -> None:
    many, few, other = Streams((0,), range(5)), Streams((0,), [3, 1]), Streams((1,), range(5))
    for _ in range(2):
        whole = many.normal(torch.empty(4000, 5, 2)), many.uniform(torch.empty(4000, 5))
        part = few.normal(torch.empty(4000, 2, 2)), few.uniform(torch.empty(4000, 2))
        assert all(torch.equal(one[:, [3, 1]], two) for one, two in zip(whole, part, strict=True))
    columns = torch.cat([whole[0].flatten(1), other.normal(torch.empty(4000, 5, 2)).flatten(1)], 1)
    correlations = torch.corrcoef(columns.T) - torch.eye(20)
    assert correlations.abs().max() < 5 / 4000**0.5
    assert (columns.mean(0).abs() < 5 / 4000**0.5).all()
    assert 0 <= whole[1].min() < whole[1].max() < 1


# ---------------------------------------------------------------------------------------------------------
# Annealing.


@each_start
@pytest.mark.parametrize(("d", "steps"), [(2, 2), (2, 40), (10, 40)])
@torch.no_grad()
def test_the_mean_weight_is_the_evidence_and_backwards_its_reciprocal(d: int, steps: int, start: str) -> None:
    exact = solve(d, shift=0.5, stretch=1.3)
    program, chains = exact.program, 60 if steps > 2 else 1000
    with inspected(program):
        x, trace = simulated(Subject(program, Split(exact.x)), DatumNoise((1,), range(30)))
        x = x.double()
        path = Path(Density(program, x), start == "guide", schedule(steps), 3)
        noise = Noise((0,), list(range(30)))
        sizes = path.step_sizes(4, noise)
        first = path.first(noise.of_program("forward"), chains)
        forward = path.forward(first, sizes, noise.streams("forward")).log_weights
        last = path.density.free(trace).expand(chains, -1, -1)
        backward = path.backward(last, sizes, noise.streams("backward"))
    truth = evidence(program, x)
    # Backwards, so few steps have weights without a variance.
    both = [(forward - truth).exp(), (backward + truth).exp()]
    for weights in both[: 1 if steps == 2 else 2]:
        of_data = weights.mean(0)  # chains that begin with the same code are not independent
        error = of_data.std() / len(of_data) ** 0.5
        assert error < 0.2
        assert abs(of_data.mean() - 1) < Z * error


@pytest.mark.slow
@each_start
@each_dimension
def test_the_annealed_bound_meets_the_exact_evidence_and_brackets_it(d: int, start: Any) -> None:
    exact = single(solve(d, shift=0.5, stretch=1.3))
    diagnostic = AIS(points=40, steps=40, chains=16, leapfrog=3, start=start, simulated=True)
    subject = Subject(exact.program, Split(exact.x))
    mean_of = means(found(diagnostic, exact.program, exact.x))
    data = [i for block in _points.blocks(subject, 40, 16) for i in block.data]
    lower, truth = mean_of["ais"], exact.evidence[data].mean().item()
    assert truth - 0.3 < lower.value < truth + Z * lower.monte_carlo_error
    assert lower.monte_carlo_error < 0.1
    assert 0.5 < mean_of["ais_acceptance"].value < 0.8

    with inspected(exact.program):
        x, _ = simulated(subject, DatumNoise((0, "ais", "simulated", "data"), range(40)))
    truth = evidence(exact.program, x).mean().item()
    below, above, width = (mean_of[f"ais_simulated{end}"] for end in ("", "_upper", "_width"))
    error = width.data_error
    assert truth - 0.3 < below.value < truth + Z * below.monte_carlo_error
    assert truth - Z * error < above.value < truth + 0.6
    assert width.value == pytest.approx(above.value - below.value)


def test_more_temperatures_narrow_the_bracket() -> None:
    exact = single(solve(10, shift=0.5, stretch=1.3))

    def width(steps: int) -> Mean:
        diagnostic = AIS(points=30, steps=steps, chains=6, leapfrog=2, start="prior", simulated=True)
        return means(found(diagnostic, exact.program, exact.x))["ais_simulated_width"]

    few, many = width(6), width(48)
    assert few.value - many.value > 3 * few.data_error
    assert many.value > -3 * many.data_error


def test_with_one_temperature_it_is_importance_sampling() -> None:
    exact = single(solve(2))
    annealed = means(found(AIS(points=N, steps=1, chains=2), exact.program, exact.x))["ais"]
    assert annealed.value == pytest.approx(exact.evidence.mean().item(), abs=1e-4)
    assert annealed.monte_carlo_error < 1e-4


@pytest.mark.slow
def test_the_error_of_an_annealed_bound_is_what_it_says_although_one_chain_carries_most() -> None:
    """The jackknife is 1.6 times the spread of 4 chains so far apart, the delta method 0.4 times."""
    exact = single(solve(2))
    diagnostic = AIS(points=N, steps=1, chains=4, leapfrog=1, start="prior")
    found_of = [means(found(diagnostic, exact.program, exact.x, seed=seed)) for seed in range(25)]
    deviation = torch.tensor([each["ais"].value for each in found_of]).std().item()
    stated = torch.tensor([each["ais"].monte_carlo_error for each in found_of]).mean().item()
    assert found_of[0]["ais_effective_chains"].value < 2
    assert 0.3 < deviation / stated < 1 + Z / math.sqrt(2 * 25)  # the deviation has an error of 14%


# ---------------------------------------------------------------------------------------------------------
# Refinement.


@pytest.mark.slow
@each_dimension
def test_refinement_finds_the_posterior(d: int) -> None:
    exact = single(solve(d, shift=1.0, stretch=1.5))
    with inspected(exact.program):
        refined = Refinement(steps=150, leapfrog=4).refined(exact.program, exact.x[:40], range(40), 0)
    mean, scale = exact.posterior.loc[:40], exact.posterior.scale[:40]
    for value, error, truth in (
        (refined.code, refined.code_error, mean),
        (refined.scale, refined.scale_error, scale),
    ):
        assert error.mean() < 0.1 * scale.mean()
        # Errors from 8 chains are uncertain themselves: the median square of such a score is 0.51.
        assert 0.25 < ((value - truth) / error).square().median() < 1.0
        assert ((value - truth).abs() < 0.3 * scale).all()
    rows = {quantity.key: quantity.mean for quantity in refined.quantities()}
    assert near(rows["refinement_shift"], 1 / 1.5)
    assert near(rows["refinement_stretch"], 1 / 1.5)
    # E[log p(x, z)] under p(z|x) is log p(x) minus the posterior's entropy.
    after = exact.evidence[:40].mean() - exact.posterior.entropy()[:40].sum(1).mean()
    assert near(rows["refinement_after"], after)
    # Under the guide, quadratic terms are 1 + 1.5^2 instead of 1.
    before = after - d / 2 * (1 + 1.5**2 - 1)
    assert near(rows["refinement_before"], before)
    assert refined.notes() == []


def test_of_the_posterior_itself_nothing_is_refined() -> None:
    exact = single(solve(10))
    rows = means(found(Refinement(points=40, warmup=50, steps=100, leapfrog=4), exact.program, exact.x))
    assert rows["refinement_shift"].value < 0.05
    assert near(rows["refinement_stretch"], 1.0)
    difference = rows["refinement_after"].value - rows["refinement_before"].value
    assert abs(difference) < Z * math.hypot(
        *(rows[f"refinement_{when}"].monte_carlo_error for when in ("before", "after"))
    )


def test_chains_that_have_not_arrived_are_noted() -> None:
    exact = single(solve(2, shift=30.0, stretch=3.0))
    findings = found(Refinement(points=10, warmup=1, steps=6, leapfrog=1), exact.program, exact.x)
    assert any("have not converged" in note for note in findings.notes)


# ---------------------------------------------------------------------------------------------------------
# Gaps.


@each_dimension
def test_both_gaps_of_a_shifted_and_stretched_guide_are_exact(d: int) -> None:
    exact = solve(d, shift=0.5, stretch=1.5)
    gap = (exact.evidence - exact.elbo).mean().item()
    exact = single(exact)
    rows = means(found(Gaps(points=N, steps=150, particles=500), exact.program, exact.x))
    assert abs(rows["approximation_gap"].value) < 1e-4
    assert near(rows["amortisation_gap"], gap)
    assert near(rows["gap"], gap)
    assert near(rows["gaps_log_likelihood"], exact.evidence.mean(), slack=1e-4)
    assert near(rows["gaps_elbo"], exact.evidence.mean().item() - gap)
    assert rows["gap"].monte_carlo_error < 0.02
    assert rows["gap"].value == pytest.approx(
        rows["approximation_gap"].value + rows["amortisation_gap"].value, abs=1e-9
    )


@pytest.mark.parametrize(("shape", "trusted"), [(0.1, True), (1.2, False)])
def test_without_a_variance_of_the_weights_no_gap_has_an_error(shape: float, trusted: bool) -> None:
    log_weights = -shape * torch.rand(1000, 40, dtype=torch.float64).log()  # k = shape
    estimates = Estimates.of(torch.randn(1000, 40).double(), log_weights)
    errors = {row.key: row.mean.monte_carlo_error for row in estimates.quantities()}
    unknown = {key for key, error in errors.items() if math.isnan(error)}
    assert unknown == (set() if trusted else {"gaps_log_likelihood", "gap", "approximation_gap"})
    noted = [note for note in Gaps()._notes(estimates) if note.startswith("k-hat is above 0.67 for")]
    assert len(noted) == (not trusted)


@torch.no_grad()
def test_the_approximation_gap_of_a_posterior_with_correlations_is_exact() -> None:
    exact = solve(3, shift=0.5)
    decoder = affine(exact.program.network.decoder)
    decoder.weight += 0.3 * decoder.weight.roll(1, dims=1)
    w, b = decoder.weight.clone(), decoder.bias.clone()
    precision = torch.eye(3, dtype=torch.float64) + w.T @ w / SIGMA**2
    # Of all diagonal normals, the nearest has the mean and the diagonal of the precision.
    approximation = ((precision.diagonal().log().sum() - precision.logdet()) / 2).item()
    mean = (exact.x - b) @ w @ precision.inverse() / SIGMA**2
    guide = MultivariateNormal(exact.guide.loc, torch.diag_embed(exact.guide.scale.square()))
    gap = (
        torch.distributions.kl_divergence(guide, MultivariateNormal(mean, precision.inverse())).mean().item()
    )
    assert 0.1 < approximation < 0.8 * gap

    exact = single(exact)
    rows = means(found(Gaps(points=N, steps=300, particles=1000), exact.program, exact.x))
    # The optimiser's remainder, of which the gradient's noise leaves some.
    remainder = 5e-3
    assert -Z * rows["approximation_gap"].monte_carlo_error < rows["approximation_gap"].value - approximation
    assert near(rows["approximation_gap"], approximation, slack=remainder)
    assert near(rows["amortisation_gap"], gap - approximation, slack=remainder)
    assert near(rows["gap"], gap)


def test_a_bit_has_no_approximation_gap(make: Build) -> None:
    program = make(prior="bernoulli", posterior="bernoulli", latent_dim=1, likelihood="gaussian").double()
    with torch.no_grad():
        for parameter in program.network.parameters():
            parameter *= 3
        x = torch.randn(40, 6)
        prior = program.prior(program.encode).log_prob(torch.tensor([[0.0], [1.0]]).double())
        codes = torch.tensor([[0.0], [1.0]]).double()[:, None].expand(2, 40, 1)
        log_joint = program.decode(codes).log_prob(x.double()) + prior[:, None]
        q = program.encode(x.double())
        log_q = torch.stack([q.log_prob(code) for code in codes])
        log_p = log_joint.logsumexp(0)
        gap = (log_p - (log_q.exp() * (log_joint - log_q)).sum(0)).mean().item()
    rows = means(
        found(Gaps(points=40, steps=200, draws=30, particles=400, learning_rate=0.2), program.float(), x)
    )
    assert gap > 0.02
    assert near(rows["gaps_log_likelihood"], log_p.mean(), slack=1e-3)
    assert abs(rows["approximation_gap"].value) < 5e-3
    assert near(rows["amortisation_gap"], gap, slack=5e-3)


@pytest.mark.parametrize("posterior", ["planar", "coupling", "gumbel-softmax"])
def test_flows_and_straight_through_codes_have_gaps(make: Build, posterior: str) -> None:
    prior = "categorical" if posterior == "gumbel-softmax" else "normal"
    program = make(prior=prior, posterior=posterior)
    rows = means(found(Gaps(points=8, steps=60, particles=200), program, torch.randn(8, 6)))
    assert rows["amortisation_gap"].value > -Z * rows["amortisation_gap"].monte_carlo_error
    assert rows["gap"].value > -0.1  # without an error where one of 8 data has a k-hat that is too high
    assert all(math.isfinite(rows[key].monte_carlo_error) for key in ("gaps_elbo", "amortisation_gap"))


# ---------------------------------------------------------------------------------------------------------
# What holds for all of them.


def data(n: int = 12) -> Tensor:
    return torch.linspace(-2, 2, 6 * n).sin().reshape(n, 6)


@each_diagnostic
def test_findings_are_a_function_of_the_seed_and_not_of_the_batch_size(make: Build, name: str) -> None:
    program = make()
    first, again, other = (
        means(found(SMALL[name], program, data(5), seed=seed, batch_size=size))
        for seed, size in ((0, 100), (0, 1), (1, 100))
    )
    assert repr(first) == repr(again)
    assert all(first[key].value != other[key].value for key in first)


@each_diagnostic
def test_a_datum_has_its_noise_in_whatever_block_it_comes(
    make: Build, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make()
    whole = means(found(SMALL[name], program, data()))
    monkeypatch.setattr(_points, "CELLS_AT_ONCE", 8 * 6)
    sizes = {len(block.data) for block in _points.blocks(Subject(program, Split(data())), 5, 3)}
    assert max(sizes) < 5
    parts = means(found(SMALL[name], program, data()))
    for key in whole:
        for one, two in zip(vars(whole[key]).values(), vars(parts[key]).values(), strict=True):
            assert one == pytest.approx(two, abs=1e-4, nan_ok=True), key


@each_diagnostic
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_changed(make: Build, name: str, training: bool, untouched: None) -> None:
    program = make(network={"name": "mlp", "hidden": [16], "normalization": "batch", "dropout": 0.5})
    program.train(training)
    before = {key: value.clone() for key, value in program.state_dict().items()}
    found(SMALL[name], program, data())
    assert all(torch.equal(before[key], value) for key, value in program.state_dict().items())
    assert all(part.training == training for part in program.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in program.parameters())


@each_diagnostic
def test_every_number_is_finite_and_has_an_error_a_label_and_a_unit(make: Build, name: str) -> None:
    findings = found(SMALL[name], make(), data())
    assert len({quantity.key for quantity in findings.quantities}) == len(findings.quantities)
    for quantity in findings.quantities:
        assert math.isfinite(quantity.mean.value)
        assert math.isfinite(quantity.mean.data_error)
        assert quantity.label
        assert quantity.unit
    assert all(len(histogram.values) == 5 for histogram in findings.histograms)


def test_points_are_chosen_by_the_seed_among_all_rows(make: Build) -> None:
    program = make()

    def chosen(points: int, seed: int = 0) -> list[int]:
        subject = Subject(program, Split(data(50)), seed=seed)
        return [i for block in _points.blocks(subject, points, 8) for i in block.data]

    assert chosen(5) == chosen(5) == sorted(set(chosen(5)))
    assert len(chosen(5)) == 5
    assert chosen(5) != chosen(5, seed=1)
    assert set(chosen(5)) < set(chosen(20))
    assert chosen(100) == list(range(50))


@each_diagnostic
def test_a_point_has_nothing_to_diagnose(make: Build, name: str) -> None:
    with pytest.raises(Unavailable, match="a point"):
        found(SMALL[name], make(posterior="delta"), data())


@of_codes
@pytest.mark.parametrize(
    ("prior", "posterior", "reason"),
    [
        ("categorical", "categorical", "discrete"),
        ("bernoulli", "bernoulli", "discrete"),
        ("categorical", "gumbel-softmax", "discrete"),
        ("sphere", "power-sphere", "sphere"),
    ],
)
def test_codes_that_cannot_move_freely_are_refused(
    make: Build, name: str, prior: str, posterior: str, reason: str
) -> None:
    with pytest.raises(Unavailable, match=reason):
        found(SMALL[name], make(prior=prior, posterior=posterior, latent_dim=3), data())


def test_posteriors_that_score_their_own_draws_only_are_annealed_from_the_prior(make: Build) -> None:
    program = make(posterior="planar")
    with pytest.raises(Unavailable, match="own draws"):
        found(AIS(start="guide", points=3, steps=2), program, data())
    findings = found(SMALL["ais"], program, data())
    assert "the path begins at p(z)" in findings.notes
    assert "the path begins at q(z|x)" in found(SMALL["ais"], make(), data()).notes


def test_a_program_of_the_users_own_has_no_features_to_optimise_and_yet_moves() -> None:
    x = torch.tensor([[0.4, -1.0], [2.0, 0.5], [1.0, 1.0]])
    with pytest.raises(Unavailable, match="no posterior"):
        found(SMALL["gaps"], Bounded(), x)
    from_guide, from_prior = (
        means(found(AIS(start=start, steps=20, chains=40, leapfrog=4), Bounded(), x))["ais"]
        for start in ("guide", "prior")
    )
    error = math.hypot(from_guide.monte_carlo_error, from_prior.monte_carlo_error)
    assert abs(from_guide.value - from_prior.value) < Z * error < 1.5
    rows = means(found(Refinement(warmup=50, steps=50, leapfrog=4), Bounded(), x))
    assert rows["refinement_after"].value > rows["refinement_before"].value


def test_temperatures_are_those_of_the_sigmoid_over_4_to_both_sides() -> None:
    # Grosse, Ghahramani and Adams, 2015, section 6.1, with numbers of another program.
    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    low, high = sigmoid(-4.0), sigmoid(4.0)
    expected = [(sigmoid(4 * (2 * k / 5 - 1)) - low) / (high - low) for k in range(6)]
    assert schedule(5).tolist() == pytest.approx(expected, abs=1e-12)
    assert schedule(1).tolist() == [0, 1]


def test_gaps_correct_log_p_by_half_the_squared_error() -> None:
    best = 0.5 * torch.randn(200, 7, dtype=torch.float64)
    found = Estimates.of(torch.zeros(200, 7).double(), best)
    weights = best.exp()
    squared = weights.var(0) / weights.mean(0).square() / 200
    torch.testing.assert_close(found.log_likelihood, weights.mean(0).log() + squared / 2)
    torch.testing.assert_close(found.log_likelihood_error, squared.sqrt())
    torch.testing.assert_close(found.gap, found.log_likelihood)
    torch.testing.assert_close(found.amortisation, best.mean(0))


@pytest.mark.parametrize("draws", [2, 5])
def test_the_gradient_of_features_through_discrete_draws_has_no_bias(make: Build, draws: int) -> None:
    program = make(prior="bernoulli", posterior="bernoulli", latent_dim=1, likelihood="gaussian").double()
    x = torch.randn(1, 6, dtype=torch.float64)
    features = program.network.encoder(x).detach().requires_grad_()
    codes = torch.tensor([[0.0], [1.0]], dtype=torch.float64).unsqueeze(1)
    q = program.posterior(features)
    log_q = torch.stack([q.log_prob(code) for code in codes])
    log_p = program.decode(codes).log_prob(x) + program.prior(program.encode).log_prob(codes)
    (exact,) = torch.autograd.grad((log_q.exp() * (log_p - log_q)).sum(), features)

    tiled = features.detach().repeat_interleave(4000, 0).requires_grad_()
    noise = DatumNoise((0, "gradient"), range(4000))
    gain = _differentiable_elbo(program, x.expand(4000, -1), tiled, noise, draws)
    (drawn,) = torch.autograd.grad(gain.sum(), tiled)
    error = drawn.std(0) / 4000**0.5
    assert exact.abs().max() > 20 * error.max()
    assert ((drawn.mean(0) - exact[0]).abs() < 4 * error).all()
