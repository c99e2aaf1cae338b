"""The application that commands are added to, and how a mistake is answered."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any

import typer

from pyrovae import __version__
from pyrovae.errors import PyrovaeError, raised

app = typer.Typer(
    name="pyrovae",
    help="Variational autoencoders as Pyro programs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's takes a tenth of a second to import
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


OF_OPENMP = ("OMP_", "GOMP_", "KMP_")
"""How names of variables begin by which a user says how OpenMP shall work."""

SPINS = "2000"
"""How often a waiting thread looks whether there is work, some microseconds in all, before it sleeps."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pyrovae {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version, and end.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the application itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is printed as a sentence, without a traceback."""
    try:
        with warnings.catch_warnings(), _waiting_briefly():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app(arguments)
    except PyrovaeError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        from pyrovae import component

        if not any(component.is_own(Path(place.filename)) for place in extract_tb(error.__traceback__)):
            raise
        typer.echo(f"error: {raised(error, component.is_own)}", err=True)
        sys.exit(1)


@contextmanager
def _waiting_briefly() -> Iterator[None]:
    """Torch's threads, if torch is first imported inside, wait for each other without keeping a core busy.

    By itself, GNU's OpenMP has a thread that waits spin for milliseconds. Where other processes share the
    cores, the thread that it waits for may have none meanwhile, and a training of small steps takes ten times
    as long or more. OpenMP reads the variable once, when torch is loaded; afterwards it is gone, so that only
    processes that a command itself starts have it too. What the user said of OpenMP stands alone.
    """
    if any(name.startswith(OF_OPENMP) for name in os.environ):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)


def _show_warning(message: Warning | str, *_: Any) -> None:
    typer.echo(f"warning: {message}", err=True)
