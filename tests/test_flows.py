"""Normalising flows: their formulas against independent ones, their bounds, and what Pyro does with them."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from conftest import Build
from members import Case, each, shaken
from pyro.distributions import TransformedDistribution
from pyro.distributions import transforms as pyro_transforms
from pyro.distributions.transforms.planar import ConditionedPlanar
from scipy.stats import multivariate_normal, norm
from torch import Size, Tensor
from torch.autograd.functional import jacobian
from torch.distributions import Transform

from pyrovae.distributions.bounded import bounded
from pyrovae.distributions.flows import Flow, affine_autoregressive, affine_coupling, spline_autoregressive
from pyrovae.distributions.planar import PlanarTransform
from pyrovae.distributions.sylvester import SylvesterTransform, cayley, cayley_parameters, householder
from pyrovae.errors import ConfigError
from pyrovae.evaluate import evaluate
from pyrovae.objectives import Elbo
from pyrovae.posteriors._flow import AmortizedFlow

VARIANTS = ["orthogonal", "householder", "triangular"]
TRANSFORMS = ["coupling", "autoregressive", "spline"]
AMORTIZED = [Case("posterior", "planar", {}), Case("posterior", "radial", {})]
AMORTIZED += [Case("posterior", "sylvester", {"variant": variant}) for variant in VARIANTS]
ANYWHERE = [Case("posterior", "coupling", {}), Case("posterior", "spline", {})]
POSTERIORS = [*AMORTIZED, Case("posterior", "iaf", {}), *ANYWHERE]
PRIORS = [Case("prior", "flow", {"transform": transform}) for transform in TRANSFORMS]


def posterior(case: Case, size: int = 3) -> Any:
    return case.make(event_shape=Size([size]))


def prior(case: Case, size: int = 3) -> Any:
    return case.make(latent_dim=size, datum_shape=Size([6]))


def random_features(module: Any, *batch: int, scale: float = 1.0) -> Tensor:
    dtype = next(module.parameters()).dtype
    return scale * torch.randn(*batch, module.features, dtype=dtype)


def composed(transforms: Sequence[Transform], x: Tensor) -> Tensor:
    for transform in transforms:
        x = transform(x)
    return x


# Densities


@each(POSTERIORS)
def test_own_draws_have_the_density_that_a_change_of_variables_by_autograd_gives(case: Case) -> None:
    module = shaken(posterior(case))
    for features in random_features(module, 5):
        q = module(features)
        torch.manual_seed(1)
        z = q.rsample()
        torch.manual_seed(1)
        start = q.base_dist.sample()
        base = q.base_dist.base_dist
        slopes = jacobian(lambda x, f=features: composed(module(f).transforms, x), start)
        expected = norm(base.loc.detach(), base.scale.detach()).logpdf(start).sum()
        expected -= np.linalg.slogdet(slopes)[1]
        assert q.log_prob(z).item() == pytest.approx(expected, abs=1e-7)
        assert torch.equal(z, composed(module(features).transforms, start))


@each(PRIORS)
def test_the_prior_has_the_density_that_a_change_of_variables_by_autograd_gives(case: Case) -> None:
    module = shaken(prior(case))
    for z in 3 * torch.randn(5, 3, dtype=torch.float64):

        def to_normal(z: Tensor) -> Tensor:
            return composed(module.flow.condition(module.nothing), z)

        expected = norm.logpdf(to_normal(z).detach()).sum() + np.linalg.slogdet(jacobian(to_normal, z))[1]
        assert module(None).log_prob(z).item() == pytest.approx(expected, abs=1e-7)


@each([*PRIORS[1:], ANYWHERE[1]])
@torch.no_grad()
def test_a_density_on_the_line_integrates_to_one(case: Case) -> None:
    module = shaken(prior(case, 1) if case.family == "prior" else posterior(case, 1))
    p = module(None) if case.family == "prior" else module(random_features(module))
    t = torch.linspace(-8, 8, 20_001, dtype=torch.float64).unsqueeze(-1)
    weights = t.cosh().squeeze(-1) * (t[1] - t[0])
    assert (p.log_prob(t.sinh()).exp() * weights).sum().item() == pytest.approx(
        1.0, abs=2e-5
    )  # the rule's error at kinks


@each([*PRIORS[:2], ANYWHERE[0]])
@torch.no_grad()
def test_a_density_on_the_plane_integrates_to_one(case: Case) -> None:
    module = shaken(prior(case, 2) if case.family == "prior" else posterior(case, 2))
    p = module(None) if case.family == "prior" else module(random_features(module))
    t = torch.linspace(-8, 8, 201, dtype=torch.float64)
    weights = torch.cartesian_prod(t.cosh(), t.cosh()).prod(1) * (t[1] - t[0]) ** 2
    log_prob = p.log_prob(torch.cartesian_prod(t, t).sinh())
    assert (log_prob.exp() * weights).sum().item() == pytest.approx(1.0, abs=1e-7)


@each(POSTERIORS)
def test_each_datum_has_a_distribution_of_its_own(case: Case) -> None:
    module = shaken(posterior(case))
    features = random_features(module, 4, 5)
    together = module(features)
    z = together.rsample()
    assert (z.shape, together.batch_shape) == ((4, 5, 3), (4, 5))
    scores = together.log_prob(z)
    starts = together.transforms[0]._cached_x_y[0].detach()
    for i, j in [(0, 0), (2, 3)]:
        alone = module(features[i, j])
        start = starts[i, j]
        assert torch.allclose(composed(alone.transforms, start), z[i, j], atol=1e-12)
        expected, x = alone.base_dist.log_prob(start), start
        for transform in alone.transforms:
            y = transform(x)
            expected = expected - transform.log_abs_det_jacobian(x, y).sum()
            x = y
        assert scores[i, j].item() == pytest.approx(expected.item(), abs=1e-9)


# Formulas


def test_a_planar_step_is_the_one_of_the_paper_where_it_needs_no_correction() -> None:
    u, w = torch.randn(2, 50, 4, dtype=torch.float64)
    w = w * (u * w).sum(-1, keepdim=True).sign()
    b, x = torch.randn(50, 1, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)
    transform = PlanarTransform((b, u, w))
    y = transform(x)
    activation = np.tanh(np.sum(w.numpy() * x.numpy(), -1, keepdims=True) + b.numpy())
    np.testing.assert_allclose(y, x.numpy() + u.numpy() * activation)
    slope = 1 + (1 - activation[:, 0] ** 2) * np.sum(u.numpy() * w.numpy(), -1)
    np.testing.assert_allclose(transform.log_abs_det_jacobian(x, y), np.log(slope))


def test_a_planar_step_has_a_slope_of_at_least_a_hundredth_whatever_its_parameters() -> None:
    u, w = 5 * torch.randn(2, 2000, 4, dtype=torch.float64)
    transform = PlanarTransform((torch.zeros(2000, 1), u, w))
    corrected = (transform.u_hat(u, w) * w).sum(-1)
    product = (u * w).sum(-1)
    assert corrected.min() == pytest.approx(-0.99, abs=1e-9)
    torch.testing.assert_close(corrected[product > 0], product[product > 0])
    x = torch.zeros(2000, 4, dtype=torch.float64)
    assert (transform.log_abs_det_jacobian(x, transform(x)) >= math.log(0.01) - 1e-9).all()


def test_a_planar_step_of_no_length_is_the_identity_where_pyros_is_not_a_number() -> None:
    x, nothing = torch.randn(5, 3), torch.zeros(5, 3)
    w = torch.randn(5, 3)
    for direction in (w, nothing, 1e-20 * w):
        u = torch.zeros(5, 3, requires_grad=True)
        direction = direction.clone().requires_grad_()
        y = PlanarTransform((torch.ones(5, 1), u, direction))(x)
        assert torch.equal(y, x)
        gradients = torch.autograd.grad(y.sum(), [u, direction])
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert gradients[0].any()
    parameters = (torch.ones(5, 1), nothing, w)
    assert not torch.allclose(ConditionedPlanar(parameters)(x), x, atol=0.1)
    assert ConditionedPlanar((torch.ones(5, 1), nothing, nothing))(x).isnan().all()


def test_a_radial_step_is_the_one_of_the_paper() -> None:
    module = posterior(Case("posterior", "radial", {"flows": 1})).double()
    with torch.no_grad():
        module.start.zero_()
    centre, a, b = np.array([1.0, -2.0, 0.5]), 0.3, -1.2
    features = torch.zeros(module.features, dtype=torch.float64)
    features[6:] = torch.tensor([*centre, a, b])
    limited = bounded(features[6:], 5.0).numpy()
    alpha = np.log1p(np.exp(limited[3]))
    beta = np.log1p(np.exp(limited[3] + limited[4])) - alpha
    x = np.array([0.2, 0.4, -0.7])
    offset = x - limited[:3]
    expected = x + beta / (alpha + np.linalg.norm(offset)) * offset
    moved = module(features).transforms[0](torch.tensor(x))
    np.testing.assert_allclose(moved.detach(), expected, rtol=1e-12)


def test_a_sylvester_step_of_rank_one_is_a_planar_step() -> None:
    w = torch.randn(20, 4, dtype=torch.float64)
    r, inner = torch.rand(2, 20, 1, 1, dtype=torch.float64)
    b, x = torch.randn(20, 1, dtype=torch.float64), torch.randn(20, 4, dtype=torch.float64)
    direction = w / w.norm(dim=-1, keepdim=True)
    sylvester = SylvesterTransform(direction.unsqueeze(-1), r, inner, b)
    planar = ConditionedPlanar((b, direction * r[..., 0], direction * inner[..., 0]))
    planar.u_hat = lambda u, w: u  # type: ignore[method-assign]
    torch.testing.assert_close(sylvester(x), planar(x))
    torch.testing.assert_close(
        sylvester.log_abs_det_jacobian(x, sylvester(x)), planar.log_abs_det_jacobian(x, planar(x))
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3])
def test_a_sylvester_basis_is_orthonormal_and_its_determinants_positive(variant: str, size: float) -> None:
    module = posterior(Case("posterior", "sylvester", {"variant": variant, "rank": 3}), 5).double()
    for transform in module(random_features(module, 100, scale=size)).transforms:
        columns = transform.basis.shape[-1]
        product = transform.basis.mT @ transform.basis
        torch.testing.assert_close(product, torch.eye(columns).double().expand_as(product))
        assert columns == (3 if variant == "orthogonal" else 5)
        for matrix in (transform.outer, transform.inner):
            assert torch.equal(matrix, matrix.triu())
        diagonals = transform.outer.diagonal(dim1=-2, dim2=-1) * transform.inner.diagonal(dim1=-2, dim2=-1)
        assert diagonals.min() > -0.99


def test_triangular_sylvester_steps_see_the_coordinates_in_both_orders() -> None:
    module = posterior(Case("posterior", "sylvester", {"variant": "triangular"}))
    first, second = (transform.basis for transform in module(random_features(module)).transforms[:2])
    assert torch.equal(first, torch.eye(3))
    assert torch.equal(second, torch.eye(3).flip(0))


def test_a_householder_product_is_what_reflections_one_by_one_give() -> None:
    vectors = torch.randn(6, 5, 4, dtype=torch.float64)
    reflections = np.eye(4)
    for v in vectors.numpy().swapaxes(0, 1):
        reflections = reflections @ (
            np.eye(4) - 2 * v[:, :, None] * v[:, None, :] / (v**2).sum(-1)[:, None, None]
        )
    np.testing.assert_allclose(householder(vectors), reflections, atol=1e-12)
    assert torch.equal(householder(torch.zeros(2, 3)), torch.eye(3))


def test_the_cayley_transform_turns_a_plane_by_twice_the_arcus_tangent() -> None:
    for a in (-30.0, -0.5, 0.0, 2.0, 1e3):
        angle = -2 * math.atan(a)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        np.testing.assert_allclose(cayley(torch.tensor([a]).double(), 2, 2), turn, atol=1e-12)


@pytest.mark.parametrize(("size", "columns"), [(1, 1), (4, 1), (4, 4), (7, 3)])
def test_every_parameter_of_a_cayley_basis_matters(size: int, columns: int) -> None:
    count = cayley_parameters(size, columns)
    parameters = torch.randn(count, dtype=torch.float64)
    slopes = jacobian(lambda p: cayley(p, size, columns), parameters).reshape(size * columns, count)
    assert torch.linalg.matrix_rank(slopes) == count
    assert torch.equal(cayley(torch.zeros(count), size, columns), torch.eye(size, columns))


def test_bounds_are_kept_and_lose_no_gradient() -> None:
    values = torch.tensor([-1e30, -1e3, -1.0, 0.0, 2.0, 1e3], requires_grad=True)
    result = bounded(values, 3.0)
    (slopes,) = torch.autograd.grad(result.sum(), values)
    assert (result.abs() <= 3.0 * (1 + 1e-6)).all()
    assert (result.diff() >= 0).all()
    assert slopes[3] == 1.0
    assert (slopes[[1, 2, 4, 5]] > 0).all()


# Conditional transforms


def layer(name: str, size: int = 5, context: int = 3) -> Flow:
    made = {
        "coupling": lambda: affine_coupling(size, context, [16]),
        "autoregressive": lambda: affine_autoregressive(size, context, [16]),
        "spline": lambda: spline_autoregressive(size, context, [16], bins=4, bound=3.0),
    }[name]()
    return shaken(Flow(size, [made]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_coordinate_depends_on_those_before_it_and_on_the_context(name: str) -> None:
    flow = layer(name)
    context, x = torch.randn(3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    slopes = jacobian(lambda x: flow.condition(context)[0](x), x)
    of_context = jacobian(lambda context: flow.condition(context)[0](x), context)
    below = slopes.tril(-1)
    assert torch.equal(slopes, slopes.tril())
    if name == "coupling":
        assert torch.equal(slopes[:2, :2], torch.eye(2).double())
        assert below[2:, :2].all()
        assert not slopes[2:, 2:].tril(-1).any()
        assert of_context[2:].all()
    else:
        assert below[*torch.tril_indices(5, 5, -1)].all()
        assert of_context.all()


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_the_inverse_undoes_a_transform(name: str, dtype: torch.dtype, error: float, spread: float) -> None:
    flow = Flow(5, [layer(name).layers[0] for _ in range(3)]).to(dtype)
    context, x = torch.randn(100, 3, dtype=dtype), spread * torch.randn(100, 5, dtype=dtype)
    y = composed(flow.condition(context), x)
    back = composed([transform.inv for transform in reversed(flow.condition(context))], y)
    assert back.dtype == dtype
    assert ((back - x).abs() <= error * spread).all()


@pytest.mark.parametrize("name", ["coupling", "autoregressive"])
def test_scales_are_bounded_and_their_gradients_are_exact(name: str) -> None:
    flow = layer(name)
    with torch.no_grad():
        flow.layers[0].nn.layers[-1].weight *= 1e3
    context, x = torch.randn(200, 3, dtype=torch.float64), torch.randn(200, 5, dtype=torch.float64)
    (transform, _) = flow.condition(context)
    log_scale = transform.log_abs_det_jacobian(x, transform(x)) / (3 if name == "coupling" else 5)
    assert log_scale.abs().max() <= 3.0
    weight = flow.layers[0].nn.layers[-1].bias

    def volume(bias: Tensor) -> Tensor:
        new = torch.func.functional_call(flow.layers[0].nn, {"layers.1.bias": bias}, (x[:1, :half],), kwargs)
        return new[1].sum()

    half, kwargs = (2 if name == "coupling" else 5), {"context": context[:1]}
    assert torch.autograd.gradcheck(volume, weight.detach().requires_grad_())


def test_few_hidden_units_are_raised_to_the_number_of_coordinates() -> None:
    flow = affine_autoregressive(10, 0, [2, 20])
    assert [linear.out_features for linear in flow.nn.layers] == [10, 20, 20]


# Starts, bounds, odd sizes


@each(POSTERIORS)
def test_a_posterior_starts_near_the_standard_normal(case: Case) -> None:
    module = posterior(case, 4)
    q = module(torch.zeros(module.features)).expand([20_000])
    with torch.no_grad():
        z = q.rsample()
        kl = (q.log_prob(z).numpy() - norm.logpdf(z.numpy()).sum(-1)).mean()
    assert abs(kl) < 0.2
    assert z.mean(0).abs().max() < 0.2
    assert (z.std(0) - 1).abs().max() < 0.2


@each(PRIORS)
def test_the_prior_starts_near_the_standard_normal(case: Case) -> None:
    z = torch.randn(2000, 4)
    difference = prior(case, 4)(None).log_prob(z).detach().numpy() - norm.logpdf(z.numpy()).sum(-1)
    assert np.abs(difference).mean() < 0.1


@each(POSTERIORS)
def test_from_the_start_gradients_reach_every_parameter_and_every_feature(case: Case) -> None:
    module = posterior(case)
    features = torch.zeros(8, module.features, requires_grad=True)
    q = module(features)
    z = q.rsample()
    (q.log_prob(z) + z.square().sum(-1) + z.sum(-1)).sum().backward()
    assert features.grad is not None
    assert features.grad.any(0).all()
    assert all(parameter.grad.any() for parameter in module.parameters())


@each([*ANYWHERE, *PRIORS])
def test_far_out_values_have_finite_log_probs_and_gradients(case: Case) -> None:
    module = shaken(prior(case) if case.family == "prior" else posterior(case)).float()
    p = module(None) if case.family == "prior" else module(random_features(module))
    for point in torch.cartesian_prod(*[torch.tensor([-1e3, 0.0, 1e3])] * 3):
        z = point.clone().requires_grad_()
        log_prob = p.log_prob(z)
        gradients = torch.autograd.grad(log_prob, [z, *module.parameters()], retain_graph=True)
        assert log_prob.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_spline_prior_is_standard_normal_in_its_tails() -> None:
    module = shaken(prior(PRIORS[2]))
    z = torch.tensor([[5.01, -6.0, 1e3], [-5.01, 40.0, -7.0]], dtype=torch.float64)
    np.testing.assert_allclose(module(None).log_prob(z).detach(), norm.logpdf(z).sum(-1), rtol=1e-12)


@each([case for case in POSTERIORS if case.name != "coupling"])
@torch.no_grad()
def test_a_posterior_of_one_coordinate_works(case: Case) -> None:
    module = shaken(posterior(case, 1))
    q = module(random_features(module, 7))
    assert q.log_prob(q.rsample()).isfinite().all()


@each(PRIORS[1:])
@torch.no_grad()
def test_a_prior_of_one_coordinate_works(case: Case) -> None:
    p = shaken(prior(case, 1))(None).expand([7])
    assert p.log_prob(p.sample()).isfinite().all()


def test_a_coupling_of_one_coordinate_is_refused_with_what_fits() -> None:
    with pytest.raises(ConfigError, match=r"posterior\.name: 'coupling' .* at least 2; .* iaf, planar"):
        posterior(ANYWHERE[0], 1)
    with pytest.raises(ConfigError, match=r"prior\.transform: .* at least 2; .* 'autoregressive'"):
        prior(PRIORS[0], 1)


# What Pyro does with them


@each(AMORTIZED)
def test_what_has_no_inverse_says_so_and_scores_nothing_but_its_own_draws(case: Case) -> None:
    module = posterior(case)
    q = module(random_features(module))
    z = q.rsample()
    q.log_prob(z)
    assert module.only_own_draws
    with pytest.raises((KeyError, NotImplementedError), match=r"inverse|cache"):
        q.log_prob(z.clone())


@each([case for case in POSTERIORS if case not in AMORTIZED])
@torch.no_grad()
def test_own_draws_and_copies_of_them_score_the_same(case: Case) -> None:
    module = shaken(posterior(case))
    q = module(random_features(module, 50))
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()), atol=1e-7, rtol=1e-9)


@each(PRIORS)
@torch.no_grad()
def test_draws_from_the_prior_score_the_same_afresh(case: Case) -> None:
    module = shaken(prior(case))
    p = module(None).expand([50]).expand([3, 50])
    z = p.sample()
    assert (z.shape, p.log_prob(z).shape) == ((3, 50, 3), (3, 50))
    torch.testing.assert_close(p.log_prob(z), module(None).log_prob(z.clone()), atol=1e-7, rtol=1e-9)
    for_single = module.float()(None).expand([50])
    z = for_single.sample()
    torch.testing.assert_close(for_single.log_prob(z), module(None).log_prob(z.clone()), atol=1e-3, rtol=1e-3)


def test_neither_training_nor_evaluation_inverts_a_guide(
    make: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, y: Tensor) -> Tensor:
        raise AssertionError("inverted")

    for transform in (
        pyro_transforms.AffineAutoregressive,
        pyro_transforms.AffineCoupling,
        pyro_transforms.SplineAutoregressive,
    ):
        for owner in (transform, *transform.__subclasses__()):
            monkeypatch.setattr(owner, "_inverse", refuse)
    x = torch.randn(5, 6)
    for name in ("iaf", "coupling", "spline"):
        program = make(posterior=name)
        Elbo(program, particles=3)(x)[0].backward()
        evaluate(program, [x], particles=3)


@each([*POSTERIORS, *PRIORS])
def test_pyros_traces_score_a_program_with_and_without_particles(case: Case, make: Build) -> None:
    program = make(latent_dim=3, **{case.family: {"name": case.name, **case.options}})
    x = torch.randn(4, 6)

    def scores(*batch: int) -> dict[str, Tensor]:
        guide = pyro.poutine.trace(program.guide).get_trace(x)
        model = pyro.poutine.trace(pyro.poutine.replay(program.model, guide)).get_trace(x)
        for trace in (guide, model):
            trace.compute_log_prob()
            assert trace.nodes["z"]["log_prob"].shape == batch
            assert trace.nodes["z"]["log_prob"].isfinite().all()
        assert guide.nodes["z"]["value"].shape == (*batch, 3)
        return {"q": guide.nodes["z"]["log_prob"], "p": model.nodes["z"]["log_prob"]}

    scores(4)
    with pyro.plate("particles", 3, dim=-2):
        found = scores(3, 4)
    assert len(found["q"].unique()) == 12  # a draw of its own for each particle and datum


@each([*POSTERIORS, *PRIORS])
def test_evaluation_gives_each_datum_its_own_noise(case: Case, make: Build) -> None:
    program = make(latent_dim=3, **{case.family: {"name": case.name, **case.options}})
    x = torch.randn(7, 6)
    whole = evaluate(program, [x], particles=5)
    parts = evaluate(program, [x[:3], x[3:]], particles=5)
    assert whole.log_likelihood.isfinite().all()
    torch.testing.assert_close(whole.log_likelihood, parts.log_likelihood, atol=1e-4, rtol=0)
    assert torch.equal(whole.log_likelihood, evaluate(program, [x], particles=5).log_likelihood)


@each([*POSTERIORS, *PRIORS])
def test_a_trained_program_can_be_copied_pickled_and_trained_on(case: Case, make: Build) -> None:
    program = make(latent_dim=3, **{case.family: {"name": case.name, **case.options}})
    x = torch.randn(4, 6)
    for _ in range(2):
        Elbo(program)(x)[0].backward()
    evaluate(program, [x], particles=2)
    with_weights = io.BytesIO(pickle.dumps(program))
    for other in (copy.deepcopy(program), pickle.load(with_weights)):
        assert torch.equal(
            evaluate(program, [x], particles=2).log_likelihood,
            evaluate(other, [x], particles=2).log_likelihood,
        )
        Elbo(other)(x)[0].backward()


@each([*POSTERIORS, *PRIORS])
def test_no_component_keeps_what_it_computed(case: Case) -> None:
    module = prior(case) if case.family == "prior" else posterior(case)
    p = module(None) if case.family == "prior" else module(random_features(module, 4))
    z = p.rsample()
    p.log_prob(z).sum().backward()
    drawn = weakref.ref(z)
    del p, z
    gc.collect()
    assert drawn() is None


def passes_of_a_density(module: Any, p: TransformedDistribution) -> float:
    """How many passes through each of its networks it takes to score values that were not drawn."""
    passes = []
    for each_layer in module.flow.layers:
        each_layer.nn.register_forward_hook(lambda *_: passes.append(1))
    p.log_prob(torch.randn(5, 10))
    return len(passes) / len(module.flow.layers)


@each(PRIORS)
def test_the_density_of_the_prior_takes_one_pass_through_its_networks(case: Case) -> None:
    module = prior(case, 10)
    assert passes_of_a_density(module, module(None)) == 1


@each([case for case in POSTERIORS if case not in AMORTIZED])
def test_a_posterior_that_takes_a_pass_for_each_coordinate_of_other_values_says_so(case: Case) -> None:
    module = posterior(case, 10)
    passes = passes_of_a_density(module, module(random_features(module)))
    assert passes == (1 if module.only_own_draws is None else 10)


@each(PRIORS)
def test_the_prior_learns_a_density_that_no_normal_has(case: Case) -> None:
    """z_2 = z_1 squared + noise, against the normal with the same mean and covariance."""
    first = torch.randn(2000)
    z = torch.stack([first, first.square() - 1 + 0.3 * torch.randn(2000)], dim=1)
    module = case.member(2, hidden=[16], **case.options)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-2)
    for step in range(80):
        optimizer.zero_grad()
        rows = torch.arange(200) + 200 * (step % 10)
        (-module(None).expand([200]).log_prob(z[rows]).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        learned = module(None).log_prob(z).mean().item()
    normal = multivariate_normal(z.mean(0), torch.cov(z.T)).logpdf(z).mean()
    assert learned > normal + 0.5


def test_amortised_parameters_are_the_features_and_no_networks() -> None:
    for case in AMORTIZED:
        module = posterior(case)
        assert isinstance(module, AmortizedFlow)
        assert [name for name, _ in module.named_parameters()] == ["start"]
        q = module(random_features(module))
        assert isinstance(q, TransformedDistribution)
        assert len(q.transforms) == len(module.start)
