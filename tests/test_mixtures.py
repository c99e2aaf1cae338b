"""Mixtures of densities, the learned one and the one of the guide's own posteriors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from members import shaken
from scipy.stats import multivariate_normal, norm
from torch import Size, Tensor

from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.distributions.mixture import Mixture, cross_log_prob
from pyrovae.priors.mixture import Mixture as MixturePrior
from pyrovae.priors.vamp import Vamp


def normals(k: int, d: int, smallest: float = 0.1) -> dist.TorchDistribution:
    return dist.Normal(torch.randn(k, d).double(), smallest + torch.rand(k, d).double()).to_event(1)


def test_a_mixture_is_the_weighted_sum_of_its_densities() -> None:
    components, logits, z = normals(3, 2), torch.randn(3).double(), torch.randn(5, 2).double()
    base, weights = components.base_dist, logits.softmax(0)  # type: ignore[attr-defined]
    expected = sum(
        weight * multivariate_normal(loc, torch.diag(scale**2)).pdf(z)
        for weight, loc, scale in zip(weights.tolist(), base.loc.numpy(), base.scale, strict=True)
    )
    torch.testing.assert_close(Mixture(logits, components).log_prob(z).exp().numpy(), expected)


FAMILIES: dict[str, Callable[[], dist.TorchDistribution]] = {
    "normal": lambda: normals(4, 3),
    "laplace": lambda: dist.Laplace(torch.randn(4, 3).double(), 1.0).to_event(1),
    "full covariance": lambda: dist.MultivariateNormal(torch.randn(4, 3).double(), torch.eye(3).double()),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_value_is_scored_under_every_component(family: str) -> None:
    components, z = FAMILIES[family](), torch.randn(2, 5, 3).double()
    expected = torch.stack([components.log_prob(row.expand(4, 3)) for row in z.flatten(0, 1)])
    torch.testing.assert_close(cross_log_prob(components, z), expected.reshape(2, 5, 4))


def test_narrow_normals_far_from_zero_are_scored_to_float_precision() -> None:
    """The squares are 1e10 here and their sum is 1: in float32 nothing would be left of it."""
    components = dist.Normal(torch.tensor([[3.0]]), torch.tensor([[3e-5]])).to_event(1)
    z = torch.tensor([[3.00003]])
    expected = norm(3.0, 3e-5).logpdf(z.double().item())
    assert cross_log_prob(components, z).item() == pytest.approx(expected, abs=1e-2)
    assert cross_log_prob(components, z).dtype == torch.float32


def test_matrix_products_keep_no_difference_for_every_value_component_and_coordinate() -> None:
    """Nothing of size n K d = 10^8 is kept for the gradient."""
    components, z = normals(100, 100), torch.randn(10_000, 100).requires_grad_()
    shapes: list[Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: shapes.append(t.shape) or t, lambda t: t):
        cross_log_prob(components, z).sum().backward()
    assert max(shape.numel() for shape in shapes) <= 10_000 * 100


def test_a_mixture_is_drawn_from_its_components_by_their_weights() -> None:
    components = dist.Normal(torch.tensor([[-9.0], [9.0]]), 1.0).to_event(1)
    mixture = Mixture(torch.tensor([0.0, math.log(3.0)]), components)
    share = (mixture.expand(Size([20_000])).sample() > 0).double().mean().item()
    assert share == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 / 20_000))
    assert mixture.mean.item() == pytest.approx(4.5)


@pytest.mark.parametrize("shape", [(), (7,), (3, 7)])
def test_an_expanded_mixture_draws_and_scores_in_its_shape(shape: tuple[int, ...]) -> None:
    mixture = Mixture(torch.randn(4).double(), normals(4, 3)).expand(Size(shape))
    draws = mixture.sample(Size([2]))
    assert draws.shape == (2, *shape, 3)
    assert mixture.log_prob(draws).shape == (2, *shape)
    assert mixture.mean.shape == (*shape, 3)
    if shape:  # every draw chooses its own component
        assert len(draws[0].flatten(0, -2).unique(dim=0)) == draws[0].flatten(0, -2).shape[0]


def test_learned_scales_of_a_mixture_never_fall_below_their_floor() -> None:
    prior = MixturePrior(2, components=3)
    torch.nn.init.constant_(prior.unbounded_scale, -1e4)
    assert prior(encode=None).components.base_dist.scale.min() >= 1e-3  # type: ignore


def encode(x: Tensor) -> dist.TorchDistribution:
    return dist.Normal(x.flatten(1)[:, :2], 0.5).to_event(1)


def test_the_vamp_density_is_the_mean_of_the_posteriors_at_its_pseudo_inputs() -> None:
    prior = shaken(Vamp(2, Size([1, 4]), components=6))
    z = torch.randn(5, 2).double()
    each = torch.stack([encode(u[None]).log_prob(z) for u in prior.pseudo_inputs])
    torch.testing.assert_close(prior(encode).log_prob(z), each.exp().mean(0).log())


def test_pseudo_inputs_start_as_training_data_without_repeats_while_there_are_enough() -> None:
    rows = torch.randn(20, 3)
    prior = Vamp(2, Size([3]), components=8)
    prior.initialize(rows.split(6))
    matches = (prior.pseudo_inputs[:, None] == rows).all(2)
    assert (matches.sum(1) == 1).all()
    assert matches.sum(0).max() == 1
    more = Vamp(2, Size([3]), components=50)
    more.initialize([rows])
    assert (more.pseudo_inputs[:, None] == rows).all(2).sum(0).min() >= 2


def test_pseudo_inputs_start_around_the_mean_of_the_training_data() -> None:
    rows = 5 + torch.randn(200, 3)
    prior = Vamp(2, Size([3]), components=1000, start="mean", spread=0.25)
    prior.initialize(rows.split(60))
    deviations = prior.pseudo_inputs - rows.mean(0)
    assert deviations.mean().abs() < 5 * 0.25 / math.sqrt(3000)
    assert deviations.std().item() == pytest.approx(0.25, rel=0.1)


def test_pseudo_inputs_are_what_the_encoder_sees() -> None:
    prior = {"name": "vamp", "components": 5}
    program = build(resolve({"prior": prior, "latent_dim": 2, "likelihood": "poisson"}), Size([4]))
    counts = torch.arange(40.0).reshape(10, 4)
    program.initialize(lambda: [counts])
    seen = program.likelihood.seen(counts)
    assert not torch.equal(seen, counts)
    assert ((program.prior.pseudo_inputs[:, None] == seen).all(2).sum(1) == 1).all()  # type: ignore
