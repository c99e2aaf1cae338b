"""What commands print, and where they write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pyrovae.errors import RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console


def console(quiet: bool = False) -> Console:
    """Standard error, or nothing: standard output is for results."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet)


def suffix_of(file: Path) -> str:
    """What tells the kind of a file, as ``.png`` and ``.mp4``; ``run.v2`` and ``beta-0.5`` have none."""
    return file.suffix if re.fullmatch(r"\.[A-Za-z]{2,}\d?", file.suffix) else ""


def place(out: Path | None, default: Path, suffix: str) -> Path:
    """The file to write: where the user wants it, without regard to a suffix, or a default one."""
    file = out or default
    return file.with_name(f"{file.name.removesuffix(suffix_of(file))}{suffix}")


def write_figure(figure: Figure, file: Path) -> Path:
    """Write a figure; its folder is made if need be."""
    from pyrovae import plots

    with writing(file):
        plots.save(figure, file)
    return file


def write_arrays(file: Path, **arrays: Any) -> Path:
    """Write tensors as a compressed archive of arrays; its folder is made if need be."""
    import numpy as np

    with writing(file):
        np.savez_compressed(file, **{name: array.numpy(force=True) for name, array in arrays.items()})
    return file


class Written:
    """The files that a command has written, and what they hold: paths for people, a document for programs."""

    def __init__(self) -> None:
        self.holds: dict[str, Any] = {}

    def figure(self, figure: Figure, file: Path) -> None:
        """Write a figure."""
        self.add(write_figure(figure, file), "picture")

    def arrays(self, file: Path, **arrays: Any) -> None:
        """Write tensors as an archive, whose arrays are known by their names and shapes."""
        self.add(write_arrays(file, **arrays), {name: list(array.shape) for name, array in arrays.items()})

    def add(self, file: Path, holds: Any) -> None:
        """A file that is written."""
        self.holds[str(file)] = holds

    def tell(self, facts: Mapping[str, Any], *, as_json: bool) -> None:
        """Print where the files are; or one document with the facts, the files and what they hold."""
        if as_json:
            print_json({**facts, "files": list(self.holds), "holds": self.holds})
            return
        for file in self.holds:
            typer.echo(file)


def print_json(document: Any) -> None:
    """Print one document."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Makes the folder of a file that is written inside, and says in a sentence why it cannot be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RunError(f"cannot write {file}: {error.strerror or error}") from None


def as_file_name(source: str) -> str:
    """A source's name or path as a part of a file's name, which no split has."""
    return "of-" + re.sub(r"[^\w.]+", "-", source).lstrip("-")[-100:]
