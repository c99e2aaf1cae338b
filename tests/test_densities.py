"""Laws of priors, posteriors and likelihoods, which are one kind of thing once their features are given."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple
from functools import cache
from typing import Any, NamedTuple, get_args

import pyro
import pytest
import torch
from members import Case, cases, code_shape, each, features_for, shaken
from pyro.distributions import TorchDistribution
from sets import data_on, event_shape, extremes, rule
from torch import Size, Tensor
from torch.distributions import kl_divergence

from pyrovae import component, supports
from pyrovae.randomness import seeded

Z = 5.0
"""Largest deviation of a mean of draws, in standard errors: a false alarm in 2 million comparisons."""

DRAWS = 20_000

PRIORS, POSTERIORS, LIKELIHOODS = cases("prior"), cases("posterior"), cases("likelihood")
CONDITIONAL = POSTERIORS + LIKELIHOODS
DENSITIES = [case for case in PRIORS + CONDITIONAL if getattr(case.member, "is_density", True)]
OWN_DRAWS = [case for case in DENSITIES if getattr(case.member, "only_own_draws", None)]
SCORED = [
    case for case in DENSITIES if case not in OWN_DRAWS and not getattr(case.member, "conditional", False)
]


def encode(x: Tensor) -> TorchDistribution:
    """Some q(z|x) on real vectors, for priors that are made from the guide."""
    moved = x.flatten(1)[:, :2]
    return pyro.distributions.Normal(moved, torch.ones_like(moved)).to_event(1)


def fresh(case: Case) -> Any:
    """The component for two coordinates or few cells, as it starts."""
    if case.family == "prior":
        return case.make(latent_dim=2, datum_shape=Size([2]))
    if case.family == "posterior":
        return case.make(event_shape=code_shape(case.member.support))
    shape = Size([2]) if case.member.conditional else event_shape(case.member.support)
    return case.make(event_shape=shape)


def given_features(module: Any, *batch: int) -> TorchDistribution:
    """The distribution that a component gives for random features; a prior needs none."""
    return module(encode) if module.family == "prior" else module(features_for(module, *batch))


def density(case: Case, *batch: int) -> tuple[Any, TorchDistribution]:
    """The component with random weights in float64, and a distribution of its."""
    module = shaken(fresh(case))
    return module, given_features(module, *batch)


def bounded_moments(values: Tensor) -> Tensor:
    """Bounded functions of single coordinates and of pairs, which have moments under heavy tails too."""
    squashed = values.flatten(1).tanh()
    return torch.cat([squashed, squashed.square(), squashed * squashed.roll(1, -1)], dim=1)


class Expectations(NamedTuple):
    """What quadrature says of a distribution, and what draws say of it."""

    total: Tensor
    """The integral of the density."""
    values: Tensor
    """E[x], flat."""
    moments: Tensor
    """Bounded moments."""
    variances: Tensor
    """Of what the moments are means of."""
    drawn: Tensor
    """The moments, as means over draws."""
    mean: Tensor | None
    """E[x] as the distribution itself has it; ``None`` for all but likelihoods."""


@cache
@torch.no_grad()
def expectations(index: int) -> Expectations:
    """Of a case of ``SCORED``, by its index."""
    with seeded(0):
        module, p = density(SCORED[index])
        drawn = bounded_moments(p.sample(Size([DRAWS]))).mean(0)
    integral: Any = 0.0
    for values, weights in rule(module.support, module.event_shape).chunks():
        moments = bounded_moments(values)
        parts = [torch.ones(len(values), 1).double(), values.flatten(1), moments, moments.square()]
        integral += (p.log_prob(values).exp() * weights) @ torch.cat(parts, dim=1)
    sizes = [1, module.event_shape.numel(), drawn.numel(), drawn.numel()]
    total, mean, moments, squares = integral.split(sizes)
    own = p.mean.flatten() if module.family == "likelihood" else None
    return Expectations(total, mean, moments, squares - moments**2, drawn, own)


def each_scored(*families: str) -> pytest.MarkDecorator:
    chosen = [i for i, case in enumerate(SCORED) if not families or case.family in families]
    return pytest.mark.parametrize("index", chosen, ids=[str(SCORED[i]) for i in chosen])


@each_scored()
def test_log_prob_integrates_to_one(index: int) -> None:
    assert expectations(index).total.item() == pytest.approx(1.0, abs=2e-3)  # the rule's error at a kink


@each_scored()
def test_samples_match_the_density(index: int) -> None:
    _, _, moments, variances, drawn, _ = expectations(index)
    error = Z * (variances.clamp(min=0) / DRAWS).sqrt()
    assert ((drawn - moments).abs() <= error + 2e-3).all()


@each_scored("likelihood")
def test_the_mean_of_a_likelihood_is_the_expected_datum(index: int) -> None:
    found = expectations(index)
    torch.testing.assert_close(found.mean, found.values, atol=1e-3, rtol=1e-3)


@each(OWN_DRAWS)
@torch.no_grad()
def test_weights_of_own_draws_against_a_narrow_density_have_mean_one(case: Case) -> None:
    """E_q[r(z) / q(z)] = 1 for any density r that is nowhere without q: samples follow what is scored."""
    n = 50_000
    p = density(case)[1]
    centre = p.expand(Size([1000])).rsample()
    q = p.expand(Size([n]))
    z = q.rsample()
    r = pyro.distributions.Normal(centre.mean(0), centre.std(0) / 2).to_event(1)
    weights = (r.log_prob(z) - q.log_prob(z)).exp()
    assert (weights.mean() - 1).abs() <= Z * weights.std() / n**0.5


@each(DENSITIES)
@torch.no_grad()
def test_draws_have_the_event_shape_and_lie_in_the_support(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        module = fresh(case).to(dtype)
        p = given_features(module)
        assert (p.batch_shape, p.event_shape) == (Size(), module.event_shape)
        draws = p.expand(Size([3, 100])).sample()
        assert draws.shape == (3, 100, *module.event_shape)
        assert supports.contains(module.support, draws)


@each(DENSITIES)
@torch.no_grad()
def test_draws_and_scores_have_the_dtype_of_the_component(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        module = fresh(case).to(dtype)
        p = module(encode) if module.family == "prior" else module(features_for(module).to(dtype))
        draw = p.rsample() if p.has_rsample else p.sample()
        assert p.log_prob(draw).isfinite()
        assert p.log_prob(draw).dtype == dtype


@each(CONDITIONAL)
@torch.no_grad()
def test_particle_dimensions_change_no_log_prob(case: Case) -> None:
    module = shaken(fresh(case))
    features = features_for(module, 5, 3)
    p = module(features)
    values = p.rsample() if p.has_rsample else p.sample()
    assert (p.batch_shape, values.shape) == ((5, 3), (5, 3, *module.event_shape))
    scores = p.log_prob(values)
    assert scores.shape == (5, 3)
    if case not in OWN_DRAWS:
        folded = module(features.flatten(0, 1)).log_prob(values.flatten(0, 1))
        torch.testing.assert_close(scores.flatten(), folded, atol=1e-9, rtol=1e-9)


@each(CONDITIONAL)
def test_huge_features_give_finite_log_probs_and_gradients(case: Case) -> None:
    module = fresh(case)
    features = (1e3 * features_for(module, 64).float().sign()).requires_grad_()
    near = module(features)
    values = [near.rsample() if near.has_rsample else near.sample()]
    if case in SCORED:
        values.append(module(torch.zeros_like(features)).sample())
    for value in values:
        _check_finite(module, features, near.log_prob(value) + _touch(value))


NUMBERS = [
    (case, option)
    for case in PRIORS + POSTERIORS
    for option, (annotation, _) in component.options(case.member).items()
    if not case.options and get_args(annotation)[:1] == (float,)
]


@pytest.mark.parametrize(("case", "option"), NUMBERS, ids=[f"{case}.{option}" for case, option in NUMBERS])
def test_both_ends_of_an_option_give_finite_draws_scores_and_divergences(case: Case, option: str) -> None:
    field = get_args(component.options(case.member)[option].annotation)[1]
    ends = [float(*astuple(bound)) for bound in field.metadata]
    assert len(ends) == 2
    features = features_for(fresh(case), 64).float().requires_grad_() if case in POSTERIORS else None
    usual = fresh(case)(encode if features is None else features)
    for end in ends:
        p = fresh(case._replace(options={option: end}))(encode if features is None else features)
        value = p.rsample() if p.has_rsample else p.sample()
        score = p.log_prob(value)
        finite = [value, score]
        if features is not None:
            finite += torch.autograd.grad(value.sum() + score.sum(), features)
        with suppress(NotImplementedError):
            finite.append(kl_divergence(usual, p))
        assert all(number.isfinite().all() for number in finite)


@each(LIKELIHOODS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3])
def test_data_at_the_ends_of_the_support_give_finite_log_probs_and_gradients(case: Case, size: float) -> None:
    module = fresh(case)
    for value in extremes(module.support):
        features = (size * features_for(module, 64).float()).requires_grad_()
        x = torch.full((64, *module.event_shape), value)
        _check_finite(module, features, module.conditioned(features, x).log_prob(x))
        assert module.seen(x).isfinite().all()


def _touch(value: Tensor) -> Tensor:
    """Something of the size of the log-prob that has a gradient if the value has."""
    return value.flatten(1).sum(1)


def _check_finite(module: Any, features: Tensor, log_prob: Tensor) -> None:
    gradients = torch.autograd.grad(
        log_prob.sum(), [features, *module.parameters()], retain_graph=True, allow_unused=True
    )
    assert log_prob.isfinite().all()
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@each(PRIORS + CONDITIONAL)
def test_every_parameter_and_feature_moves_the_loss(case: Case) -> None:
    """By the log-prob of fixed values, or where draws have gradients and only they are scored, by both."""
    module = shaken(fresh(case))
    features = [] if case.family == "prior" else [features_for(module, 4).requires_grad_()]
    p = module(encode).expand([4]) if case.family == "prior" else module(*features)
    if case in SCORED or not p.has_rsample:
        loss = p.log_prob(p.sample().detach())
    else:
        value = p.rsample()
        weights = torch.randn_like(value)
        loss = (weights * value).flatten(1).sum(1) + (p.log_prob(value) if case in DENSITIES else 0.0)
    for feature in features:
        (gradient,) = torch.autograd.grad(loss.sum(), feature, retain_graph=True)
        assert (gradient != 0).any(0).all()
    for parameter in module.parameters():
        (gradient,) = torch.autograd.grad(loss.sum(), parameter, retain_graph=True)
        assert gradient.abs().sum() > 0


@each(POSTERIORS)
def test_gradients_pass_through_draws_as_declared(case: Case) -> None:
    assert density(case)[1].has_rsample is case.member.reparameterized


@each(LIKELIHOODS)
def test_the_encoder_sees_data_in_their_own_shape(case: Case) -> None:
    module = fresh(case)
    x = data_on(module.support, 7, *module.event_shape)
    assert module.seen(x).shape == x.shape
    assert module.seen(x).abs().max() < 20
