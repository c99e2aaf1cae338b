"""What can go wrong through the user's doing, in words for that user; knows nothing of what raised it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class PyrovaeError(Exception):
    """A mistake that one sentence explains; the command line prints it and exits with ``exit_code``."""

    exit_code = 1


class DataError(PyrovaeError):
    """Data that are missing, unreadable or of no use as they are."""


class RunError(PyrovaeError):
    """A run folder that is missing, in the way, or no run."""


class TrainingError(PyrovaeError):
    """Training that cannot go on: a loss that is no longer finite."""


class Problem(NamedTuple):
    """One mistake in a configuration: where it stands (``prior.components``) and what is allowed there."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class ConfigError(PyrovaeError):
    """A configuration with one or more mistakes, all of them listed."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


def raised(error: BaseException, is_theirs: Callable[[Path], bool]) -> str:
    """What an error of the user's own code says in its first line, and the last line of theirs that it left.

    Args:
        error: of any kind.
        is_theirs: whether the user wrote a file.
    """
    first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    places = [
        f" ({Path(place.filename).name}, line {place.lineno})"
        for place in traceback.extract_tb(error.__traceback__)
        if is_theirs(Path(place.filename))
    ]
    return f"{type(error).__name__}{f': {first}' if first else ''}{places[-1] if places else ''}"
