"""Codes that depend on each other: what is right of them, and what is refused because it is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from members import objective_of
from torch import Size, Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from pyrovae import generate, sites
from pyrovae.data import Split
from pyrovae.diagnostics import Findings, Subject
from pyrovae.diagnostics.coordinates import Coordinates
from pyrovae.errors import ConfigError
from pyrovae.evaluate import inspected
from pyrovae.generate import encode
from pyrovae.programs import Program

Z = 4.0
"""Largest deviation in standard errors: a false alarm in 16,000 comparisons; seeds are fixed."""

each_order = pytest.mark.parametrize("upwards", [False, True], ids=["downwards", "upwards"])


class Chain(Program):
    """p(z_1) p(z_2|z_1) p(x|z_2), and a guide that draws z_1 first, or z_2 (upwards)."""

    def __init__(self, *, upwards: bool = False) -> None:
        super().__init__(Size([1]))
        self.upwards = upwards
        self.weights = nn.Parameter(torch.tensor([0.3, 0.9, 0.5, 0.4], dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            first = pyro.sample("z_1", self.p(torch.zeros(len(x), dtype=x.dtype)))
            second = pyro.sample("z_2", self.p(first))
            pyro.sample("x", self.likelihood(first, second), obs=x)

    def guide(self, x: Tensor) -> None:
        names = ("z_2", "z_1") if self.upwards else ("z_1", "z_2")
        with pyro.plate("data", len(x)):
            first = pyro.sample(names[0], self.q(0, x[:, 0]))
            pyro.sample(names[1], self.q(1, first))

    def p(self, parent: Tensor) -> Any:
        return dist.Normal(parent, 1.0)

    def q(self, place: int, parent: Tensor) -> Any:
        return dist.Normal(self.weights[place] * parent, self.weights[2 + place])

    def likelihood(self, first: Tensor, second: Tensor) -> Any:
        return dist.Normal(second.unsqueeze(-1), 1.0).to_event(1)

    def kl(self, x: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) in closed form, (n,)."""
        (a, b, s, t), zero = self.weights, torch.zeros((), dtype=torch.float64)
        mean = torch.stack([a * x[:, 0], a * b * x[:, 0]], -1)
        factor = torch.stack([torch.stack([s, zero]), torch.stack([b * s, t])])
        if self.upwards:
            mean, factor = mean.flip(-1), factor.flip(0)
        q = MultivariateNormal(mean, factor @ factor.T)
        covariance = torch.tensor([[1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
        return kl_divergence(q, MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance))


class Bits(Chain):
    """The same of bits."""

    def p(self, parent: Tensor) -> Any:
        return dist.Bernoulli(logits=self.weights[1] * (2 * parent - 0.7))

    def q(self, place: int, parent: Tensor) -> Any:
        return dist.Bernoulli(logits=self.weights[place] + 2 * self.weights[2 + place] * parent)

    def likelihood(self, first: Tensor, second: Tensor) -> Any:
        return dist.Normal((second + self.weights[3] * first).unsqueeze(-1), 1.0).to_event(1)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(E_q[log p(x|z)], KL), means over the data, summed over all codes."""
        reconstruction = kl = torch.zeros(len(x), dtype=x.dtype)
        for one, two in itertools.product((0.0, 1.0), repeat=2):
            first, second = (torch.full((len(x),), bit, dtype=x.dtype) for bit in (one, two))
            drawn = (second, first) if self.upwards else (first, second)
            log_q = self.q(0, x[:, 0]).log_prob(drawn[0]) + self.q(1, drawn[0]).log_prob(drawn[1])
            log_p = self.p(torch.zeros_like(first)).log_prob(first) + self.p(first).log_prob(second)
            reconstruction = reconstruction + log_q.exp() * self.likelihood(first, second).log_prob(x)
            kl = kl + log_q.exp() * (log_q - log_p)
        return reconstruction.mean(), kl.mean()


@pytest.fixture
def unvalidated() -> Iterator[None]:
    """As in training: Pyro then says nothing of the order of codes."""
    with pyro.validation_enabled(False):
        yield


X = torch.linspace(-1, 2, 6, dtype=torch.float64).unsqueeze(-1)


@each_order
@pytest.mark.parametrize("name", ["elbo", "info"])
def test_the_kl_is_that_of_all_codes_whichever_is_drawn_first(
    name: str, upwards: bool, unvalidated: None
) -> None:
    """Five numbers, the KL and its gradient."""
    program = Chain(upwards=upwards)
    x = X.repeat(200, 1)
    options = {"weight": 1.0} if name == "info" else {}
    objective = objective_of(program, name, **options)
    truth = program.kl(X).mean()
    (slope,) = torch.autograd.grad(truth, program.weights)
    values, slopes = [], []
    for _ in range(40):
        terms = objective(x)
        values.append(terms.kl)
        # log p(x|z) has a gradient in closed form too: x and z_2 are normal.
        slopes.append(torch.autograd.grad(terms.loss, program.weights)[0] - reconstruction_slope(program))
    for drawn, exact in ((torch.stack(values), truth), (torch.stack(slopes), slope)):
        assert ((drawn.mean(0) - exact).abs() < Z * drawn.std(0) / 40**0.5).all()
    assert torch.stack(values).std() < 0.05


def reconstruction_slope(program: Chain) -> Tensor:
    """The gradient of -E_q[log p(x|z)], over X."""
    a, b, s, t = program.weights
    if program.upwards:
        mean, variance = a * X[:, 0], s.square()
    else:
        mean, variance = a * b * X[:, 0], (b * s).square() + t.square()
    loss = (((X[:, 0] - mean).square() + variance) / 2).mean()
    return torch.autograd.grad(loss, program.weights, materialize_grads=True)[0]


@each_order
def test_the_kl_by_coordinate_adds_up_to_that_of_all_codes(upwards: bool) -> None:
    program = Chain(upwards=upwards)
    with inspected(program):
        found: Findings = Coordinates(draws=2000)(Subject(program, Split(X)))
    *_, total = found.quantities
    assert 0 < total.mean.monte_carlo_error < 0.02
    assert abs(total.mean.value - program.kl(X).mean().item()) < Z * total.mean.monte_carlo_error


@each_order
@pytest.mark.parametrize("beta", [1.0, 0.0, 0.5])
def test_the_enumerated_elbo_is_the_explicit_sum_whichever_is_drawn_first(upwards: bool, beta: float) -> None:
    program = Bits(upwards=upwards).double()
    terms = objective_of(program, "enum-elbo", beta=beta)(X)
    reconstruction, kl = program.terms(X)
    torch.testing.assert_close(terms.kl, kl)
    torch.testing.assert_close(terms.reconstruction, reconstruction)
    torch.testing.assert_close(terms.loss, beta * kl - reconstruction)
    slopes = [
        torch.autograd.grad(loss, program.weights)[0] for loss in (terms.loss, beta * kl - reconstruction)
    ]
    torch.testing.assert_close(*slopes)


def test_what_is_biased_for_codes_that_depend_on_each_other_is_refused(unvalidated: None) -> None:
    with pytest.raises(ConfigError, match="codes in the order of the model: it draws z_2 before others"):
        objective_of(Chain(upwards=True), "mean-field-elbo")(X)
    objective_of(Chain(upwards=False), "mean-field-elbo")(X)
    for upwards in (False, True):
        objective = objective_of(Chain(upwards=upwards), "iwae", gradient="doubly-reparameterised")
        with pytest.raises(ConfigError, match="takes codes of one site, not of several"):
            objective(X)
    with pytest.raises(ConfigError, match=r"z_2 of q.* depend on others: 'tc' takes codes that do not"):
        objective_of(Chain(upwards=False), "tc")(X)
    with pytest.raises(ConfigError, match=r"z_1 of q.* depend on others: 'tc' takes codes that do not"):
        objective_of(Chain(upwards=True), "tc")(X)


class Apart(Chain):
    """Its guide draws z_2 from x too, whatever z_1 is."""

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z_1", self.q(0, x[:, 0]))
            pyro.sample("z_2", self.q(1, x[:, 0]))


def test_total_correlation_takes_several_codes_that_are_independent_given_the_data(unvalidated: None) -> None:
    program = Apart(upwards=False)
    loss, reconstruction, kl = objective_of(program, "tc", beta=1.0)(X)
    torch.testing.assert_close(loss, kl - reconstruction)


@each_order
def test_the_mean_of_a_code_is_that_over_those_which_it_depends_on(upwards: bool) -> None:
    program, draws = Chain(upwards=upwards), 4000
    a, b, s, t = program.weights.detach()
    found = encode(program, [X], draws=draws)
    expected, scale = torch.cat([a * X, a * b * X], 1), torch.stack([s, torch.hypot(b * s, t)])
    if upwards:  # codes stand in the order of the model, which draws z_1 first
        expected, scale = expected.flip(1), scale.flip(0)
    assert ((found - expected).abs() < Z * scale / draws**0.5).all()


def test_codes_that_are_independent_given_the_data_have_their_means_in_closed_form() -> None:
    program = Apart(upwards=False)
    a, b = program.weights.detach()[:2]
    torch.testing.assert_close(encode(program, [X], draws=1).detach(), torch.cat([a * X, b * X], 1))


def test_means_of_draws_do_not_depend_on_how_many_data_are_encoded_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = encode(Chain(), [X], draws=50)
    monkeypatch.setattr(generate, "CELLS_AT_ONCE", 3 * 50)
    assert torch.equal(encode(Chain(), [X], draws=50), found)


@pytest.mark.parametrize(
    ("distribution", "independent"),
    [
        (dist.Normal(torch.zeros(4, 3), 1.0).to_event(1), True),
        (dist.OneHotCategorical(torch.ones(4, 2, 3)).to_event(1), True),
        (dist.Dirichlet(torch.ones(4, 2, 3)).to_event(1), False),
        (dist.MultivariateNormal(torch.zeros(4, 2, 3), torch.eye(3)).to_event(1), False),
        (dist.Dirichlet(torch.ones(4, 3)), False),
    ],
)
def test_numbers_of_a_vector_are_no_independent_coordinates(distribution: Any, independent: bool) -> None:
    assert (sites.coordinates(distribution) is not None) == independent
