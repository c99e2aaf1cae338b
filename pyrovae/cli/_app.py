"""The application that commands are added to, and how a mistake is answered."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from pyrovae import __version__, places
from pyrovae.errors import ConfigError, Problem, PyrovaeError, raised


class Command(TyperCommand):
    """A command that says which run may be meant where its argument RUN is missing."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """What the list of commands says: all of it, in as many lines as it needs."""
        return super().get_short_help_str(10_000)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            is_run = error.param is not None and "RUN" in (error.param.metavar or "")
            if not is_run or type(error).__name__ != "MissingParameter":
                raise
            is_several = getattr(error.param, "nargs", 1) == -1
            raise ConfigError([Problem("RUN", _which_run(ctx.command_path, 1 + is_several))]) from None


def _which_run(command: str, count: int) -> str:
    """What to type for runs that were not named."""
    needed = "name the folder of a run" if count == 1 else "name the folders of two runs or more"
    newest = places.newest()[:count]
    if len(newest) < count:
        there = f"there is only {newest[0]}" if newest else "there is none under runs/ yet"
        return f"{needed}; {there}, and 'pyrovae train' makes {'another' if newest else 'one'}"
    named = " ".join(map(str, newest))
    return f"{needed}, as the newest: {command} {named}"


Function = TypeVar("Function", bound=Callable[..., Any])


class _Commands(typer.Typer):
    """An application whose commands are all of this kind."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        return super().command(name, cls=Command, **options)


app = _Commands(
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
