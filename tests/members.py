"""Every component there is, as it is and with each option set to something else; what tests say laws over."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae import component, supports


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

    def make(self, **available: Any) -> Any:
        return self.member(**component.supplied(self.member, available), **self.options)


def allowed(annotation: Any) -> list[Any]:
    """Some values of an option: all choices of a closed set, a number, a list of two numbers or a choice."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        values = allowed(arguments[0])
    elif origin in (Union, types.UnionType):
        values = [value for part in arguments for value in allowed(part)]
    elif origin is Literal:
        values = list(arguments)
    elif inspect.isclass(origin) and issubclass(origin, Sequence):
        first = allowed(arguments[0])[:1]
        values = [[value] if isinstance(value, str) else [value, value + 1] for value in first]
    else:
        values = {bool: [False, True], float: [0.75, 2.5], int: [6, 1]}.get(annotation, [])
    valid = [value for value in values if _is_valid(annotation, value)]
    return valid or [value for value in [60] if _is_valid(annotation, value)]


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


def objective_of(program: Any, name: str = "elbo", **options: Any) -> Any:
    """An objective by name, on a program that is trained on 12 data."""
    return Case("objective", name, options).make(program=program, data_size=12)


MEMBERS = [Case(family, name, {}) for family in component.FAMILIES for name in component.names(family)]


def each(cases: Sequence[Any], name: str = "case") -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, cases, ids=str)


def shaken(module: nn.Module) -> Any:
    """The module in float64, with all parameters moved from where they start; of matrices, their products."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter += 0.3 * torch.randn_like(parameter) / inputs**0.5
    return module


def code_shape(support: Constraint) -> Size:
    """The shape of a code with two coordinates on a set, which some prior has."""
    fitting = [
        case for case in MEMBERS if case.family == "prior" and supports.same(case.member.support, support)
    ]
    assert fitting, f"no prior lives on {supports.in_words(support)}"
    return fitting[0].make(latent_dim=2, datum_shape=Size([2])).event_shape  # type: ignore[no-any-return]


def features_for(module: Any, *batch: int) -> Tensor:
    """Random features for a posterior or a likelihood, in its dtype."""
    cells = module.event_shape if module.family == "likelihood" else Size()
    return torch.randn(*batch, module.features, *cells, dtype=next(_tensors(module)).dtype)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
    yield torch.empty(0, dtype=torch.float64)


def untrained(module: nn.Module) -> list[str]:
    """The parameters that no gradient has reached."""
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
