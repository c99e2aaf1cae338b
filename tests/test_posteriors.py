"""Posteriors that are no flows: their formulas against scipy, quadrature and sums over all codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from conftest import Build
from members import objective_of
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from scipy.integrate import quad
from scipy.special import gammaln
from sets import rule
from torch import Size, Tensor
from torch.distributions import kl_divergence

from pyrovae import component, pairing, supports
from pyrovae.distributions.cholesky_normal import CholeskyNormal
from pyrovae.distributions.normal import Normal
from pyrovae.distributions.power_spherical import PowerSpherical
from pyrovae.distributions.spherical_uniform import SphericalUniform
from pyrovae.distributions.straight_through import StraightThroughBernoulli, StraightThroughOneHotCategorical
from pyrovae.evaluate import evaluate
from pyrovae.programs.single_layer import SingleLayer

Z = 5.0
"""Largest deviation of a mean of draws, in standard errors: a false alarm in 2 million comparisons."""

SMALLEST_P = 1e-6
"""A test of a distribution's shape fails below this p-value: its rate of false alarms."""

PRIORS: Mapping[str, str] = {
    "normal": "normal",
    "full-normal": "normal",
    "low-rank-normal": "normal",
    "laplace": "laplace",
    "logit-normal": "uniform",
    "logistic-normal": "dirichlet",
    "power-sphere": "sphere",
    "categorical": "categorical",
    "gumbel-softmax": "categorical",
    "bernoulli": "bernoulli",
    "relaxed-bernoulli": "bernoulli",
    "delta": "normal",
}
"""The posteriors here, each with a prior on its support."""

CONTINUOUS = [name for name in PRIORS if PRIORS[name] not in ("categorical", "bernoulli") and name != "delta"]
STRAIGHT_THROUGH = ["gumbel-softmax", "relaxed-bernoulli"]

each_continuous = pytest.mark.parametrize("name", CONTINUOUS)
each_posterior = pytest.mark.parametrize("name", PRIORS)
each_straight_through = pytest.mark.parametrize("name", STRAIGHT_THROUGH)


def posterior(name: str, *event_shape: int, **options: Any) -> Any:
    return component.find("posterior", name)(Size(event_shape), **options)


def shape_of(name: str, d: int) -> tuple[int, ...]:
    return (d, 5) if PRIORS[name] == "categorical" else (d,)


def draw(q: Any) -> Tensor:
    return q.rsample() if q.has_rsample else q.sample()


def scale(unbounded: Tensor) -> Tensor:
    return 1e-5 + (1 + (math.e - 1) * unbounded.exp()).log()


# ---------------------------------------------------------------------------------------------------------
# Densities on real vectors.


def test_the_full_normal_is_scipys_with_the_covariance_of_its_formula() -> None:
    d = 3
    q, features, z = posterior("full-normal", d), torch.randn(9).double(), torch.randn(20, d).double()
    loc, sigma, a = features[:d], scale(features[d : 2 * d]), features[2 * d :].asinh()
    unit = torch.tensor([[1, 0, 0], [a[0], 1, 0], [a[1], a[2], 1]]).double()
    factor = sigma.diag() @ unit
    expected = scipy.stats.multivariate_normal(loc.numpy(), (factor @ factor.T).numpy()).logpdf(z.numpy())
    assert q.features == d + d * (d + 1) // 2
    np.testing.assert_allclose(q(features).log_prob(z), expected, rtol=1e-10)
    np.testing.assert_allclose(q(features).covariance_matrix, factor @ factor.T, rtol=1e-10)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_low_rank_normal_is_scipys_with_the_covariance_of_its_formula(rank: int) -> None:
    d = 3
    q = posterior("low-rank-normal", d, rank=rank).double()
    features, z = torch.randn(d * (2 + rank)).double(), torch.randn(20, d).double()
    loc, sigma, start = features[:d], scale(features[d : 2 * d]).diag(), torch.zeros(d, rank).double()
    for j, k in product(range(d), range(rank)):
        start[j, k] = 0.1 if (j - k) % min(d, rank) == 0 else 0.0
    v = (features[2 * d :].reshape(d, rank) + start.float().double()).asinh()
    covariance = sigma @ (torch.eye(d).double() + v @ v.T) @ sigma
    expected = scipy.stats.multivariate_normal(loc.numpy(), covariance.numpy()).logpdf(z.numpy())
    assert q.features == len(features)
    np.testing.assert_allclose(q(features).log_prob(z), expected, rtol=1e-9)


def test_the_laplace_posterior_is_scipys() -> None:
    features, z = torch.randn(6).double(), torch.randn(20, 3).double()
    expected = scipy.stats.laplace(features[:3], scale(features[3:])).logpdf(z).sum(1)
    np.testing.assert_allclose(posterior("laplace", 3)(features).log_prob(z), expected, rtol=1e-10)


@torch.no_grad()
def test_own_draws_of_a_full_normal_are_scored_without_the_error_of_a_solution() -> None:
    n, d = 1000, 64
    p = CholeskyNormal(torch.zeros(d), scale_tril=torch.randn(n, d, d).tril(-1) + torch.eye(d))
    torch.manual_seed(1)
    exact = dist.Normal(0.0, 1.0).log_prob(torch.randn(n, d).double()).sum(-1)
    torch.manual_seed(1)
    z = p.sample()
    torch.testing.assert_close(p.log_prob(z).double(), exact, rtol=1e-5, atol=0)
    assert (p.log_prob(z.clone()) - exact).abs().max() > 10  # what the noise saves


def test_a_draw_without_a_gradient_leaves_the_density_the_gradient_of_a_fixed_value() -> None:
    features = torch.randn(4, 9).double().requires_grad_()
    q = posterior("full-normal", 3)(features)
    z = q.sample()
    drawn, fixed = (
        torch.autograd.grad(q.log_prob(value).sum(), features, retain_graph=True)[0]
        for value in (z, z.clone())
    )
    torch.testing.assert_close(drawn, fixed)
    assert fixed.all()


def test_own_draws_and_the_same_values_have_the_same_score() -> None:
    q = posterior("full-normal", 3)(torch.randn(4, 9).double())
    first, second = q.rsample(), q.rsample()
    for z in (first, second):
        torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()), rtol=0, atol=1e-9)
    assert not torch.equal(q.log_prob(first), q.log_prob(second))


# ---------------------------------------------------------------------------------------------------------
# Densities on the cube and the simplex.


def test_the_logit_normal_is_the_change_of_variables_of_scipys_normal() -> None:
    features, z = torch.randn(6).double(), torch.rand(20, 3).double()
    normal = scipy.stats.norm(features[:3], scale(features[3:])).logpdf(torch.logit(z))
    expected = (torch.as_tensor(normal) - z.log() - (-z).log1p()).sum(1)
    np.testing.assert_allclose(posterior("logit-normal", 3)(features).log_prob(z), expected, rtol=1e-10)


def test_the_logistic_normal_is_the_change_of_variables_of_scipys_normal() -> None:
    def free_parts(ratios: Tensor) -> Tensor:
        return ratios.exp() / (1 + ratios.exp().sum())

    features = torch.randn(6).double()
    q = posterior("logistic-normal", 4)(features)
    for ratios in torch.randn(10, 3).double():
        parts = free_parts(ratios)
        jacobian = torch.autograd.functional.jacobian(free_parts, ratios)
        normal = scipy.stats.norm(features[:3], scale(features[3:])).logpdf(ratios).sum()
        z = torch.cat([parts, 1 - parts.sum(0, keepdim=True)])
        assert q.log_prob(z).item() == pytest.approx(normal - jacobian.det().log().item(), rel=1e-9)


def test_the_logistic_normal_of_two_parts_is_the_logit_normal() -> None:
    features, z = torch.randn(2).double(), torch.rand(20, 1).double()
    expected = posterior("logit-normal", 1)(features).log_prob(z)
    both = torch.cat([z, 1 - z], dim=1)
    torch.testing.assert_close(posterior("logistic-normal", 2)(features).log_prob(both), expected)


@pytest.mark.parametrize("loc", [-1e3, -30.0, 17.0, 30.0, 1e3])
@torch.no_grad()
def test_saturated_draws_stay_inside_the_cube_with_the_score_of_their_logits(loc: float) -> None:
    q = posterior("logit-normal", 3)(torch.cat([torch.full((1000, 3), loc), torch.zeros(1000, 3)], dim=1))
    torch.manual_seed(1)
    logits = (loc + (1 + 1e-5) * torch.randn(1000, 3)).double()
    torch.manual_seed(1)
    z = q.sample()
    assert ((z > 0) & (z < 1)).all()
    sigmoid = torch.nn.functional.logsigmoid
    expected = dist.Normal(loc, 1 + 1e-5).log_prob(logits) - sigmoid(logits) - sigmoid(-logits)
    torch.testing.assert_close(q.log_prob(z).double(), expected.sum(1), rtol=1e-4, atol=1e-3)
    assert q.log_prob(z.clone()).isfinite().all()


@pytest.mark.parametrize("size", [30.0, 84.0, 1e3])  # 84: parts are tiny, and their reciprocals overflow
def test_saturated_draws_stay_inside_the_simplex_with_the_score_of_their_ratios(size: float) -> None:
    n, d = 1000, 10
    loc = size * torch.randn(n, d - 1).sign()
    features = torch.cat([loc, torch.zeros(n, d - 1)], dim=1).requires_grad_()
    q = posterior("logistic-normal", d)(features)
    torch.manual_seed(1)
    noise = torch.randn(n, d - 1).double()
    torch.manual_seed(1)
    z = q.rsample()
    assert (z > 0).all()
    assert supports.contains(supports.simplex, z)
    log_parts = torch.cat([loc + (1 + 1e-5) * noise, torch.zeros(n, 1)], dim=1).log_softmax(-1)
    normal = dist.Normal(0.0, 1.0).log_prob(noise).sum(1) - (d - 1) * math.log1p(1e-5)
    torch.testing.assert_close(q.log_prob(z).double(), normal - log_parts.sum(1), rtol=1e-5, atol=1e-2)
    for score in (q.log_prob(z), q.log_prob(z.clone()), dist.Dirichlet(torch.full((d,), 50.0)).log_prob(z)):
        (gradient,) = torch.autograd.grad(score.sum(), features, retain_graph=True)
        assert score.isfinite().all()
        assert gradient.isfinite().all()


def test_a_point_on_the_boundary_has_a_finite_score() -> None:
    corner = torch.tensor([1.0, 0.0, 0.0])
    assert posterior("logistic-normal", 3)(torch.zeros(4)).log_prob(corner).isfinite()
    assert posterior("logit-normal", 3)(torch.zeros(6)).log_prob(corner).isfinite()


# ---------------------------------------------------------------------------------------------------------
# The sphere.

each_dimension = pytest.mark.parametrize("d", [2, 3, 10])
each_concentration = pytest.mark.parametrize("concentration", [1e-5, 1.0, 30.0])


def power_spherical(d: int, concentration: float) -> PowerSpherical:
    direction = torch.nn.functional.normalize(torch.randn(d).double(), dim=0)
    return PowerSpherical(direction, torch.tensor(concentration).double())


def average_over_angles(p: PowerSpherical, function: Any) -> float:
    """E[function(log p(z), cos)], by quadrature over the angle between z and the direction."""
    d = p.event_shape[0]
    across = torch.linalg.qr(torch.cat([p.direction[:, None], torch.eye(d).double()], dim=1)).Q[:, 1]
    log_circumference = math.log(2) + (d - 1) / 2 * math.log(math.pi) - gammaln((d - 1) / 2)

    def integrand(angle: float) -> float:
        log_prob = p.log_prob(math.cos(angle) * p.direction + math.sin(angle) * across).item()
        area = math.exp(log_circumference) * math.sin(angle) ** (d - 2)
        return area * math.exp(log_prob) * float(function(log_prob, math.cos(angle)))

    return float(quad(integrand, 0, math.pi, epsabs=1e-10, limit=200)[0])


@each_concentration
@each_dimension
def test_the_power_spherical_density_mean_and_entropy_are_what_quadrature_gives(
    d: int, concentration: float
) -> None:
    p = power_spherical(d, concentration)
    assert average_over_angles(p, lambda log_prob, cosine: 1) == pytest.approx(1, abs=1e-7)
    mean = average_over_angles(p, lambda log_prob, cosine: cosine)
    torch.testing.assert_close(p.mean, mean * p.direction, rtol=0, atol=1e-7)
    entropy = average_over_angles(p, lambda log_prob, cosine: -log_prob)
    assert p.entropy().item() == pytest.approx(entropy, abs=1e-6)


@each_concentration
@each_dimension
def test_the_divergence_from_the_uniform_sphere_is_what_quadrature_gives(
    d: int, concentration: float
) -> None:
    p, uniform = power_spherical(d, concentration), SphericalUniform(d, dtype=torch.float64)
    log_area = math.log(2) + d / 2 * math.log(math.pi) - gammaln(d / 2)
    expected = average_over_angles(p, lambda log_prob, cosine: log_prob + log_area)
    assert kl_divergence(p.expand([4]), uniform.expand([4])) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("concentration", [1e-5, 1.0, 1e3])
@each_dimension
@torch.no_grad()
def test_power_spherical_draws_have_a_beta_distributed_cosine(d: int, concentration: float) -> None:
    n = 20_000
    p = power_spherical(d, concentration)
    p = PowerSpherical(p.direction.float(), p.concentration.float())
    draws = p.sample(Size([n]))
    assert supports.contains(supports.sphere, draws)
    far = ((draws - p.direction).square().sum(-1) / 4).double()  # (1 - cos) / 2, without cancellation
    alpha, beta = (d - 1) / 2 + concentration, (d - 1) / 2
    assert scipy.stats.kstest(far.clamp(max=1), scipy.stats.beta(beta, alpha).cdf).pvalue > SMALLEST_P


@each_dimension
@torch.no_grad()
def test_power_spherical_draws_are_the_same_in_all_directions_across(d: int) -> None:
    n = 100_000
    p = power_spherical(d, 2.0)
    draws = p.sample(Size([n]))
    cosine = draws @ p.direction
    along = torch.outer(p.direction, p.direction)
    across = (torch.eye(d).double() - along) / (d - 1)
    expected = cosine.square().mean() * along + (1 - cosine.square()).mean() * across
    products = draws[:, :, None] * draws[:, None, :]
    assert ((products.mean(0) - expected).abs() <= Z * products.std(0) / n**0.5 + 1e-12).all()
    sideways = draws - cosine[:, None] * p.direction
    assert (sideways.mean(0).abs() <= Z * sideways.std(0) / n**0.5).all()


@each_dimension
def test_the_gradient_of_power_spherical_draws_is_that_of_their_mean(d: int) -> None:
    n = 50_000
    q = posterior("power-sphere", d).double()
    features = torch.randn(d + 1).double()
    weights = torch.randn(d).double()
    exact, gradients = features.clone().requires_grad_(), features.repeat(n, 1).requires_grad_()
    (expected,) = torch.autograd.grad(q(exact).mean @ weights, exact)
    (drawn,) = torch.autograd.grad((q(gradients).rsample() @ weights).sum(), gradients)
    assert ((drawn.mean(0) - expected).abs() <= Z * drawn.std(0) / n**0.5 + 1e-3 * expected.abs()).all()


def test_the_gradient_of_a_power_spherical_draw_for_its_direction_is_bounded() -> None:
    """A rotation turns a draw by no more than the angle by which it turns the direction."""
    n = 100_000
    direction = torch.nn.functional.normalize(torch.randn(3).double(), dim=0).repeat(n, 1).requires_grad_()
    weights = torch.nn.functional.normalize(torch.randn(3).double(), dim=0)
    draws = PowerSpherical(direction, torch.tensor(2.0).double()).rsample()
    (gradient,) = torch.autograd.grad((draws @ weights).sum(), direction)
    tangent = gradient - (gradient * direction).sum(-1, keepdim=True) * direction.detach()
    assert tangent.norm(dim=-1).max() <= 1 + 1e-9


def test_a_narrow_power_spherical_is_scored_precisely_in_float32() -> None:
    direction, concentration = torch.tensor([1.0, 0.0, 0.0]), torch.tensor(1e6)
    single, double = (
        PowerSpherical(direction, concentration),
        PowerSpherical(direction, concentration.double()),
    )
    torch.testing.assert_close(single.log_prob(direction).double(), double.log_prob(direction))
    torch.testing.assert_close(single.entropy().double(), double.entropy())


def test_narrow_power_spherical_draws_have_finite_gradients_in_float32() -> None:
    direction = torch.tensor([0.6, 0.8]).expand(20_000, 2).requires_grad_()
    concentration = torch.tensor(1e3).requires_grad_()
    z = PowerSpherical(direction, concentration).rsample()
    gradients = torch.autograd.grad(z.sum(), [direction, concentration])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_point_opposite_the_direction_has_a_finite_score_and_gradient() -> None:
    direction = torch.tensor([0.6, 0.8]).requires_grad_()
    score = PowerSpherical(direction, torch.tensor(1e3)).log_prob(-direction.detach())
    (gradient,) = torch.autograd.grad(score, direction)
    assert score.isfinite()
    assert gradient.isfinite().all()


# ---------------------------------------------------------------------------------------------------------
# Gradients through draws, and features of all sizes.


def smooth(z: Tensor) -> Tensor:
    return (z[..., 0] + 0.5 * z[..., -1]).tanh() + z[..., 0].tanh() * z[..., -1].tanh()


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name != "laplace"])  # a kink has no rule
def test_the_gradient_of_draws_is_that_of_the_integral_over_the_density(name: str) -> None:
    n = 20_000
    q = posterior(name, 2).double()
    features = torch.randn(q.features).double()
    exact, rows = features.clone().requires_grad_(), features.repeat(n, 1).requires_grad_()
    expected = torch.zeros_like(features)
    for values, weights in rule(q.support, Size([2])).chunks():
        integral = (q(exact).log_prob(values).exp() * weights) @ smooth(values)
        expected += torch.autograd.grad(integral, exact)[0]
    (drawn,) = torch.autograd.grad(smooth(q(rows).rsample()).sum(), rows)
    assert ((drawn.mean(0) - expected).abs() <= Z * drawn.std(0) / n**0.5 + 1e-3).all()


def test_the_gradient_of_laplace_draws_is_that_of_their_second_moment() -> None:
    n = 50_000
    features = torch.tensor([0.7, -0.4]).double()  # E[z^2] = mu^2 + 2 b^2
    exact, rows = features.clone().requires_grad_(), features.repeat(n, 1).requires_grad_()
    (expected,) = torch.autograd.grad(exact[0] ** 2 + 2 * scale(exact[1]) ** 2, exact)
    (drawn,) = torch.autograd.grad(posterior("laplace", 1)(rows).rsample().square().sum(), rows)
    assert ((drawn.mean(0) - expected).abs() <= Z * drawn.std(0) / n**0.5).all()


@pytest.mark.parametrize("name", ["normal", "full-normal"])
def test_features_of_zero_give_the_standard_normal(name: str) -> None:
    q = posterior(name, 3)
    z = torch.randn(10, 3)
    expected = dist.Normal(torch.zeros(3), 1.0).to_event(1).log_prob(z)
    torch.testing.assert_close(q(torch.zeros(q.features)).log_prob(z), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("rank", [1, 2, 6])
def test_features_of_zero_give_a_low_rank_normal_near_the_standard_one(rank: int) -> None:
    q = posterior("low-rank-normal", 4, rank=rank)
    covariance = q(torch.zeros(q.features)).covariance_matrix
    assert (covariance - torch.eye(4)).abs().max() < 0.021
    assert (covariance - torch.eye(4)).abs().max() > 0.009


def test_the_low_rank_factor_is_no_saddle_at_features_of_zero() -> None:
    d, rank = 4, 2
    q = posterior("low-rank-normal", d, rank=rank).double()
    features = torch.zeros(q.features).double().requires_grad_()
    factor = torch.eye(d).double() + 0.5 * torch.ones(d, d).tril(-1)
    target = torch.distributions.MultivariateNormal(torch.zeros(d).double(), scale_tril=factor)
    p = q(features)
    divergence = kl_divergence(torch.distributions.MultivariateNormal(p.loc, p.covariance_matrix), target)
    (gradient,) = torch.autograd.grad(divergence, features)
    assert (gradient[2 * d :].abs() > 1e-3).all()


def test_features_of_zero_give_a_direction_with_a_gradient() -> None:
    for d in (2, 3, 10):
        q = posterior("power-sphere", d)
        features = torch.zeros(q.features).requires_grad_()
        p = q(features)
        torch.testing.assert_close(p.direction, torch.eye(d)[0])
        z = p.rsample()
        (gradient,) = torch.autograd.grad((z @ torch.randn(d)) + p.log_prob(z), features)
        assert gradient.isfinite().all()
        assert gradient[1:d].all()
        assert gradient[-1] != 0


def test_features_of_zero_make_all_categories_and_bits_as_likely() -> None:
    for name in ("categorical", "gumbel-softmax"):
        p = posterior(name, 3, 4)(torch.zeros(12))
        assert p.log_prob(p.sample()).item() == pytest.approx(-3 * math.log(4))
    for name in ("bernoulli", "relaxed-bernoulli"):
        p = posterior(name, 3)(torch.zeros(3))
        assert p.log_prob(p.sample()).item() == pytest.approx(-3 * math.log(2))


@each_posterior
def test_codes_of_64_numbers_from_features_of_size_1000_have_finite_scores_and_gradients(name: str) -> None:
    q = posterior(name, *shape_of(name, 64))
    features = (1e3 * torch.randn(50, q.features).sign()).requires_grad_()
    p = q(features)
    z = draw(p)
    score = p.log_prob(z)
    (gradient,) = torch.autograd.grad((score + z.flatten(1).sum(1)).sum(), features)
    assert z.isfinite().all()
    assert score.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("rank", [1, 2, 8])
@pytest.mark.parametrize("d", [1, 2, 64])
def test_a_low_rank_normal_is_never_too_narrow_to_invert(d: int, rank: int) -> None:
    q = posterior("low-rank-normal", d, rank=rank)
    for signs in (
        torch.ones(50, q.features),
        -torch.ones(50, q.features),
        torch.randn(50, q.features).sign(),
    ):
        features = (1e3 * signs).requires_grad_()
        score = q(features).log_prob(torch.randn(50, d))
        (gradient,) = torch.autograd.grad(score.sum(), features)
        assert score.isfinite().all()
        assert gradient.isfinite().all()


@each_posterior
@torch.no_grad()
def test_a_posterior_can_be_expanded_over_particles(name: str) -> None:
    q = posterior(name, *shape_of(name, 3)).double()
    p = q(torch.randn(5, q.features).double())
    more = p.expand(Size([4, 5]))
    z = draw(more)
    assert (more.batch_shape, z.shape) == ((4, 5), (4, 5, *q.event_shape))
    assert more.has_rsample is p.has_rsample is q.reparameterized
    torch.testing.assert_close(more.log_prob(z), p.log_prob(z.clone()), rtol=0, atol=1e-9)
    if q.is_density:
        assert not torch.equal(z[0], z[1])


def test_every_posterior_says_what_can_be_done_with_it() -> None:
    of_variables, points = {"categorical", "bernoulli"}, {"delta"}
    for name in PRIORS:
        member: Any = component.find("posterior", name)
        assert member.one_site_per_variable is (name in of_variables)
        assert member.reparameterized is (name not in of_variables)
        assert member.is_density is (name not in points)
        assert (member.only_own_draws is None) is (name not in points)


@each_posterior
@torch.no_grad()
def test_noise_in_evaluation_belongs_to_the_datum(name: str, make: Build) -> None:
    program, x = make(prior=PRIORS[name], posterior=name), torch.randn(5, 6)
    together = evaluate(program, [x], particles=3).elbo
    torch.testing.assert_close(
        evaluate(program, [x[:2], x[2:]], particles=3).elbo, together, rtol=0, atol=1e-4
    )
    assert together.unique().numel() == 5


# ---------------------------------------------------------------------------------------------------------
# Exact discrete codes: sums over all of them.

each_exact = pytest.mark.parametrize("name", ["categorical", "bernoulli"])


def discrete(name: str, make: Build) -> SingleLayer:
    """A program whose codes can all be listed, with a prior that is not uniform."""
    if name == "categorical":
        program = make(latent_dim=2, prior={"name": name, "categories": 3}, posterior=name)
        with torch.no_grad():
            program.prior.logits += torch.randn(2, 3)  # type: ignore[operator]
    else:
        program = make(latent_dim=3, prior={"name": name, "probability": 0.3}, posterior=name)
    return program.double()


def exact_loss(program: SingleLayer, x: Tensor) -> Tensor:
    """Minus the ELBO of all data together, as a sum over all codes."""
    codes = rule(program.posterior.support, program.prior.event_shape).values.unsqueeze(1)
    q, p = program.encode(x), program.prior(program.encode)
    log_q = q.log_prob(codes)
    log_joint = program.decode(codes).log_prob(x) + p.log_prob(codes)
    return -(log_q.exp() * (log_joint - log_q)).sum()


@each_exact
def test_summing_the_variables_out_gives_the_elbo_and_its_gradient(name: str, make: Build) -> None:
    program, x = discrete(name, make), torch.randn(4, 6).double()
    parameters = list(program.parameters())
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    loss = elbo.differentiable_loss(program.model, config_enumerate(program.guide), x)
    expected = exact_loss(program, x)
    torch.testing.assert_close(loss, expected)
    for one, other in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


@each_exact
def test_the_score_function_gives_the_gradient_in_expectation(name: str, make: Build) -> None:
    repeats = 200
    program, x = discrete(name, make), torch.randn(3, 6).double()
    parameters = list(program.network.encoder.parameters())
    elbo = Trace_ELBO(num_particles=100, vectorize_particles=True, max_plate_nesting=1)

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

    drawn = torch.stack(
        [gradient(elbo.differentiable_loss(program.model, program.guide, x)) for _ in range(repeats)]
    )
    expected = gradient(exact_loss(program, x))
    assert expected.abs().max() > 0.1
    assert ((drawn.mean(0) - expected).abs() <= Z * drawn.std(0) / repeats**0.5 + 1e-12).all()


@pytest.mark.parametrize("name", ["categorical", "gumbel-softmax"])
def test_the_mass_of_one_hot_codes_is_linear_in_them(name: str) -> None:
    features, z = torch.randn(6), torch.eye(3)[[2, 0]].requires_grad_()
    score = posterior(name, 2, 3)(features).log_prob(z)
    (gradient,) = torch.autograd.grad(score, z)
    torch.testing.assert_close(gradient, features.reshape(2, 3).log_softmax(-1))
    torch.testing.assert_close(score, (z * gradient).sum())


@pytest.mark.parametrize("name", ["bernoulli", "relaxed-bernoulli"])
def test_the_mass_of_binary_codes_is_linear_in_them(name: str) -> None:
    features, z = torch.randn(3), torch.tensor([1.0, 0.0, 1.0]).requires_grad_()
    (gradient,) = torch.autograd.grad(posterior(name, 3)(features).log_prob(z), z)
    torch.testing.assert_close(gradient, features)


# ---------------------------------------------------------------------------------------------------------
# Straight-through codes: hard values, relaxed gradients, scored by their mass.


@pytest.mark.parametrize("temperature", [0.01, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_straight_through
def test_straight_through_codes_are_exactly_hard(name: str, dtype: torch.dtype, temperature: float) -> None:
    q = posterior(name, *shape_of(name, 3), temperature=temperature)
    features = (3 * torch.randn(1000, q.features, dtype=dtype)).requires_grad_()
    z = q(features).rsample()
    assert z.requires_grad
    assert z.dtype == dtype
    assert supports.contains(q.support, z)
    assert set(z.unique().tolist()) == {0.0, 1.0}


@each_straight_through
@torch.no_grad()
def test_straight_through_codes_follow_their_mass(name: str) -> None:
    n = 50_000
    q = posterior(name, *shape_of(name, 2), temperature=0.3)
    p = q(torch.randn(q.features))
    error = Z * (p.variance / n).sqrt()
    for draws in (p.expand(Size([n])).rsample(), p.sample(Size([n]))):
        assert ((draws.mean(0) - p.mean).abs() <= error).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_straight_through_gradients_are_those_of_torchs_relaxed_draws(temperature: float) -> None:
    logits, weights = torch.randn(100, 4).double().requires_grad_(), torch.randn(100, 4).double()
    pairs = [
        (StraightThroughOneHotCategorical, dist.RelaxedOneHotCategorical),
        (StraightThroughBernoulli, dist.RelaxedBernoulli),
    ]
    for hard, relaxed in pairs:
        gradients = []
        for made in (
            hard(temperature, logits=logits),
            relaxed(torch.tensor(temperature).double(), logits=logits),
        ):
            torch.manual_seed(1)
            gradients.append(torch.autograd.grad((weights * made.rsample()).sum(), logits)[0])
        torch.testing.assert_close(*gradients)
        assert gradients[0].abs().max() > 0.01


@torch.no_grad()
def test_uniform_straight_through_codes_do_not_diverge_from_a_uniform_prior() -> None:
    """Pyro's class scores the density of the relaxed draw, and is off by many nats."""
    n, variables, categories = 2000, 4, 8
    prior = component.find("prior", "categorical")(variables, categories=categories)
    p: Any = prior(None).expand([n])
    q = posterior("gumbel-softmax", variables, categories)(torch.zeros(n, variables * categories))
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z), p.log_prob(z))
    torch.testing.assert_close(kl_divergence(q, p), torch.zeros(n))
    logits = torch.zeros(n, variables, categories)
    pyros = dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), logits=logits).to_event(1)
    z = pyros.rsample()
    assert (pyros.log_prob(z) - p.log_prob(z)).mean() > 10

    bits: Any = component.find("prior", "bernoulli")(3)
    q = posterior("relaxed-bernoulli", 3)(torch.zeros(n, 3))
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z), bits(None).log_prob(z))
    torch.testing.assert_close(kl_divergence(q, bits(None).expand([n])), torch.zeros(n))


@each_straight_through
@torch.no_grad()
def test_the_divergence_from_another_prior_is_the_sum_over_all_codes(name: str, make: Build) -> None:
    exact = "categorical" if name == "gumbel-softmax" else "bernoulli"
    p: Any = discrete(exact, make).prior(None)  # type: ignore[arg-type]
    q = posterior(name, *p.event_shape)
    q = q(torch.randn(q.features).double())
    codes = rule(q.support, p.event_shape).values
    expected = (q.log_prob(codes).exp() * (q.log_prob(codes) - p.log_prob(codes))).sum()
    torch.testing.assert_close(kl_divergence(q, p), expected)


@each_straight_through
def test_gradients_reach_the_logits_through_the_value_alone(name: str, make: Build) -> None:
    program, x = make(prior=PRIORS[name], posterior=name), torch.randn(16, 6)
    parameters = list(program.network.encoder.parameters())
    z = program.encode(x).rsample()
    for score in (program.decode(z).log_prob(x), _other_prior(program).log_prob(z)):
        gradients = torch.autograd.grad(score.sum(), parameters, retain_graph=True)
        assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def _other_prior(program: SingleLayer) -> Any:
    """A prior that is not uniform: a uniform one gives all values of a bit the same score."""
    p: Any = program.prior(program.encode)
    return type(p.base_dist)(logits=p.base_dist.logits + torch.randn(p.event_shape)).to_event(1)


# ---------------------------------------------------------------------------------------------------------
# The normal one, whose score is written for many draws of a datum.


@pytest.mark.parametrize("draws", [(), (0,), (5,), (2, 5)])
@pytest.mark.parametrize("shared", [(), (3,), (1, 3), (4, 1)])
def test_the_score_of_expanded_normals_is_that_of_torch(draws: tuple[int, ...], shared: Any) -> None:
    loc = torch.randn(4, 3, requires_grad=True)
    scale = torch.rand(shared).add(0.1).requires_grad_()
    z = torch.randn(*draws, 4, 3, requires_grad=True)
    ours, torchs = (
        kind(loc, scale).expand([*draws, 4, 3]).log_prob(z) for kind in (Normal, torch.distributions.Normal)
    )
    torch.testing.assert_close(ours, torchs)
    weights = torch.randn(ours.shape)
    gradients = [torch.autograd.grad((weights * p).sum(), (loc, scale, z)) for p in (ours, torchs)]
    torch.testing.assert_close(*gradients)


# ---------------------------------------------------------------------------------------------------------
# The point.


def test_the_point_is_the_features() -> None:
    features = torch.randn(5, 3, requires_grad=True)
    p = posterior("delta", 3)(features)
    assert torch.equal(p.rsample(), features)
    assert torch.equal(p.mean, features)
    assert torch.equal(p.log_prob(features), torch.zeros(5))


@pytest.mark.parametrize("objective", ["elbo", "mean-field-elbo"])
def test_the_objective_of_the_point_is_reconstruction_and_penalty(objective: Any, make: Build) -> None:
    program, x = make(posterior="delta"), torch.randn(4, 6)
    loss, reconstruction, _ = objective_of(program, objective)(x)
    z = program.encode(x).mean
    torch.testing.assert_close(reconstruction, program.decode(z).log_prob(x).mean(), check_dtype=False)
    penalty = -program.prior(program.encode).log_prob(z).mean()
    torch.testing.assert_close(loss, penalty - reconstruction, check_dtype=False)


def test_a_prior_made_of_the_posterior_refuses_a_point() -> None:
    reason = pairing.misfit(component.find("prior", "vamp"), component.find("posterior", "delta"))
    assert reason is not None
    assert "it is a point" in reason
