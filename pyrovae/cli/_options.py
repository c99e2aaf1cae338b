"""Options that several commands share, and the configuration that some of them make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae.cli._output import suffix_of
from pyrovae.component import names
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pyrovae.config import Config


class Checkpoint(StrEnum):
    """Which weights of a run are read."""

    best = "best"
    last = "last"


class SplitName(StrEnum):
    """Which part of the data is read."""

    train = "train"
    validation = "validation"
    test = "test"


def starting_with(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Completion: those of the choices that begin with what was typed."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def component(family: str, meaning: str) -> Any:
    """A flag that names a component; help and completion list the family's members."""
    members = names(family)
    text = f"{meaning}: {', '.join(members)}."
    return typer.Option(f"--{family}", metavar="NAME", help=text, autocompletion=starting_with(members))


def written_as(what: str, *suffixes: str) -> Any:
    """A flag that says where to write; what is no name of a file, or of one of another kind, is refused."""

    def checked(out: Path | None) -> Path | None:
        if out is None:
            return None
        if out.name in ("", ".."):
            raise ConfigError([Problem("--out", f"{out} names no file: add a name to it, as {out / what}")])
        if (suffix := suffix_of(out)) and suffix not in suffixes:
            message = f"{what} are written as {', '.join(suffixes)}, and not as {suffix}"
            raise ConfigError([Problem("--out", message)])
        return out

    text = f"Where to write ({', '.join(suffixes)}); the suffix may be left out."
    return typer.Option("--out", metavar="PATH", help=text, show_default="in the run", callback=checked)


ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; see 'pyrovae config'.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PLACE=VALUE", help="One setting, as train.lr=5e-4; may be repeated."),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.", show_default=False)]
CheckpointOption = Annotated[Checkpoint, typer.Option("--checkpoint", help="Which weights of the run.")]
SplitOption = Annotated[
    SplitName | None, typer.Option("--split", help="Which part of the run's data.", show_default="test")
]
Source = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Other data than the run's own: their test set, or all rows where they have none.",
    ),
]
OwnSource = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="PATH",
        help="Where the run's own data are now, if they have moved since training.",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the components of the user's own that the run was trained with.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, ... or mps.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")]
Json = Annotated[bool, typer.Option("--json", help="Print one document of JSON.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Nothing on standard error but warnings and errors.")
]


def resolved(
    file: Path | None, assignments: Sequence[str] | None, flags: Iterable[tuple[str, Any]] = ()
) -> Config:
    """The complete configuration that was typed: defaults, a file, assignments, other options."""
    from pyrovae.config import resolve

    return resolve(*layers(file, assignments, flags))


def layers(
    file: Path | None, assignments: Sequence[str] | None, flags: Iterable[tuple[str, Any]] = ()
) -> list[dict[str, Any]]:
    """What was typed, as layers of the configuration: a file, assignments, other options."""
    from pyrovae.config import layer, parse_assignment, read

    files = [read(file)] if file is not None else []
    return [*files, *map(parse_assignment, assignments or []), *(layer(*flag) for flag in flags)]
