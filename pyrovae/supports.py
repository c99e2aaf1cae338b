"""The sets that values live on, torch's constraints: whether two are the same, and each in words."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

WORDS = [
    (constraints.boolean, "{0, 1}"),
    (constraints.real, "the real numbers"),
    (constraints.real_vector, "real vectors"),
    (constraints.unit_interval, "[0, 1]"),
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
    return next((words for known, words in WORDS if same(known, support)), str(support))


def contains(support: Constraint, values: Tensor) -> bool:
    """Whether all values lie in the set."""
    return bool(support.check(values).all())
