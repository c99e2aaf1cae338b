"""What single likelihoods promise besides the laws of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Size, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pyrovae import supports
from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.gaussian import Gaussian


def test_bernoulli_on_grey_values_is_minus_the_binary_cross_entropy() -> None:
    logits, grey = torch.randn(10, 1, 2, 3), torch.rand(10, 2, 3)
    assert Bernoulli.tolerated is not None
    assert supports.contains(Bernoulli.tolerated, grey)
    expected = -binary_cross_entropy_with_logits(logits[:, 0], grey, reduction="none").sum((1, 2))
    torch.testing.assert_close(Bernoulli(Size([2, 3]))(logits).log_prob(grey), expected)


@pytest.mark.parametrize("scale", ["learned", "per-pixel"])
def test_a_learned_scale_never_falls_below_its_floor(scale: Any) -> None:
    likelihood = Gaussian(Size([2]), scale=scale, floor=0.25)
    for parameter in likelihood.parameters():
        nn.init.constant_(parameter, -1e4)
    p = likelihood(torch.full((3, likelihood.features, 2), -1e4))
    assert (p.variance.sqrt() >= 0.25).all()


def test_the_optimal_scale_is_the_root_of_the_mean_squared_error() -> None:
    likelihood = Gaussian(Size([2, 3]), scale="optimal").double()
    pairs = [(likelihood(torch.randn(n, 1, 2, 3, dtype=torch.float64)), torch.randn(n, 2, 3)) for n in (5, 2)]
    likelihood.calibrate(pairs)
    errors = torch.cat([(p.mean - x).flatten() for p, x in pairs])
    scale = likelihood(torch.zeros(1, 1, 2, 3)).variance.sqrt()
    torch.testing.assert_close(
        scale.double(), errors.square().mean().sqrt().expand(1, 2, 3), rtol=1e-7, atol=0
    )


def test_the_optimal_scale_maximises_the_likelihood_of_the_data_it_was_set_on() -> None:
    likelihood, features, x = Gaussian(Size([4]), scale="optimal"), torch.randn(50, 1, 4), torch.randn(50, 4)
    likelihood.calibrate([(likelihood(features), x)])
    best = likelihood(features)
    for factor in (0.9, 1.1):
        other = Gaussian(Size([4]), scale=best.variance.sqrt()[0, 0].item() * factor)
        assert other(features).log_prob(x).sum() < best.log_prob(x).sum()


def test_the_optimal_scale_of_a_perfect_fit_is_its_floor() -> None:
    likelihood = Gaussian(Size([2]), scale="optimal", floor=0.125)
    likelihood.calibrate([(likelihood(torch.ones(3, 1, 2)), torch.ones(3, 2))])
    assert likelihood(torch.ones(1, 1, 2)).variance.sqrt().unique().item() == 0.125
