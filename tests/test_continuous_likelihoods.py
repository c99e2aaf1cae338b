"""Likelihoods of real, positive and grey values, against SciPy, closed forms and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import TorchDistribution
from scipy import stats
from scipy.integrate import quad
from torch import Size, Tensor

from pyrovae import component, supports
from pyrovae.config import resolve
from pyrovae.distributions.beta import Beta as PreciseBeta
from pyrovae.distributions.continuous_bernoulli import NEAR_ZERO
from pyrovae.distributions.continuous_bernoulli import ContinuousBernoulli as Exponential
from pyrovae.distributions.log_normal import LogNormal as OfLogarithm
from pyrovae.distributions.logistic import Logistic as FiniteLogistic
from pyrovae.errors import ConfigError
from pyrovae.likelihoods.beta import Beta
from pyrovae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyrovae.likelihoods.gaussian import Gaussian
from pyrovae.likelihoods.laplace import Laplace
from pyrovae.likelihoods.log_normal import LogNormal
from pyrovae.likelihoods.logistic import Logistic
from pyrovae.likelihoods.student_t import StudentT
from pyrovae.randomness import DatumNoise

FALSE_ALARM = 5.7e-7
"""Probability that a Kolmogorov-Smirnov test of right draws fails, as that of 5 standard errors."""

CELLS = Size([2, 3])


class Family(NamedTuple):
    """A likelihood with a scale, and what SciPy calls it."""

    likelihood: Any
    in_scipy: Callable[[Any, Any], Any]
    """(location feature, scale) -> SciPy's distribution."""

    def __str__(self) -> str:
        return str(self.likelihood.__name__)


def median(feature: Any) -> Any:
    """The median of a log-normal cell, for its feature."""
    return np.exp(feature / np.sqrt(1 + (feature / 40) ** 2))


FAMILIES = [
    Family(Gaussian, lambda loc, scale: stats.norm(loc, scale)),
    Family(Laplace, lambda loc, scale: stats.laplace(loc, scale)),
    Family(StudentT, lambda loc, scale: stats.t(5, loc, scale)),
    Family(Logistic, lambda loc, scale: stats.logistic(loc, scale)),
    Family(LogNormal, lambda loc, scale: stats.lognorm(scale, scale=median(loc))),
]
OPTIMAL = [family for family in FAMILIES if family.likelihood not in (StudentT, Logistic)]
LOCATED = [family for family in FAMILIES if family.likelihood is not LogNormal]
OTHERS: list[Any] = [Beta(CELLS), ContinuousBernoulli(CELLS)]

each_family = pytest.mark.parametrize("family", FAMILIES, ids=str)
each_located = pytest.mark.parametrize("family", LOCATED, ids=str)
each_optimal = pytest.mark.parametrize("family", OPTIMAL, ids=str)


def every_likelihood() -> list[Any]:
    options: list[dict[str, Any]] = [{"scale": 0.7}, {"scale": "learned"}, {"scale": "per-pixel"}]
    return [family.likelihood(CELLS, **choice) for family in FAMILIES for choice in options] + OTHERS


def doubles(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def data_for(likelihood: Any, *shape: int) -> Tensor:
    """Random data on the support, float64."""
    x = torch.randn(*shape, dtype=torch.float64)
    return x.exp() if isinstance(likelihood, LogNormal) else x


def scales(p: TorchDistribution) -> Tensor:
    cells = p.base_dist
    return (cells.base_dist if isinstance(cells, OfLogarithm) else cells).scale  # type: ignore[no-any-return]


def check_finite(features: Tensor, log_prob: Tensor) -> None:
    (gradient,) = torch.autograd.grad(log_prob.sum(), features)
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()


# Likelihoods with a scale


@each_family
def test_the_density_and_the_mean_are_those_of_scipy(family: Family) -> None:
    likelihood = family.likelihood(CELLS, scale=0.5).double()
    features, x = torch.randn(50, 1, *CELLS).double(), data_for(likelihood, 50, *CELLS)
    p, expected = likelihood(features), family.in_scipy(features[:, 0].numpy(), 0.5)
    np.testing.assert_allclose(p.log_prob(x), expected.logpdf(x.numpy()).sum((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(p.mean, expected.mean(), rtol=1e-12)


@pytest.mark.parametrize("df", [2.1, 3.0, 100.0])
def test_degrees_of_freedom_are_those_of_scipy(df: float) -> None:
    x = torch.linspace(-20, 20, 41).double()
    p = StudentT(Size([1]), df=df, scale=2.0).double()(torch.ones(1, 1).double())
    np.testing.assert_allclose(p.log_prob(x[:, None]), stats.t(df, 1, 2).logpdf(x.numpy()), rtol=1e-6)
    assert p.mean.item() == 1
    assert p.variance.item() == pytest.approx(stats.t(df, 1, 2).var(), rel=1e-6)


@each_family
def test_scales_per_pixel_come_from_the_second_feature(family: Family) -> None:
    likelihood = family.likelihood(CELLS, scale="per-pixel", floor=0.25)
    features, x = torch.randn(50, 2, *CELLS).double(), data_for(likelihood, 50, *CELLS)
    loc, unbounded = features.numpy().swapaxes(0, 1)
    scale = 0.25 + np.logaddexp(0, unbounded)
    if family.likelihood is LogNormal:
        scale -= np.logaddexp(0, unbounded + 0.25 - 5)
    expected = family.in_scipy(loc, scale).logpdf(x.numpy()).sum((1, 2))
    np.testing.assert_allclose(likelihood(features).log_prob(x), expected, rtol=1e-10)


@each_family
def test_a_learned_scale_is_one_number_near_1_that_is_trained(family: Family) -> None:
    likelihood = family.likelihood(CELLS, scale="learned")
    p = likelihood(torch.zeros(4, 1, *CELLS))
    assert scales(p).unique().item() == pytest.approx(1.0, abs=0.03)
    p.log_prob(data_for(likelihood, 4, *CELLS).float()).sum().backward()
    assert likelihood.unbounded_scale.grad.abs() > 0


@each_family
@pytest.mark.parametrize("scale", ["learned", "per-pixel"])
def test_a_learned_scale_never_falls_below_its_floor(family: Family, scale: Any) -> None:
    likelihood = family.likelihood(CELLS, scale=scale, floor=0.25)
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, -1e4)
    p = likelihood(torch.full((3, likelihood.features, *CELLS), -1e4))
    assert (scales(p) == 0.25).all()


@each_family
@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_every_floor_that_can_be_chosen_can_be_trained_from(family: Family, end: str) -> None:
    floor = 1e-9 if end == "smallest" else 1.0 if family.likelihood is LogNormal else 1e9
    name = component.name_of(family.likelihood)
    with pytest.raises(ConfigError, match=r"likelihood\.floor: .* a number >= 1e-09 and <= "):
        resolve({"likelihood": {"name": name, "floor": floor / 10 if end == "smallest" else floor * 10}})
    options = resolve({"likelihood": {"name": name, "floor": floor, "scale": "learned"}}).likelihood.options
    likelihood, x = family.likelihood(CELLS, **options), torch.full((8, *CELLS), 3.0)
    likelihood.initialize([x])
    features = torch.zeros(8, 1, *CELLS, requires_grad=True)
    check_finite(features, likelihood(features).log_prob(x))


def test_a_fixed_scale_knows_no_floor() -> None:
    assert scales(Gaussian(CELLS, scale=0.001, floor=0.5)(torch.zeros(1, 1, *CELLS))).unique() == 0.001


@pytest.mark.parametrize("scale", ["learned", "per-pixel", "optimal", 5.0])
def test_log_normal_means_and_draws_are_finite_for_features_of_any_size(scale: Any) -> None:
    likelihood = LogNormal(CELLS, scale=scale)
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, 1e4)
    if scale == "optimal":
        wrong = likelihood(torch.full((2, 1, *CELLS), 1e4))
        likelihood.calibrate([(wrong, torch.full((2, *CELLS), 1e-30))])
    for size in (-1e4, 1e4):
        features = torch.full((1000, likelihood.features, *CELLS), size)
        features[:, 1:] = 1e4
        p = likelihood(features)
        draws = p.sample()
        assert supports.contains(likelihood.support, draws)
        assert p.mean.isfinite().all()
        assert p.log_prob(draws).isfinite().all()
        assert scales(p).max().item() == pytest.approx(5, rel=1e-3)


def test_the_encoder_of_log_normal_data_sees_their_logarithms() -> None:
    x = torch.tensor([1e-30, 1.0, 1e30])
    torch.testing.assert_close(
        LogNormal(Size([3])).seen(x), 30 * math.log(10) * torch.tensor([-1.0, 0.0, 1.0])
    )


# Where scales start


@each_family
@pytest.mark.parametrize("unit", [1e-2, 1.0, 1e3])
def test_a_learned_scale_starts_where_a_cell_varies_as_all_cells_of_the_data_do(
    family: Family, unit: float
) -> None:
    likelihood = family.likelihood(CELLS, scale="learned", floor=1e-4)
    x = unit * data_for(likelihood, 30, *CELLS).float()
    in_log = family.likelihood is LogNormal
    x = x if in_log else x + 1e3 * unit
    likelihood.initialize(iter(x.split([1, 9, 20])))
    p = likelihood(torch.zeros(1, 1, *CELLS))
    found = scales(p) if in_log else p.variance.sqrt()
    expected = (x.double().log() if in_log else x.double()).numpy().std()
    np.testing.assert_allclose(found.detach().unique(), [expected], rtol=1e-4)


@each_family
def test_a_learned_scale_starts_between_its_bounds_and_can_be_trained_from_there(family: Family) -> None:
    constant, wild = torch.full((8, *CELLS), 3.0), torch.logspace(-36, 36, 48).reshape(8, *CELLS)
    for x in (constant, wild) if family.likelihood is LogNormal else (constant,):
        likelihood = family.likelihood(CELLS, scale="learned", floor=0.25)
        likelihood.initialize([x])
        p = likelihood(torch.zeros(8, 1, *CELLS))
        assert scales(p).unique().item() == pytest.approx(0.25 if x is constant else 5.0, rel=2e-3)
        assert 0.25 <= scales(p).min() <= scales(p).max() <= 5
        p.log_prob(x).sum().backward()
        assert likelihood.unbounded_scale.grad.abs() > 0


@each_family
def test_only_a_learned_scale_starts_from_the_data(family: Family) -> None:
    for choice in (0.5, "per-pixel", *(["optimal"] if family in OPTIMAL else [])):
        likelihood = family.likelihood(CELLS, scale=choice)
        before = {name: value.clone() for name, value in likelihood.state_dict().items()}
        likelihood.initialize([torch.full((4, *CELLS), 7.0)])
        assert likelihood.state_dict() == before


@pytest.mark.parametrize("scale", ["learned", "per-pixel", "optimal", 0.5])
def test_the_names_in_a_saved_gaussian_do_not_change(scale: Any) -> None:
    kept = {"learned": ["unbounded_scale"], "per-pixel": []}.get(scale, ["scale"])
    assert list(Gaussian(CELLS, scale=scale).state_dict()) == kept


# The optimal scale


def calibrated(family: Family, floor: float = 0.01) -> tuple[Any, Tensor, Tensor]:
    """A likelihood after two batches, and features and data of both together."""
    likelihood = family.likelihood(CELLS, scale="optimal", floor=floor).double()
    features = torch.randn(50, 1, *CELLS).double()
    x = data_for(likelihood, 50, *CELLS)
    given = [likelihood(part).expand([len(part)]) for part in features.split([20, 30])]
    likelihood.calibrate(zip(given, x.split([20, 30]), strict=True))
    return likelihood, features, x


@each_optimal
def test_the_optimal_scale_is_1_until_it_is_set_and_then_the_most_likely_one(family: Family) -> None:
    assert family.likelihood(CELLS, scale="optimal").scale == 1
    likelihood, features, x = calibrated(family)
    best = likelihood(features).log_prob(x).sum()
    for factor in (0.99, 1.01):
        other = family.likelihood(CELLS, scale=likelihood.scale.item() * factor)
        assert other(features).log_prob(x).sum() < best


def test_the_optimal_scales_are_the_closed_forms_of_scipy() -> None:
    """SciPy fits the same scale, given the location: to errors, and to logarithms of log-normal data."""
    for family in OPTIMAL:
        likelihood, features, x = calibrated(family)
        loc, given = features.squeeze(1).numpy(), x.numpy()
        errors = np.log(given / median(loc)) if family.likelihood is LogNormal else given - loc
        kind = stats.laplace if family.likelihood is Laplace else stats.norm
        assert likelihood.scale.item() == pytest.approx(kind.fit(errors.ravel(), floc=0)[1], rel=1e-6)


@each_optimal
def test_the_optimal_scale_of_a_perfect_fit_is_its_floor(family: Family) -> None:
    likelihood = family.likelihood(CELLS, scale="optimal", floor=0.125)
    expected = 1.0 if family.likelihood is LogNormal else 0.0
    likelihood.calibrate([(likelihood(torch.zeros(3, 1, *CELLS)), torch.full((3, *CELLS), expected))])
    assert likelihood.scale == 0.125


# Standardised data

MEANS = doubles([[1e4, -1e4, 0.0], [3.0, 5.0, 1e3]])
DEVIATIONS = doubles([[0.5, 1e3, 1e-3], [2.0, 0.0, 300.0]])
"""One cell never varies."""


def table(rows: int = 40) -> Tensor:
    """Cells in different units, as they come: in float32."""
    return (MEANS + DEVIATIONS * torch.randn(rows, *CELLS).double()).float()


def standardized(family: Family, x: Tensor, **options: Any) -> Any:
    likelihood = family.likelihood(CELLS, standardize=True, **options)
    likelihood.initialize(iter(x.split([1, len(x) - 8, 7])))
    return likelihood


def units(x: Tensor) -> tuple[Any, Any]:
    """What NumPy says of each cell: mean and standard deviation, or 1."""
    cells = x.double().numpy()
    deviation = cells.std(0)
    return cells.mean(0), np.where(np.ptp(cells, axis=0) == 0, 1.0, deviation)


@each_located
def test_the_encoder_sees_standard_deviations_from_the_mean(family: Family) -> None:
    x = table()
    likelihood = standardized(family, x)
    mean, deviation = units(x)
    np.testing.assert_allclose(likelihood.cell_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(likelihood.cell_deviation, deviation, rtol=1e-6)
    assert likelihood.cell_deviation[1, 1] == 1
    seen = likelihood.seen(x)
    assert (seen[:, 1, 1] == 0).all()
    varying = seen.double().flatten(1)[:, [0, 1, 2, 3, 5]].numpy()
    np.testing.assert_allclose(varying.mean(0), 0, atol=2e-3)  # the mean of 10,000 +- 0.5 in float32
    np.testing.assert_allclose(varying.std(0), 1, rtol=1e-5)


@each_located
def test_a_cell_that_never_varies_has_a_deviation_of_1_whatever_its_value(family: Family) -> None:
    x = torch.tensor([[0.1, 1e-30, 1e30], [-7.3, 0.0, 1e4 + 0.1]]).repeat(100_003, 1, 1)
    likelihood = standardized(family, x)
    assert (likelihood.cell_deviation == 1).all()
    assert torch.equal(likelihood.cell_mean, x[0])
    assert (likelihood.seen(x) == 0).all()


@each_located
@pytest.mark.parametrize("scale", [0.5, "learned", "per-pixel"])
def test_a_standardised_density_is_that_of_the_data_themselves(family: Family, scale: Any) -> None:
    x = table()
    likelihood = standardized(family, x, scale=scale, floor=0.25).double()
    features = torch.randn(len(x), likelihood.features, *CELLS).double()
    mean, deviation = likelihood.cell_mean.numpy(), likelihood.cell_deviation.numpy()
    if scale == "per-pixel":
        sigma = 0.25 + np.logaddexp(0, features[:, 1].numpy())
    else:
        sigma = likelihood._scale().item()
    expected = family.in_scipy(mean + deviation * features[:, 0].numpy(), deviation * sigma)
    p = likelihood(features)
    np.testing.assert_allclose(
        p.log_prob(x.double()).detach(), expected.logpdf(x.double().numpy()).sum((1, 2)), rtol=1e-6
    )
    np.testing.assert_allclose(p.mean.detach(), expected.mean(), rtol=1e-12)
    np.testing.assert_allclose(p.variance.detach(), np.broadcast_to(expected.var(), x.shape), rtol=1e-6)


@each_located
def test_a_learned_scale_of_standardised_data_starts_where_cells_vary_as_they_do(family: Family) -> None:
    x = table()
    p = standardized(family, x, scale="learned")(torch.zeros(1, 1, *CELLS))
    found = (p.variance.sqrt() / doubles(units(x)[1])).detach()
    np.testing.assert_allclose(found, np.full((1, *CELLS), np.sqrt(5 / 6)), rtol=1e-5)  # one of 6 is constant


@pytest.mark.parametrize("family", [family for family in OPTIMAL if family in LOCATED], ids=str)
def test_the_optimal_scale_of_standardised_data_is_the_most_likely_one(family: Family) -> None:
    x = table()
    likelihood = standardized(family, x, scale="optimal").double()
    features = torch.randn(len(x), 1, *CELLS).double()
    given = [likelihood(part).expand([len(part)]) for part in features.split([15, 25])]
    likelihood.calibrate(zip(given, x.split([15, 25]), strict=True))
    errors = (features[:, 0] - likelihood.seen(x)).abs()
    power = family.likelihood.error_power
    expected = errors.pow(power).mean().item() ** (1 / power)
    assert likelihood.scale.item() == pytest.approx(expected, rel=1e-6)
    best = likelihood(features).log_prob(x.double()).sum()
    for factor in (0.99, 1.01):
        likelihood.scale.fill_(expected * factor)
        assert likelihood(features).log_prob(x.double()).sum() < best


@each_located
@pytest.mark.parametrize("scale", ["learned", "per-pixel", 0.5])
def test_the_unit_of_standardised_data_changes_nothing_but_the_unit_of_their_density(
    family: Family, scale: Any
) -> None:
    """Powers of 2, which lose no digit; their squares are no numbers of float32."""
    x, z = table(), torch.randn(40, 2, *CELLS)
    unit = torch.tensor([[2.0**-90, 2.0**80, 1.0], [2.0**70, 1.0, 2.0**-70]])
    found = []
    for values in (x, unit * x):
        likelihood = standardized(family, values, scale=scale)
        features = z[:, : likelihood.features].clone().requires_grad_()
        p = likelihood(features)
        log_prob = p.log_prob(values)
        (gradient,) = torch.autograd.grad(log_prob.sum(), features)
        torch.manual_seed(0)
        found.append((likelihood.seen(values), gradient, log_prob, p.mean, p.sample()))
    (seen, gradient, log_prob, mean, draw), other = found
    assert torch.equal(seen, other[0])
    assert torch.equal(gradient, other[1])
    torch.testing.assert_close(log_prob - unit.log().sum(), other[2], atol=1e-3, rtol=0)
    assert torch.equal(unit * mean, other[3])
    assert torch.equal(unit * draw, other[4])


def test_no_digit_of_an_error_is_lost_where_the_mean_is_many_deviations_from_0() -> None:
    """Where m is 640,000 s, a location m + s f in float32 is rounded to a sixteenth of s."""
    x = torch.tensor([[1e4 - 2**-6], [1e4 + 2**-6]])
    likelihood = Gaussian(Size([1]), scale=0.125, standardize=True)
    likelihood.initialize([x])
    f = torch.tensor([[-0.9], [0.8]])
    expected = stats.norm(1e4 + 2**-6 * f.double().numpy(), 2**-9).logpdf(x.double().numpy()).sum(1)
    np.testing.assert_allclose(likelihood(f[:, None]).log_prob(x), expected, rtol=1e-6)


@each_located
def test_data_are_taken_as_they_are_unless_told_otherwise(family: Family) -> None:
    x = table()
    plain, kept = family.likelihood(CELLS), standardized(family, x)
    plain.initialize([x])
    assert torch.equal(plain.seen(x), x)
    assert set(kept.state_dict()) - set(plain.state_dict()) == {"cell_mean", "cell_deviation"}
    assert not {"cell_mean", "cell_deviation"} & set(plain.state_dict())


# Draws


def moved(family: Family) -> Any:
    """A standardised likelihood with scale 1/2, of data with mean 3 and standard deviation 4."""
    likelihood = family.likelihood(Size([1]), scale=0.5, standardize=True)
    likelihood.initialize([torch.tensor([[-1.0], [7.0]])])
    return likelihood


@pytest.mark.parametrize(
    ("p", "cdf"),
    [
        (FiniteLogistic(torch.tensor(1.0), torch.tensor(0.5)), stats.logistic(1, 0.5).cdf),
        *[
            (family.likelihood(Size([1]), scale=0.5)(torch.ones(1, 1)), family.in_scipy(1.0, 0.5).cdf)
            for family in FAMILIES
        ],
        *[
            (moved(family)(torch.ones(1, 1)), family.in_scipy(3.0 + 4.0 * 1.0, 4.0 * 0.5).cdf)
            for family in LOCATED
        ],
        (Beta(Size([1]))(torch.tensor([[1.0], [2.0]])), None),
        *[
            (Exponential(torch.tensor(logit)), lambda x, at=logit: np.expm1(at * x) / np.expm1(at))
            for logit in (-50.0, -1.0, -0.2, 0.2, 1.0, 50.0)
        ],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_draws_have_the_quantiles_of_the_distribution(p: TorchDistribution, cdf: Any) -> None:
    if cdf is None:
        cdf = stats.beta(p.base_dist.concentration1.item(), p.base_dist.concentration0.item()).cdf
    draws = p.sample(Size([20_000])).flatten()
    assert draws.dtype == torch.float32
    assert stats.kstest(draws.double().numpy(), cdf).pvalue > FALSE_ALARM


def test_draws_of_the_logistic_are_finite_where_the_uniform_number_is_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zero = torch.zeros(())
    assert dist.Logistic(zero, zero + 1).icdf(zero) == -math.inf  # as one in 2^24 draws of Pyro's class is
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.zeros(shape, **kwargs))
    for dtype in (torch.float32, torch.float64):
        drawn = FiniteLogistic(zero.to(dtype), zero.to(dtype) + 1).rsample()
        smallest = torch.finfo(dtype).eps / 2
        assert drawn.item() == pytest.approx(stats.logistic.ppf(smallest), rel=1e-6)


@pytest.mark.parametrize("likelihood", every_likelihood(), ids=lambda likelihood: type(likelihood).__name__)
def test_a_datum_has_the_same_draw_in_any_batch(likelihood: Any) -> None:
    features = torch.randn(5, likelihood.features, *CELLS)

    def draw(rows: list[int]) -> Tensor:
        with DatumNoise((0,), rows), pyro.plate("data", len(rows)):
            return pyro.sample("x", likelihood(features[rows]))

    torch.testing.assert_close(draw([3, 1]), draw([0, 1, 2, 3, 4])[[3, 1]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("likelihood", every_likelihood(), ids=lambda likelihood: type(likelihood).__name__)
def test_particle_dimensions_change_no_log_prob(likelihood: Any) -> None:
    features = torch.randn(4, 5, likelihood.features, *CELLS)
    p = likelihood(features)
    x = p.sample()
    assert (p.batch_shape, p.event_shape, x.shape) == ((4, 5), CELLS, (4, 5, *CELLS))
    folded = likelihood(features.flatten(0, 1))
    torch.testing.assert_close(p.log_prob(x).flatten(), folded.log_prob(x.flatten(0, 1)))
    torch.testing.assert_close(p.mean.flatten(0, 1), folded.mean)
    particles = folded.expand([3, 20])
    assert particles.sample().shape == (3, 20, *CELLS)
    torch.testing.assert_close(particles.log_prob(x.flatten(0, 1))[1], p.log_prob(x).flatten())


@pytest.mark.parametrize("likelihood", every_likelihood(), ids=lambda likelihood: type(likelihood).__name__)
@pytest.mark.parametrize("size", [-1e3, 0.0, 1e3])
def test_log_probs_and_gradients_are_finite_for_extreme_features_and_data(
    likelihood: Any, size: float
) -> None:
    real, positive, inside, grey = (
        [-1e3, 0.0, 1e3],
        [1e-38, 1.0, 1e38],
        [1e-6, 0.5, 1 - 1e-6],
        [0.0, 0.5, 1.0],
    )
    ends = {LogNormal: positive, Beta: inside, ContinuousBernoulli: grey}.get(type(likelihood), real)
    features = torch.full((len(ends), likelihood.features, *CELLS), size, requires_grad=True)
    x = torch.tensor(ends)[:, None, None].expand(-1, *CELLS)
    check_finite(features, likelihood(features).log_prob(x))
    p = likelihood(features)
    check_finite(features, p.log_prob(p.rsample()))
    assert p.mean.isfinite().all()


# Beta


def test_beta_has_the_density_and_the_mean_of_scipy() -> None:
    likelihood = Beta(CELLS, smallest=0.25, largest=100.0)
    features, x = 3 * torch.randn(50, 2, *CELLS).double(), torch.rand(50, *CELLS).double()
    f, g = features.numpy().swapaxes(0, 1)
    bound = math.log(100)
    nu = np.exp(g / np.sqrt(1 + (g / bound) ** 2))
    m = 1 / (1 + np.exp(-f))
    expected = stats.beta(0.25 + nu * m, 0.25 + nu * (1 - m))
    np.testing.assert_allclose(
        likelihood(features).log_prob(x), expected.logpdf(x.numpy()).sum((1, 2)), rtol=1e-10
    )
    np.testing.assert_allclose(likelihood(features).mean, expected.mean(), rtol=1e-12)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e9])
def test_beta_concentrations_stay_between_their_bounds(size: float) -> None:
    likelihood = Beta(CELLS, smallest=0.25, largest=100.0)
    signs = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    p = likelihood((size * signs)[..., None, None].expand(-1, -1, *CELLS)).base_dist
    for concentration in (p.concentration1, p.concentration0):
        assert concentration.min() >= 0.25
        assert concentration.max() <= 100.26


@pytest.mark.parametrize(("one", "zero"), [(1e4, 1e4), (0.5, 1e4), (2e5, 8e5)])
def test_beta_in_float32_is_right_where_torch_is_off(one: float, zero: float) -> None:
    a, b, x = torch.tensor(one), torch.tensor(zero), torch.tensor(one / (one + zero))
    expected = stats.beta(one, zero).logpdf(x.double().item())
    assert PreciseBeta(a, b).log_prob(x).item() == pytest.approx(expected, abs=1e-5)
    assert abs(dist.Beta(a, b).log_prob(x).item() - expected) > 1e-4


def test_beta_draws_of_small_concentrations_stay_inside_the_open_interval() -> None:
    likelihood = Beta(Size([1000]), smallest=0.01)
    features = torch.full((20, 2, 1000), -1e3)
    features[:10, 0] = 1e3
    draws = likelihood(features).sample()
    assert supports.contains(likelihood.support, draws)
    assert likelihood(features).log_prob(draws).isfinite().all()


# Continuous Bernoulli

LOGITS = [0.0, 1e-9, 1e-3, 0.1, NEAR_ZERO, 0.3, 1.0, 5.0, 20.0, 50.0, 100.0, 1000.0]
both_signs = pytest.mark.parametrize("logit", [sign * logit for logit in LOGITS for sign in (1, -1)])
NEXT_TO_ZERO = 0.02
"""Smaller logits have closed forms that lose too many digits, but short series."""


def reference_mean(logit: float) -> float:
    if abs(logit) < NEXT_TO_ZERO:
        return 0.5 + logit / 12 - logit**3 / 720 + logit**5 / 30240
    return 1 / -math.expm1(-logit) - 1 / logit if logit > 0 else 1 - reference_mean(-logit)


def reference_log_prob(x: float, logit: float) -> float:
    """Minus the logarithm of the integral of exp(l (y - x)) over y."""
    if abs(logit) < NEXT_TO_ZERO:
        return logit * (x - 0.5) - logit**2 / 24 + logit**4 / 2880
    if logit < 0:
        return reference_log_prob(1 - x, -logit)
    return logit * (x - 1) - math.log(-math.expm1(-logit) / logit)


def density(p: TorchDistribution, x: float) -> float:
    return math.exp(p.log_prob(torch.tensor(x, dtype=torch.float64)).item())


def integral(function: Callable[[float], float], logit: float) -> float:
    """Over [0, 1], with points where the density of a large logit has most of its mass."""
    width = 1 / max(1.0, abs(logit))
    points = [k * width for k in (0.5, 1, 2, 5, 10, 20, 50) if k * width < 1]
    points += [1 - point for point in points]
    return float(quad(function, 0, 1, points=points, limit=200, epsabs=1e-13)[0])


@both_signs
def test_the_continuous_bernoulli_integrates_to_one_for_every_logit(logit: float) -> None:
    p = Exponential(doubles(logit))
    assert integral(lambda x: density(p, x), logit) == pytest.approx(1, abs=1e-10)
    mean = integral(lambda x: x * density(p, x), logit)
    assert p.mean.item() == pytest.approx(mean, abs=1e-10)


def test_torchs_continuous_bernoulli_does_not_integrate_to_one() -> None:
    """Its probability is held away from 1 by 1e-7 in the normaliser, and not in the rest."""
    torchs = torch.distributions.ContinuousBernoulli(logits=torch.tensor(20.0))
    total = integral(lambda x: math.exp(torchs.log_prob(torch.tensor(x)).item()), 20)
    assert total == pytest.approx(0.797, abs=1e-3)
    ours = Exponential(torch.tensor(20.0))
    assert integral(lambda x: math.exp(ours.log_prob(torch.tensor(x)).item()), 20) == pytest.approx(
        1, abs=1e-6
    )


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.6, 0.999])
def test_the_continuous_bernoulli_is_that_of_the_paper(probability: float) -> None:
    x = torch.linspace(0, 1, 11).double()
    c = 2 * math.atanh(1 - 2 * probability) / (1 - 2 * probability)
    expected = c * probability ** x.numpy() * (1 - probability) ** (1 - x.numpy())
    logit = math.log(probability / (1 - probability))
    np.testing.assert_allclose(Exponential(doubles(logit)).log_prob(x).exp(), expected, rtol=1e-12)


@both_signs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_continuous_bernoulli_is_as_accurate_as_its_type(logit: float, dtype: torch.dtype) -> None:
    """And so are gradients, whose formulas are other ones: x - mean, and the variance."""
    eps = torch.finfo(dtype).eps
    given = torch.tensor(logit, dtype=dtype, requires_grad=True)
    p = Exponential(given)
    mean = reference_mean(given.item())
    assert p.mean.item() == pytest.approx(mean, abs=4 * eps)
    for x in (0.0, 0.25, 1.0):
        log_prob = p.log_prob(torch.tensor(x, dtype=dtype))
        expected = reference_log_prob(x, given.item())
        # Closed forms of the reference lose digits next to their limit.
        assert log_prob.item() == pytest.approx(expected, rel=4 * eps, abs=max(4 * eps, 1e-13))
        assert torch.autograd.grad(log_prob, given)[0].item() == pytest.approx(
            x - mean, abs=max(8 * eps, 1e-12)
        )
    step = 1e-3
    variance = (reference_mean(given.item() + step) - reference_mean(given.item() - step)) / (2 * step)
    assert torch.autograd.grad(p.mean, given)[0].item() == pytest.approx(variance, abs=1e-5)


@both_signs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_quantiles_of_the_continuous_bernoulli_undo_its_cdf(logit: float, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    for u in (0.0, 1e-6, 0.3, 0.5, 0.999, 1.0):
        given = torch.tensor(logit, dtype=dtype, requires_grad=True)
        x = Exponential(given).icdf(torch.tensor(u, dtype=dtype))
        expected = quantile(torch.tensor(u, dtype=dtype).item(), logit)
        assert x.item() == pytest.approx(expected, abs=1e-3 if u in (0, 1) else 4 * eps + 1e-13)
        if 0 < u < 1:  # as in draws
            step = 1e-4 * max(1.0, abs(logit))
            slope = (
                quantile(torch.tensor(u, dtype=dtype).item(), logit + step)
                - quantile(torch.tensor(u, dtype=dtype).item(), logit - step)
            ) / (2 * step)
            assert torch.autograd.grad(x, given)[0].item() == pytest.approx(slope, abs=1e-5)


def quantile(u: float, logit: float) -> float:
    """The x below which the density has the part u; from the other end where the density is larger there."""
    if abs(logit) < NEXT_TO_ZERO:
        v = u * (1 - u)
        return u + logit * v / 2 + logit**2 * v * (1 - 2 * u) / 6 + logit**3 * v * (1 - 6 * v) / 24
    if logit < 0:
        return float(-np.log1p(u * math.expm1(logit)) / -logit) if u < 1 else 1.0
    return float(1 + np.logaddexp(math.log(u), math.log1p(-u) - logit) / logit) if 0 < u < 1 else u


def test_draws_of_the_continuous_bernoulli_have_gradients_where_the_uniform_number_is_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.zeros(shape, **kwargs))
    logits = torch.tensor([-1e3, -1.0, 0.0, 1.0, 1e3], requires_grad=True)
    check_finite(logits, Exponential(logits).rsample())


@pytest.mark.parametrize("bound", [5.0, 50.0, 1e3])
def test_the_bound_is_the_largest_logit(bound: float) -> None:
    likelihood = ContinuousBernoulli(Size([2]), bound=bound)
    p = likelihood(torch.tensor([[-1e9, 1e9]]))
    best = math.log(bound / -math.expm1(-bound))
    assert p.log_prob(torch.tensor([0.0, 1.0])).item() == pytest.approx(2 * best, rel=1e-6)
    features = torch.tensor([[-0.01, 0.01]])
    torch.testing.assert_close(likelihood(features).base_dist.logits, features[0], rtol=1e-5, atol=0)
