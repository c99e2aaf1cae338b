"""Laws that every member of every family obeys, and every program made of them; a new file is covered too."""

from __future__ import annotations

import inspect
import math
import pkgutil
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, DocTest, DocTestFinder, DocTestRunner
from importlib import import_module
from itertools import pairwise, product
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pyro
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from pyro.distributions import TorchDistribution
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from sklearn.datasets import load_digits
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn.functional import binary_cross_entropy_with_logits

import pyrovae
from pyrovae import component, supports
from pyrovae.config import resolve
from pyrovae.engine import Engine
from pyrovae.errors import ConfigError
from pyrovae.evaluate import evaluate
from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.gaussian import Gaussian
from pyrovae.networks import Network, Shapes
from pyrovae.objectives import ELBOS, Objective
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.randomness import seeded
from pyrovae.run import build

Z = 5.0
"""Largest deviation of a mean of draws, in standard errors: a false alarm in 2 million comparisons."""

PROMISED: Mapping[str, set[str]] = {
    "prior": {"normal"},
    "likelihood": {"bernoulli", "gaussian"},
    "posterior": {"normal"},
    "network": {"linear", "mlp", "conv"},
}

# ---------------------------------------------------------------------------------------------------------
# What there is: every component, and every component with each of its options set to something else.


class Case(NamedTuple):
    """A component by name, with options that are not the default ones."""

    family: str
    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        settings = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}-{self.family}" + (f"({settings})" if settings else "")

    @property
    def member(self) -> Any:
        return component.find(self.family, self.name)

    def make(self, *given: Any) -> Any:
        return self.member(*given, **self.options)


def allowed(annotation: Any) -> list[Any]:
    """Some values of an option: all choices of a closed set, one number, one list of two numbers."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        values = allowed(arguments[0])
    elif origin in (Union, types.UnionType):
        values = [value for part in arguments for value in allowed(part)]
    elif origin is Literal:
        values = list(arguments)
    elif inspect.isclass(origin) and issubclass(origin, Sequence):
        values = [[value, value + 1] for value in allowed(arguments[0])[:1]]
    else:
        values = {bool: [False, True], float: [0.5, 2.0], int: [6, 1]}.get(annotation, [])
    return [value for value in values if _is_valid(annotation, value)]


def _is_valid(annotation: Any, value: Any) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def cases(*families: str) -> list[Case]:
    """Each component as it is, and once for each value of each of its options."""
    found = []
    for plain in [Case(family, name, {}) for family in families for name in component.names(family)]:
        found.append(plain)
        for option, (annotation, default) in component.options(plain.member).items():
            others = [value for value in allowed(annotation) if value != default]
            found += [plain._replace(options={option: value}) for value in others]
    return found


MEMBERS = [Case(family, name, {}) for family in component.FAMILIES for name in component.names(family)]


def each(cases: Sequence[Any], name: str = "case") -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, cases, ids=str)


def test_the_registry_holds_at_least_what_was_promised() -> None:
    assert {family: PROMISED[family] - set(component.names(family)) for family in PROMISED} == {
        family: set() for family in PROMISED
    }
    assert set(component.FAMILIES) == set(PROMISED)


def test_every_option_is_tried_with_another_value_than_its_default() -> None:
    tried = {(str(case.member), option) for case in cases(*component.FAMILIES) for option in case.options}
    assert tried == {
        (str(case.member), option) for case in MEMBERS for option in component.options(case.member)
    }


# ---------------------------------------------------------------------------------------------------------
# Densities: a prior, a posterior and a likelihood are the same kind of thing once their features are given.

DENSITIES = cases("prior", "posterior", "likelihood")
CONDITIONAL = cases("posterior", "likelihood")


def shaken(module: nn.Module) -> Any:
    """The module in float64, with all parameters moved from where they start."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


def code_shape(support: Constraint) -> Size:
    """The shape of a code with two coordinates on a set, which some prior has."""
    priors = (component.find("prior", name) for name in component.names("prior"))
    fitting = [prior(2) for prior in priors if supports.same(prior.support, support)]  # type: ignore
    assert fitting, f"no prior lives on {supports.in_words(support)}"
    return fitting[0].event_shape  # type: ignore[attr-defined]


def given_shape(case: Case) -> Size:
    """A small event shape for a posterior or a likelihood."""
    if case.family == "likelihood":
        return Size([2])
    return code_shape(case.member.support)


def features_for(module: Any, *batch: int) -> Tensor:
    cells = module.event_shape if module.family == "likelihood" else Size()
    return torch.randn(*batch, module.features, *cells, dtype=next(_tensors(module)).dtype)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
    yield torch.empty(0, dtype=torch.float64)


def encode(x: Tensor) -> TorchDistribution:
    """Some q(z|x) on real vectors, for priors that are made from the guide."""
    moved = x.flatten(1)[:, :2].double()
    return pyro.distributions.Normal(moved, torch.ones_like(moved)).to_event(1)


def density(case: Case, *batch: int) -> tuple[Any, TorchDistribution]:
    """The component with random weights, and the distribution that it gives for random features."""
    if case.family == "prior":
        prior = shaken(case.make(2))
        return prior, prior(encode)
    module = shaken(case.make(given_shape(case)))
    return module, module(features_for(module, *batch))


def _over_line(shape: Size) -> tuple[Tensor, Tensor]:
    """The trapezoidal rule after z = sinh(t): from 1/50 near 0 to beyond 1000, so heavy tails are in."""
    t = torch.linspace(-8, 8, 801, dtype=torch.float64)
    return _power(t.sinh(), t.cosh() * (t[1] - t[0]), shape)


def _over_bits(shape: Size) -> tuple[Tensor, Tensor]:
    return _power(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64), shape)


def _power(nodes: Tensor, weights: Tensor, shape: Size) -> tuple[Tensor, Tensor]:
    """A rule for each cell -> nodes (n, \\*shape) and weights (n) for all cells together."""
    grid = torch.cartesian_prod(*[torch.arange(len(nodes))] * shape.numel()).reshape(-1, *shape)
    return nodes[grid], weights[grid].flatten(1).prod(1)


QUADRATURE: Mapping[str, Callable[[Size], tuple[Tensor, Tensor]]] = {
    str(constraints.real): _over_line,
    str(constraints.real_vector): _over_line,
    str(constraints.boolean): _over_bits,
}
"""For each support, values and weights under which sums are integrals; a new support needs its line."""


def integrate(p: TorchDistribution, support: Constraint, function: Callable[[Tensor], Tensor]) -> Tensor:
    """E_p[function], by quadrature."""
    values, weights = QUADRATURE[str(support)](p.event_shape)
    return (p.log_prob(values).exp() * weights) @ function(values).double().flatten(1)


def bounded_moments(values: Tensor) -> Tensor:
    """Bounded functions of single coordinates and of pairs, which have moments under heavy tails too."""
    squashed = values.flatten(1).tanh()
    return torch.cat([squashed, squashed.square(), squashed * squashed.roll(1, -1)], dim=1)


@each(DENSITIES)
@torch.no_grad()
def test_log_prob_integrates_to_one(case: Case) -> None:
    module, p = density(case)
    total = integrate(p, module.support, lambda values: torch.ones(len(values), 1)).item()
    assert total == pytest.approx(1.0, abs=1e-5)


@each(DENSITIES)
@torch.no_grad()
def test_samples_match_the_density(case: Case) -> None:
    n = 20_000
    module, p = density(case)
    means = integrate(p, module.support, bounded_moments)
    variances = integrate(p, module.support, lambda values: bounded_moments(values).square()) - means**2
    drawn = bounded_moments(p.sample(Size([n]))).mean(0)
    assert ((drawn - means).abs() <= Z * (variances / n).sqrt() + 1e-9).all()


@each(DENSITIES)
@torch.no_grad()
def test_draws_have_the_event_shape_and_lie_in_the_support(case: Case) -> None:
    module, p = density(case)
    assert (p.batch_shape, p.event_shape) == (Size(), module.event_shape)
    draws = p.sample(Size([100]))
    assert draws.shape == (100, *module.event_shape)
    assert supports.contains(module.support, draws)


@each(cases("likelihood"))
@torch.no_grad()
def test_the_mean_of_a_likelihood_is_the_expected_datum(case: Case) -> None:
    module, p = density(case)
    torch.testing.assert_close(p.mean, integrate(p, module.support, lambda x: x), atol=1e-5, rtol=0)


@each(CONDITIONAL)
@torch.no_grad()
def test_particle_dimensions_change_no_log_prob(case: Case) -> None:
    module, _ = density(case)
    features = features_for(module, 5, 3)
    p, folded = module(features), module(features.flatten(0, 1))
    values = p.sample()
    assert p.batch_shape == (5, 3)
    torch.testing.assert_close(
        p.log_prob(values).flatten(), folded.log_prob(values.flatten(0, 1)), atol=1e-9, rtol=0
    )


@each(CONDITIONAL)
def test_huge_features_give_finite_log_probs_and_gradients(case: Case) -> None:
    module = case.make(given_shape(case))
    features = (1e3 * features_for(module, 64).float().sign()).requires_grad_()
    near, far = module(features), module(torch.zeros_like(features)).sample()
    for values in (near.rsample() if near.has_rsample else near.sample(), far):
        log_prob = near.log_prob(values)
        gradients = torch.autograd.grad(
            log_prob.sum(), [features, *module.parameters()], retain_graph=True, allow_unused=True
        )
        assert log_prob.isfinite().all()
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@each(DENSITIES)
def test_every_parameter_and_feature_moves_the_log_prob(case: Case) -> None:
    module, p = density(case)
    values = p.sample(Size([4])).detach()
    if case.family != "prior":
        features = features_for(module).requires_grad_()
        (gradient,) = torch.autograd.grad(module(features).log_prob(values).sum(), features)
        assert (gradient != 0).all()
    for parameter in module.parameters():
        (gradient,) = torch.autograd.grad(p.log_prob(values).sum(), parameter, retain_graph=True)
        assert gradient.abs().sum() > 0


# ---------------------------------------------------------------------------------------------------------
# What single likelihoods promise besides.


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


# ---------------------------------------------------------------------------------------------------------
# Networks: as they are on data of every shape that they take, and with every option on a picture.

EVENT_SHAPES = [Size([7]), Size([5, 6]), Size([1, 8, 8]), Size([2, 7, 5]), Size([3, 1, 1])]


class Wired(NamedTuple):
    """A network between data of a shape, codes of 3 numbers, 4 features of a code and 2 of a cell."""

    case: Case
    event_shape: Size

    def __str__(self) -> str:
        return f"{self.case}-{'x'.join(map(str, self.event_shape))}"

    def make(self) -> Network:
        return shaken(self.case.make(Shapes(self.event_shape, 3, 4, 2)))  # type: ignore[no-any-return]

    def data(self, *leading: int) -> tuple[Tensor, Tensor]:
        """Data and codes."""
        dtype = torch.float64
        return torch.randn(*leading, *self.event_shape, dtype=dtype), torch.randn(*leading, 3, dtype=dtype)

    def refused(self) -> bool:
        with seeded(0):
            try:
                self.make()
            except ConfigError:
                return True
        return False


SHAPED = [Wired(case, shape) for case in MEMBERS if case.family == "network" for shape in EVENT_SHAPES]
WIRED = [wired for wired in SHAPED if not wired.refused()]
WIRED += [Wired(case, EVENT_SHAPES[3]) for case in cases("network") if case.options]


def trained(network: Network, wired: Wired) -> Network:
    """The network in evaluation mode, after it has seen data, which batch normalisation remembers."""
    x, z = wired.data(20)
    network.encoder(x), network.decoder(z)
    return network.eval()


def test_only_networks_for_pictures_refuse_a_shape_and_they_refuse_vectors_only() -> None:
    assert {(wired.case.name, tuple(wired.event_shape)) for wired in SHAPED if wired.refused()} == {
        ("conv", (7,))
    }


@each(WIRED, "wired")
def test_a_network_keeps_leading_dimensions_and_takes_float64(wired: Wired) -> None:
    network = trained(wired.make(), wired)
    for leading in [(), (3,), (2, 3), (2, 1, 3)]:
        x, z = wired.data(*leading)
        features, cells = network.encoder(x), network.decoder(z)
        assert (features.shape, cells.shape) == ((*leading, 4), (*leading, 2, *wired.event_shape))
        assert features.dtype == cells.dtype == torch.float64


@each(WIRED, "wired")
@torch.no_grad()
def test_folding_particles_into_the_batch_equals_a_loop_over_them(wired: Wired) -> None:
    network = trained(wired.make(), wired)
    for half, values in zip([network.encoder, network.decoder], wired.data(3, 5), strict=True):
        torch.testing.assert_close(half(values), torch.stack([half(part) for part in values]))


@each(WIRED, "wired")
@torch.no_grad()
def test_particles_are_one_large_batch_in_training(wired: Wired) -> None:
    network = wired.make()
    for half, values in zip([network.encoder, network.decoder], wired.data(3, 5), strict=True):
        with seeded(1):
            together = half(values)
        with seeded(1):
            torch.testing.assert_close(together.flatten(0, 1), half(values.flatten(0, 1)))


@each(WIRED, "wired")
def test_data_do_not_mix_outside_training(wired: Wired) -> None:
    network = trained(wired.make(), wired)
    for half, values in zip([network.encoder, network.decoder], wired.data(4), strict=True):
        values.requires_grad_()
        (gradient,) = torch.autograd.grad(half(values)[1].square().sum(), values)
        assert not gradient[[0, 2, 3]].any()


@each(WIRED, "wired")
def test_gradients_reach_every_parameter_of_a_network(wired: Wired) -> None:
    network = wired.make()
    x, z = wired.data(16)
    (network.encoder(x).square().sum() + network.decoder(z).square().sum()).backward()
    assert not untrained(network)


@each(WIRED, "wired")
@torch.no_grad()
def test_the_state_dict_of_a_network_is_all_that_it_is(wired: Wired) -> None:
    network, other = trained(wired.make(), wired), wired.make().eval()
    x, z = wired.data(6)
    assert not torch.equal(network.encoder(x), other.encoder(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.encoder(x), other.encoder(x))
    assert torch.equal(network.decoder(z), other.decoder(z))


@each([case for case in cases("network") if "dropout" in case.options])
def test_dropout_acts_in_training_and_nowhere_else(case: Case) -> None:
    wired = Wired(case, EVENT_SHAPES[3])
    network, (x, _) = wired.make(), wired.data(6)
    assert not torch.equal(network.encoder(x), network.encoder(x))
    network.eval()
    assert torch.equal(network.encoder(x), network.encoder(x))


def untrained(module: nn.Module) -> list[str]:
    """The parameters that no gradient has reached."""
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]


# ---------------------------------------------------------------------------------------------------------
# Programs: every prior with every posterior on its support, every likelihood with every network.

PICTURE = Size([1, 8, 8])


class Combination(NamedTuple):
    """What a program is made of; families that are not named are the default ones."""

    parts: tuple[Case, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))

    def make(self, seed: int = 0) -> SingleLayer:
        layer = {case.family: {"name": case.name, **case.options} for case in self.parts}
        return build(resolve({"latent_dim": 2, "seed": seed}, layer), PICTURE)

    def fits(self) -> bool:
        first, second = (case.member.support for case in self.parts)
        return supports.same(first, second)


LATENT = [Combination(pair) for pair in product(cases("prior"), cases("posterior"))]
NETWORKS = [case for case in MEMBERS if case.family == "network"]
COMBINATIONS = [combination for combination in LATENT if combination.fits()]
COMBINATIONS += [Combination(pair) for pair in product(cases("likelihood"), NETWORKS)]


def data_for(program: SingleLayer, n: int = 12) -> Tensor:
    """Data that the likelihood could have given."""
    return program.likelihood(torch.randn(n, program.likelihood.features, *PICTURE)).sample().detach()


@pytest.mark.parametrize("objective", ELBOS)
@each(COMBINATIONS, "combination")
def test_gradients_of_the_objective_reach_every_parameter(combination: Combination, objective: Any) -> None:
    program = combination.make()
    loss, reconstruction = Objective(program, objective)(data_for(program))
    loss.backward()
    assert not untrained(program)
    assert not reconstruction.requires_grad


@pytest.mark.parametrize("objective", ELBOS)
@each(COMBINATIONS, "combination")
def test_five_steps_under_fixed_noise_lower_the_loss(combination: Combination, objective: Any) -> None:
    program = combination.make()
    x = data_for(program)
    engine = Engine(Objective(program, objective), "adam")
    losses = []
    for _ in range(6):
        with seeded(1):
            losses.append(engine.step(x, lr=1e-3)[0].item())
    assert losses[-1] < losses[0]
    assert all(after != before for before, after in pairwise(losses))


@each(COMBINATIONS, "combination")
def test_the_state_dict_of_a_program_gives_identical_numbers(combination: Combination) -> None:
    program, other = combination.make(seed=1), combination.make(seed=2)
    x = data_for(program)
    program.calibrate([x])
    before = evaluate(program, [x], particles=3).log_likelihood
    assert not torch.equal(before, evaluate(other, [x], particles=3).log_likelihood)
    other.load_state_dict(program.state_dict())
    assert torch.equal(before, evaluate(other, [x], particles=3).log_likelihood)


@each(COMBINATIONS, "combination")
def test_a_program_is_a_function_of_its_configuration(combination: Combination, untouched: None) -> None:
    one, same, other = (combination.make(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_priors_and_posteriors_on_different_sets_are_refused() -> None:
    for combination in LATENT:
        if not combination.fits():
            with pytest.raises(ConfigError, match="posteriors that fit"):
                combination.make()


def test_a_misfit_is_named_with_both_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component.find("posterior", "normal"), "support", constraints.boolean)
    with pytest.raises(ConfigError, match=r"posterior.name: .*\{0, 1\}.*real vectors.*fit: none"):
        Combination(()).make()


# ---------------------------------------------------------------------------------------------------------
# The mechanism: names, options, documentation.


@each(MEMBERS)
def test_a_name_finds_the_class_and_the_class_has_that_name(case: Case) -> None:
    found = case.member
    assert component.name_of(found) == case.name
    assert found.family == case.family
    assert component.find_class(case.family, found.__name__) is found
    assert getattr(import_module(component.FAMILIES[case.family]), found.__name__) is found


@pytest.mark.parametrize("family", component.FAMILIES)
def test_what_is_not_there_is_not_found(family: str) -> None:
    with pytest.raises(LookupError):
        component.find(family, "no-such-name")
    with pytest.raises(AttributeError, match="NoSuchClass"):
        component.find_class(family, "NoSuchClass")


@each(cases(*component.FAMILIES))
def test_a_component_knows_what_it_was_given_and_its_options(case: Case) -> None:
    given: Any = {
        "prior": 2,
        "posterior": Size([2]),
        "likelihood": PICTURE,
        "network": Shapes(PICTURE, 2, 4, 1),
    }[case.family]
    made = case.make(given)
    declared = component.options(type(made))
    assert list(made.given.values()) == [given]
    assert made.options == {name: option.default for name, option in declared.items()} | case.options
    again = type(made)(*made.given.values(), **made.options)
    assert (again.given, again.options) == (made.given, made.options)


@each(MEMBERS)
def test_an_unknown_option_is_a_type_error_that_names_it(case: Case) -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        case.member(2, no_such_option=1)


@each(MEMBERS)
def test_a_docstring_has_a_sentence_the_formula_the_source_and_every_option(case: Case) -> None:
    member = case.member
    text = inspect.cleandoc(member.__doc__ or "")
    first = text.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith(".")
    options = [f"{name}:" for name in component.options(member)]
    for part in (".. math::", "Args:", "Source:", "Example:", *options):
        assert part in text, f"{member.__name__} has no {part}"


def examples() -> list[DocTest]:
    """The examples in all docstrings of the package."""
    found = []
    for module in pkgutil.walk_packages(pyrovae.__path__, "pyrovae."):
        if not module.name.endswith("__main__"):
            found += DocTestFinder(exclude_empty=True).find(import_module(module.name))
    return [test for test in found if test.examples]


EXAMPLES = examples()


def test_every_component_has_an_example() -> None:
    classes = [case.member for case in MEMBERS]
    assert {f"{member.__module__}.{member.__qualname__}" for member in classes} <= {
        test.name for test in EXAMPLES
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=[test.name for test in EXAMPLES])
def test_an_example_gives_what_it_shows(example: DocTest, pyro_store: None) -> None:
    x = torch.rand(16, *PICTURE).round()
    example.globs = {
        **example.globs,
        **{
            thing.__name__: thing
            for thing in (torch, pyro, math, Size, Shapes, SVI, Trace_ELBO, Adam, Objective, resolve)
        },
        **{"program": build(resolve(), PICTURE), "x": x, "X": load_digits().images / 16},
    }
    complaints: list[str] = []
    runner = DocTestRunner(optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)
    runner.run(example, out=complaints.append)
    assert not runner.failures, "".join(complaints)
