"""Priors against scipy and closed forms; what one-hot codes, the simplex and the sphere ask for besides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from pyro.infer import TraceEnum_ELBO, config_enumerate
from scipy import stats
from torch import Size, Tensor
from torch.distributions import kl_divergence
from torch.distributions.constraints import Constraint

from pyrovae import supports
from pyrovae.distributions.closed_uniform import ClosedUniform
from pyrovae.distributions.dirichlet import Dirichlet as DirichletDistribution
from pyrovae.distributions.one_hot import OneHotCategorical
from pyrovae.distributions.spherical_uniform import SphericalUniform
from pyrovae.errors import ConfigError
from pyrovae.likelihoods.bernoulli import Bernoulli as BernoulliLikelihood
from pyrovae.networks import Shapes
from pyrovae.networks.mlp import MLP
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.priors.bernoulli import Bernoulli
from pyrovae.priors.categorical import Categorical
from pyrovae.priors.dirichlet import Dirichlet
from pyrovae.priors.laplace import Laplace
from pyrovae.priors.sphere import Sphere
from pyrovae.priors.student_t import StudentT
from pyrovae.priors.uniform import Uniform
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import DatumNoise

FALSE_ALARM = 5.7e-7
"""Of every statistical test here: five standard errors of a normal variable, to both sides."""

PRIORS = [
    Laplace(3, scale=0.5),
    StudentT(3, df=3.0),
    Sphere(3),
    Uniform(3),
    Dirichlet(3, concentration=0.5),
    Categorical(3, categories=4),
    Bernoulli(3, probability=0.25),
]


def each(priors: Sequence[Prior]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("prior", priors, ids=lambda prior: type(prior).__name__)


def given(prior: Prior, dtype: torch.dtype = torch.float64) -> TorchDistribution:
    """p(z) of a prior that makes no use of the guide."""
    return prior.to(dtype)(encode=lambda x: pytest.fail("the guide was used"))


def sphere_area(dimension: int) -> float:
    """Of the unit sphere, by its recursion from the circumference and the two points."""
    return {1: 2.0, 2: 2 * math.pi}.get(dimension) or (
        2 * math.pi / (dimension - 2) * sphere_area(dimension - 2)
    )


# ---------------------------------------------------------------------------------------------------------
# Densities and draws.


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_laplace_has_the_density_of_scipy(scale: float) -> None:
    z = torch.randn(20, 4).double()
    expected = stats.laplace(scale=scale).logpdf(z.numpy()).sum(1)
    np.testing.assert_allclose(given(Laplace(4, scale=scale)).log_prob(z), expected, rtol=1e-7)


@pytest.mark.parametrize("df", [2.5, 5.0, 100.0])
def test_student_t_has_the_density_of_scipy(df: float) -> None:
    z = 10 * torch.randn(20, 4).double()
    expected = stats.t(df).logpdf(z.numpy()).sum(1)
    np.testing.assert_allclose(given(StudentT(4, df=df)).log_prob(z), expected, rtol=1e-9)


def test_student_t_keeps_four_digits_in_float32_at_the_most_degrees_of_freedom() -> None:
    z = torch.randn(20, 4)
    expected = stats.t(100.0).logpdf(z.numpy()).sum(1)
    np.testing.assert_allclose(given(StudentT(4, df=100.0), torch.float32).log_prob(z), expected, atol=1e-4)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 7.0])
def test_dirichlet_has_the_density_of_scipy(concentration: float) -> None:
    z = torch.randn(20, 4).double().softmax(-1)
    prior = Dirichlet(4).double()
    prior.concentration.fill_(concentration)
    expected = [stats.dirichlet.logpdf(row / row.sum(), [concentration] * 4) for row in z.numpy()]
    np.testing.assert_allclose(given(prior).log_prob(z), expected, rtol=1e-9)


@pytest.mark.parametrize("dimension", [2, 3, 4, 9, 40])
def test_the_density_on_the_sphere_is_one_over_its_area(dimension: int) -> None:
    p = given(Sphere(dimension))
    density = p.log_prob(p.sample(Size([2, 5]))).exp()
    np.testing.assert_allclose(density, np.full((2, 5), 1 / sphere_area(dimension)), rtol=1e-12)
    assert p.entropy().item() == pytest.approx(math.log(sphere_area(dimension)))


def test_the_density_on_the_unit_cube_is_one_up_to_its_faces_and_nothing_outside() -> None:
    corners = torch.tensor(list(product([0.0, 1.0], repeat=3)))
    assert (given(Uniform(3), torch.float32).log_prob(corners) == 0).all()
    interval = ClosedUniform(torch.tensor(-1.0), torch.tensor(1.0), validate_args=False)
    around = torch.tensor([-1.0001, -1.0, 0.3, 1.0, 1.0001])
    torch.testing.assert_close(interval.log_prob(around).exp(), torch.tensor([0, 0.5, 0.5, 0.5, 0]))


def test_bernoulli_has_the_mass_of_scipy() -> None:
    codes = torch.tensor(list(product([0.0, 1.0], repeat=3))).double()
    mass = given(Bernoulli(3, probability=0.3)).log_prob(codes).exp()
    np.testing.assert_allclose(mass, stats.bernoulli(0.3).pmf(codes.numpy()).prod(1), rtol=1e-6)
    assert mass.sum().item() == pytest.approx(1.0)


def test_all_one_hot_codes_are_as_likely() -> None:
    prior = Categorical(3, categories=4)
    assert prior.event_shape == (3, 4)
    mass = given(prior).log_prob(all_codes(prior)).exp()
    np.testing.assert_allclose(mass, np.full(4**3, 1 / 4**3), rtol=1e-12)


MARGINALS: list[tuple[str, Prior, Callable[[Any], Any]]] = [
    ("laplace", Laplace(3, scale=0.5), stats.laplace(scale=0.5).cdf),
    ("student-t", StudentT(3, df=2.5), stats.t(2.5).cdf),
    ("uniform", Uniform(3), stats.uniform.cdf),
    ("circle", Sphere(2), stats.beta(0.5, 0.5, loc=-1, scale=2).cdf),
    ("sphere", Sphere(5), stats.beta(2.0, 2.0, loc=-1, scale=2).cdf),
    ("sparse", Dirichlet(3, concentration=0.1), stats.beta(0.1, 0.2).cdf),
    ("flat", Dirichlet(3), stats.beta(1.0, 2.0).cdf),
    ("even", Dirichlet(3, concentration=10.0), stats.beta(10.0, 20.0).cdf),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("prior", "cdf"), [row[1:] for row in MARGINALS], ids=[row[0] for row in MARGINALS])
def test_every_coordinate_is_drawn_from_its_marginal(
    prior: Prior, cdf: Callable[[Any], Any], dtype: torch.dtype
) -> None:
    draws = given(prior, dtype).sample(Size([5000])).double().numpy()
    pvalues = [stats.kstest(column, cdf).pvalue for column in draws.T]
    assert min(pvalues) > FALSE_ALARM / len(pvalues)


@pytest.mark.parametrize("prior", [Bernoulli(3, probability=0.3), Categorical(2, categories=3)])
def test_discrete_codes_are_drawn_as_often_as_their_mass_says(prior: Prior) -> None:
    n, p, codes = 20_000, given(prior), all_codes(prior)
    drawn = p.sample(Size([n])).flatten(1)
    counts = (drawn[:, None] == codes.flatten(1)).all(-1).sum(0)
    assert stats.chisquare(counts, n * p.log_prob(codes).exp()).pvalue > FALSE_ALARM


@each(PRIORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_particles_and_data_stand_in_front_of_a_code(prior: Prior, dtype: torch.dtype) -> None:
    p = given(prior, dtype).expand(Size([2])).expand(Size([7, 2]))
    z = p.sample()
    assert (p.batch_shape, p.event_shape) == ((7, 2), prior.event_shape)
    assert (z.shape, z.dtype) == ((7, 2, *prior.event_shape), dtype)
    assert supports.contains(prior.support, z)
    assert (p.log_prob(z).shape, p.log_prob(z).dtype) == ((7, 2), dtype)
    assert torch.equal(p.log_prob(z), given(prior, dtype).log_prob(z))
    assert len(z.flatten(2).unique(dim=0)) > 1


@each(PRIORS)
def test_a_draw_belongs_to_its_datum_and_not_to_the_batch(prior: Prior) -> None:
    def draw(*data: int) -> Tensor:
        with DatumNoise((0,), data), pyro.plate("data", len(data)):
            return pyro.sample("z", given(prior, torch.float32).expand(Size([len(data)])))  # type: ignore[no-any-return]

    together = draw(0, 1, 2, 3, 4)
    assert torch.equal(draw(3, 1), together[[3, 1]])


@each(PRIORS)
def test_a_prior_holds_nothing_to_be_trained_or_saved(prior: Prior) -> None:
    assert not list(prior.parameters())
    assert not prior.state_dict()


def test_draws_on_the_sphere_are_made_where_the_prior_is() -> None:
    assert Sphere(3).to("meta")(encode=lambda x: pytest.fail("the guide was used")).sample().is_meta


# ---------------------------------------------------------------------------------------------------------
# At the boundary.


@pytest.mark.parametrize("concentration", [0.001, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("dimension", [2, 40])
def test_float32_draws_stay_inside_the_simplex_where_score_and_gradient_are_finite(
    concentration: float, dimension: int
) -> None:
    p = given(Dirichlet(dimension, concentration=concentration), torch.float32)
    z = p.sample(Size([5000])).requires_grad_()
    assert (z > 0).all()
    assert supports.contains(supports.simplex, z)
    scores = p.log_prob(z)
    (gradient,) = torch.autograd.grad(scores.sum(), z)
    assert scores.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("concentration", [0.001, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corners_of_the_simplex_have_a_finite_score_and_gradient(
    concentration: float, dtype: torch.dtype
) -> None:
    p = given(Dirichlet(3, concentration=concentration), dtype)
    tiny = 2 * torch.finfo(dtype).tiny
    z = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, tiny, tiny]], dtype=dtype, requires_grad=True)
    scores = p.log_prob(z)
    (gradient,) = torch.autograd.grad(scores.sum(), z)
    assert scores.isfinite().all()
    assert gradient.isfinite().all()


def test_a_softmax_that_rounds_to_a_corner_gets_the_gradient_of_its_logits() -> None:
    """d/dl log p(softmax(l)) = (alpha - 1) (1 - d softmax(l)), finite however far the logits are apart."""
    p = given(Dirichlet(2, concentration=0.5), torch.float32)
    logits = torch.tensor([[0.0, 60.0], [1.0, 0.0]], requires_grad=True)
    z = logits.softmax(-1)
    (gradient,) = torch.autograd.grad(p.log_prob(z).sum(), logits)
    torch.testing.assert_close(gradient, -0.5 * (1 - 2 * z.detach()))


def test_a_small_concentration_puts_a_draw_on_one_corner_of_the_simplex() -> None:
    """Gamma variables that underflow together would be taken for equal ones."""
    z = given(Dirichlet(2, concentration=0.001), torch.float32).sample(Size([10_000]))
    between = ((z > 0.01) & (z < 0.99)).any(-1).sum().item()
    expected = 10_000 * float(np.diff(stats.beta(0.001, 0.001).cdf([0.01, 0.99])).item())
    assert abs(between - expected) <= 5 * expected**0.5 + 5


def test_dirichlet_draws_pass_a_gradient_on_to_the_concentration() -> None:
    """E[z_1^2] = (a + 1) a / ((3a + 1) 3a) for symmetric a and d = 3; five standard errors."""
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    concentration = a.expand(20_000, 3)
    square = DirichletDistribution(concentration).rsample()[:, 0].square()
    gradients = torch.autograd.grad(square.sum(), concentration)[0].sum(-1)
    (expected,) = torch.autograd.grad((a + 1) / (3 * (3 * a + 1)), a)
    assert abs(gradients.mean() - expected) <= 5 * gradients.std() / 20_000**0.5


@pytest.mark.parametrize("value", [-1e6, 0.0, 1e6])
@pytest.mark.parametrize("prior", [Laplace(1), StudentT(1)])
def test_far_codes_have_a_finite_score_and_gradient(prior: Prior, value: float) -> None:
    z = torch.tensor([value], requires_grad=True)
    score = given(prior, torch.float32).log_prob(z)
    (gradient,) = torch.autograd.grad(score, z)
    assert score.isfinite()
    assert gradient.isfinite().all()


# ---------------------------------------------------------------------------------------------------------
# What is refused.


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        (
            Sphere,
            "latent_dim: 'sphere' needs at least 2 latent coordinates, and there is 1: on a line the sphere "
            "is two points",
        ),
        (
            Dirichlet,
            "latent_dim: 'dirichlet' needs at least 2 latent coordinates, and there is 1: a proportion alone "
            "is always 1",
        ),
    ],
)
def test_a_single_coordinate_is_refused_in_words(prior: Callable[[int], Prior], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        prior(1)
    assert str(refused.value) == sentence
    assert prior(2).latent_dim == 2


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [
        (SphericalUniform(2, validate_args=True), torch.tensor([1.0, 1.0])),
        (DirichletDistribution(torch.ones(2), validate_args=True), torch.tensor([-0.5, 1.5])),
        (ClosedUniform(torch.tensor(0.0), torch.tensor(1.0), validate_args=True), torch.tensor(1.5)),
        (OneHotCategorical(torch.ones(2) / 2, validate_args=True), torch.tensor([0.5, 0.5])),
    ],
)
def test_a_value_outside_the_support_is_refused_where_values_are_checked(
    distribution: TorchDistribution, outside: Tensor
) -> None:
    with pytest.raises(ValueError, match="within the support"):
        distribution.log_prob(outside)
    assert distribution.expand(Size([3])).log_prob(distribution.sample()).shape == (3,)


# ---------------------------------------------------------------------------------------------------------
# Discrete codes: gradients through them, and all of them summed out.


def all_codes(prior: Prior) -> Tensor:
    """Every binary or one-hot code, (count, *event_shape), by Python's own enumeration."""
    variables, *categories = prior.event_shape
    values = torch.eye(*categories) if categories else torch.tensor([0.0, 1.0])
    indices = list(product(range(len(values)), repeat=variables))
    return values.double()[torch.tensor(indices)]


def test_one_hot_codes_have_the_mass_of_torchs_class() -> None:
    logits, codes = torch.randn(5, 1, 4), torch.eye(4)
    expected = dist.OneHotCategorical(logits=logits).log_prob(codes)
    torch.testing.assert_close(OneHotCategorical(logits=logits).log_prob(codes), expected)
    torch.testing.assert_close(OneHotCategorical(probs=logits.exp()).log_prob(codes), expected)


def test_the_gradient_at_a_one_hot_code_is_the_log_mass_of_every_category() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    z = torch.eye(4)[[2, 0, 2]].requires_grad_()
    score = OneHotCategorical(logits=logits).to_event(1).log_prob(z)
    to_code, to_logits = torch.autograd.grad(score, [z, logits])
    torch.testing.assert_close(to_code, logits.log_softmax(-1))
    torch.testing.assert_close(to_logits, z - logits.softmax(-1))


def test_the_gradient_at_a_binary_code_is_the_log_odds() -> None:
    logits = torch.tensor([-50.0, -1.5, 0.0, 2.0, 50.0], requires_grad=True)
    z = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], requires_grad=True)
    score = dist.Bernoulli(logits=logits).to_event(1).log_prob(z)
    to_code, to_logits = torch.autograd.grad(score, [z, logits])
    torch.testing.assert_close(to_code, logits)
    torch.testing.assert_close(to_logits, z - logits.sigmoid())


@pytest.mark.parametrize("prior", [Categorical(3, categories=4), Bernoulli(3, probability=0.3)])
def test_a_prior_on_discrete_codes_tells_a_code_how_likely_its_neighbours_are(prior: Prior) -> None:
    p = given(prior)
    z = p.sample().requires_grad_()
    (gradient,) = torch.autograd.grad(p.log_prob(z), z)
    torch.testing.assert_close(gradient, p.base_dist.logits)
    assert gradient.any()


@pytest.mark.parametrize("size", [1e-3, 1e3, 1e6])
def test_huge_logits_give_finite_scores_and_gradients(size: float) -> None:
    logits = (size * torch.randn(50, 4)).requires_grad_()
    z = torch.eye(4).expand(50, 4, 4).clone().requires_grad_()
    scores = OneHotCategorical(logits=logits[:, None]).log_prob(z)
    assert scores.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(scores.sum(), [z, logits]))


def test_the_divergence_of_one_hot_variables_is_the_sum_over_their_categories() -> None:
    p, q = OneHotCategorical(logits=torch.randn(3, 4)), OneHotCategorical(logits=torch.randn(3, 4))
    expected = (p.probs * (p.probs.log() - q.probs.log())).sum(-1)
    torch.testing.assert_close(kl_divergence(p, q), expected)
    torch.testing.assert_close(kl_divergence(p.to_event(1), q.to_event(1)), expected.sum())


def test_one_hot_variables_stay_what_they_are_when_they_are_expanded_and_enumerated() -> None:
    p = OneHotCategorical(logits=torch.randn(4)).expand(Size([5, 3]))
    assert type(p) is OneHotCategorical
    assert p.has_enumerate_support
    assert torch.equal(p.enumerate_support(expand=False), torch.eye(4).reshape(4, 1, 1, 4))


class SummedOut(Posterior):
    """Discrete codes with a site for each variable, whatever the set that they are on."""

    one_site_per_variable = True
    reparameterized = False

    def __init__(self, event_shape: Size, support: Constraint, variable: Callable[..., Any]) -> None:
        super().__init__(event_shape)
        self.support = support  # type: ignore[misc]
        self.variable = variable
        self.features = event_shape.numel()

    def forward(self, features: Tensor) -> TorchDistribution:
        logits = features.unflatten(-1, tuple(self.event_shape))
        return self.variable(logits=logits).to_event(1)


DISCRETE = [
    (Categorical(3, categories=4), OneHotCategorical),
    (Bernoulli(4, probability=0.3), dist.Bernoulli),
    (Bernoulli(1), dist.Bernoulli),
]


@pytest.mark.parametrize(("prior", "variable"), DISCRETE)
def test_enumeration_gives_the_bound_that_is_summed_by_hand(
    prior: Prior, variable: Callable[..., Any]
) -> None:
    program, x = discrete_program(prior, variable)
    codes = all_codes(prior)
    log_q = program.encode(x).log_prob(codes[:, None])
    joint = program.decode(codes[:, None]).log_prob(x) + given(prior).log_prob(codes)[:, None]
    by_hand = (log_q.exp() * (joint - log_q)).sum()

    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    bound = -elbo.differentiable_loss(program.model, config_enumerate(program.guide), x)
    torch.testing.assert_close(bound, by_hand, rtol=1e-10, atol=0)
    parameters = list(program.parameters())
    for exact, expected in zip(
        torch.autograd.grad(bound, parameters), torch.autograd.grad(by_hand, parameters), strict=True
    ):
        torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("prior", "variable"), DISCRETE)
def test_a_model_whose_codes_are_enumerated_gives_the_evidence(
    prior: Prior, variable: Callable[..., Any]
) -> None:
    program, x = discrete_program(prior, variable)
    codes = all_codes(prior)
    joint = program.decode(codes[:, None]).log_prob(x) + given(prior).log_prob(codes)[:, None]

    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    evidence = -elbo.loss(config_enumerate(program.model), lambda x: None, x)
    assert evidence == pytest.approx(joint.logsumexp(0).sum().item(), rel=1e-10)


def discrete_program(prior: Prior, variable: Callable[..., Any]) -> tuple[SingleLayer, Tensor]:
    """A program with random weights in float64, and five data."""
    event_shape = Size([6])
    posterior = SummedOut(prior.event_shape, prior.support, variable)
    shapes = Shapes(event_shape, prior.event_shape.numel(), posterior.features, 1)
    network = MLP(shapes, hidden=[8], activation="tanh")
    program = SingleLayer(prior, BernoulliLikelihood(event_shape), posterior, network).double()
    return program, torch.rand(5, 6).round().double()
