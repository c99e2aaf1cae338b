"""What a component is: found by its name, written down by its options, documented where it stands."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Mapping
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, DocTest, DocTestFinder, DocTestRunner
from importlib import import_module
from typing import Any

import pyro
import pytest
import torch
from members import MEMBERS, Case, cases, code_shape, each
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from sklearn.datasets import load_digits
from torch import Size

import pyrovae
from pyrovae import component, objectives
from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.errors import ConfigError
from pyrovae.networks import Shapes

PICTURE = Size([1, 8, 8])

PROMISED: Mapping[str, str] = {
    "program": "single-layer",
    "prior": "normal laplace student-t mixture vamp flow sphere uniform dirichlet categorical bernoulli",
    "posterior": "normal full-normal low-rank-normal laplace logistic-normal planar radial sylvester iaf "
    "coupling spline power-sphere logit-normal categorical bernoulli gumbel-softmax relaxed-bernoulli delta",
    "likelihood": "bernoulli continuous-bernoulli gaussian laplace student-t beta logistic "
    "discretized-logistic discretized-logistic-mixture categorical poisson negative-binomial "
    "zero-inflated-negative-binomial log-normal multinomial",
    "network": "linear mlp gated-mlp conv gated-conv resnet",
    "objective": "elbo mean-field-elbo iwae renyi enum-elbo graph-elbo info tc",
    "diagnostic": "active-units coordinates aggregate gaps ais refinement calibration predictive-checks",
}


def test_the_registry_holds_at_least_what_was_promised() -> None:
    missing = {family: set(PROMISED[family].split()) - set(component.names(family)) for family in PROMISED}
    assert missing == {family: set() for family in PROMISED}
    assert set(component.FAMILIES) == set(PROMISED)


def test_every_option_is_tried_with_another_value_than_its_default() -> None:
    tried = {(str(case.member), option) for case in cases(*component.FAMILIES) for option in case.options}
    assert tried == {
        (str(case.member), option) for case in MEMBERS for option in component.options(case.member)
    }


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


def makes_sense(case: Case) -> bool:
    """Whether an option can be set beside the defaults of the others."""
    return not (case.family == "objective" and ("cycle" in case.options or "weight" in case.options))


@each([case for case in cases(*component.FAMILIES) if makes_sense(case)])
def test_a_component_knows_what_it_was_given_and_its_options(case: Case) -> None:
    available: Any = {
        "program": build(resolve({"network": "linear"}), PICTURE).given,
        "prior": {"latent_dim": 2, "datum_shape": PICTURE},
        "posterior": {"event_shape": code_shape(case.member.support) if case.family == "posterior" else None},
        "likelihood": {"event_shape": PICTURE},
        "network": {"shapes": Shapes(PICTURE, 2, 4, 1)},
        "objective": {"program": build(resolve({"network": "linear"}), PICTURE), "data_size": 12},
        "diagnostic": {},
    }[case.family]
    made = case.make(**available)
    declared = component.options(type(made))
    assert made.given == component.supplied(case.member, available)
    assert made.options == {name: option.default for name, option in declared.items()} | case.options
    again = type(made)(**made.given, **made.options)
    assert (again.given, again.options) == (made.given, made.options)


def test_a_component_that_asks_for_what_no_program_has_is_told_what_there_is() -> None:
    class Hungry(component.Component, family="network"):
        def __init__(self, shapes: Shapes, weather: str) -> None: ...

    with pytest.raises(ConfigError, match=r"Hungry asks for weather; a network is given shapes, and .* \*"):
        component.supplied(Hungry, {"shapes": None})


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
            for thing in (
                torch,
                pyro,
                math,
                Size,
                Shapes,
                SVI,
                Trace_ELBO,
                Adam,
                objectives.Elbo,
                resolve,
                build,
            )
        },
        **{"program": build(resolve(), PICTURE), "x": x, "X": load_digits().images / 16},
    }
    complaints: list[str] = []
    runner = DocTestRunner(optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)
    runner.run(example, out=complaints.append)
    assert not runner.failures, "".join(complaints)
