"""What is assumed of Pyro's private parts, and what is not done to torch's public ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from torch import Size, Tensor, nn
from torch.distributions import kl_divergence, register_kl

from pyrovae import engine
from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.objectives import Objective
from pyrovae.objectives.elbo import Elbo
from pyrovae.objectives.enum_elbo import EnumElbo
from pyrovae.objectives.mean_field_elbo import MeanFieldElbo
from pyrovae.programs import Program
from pyrovae.pyro_compat import no_handlers

X = torch.linspace(-2, 2, 40).reshape(10, 4).sin()


class Heeding(dist.Normal):
    """A normal of the user's own, whose KL and whose score read numbers of tensors."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) * (1.0 + self.scale.mean().item())


@register_kl(Heeding, dist.Normal)
def _kl_heeding(q: Heeding, p: dist.Normal) -> Tensor:
    by_torch: Tensor = kl_divergence(dist.Normal(q.loc, q.scale), dist.Normal(p.loc, p.scale))
    return by_torch * (1.0 + q.scale.mean().item())


class Own(Program):
    def __init__(self, event_shape: Size, latent_dim: int) -> None:
        super().__init__(event_shape)
        self.encoder = nn.Linear(event_shape.numel(), latent_dim)
        self.decoder = nn.Linear(latent_dim, event_shape.numel())

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x), 2]).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean = self.encoder(x)
            pyro.sample("z", Heeding(mean, mean.exp()).to_event(1))


def _gradients(loss: Callable[[Program], Tensor]) -> list[Tensor]:
    torch.manual_seed(0)
    program = Own(Size([4]), 2)
    torch.manual_seed(1)
    return list(torch.autograd.grad(loss(program), list(program.parameters())))


def test_a_divergence_that_reads_a_number_is_the_one_that_is_differentiated() -> None:
    ours = _gradients(lambda program: MeanFieldElbo(program)(X).loss)
    pyros = TraceMeanField_ELBO()
    theirs = _gradients(lambda program: pyros.differentiable_loss(program.model, program.guide, X) / len(X))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("objective", [Elbo, MeanFieldElbo])
def test_what_reads_a_number_is_no_graph_and_says_so(objective: Callable[[Program], Objective]) -> None:
    program = Own(Size([4]), 2)
    started = engine.start("captured", objective(program), "adam", None, example=X, steps=1000)
    assert started.mode == "eager"
    assert "a number is read from a tensor's value" in started.note


def enumerated(**options: Any) -> tuple[EnumElbo, Any, Any]:
    codes = {"prior": "categorical", "posterior": "categorical", "latent_dim": 2, "likelihood": "gaussian"}
    program = build(resolve({**codes, "network": {"name": "mlp", "hidden": [5]}}, options), Size([4]))
    objective = EnumElbo(program)
    ((model, guide),) = objective.elbo.traces(program.model, program.guide, X)
    return objective, model, guide


def test_the_sum_over_codes_is_pyros() -> None:
    objective, model, guide = enumerated()
    parameters = [each for each in objective.parameters() if each.requires_grad]
    ours, theirs = -objective.elbo.surrogate(model, guide), _compute_dice_elbo(model, guide)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        *(torch.autograd.grad(each, parameters, retain_graph=True) for each in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_an_impossible_code_counts_nothing() -> None:
    class Certain(Own):
        def model(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Categorical(torch.tensor([0.5, 0.5])).expand([len(x)]))
                mean = torch.where(z.unsqueeze(-1) == 1, torch.nan, self.decoder(torch.ones(2)))
                pyro.sample("x", dist.Normal(mean.expand(*z.shape, 4), 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Categorical(logits=torch.tensor([0.0, -torch.inf])).expand([len(x)]))

    program = Certain(Size([4]), 2)
    pyros = TraceEnum_ELBO(max_plate_nesting=1)
    with pyro.validation_enabled(False):
        expected = pyros.differentiable_loss(program.model, config_enumerate(program.guide), X) / len(X)
        torch.testing.assert_close(EnumElbo(program)(X).loss, expected.double())


def test_no_handler_no_plate_and_no_enumeration_is_left_inside_and_all_are_back_after_it() -> None:
    with poutine.trace() as outer, pyro.plate("data", 3), poutine.enum(first_available_dim=-2):
        with no_handlers(), pyro.plate("data", 2), poutine.enum(first_available_dim=-5):
            assert pyro.sample("inner", dist.Normal(0.0, 1.0)).shape == (2,)
        assert pyro.sample("outer", dist.Normal(0.0, 1.0)).shape == (3,)
        z = pyro.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        assert z.shape == (2, 1)
    assert outer.trace.stochastic_nodes == ["data", "outer", "z"]
