"""Bounds from several draws: their values and gradients on models small enough to be solved exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from conftest import Build
from members import objective_of
from pyro.infer import SVI, RenyiELBO
from pyro.optim import SGD
from scipy.stats import t
from test_exact import Exact, solve
from torch import Tensor

from pyrovae.config import resolve
from pyrovae.errors import ConfigError
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import seeded
from pyrovae.run import Run

each_dimension = pytest.mark.parametrize("d", [2, 10])
Values = list[Tensor]


def gradient(function: Callable[[], Tensor], program: SingleLayer) -> Tensor:
    """The gradient of a number with respect to all parameters, in one vector."""
    parameters = list(program.parameters())
    parts = torch.autograd.grad(function(), parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if part is None else part).flatten()
            for part, parameter in zip(parts, parameters, strict=True)
        ]
    )


def agree(drawn: Tensor, exact: Tensor) -> bool:
    """Whether the mean of draws (repeats, m) is what it should be: false alarms, one in a thousand tests.

    Every entry by Student's t at its share of the thousandth; entries without any noise must be equal.
    """
    noisy = drawn.std(0) > 1e-9
    assert torch.allclose(drawn.mean(0)[~noisy], exact[~noisy], atol=1e-8)
    scores = (drawn.mean(0) - exact)[noisy] / (drawn.std(0)[noisy] / len(drawn) ** 0.5)
    return bool((scores.abs() < t.isf(0.0005 / len(scores), df=len(drawn) - 1)).all())


# ---------------------------------------------------------------------------------------------------------
# Values.


@torch.no_grad()
def bound(exact: Exact, name: str, repeats: int = 100, **options: Any) -> tuple[float, float]:
    """The mean of repeated draws of minus the loss, and its standard error."""
    objective = objective_of(exact.program, name, **options)
    drawn = torch.stack([-objective(exact.x).loss for _ in range(repeats)])
    return drawn.mean().item(), drawn.std().item() / repeats**0.5


@each_dimension
@pytest.mark.parametrize("name", ["iwae", "renyi"])
def test_with_one_draw_it_is_the_elbo(d: int, name: str) -> None:
    exact = solve(d, shift=0.3, stretch=1.4)
    with seeded(3):
        ours = objective_of(exact.program, name, particles=1)(exact.x)
    with seeded(3):
        elbo = objective_of(exact.program, "elbo")(exact.x)
    for one, other in zip(ours, elbo, strict=True):
        torch.testing.assert_close(one, other, check_dtype=False)


@each_dimension
def test_the_importance_weighted_bound_rises_with_the_draws_and_stays_below_the_evidence(d: int) -> None:
    exact = solve(d, shift=0.3, stretch=1.4)
    bounds = [bound(exact, "iwae", particles=k) for k in (1, 2, 5, 20, 100)]
    evidence = exact.evidence.mean().item()
    for (lower, _), (higher, _) in pairwise(bounds):
        assert lower < higher
    assert all(value < evidence + 3 * error for value, error in bounds)
    assert bounds[-1][0] == pytest.approx(evidence, abs=0.1)
    value, error = bounds[0]
    assert abs(value - exact.elbo.mean().item()) < 4 * error


@each_dimension
def test_renyis_bound_falls_with_its_order_from_the_importance_weighted_one_to_the_elbo(d: int) -> None:
    exact = solve(d, shift=0.3, stretch=1.4)
    bounds = [bound(exact, "renyi", particles=20, alpha=alpha)[0] for alpha in (0.0, 0.3, 0.6, 0.9, 0.999)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] == pytest.approx(bound(exact, "iwae", particles=20)[0], abs=0.02)
    assert bounds[-1] == pytest.approx(exact.elbo.mean().item(), abs=0.02)


NEAR_ONE = (1e-3, 1e-5, 1e-7, 1e-9, 1e-12, 1e-16)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_renyis_bound_tends_to_the_elbo_in_value_and_gradient(precision: torch.dtype) -> None:
    exact = solve(2, shift=0.3, stretch=1.4)
    program, x = exact.program.to(precision), exact.x.to(precision)

    def at(alpha: float) -> tuple[float, Tensor]:
        objective = objective_of(program, "renyi", particles=20, alpha=alpha)
        with seeded(3):
            loss = objective(x).loss
        return -loss.item(), gradient(lambda: loss, program).double()

    elbo, slope = at(1.0)
    objective = objective_of(program, "elbo", particles=20)
    with seeded(3):
        loss = objective(x).loss
    assert elbo == pytest.approx(-loss.item(), rel=1e-6)
    torch.testing.assert_close(slope, gradient(lambda: loss, program).double(), rtol=1e-4, atol=1e-5)
    for small in NEAR_ONE:
        value, other = at(1 - small)
        # What separates the two is (1 - alpha) / 2 times the variance of log w, which is below 1 here.
        assert elbo - 1e-5 * abs(elbo) * (precision == torch.float32) - 1e-9 <= value <= elbo + small + 1e-5
        torch.testing.assert_close(other, slope, rtol=1e-4, atol=1e-5 + 10 * small)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1 - 1e-7, 1.0])
def test_a_bound_of_weights_that_are_far_apart_or_far_from_0_is_the_one_in_double_precision(
    alpha: float,
) -> None:
    objective = objective_of(solve(2).program, "renyi", alpha=alpha)
    for log_weights in (
        1e5 + torch.randn(30, 4, dtype=torch.float64),
        300 * torch.randn(30, 4, dtype=torch.float64),
        torch.randn(5000, 4, dtype=torch.float64),
    ):
        power = Fraction(1) - Fraction(alpha)
        with localcontext(prec=60):
            for column, found in zip(
                log_weights.T.tolist(), objective._bound(log_weights).tolist(), strict=True
            ):
                decimals = [Decimal(value) for value in column]
                if power == 0:
                    right = sum(decimals) / len(decimals)
                else:
                    p = Decimal(power.numerator) / Decimal(power.denominator)
                    right = (sum((p * value).exp() for value in decimals) / len(decimals)).ln() / p
                assert found == pytest.approx(float(right), rel=1e-12, abs=1e-12)


def test_weights_that_are_0_leave_a_bound_of_minus_infinity() -> None:
    nothing = torch.full((3, 2), -math.inf)
    some = torch.tensor([[0.0], [-math.inf]])
    for alpha in (0.0, 0.5, 1.0):
        objective = objective_of(solve(2).program, "renyi", alpha=alpha)
        assert (objective._bound(nothing) == -math.inf).all()
        assert objective._bound(some).item() == pytest.approx(
            -math.inf if alpha == 1 else -math.log(2) / (1 - alpha)
        )


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_draw_gains_what_the_geometric_mean_of_the_others_would_not_have_brought(alpha: float) -> None:
    objective = objective_of(solve(2).program, "renyi", alpha=alpha)
    log_weights = 3 * torch.randn(4, 2, dtype=torch.float64)
    for k in range(4):
        replaced = log_weights.clone()
        replaced[k] = torch.cat([log_weights[:k], log_weights[k + 1 :]]).mean(0)
        expected = objective._bound(log_weights) - objective._bound(replaced)
        torch.testing.assert_close(objective._gain(log_weights)[k], expected)


@each_dimension
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1 - 1e-9, 1.0])
def test_with_the_exact_posterior_every_draw_gives_the_evidence(d: int, alpha: float) -> None:
    exact = solve(d)
    loss = objective_of(exact.program, "renyi", alpha=alpha, particles=3)(exact.x).loss
    assert loss.item() == pytest.approx(-exact.evidence.mean().item(), abs=1e-9)


@pytest.mark.parametrize("name", ["iwae", "renyi"])
@pytest.mark.parametrize("n", [1, 7, 64])
def test_the_loss_is_per_datum_whatever_the_batch(n: int, name: str) -> None:
    exact = solve(2)
    loss = objective_of(exact.program, name, particles=3)(exact.x[:n]).loss
    assert loss.item() == pytest.approx(-exact.evidence[:n].mean().item(), abs=1e-9)


@pytest.mark.parametrize("name", ["iwae", "renyi"])
def test_the_terms_are_those_of_the_elbo(name: str) -> None:
    exact = solve(2, shift=0.3, stretch=1.3)
    objective = objective_of(exact.program, name, particles=20)
    with torch.no_grad():
        drawn = torch.stack([torch.stack(objective(exact.x)[1:]) for _ in range(50)])
    truth = torch.stack([(exact.elbo + exact.kl).mean(), exact.kl.mean()])
    assert agree(drawn, truth)


def test_pyros_own_bound_is_the_same_from_the_same_noise(make: Build) -> None:
    program, x = make(), torch.randn(8, 6)
    for alpha in (0.0, 0.5):
        with seeded(5), torch.no_grad():
            ours = objective_of(program, "renyi", alpha=alpha, particles=4)(x).loss
        pyros = RenyiELBO(alpha, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
        with seeded(5):
            theirs = pyros.loss(program.model, program.guide, x)
        assert ours.item() == pytest.approx(theirs / 8, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------
# Gradients of codes with gradients through draws.


@pytest.mark.slow
def test_the_doubly_reparameterised_gradient_is_the_same_in_expectation() -> None:
    exact = solve(2, shift=0.4, stretch=1.4)
    x = exact.x[:3]

    def drawn(particles: int, repeats: int, **options: Any) -> Tensor:
        objective = objective_of(exact.program, "iwae", particles=particles, **options)
        return torch.stack([gradient(lambda: objective(x).loss, exact.program) for _ in range(repeats)])

    plain, doubly = drawn(4, 2000), drawn(4, 2000, gradient="doubly-reparameterised")
    noise = (plain.var(0) / len(plain)).sqrt()
    scores = (plain.mean(0) - doubly.mean(0)) / (noise.square() + doubly.var(0) / len(doubly)).sqrt()
    assert (scores[noise > 1e-9].abs() < 4.5).all()  # 80 entries: false alarms, one in a thousand
    encoder = slice(0, sum(p.numel() for p in exact.program.network.encoder.parameters()))
    names = [name for name, _ in exact.program.named_parameters()]
    assert names[0].startswith("network.encoder") or names[0].startswith("network.decoder")
    assert doubly[:, encoder].var(0).sum() < plain[:, encoder].var(0).sum()


def test_the_doubly_reparameterised_signal_does_not_fade_as_draws_grow() -> None:
    exact = solve(2, shift=0.4, stretch=1.4)
    x = exact.x[:3]
    parameters = list(exact.program.network.encoder.parameters())

    def signal_to_noise(particles: int, **options: Any) -> float:
        objective = objective_of(exact.program, "iwae", particles=particles, **options)
        drawn = torch.stack(
            [
                torch.cat([part.flatten() for part in torch.autograd.grad(objective(x).loss, parameters)])
                for _ in range(300)
            ]
        )
        return (drawn.mean(0).abs() / drawn.std(0)).mean().item()

    plain = [signal_to_noise(k) for k in (4, 100)]
    doubly = [signal_to_noise(k, gradient="doubly-reparameterised") for k in (4, 100)]
    assert doubly[1] > doubly[0]
    assert doubly[1] > 2 * plain[1]


# ---------------------------------------------------------------------------------------------------------
# Gradients of codes without: eight states, all of which can be summed.

CODES = {"bernoulli": (3, 8), "categorical": (1, 8)}


def discrete(make: Build, family: str) -> tuple[SingleLayer, Tensor]:
    """A program of eight latent states that is not at a special point, and data."""
    latent_dim, categories = CODES[family]
    options = {"categories": categories} if family == "categorical" else {}
    program = make(prior={"name": family, **options}, posterior=family, latent_dim=latent_dim).double()
    with torch.no_grad():
        for parameter in program.parameters():
            parameter += 0.2 * torch.randn_like(parameter)  # no state so rare that draws miss it
    return program, torch.randn(2, 6, dtype=torch.float64)


def states(family: str) -> Tensor:
    """All codes, (8, *event shape of the prior)."""
    if family == "bernoulli":
        return torch.tensor(list(product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    return torch.eye(8, dtype=torch.float64).unsqueeze(1)


def exact_loss(program: SingleLayer, x: Tensor, family: str, particles: int, alpha: float) -> Tensor:
    """Minus the expected bound, summed over all values of all draws."""
    codes = states(family).unsqueeze(1).expand(-1, len(x), *states(family).shape[1:])
    log_q = program.encode(x).log_prob(codes)  # (8, n)
    log_p = program.prior(program.encode).log_prob(codes) + program.decode(codes).log_prob(x)
    total = torch.zeros(len(x), dtype=torch.float64)
    for chosen in product(range(8), repeat=particles):
        index = list(chosen)
        weights = (1 - alpha) * (log_p[index] - log_q[index])
        value = (weights.logsumexp(0) - math.log(particles)) / (1 - alpha)
        total = total + log_q[index].sum(0).exp() * value
    return -total.mean()


@pytest.mark.parametrize("family", CODES)
@pytest.mark.parametrize(("particles", "alpha"), [(1, 0.0), (2, 0.0), (3, 0.0), (2, 0.5), (2, 1 - 1e-6)])
def test_score_function_gradients_are_the_exact_ones(
    make: Build, family: str, particles: int, alpha: float
) -> None:
    program, x = discrete(make, family)
    exact = gradient(lambda: exact_loss(program, x, family, particles, alpha), program)
    objective = objective_of(program, "renyi", particles=particles, alpha=alpha)
    many = x.repeat(500, 1)  # 500 independent draws for each datum in one batch
    drawn = torch.stack([gradient(lambda: objective(many).loss, program) for _ in range(60)])
    assert agree(drawn, exact)
    assert exact.norm() > 0.1


@pytest.mark.parametrize("family", CODES)
def test_the_expected_loss_is_the_exact_one(make: Build, family: str) -> None:
    program, x = discrete(make, family)
    objective = objective_of(program, "iwae", particles=2)
    with torch.no_grad():
        exact = exact_loss(program, x, family, 2, 0.0)
        drawn = torch.stack([objective(x.repeat(500, 1)).loss for _ in range(40)])
    assert agree(drawn.unsqueeze(1), exact.unsqueeze(0))


def test_other_draws_make_the_gradient_less_noisy(make: Build) -> None:
    """The variance with the others' bound taken off, against that of the plain score function."""
    program, x = discrete(make, "bernoulli")
    objective = objective_of(program, "iwae", particles=5)
    ours = torch.stack([gradient(lambda: objective(x).loss, program) for _ in range(200)])
    objective._gain = lambda log_weights: objective._bound(log_weights).expand_as(log_weights)
    plain = torch.stack([gradient(lambda: objective(x).loss, program) for _ in range(200)])
    assert ours.var(0).sum() < plain.var(0).sum() / 2


def test_pyros_own_bound_leaves_the_guide_of_discrete_codes_untrained(make: Build, pyro_store: None) -> None:
    program, x = discrete(make, "bernoulli")
    exact = gradient(lambda: exact_loss(program, x, "bernoulli", 2, 0.0), program)
    before = [parameter.detach().clone() for parameter in program.network.encoder.parameters()]
    assert exact.norm() > 0.1
    elbo = RenyiELBO(0.0, num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    for _ in range(3):
        SVI(program.model, program.registered_guide(), SGD({"lr": 1.0}), elbo).step(x)
    after = list(program.network.encoder.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


# ---------------------------------------------------------------------------------------------------------
# What is refused.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"objective": {"name": "iwae", "beta": 2.0}},
            r"objective.beta: 'beta' is unknown; choose from .*particles",
        ),
        (
            {"objective": {"name": "renyi", "alpha": 1.5}},
            r"objective.alpha: 1.5 is not allowed; .* >= 0 and <= 1",
        ),
        ({"objective": "iwae", "posterior": "delta"}, r"objective.name: 'iwae' needs a density"),
        (
            {"objective": {"name": "iwae", "gradient": "doubly-reparameterised"}, "posterior": "planar"},
            r"objective.gradient: 'doubly-reparameterised' needs q\(z\|x\) at any value",
        ),
        (
            {
                "objective": {"name": "iwae", "gradient": "doubly-reparameterised"},
                "posterior": "bernoulli",
                "prior": "bernoulli",
            },
            r"objective.gradient: 'doubly-reparameterised' needs gradients through draws",
        ),
    ],
)
def test_what_these_bounds_cannot_honour_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Run.start(resolve(settings))
