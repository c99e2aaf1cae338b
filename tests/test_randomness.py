"""Noise that belongs to one datum: whatever is drawn, in whatever batches, no global generator notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import Build, global_settings
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae import generate
from pyrovae.errors import RunError
from pyrovae.evaluate import Estimates, evaluate
from pyrovae.randomness import DatumNoise, mix, seeded

N = 12
Z = 5.0
"""Largest deviation of a mean of draws, in standard errors: a false alarm in 2 million comparisons."""


def _mixture(r: Tensor, s: Tensor) -> TorchDistribution:
    centres = torch.stack([r, -r, 2 * r], dim=-2)
    components = dist.Normal(centres, s[..., None, :].expand_as(centres)).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(logits=r), components)


def _triangles(r: Tensor) -> Tensor:
    return torch.eye(3) + 0.5 * (r[..., None] * r[..., None, :]).tril(-1)


DISTRIBUTIONS: Mapping[str, Callable[[Tensor, Tensor], TorchDistribution]] = {
    "bernoulli": lambda r, s: dist.Bernoulli(logits=r).to_event(1),
    "beta": lambda r, s: dist.Beta(s, s.flip(-1)).to_event(1),
    "categorical": lambda r, s: dist.Categorical(logits=r),
    "dirichlet": lambda r, s: dist.Dirichlet(s),
    "gamma": lambda r, s: dist.Gamma(s, s.flip(-1)).to_event(1),
    "laplace": lambda r, s: dist.Laplace(r, s).to_event(1),
    "low-rank-normal": lambda r, s: dist.LowRankMultivariateNormal(r, torch.stack([r, s], -1), s),
    "mixture": _mixture,
    "multinomial": lambda r, s: dist.Multinomial(5, logits=r),
    "multivariate-normal": lambda r, s: dist.MultivariateNormal(r, scale_tril=_triangles(r)),
    "negative-binomial": lambda r, s: dist.NegativeBinomial(s, logits=r).to_event(1),
    "normal": lambda r, s: dist.Normal(r, s).to_event(1),
    "normal-matrix": lambda r, s: dist.Normal(r[..., None].expand(*r.shape, 2), s[..., None]).to_event(2),
    "one-hot": lambda r, s: dist.OneHotCategorical(logits=torch.stack([r, s], -2)).to_event(1),
    "poisson": lambda r, s: dist.Poisson(s).to_event(1),
    "relaxed-bernoulli": lambda r, s: dist.RelaxedBernoulli(torch.tensor(0.5), logits=r).to_event(1),
    "scalar-normal": lambda r, s: dist.Normal(r[..., 0], s[..., 0]),
    "student-t": lambda r, s: dist.StudentT(s + 4, r, s).to_event(1),
    "uniform": lambda r, s: dist.Uniform(torch.zeros_like(s), s).to_event(1),
}
"""Distributions from real parameters r and positive ones s, (n, 3)."""


def parameters(n: int = N) -> tuple[Tensor, Tensor]:
    """Parameters of each datum: all of them different."""
    spread = torch.linspace(-1, 1, 3 * n).reshape(n, 3)
    return 1.5 * spread, 1.0 + 1.5 * spread.flip(1).square()


def draw(
    p: TorchDistribution,
    data: range,
    particles: int | None = None,
    *,
    key: tuple[int | str, ...] = (0,),
    site: str = "z",
) -> Tensor:
    """One draw for each datum, from a site in the plate of the data, inside a plate of particles if any."""

    def guide() -> Tensor:
        with pyro.plate("data", len(data), dim=-1):
            return pyro.sample(site, p)  # type: ignore[no-any-return]

    with DatumNoise(key, data):
        if particles is None:
            return guide()
        with pyro.plate("particles", particles, dim=-2):
            return guide()


each_distribution = pytest.mark.parametrize("name", DISTRIBUTIONS)
each_particles = pytest.mark.parametrize("particles", [None, 1, 4])


@each_particles
@each_distribution
@pytest.mark.usefixtures("untouched")
def test_a_datum_draws_the_same_whatever_batch_it_comes_in(name: str, particles: int | None) -> None:
    r, s = parameters()
    whole = draw(DISTRIBUTIONS[name](r, s), range(N), particles)
    axis = 0 if particles is None else 1
    assert whole.shape[axis] == N
    # Batches as long as some other dimension of the draw is, too.
    for start, stop in [(0, 1), (3, 4), (4, 6), (2, 5), (8, N), (0, 5), (5, 11)]:
        part = draw(DISTRIBUTIONS[name](r[start:stop], s[start:stop]), range(start, stop), particles)
        torch.testing.assert_close(
            part, whole.narrow(axis, start, stop - start), atol=1e-6, rtol=1e-6, msg=f"rows {start} to {stop}"
        )


class CoordinatesFirst(dist.TorchDistribution):
    """Eight standard normal coordinates, whose noise has the data last; or in one piece with them."""

    support = constraints.real_vector
    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, batch_shape: Size, noise: str) -> None:
        super().__init__(batch_shape, Size([8]), validate_args=False)
        self.noise = noise

    def expand(self, batch_shape: Any, _instance: Any = None) -> CoordinatesFirst:
        return CoordinatesFirst(Size(batch_shape), self.noise)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = Size([*sample_shape, *self.batch_shape])
        if self.noise == "flat":
            return torch.randn(shape.numel(), 8).reshape(*shape, 8)
        if self.noise == "shared":
            return torch.randn(8).expand(*shape, 8)
        return torch.randn(8, *shape).movedim(0, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return dist.Normal(0.0, 1.0).log_prob(value).sum(-1)


@each_particles
@pytest.mark.parametrize("noise", ["first", "flat"])
def test_noise_laid_out_otherwise_is_read_right_in_batches_of_any_size(
    noise: str, particles: int | None
) -> None:
    whole = draw(CoordinatesFirst(Size([24]), noise), range(24), particles)
    for n in (1, 2, 3, 4, 8):
        part = draw(CoordinatesFirst(Size([n]), noise), range(n), particles)
        assert torch.equal(part, whole[..., :n, :])


@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_rejection_sampler_is_read_right_with_as_many_data_as_it_has_uniforms(n: int) -> None:
    mean = torch.linspace(-1, 1, 8)
    whole = draw(dist.VonMises(mean, 4.0), range(8))
    assert torch.equal(draw(dist.VonMises(mean[:n], 4.0), range(n)), whole[:n])


@pytest.mark.parametrize("n", [2, 4])
def test_noise_that_can_be_read_in_two_ways_is_refused(n: int) -> None:
    refused = r"the site 'z', which draws from CoordinatesFirst, .* it cannot be told which dimension"
    with pytest.raises(RunError, match=refused):
        draw(CoordinatesFirst(Size([n]), "shared"), range(n))


def test_as_many_categories_as_data_are_no_data() -> None:
    logits = torch.linspace(-1, 1, 12 * 2 * 3).reshape(12, 2, 3)
    whole = draw(dist.OneHotCategorical(logits=logits).to_event(1), range(12))
    for n in (1, 2, 3, 6):
        part = draw(dist.OneHotCategorical(logits=logits[:n]).to_event(1), range(n))
        assert torch.equal(part, whole[:n])


def normals(n: int = 4000, *, key: tuple[int | str, ...] = (0,), site: str = "z") -> Tensor:
    return draw(dist.Normal(torch.zeros(n, 2), 1.0).to_event(1), range(n), key=key, site=site)


def correlations(*draws: Tensor) -> Tensor:
    """Correlations of all pairs of samples, in standard errors."""
    matrix = torch.corrcoef(torch.stack(draws))
    return matrix[~torch.eye(len(draws), dtype=torch.bool)] * draws[0].numel() ** 0.5


def test_data_seeds_and_sites_have_noise_of_their_own() -> None:
    here = normals()
    others = [normals(key=(1,)), normals(key=(0, "sample")), normals(site="w")]
    columns = [column for values in (here, *others) for column in values.unbind(1)]
    shifted = [column.roll(1) for column in here.unbind(1)]
    assert correlations(*columns, *shifted).abs().max() < Z
    assert torch.equal(here, normals())


def test_particles_have_noise_of_their_own() -> None:
    p = dist.Normal(torch.zeros(2000, 2), 1.0).to_event(1)
    assert correlations(*draw(p, range(2000), 3).flatten(1)).abs().max() < Z


@each_distribution
def test_datum_noise_has_the_moments_of_the_distribution(name: str) -> None:
    r, s = parameters(3)
    n = 500
    p = DISTRIBUTIONS[name](r.repeat(n, 1), s.repeat(n, 1))
    ours = draw(p, range(3 * n)).double().unflatten(0, (n, 3))
    theirs = DISTRIBUTIONS[name](r, s).sample(torch.Size([20 * n])).double()
    for power in (1, 2):
        one, two = ours.tanh() ** power, theirs.tanh() ** power
        errors = (one.var(0) / n + two.var(0) / (20 * n)).sqrt()
        assert ((one.mean(0) - two.mean(0)).abs() <= Z * errors + 1e-9).all()


def test_sites_outside_the_plate_are_a_function_of_the_seed(untouched: None) -> None:
    def value(seed: int, data: range) -> Tensor:
        with DatumNoise((seed,), data):
            return pyro.sample("w", dist.Normal(0.0, 1.0))  # type: ignore[no-any-return]

    assert torch.equal(value(0, range(3)), value(0, range(5, 9)))
    assert not torch.equal(value(0, range(3)), value(1, range(3)))


def test_observed_and_replayed_sites_keep_their_values() -> None:
    def model() -> Tensor:
        with pyro.plate("data", 3):
            pyro.sample("x", dist.Normal(torch.zeros(3), 1.0), obs=torch.ones(3))
            return pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))  # type: ignore[no-any-return]

    earlier = poutine.trace(model).get_trace()
    with DatumNoise((0,), range(3)):
        assert torch.equal(poutine.replay(model, earlier)(), earlier.nodes["z"]["value"])
        assert poutine.trace(model).get_trace().nodes["x"]["value"].eq(1).all()


def test_seeded_draws_are_a_function_of_the_key(untouched: None) -> None:
    def drawn(*key: int | str) -> Tensor:
        with seeded(*key):
            return torch.rand(3)

    assert torch.equal(drawn(0, "a"), drawn(0, "a"))
    assert not torch.equal(drawn(0, "a"), drawn(0, "b"))
    assert len({mix(*key) for key in [(1,), (1, 2), (12,), ("1",), (2, 1), ()]}) == 6


# ---------------------------------------------------------------------------------------------------------
# What rests on it: evaluation and generation.

NETWORK = {"name": "mlp", "hidden": [16], "normalization": "batch", "dropout": 0.5}


def data(n: int) -> Tensor:
    return torch.linspace(-2, 2, 6 * n).sin().reshape(n, 6)


def estimates(make: Build, size: int, *, n: int = 30, **settings: int) -> Estimates:
    return evaluate(make(network=NETWORK), data(n).split(size), **{"particles": 30, **settings})


def of_each(estimates: Estimates) -> dict[str, Tensor]:
    """What there is of each datum."""
    return {name: value for name, value in asdict(estimates).items() if isinstance(value, Tensor)}


def test_evaluation_repeats_bit_for_bit(make: Build, untouched: None) -> None:
    one, two, other = (of_each(estimates(make, 7, seed=seed)) for seed in (0, 0, 1))
    same, others = ([found[name].nan_to_num() for name in one] for found in (two, other))
    assert all(torch.equal(*pair) for pair in zip(map(torch.nan_to_num, one.values()), same, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(one.values(), others, strict=True))


@pytest.mark.parametrize("size", [1, 7])
def test_batch_sizes_agree_for_every_datum(make: Build, size: int) -> None:
    whole, parts = of_each(estimates(make, 1000)), of_each(estimates(make, size))
    for name, values in whole.items():
        assert values.shape == (30,)
        relative = 1e-4 if name in ("effective_sample_size", "pareto_k") else 0.0  # these are no nats
        torch.testing.assert_close(parts[name], values, atol=1e-4, rtol=relative, equal_nan=True, msg=name)


def test_more_particles_than_fit_at_once_are_all_different_draws(make: Build) -> None:
    few, many = estimates(make, 30, particles=100), estimates(make, 30, particles=200)
    ratio = (many.elbo_error / few.elbo_error).mean()
    assert ratio == pytest.approx(0.5**0.5, rel=0.1)
    assert not torch.equal(few.elbo, many.elbo)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_and_generation_change_nothing(make: Build, training: bool, untouched: None) -> None:
    program = make(network=NETWORK).train(training)
    before = {name: value.clone() for name, value in program.state_dict().items()}
    settings = global_settings()
    evaluate(program, [data(9)], particles=2)
    generate.sample(program, 3)
    generate.reconstruct(program, [data(9)])
    generate.encode(program, [data(9)])
    assert all(torch.equal(before[name], value) for name, value in program.state_dict().items())
    assert all(part.training == training for part in program.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in program.parameters())
    assert global_settings() == settings


def test_more_samples_begin_with_the_same_ones(make: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make(network=NETWORK)
    few, many, again = (generate.sample(program, n) for n in (5, 20, 20))
    for short, long, same in zip(few, many, again, strict=True):
        torch.testing.assert_close(short, long[:5], atol=1e-5, rtol=1e-5)
        assert torch.equal(long, same)
    assert not torch.equal(many.x, generate.sample(program, 20, seed=1).x)
    monkeypatch.setattr(generate, "CELLS_AT_ONCE", 6 * 6)
    torch.testing.assert_close(generate.sample(program, 20).x, many.x, atol=1e-5, rtol=1e-5)


def test_samples_come_from_the_model(make: Build) -> None:
    program = make()
    drawn = generate.sample(program, 1500)
    for column in drawn.z.unbind(1):
        assert abs(column.mean()) < Z / 1500**0.5
        assert column.var().item() == pytest.approx(1.0, abs=Z * (2 / 1500) ** 0.5)
    given_codes = program.decode(drawn.z)
    torch.testing.assert_close(drawn.mean, given_codes.mean, atol=1e-5, rtol=1e-5)
    scores = ((drawn.x - given_codes.mean) / given_codes.variance.sqrt()).flatten()
    assert scores.square().mean().item() == pytest.approx(1.0, abs=Z * (2 / len(scores)) ** 0.5)


def test_reconstructions_do_not_depend_on_batches(make: Build) -> None:
    program, x = make(network=NETWORK), data(10)
    whole, parts = generate.reconstruct(program, [x]), generate.reconstruct(program, x.split(3))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_codes_are_the_posterior_means_in_closed_form(make: Build) -> None:
    program, x = make(), data(10)
    with torch.no_grad():
        torch.testing.assert_close(generate.encode(program, x.split(4)), program.encode(x).mean)


def test_codes_without_a_closed_form_are_averages_of_draws(
    make: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, x = make(), data(10)
    exact, scale = program.encode(x).mean.detach(), program.encode(x).variance.sqrt().detach()

    def unknown(self: dist.Normal) -> Tensor:
        raise NotImplementedError

    monkeypatch.setattr(torch.distributions.Normal, "mean", property(unknown))
    averages = generate.encode(program, [x], draws=100)
    assert ((averages - exact).abs() < Z * scale / 100**0.5).all()
    assert not torch.equal(averages, exact)
