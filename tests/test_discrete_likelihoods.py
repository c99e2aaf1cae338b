"""Likelihoods of grey values, categories and counts, against SciPy, closed forms and sums over all values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import TorchDistribution
from scipy import stats
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae import generate, supports
from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.distributions.bernoulli import Bernoulli
from pyrovae.distributions.discretized_logistic import DiscretizedLogistic as Rounded
from pyrovae.distributions.multinomial import Multinomial as Shared
from pyrovae.evaluate import evaluate
from pyrovae.likelihoods.categorical import Categorical
from pyrovae.likelihoods.discretized_logistic import DiscretizedLogistic
from pyrovae.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyrovae.likelihoods.multinomial import STORED_TOTALS, Multinomial
from pyrovae.likelihoods.negative_binomial import NegativeBinomial
from pyrovae.likelihoods.poisson import Poisson
from pyrovae.likelihoods.zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial
from pyrovae.programs.single_layer import SingleLayer

FALSE_ALARM = 5.7e-7
"""Probability that a chi-square test of right draws fails, as that of 5 standard errors."""

SCALAR = Size([1])


def doubles(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def grey(levels: int) -> Tensor:
    return torch.arange(levels, dtype=torch.float64) / (levels - 1)


def probabilities(p: TorchDistribution, values: Tensor) -> Tensor:
    """Those of each row of values, float64."""
    return p.log_prob(values).double().exp()


def squashed(feature: Any, limit: float) -> Any:
    """A feature between -limit and limit."""
    return feature / (1 + (feature / limit) ** 2) ** 0.5


def check_draws(p: TorchDistribution, values: Tensor, n: int = 50_000) -> None:
    """Chi-square of frequencies against probabilities; values are all that matter, (k, *event_shape)."""
    draws = p.sample(Size([n])).flatten(1)
    listed = {tuple(row.tolist()): index for index, row in enumerate(values.to(draws.dtype).flatten(1))}
    assert len(listed) == len(values)
    observed = torch.zeros(len(values), dtype=torch.float64)
    for row, times in zip(*draws.unique(dim=0, return_counts=True), strict=True):
        observed[listed[tuple(row.tolist())]] = times
    expected = probabilities(p, values) * n
    rare = expected < 10
    assert (~rare).sum() > 1
    if expected[rare].sum() < 10:  # too few even together: they join the most frequent one
        rare[expected.argmax()] = True
    bins = [torch.cat([numbers[~rare], numbers[rare].sum()[None]]) for numbers in (observed, expected)]
    assert stats.chisquare(bins[0], bins[1] * n / bins[1].sum()).pvalue > FALSE_ALARM


# ---------------------------------------------------------------------------------------------------------
# The discretised logistic: all by SciPy's logistic distribution.


def logistic_mass(x: float, loc: float, scale: float, levels: int) -> float:
    """P(x), from the tail in which no difference of numbers near 1 is taken."""
    half = 0.5 / (levels - 1)
    low = -np.inf if x < half else x - half
    high = np.inf if x > 1 - half else x + half
    if x < loc:
        return float(stats.logistic.cdf(high, loc, scale) - stats.logistic.cdf(low, loc, scale))
    return float(stats.logistic.sf(low, loc, scale) - stats.logistic.sf(high, loc, scale))


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_bernoulli_logits_of_any_size_are_scored_as_by_torch_in_double_precision(x: float) -> None:
    logits = torch.tensor([0.0, 1e-3, 0.5, 3.0, 14.0, 17.0, 30.0, 1e4, 3e38])
    logits = torch.cat([logits, -logits]).requires_grad_()
    scores = Bernoulli(logits[:, None], validate_args=False).to_event(1).log_prob(torch.tensor([x]))
    (gradients,) = torch.autograd.grad(scores.sum(), logits)
    exact = dist.Bernoulli(logits=logits.double(), validate_args=False).log_prob(doubles(x).expand(18))
    torch.testing.assert_close(scores.double(), exact, rtol=3e-7, atol=1.3e-7)
    torch.testing.assert_close(gradients.double(), x - logits.double().sigmoid(), rtol=0, atol=1.3e-7)


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (3, 5), (1, 28, 28)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_bernoulli_cells_of_any_number_are_scored_as_by_torch(shape: tuple[int, ...], scale: float) -> None:
    torch.manual_seed(0)
    logits, x = scale * torch.randn(4, 2, *shape), (torch.rand(2, *shape) < 0.4).float()
    scores = Bernoulli(logits).to_event(len(shape)).log_prob(x)
    exact = dist.Bernoulli(logits=logits.double()).to_event(len(shape)).log_prob(x.double())
    torch.testing.assert_close(scores.double(), exact, rtol=1e-6, atol=2e-6 * x[0].numel() ** 0.5)
    assert scores.shape == (4, 2)


def test_the_gradient_of_a_bernoulli_score_is_that_of_its_formula_twice_and_of_rows_that_are_shared() -> None:
    logits, x = doubles([[0.3, -2.0, 4.0]]).requires_grad_(), doubles([0.0, 0.4, 1.0]).requires_grad_()

    def score(logits: Tensor, x: Tensor) -> Tensor:
        return Bernoulli(logits, validate_args=False).to_event(1).log_prob(x)

    assert torch.autograd.gradcheck(score, (logits, x))
    assert torch.autograd.gradcheck(score, (logits, x.detach().expand(4, 3).clone().requires_grad_()))
    assert torch.autograd.gradgradcheck(score, (logits, x))
    per_row = torch.vmap(torch.func.grad(lambda one: score(one, x).sum()))(logits)
    torch.testing.assert_close(per_row, x - logits.sigmoid())


@pytest.mark.parametrize("levels", [2, 3, 256])
@pytest.mark.parametrize(("loc", "scale"), [(0.5, 0.1), (-0.3, 0.02), (1.2, 2.0), (0.71, 0.0004)])
def test_a_level_has_the_mass_of_the_logistic_distribution_around_it(
    levels: int, loc: float, scale: float
) -> None:
    p = Rounded(doubles(loc), doubles(scale), levels)
    values = grey(levels)
    expected = doubles([logistic_mass(x, loc, scale, levels) for x in values.tolist()])
    torch.testing.assert_close(probabilities(p, values), expected, rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize("log_scale", [-1e3, -3.0, 0.0, 1e3])
def test_probabilities_of_all_grey_values_sum_to_one(levels: int, log_scale: float) -> None:
    likelihood = DiscretizedLogistic(SCALAR, levels=levels)
    for loc, (dtype, error) in product(
        [-1e3, -1.0, 0.1, 2.0], [(torch.float64, 1e-12), (torch.float32, 1e-3)]
    ):
        p = likelihood(torch.tensor([[loc], [log_scale]], dtype=dtype))
        total = probabilities(p, grey(levels).to(dtype)[:, None]).sum().item()
        assert total == pytest.approx(1.0, abs=error)


def test_the_ends_take_their_tails() -> None:
    p = DiscretizedLogistic(SCALAR)(torch.zeros(2, 1).double())  # mean and scale 1/2, in units of the data
    tail = stats.logistic.cdf(0.5 / 255, 0.5, 0.5)
    torch.testing.assert_close(
        probabilities(p, torch.tensor([[0.0], [1.0]])), torch.full((2,), tail, dtype=torch.float64)
    )


def test_the_scale_has_the_stated_bounds_and_a_single_level_can_be_all_but_sure() -> None:
    likelihood = DiscretizedLogistic(SCALAR)
    for feature, bound in [(-1e4, 1 / 255 / 20), (1e4, 5 * 255)]:
        p: Any = likelihood(torch.tensor([[0.0], [feature]]))
        assert p.base_dist.scale.item() == pytest.approx(bound, rel=1e-4)
    centre = 2 * 100 / 255 - 1
    sure = likelihood(torch.tensor([[centre], [-1e4]]))
    assert probabilities(sure, torch.tensor([[100 / 255]])).item() > 0.9999


def test_far_tails_are_finite_and_as_exact_as_float32_in_float32() -> None:
    for levels in (2, 256):
        likelihood = DiscretizedLogistic(Size([4 * levels]), levels=levels)
        corners = torch.tensor(list(product([-1e3, 1e3], repeat=2))).T.repeat_interleave(levels, dim=1)
        features = corners.requires_grad_()
        x = grey(levels).repeat(4).float()
        single = likelihood(features).base_dist.log_prob(x)
        double = likelihood(features.double()).base_dist.log_prob(x.double())
        (gradient,) = torch.autograd.grad(single.sum(), features)
        assert single.isfinite().all()
        assert gradient.isfinite().all()
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("levels", [2, 7, 256])
def test_the_mean_is_the_expected_grey_value(levels: int) -> None:
    features = torch.randn(2, 50, dtype=torch.float64)
    p = DiscretizedLogistic(Size([50]), levels=levels)(features)
    values = grey(levels)[:, None].expand(-1, 50)
    expected = (p.base_dist.log_prob(values).exp() * values).sum(0)
    torch.testing.assert_close(p.mean, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("log_scale", [-5.0, -1.0, 1.0])
def test_drawn_grey_values_have_their_probabilities(log_scale: float) -> None:
    p = DiscretizedLogistic(SCALAR)(torch.tensor([[0.6], [log_scale]]))
    check_draws(p, (torch.arange(256) / 255)[:, None])


def test_drawn_grey_values_equal_those_that_are_stored() -> None:
    p = DiscretizedLogistic(Size([1000]))(torch.zeros(2, 1000))
    stored = set((torch.arange(256, dtype=torch.uint8).float() / 255).tolist())
    assert set(p.sample().tolist()) <= stored


# ---------------------------------------------------------------------------------------------------------
# The mixture: the same, and the dependence between colours written out in the unit of PixelCNN++.


def mixture_features(likelihood: DiscretizedLogisticMixture, *batch: int) -> Tensor:
    return torch.randn(*batch, likelihood.features, *likelihood.event_shape, dtype=torch.float64)


def test_a_mixture_of_a_cell_is_the_weighted_sum_of_its_components() -> None:
    likelihood = DiscretizedLogisticMixture(Size([2]), components=3)
    features = mixture_features(likelihood)
    x = torch.tensor([17.0, 255.0]).double() / 255
    alone = DiscretizedLogistic(Size([2]))
    components = torch.stack(
        [alone(features[[3 + j, 6 + j]]).base_dist.log_prob(x).exp() for j in range(3)]  # type: ignore[attr-defined]
    )
    expected = (features[:3].softmax(0) * components).sum(0).log().sum()
    torch.testing.assert_close(likelihood(features).log_prob(x), expected)


def test_a_grey_picture_is_scored_like_a_vector_of_its_pixels() -> None:
    picture, vector = (DiscretizedLogisticMixture(Size(shape)) for shape in ([1, 2, 3], [6]))
    features, x = mixture_features(picture, 4), grey(256)[torch.randint(256, (4, 1, 2, 3))]
    torch.testing.assert_close(
        picture(features).log_prob(x), vector(features.flatten(2)).log_prob(x.flatten(1))
    )


def test_the_channels_of_a_pixel_share_the_component() -> None:
    """Two components at black and at white: both channels are black or both are white."""
    likelihood = DiscretizedLogisticMixture(Size([2, 1, 1]), components=2, levels=2)
    features = torch.zeros(6, 2, 1, 1).double()
    features[2], features[3], features[4:] = -2.0, 2.0, -20.0
    corners = torch.tensor(list(product([0.0, 1.0], repeat=2))).reshape(4, 2, 1, 1).double()
    torch.testing.assert_close(
        probabilities(likelihood(features), corners),
        torch.tensor([0.5, 0.0, 0.0, 0.5]).double(),
        atol=1e-3,
        rtol=0,
    )


def pixel_cnn_mass(features: Tensor, rgb: tuple[float, ...], levels: int) -> float:
    """P(red, green, blue) of a pixel as in PixelCNN++, grey values going from -1 to 1; for 2 components."""
    logits, means, log_scales, dependence = features.squeeze().split(2)
    weights = logits.mean(1).softmax(0)
    bound = np.log(10 * (levels - 1))
    total = 0.0
    for j in range(2):
        m, s = means[j].tolist(), np.exp(squashed(log_scales[j].numpy(), bound)).tolist()
        alpha, beta, gamma = dependence[j].tanh().tolist()
        red, green, blue = (2 * value - 1 for value in rgb)
        locs = [m[0], m[1] + alpha * red, m[2] + beta * red + gamma * green]
        masses = [
            logistic_mass((value + 1) / 2, (loc + 1) / 2, scale / 2, levels)
            for value, loc, scale in zip((red, green, blue), locs, s, strict=True)
        ]
        total += weights[j].item() * float(np.prod(masses))
    return total


def test_colours_are_scored_as_in_pixel_cnn() -> None:
    for levels in (5, 256):
        likelihood = DiscretizedLogisticMixture(Size([3, 1, 1]), components=2, levels=levels)
        assert likelihood.features == 8
        features = mixture_features(likelihood)
        for _ in range(10):
            x = grey(levels)[torch.randint(levels, (3, 1, 1))]
            expected = np.log(pixel_cnn_mass(features, tuple(x.flatten().tolist()), levels))
            assert likelihood(features).log_prob(x).item() == pytest.approx(expected, rel=1e-8)


def all_colours(levels: int) -> Tensor:
    values = grey(levels)
    return torch.cartesian_prod(values, values, values).reshape(-1, 3, 1, 1)


@pytest.mark.parametrize("levels", [2, 5])
def test_probabilities_of_all_colours_sum_to_one(levels: int) -> None:
    likelihood = DiscretizedLogisticMixture(Size([3, 1, 1]), levels=levels)
    for size in (1.0, 1e3):
        p = likelihood(size * mixture_features(likelihood))
        assert probabilities(p, all_colours(levels)).sum().item() == pytest.approx(1.0, abs=1e-12)


def test_drawn_colours_have_their_probabilities() -> None:
    likelihood = DiscretizedLogisticMixture(Size([3, 1, 1]), levels=4)
    check_draws(likelihood(mixture_features(likelihood)), all_colours(4))


def test_pixels_are_drawn_independently_of_each_other_and_in_their_places() -> None:
    likelihood = DiscretizedLogisticMixture(Size([2, 1, 2]), levels=2)
    p = likelihood(mixture_features(likelihood))
    corners = torch.tensor(list(product([0.0, 1.0], repeat=4))).double().reshape(-1, 2, 1, 2)
    assert probabilities(p, corners).sum().item() == pytest.approx(1.0, abs=1e-12)
    check_draws(p, corners)


@pytest.mark.parametrize("shape", [(2,), (1, 1, 2), (2, 1, 1)])
def test_the_mean_of_a_mixture_without_colour_is_exact(shape: tuple[int, ...]) -> None:
    likelihood = DiscretizedLogisticMixture(Size(shape), levels=9)
    p = likelihood(mixture_features(likelihood))
    values = torch.cartesian_prod(grey(9), grey(9)).reshape(-1, *shape)
    expected = torch.einsum("n,n...->...", probabilities(p, values), values)
    torch.testing.assert_close(p.mean, expected, rtol=1e-10, atol=1e-12)


def test_the_mean_of_a_colour_is_exact_for_red_and_near_for_the_others() -> None:
    likelihood = DiscretizedLogisticMixture(Size([3, 1, 1]), levels=16)
    values = all_colours(16)
    errors = []
    for _ in range(20):
        p = likelihood(mixture_features(likelihood))
        expected = torch.einsum("n,n...->...", probabilities(p, values), values)
        errors.append((p.mean - expected).flatten().abs())
    red, green, blue = torch.stack(errors).mean(0).tolist()
    assert red < 1e-12
    assert green < 0.01
    assert blue < 0.01


def test_the_mean_of_a_colour_is_all_but_exact_as_long_as_few_draws_are_near_the_ends() -> None:
    likelihood = DiscretizedLogisticMixture(Size([3, 1, 1]), levels=32)
    features = mixture_features(likelihood)
    features[5:10] *= 0.1  # means near grey
    features[10:15] = -3.0  # scales of 1/40 of the range: as wide as a level
    p = likelihood(features)
    values = all_colours(32)
    expected = torch.einsum("n,n...->...", probabilities(p, values), values)
    torch.testing.assert_close(p.mean, expected, atol=1e-4, rtol=0)
    assert (p.mean - 0.5).abs().max() > 0.01


# ---------------------------------------------------------------------------------------------------------
# Categories.


@pytest.mark.parametrize(("grid", "spacing"), [("unit", 1 / 4), ("integers", 1.0)])
def test_categories_have_the_probabilities_of_the_softmax_on_their_grid(grid: Any, spacing: float) -> None:
    likelihood = Categorical(Size([2]), categories=5, grid=grid)
    features = torch.randn(3, 5, 2)
    p, expected = likelihood(features), features.softmax(1)
    values = torch.arange(5) * spacing
    assert supports.contains(likelihood.support, values)
    for i, j in product(range(5), repeat=2):
        torch.testing.assert_close(
            p.log_prob(torch.stack([values[i], values[j]]).expand(3, 2)).exp(),
            expected[:, i, 0] * expected[:, j, 1],
        )
    torch.testing.assert_close(p.mean, torch.einsum("nkc,k->nc", expected, values))
    check_draws(
        likelihood(features[0]),
        torch.cartesian_prod(values, values),
    )


def test_categories_are_on_the_grid_that_was_chosen() -> None:
    unit, integers = (Categorical(SCALAR, categories=4, grid=grid) for grid in ("unit", "integers"))  # type: ignore[arg-type]
    assert supports.same(unit.support, supports.Levels(4))
    assert supports.same(integers.support, constraints.integer_interval(0, 3))
    x = torch.arange(4.0)[:, None]
    torch.testing.assert_close(integers.seen(x), grey(4).float()[:, None])
    assert torch.equal(unit.seen(x / 3), x / 3)
    assert integers(torch.zeros(7, 4, 1)).sample().dtype == torch.float32


# ---------------------------------------------------------------------------------------------------------
# Counts: SciPy's masses, in float32 up to a count of a million.

RATES = [(-15.0, 0.0), (-2.0, -3.0), (0.0, 0.0), (3.0, 5.0), (10.0, -1.0), (14.0, 12.0)]
COUNTS = torch.tensor([0.0, 1.0, 2.0, 17.0, 1e3, 1e4, 1e6])


def bound(feature: float) -> float:
    return float(np.exp(squashed(np.float64(np.float32(feature)), 15)))


def poisson(log_mean: float, log_inverse: float) -> tuple[TorchDistribution, Any]:
    p = Poisson(SCALAR)(torch.tensor([[log_mean]]))
    return p, lambda k: stats.poisson.logpmf(k, bound(log_mean))


def negative_binomial(log_mean: float, log_inverse: float) -> tuple[TorchDistribution, Any]:
    p = NegativeBinomial(SCALAR, dispersion="per-pixel")(torch.tensor([[log_mean], [log_inverse]]))
    mu, r = bound(log_mean), bound(log_inverse)
    return p, lambda k: stats.nbinom.logpmf(k, r, r / (r + mu))


def zero_inflated(log_mean: float, log_inverse: float) -> tuple[TorchDistribution, Any]:
    likelihood = ZeroInflatedNegativeBinomial(SCALAR, dispersion="per-pixel")
    p = likelihood(torch.tensor([[-1.0], [log_mean], [log_inverse]]))
    base = negative_binomial(log_mean, log_inverse)[1]
    gate = 1 / (1 + np.e)
    return p, lambda k: np.logaddexp(np.log(np.where(k == 0, gate, 1e-300)), np.log1p(-gate) + base(k))


each_count = pytest.mark.parametrize("make", [poisson, negative_binomial, zero_inflated])


@each_count
@pytest.mark.parametrize(("log_mean", "log_inverse"), RATES)
def test_counts_have_the_masses_of_scipy_in_float32(
    make: Callable[..., tuple[TorchDistribution, Any]], log_mean: float, log_inverse: float
) -> None:
    p, log_mass = make(log_mean, log_inverse)
    near_the_mean = torch.tensor([bound(log_mean)]).round()
    counts = torch.cat([COUNTS, near_the_mean])
    expected = torch.from_numpy(log_mass(counts.double().numpy()))
    scores = p.log_prob(counts[:, None])
    assert scores.dtype == torch.float32
    possible = expected > -600  # beyond, the floor under the logarithm of the gate shows
    torch.testing.assert_close(scores.double()[possible], expected[possible], rtol=1e-6, atol=1e-6)


@each_count
def test_masses_of_all_counts_sum_to_one_and_draws_have_them(
    make: Callable[..., tuple[TorchDistribution, Any]],
) -> None:
    p, _ = make(1.0, 0.5)
    counts = torch.arange(500.0)[:, None]
    assert probabilities(p, counts).sum().item() == pytest.approx(1.0, abs=1e-6)
    expected = (probabilities(p, counts) * counts[:, 0]).sum().item()
    assert p.mean.item() == pytest.approx(expected, rel=1e-6)
    check_draws(p, counts)


@each_count
def test_counts_of_any_size_under_features_of_any_size_are_finite(
    make: Callable[..., tuple[TorchDistribution, Any]],
) -> None:
    likelihood = {
        poisson: Poisson(SCALAR),
        negative_binomial: NegativeBinomial(SCALAR, dispersion="per-pixel"),
        zero_inflated: ZeroInflatedNegativeBinomial(SCALAR, dispersion="per-pixel"),
    }[make]
    corners = torch.tensor(list(product([-1e3, 0.0, 1e3], repeat=likelihood.features)))[:, :, None]
    features = corners.requires_grad_()
    for count in (0.0, 1.0, 1e4, 1e6):
        log_prob = likelihood(features).log_prob(torch.full((len(corners), 1), count))
        (gradient,) = torch.autograd.grad(log_prob.sum(), features)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()
    draws = likelihood(features).sample(Size([100]))
    assert supports.contains(constraints.nonnegative_integer, draws)
    assert likelihood(features).mean.isfinite().all()


@pytest.mark.parametrize(
    ("likelihood", "index", "x"),
    [
        (Poisson(SCALAR), 0, 17.0),
        (NegativeBinomial(SCALAR, dispersion="per-pixel"), 0, 17.0),
        (NegativeBinomial(SCALAR, dispersion="per-pixel"), 1, 17.0),
        (ZeroInflatedNegativeBinomial(SCALAR), 1, 17.0),
        (DiscretizedLogistic(SCALAR), 1, 17 / 255),
        (DiscretizedLogisticMixture(SCALAR, components=2), 4, 17 / 255),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("far", [-300.0, 300.0])
def test_a_bounded_feature_that_ran_far_out_can_come_back(
    likelihood: Any, index: int, x: float, far: float
) -> None:
    features = torch.randn(50, likelihood.features, 1)
    features[:, index] = far
    features.requires_grad_()
    likelihood(features).log_prob(torch.full((50, 1), x)).sum().backward()
    assert features.grad is not None
    assert features.grad[:, index].any()


def test_the_rate_lies_within_the_stated_bounds() -> None:
    rates = Poisson(Size([2]))(torch.tensor([[-1e9, 1e9]])).mean
    torch.testing.assert_close(rates, torch.tensor([np.exp(-15), np.exp(15)]).float())


def test_the_variance_of_the_negative_binomial_is_that_of_its_mean_and_inverse_dispersion() -> None:
    p, _ = negative_binomial(1.3, -0.4)
    mu, r = bound(1.3), bound(-0.4)
    assert p.mean.item() == pytest.approx(mu, rel=1e-6)
    assert p.variance.item() == pytest.approx(mu + mu**2 / r, rel=1e-6)


@pytest.mark.parametrize("member", [NegativeBinomial, ZeroInflatedNegativeBinomial])
def test_a_learned_dispersion_is_one_number_for_each_cell(member: Any) -> None:
    learned, per_pixel = member(Size([2, 3])), member(Size([2, 3]), dispersion="per-pixel")
    assert per_pixel.features == learned.features + 1
    assert not list(per_pixel.parameters())
    (parameter,) = learned.parameters()
    assert parameter.shape == (2, 3)
    torch.nn.init.normal_(parameter)
    features, x = torch.randn(5, learned.features, 2, 3), torch.poisson(torch.full((5, 2, 3), 3.0))
    both = torch.cat([features, parameter.detach().expand(5, 1, 2, 3)], dim=1)
    torch.testing.assert_close(learned(features).log_prob(x), per_pixel(both).log_prob(x))


def test_a_draw_leaves_the_scores_of_the_zero_inflated_ones_as_they_are() -> None:
    features = torch.tensor([[50.0], [1.0], [1.0]], requires_grad=True)
    p = ZeroInflatedNegativeBinomial(SCALAR, dispersion="per-pixel")(features)
    before = torch.autograd.grad(p.log_prob(torch.zeros(1)), features, retain_graph=True)
    p.sample(), p.mean
    after = torch.autograd.grad(p.log_prob(torch.zeros(1)), features)
    assert torch.equal(before[0], after[0])
    assert after[0].isfinite().all()


@pytest.mark.parametrize("member", [Poisson, NegativeBinomial, ZeroInflatedNegativeBinomial, Multinomial])
def test_the_encoder_sees_the_logarithm_of_one_more(member: Any) -> None:
    likelihood = member(Size([3]))
    torch.testing.assert_close(
        likelihood.seen(torch.tensor([0.0, np.e - 1, 1e4])), torch.tensor([0.0, 1.0, 9.21044])
    )
    assert supports.same(likelihood.support, constraints.nonnegative_integer)


# ---------------------------------------------------------------------------------------------------------
# Counts given their total.


def compositions(total: int, cells: int) -> Tensor:
    rows = [row for row in product(range(total + 1), repeat=cells) if sum(row) == total]
    return torch.tensor(rows, dtype=torch.float64)


def shared(total: float, logits: Tensor) -> Shared:
    return Shared(torch.tensor(total).double(), logits.double(), torch.ones(1).double())


def test_the_multinomial_has_the_masses_of_scipy() -> None:
    likelihood, features = Multinomial(Size([2, 3])), torch.randn(20, 1, 2, 3)
    x = torch.poisson(torch.logspace(0, 4, 20)[:, None, None].expand(20, 2, 3))
    pi = features.double().flatten(1).softmax(1).numpy()
    counts = x.flatten(1).numpy().astype(int)
    expected = [float(stats.multinomial.logpmf(k, k.sum(), p)) for k, p in zip(counts, pi, strict=True)]
    scores = likelihood.conditioned(features, x).log_prob(x)
    torch.testing.assert_close(scores.double(), doubles(expected), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(likelihood(features).log_prob(x), scores)


@pytest.mark.parametrize(("total", "cells"), [(0, 3), (1, 5), (4, 3), (7, 2), (5, 1)])
def test_probabilities_of_all_compositions_of_a_total_sum_to_one_and_draws_have_them(
    total: int, cells: int
) -> None:
    p = shared(total, torch.randn(cells))
    values = compositions(total, cells)
    assert probabilities(p, values).sum().item() == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(p.mean, (probabilities(p, values)[:, None] * values).sum(0))
    if len(values) > 1:
        check_draws(p, values)
    else:
        assert (p.sample(Size([10])) == values[0]).all()


def test_each_cell_of_a_large_draw_is_binomial() -> None:
    """Means and variances of 300 cells, of which every 7th has no chance; 5 standard errors."""
    n, total, logits = 4000, 30_000, torch.randn(300).double()
    logits[::7] = -1e3
    draws = shared(total, logits).sample(Size([n]))
    pi = logits.softmax(0)
    assert (draws.sum(-1) == total).all()
    assert (draws[:, ::7] == 0).all()
    mean, variance = total * pi, total * pi * (1 - pi)
    likely = pi > 0
    scores = ((draws - mean) / variance.sqrt())[:, likely]
    fourth = 3 + (1 - 6 * pi * (1 - pi))[likely] / variance[likely]
    assert (scores.mean(0).abs() * n**0.5 < 5).all()
    assert ((scores.square().mean(0) - 1).abs() < 5 * ((fourth - 1) / n).sqrt()).all()


def test_every_row_has_a_total_of_its_own_and_particles_share_it() -> None:
    likelihood = Multinomial(Size([2, 2]))
    x = torch.poisson(torch.tensor([0.0, 3.0, 1e5])[:, None, None].expand(3, 2, 2))
    features = torch.randn(4, 3, 1, 2, 2)
    p = likelihood.conditioned(features, x)
    assert p.batch_shape == (4, 3)
    totals = x.sum((1, 2)).expand(4, 3)
    assert torch.equal(p.sample().sum((-1, -2)), totals)
    torch.testing.assert_close(
        p.mean, totals[..., None, None] * features.flatten(2).softmax(2).reshape(4, 3, 2, 2)
    )
    torch.testing.assert_close(
        p.log_prob(x)[2], likelihood.conditioned(features[2], x).log_prob(x), atol=1e-4, rtol=1e-5
    )


def test_the_kept_totals_are_training_totals_each_as_often_as_in_the_data() -> None:
    likelihood = Multinomial(Size([2]))
    totals = torch.tensor([3.0, 0.0, 12.0, 5.0])
    data = torch.stack([totals, torch.ones(4)], dim=1)
    likelihood.initialize(iter([data[:3], data[3:]]))
    assert likelihood.totals.shape == (STORED_TOTALS,)
    values, times = likelihood.totals.unique(return_counts=True)
    assert values.tolist() == [1.0, 4.0, 6.0, 13.0]
    assert times.tolist() == [STORED_TOTALS // 4] * 4
    other = Multinomial(Size([2]))
    other.load_state_dict(likelihood.state_dict())
    assert torch.equal(other.totals, likelihood.totals)


def test_of_many_totals_those_at_equally_spaced_ranks_are_kept() -> None:
    likelihood = Multinomial(SCALAR)
    likelihood.initialize([torch.randperm(10_000)[:, None].float()])
    assert torch.equal(likelihood.totals, torch.arange(5.0, 10_000, 10))


def test_where_nothing_is_known_the_total_is_that_of_a_training_datum() -> None:
    likelihood = Multinomial(Size([2]))
    likelihood.initialize([torch.tensor([[1.0, 1.0], [4.0, 3.0], [4.0, 3.0], [4.0, 3.0]])])
    features = torch.randn(1000, 1, 2)
    x = torch.full((1000, 2), torch.nan)
    x[0] = 50.0
    for p in (likelihood.conditioned(features, x), likelihood(features)):
        totals = p.sample().sum(1)[1:]
        assert set(totals.tolist()) == {2.0, 7.0}
        assert abs((totals == 7).float().mean() - 0.75) < 5 * (0.75 * 0.25 / 999) ** 0.5
        torch.testing.assert_close(p.mean.sum(1)[1:], torch.full((999,), 5.75))
    assert likelihood.conditioned(features, x).sample()[0].sum() == 100


def test_huge_logits_and_counts_give_finite_multinomial_scores() -> None:
    likelihood = Multinomial(Size([3]))
    features = torch.tensor(list(product([-1e3, 0.0, 1e3], repeat=3)))[:, None].requires_grad_()
    for count in (0.0, 1.0, 1e4):
        x = torch.full((27, 3), count)
        log_prob = likelihood.conditioned(features, x).log_prob(x)
        (gradient,) = torch.autograd.grad(log_prob.sum(), features)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()
        assert torch.equal(likelihood.conditioned(features, x).sample().sum(1), x.sum(1))


# ---------------------------------------------------------------------------------------------------------
# In programs, with particles and with noise of each datum's own.

SETTINGS: list[tuple[dict[str, Any], tuple[int, ...], int | None]] = [
    ({"name": "discretized-logistic"}, (1, 4, 4), 256),
    ({"name": "discretized-logistic", "levels": 4}, (6,), 4),
    ({"name": "discretized-logistic-mixture"}, (3, 4, 4), 256),
    ({"name": "discretized-logistic-mixture", "components": 2}, (6,), 256),
    ({"name": "categorical", "categories": 16}, (1, 4, 4), 16),
    ({"name": "categorical", "categories": 3, "grid": "integers"}, (6,), None),
    ({"name": "poisson"}, (6,), None),
    ({"name": "negative-binomial"}, (6,), None),
    ({"name": "zero-inflated-negative-binomial", "dispersion": "per-pixel"}, (6,), None),
    ({"name": "multinomial"}, (2, 3), None),
]
each_setting = pytest.mark.parametrize(
    ("likelihood", "shape", "levels"), SETTINGS, ids=[f"{s[0]['name']}-{s[1]}" for s in SETTINGS]
)


def program_and_data(
    likelihood: dict[str, Any], shape: tuple[int, ...], levels: int | None, n: int = 11
) -> tuple[SingleLayer, Tensor]:
    network = {"name": "mlp", "hidden": [16]}
    program = build(resolve({"latent_dim": 2, "network": network, "likelihood": likelihood}), Size(shape))
    integers = torch.randint(levels or 3, (n, *shape))
    x = integers / (levels - 1) if levels else integers.float()
    program.initialize(lambda: [x])
    return program, x


@each_setting
def test_draws_of_a_datum_do_not_depend_on_its_batch(
    likelihood: dict[str, Any], shape: tuple[int, ...], levels: int | None, untouched: None
) -> None:
    with torch.random.fork_rng(devices=[]):
        program, x = program_and_data(likelihood, shape, levels)
    many, few = generate.sample(program, 9), generate.sample(program, 4)
    whole, parts = generate.reconstruct(program, [x]), generate.reconstruct(program, x.split(3))
    assert torch.equal(many.x[:4], few.x)
    assert torch.equal(whole.x, parts.x)
    assert not torch.equal(many.x, generate.sample(program, 9, seed=1).x)
    for draws in (many, whole):
        assert draws.x.dtype == draws.mean.dtype == torch.float32
        assert supports.contains(program.likelihood.support, draws.x)
        assert draws.mean.isfinite().all()
    one, other = evaluate(program, [x], particles=3), evaluate(program, x.split(4), particles=3)
    torch.testing.assert_close(one.log_likelihood, other.log_likelihood, atol=1e-4, rtol=0)


def test_reconstructions_of_a_multinomial_have_the_totals_of_the_data_and_samples_training_totals() -> None:
    program, x = program_and_data(*SETTINGS[-1])
    assert torch.equal(generate.reconstruct(program, [x]).x.sum((1, 2)), x.sum((1, 2)))
    drawn = generate.sample(program, 60).x.sum((1, 2))
    assert set(drawn.tolist()) == set(x.sum((1, 2)).tolist())


@each_setting
def test_particles_and_expanded_batches_change_no_score(
    likelihood: dict[str, Any], shape: tuple[int, ...], levels: int | None
) -> None:
    program, x = program_and_data(likelihood, shape, levels)
    member = program.likelihood
    features = torch.randn(3, 11, member.features, *shape, dtype=torch.float64)
    member.double()
    p = member.conditioned(features, x.double())
    scores = p.log_prob(x.double())
    assert (p.batch_shape, p.event_shape, scores.shape) == ((3, 11), shape, (3, 11))
    for particle, score in zip(features, scores, strict=True):
        torch.testing.assert_close(member.conditioned(particle, x.double()).log_prob(x.double()), score)
    expanded = member.conditioned(features[0], x.double()).expand(Size([2, 11]))
    torch.testing.assert_close(expanded.log_prob(x.double()), scores[0].expand(2, 11))
    draws = expanded.sample(Size([5]))
    assert (draws.shape, draws.dtype) == ((5, 2, 11, *shape), torch.float64)
    torch.testing.assert_close(expanded.mean[1], member.conditioned(features[0], x.double()).mean)


@each_setting
def test_values_off_the_support_are_refused(
    likelihood: dict[str, Any], shape: tuple[int, ...], levels: int | None
) -> None:
    program, x = program_and_data(likelihood, shape, levels)
    p = program.likelihood.conditioned(torch.zeros(11, program.likelihood.features, *shape), x)
    assert p.log_prob(x).isfinite().all()
    with pytest.raises(ValueError, match="support"):
        p.log_prob(x + 0.4)


def test_the_mixture_of_the_toolkit_agrees_with_pyros_for_single_cells() -> None:
    likelihood = DiscretizedLogisticMixture(Size([4]), components=3, levels=8)
    features, x = mixture_features(likelihood, 5), grey(8)[torch.randint(8, (5, 4))]
    logits, f, g = (part.movedim(1, -1) for part in features.split(3, dim=1))
    tight = np.log(70)
    parts = Rounded((1 + f) / 2, squashed(g, tight).exp() / 2, 8)
    theirs = dist.MixtureSameFamily(dist.Categorical(logits=logits), parts).to_event(1)
    torch.testing.assert_close(likelihood(features).log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(likelihood(features).mean, theirs.mean)
