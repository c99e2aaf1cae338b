"""A linear-Gaussian model, of which everything is known in closed form, through the package's own code."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from members import objective_of
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Size, Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from pyrovae import VAE
from pyrovae.evaluate import evaluate
from pyrovae.likelihoods.gaussian import Gaussian
from pyrovae.networks import Shapes
from pyrovae.networks.linear import Linear
from pyrovae.objectives import Elbo
from pyrovae.posteriors import _scale
from pyrovae.posteriors import normal as posteriors
from pyrovae.priors import normal as priors
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.score import score

CELLS, SIGMA, N = 12, 0.5, 200


class Exact(NamedTuple):
    r"""x = W z + b + noise with orthogonal columns of W, so that p(z|x) has independent coordinates."""

    program: SingleLayer
    x: Tensor
    evidence: Tensor
    """log p(x) of each datum, in nats."""
    posterior: Normal
    """p(z|x), (n, d)."""

    @property
    def guide(self) -> Normal:
        """q(z|x), (n, d)."""
        return self.program.encode(self.x).base_dist  # type: ignore[no-any-return]

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) || p(z)) of each datum."""
        return kl_divergence(self.guide, Normal(0.0, 1.0)).sum(1)

    @property
    def elbo(self) -> Tensor:
        """log p(x) - KL(q(z|x) || p(z|x)) of each datum."""
        return self.evidence - kl_divergence(self.guide, self.posterior).sum(1)


def affine(half: nn.Module) -> nn.Linear:
    (layer,) = [part for part in half.modules() if isinstance(part, nn.Linear)]
    return layer


@torch.no_grad()
def solve(d: int, *, shift: float = 0.0, stretch: float = 1.0) -> Exact:
    """The model with d latent coordinates, and a guide that is p(z|x) with its mean and scales changed.

    Args:
        d: number of latent coordinates.
        shift: how far the guide's mean is off, in standard deviations of p(z|x).
        stretch: how many times as wide as p(z|x) the guide is.
    """
    prior, posterior = priors.Normal(d), posteriors.Normal(Size([d]))
    likelihood = Gaussian(Size([CELLS]), scale=SIGMA)
    network = Linear(Shapes(Size([CELLS]), d, posterior.features, likelihood.features))
    program = SingleLayer(prior, likelihood, posterior, network).double()

    length = torch.linspace(0.3, 1.2, d, dtype=torch.float64)
    w = torch.linalg.qr(torch.randn(CELLS, d, dtype=torch.float64)).Q * length
    b = torch.randn(CELLS, dtype=torch.float64)
    decoder = affine(network.decoder)
    decoder.weight.copy_(w)
    decoder.bias.copy_(b)

    scale = (1 + length.square() / SIGMA**2).rsqrt()
    towards_mean = scale.square()[:, None] * w.T / SIGMA**2
    encoder = affine(network.encoder)
    encoder.weight.copy_(torch.cat([towards_mean, torch.zeros_like(towards_mean)]))
    unbounded = torch.expm1(stretch * scale - _scale.SMALLEST_SCALE).log() - _scale.UNIT_SCALE
    encoder.bias.copy_(torch.cat([shift * scale - towards_mean @ b, unbounded]))

    marginal = MultivariateNormal(b, w @ w.T + SIGMA**2 * torch.eye(CELLS, dtype=torch.float64))
    x = marginal.sample(Size([N]))
    return Exact(program, x, marginal.log_prob(x), Normal((x - b) @ towards_mean.T, scale))


each_dimension = pytest.mark.parametrize("d", [2, 10])
each_objective = pytest.mark.parametrize("name", ["elbo", "mean-field-elbo", "graph-elbo"])


@each_dimension
def test_the_importance_sampled_log_likelihood_meets_the_exact_one(d: int) -> None:
    exact = solve(d, shift=0.1, stretch=1.2)
    estimates = evaluate(exact.program, [exact.x], particles=400)
    # log of a mean of K weights is too low by var / 2K: the squared error halved.
    corrected = estimates.log_likelihood + estimates.log_likelihood_error.square() / 2
    error = estimates.log_likelihood_error.square().sum().sqrt() / N
    assert abs((corrected - exact.evidence).mean()) < 3 * error
    assert error < 0.02


@each_dimension
def test_errors_of_single_data_are_what_they_say(d: int) -> None:
    exact = solve(d, shift=0.1, stretch=1.2)
    estimates = evaluate(exact.program, [exact.x], particles=400)
    for value, error, truth in (
        (estimates.elbo, estimates.elbo_error, exact.elbo),
        (estimates.kl, estimates.kl_error, exact.kl),
        (estimates.log_likelihood, estimates.log_likelihood_error, exact.evidence),
    ):
        scores = (value - truth) / error
        # The mean square of 200 standard scores is 1 +- 0.1; skewed weights make it a little larger.
        assert 0.6 < scores.square().mean() < 1.6


GOOD = ((2, 0.1, 1.2), (10, 0.1, 1.2), (2, 0.3, 1.3), (2, 0.5, 1.5))
POOR = (
    (2, 0.2, 0.9),
    (2, 0.3, 0.8),
    (2, 0.0, 0.7),
    (2, 0.5, 0.5),
    (2, 1.0, 1.0),
    (2, 2.0, 1.0),
    (10, 0.2, 0.8),
)
"""(d, shift, stretch) of guides; those that are narrower than p(z|x) have weights with heavy tails."""


@pytest.mark.parametrize(("particles", "seeds"), [(30, 10), (100, 10), (1000, 5)])
@pytest.mark.parametrize("guide", [*GOOD, *POOR, (10, 0.5, 1.5)])
def test_errors_of_single_data_cover_nine_tenths_or_there_are_none(
    guide: tuple[int, float, float], particles: int, seeds: int
) -> None:
    d, shift, stretch = guide
    exact = solve(d, shift=shift, stretch=stretch)
    found = [score(exact.program, [exact.x], particles=particles, seed=seed) for seed in range(seeds)]
    error = torch.stack([each.error for each in found])
    off = torch.stack([each.surprise for each in found]) + exact.evidence
    known = ~error.isnan()
    covered = (off[known].abs() < 1.96 * error[known]).double().mean().item()
    # Of 1,000 rows the share has a standard error of 0.01.
    assert not known.any() or covered > 0.9
    if particles >= 100 and guide in GOOD:
        assert known.double().mean() > 0.9
    if guide in POOR[3:]:
        assert particles == 1000 or not known.any()


@each_dimension
def test_the_elbo_and_its_terms_meet_the_closed_forms(d: int) -> None:
    exact = solve(d, shift=0.3, stretch=1.3)
    estimates = evaluate(exact.program, [exact.x], particles=200)
    for value, error, truth in (
        (estimates.elbo, estimates.elbo_error, exact.elbo),
        (estimates.kl, estimates.kl_error, exact.kl),
        (estimates.reconstruction, estimates.reconstruction_error, exact.elbo + exact.kl),
    ):
        assert abs((value - truth).mean()) < 3 * error.square().sum().sqrt() / N


@each_dimension
def test_the_elbo_lies_below_the_evidence(d: int) -> None:
    exact = solve(d, shift=0.5, stretch=1.5)
    estimates = evaluate(exact.program, [exact.x], particles=200)
    assert (estimates.elbo + 3 * estimates.elbo_error < exact.evidence).all()


@each_dimension
def test_with_the_exact_posterior_every_single_draw_gives_the_evidence(d: int) -> None:
    exact = solve(d)
    estimates = evaluate(exact.program, [exact.x], particles=20)
    torch.testing.assert_close(estimates.elbo, exact.evidence, atol=1e-9, rtol=0)
    torch.testing.assert_close(estimates.log_likelihood, exact.evidence, atol=1e-9, rtol=0)
    assert estimates.elbo_error.max() < 1e-9


@each_dimension
def test_the_bound_rises_with_the_number_of_particles(d: int) -> None:
    exact = solve(d, shift=0.3, stretch=1.5)
    bounds = [
        evaluate(exact.program, [exact.x], particles=k).log_likelihood.mean().item() for k in (1, 3, 10, 100)
    ]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1] - 0.1
    assert bounds[-1] == pytest.approx(exact.evidence.mean().item(), abs=0.05)


@each_dimension
def test_one_particle_makes_the_log_likelihood_the_elbo(d: int) -> None:
    exact = solve(d, stretch=1.5)
    estimates = evaluate(exact.program, [exact.x], particles=1)
    assert torch.equal(estimates.log_likelihood, estimates.elbo)
    assert estimates.elbo_error.isnan().all()


@torch.no_grad()
def losses(exact: Exact, repeats: int, name: str = "elbo", **options: Any) -> Tensor:
    """(loss, reconstruction, KL) of repeated draws, (repeats, 3)."""
    measured = objective_of(exact.program, name, **options)
    return torch.stack([torch.stack(measured(exact.x)) for _ in range(repeats)])


@each_objective
@each_dimension
def test_the_loss_is_minus_the_elbo_per_datum_in_expectation(d: int, name: Any) -> None:
    exact = solve(d, shift=0.3, stretch=1.3)
    loss, reconstruction, _ = losses(exact, 100, name=name).unbind(1)
    for drawn, truth in ((loss, -exact.elbo.mean()), (reconstruction, (exact.elbo + exact.kl).mean())):
        assert abs(drawn.mean() - truth) < 3 * drawn.std() / 100**0.5


@each_dimension
def test_the_mean_field_elbo_has_the_analytic_kl_in_every_draw(d: int) -> None:
    exact = solve(d, shift=0.3, stretch=1.3)
    drawn = losses(exact, 5, name="mean-field-elbo")
    torch.testing.assert_close(drawn[:, :2].sum(1), exact.kl.mean().expand(5), atol=1e-9, rtol=0)
    assert drawn[:, 0].std() > 1e-6


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("n", [1, 7, 64])
@torch.no_grad()
def test_the_loss_is_per_datum_whatever_the_batch_and_the_particles(n: int, particles: int) -> None:
    exact = solve(2)
    loss = Elbo(exact.program, particles=particles)(exact.x[:n]).loss
    assert loss.item() == pytest.approx(-exact.evidence[:n].mean().item(), abs=1e-9)


@each_objective
def test_particles_change_the_variance_of_the_loss_and_not_its_mean(name: Any) -> None:
    exact = solve(2, shift=0.3, stretch=1.3)
    one, many = (losses(exact, 100, name=name, particles=k)[:, :2] for k in (1, 16))
    errors = ((one.var(0) + many.var(0)) / 100).sqrt()
    assert ((one.mean(0) - many.mean(0)).abs() < 3 * errors).all()
    ratio = one.var(0) / many.var(0)
    assert (ratio > 8).all()
    assert (ratio < 32).all()


def test_a_linear_vae_finds_the_maximum_likelihood_solution_of_probabilistic_pca() -> None:
    x = load_digits().data.astype("float32") / 16
    vae = VAE(
        latent_dim=8,
        likelihood={"name": "gaussian", "scale": "learned", "standardize": False},
        network="linear",
        objective="mean-field-elbo",
        epochs=500,
        batch_size=256,
        lr=1e-2,
        train={"lr_schedule": "cosine"},
        data={"validation": 0.0},
        verbose=False,
    ).fit(x)
    decoder = affine(vae.program_.network.decoder)
    w, b = decoder.weight.detach().double(), decoder.bias.detach().double()
    scale = vae.program_.decode(torch.zeros(1, 8)).base_dist.scale.detach().double()
    assert (scale == scale[0, 0]).all()
    marginal = MultivariateNormal(b, w @ w.T + scale[0, 0] ** 2 * torch.eye(64, dtype=torch.float64))
    log_likelihood = marginal.log_prob(torch.tensor(x).double()).mean().item()
    best = PCA(8).fit(x).score(x)
    assert best - 0.2 < log_likelihood < best + 1e-6
