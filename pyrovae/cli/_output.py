"""What commands print, and where they write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.errors import RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console


def console() -> Console:
    """Standard error: standard output is for results."""
    from rich.console import Console

    return Console(stderr=True)


def say(console: Console, line: str) -> None:
    """A line on a console, as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


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
