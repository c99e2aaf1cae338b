"""``components`` and ``config``."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from pyrovae import tables
from pyrovae.cli._app import app
from pyrovae.cli._options import Assignments, ConfigFile, resolved
from pyrovae.component import FAMILIES, find, names, support_of


@app.command(epilog="Example: pyrovae components --matrix")
def components(
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Which priors and posteriors fit each other, or why not.")
    ] = False,
) -> None:
    """Every prior, likelihood, posterior, network, objective and diagnostic, with its options."""
    if matrix:
        tables.print_matrix()
        return
    from pyrovae.config import DEFAULT_COMPONENTS, literal, schema
    from pyrovae.supports import in_words
    from pyrovae.wording import describe

    for family in FAMILIES:
        typer.secho(family, bold=True)
        width = max(map(len, names(family)), default=0)
        for name in names(family):
            member, support = find(family, name), support_of(family, name)
            values = f" Values: {in_words(support)}." if support is not None else ""
            section = family if family in DEFAULT_COMPONENTS else name  # of a run, or of an evaluation
            typer.echo(f"  {name:<{width}}  {(member.__doc__ or '').splitlines()[0]}{values}")
            for option, field in schema(member).model_fields.items():
                if option != "name":
                    is_set = field.default is not None  # TOML has no null
                    setting = shlex.quote(f"{section}.{option}={literal(field.default) if is_set else '...'}")
                    allowed = describe(field) + ("" if is_set else "; not set")
                    typer.echo(f"    --set {setting}\n        {field.description} ({allowed})")


@app.command(epilog="Example: pyrovae config --set prior=normal > run.toml")
def config(config: ConfigFile = None, assignments: Assignments = None) -> None:
    """The complete configuration of a run as TOML, every line with its unit and its choices."""
    from pyrovae.config import dump

    typer.echo(dump(resolved(config, assignments)), nl=False)
