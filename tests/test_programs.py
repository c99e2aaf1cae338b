"""Laws of every program: each prior with each posterior on its support, with each likelihood and network."""

from __future__ import annotations

import random
from itertools import pairwise, product
from typing import Any, NamedTuple

import pyro
import pytest
import torch
from members import MEMBERS, Case, cases, each, objective_of, untrained
from sets import data_on
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae import component, pairing
from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.engine import Engine
from pyrovae.errors import ConfigError
from pyrovae.evaluate import evaluate
from pyrovae.generate import encode, reconstruct, sample
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import mix, seeded
from pyrovae.run import Run

PICTURE = Size([1, 8, 8])
SMALL = {"latent_dim": 2, "network": {"name": "mlp", "hidden": [16]}}


class Combination(NamedTuple):
    """What a program is made of; families that are not named are the default ones."""

    parts: tuple[Case, ...]
    objective: Any = "elbo"

    def __str__(self) -> str:
        return "+".join(map(str, self.parts)) + ("" if self.objective == "elbo" else f"+{self.objective}")

    def make(self, seed: int = 0) -> SingleLayer:
        layer = {case.family: {"name": case.name, **case.options} for case in self.parts}
        return build(resolve(SMALL, {"seed": seed}, layer), PICTURE)


def members(family: str) -> list[Case]:
    return [case for case in MEMBERS if case.family == family]


def fit(prior: Case, posterior: Case) -> bool:
    return pairing.misfit(prior.member, posterior.member) is None


def trains(objective: str, prior: Case, posterior: Case) -> bool:
    member = component.find("objective", objective)
    return pairing.objective_misfit(member, posterior.member, prior.member) is None


def with_partner(case: Case) -> Combination:
    """A prior or a posterior, with the first member of the other family that fits it."""
    if case.family == "prior":
        return Combination((case, next(other for other in members("posterior") if fit(case, other))))
    return Combination((next(other for other in members("prior") if fit(other, case)), case))


PAIRS = list(product(members("prior"), members("posterior")))
FITTING = [pair for pair in PAIRS if fit(*pair)]
CROSS_PRODUCT = [Combination((*pair, likelihood)) for pair in FITTING for likelihood in members("likelihood")]
OBJECTIVES = [
    Combination(pair, objective)
    for pair, objective in product(FITTING, component.names("objective"))
    if trains(objective, *pair)
]
OPTIONS = [with_partner(case) for case in cases("prior", "posterior") if case.options]
OPTIONS += [Combination((case,)) for case in cases("likelihood") if case.options]
OPTIONS += [Combination(pair) for pair in product(members("likelihood"), members("network"))]
COMBINATIONS = OBJECTIVES + OPTIONS
A_THIRD_AT_ONCE: list[Any] = [
    combination if i % 3 == 0 else pytest.param(combination, marks=pytest.mark.slow)
    for i, combination in enumerate(COMBINATIONS)
]
"""All combinations, of which a plain ``pytest`` runs every third."""


def data_for(program: SingleLayer, n: int = 12) -> Tensor:
    """Data on the likelihood's support."""
    return data_on(program.likelihood.support, n, *PICTURE)


def prepared(combination: Combination) -> tuple[SingleLayer, Tensor]:
    """The program, started from data, and those data."""
    program = combination.make()
    x = data_for(program)
    program.initialize(lambda: [x])
    return program, x


def losses_of_five_steps(combination: Combination) -> list[float]:
    program, x = prepared(combination)
    engine = Engine(objective_of(program, combination.objective), "adam")
    losses = []
    for _ in range(6):
        with seeded(1):
            losses.append(engine.step(x, lr=1e-3)[0].item())
    return losses


@each(A_THIRD_AT_ONCE, "combination")
def test_gradients_of_the_objective_reach_every_parameter(combination: Combination) -> None:
    program, x = prepared(combination)
    has_particles = "particles" in component.options(component.find("objective", combination.objective))
    objective = objective_of(program, combination.objective, **({"particles": 4} if has_particles else {}))
    loss, reconstruction, kl = objective(x)
    loss.backward()
    assert not untrained(program)
    assert not reconstruction.requires_grad
    assert not kl.requires_grad


@each(A_THIRD_AT_ONCE, "combination")
def test_five_steps_under_fixed_noise_lower_the_loss(combination: Combination) -> None:
    losses = losses_of_five_steps(combination)
    assert losses[-1] < losses[0]
    assert all(after != before for before, after in pairwise(losses))


@pytest.mark.slow
@each(CROSS_PRODUCT, "combination")
def test_every_prior_posterior_and_likelihood_train_together(combination: Combination) -> None:
    losses = losses_of_five_steps(combination)
    assert torch.tensor(losses).isfinite().all()
    assert losses[-1] < losses[0]


def test_a_tenth_of_all_combinations_trains(capsys: pytest.CaptureFixture[str]) -> None:
    """Another tenth in every run; the seed that is printed chooses it again."""
    seed = random.SystemRandom().randrange(2**32)
    with capsys.disabled():
        print(f"\na tenth of {len(CROSS_PRODUCT)} combinations, chosen by the seed {seed}")
    failures = []
    for combination in random.Random(seed).sample(CROSS_PRODUCT, len(CROSS_PRODUCT) // 10):
        torch.manual_seed(mix("a tenth", str(combination)))
        losses = losses_of_five_steps(combination)
        if not losses[-1] < losses[0]:
            failures.append(f"{combination}: {losses}")
    assert not failures


@each([Combination(pair) for pair in FITTING] + OPTIONS, "combination")
def test_the_state_dict_of_a_program_gives_identical_numbers(combination: Combination) -> None:
    program, x = prepared(combination)
    other = combination.make(seed=2)
    program.calibrate([x])
    before = evaluate(program, [x], particles=3).log_likelihood
    assert not torch.equal(before, evaluate(other, [x], particles=3).log_likelihood)
    other.load_state_dict(program.state_dict())
    assert torch.equal(before, evaluate(other, [x], particles=3).log_likelihood)


@each(OPTIONS, "combination")
def test_a_program_is_a_function_of_its_configuration(combination: Combination, untouched: None) -> None:
    one, same, other = (combination.make(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@each([Combination(pair) for pair in FITTING] + OPTIONS, "combination")
def test_draws_are_the_same_in_any_batches(combination: Combination) -> None:
    program, x = prepared(combination)
    several, few = sample(program, 5, seed=1), sample(program, 2, seed=1)
    torch.testing.assert_close(several.mean[:2], few.mean, atol=1e-4, rtol=1e-4)
    whole, parts = (reconstruct(program, batches) for batches in ([x], [x[:5], x[5:]]))
    torch.testing.assert_close(whole.z, parts.z, atol=1e-4, rtol=1e-4)
    means = encode(program, [x], draws=20)
    assert means.shape == (len(x), program.prior.event_shape.numel())
    assert whole.mean.isfinite().all()
    assert sample(program, 3).x.isfinite().all()


def test_the_posterior_at_pseudo_inputs_adds_no_parameters() -> None:
    program = Combination((Case("prior", "vamp", {}),)).make()
    names = [name for name, _ in program.prior.named_parameters()]
    assert names == ["pseudo_inputs"]
    assert len({id(parameter) for parameter in program.parameters()}) == len(list(program.parameters()))


def test_what_does_not_fit_is_refused_with_what_fits() -> None:
    for pair in PAIRS:
        if not fit(*pair):
            with pytest.raises(ConfigError, match=r"posteriors that fit: (?!none)"):
                Combination(pair).make()


def test_a_misfit_is_named_with_both_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for posterior in members("posterior"):
        monkeypatch.setattr(posterior.member, "support", constraints.boolean)
    with pytest.raises(ConfigError, match=r"posterior.name: .*\{0, 1\}.*real vectors.*fit: none"):
        Combination(()).make()


@pytest.mark.parametrize("posterior", ["planar", "delta"])
def test_a_prior_made_of_posteriors_refuses_those_that_score_only_their_own_draws(posterior: str) -> None:
    with pytest.raises(ConfigError, match=f"'vamp' needs .* at any value, and '{posterior}' .* own draws"):
        build(resolve(SMALL, {"prior": "vamp", "posterior": posterior}), PICTURE)


@each(members("posterior"), "posterior")
@pytest.mark.parametrize("objective", component.names("objective"))
def test_an_objective_that_would_be_biased_is_refused(posterior: Case, objective: str) -> None:
    prior = with_partner(posterior).parts[0]
    config = resolve(SMALL, {"objective": objective, "posterior": posterior.name, "prior": prior.name})
    if trains(objective, prior, posterior):
        assert component.name_of(type(Run.start(config).program.posterior)) == posterior.name
    else:
        with pytest.raises(ConfigError, match=r"objective.name: .* what fits: .*elbo"):
            Run.start(config)


def test_draws_without_gradients_are_found_out_whatever_their_posterior_declares() -> None:
    program = build(resolve(SMALL, {"prior": "bernoulli", "posterior": "bernoulli"}), PICTURE)
    program.posterior.reparameterized = True  # type: ignore[misc]
    objective, x = objective_of(program, "mean-field-elbo"), data_for(program)
    with (
        pyro.validation_enabled(False),
        pytest.raises(ConfigError, match="gradients through draws: z_0, z_1"),
    ):
        objective(x)
