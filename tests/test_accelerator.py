"""Every component on an accelerator: where its tensors are, what waits for it, and the same numbers."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from accelerator import ACCELERATOR, Lacking, Waited, pretended
from conftest import Build
from members import Case, cases, each, objective_of
from test_programs import FITTING, Combination, members, prepared, trains, with_partner
from torch import Tensor
from torch.testing import assert_close

from pyrovae import component, device, generate
from pyrovae.data import Split
from pyrovae.diagnostics import Subject, diagnose
from pyrovae.engine import Engine
from pyrovae.errors import RunError
from pyrovae.evaluate import evaluate
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import DatumNoise, seeded
from pyrovae.train import Trainer


def moved(program: SingleLayer, x: Tensor) -> tuple[SingleLayer, Tensor]:
    """A copy of a program, and data, on the accelerator."""
    there = copy.deepcopy(program)
    with pretended() as far:
        return there.to(far), x.to(far)


def back(value: Any) -> Any:
    with pretended():
        return value.cpu()


def first_pair(objective: str) -> Combination:
    return next(Combination(pair, objective) for pair in FITTING if trains(objective, *pair))


PLAIN = [with_partner(case) for family in ("prior", "posterior") for case in members(family)]
PLAIN += [Combination((case,)) for family in ("likelihood", "network") for case in members(family)]
OBJECTIVES = [first_pair(name) for name in component.names("objective")]
OPTIONS = [with_partner(case) for case in cases("prior", "posterior") if case.options]
OPTIONS += [Combination((case,)) for case in cases("likelihood", "network") if case.options]

UNSEEN = {
    "graph-elbo": "Pyro puts tensors in a class of its own, where those of the pretended device cannot be"
}
WAITING = {
    "enum-elbo": "Pyro's TraceEnum_ELBO looks whether a probability is 0, to leave it out",
    "spline": "Pyro's splines find out which values lie outside of their interval",
}


IN_DOUBLE = dict.fromkeys(
    ("beta-likelihood", "binomial", "mixture-prior", "multinomial", "poisson", "power-sphere"),
    "where large numbers nearly cancel, single precision leaves too little",
)


def is_in(combination: Combination, reasons: Mapping[str, str]) -> bool:
    return any(name in str(combination) for name in reasons)


def gradients(program: SingleLayer, objective: Any, x: Tensor, **limits: bool) -> dict[str, Tensor]:
    """The loss and the gradients of all parameters, as in a step of training."""
    with pretended(**limits), seeded(1), pyro.validation_enabled(False):
        loss = objective(x).loss
        loss.backward()
    named = program.named_parameters()
    return {"loss": loss.detach(), **{name: each.grad for name, each in named if each.grad is not None}}


def check_a_step(combination: Combination) -> None:
    program, x = prepared(combination)
    there, far = moved(program, x)
    with pretended():
        objective = objective_of(there, combination.objective)
    found = gradients(there, objective, far, waits=is_in(combination, WAITING))
    expected = gradients(program, objective_of(program, combination.objective), x)
    assert found.keys() == expected.keys()
    assert all(value.device == ACCELERATOR for value in found.values())
    for name, value in found.items():
        assert_close(
            back(value), expected[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.smoke
@each(PLAIN + OBJECTIVES, "combination")
def test_a_step_on_an_accelerator_stays_there_waits_for_nothing_and_is_the_same(
    combination: Combination,
) -> None:
    if is_in(combination, UNSEEN):
        pytest.skip(UNSEEN[combination.objective])
    check_a_step(combination)


@pytest.mark.slow
@each(OPTIONS, "combination")
def test_a_step_on_an_accelerator_is_the_same_with_every_option(combination: Combination) -> None:
    check_a_step(combination)


@each(PLAIN, "combination")
def test_only_some_components_need_double_precision(
    combination: Combination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "widest", lambda place: torch.float32)
    there, far = moved(*prepared(combination))
    objective = objective_of(there)
    if is_in(combination, IN_DOUBLE):
        with pytest.raises(Lacking):
            gradients(there, objective, far, has_float64=False)
    else:
        gradients(there, objective, far, has_float64=False)


@each(PLAIN, "combination")
def test_evaluation_and_generation_are_the_same_on_every_device(combination: Combination) -> None:
    program, x = prepared(combination)
    there, far = moved(program, x)
    near = evaluate(program, [x], particles=30)
    with pretended(draws=True):
        estimates = evaluate(there, [far], particles=30)
    for field in fields(near):
        value = getattr(estimates, field.name)
        if not isinstance(value, Tensor):
            continue
        assert value.device.type == "cpu"
        assert_close(value, getattr(near, field.name), rtol=1e-4, atol=1e-4, equal_nan=True)
    for make in (
        lambda program, x: generate.sample(program, 5),
        lambda program, x: generate.reconstruct(program, [x]),
        lambda program, x: [generate.encode(program, [x], draws=4)],
    ):
        with pretended(draws=True):
            found = [value.cpu() for value in make(there, far)]
        for value, expected in zip(found, make(program, x), strict=True):
            assert_close(value, expected, rtol=1e-4, atol=1e-4)


SMALL: dict[str, dict[str, Any]] = {
    "ais": {"points": 2, "steps": 3, "chains": 2, "leapfrog": 1, "simulated": True},
    "calibration": {"simulations": 40, "draws": 9},
    "gaps": {"points": 5, "steps": 4, "particles": 30},
    "predictive-checks": {"replicates": 20},
    "refinement": {"points": 5, "chains": 3, "warmup": 4, "steps": 6, "leapfrog": 2},
}


@pytest.mark.smoke
@pytest.mark.parametrize("posterior", ["normal", "planar"])
@pytest.mark.parametrize("name", component.names("diagnostic"))
def test_a_diagnostic_finds_the_same_on_every_device(name: str, posterior: str) -> None:
    program, x = prepared(Combination((Case("posterior", posterior, {}),)))
    there, far = moved(program, x)
    diagnostic: Any = component.find("diagnostic", name)(**SMALL.get(name, {}))
    near = diagnose(diagnostic, Subject(program, Split(x)))
    with pretended(draws=True):
        found = diagnose(diagnostic, Subject(there, Split(far)))
    assert found.unavailable == near.unavailable
    assert [each.key for each in found.quantities] == [each.key for each in near.quantities]
    for one, other in zip(found.quantities, near.quantities, strict=True):
        assert one.mean.value == pytest.approx(other.mean.value, rel=1e-3, abs=1e-3, nan_ok=True)
    assert {histogram.values.device.type for histogram in found.histograms} <= {"cpu"}


def test_an_accelerator_trains_to_the_same_weights(make: Build) -> None:
    program, x = make(event_shape=(6,)), torch.randn(40, 6)
    there, far = moved(program, x)
    settings: dict[str, Any] = {"seed": 0, "epochs": 2, "batch_size": 16, "lr": 1e-2}
    settings |= {"lr_schedule": "constant", "patience": None}
    histories = []
    for model, rows in ((program, x), (there, far)):
        with pretended():
            engine = Engine(objective_of(model), "adam", clip=10.0)
            trainer = Trainer(engine, Split(rows), Split(rows), **settings, history=[])
            histories.append([metrics["validation_loss"] for metrics in trainer.run()])
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)
    for name, value in there.state_dict().items():
        assert_close(back(value), program.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda like: dist.Normal(like, 1.0),
        lambda like: dist.Gamma(like.exp(), 1.0),
        lambda like: dist.Bernoulli(logits=like),
        lambda like: dist.Poisson(like.exp()),
        lambda like: dist.Uniform(like - 1, like),
        lambda like: dist.OneHotCategorical(logits=like.unsqueeze(-1).expand(*like.shape, 3)),
    ],
)
@pytest.mark.parametrize("of_data", [True, False])
def test_noise_is_the_same_on_every_device(make: Callable[[Tensor], Any], of_data: bool) -> None:
    def program(x: Tensor) -> Tensor:
        if not of_data:
            return pyro.sample("z", make(x).to_event(1))  # type: ignore[no-any-return]
        with pyro.plate("data", len(x)):
            return pyro.sample("z", make(x))  # type: ignore[no-any-return]

    x = torch.randn(5)
    noise = DatumNoise((0,), range(5))
    with noise:
        near = program(x)
    with pretended(draws=True) as place, noise:
        far = program(x.to(place))
        assert far.device == place
        assert torch.equal(far.cpu(), near)


class Shapeless(dist.Normal):
    """Its noise comes in a piece that belongs to no datum."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + torch.randn(7).sum()


def test_noise_that_belongs_to_no_datum_is_refused_with_its_site_and_distribution() -> None:
    def program(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("code", Shapeless(x, 1.0))

    refused = r"the site 'code', which draws from Shapeless, takes noise of the shape \(7,\)"
    with pytest.raises(RunError, match=refused), DatumNoise((0,), range(3)):
        program(torch.zeros(3))


# ---------------------------------------------------------------------------------------------------------
# The pretended accelerator itself.


def test_the_pretended_accelerator_refuses_what_a_real_one_refuses() -> None:
    with pretended() as far:
        x = torch.randn(3, 4, device=far)
        assert x.device == far
        assert (x + torch.tensor(1.0)).device == far
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(4)
        with pytest.raises(RuntimeError):
            x.numpy()


@pytest.mark.parametrize(
    "waiting",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: x.new_tensor(1.0),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: x[torch.tensor([0])],
        lambda x: operator.setitem(x, x > 0, torch.zeros((), device=x.device)),
    ],
)
def test_the_pretended_accelerator_sees_who_waits_for_it(waiting: Callable[[Tensor], Any]) -> None:
    with pretended() as far:
        x = torch.randn(3, 4, device=far)
        waiting(x)
    with pretended(waits=False), pytest.raises(Waited):
        waiting(x)


def test_the_pretended_accelerator_fills_by_a_mask_without_waiting() -> None:
    with pretended() as far:
        x = torch.tensor([1.0, -1.0]).to(far)
    with pretended(waits=False):
        x[x > 0] = 2
        x[x < 0] = float("inf")
    assert back(x).tolist() == [2, float("inf")]


def test_the_pretended_accelerator_may_lack_double_precision() -> None:
    with pretended(has_float64=False) as far:
        x = torch.randn(3, 4, device=far)
        assert torch.zeros(3, dtype=torch.float64).sum() == 0
        with pytest.raises(Lacking):
            x.double()


def test_the_pretended_accelerator_may_draw_other_numbers(untouched: None) -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(0))
    with pretended(draws=True) as far, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        x = torch.rand(3, device=far)
        assert not torch.equal(x.cpu(), expected)
        assert not torch.equal(torch.rand_like(x).cpu(), x.cpu())
        assert torch.equal(torch.rand(3), expected)
