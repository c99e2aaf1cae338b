"""Which data a costly diagnostic looks at, and how many at a time; knows no program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import Field
from torch import Tensor

from pyrovae.diagnostics import Subject

CELLS_AT_ONCE = 2**19
"""How many cells of data under all their draws are in memory at a time."""

Points: TypeAlias = Annotated[int, Field(ge=1, description="how many data, chosen by the seed")]


class Block(NamedTuple):
    """Data that are looked at together."""

    x: Tensor
    """(n, \\*event_shape)."""
    data: list[int]
    """Their places among all rows."""


def blocks(subject: Subject, points: int, draws: int) -> Iterator[Block]:
    """A sample of the data, as many at a time as memory allows, whatever the subject's batch size is.

    Chains and optimisers make much of a rounding error: their numbers would depend on the size of batches.

    Args:
        subject: of which all rows may be chosen.
        points: how many are.
        draws: how many draws of a datum are in memory at once.
    """
    for part in subject.rows.chosen(points, subject.seed, "points").split(block_size(subject, draws)):
        yield Block(subject.rows.rows(part), part.tolist())


def block_size(subject: Subject, draws: int) -> int:
    """How many data with so many draws of each are in memory at a time."""
    return max(1, CELLS_AT_ONCE // (draws * subject.program.event_shape.numel()))
