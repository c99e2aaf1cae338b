"""Objectives with the aggregate posterior: against closed forms, exact aggregates and loops by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import Build
from members import objective_of, untrained
from test_exact import Exact, solve
from torch import Size, Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.func import functional_call, grad_and_value
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.assembly import build_objective
from pyrovae.config import resolve
from pyrovae.engine import Engine
from pyrovae.errors import ConfigError
from pyrovae.objectives import Terms
from pyrovae.objectives.tc import log_aggregate
from pyrovae.priors.mixture import Mixture
from pyrovae.programs import Program
from pyrovae.randomness import seeded
from pyrovae.run import Run

each_objective = pytest.mark.parametrize("name", ["info", "tc"])

# Statistical tests here allow 4 standard errors: each number fails by chance once in 16,000 runs.
ERRORS = 4


def terms(
    program: Program, name: str, x: Tensor, *, n: int | None = None, seed: int = 1, **options: Any
) -> Terms:
    """The terms of an objective on a program trained on n data, or on no more than those of x."""
    member = type(objective_of(program, name))
    given = {"data_size": len(x) if n is None else n} if name == "tc" else {}
    with seeded(seed):
        return member(program, **given, **options)(x)  # type: ignore[no-any-return]


def gradients(program: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*program.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: grad for name, grad in zip(names, found, strict=True) if grad is not None}


def same_loss_and_gradients(program: nn.Module, one: Tensor, other: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance, check_dtype=False)
    ours, theirs = gradients(program, one), gradients(program, other)
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], atol=tolerance, rtol=tolerance, msg=name)


def draws(exact: Exact, n: int) -> Tensor:
    """Data from the linear-Gaussian model itself."""
    d = exact.posterior.mean.shape[1]
    return exact.program.decode(torch.randn(n, d, dtype=torch.float64)).sample()  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------------
# MMD.


def mean_rbf(mean: Tensor, variance: Tensor, squared_bandwidth: Tensor) -> Tensor:
    """E[exp(-|u|^2 / 2 h^2)] of a normal u with independent coordinates, (..., d) -> (...)."""
    wider = squared_bandwidth + variance
    return ((squared_bandwidth / wider).sqrt() * (-mean.square() / (2 * wider)).exp()).prod(-1)


def mean_kernel(kernel: str, mean: Tensor, variance: Tensor, bandwidth: float) -> Tensor:
    """E[k(z, z')] where z - z' is normal; imq is rbf with h^2 / s, averaged over an exponential s."""
    if kernel == "rbf":
        return mean_rbf(mean, variance, torch.tensor(bandwidth**2))
    t = torch.linspace(-30, 4, 3401, dtype=torch.float64)
    s = t.exp()
    values = mean_rbf(mean.unsqueeze(-2), variance.unsqueeze(-2), (bandwidth**2 / s).unsqueeze(-1))
    return torch.trapezoid(values * (t - s).exp(), t, dim=-1)


def aggregate(exact: Exact, shift: float, stretch: float) -> Normal:
    """q(z) of the linear-Gaussian model over the distribution of data."""
    scale = exact.posterior.scale
    return Normal(shift * scale, (1 - scale.square() + (stretch * scale).square()).sqrt())


def exact_mmd(kernel: str, q: Normal, p: Normal, bandwidth: float) -> Tensor:
    def mean(a: Normal, b: Normal) -> Tensor:
        return mean_kernel(kernel, a.mean - b.mean, a.variance + b.variance, bandwidth)

    return mean(q, q) + mean(p, p) - 2 * mean(q, p)


def test_the_closed_forms_are_those_of_the_kernels() -> None:
    u = torch.randn(100_000, 2, dtype=torch.float64) * torch.tensor([0.5, 2.0]) + 0.3
    t = u.square().sum(1) / (2 * 1.5**2)
    mean, variance = torch.tensor([0.3, 0.3]).double(), torch.tensor([0.25, 4.0]).double()
    for kernel, values in {"rbf": (-t).exp(), "imq": 1 / (1 + t)}.items():
        error = values.std() / len(u) ** 0.5
        assert abs(mean_kernel(kernel, mean, variance, 1.5) - values.mean()) < ERRORS * error


@torch.no_grad()
@pytest.mark.parametrize(("n", "repeats"), [(2, 400), (5, 200), (64, 60)])
@pytest.mark.parametrize("kernel", ["rbf", "imq"])
@pytest.mark.parametrize(("shift", "stretch"), [(0.0, 1.0), (1.5, 2.0)])
def test_mmd_meets_its_closed_form_in_expectation_whatever_the_batch(
    n: int, repeats: int, kernel: str, shift: float, stretch: float
) -> None:
    exact = solve(2, shift=shift, stretch=stretch)
    objective = objective_of(exact.program, "info", alpha=1.0, weight=1.0, kernel=kernel, bandwidth=1.2)
    found = []
    for _ in range(repeats):
        loss, reconstruction, _ = objective(draws(exact, n))
        found.append(loss + reconstruction)
    mmd = torch.stack(found)
    q = aggregate(exact, shift, stretch)
    truth = exact_mmd(kernel, q, Normal(torch.zeros(2), torch.ones(2)), 1.2)[0]
    assert abs(mmd.mean() - truth) < ERRORS * mmd.std() / repeats**0.5
    # A statistic with the pairs of a draw and itself would be too large by much more than that.
    bias = 2 * (1 - mean_kernel(kernel, torch.zeros(2), 2 * torch.ones(2), 1.2)) / n
    assert bias > (2 if n == 64 else 5) * mmd.std() / repeats**0.5
    assert (truth < 1e-6) == (shift == 0)


def by_hand(z: Tensor, prior: Tensor, k: Callable[[Tensor], Tensor]) -> Tensor:
    """MMD^2 without bias, pair by pair, of a kernel of the squared distance."""
    n = len(z)
    total = torch.zeros((), dtype=z.dtype)
    for i in range(n):
        for j in range(n):
            if i != j:
                same = k((z[i] - z[j]).square().sum()) + k((prior[i] - prior[j]).square().sum())
                total = total + same / (n * (n - 1))
            total = total - 2 * k((z[i] - prior[j]).square().sum()) / n**2
    return total


KERNELS: dict[str, Callable[[int], Callable[[Tensor], Tensor]]] = {
    "rbf": lambda d: lambda r: torch.exp(-(r / d) / d),  # as Zhao's code has it: the mean square over d
    "imq": lambda d: lambda r: 2 * d / (2 * d + r),  # as Tolstikhin's code has it
}


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_info_is_what_its_formula_says_with_the_authors_bandwidths(kernel: str, alpha: float) -> None:
    exact = solve(3, shift=0.5, stretch=1.4)
    x = exact.x[:7]
    loss, reconstruction, kl = terms(exact.program, "info", x, alpha=alpha, weight=30.0, kernel=kernel)
    with seeded(1):
        q = exact.program.encode(x)
        z, prior = q.rsample(), torch.randn(7, 3, dtype=torch.float64)
    observed = exact.program.decode(z).log_prob(x).mean()
    divergence = kl_divergence(q.base_dist, Normal(0.0, 1.0)).sum(1).mean()
    mmd = by_hand(z, prior, KERNELS[kernel](3))
    assert reconstruction.item() == pytest.approx(observed.item(), abs=1e-9)
    assert kl.item() == pytest.approx(divergence.item(), abs=1e-9)
    expected = -observed + (1 - alpha) * divergence + (alpha + 30 - 1) * mmd
    same_loss_and_gradients(exact.program, loss, expected)


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_info_with_a_weight_of_1_and_no_alpha_is_the_elbo(n: int) -> None:
    exact = solve(2, shift=0.3, stretch=1.3)
    x = draws(exact, n)
    info = terms(exact.program, "info", x, alpha=0.0, weight=1.0)
    elbo = terms(exact.program, "mean-field-elbo", x)
    for ours, theirs in zip(info, elbo, strict=True):
        torch.testing.assert_close(ours, theirs)
    same_loss_and_gradients(exact.program, info.loss, elbo.loss)


def test_a_batch_of_one_has_no_mmd() -> None:
    exact = solve(2, shift=0.5)
    loss, reconstruction, kl = terms(exact.program, "info", exact.x[:1], alpha=0.3)
    assert loss.item() == pytest.approx((0.7 * kl - reconstruction).item(), abs=1e-9)


def test_gradients_reach_a_prior_whose_draws_have_none_without_bias() -> None:
    """A learned mixture, whose distance from a normal aggregate has a closed form."""
    exact = solve(2, shift=0.5)
    program = exact.program
    prior = program.prior = Mixture(2, components=2).double()
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.4, -0.3]))
    objective = objective_of(program, "info", alpha=1.0, weight=1.0, bandwidth=1.2)

    q = aggregate(exact, 0.5, 1.0)
    weights = prior.logits.softmax(0)
    scale = 1e-3 + nn.functional.softplus(prior.unbounded_scale)
    h = torch.tensor(1.2**2)
    own = mean_rbf(prior.loc - prior.loc.unsqueeze(1), scale.square() + scale.square().unsqueeze(1), h)
    cross = mean_rbf(prior.loc - q.mean[0], scale.square() + q.variance[0], h)
    truth = gradients(prior, weights @ own @ weights - 2 * weights @ cross)

    found: dict[str, list[Tensor]] = {name: [] for name in truth}
    for _ in range(300):
        loss, *_ = objective(draws(exact, 32))
        for name, grad in gradients(prior, loss).items():
            found[name].append(grad)
    assert found.keys() == {"logits", "loc", "unbounded_scale"}
    for name, grads in found.items():
        stacked = torch.stack(grads)
        error = stacked.std(0) / len(grads) ** 0.5
        assert ((stacked.mean(0) - truth[name]).abs() < ERRORS * error).all(), name
        assert (error < truth[name].abs().max() / 5).all(), name


def test_a_point_posterior_without_kl_is_a_wasserstein_autoencoder(make: Build) -> None:
    program = make(posterior="delta", event_shape=(3,), network="linear")
    x = torch.randn(400, 3) * torch.tensor([1.0, 0.6, 0.2]) + 2.0  # not standardised: codes begin far off
    objective = objective_of(program, "info", alpha=1.0, weight=100.0, kernel="imq")

    def codes() -> Tensor:
        return program.encode(x).sample()  # type: ignore[no-any-return]

    far = codes().mean(0).norm()
    engine = Engine(objective, "adam")
    losses = []
    for step in range(400):
        with seeded(step):
            losses.append(engine.step(x[torch.randperm(400)[:64]], lr=0.1 * (1 - step / 400))[0].item() / 64)
    assert sum(losses[-20:]) < sum(losses[:20])
    assert far > 0.5
    assert codes().mean(0).norm() < 0.25
    torch.testing.assert_close(codes().std(0), torch.ones(2), atol=0.25, rtol=0)
    loss, reconstruction, penalty = terms(program, "info", x, alpha=1.0, weight=0.0)
    assert torch.equal(loss, -reconstruction)
    torch.testing.assert_close(
        penalty, -Normal(0.0, 1.0).log_prob(codes()).sum(1).mean(), check_dtype=False, rtol=1e-5, atol=1e-5
    )


# ---------------------------------------------------------------------------------------------------------
# Total correlation.


def exact_decomposition(q: Normal, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log q(z|x), log q(z), sum of log q(z_j)) of each datum's draw; all data are in q, in float64."""
    q, z = Normal(q.loc.double(), q.scale.double()), z.double()
    joint, product = [], []
    for i in range(len(z)):
        densities = q.log_prob(z[i]).exp()
        joint.append(densities.prod(1).mean().log())
        product.append(densities.mean(0).log().sum())
    return q.log_prob(z).sum(1), torch.stack(joint), torch.stack(product)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_all_data_in_the_batch_tc_is_exact(dtype: torch.dtype) -> None:
    exact = solve(3, shift=0.4, stretch=1.5)
    program, x = exact.program.to(dtype), exact.x[:20].to(dtype)
    loss, reconstruction, kl = terms(program, "tc", x, alpha=0.5, beta=4.0, gamma=2.0)
    with seeded(1):
        q = program.encode(x)
        z = q.rsample()
    given, joint, product = exact_decomposition(q.base_dist, z)
    prior = Normal(0.0, 1.0).log_prob(z).sum(1)
    observed = program.decode(z).log_prob(x)
    parts = 0.5 * (given - joint) + 4 * (joint - product) + 2 * (product - prior)
    tolerance = 1e-5 if dtype is torch.float32 else 1e-10
    torch.testing.assert_close(reconstruction.double(), observed.mean().double(), atol=0, rtol=tolerance)
    torch.testing.assert_close(kl.double(), (given - prior).mean(), atol=tolerance, rtol=tolerance)
    for part in (given - joint, joint - product, product - prior):
        assert part.mean().abs() > 1e-3
    expected = (parts - observed).mean()
    same_loss_and_gradients(program, loss, expected, tolerance=1e-4 if dtype is torch.float32 else 1e-9)
    assert abs(loss.item() - expected.item()) < (1e-5 * abs(loss.item()))


@torch.no_grad()
def mean_over_subsets(estimate: Callable[[Tensor], Tensor], log_prob: Tensor, m: int) -> Tensor:
    """The mean of exp(log q(z_i)) over all batches of m that have i, (N, ...)."""
    n = len(log_prob)
    totals, counts = torch.zeros(n, *log_prob.shape[2:], dtype=torch.float64), torch.zeros(n)
    for chosen in combinations(range(n), m):
        batch = torch.tensor(chosen)
        totals[batch] += estimate(log_prob[batch][:, batch]).exp()
        counts[batch] += 1
    return totals / counts.reshape(-1, *(1 for _ in log_prob.shape[2:]))


def naive(log_prob: Tensor, n: int) -> Tensor:
    """Every datum of the batch weighed with 1 / NM."""
    return log_prob.logsumexp(1) - math.log(n * len(log_prob))


def unstratified(log_prob: Tensor, n: int) -> Tensor:
    """The mean over the batch: datum i counts too much."""
    return log_prob.logsumexp(1) - math.log(len(log_prob))


@pytest.mark.parametrize("m", [2, 3, 6, 7])
def test_the_estimate_of_the_aggregate_has_no_bias_over_all_batches(m: int) -> None:
    exact = solve(2, stretch=0.8)
    q = exact.program.encode(exact.x[:7]).base_dist
    z = q.sample()
    of_each = q.log_prob(z.unsqueeze(1)).detach()
    for log_prob in (of_each, of_each.sum(-1)):
        truth = log_prob.exp().mean(1)

        def error(
            estimate: Callable[[Tensor, int], Tensor], log_prob: Tensor = log_prob, truth: Tensor = truth
        ) -> float:
            means = mean_over_subsets(lambda pairs: estimate(pairs, 7), log_prob, m)
            return ((means - truth) / truth).abs().max().item()

        assert error(log_aggregate) < 1e-12
        assert error(naive) > 0.5
        assert (error(unstratified) > 0.02) == (m < 7)


@pytest.mark.parametrize("n", [5, 12, 60_000])
def test_tc_of_a_small_batch_is_what_its_formula_says(n: int) -> None:
    exact = solve(3, shift=0.4, stretch=1.5)
    program, x, m = exact.program, exact.x[:5], 5
    loss, *_ = terms(program, "tc", x, n=n, alpha=0.5, beta=4.0, gamma=2.0)
    with seeded(1):
        q = program.encode(x)
        z = q.rsample()
    own, others = 1 / n, (n - 1) / (n * (m - 1))
    expected = -program.decode(z).log_prob(x).mean()
    for i in range(m):
        densities = [q.base_dist.log_prob(z[i])[k].exp() for k in range(m)]
        weights = [own if k == i else others for k in range(m)]
        joint = sum(w * each.prod() for w, each in zip(weights, densities, strict=True)).log()  # type: ignore[union-attr]
        product = sum(w * each for w, each in zip(weights, densities, strict=True)).log().sum()  # type: ignore[union-attr]
        prior = Normal(0.0, 1.0).log_prob(z[i]).sum()
        given = densities[i].log().sum()
        expected = (
            expected + 0.5 * (given - joint) / m + 4 * (joint - product) / m + 2 * (product - prior) / m
        )
    same_loss_and_gradients(program, loss, expected)


@pytest.mark.parametrize("m", [1, 7, 1000])
def test_tc_with_weights_of_1_is_the_elbo_draw_by_draw(m: int) -> None:
    exact = solve(2, shift=0.3, stretch=1.3)
    x = draws(exact, m)
    tc = terms(exact.program, "tc", x, n=60_000, beta=1.0)
    elbo = terms(exact.program, "elbo", x)
    for ours, theirs in zip(tc, elbo, strict=True):
        torch.testing.assert_close(ours, theirs)
    same_loss_and_gradients(exact.program, tc.loss, elbo.loss)


@pytest.mark.parametrize("n", [1, 60_000])
def test_tc_of_a_batch_of_one_is_the_elbo_with_the_weight_gamma(n: int) -> None:
    exact = solve(2, shift=0.3, stretch=1.3)
    tc = terms(exact.program, "tc", exact.x[:1], n=n, alpha=3.0, beta=6.0, gamma=2.5)
    elbo = terms(exact.program, "elbo", exact.x[:1], beta=2.5)
    same_loss_and_gradients(exact.program, tc.loss, elbo.loss)


@pytest.mark.parametrize("posterior", ["relaxed-bernoulli", "gumbel-softmax"])
def test_aggregates_of_discrete_codes_are_masses(make: Build, posterior: str) -> None:
    prior = {"relaxed-bernoulli": "bernoulli", "gumbel-softmax": {"name": "categorical", "categories": 3}}
    program, x = make(posterior=posterior, prior=prior[posterior]).double(), 5 * torch.randn(9, 6).double()
    loss, reconstruction, _ = terms(program, "tc", x, alpha=0.0, beta=1.0, gamma=0.0)
    with seeded(1):
        q = program.encode(x)
        z = q.rsample().detach()
    if posterior == "relaxed-bernoulli":
        p = q.base_dist.probs
        mass = torch.where(z.unsqueeze(1) > 0, p, 1 - p)  # (draw, datum, variable)
    else:
        mass = (q.base_dist.probs * z.unsqueeze(1)).sum(-1)
    correlation = mass.prod(-1).mean(1).log() - mass.mean(1).log().sum(-1)
    assert (loss + reconstruction).item() == pytest.approx(correlation.mean().item(), abs=1e-6)
    assert correlation.mean().abs() > 1e-3


# ---------------------------------------------------------------------------------------------------------
# Both.


class TwoSites(Program):
    """A code in two sites: a vector of two, and a number that is one-dimensional already."""

    def __init__(self) -> None:
        super().__init__(Size([4]))
        self.decoder, self.encoder = nn.Linear(3, 4), nn.Linear(4, 6)
        self.level = nn.Parameter(torch.tensor(0.7))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            b = pyro.sample("b", dist.Laplace(self.level, 1.0))
            mean = self.decoder(torch.cat([a, b.unsqueeze(-1)], -1))
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(loc[:, :2], scale[:, :2].exp()).to_event(1))
            pyro.sample("b", dist.Normal(loc[:, 2], scale[:, 2].exp()))

    def q(self, x: Tensor) -> Normal:
        loc, scale = self.encoder(x).chunk(2, -1)
        return Normal(loc, scale.exp())


def test_codes_of_several_sites_are_compared_as_one() -> None:
    program, x = TwoSites(), torch.randn(6, 4)
    loss, reconstruction, _ = terms(program, "info", x, alpha=1.0, weight=1.0)
    with seeded(1):
        q = program.q(x)
        noise = torch.cat([torch.randn(6, 2), torch.randn(6, 1)], 1)
        a = torch.randn(6, 2)
        b = dist.Laplace(program.level, 1.0).expand([6]).rsample()
    z, prior = q.loc + q.scale * noise, torch.cat([a, b.unsqueeze(1)], 1)
    torch.testing.assert_close(
        loss + reconstruction, by_hand(z, prior, KERNELS["rbf"](3)), rtol=1e-4, atol=1e-6
    )
    loss.backward()
    assert not untrained(program)


def test_the_total_correlation_is_that_of_all_sites() -> None:
    program, x = TwoSites().double(), torch.randn(6, 4).double()
    loss, reconstruction, _ = terms(program, "tc", x, alpha=0.0, beta=1.0, gamma=0.0)
    with seeded(1):
        q = program.q(x)
        noise = torch.cat([torch.randn(6, 2, dtype=torch.float64), torch.randn(6, 1, dtype=torch.float64)], 1)
        z = q.loc + q.scale * noise
    _, joint, product = exact_decomposition(q, z)
    torch.testing.assert_close(loss + reconstruction, (joint - product).mean())


@each_objective
def test_it_is_an_elbo_of_pyro_that_svi_could_take(name: str) -> None:
    exact = solve(2, shift=0.4)
    objective, x = objective_of(exact.program, name), exact.x[:6]
    with seeded(1):
        ours = objective(x).loss
    for method in ("differentiable_loss", "loss", "loss_and_grads"):
        with seeded(1):
            theirs = getattr(objective.elbo, method)(exact.program.model, exact.program.guide, x)
        assert float(torch.as_tensor(theirs).detach()) / 6 == pytest.approx(ours.item(), rel=1e-9)
    with seeded(1):
        theirs = objective.elbo(exact.program.model, exact.program.guide)(x) / 6
    same_loss_and_gradients(exact.program, ours, theirs)


@each_objective
def test_the_terms_are_those_of_the_elbo_without_gradients(name: str) -> None:
    exact = solve(2, shift=0.4)
    like = {"info": "mean-field-elbo", "tc": "elbo"}[name]
    found, expected = (terms(exact.program, each, exact.x[:6]) for each in (name, like))
    assert found.loss.requires_grad
    for term in ("reconstruction", "kl"):
        ours = getattr(found, term)
        assert not ours.requires_grad
        torch.testing.assert_close(ours, getattr(expected, term))


@pytest.mark.parametrize(("name", "prior"), [("info", "normal"), ("info", "mixture"), ("tc", "normal")])
def test_a_loss_and_its_gradient_can_be_captured(make: Build, name: str, prior: str) -> None:
    """Nothing is read back to the host, and nothing is decided by a value."""
    program, rows = make(prior=prior), torch.randn(2, 5, 6)
    objective = objective_of(program, name)
    parameters = {key: value.detach() for key, value in objective.named_parameters()}
    step = grad_and_value(lambda values, x: functional_call(objective, values, (x,)).loss)
    with pyro.validation_enabled(False):
        captured = make_fx(step)(parameters, rows[0])
        with seeded(1):
            eager, loss = step(parameters, rows[1])
        with seeded(1):
            ours, ours_loss = captured(parameters, rows[1])
    assert torch.equal(ours_loss, loss)
    assert all(torch.equal(ours[key], eager[key]) and eager[key].any() for key in parameters)


@each_objective
def test_codes_far_out_leave_finite_gradients(name: str) -> None:
    exact = solve(2)
    program = exact.program.float()
    with torch.no_grad():
        for scale in (1e-6, 1e3):
            for parameter in program.network.encoder.parameters():
                parameter.mul_(scale)
            with torch.enable_grad():
                loss = terms(program, name, exact.x[:6].float(), n=60_000).loss
            assert loss.isfinite()
            assert all(grad.isfinite().all() for grad in gradients(program, loss).values())


@pytest.mark.parametrize(
    "options",
    [
        {"name": "info", "alpha": 1.5},
        {"name": "info", "weight": -1.0},
        {"name": "info", "kernel": "linear"},
        {"name": "info", "bandwidth": 0.0},
        {"name": "tc", "alpha": -1.0},
        {"name": "tc", "beta": -1.0},
        {"name": "tc", "gamma": -1.0},
        {"name": "tc", "particles": 2},
    ],
    ids=str,
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    (option,) = options.keys() - {"name"}
    with pytest.raises(ConfigError, match=option):
        resolve({"objective": options})


def test_a_negative_weight_of_mmd_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"objective.weight: 0.25 with objective.alpha = 0.5.* at least 0.5"
    ):
        objective_of(solve(2).program, "info", alpha=0.5, weight=0.25)


@pytest.mark.parametrize(
    ("objective", "posterior", "prior", "reason"),
    [
        ("info", "categorical", "categorical", "gradients through draws"),
        ("tc", "bernoulli", "bernoulli", "gradients through draws"),
        ("tc", "planar", "normal", "coordinates are independent"),
        ("tc", "delta", "normal", "a density|any value"),
        ("tc", "full-normal", "normal", "coordinates are independent"),
        ("tc", "normal", "vamp", "coordinates are independent"),
    ],
)
def test_what_cannot_be_trained_is_refused(objective: str, posterior: str, prior: str, reason: str) -> None:
    config = resolve({"objective": objective, "posterior": posterior, "prior": prior})
    with pytest.raises(ConfigError, match=rf"objective.name: .*({reason})"):
        Run.start(config)


def test_tc_is_given_the_number_of_training_data() -> None:
    run = Run.start(resolve({"objective": "tc", "latent_dim": 2}))
    assert run.prepared is not None
    objective: Any = build_objective(run.config, run.program, len(run.prepared.dataset.train))
    assert objective.elbo.data_size == len(run.prepared.dataset.train) > 1000
