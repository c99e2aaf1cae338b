"""The sets that values live on, as tests need them: rules to integrate over one, data and extremes on one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pyrovae import supports

MOST_COUNTED = 5000
"""The largest count that a sum over all counts goes to."""


class Rule(NamedTuple):
    """Values and weights under which sums are integrals."""

    values: Tensor
    """(n, *event_shape), float64."""
    weights: Tensor
    """(n,)."""

    def chunks(self, size: int = 2**15) -> Iterator[Rule]:
        for values, weights in zip(self.values.split(size), self.weights.split(size), strict=True):
            yield Rule(values, weights)


def event_shape(support: Constraint) -> Size:
    """A shape of values that are few enough to be integrated over, for sets of single cells."""
    return Size([1]) if supports.same(support, constraints.nonnegative_integer) else Size([2])


@cache
def rule(support: Constraint, shape: Size) -> Rule:
    """A rule for values of a shape on a set."""
    for known, make in _RULES:
        if supports.same(known, support):
            return make(shape)
    if isinstance(support, supports.Levels):
        return _power(torch.arange(support.count) / (support.count - 1), None, shape)
    if isinstance(support, constraints.integer_interval):
        return _power(torch.arange(support.lower_bound, support.upper_bound + 1), None, shape)
    raise LookupError(f"no rule for {supports.in_words(support)}: a new set needs one here")


def data_on(support: Constraint, *shape: int) -> Tensor:
    """Random float32 data on a set of single cells."""
    uniform = torch.rand(*shape)
    for known, make in _DATA:
        if supports.same(known, support):
            return make(uniform)
    values = rule(support, Size([1])).values.flatten()
    return values[torch.randint(len(values), shape)].float()


def extremes(support: Constraint) -> list[float]:
    """The values at the ends of a set of single cells; far out, where it has no end."""
    for known, ends in _EXTREMES:
        if supports.same(known, support):
            return ends
    values = rule(support, Size([1])).values
    return [values.min().item(), values.max().item()]


def _over_line(shape: Size) -> Rule:
    """The trapezoidal rule after z = sinh(t): from 1/25 near 0 to beyond 1000, so heavy tails are in."""
    t = torch.linspace(-8, 8, 401, dtype=torch.float64)
    return _power(t.sinh(), t.cosh() * (t[1] - t[0]), shape)


def _over_positive(shape: Size) -> Rule:
    t = torch.linspace(-4, 4, 401, dtype=torch.float64)
    values = t.sinh().exp()
    return _power(values, values * t.cosh() * (t[1] - t[0]), shape)


def _over_unit_interval(shape: Size) -> Rule:
    """The trapezoidal rule after x = 1 / (1 + exp(-sinh(t))), which squeezes both ends."""
    t = torch.linspace(-4.1, 4.1, 401, dtype=torch.float64)
    values = t.sinh().sigmoid()
    return _power(values, values * (1 - values) * t.cosh() * (t[1] - t[0]), shape)


def _over_simplex(shape: Size) -> Rule:
    """Of two coordinates, whose first one is integrated over."""
    assert shape == (2,)
    first = _over_unit_interval(Size([1]))
    return Rule(torch.cat([first.values, 1 - first.values], dim=1), first.weights)


def _over_circle(shape: Size) -> Rule:
    assert shape == (2,)
    angle = torch.arange(5000, dtype=torch.float64) * (2 * torch.pi / 5000)
    return Rule(torch.stack([angle.cos(), angle.sin()], dim=1), torch.full((5000,), 2 * torch.pi / 5000))


def _over_bits(shape: Size) -> Rule:
    return _power(torch.tensor([0.0, 1.0]), None, shape)


def _over_counts(shape: Size) -> Rule:
    return _power(torch.arange(MOST_COUNTED), None, shape)


def _over_one_hot(shape: Size) -> Rule:
    variables, categories = shape
    chosen = torch.cartesian_prod(*[torch.arange(categories)] * variables).reshape(-1, variables)
    return Rule(torch.eye(categories, dtype=torch.float64)[chosen], torch.ones(len(chosen)).double())


def _power(nodes: Tensor, weights: Tensor | None, shape: Size) -> Rule:
    """A rule for each cell -> a rule for all cells together; weights are 1 where it is a sum."""
    nodes = nodes.double()
    weights = torch.ones_like(nodes) if weights is None else weights
    grid = torch.cartesian_prod(*[torch.arange(len(nodes))] * shape.numel()).reshape(-1, *shape)
    return Rule(nodes[grid], weights[grid].flatten(1).prod(1))


_RULES = [
    (constraints.real, _over_line),
    (constraints.real_vector, _over_line),
    (constraints.positive, _over_positive),
    (constraints.unit_interval, _over_unit_interval),
    (supports.open_unit_interval, _over_unit_interval),
    (supports.unit_cube, _over_unit_interval),
    (supports.simplex, _over_simplex),
    (supports.sphere, _over_circle),
    (constraints.nonnegative_integer, _over_counts),
    (constraints.boolean, _over_bits),
    (supports.binary_codes, _over_bits),
    (supports.one_hot_codes, _over_one_hot),
]

_DATA = [
    (constraints.real, lambda uniform: torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))),
    (constraints.positive, lambda uniform: -uniform.clamp(1e-6, 1 - 1e-6).log()),
    (constraints.unit_interval, lambda uniform: uniform),
    (supports.open_unit_interval, lambda uniform: uniform.clamp(1e-3, 1 - 1e-3)),
    (constraints.nonnegative_integer, lambda uniform: (-5 * (1 - uniform).log()).floor()),
    (constraints.boolean, lambda uniform: uniform.round()),
]

_EXTREMES = [
    (constraints.real, [-1e3, 0.0, 1e3]),
    (constraints.positive, [1e-4, 1e4]),
    (constraints.unit_interval, [0.0, 1.0]),
    (supports.open_unit_interval, [1e-4, 1 - 1e-4]),
    (constraints.nonnegative_integer, [0.0, 1e4]),
    (constraints.boolean, [0.0, 1.0]),
]
