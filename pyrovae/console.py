"""Tables and numbers as people and machines read them: how wide, how rounded; knows nothing of ours."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

PIPE_WIDTH = 120
"""Of a table where neither a terminal nor COLUMNS says how wide lines may be."""

WIDE, NARROW = 110, 70
"""Terminals in which headings need no second line, and in which they need a line for each part of a word."""


def standard_output() -> Console:
    """Standard output, as wide as the terminal that its lines end up in; without colours."""
    from rich.console import Console

    is_known = "COLUMNS" in os.environ or any(map(_is_terminal, (sys.stdout, sys.stderr, sys.stdin)))
    width = None if is_known else PIPE_WIDTH
    return Console(width=width, color_system=None, markup=False, highlight=False, force_jupyter=False)


def say(console: Console, line: str) -> None:
    """A line on a console, as it is; on a terminal, which would break it anywhere, broken between words."""
    console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def table(*columns: str) -> Table:
    """An empty table; no word of it will be cut, however narrow the console is."""
    from rich import box
    from rich.table import Table

    width = standard_output().width
    padding = (0, 1) if width >= WIDE else (0, 1, 0, 0) if width >= NARROW else 0
    empty = Table(box=box.SIMPLE, padding=padding)
    for i, column in enumerate(columns):
        is_text = i == 0 or column == "unit"
        # A word that is too long is broken: rich would cut it.
        empty.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return empty


def heading(words: str) -> str:
    """A heading, in as many lines as leave the width to labels and numbers."""
    width = standard_output().width
    if width >= WIDE:
        return words
    return (words if width >= NARROW else re.sub(r"(?<=\w{4}-)(?=\w)", "\n", words)).replace(" ", "\n")


def beside(value: str, error: str) -> str:
    """A value and its error in one cell: in one line where there is room, else below each other."""
    return f"{value} {error}" if standard_output().width >= WIDE else f"{value}\n{error}"


def text(filled: Table) -> str:
    """A table as it is printed, without empty lines around it; lines break between words, labels' first."""
    console = standard_output()
    between = len(filled.columns) * (1 + sum(filled.padding[1::2])) + 1
    spare = console.width - between - sum(_longest(column, str.split) for column in filled.columns)
    if spare >= 0:
        labels, *numbers = filled.columns
        for column in (*numbers, labels):
            word, line = _longest(column, str.split), _longest(column, str.splitlines)
            column.width = word + min(line - word, spare)
            spare -= column.width - word
    with console.capture() as captured:
        console.print(filled)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")


def _longest(column: Column, parts: Callable[[str], list[str]]) -> int:
    """The length of the longest part of a column's texts."""
    texts = map(str, (column.header, *column.cells))
    return max((len(part) for text in texts for part in parts(text)), default=0)


def number(value: float) -> str:
    """A value, with three decimals or three digits."""
    return f"{value:,.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def error(value: float) -> str:
    """A standard error, with two digits; ``-`` where it is not known."""
    return "-" if math.isnan(value) else f"{value:.2g}"


def finite(value: float | None) -> float | None:
    """The value, or nothing in the place of what is not finite: JSON has no such numbers."""
    return value if value is not None and math.isfinite(value) else None


def all_finite(values: Iterable[float]) -> list[float | None]:
    """The values, with nothing in the place of those that are not finite."""
    return [finite(value) for value in values]


def _is_terminal(stream: object) -> bool:
    is_terminal = getattr(stream, "isatty", None)
    return bool(is_terminal and is_terminal())
