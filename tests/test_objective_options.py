"""What options of objectives do: against losses by hand, closed forms, explicit sums and Pyro itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from conftest import Build
from members import objective_of
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, config_enumerate
from test_exact import SIGMA, Exact, affine, solve
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from pyrovae import component
from pyrovae.config import resolve
from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.errors import ConfigError
from pyrovae.objectives import Need
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import seeded
from pyrovae.run import Run
from pyrovae.train import Trainer

# Statistical tests here allow 6 standard errors, from 60 repeats or more, for each of at most 100 numbers: by
# chance a test fails once in 70,000 runs (t with 59 degrees of freedom).
ERRORS = 6

each_objective = pytest.mark.parametrize("name", ["elbo", "mean-field-elbo"])
each_beta = pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])


def gradients(module: nn.Module, loss: Tensor) -> Tensor:
    """The gradient of all parameters in one row, 0 where the loss does not depend on them."""
    parameters = list(module.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if grad is None else grad).flatten()
            for grad, parameter in zip(found, parameters, strict=True)
        ]
    )


def measured(program: Any, name: str, x: Tensor, *, ramp: float = 1.0, seed: int = 1, **options: Any) -> Any:
    with seeded(seed):
        return objective_of(program, name, **options)(x, ramp)


def same(module: nn.Module, ours: Tensor, theirs: Tensor, tolerance: float = 1e-9) -> None:
    """The same loss with the same gradient, which is not 0."""
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance, check_dtype=False)
    ours, theirs = gradients(module, ours), gradients(module, theirs)
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    assert ours.any()


def terms_by_hand(exact: Exact, x: Tensor, name: str, particles: int = 1) -> tuple[Tensor, Tensor]:
    """(log p(x|z), KL of each coordinate): means over the draws that ``measured`` makes, () and (d,)."""
    base = exact.program.encode(x).base_dist
    q, p = Normal(base.loc, base.scale), Normal(0.0, 1.0)
    with seeded(1):
        z = q.rsample((particles,))
    observed = exact.program.decode(z).log_prob(x).mean()
    kl = kl_divergence(q, p) if name == "mean-field-elbo" else (q.log_prob(z) - p.log_prob(z)).mean(0)
    return observed, kl.mean(0)


# ---------------------------------------------------------------------------------------------------------
# The weight of the KL.


@each_objective
def test_a_linear_warm_up_is_counted_in_epochs_or_in_steps(name: str) -> None:
    program = solve(2).program
    epochs = objective_of(program, name, warm_up=4)
    steps = objective_of(program, name, warm_up=10, unit="steps")
    assert [epochs.ramp(e / 2, 999) for e in range(11)] == [
        0,
        1 / 8,
        1 / 4,
        3 / 8,
        1 / 2,
        5 / 8,
        3 / 4,
        7 / 8,
        1,
        1,
        1,
    ]
    assert [steps.ramp(999.5, s) for s in (0, 1, 5, 9, 10, 11, 10**6)] == [0, 0.1, 0.5, 0.9, 1, 1, 1]
    assert objective_of(program, name).ramp(0.0, 0) == 1


@each_objective
def test_a_cyclical_warm_up_begins_again(name: str) -> None:
    program = solve(2).program
    cyclical = objective_of(program, name, warm_up=2, cycle=5, unit="steps")
    assert [cyclical.ramp(0.0, s) for s in range(12)] == [0, 0.5, 1, 1, 1, 0, 0.5, 1, 1, 1, 0, 0.5]
    saw = objective_of(program, name, warm_up=0.5, cycle=0.5)
    assert [saw.ramp(e / 8, 999) for e in range(9)] == [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5, 0.75, 0]
    with pytest.raises(ConfigError, match=r"without objective\.warm_up there is none to repeat"):
        objective_of(program, name, cycle=3)


@each_objective
@each_beta
@pytest.mark.parametrize("ramp", [0.0, 0.3, 1.0])
def test_the_weight_is_beta_times_the_warm_up(name: str, beta: float, ramp: float) -> None:
    exact = solve(3, shift=0.4, stretch=1.4)
    x = exact.x[:9]
    found = measured(exact.program, name, x, ramp=ramp, beta=beta, warm_up=3)
    observed, kl = terms_by_hand(exact, x, name)
    same(exact.program, found.loss, beta * ramp * kl.sum() - observed)
    for ours, theirs in ((found.reconstruction, observed), (found.kl, kl.sum())):
        torch.testing.assert_close(ours, theirs.detach())
        assert not ours.requires_grad


@each_objective
@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize("particles", [1, 3])
def test_the_loss_is_per_datum_whatever_the_batch(name: str, n: int, particles: int) -> None:
    exact = solve(2, shift=0.4, stretch=1.4)
    x = exact.x.repeat(5, 1)[:n]
    found = measured(exact.program, name, x, particles=particles, beta=2.0)
    observed, kl = terms_by_hand(exact, x, name, particles)
    same(exact.program, found.loss, 2 * kl.sum() - observed)


class Watched(Engine):
    """Keeps what every step was given and gave."""

    def step(self, x: Tensor, lr: float, ramp: float = 1.0) -> Tensor:
        terms = super().step(x, lr, ramp)
        self.__dict__.setdefault("steps", []).append((len(x), ramp, *terms.tolist()))
        return terms


def trainer(
    program: SingleLayer, rows: Tensor, name: str, batch_size: int, lr: float, **options: Any
) -> Trainer:
    engine = Watched(objective_of(program, name, **options), "adam")
    settings: dict[str, Any] = {"seed": 0, "epochs": 8, "lr_schedule": "constant", "patience": None}
    return Trainer(engine, Split(rows), Split(rows[:0]), batch_size=batch_size, lr=lr, history=[], **settings)


@each_objective
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"beta": 0.5}, [0.5] * 8),
        ({"beta": 2.0, "warm_up": 4}, [0, 0.5, 1, 1.5, 2, 2, 2, 2]),
        ({"warm_up": 2, "cycle": 3, "unit": "steps"}, [0, 0.5, 1, 0, 0.5, 1, 0, 0.5]),
    ],
)
def test_training_reports_the_weighted_loss_of_terms_without_weight(
    make: Build, name: str, options: dict[str, Any], weights: list[float]
) -> None:
    """One step an epoch: each epoch has a single weight."""
    run = trainer(make(), torch.randn(12, 6), name, batch_size=12, lr=1e-3, **options)
    for metrics, weight in zip(run.run(), weights, strict=True):
        expected = weight * metrics["train_kl"] - metrics["train_reconstruction"]
        assert metrics["train_loss"] == pytest.approx(expected, rel=1e-6)
        assert metrics["train_elbo"] == pytest.approx(metrics["train_reconstruction"] - metrics["train_kl"])


@each_objective
@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_the_warm_up_moves_with_every_step_and_a_short_batch_counts_as_its_own_size(
    make: Build, name: str, unit: str
) -> None:
    warm_up = {"epochs": 2, "steps": 6}[unit]
    run = trainer(make(), torch.randn(11, 6), name, batch_size=4, lr=1e-3, warm_up=warm_up, unit=unit)
    metrics = list(run.run())
    steps = run.engine.steps  # type: ignore[attr-defined]
    assert [size for size, *_ in steps] == [4, 4, 3] * 8
    ramps = [ramp for _, ramp, *_ in steps]
    assert ramps == pytest.approx([min(1.0, done / 6) for done in range(24)])
    for _, ramp, loss, reconstruction, kl in steps:
        assert loss == pytest.approx(ramp * kl - reconstruction, rel=1e-5)
    for epoch in range(8):
        losses = [loss for _, _, loss, *_ in steps[3 * epoch : 3 * epoch + 3]]
        assert metrics[epoch]["train_loss"] == pytest.approx(sum(losses) / 11, rel=1e-9)


def test_an_epoch_at_the_exact_posterior_is_minus_the_evidence() -> None:
    exact = solve(2)
    run = trainer(exact.program.float(), exact.x[:11], "elbo", batch_size=4, lr=0.0)
    assert exact.evidence[:11].std() > 1
    for metrics in run.run():
        assert metrics["train_loss"] == pytest.approx(-exact.evidence[:11].mean().item(), abs=1e-4)


# ---------------------------------------------------------------------------------------------------------
# Free bits and capacity.


@each_objective
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("ramp", [0.5, 1.0])
def test_free_bits_are_per_coordinate_on_the_mean_over_the_batch(
    name: str, particles: int, ramp: float
) -> None:
    exact = solve(3, shift=0.4, stretch=1.4)
    x = exact.x[:40]
    observed, kl = terms_by_hand(exact, x, name, particles)
    low, middle, high = kl.sort().values.tolist()
    free_bits = (low + middle) / 2
    assert 0 < free_bits < middle < high
    found = measured(
        exact.program, name, x, ramp=ramp, particles=particles, beta=2.0, warm_up=1, free_bits=free_bits
    )
    expected = 2 * ramp * torch.where(kl > free_bits, kl, free_bits).sum() - observed
    same(exact.program, found.loss, expected)
    torch.testing.assert_close(found.kl, kl.sum().detach())


@each_objective
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("capacity", [0.0, 0.5, 50.0])
@pytest.mark.parametrize("ramp", [0.0, 0.5, 1.0])
def test_a_capacity_is_what_the_kl_is_drawn_to(
    name: str, particles: int, capacity: float, ramp: float
) -> None:
    exact = solve(3, shift=0.4, stretch=1.4)
    x = exact.x[:40]
    observed, kl = terms_by_hand(exact, x, name, particles)
    assert 1 < kl.sum() < 20
    found = measured(
        exact.program, name, x, ramp=ramp, particles=particles, beta=4.0, warm_up=1, capacity=capacity
    )
    same(exact.program, found.loss, 4 * (kl.sum() - capacity * ramp).abs() - observed)
    torch.testing.assert_close(found.kl, kl.sum().detach())


# ---------------------------------------------------------------------------------------------------------
# Sticking the landing.


def closed_elbo(exact: Exact, x: Tensor) -> Tensor:
    """The mean ELBO of the linear-Gaussian model, as a function of all of its parameters."""
    base, decoder = exact.program.encode(x).base_dist, affine(exact.program.network.decoder)
    error = (x - decoder(base.loc)).square().sum(1)
    spread = (base.scale.square() @ decoder.weight.square().T).sum(1)
    constant = x.shape[1] * torch.tensor(2 * torch.pi * SIGMA**2, dtype=torch.float64).log()
    observed = -0.5 * (constant + (error + spread) / SIGMA**2)
    return (observed - kl_divergence(Normal(base.loc, base.scale), Normal(0.0, 1.0)).sum(1)).mean()


def test_the_closed_form_is_the_one_that_is_known() -> None:
    exact = solve(2, shift=0.3, stretch=1.3)
    torch.testing.assert_close(closed_elbo(exact, exact.x), exact.elbo.mean())


def repeated(program: Any, name: str, x: Tensor, repeats: int, **options: Any) -> Tensor:
    """Gradients of the loss under the noise of different seeds, (repeats, parameters)."""
    objective, rows = objective_of(program, name, **options), []
    for seed in range(repeats):
        with seeded("repeated", seed):
            rows.append(gradients(program, objective(x).loss))
    return torch.stack(rows)


def assert_unbiased(drawn: Tensor, truth: Tensor) -> None:
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - truth).abs() <= ERRORS * error + 1e-9).all()
    assert error.norm() < 0.2 * truth.norm()


@pytest.mark.parametrize("gradient", ["total", "sticking-the-landing"])
def test_the_gradient_has_no_bias(gradient: str) -> None:
    exact = solve(2, shift=0.6, stretch=1.5)
    x = exact.x[:50]
    truth = gradients(exact.program, -closed_elbo(exact, x))
    assert_unbiased(repeated(exact.program, "elbo", x, 100, gradient=gradient, particles=10), truth)


def test_sticking_the_landing_has_no_variance_at_the_posterior() -> None:
    exact = solve(2)
    encoder = [name.startswith("network.encoder") for name, _ in exact.program.named_parameters()]
    sizes = [parameter.numel() for parameter in exact.program.parameters()]
    of_encoder = torch.tensor(encoder).repeat_interleave(torch.tensor(sizes))
    stuck = repeated(exact.program, "elbo", exact.x[:5], 10, gradient="sticking-the-landing")[:, of_encoder]
    total = repeated(exact.program, "elbo", exact.x[:5], 10)[:, of_encoder]
    assert stuck.abs().max() < 1e-9
    assert total.std(0).mean() > 1e-3


@each_beta
def test_sticking_the_landing_weighs_the_kl(beta: float) -> None:
    exact = solve(3, shift=0.4, stretch=1.4)
    x = exact.x[:9]
    found = measured(exact.program, "elbo", x, beta=beta, gradient="sticking-the-landing")
    base = exact.program.encode(x).base_dist
    with seeded(1):
        z = Normal(base.loc, base.scale).rsample()
    kl = Normal(base.loc.detach(), base.scale.detach()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    same(exact.program, found.loss, beta * kl.sum(1).mean() - exact.program.decode(z).log_prob(x).mean())


@pytest.mark.parametrize("posterior", ["full-normal", "low-rank-normal", "laplace", "coupling"])
def test_what_sticking_the_landing_leaves_out_has_the_expectation_0(make: Build, posterior: str) -> None:
    """The difference of both gradients under the same noise, as one number: its size along one direction."""
    program, x = make(posterior=posterior, network="linear").double(), torch.randn(8, 6).double()
    total, stuck = (
        repeated(program, "elbo", x, 100, gradient=gradient) for gradient in ("total", "sticking-the-landing")
    )
    score = total - stuck
    assert score.std(0).max() > 1e-3
    along = score @ torch.randn(score.shape[1], 5).double()
    assert (along.mean(0).abs() < ERRORS * along.std(0) / 10).all()


# ---------------------------------------------------------------------------------------------------------
# What cannot be honoured is refused.


@pytest.mark.parametrize(
    ("objective", "parts", "message"),
    [
        ({"name": "iwae", "beta": 2.0}, {}, r"objective.beta"),
        ({"name": "renyi", "warm_up": 2.0}, {}, r"objective.warm_up"),
        ({"name": "graph-elbo", "free_bits": 0.1}, {}, r"objective.free_bits"),
        ({"name": "enum-elbo", "particles": 2}, {}, r"objective.particles"),
        ({"name": "mean-field-elbo", "gradient": "sticking-the-landing"}, {}, r"objective.gradient"),
        ({"free_bits": 0.1}, {"posterior": "full-normal"}, r"objective.free_bits: 0.1 needs .*independent"),
        ({"free_bits": 0.1}, {"prior": "mixture"}, r"objective.free_bits: 0.1 needs .*independent"),
        (
            {"free_bits": 0.1},
            {"posterior": "categorical", "prior": "categorical"},
            r"objective.free_bits: 0.1 needs gradients",
        ),
        (
            {"capacity": 5.0},
            {"posterior": "bernoulli", "prior": "bernoulli"},
            r"objective.capacity: 5.0 needs gradients",
        ),
        (
            {"gradient": "sticking-the-landing"},
            {"posterior": "planar"},
            r"objective.gradient: 'sticking-the-landing' needs q\(z\|x\) at any value",
        ),
        (
            {"gradient": "sticking-the-landing"},
            {"posterior": "bernoulli", "prior": "bernoulli"},
            r"objective.gradient: 'sticking-the-landing' needs gradients",
        ),
        ({"capacity": 5.0, "free_bits": 0.1}, {}, r"objective.capacity: free bits and a capacity exclude"),
        ({"warm_up": 5.0, "cycle": 4.0}, {}, r"objective.cycle: 4.0 is shorter than objective.warm_up, 5.0"),
        ({"beta": -1.0}, {}, r"objective.beta"),
        ({"unit": "days"}, {}, r"objective.unit"),
        ({"name": "mean-field-elbo"}, {"posterior": "bernoulli", "prior": "bernoulli"}, r"objective.name"),
        ({"name": "enum-elbo"}, {}, r"objective.name: 'enum-elbo' sums over discrete codes"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_honoured_is_refused(
    objective: dict[str, Any], parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Run.start(resolve({"objective": {"name": "elbo"} | objective, **parts}))


# ---------------------------------------------------------------------------------------------------------
# Pyro's own losses on the same noise.

REAL: dict[str, Any] = {}
BITS: dict[str, Any] = {"prior": {"name": "bernoulli", "probability": 0.3}, "posterior": "bernoulli"}
ONE_HOT: dict[str, Any] = {"prior": {"name": "categorical", "categories": 2}, "posterior": "categorical"}


@pytest.mark.parametrize(
    ("name", "reference", "parts"),
    [
        ("elbo", Trace_ELBO, REAL),
        ("elbo", Trace_ELBO, BITS),
        ("elbo", Trace_ELBO, {"posterior": "iaf"}),
        ("mean-field-elbo", TraceMeanField_ELBO, REAL),
        ("mean-field-elbo", TraceMeanField_ELBO, {"posterior": "laplace", "prior": "laplace"}),
        ("mean-field-elbo", TraceMeanField_ELBO, {"prior": "mixture"}),
        ("graph-elbo", TraceGraph_ELBO, REAL),
        ("graph-elbo", TraceGraph_ELBO, BITS),
        ("graph-elbo", TraceGraph_ELBO, ONE_HOT),
        ("enum-elbo", TraceEnum_ELBO, BITS),
        ("enum-elbo", TraceEnum_ELBO, ONE_HOT),
    ],
)
@pytest.mark.parametrize("particles", [1, 4])
def test_losses_and_gradients_are_those_of_pyro(
    make: Build, pyro_store: None, name: str, reference: Any, parts: dict[str, Any], particles: int
) -> None:
    program, x = make(**parts).double(), torch.randn(7, 6).double()
    several = {} if particles == 1 or name == "enum-elbo" else {"particles": particles}
    ours = measured(program, name, x, **several)
    expected = gradients(program, ours.loss)
    guide = program.registered_guide()
    elbo = reference(
        num_particles=several.get("particles", 1), vectorize_particles=bool(several), max_plate_nesting=1
    )
    with seeded(1):
        loss = elbo.loss_and_grads(
            program.model, config_enumerate(guide) if name == "enum-elbo" else guide, x
        )
    assert ours.loss.item() == pytest.approx(float(loss) / 7, rel=1e-9)
    theirs = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in program.parameters()]
    )
    torch.testing.assert_close(expected, theirs / 7, rtol=1e-9, atol=1e-9)
    assert expected.any()
    assert pyro.get_param_store()


@pytest.mark.parametrize("name", component.names("objective"))
def test_terms_are_plain_tensors(make: Build, name: str) -> None:
    """Pyro marks tensors with the draws that they come from, at a cost in whatever is computed of them."""
    discrete_only = Need.SUMMABLE in component.find("objective", name).needs  # type: ignore[attr-defined]
    parts = BITS if discrete_only or name == "graph-elbo" else REAL
    found = measured(make(**parts), name, torch.randn(4, 6))
    assert [type(term) for term in found] == [Tensor] * 3


# ---------------------------------------------------------------------------------------------------------
# Discrete codes: 8 states, summed by hand.


def discrete(make: Build, parts: dict[str, Any]) -> tuple[SingleLayer, Tensor]:
    """A program of 3 variables with 2 values, whose KL matters beside what it decodes; and data."""
    program = make(latent_dim=3, network="linear", **parts).double()
    with torch.no_grad():
        affine(program.network.encoder).weight.mul_(3)
    return program, torch.randn(4, 6).double()


def summed(program: SingleLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """(E_q[log p(x|z)], KL): means over the data, sums over all codes."""
    bits = torch.cartesian_prod(*[torch.arange(2)] * 3)
    one_hot = program.posterior.event_shape == (3, 2)
    codes = (torch.eye(2)[bits] if one_hot else bits).double()
    log_q = program.encode(x).log_prob(codes.unsqueeze(1))  # (8, n)
    log_p = program.prior(program.encode).log_prob(codes).unsqueeze(1)
    observed = program.decode(codes.unsqueeze(1)).log_prob(x)
    q = log_q.exp()
    torch.testing.assert_close(q.sum(0), torch.ones(len(x)).double())
    return (q * observed).sum(0).mean(), (q * (log_q - log_p)).sum(0).mean()


each_code = pytest.mark.parametrize("parts", [BITS, ONE_HOT], ids=["bits", "one-hot"])


@each_code
@each_beta
def test_the_enumerated_elbo_is_the_explicit_sum(make: Build, parts: dict[str, Any], beta: float) -> None:
    program, x = discrete(make, parts)
    observed, kl = summed(program, x)
    found = measured(program, "enum-elbo", x, beta=beta)
    same(program, found.loss, beta * kl - observed)
    torch.testing.assert_close(found.reconstruction, observed.detach())
    torch.testing.assert_close(found.kl, kl.detach())
    assert found.loss == measured(program, "enum-elbo", x, seed=2, beta=beta).loss


@each_code
@pytest.mark.parametrize("name", ["elbo", "graph-elbo"])
@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_score_function_gradients_have_no_bias(
    make: Build, parts: dict[str, Any], name: str, beta: float
) -> None:
    program, x = discrete(make, parts)
    observed, kl = summed(program, x)
    drawn = repeated(program, name, x, 60, beta=beta, particles=100)
    assert_unbiased(drawn, gradients(program, beta * kl - observed))


@each_code
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_the_graph_elbo_has_less_variance(make: Build, parts: dict[str, Any], share: float) -> None:
    """The less of the loss is what all variables do together, in the decoder."""
    program, x = discrete(make, parts)
    with torch.no_grad():
        affine(program.network.decoder).weight.mul_(share)
    coarse, fine = (repeated(program, name, x, 60, beta=5.0).var(0).sum() for name in ("elbo", "graph-elbo"))
    assert fine < (0.9 if share else 0.75) * coarse


def test_codes_that_are_too_many_to_be_summed_are_refused_before_the_run_has_a_folder(tmp_path: Path) -> None:
    codes = dict.fromkeys(("prior", "posterior"), "bernoulli")
    with pytest.raises(ConfigError, match=r"objective.name: 'enum-elbo' decodes .* there are 2\^30 of them"):
        Run.start(resolve(codes, {"objective": "enum-elbo", "latent_dim": 30}), path=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cycle", [0.1, 0.3, 0.7, 1 / 3])
def test_a_cycle_begins_at_0_whatever_its_length_is_rounded_to(make: Build, cycle: float) -> None:
    objective = objective_of(make(), "elbo", warm_up=cycle, cycle=cycle)
    for number in range(50):
        for start in (number * cycle, sum([cycle] * number)):
            assert objective.ramp(start, 0) == pytest.approx(0, abs=1e-9)
            assert objective.ramp(start + cycle / 2, 0) == pytest.approx(0.5, abs=1e-9)


def test_a_bandwidth_over_which_squares_are_no_numbers_is_refused(make: Build) -> None:
    with pytest.raises(ConfigError, match=r"objective.bandwidth: 1e-30 is not allowed; .* >= 1e-06"):
        resolve({"objective": {"name": "info", "bandwidth": 1e-30}})
    for kernel in ("rbf", "imq"):
        objective = objective_of(make(), "info", kernel=kernel, bandwidth=1e-6)
        assert objective(torch.randn(8, 6)).loss.isfinite()
