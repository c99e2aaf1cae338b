"""The sets that values live on, torch's constraints and a few of ours: whether two are the same, in words."""

from __future__ import annotations

from typing import Any

import pyro.distributions.constraints as pyro_constraints
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


class OpenUnitInterval(Constraint):
    """The open interval (0, 1): torch's ``unit_interval`` has both ends."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


class Levels(Constraint):
    """Evenly spaced values from 0 to 1, as grey values of 8 bits divided by 255 are.

    Args:
        count: how many, both ends with them.
    """

    is_discrete = True

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        scaled = value * (self.count - 1)
        # Half a float's distance between levels is lost when values are divided; a thousandth never is.
        on_level = (scaled - scaled.round()).abs() < 1e-3
        return on_level & (value > -1e-6) & (value < 1 + 1e-6)

    def __str__(self) -> str:
        return f"the {self.count} levels 0, 1/{self.count - 1}, ..., 1"


class Anything(Constraint):
    """Any values: of a set that no single cell could be held against, as that of counts with a given total.

    Args:
        is_discrete: whether the values are.
    """

    def __init__(self, is_discrete: bool) -> None:
        self.is_discrete = is_discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return torch.ones_like(value, dtype=torch.bool)

    def __str__(self) -> str:
        return "any values"


open_unit_interval = OpenUnitInterval()
unit_cube = constraints.independent(constraints.unit_interval, 1)
binary_codes = constraints.independent(constraints.boolean, 1)
one_hot_codes = constraints.independent(constraints.one_hot, 1)
simplex = constraints.simplex
sphere = pyro_constraints.sphere

WORDS = [
    (constraints.boolean, "{0, 1}"),
    (constraints.real, "the real numbers"),
    (constraints.positive, "the numbers above 0"),
    (constraints.nonnegative_integer, "the counts 0, 1, 2, ..."),
    (constraints.unit_interval, "[0, 1]"),
    (open_unit_interval, "(0, 1)"),
    (constraints.real_vector, "real vectors"),
    (unit_cube, "the unit cube"),
    (simplex, "the simplex"),
    (sphere, "the unit sphere"),
    (binary_codes, "binary codes"),
    (one_hot_codes, "one-hot codes"),
    (constraints.one_hot, "one-hot vectors"),
]


def same(one: object, other: object) -> bool:
    """Whether two constraints stand for the same set: one class with the same bounds and parts.

    Torch compares them by identity, and the text that it prints leaves parts out.
    """
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Constraint) and isinstance(other, Constraint):
        return type(one) is type(other) and same(sorted(vars(one).items()), sorted(vars(other).items()))
    return bool(one == other)


def in_words(support: Constraint) -> str:
    """A set as a reader calls it.

    Example:
        >>> in_words(constraints.boolean)
        '{0, 1}'
    """
    if isinstance(support, constraints.integer_interval):
        return f"the integers from {support.lower_bound} to {support.upper_bound}"
    return next((words for known, words in WORDS if same(known, support)), str(support))


def of_cells(distribution: Any) -> Constraint:
    """The set that each cell of a distribution's values lies in.

    Example:
        >>> import pyro.distributions as dist
        >>> of_cells(dist.Bernoulli(torch.zeros(3)).to_event(1))
        Boolean()
    """
    try:
        support = distribution.support
    except NotImplementedError:
        return Anything(is_discrete=False)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    differs = any(isinstance(bound, Tensor) and bound.numel() > 1 for bound in vars(support).values())
    return Anything(support.is_discrete) if support.event_dim or differs else support


def contains(support: Constraint, values: Tensor) -> bool:
    """Whether all values lie in the set."""
    return bool(support.check(values).all())
