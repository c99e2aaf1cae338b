"""Samples of the model are the prior pushed through the decoder, by code that shares nothing with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Build
from members import MEMBERS
from torch import Tensor

from pyrovae import generate, pairing
from pyrovae.programs.single_layer import SingleLayer

N = 10_000
CELLS = 6
PRIORS = [case.name for case in MEMBERS if case.family == "prior"]
POSTERIORS = [case for case in MEMBERS if case.family == "posterior"]

Law = Callable[[np.random.Generator, int], Any]
LAWS: dict[str, Law] = {
    "normal": lambda rng, d: rng.standard_normal((N, d)),
    "laplace": lambda rng, d: rng.exponential(size=(N, d)) * rng.choice([-1, 1], (N, d)),
    "sphere": lambda rng, d: (lambda g: g / np.linalg.norm(g, axis=1, keepdims=True))(
        rng.standard_normal((N, d))
    ),
    "bernoulli": lambda rng, d: rng.random((N, d)) < 0.5,
}
"""Priors without parameters, as NumPy draws them."""


def partner(prior: str) -> str:
    """A posterior that fits."""
    (case,) = (case for case in MEMBERS if (case.family, case.name) == ("prior", prior))
    fitting = (each for each in POSTERIORS if pairing.misfit(case.member, each.member) is None)
    return min(fitting, key=lambda each: each.name != "normal").name


def pushed(program: SingleLayer, z: Tensor) -> tuple[Tensor, Tensor]:
    """E[x|z] and a draw x of a Gaussian with a known scale, from the decoder alone."""
    features: Any = program.network.decoder(z.flatten(1)).squeeze(-2)
    return features, features + 0.5 * torch.randn_like(features)


def differ_by_chance(one: Tensor, other: Tensor) -> None:
    """First and second moments agree, within 4.5 standard errors of their difference."""
    first, second = moments(one.double()), moments(other.double())
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    assert ((first.mean(0) - second.mean(0)).abs() <= 4.5 * error).all()


def moments(values: Tensor) -> Tensor:
    """The values, and the products of any two of them."""
    return torch.cat([values, (values.unsqueeze(1) * values.unsqueeze(2)).flatten(1)], dim=1)


@pytest.mark.parametrize("prior", PRIORS)
def test_moments_of_samples_are_those_of_the_prior_pushed_through_the_decoder(
    prior: str, make: Build
) -> None:
    torch.manual_seed(len(prior))
    program = make(
        prior=prior,
        posterior=partner(prior),
        likelihood={"name": "gaussian", "scale": 0.5},
        event_shape=(CELLS,),
        latent_dim=3,
    ).eval()
    with torch.no_grad():
        for parameter in program.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
        drawn = generate.sample(program, N, seed=1)
        if prior in LAWS:
            z = torch.as_tensor(LAWS[prior](np.random.default_rng(2), 3)).float()
        else:
            z = program.prior(program.encode).sample((N,))
        mean, x = pushed(program, z)
    assert mean.std(0).min() > 1e-3  # codes matter
    differ_by_chance(drawn.mean, mean)
    differ_by_chance(drawn.x, x)
    differ_by_chance(drawn.z, z.flatten(1))


def test_another_prior_would_be_noticed(make: Build) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 0.5}, event_shape=(CELLS,), latent_dim=3).eval()
    with torch.no_grad():
        drawn = generate.sample(program, N, seed=1)
        mean, _ = pushed(program, 1.05 * torch.randn(N, 3))
    with pytest.raises(AssertionError):
        differ_by_chance(drawn.mean, mean)
