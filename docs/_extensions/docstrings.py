"""The docstring of a component, taken apart, and what it lacks; knows no Sphinx."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

from pyrovae.component import FAMILIES, Component, find, names

HEADING = re.compile(r"^(Args|Raises|Source|Example):\s*", re.MULTILINE)
FORMULA = re.compile(r"^\.\. math::(?: *\S|\s*\n +\S)", re.MULTILINE)


class Docstring(NamedTuple):
    """The parts of a component's docstring."""

    sentence: str
    explanation: str
    """The formula, and what is to be said of it."""
    sections: dict[str, str]
    """What stands under ``Args``, ``Raises``, ``Source`` and ``Example``."""

    @property
    def lacks(self) -> list[str]:
        """What a reader would miss."""
        parts = {
            "formula": FORMULA.search(self.explanation) is not None,
            "source": bool(self.sections.get("Source")),
            "example": bool(self.sections.get("Example")),
        }
        return [part for part, is_there in parts.items() if not is_there]


def read(member: type[Component]) -> Docstring:
    """The docstring of a component itself; one that is inherited says nothing of it."""
    text, *rest = HEADING.split(inspect.cleandoc(member.__doc__ or ""))
    sentence, _, explanation = text.partition("\n\n")
    sections = {heading: content.rstrip() for heading, content in zip(rest[::2], rest[1::2], strict=True)}
    return Docstring(" ".join(sentence.split()), explanation.rstrip(), sections)


def incomplete() -> list[str]:
    """A sentence for each component whose docstring is not complete."""
    return [
        f"the docstring of the {family} {name!r} has no {' and no '.join(lacks)}"
        for family in FAMILIES
        for name in names(family)
        if (lacks := read(find(family, name)).lacks)
    ]
