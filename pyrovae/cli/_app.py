"""The application that commands are added to, and how a mistake is answered."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from traceback import extract_tb
from typing import Any

import typer

from pyrovae.errors import PyrovaeError, raised

app = typer.Typer(
    name="pyrovae",
    help="Variational autoencoders as Pyro programs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's takes a tenth of a second to import
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is printed as a sentence, without a traceback."""
    try:
        with warnings.catch_warnings():
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


def _show_warning(message: Warning | str, *_: Any) -> None:
    typer.echo(f"warning: {message}", err=True)
