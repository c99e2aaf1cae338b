"""The sets that values live on, torch's constraints: whether two are the same, and each in words."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

WORDS = {
    str(constraints.boolean): "{0, 1}",
    str(constraints.real): "the real numbers",
    str(constraints.real_vector): "real vectors",
    str(constraints.unit_interval): "[0, 1]",
}


def same(one: Constraint, other: Constraint) -> bool:
    """Whether two constraints stand for the same set (torch compares them by identity)."""
    return str(one) == str(other)


def in_words(support: Constraint) -> str:
    """A set as a reader calls it.

    Example:
        >>> in_words(constraints.boolean)
        '{0, 1}'
    """
    return WORDS.get(str(support), str(support))


def contains(support: Constraint, values: Tensor) -> bool:
    """Whether all values lie in the set."""
    return bool(support.check(values).all())
