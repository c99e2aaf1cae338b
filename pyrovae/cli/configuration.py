"""``components`` and ``config``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Annotated, Any

import typer

from pyrovae import tables
from pyrovae.cli._app import app
from pyrovae.cli._options import Assignments, ConfigFile, Json, resolved, starting_with
from pyrovae.cli._output import print_json
from pyrovae.component import FAMILIES, find, names, support_of
from pyrovae.errors import ConfigError, Problem

Listed = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What there is to say of each component, by family and name."""


@app.command(epilog="Example: pyrovae components prior mixture")
def components(
    family: Annotated[
        str | None,
        typer.Argument(
            metavar="FAMILY",
            help=f"One family: {', '.join(FAMILIES)}.",
            autocompletion=starting_with(list(FAMILIES)),
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One component of it.", show_default=False)
    ] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Which priors and posteriors fit each other, or why not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Every prior, likelihood, posterior, network, objective and diagnostic, with its options."""
    if matrix and family:
        message = f"is about priors and posteriors, and lists no {family}: leave one of the two out"
        raise ConfigError([Problem("--matrix", message)])
    chosen = {each: _chosen("NAME", name, names(each)) for each in _chosen("FAMILY", family, list(FAMILIES))}
    if matrix:
        print_json(tables.misfits()) if as_json else tables.print_matrix()
        return
    found = {of: {each: _described(of, each) for each in members} for of, members in chosen.items()}
    print_json(found) if as_json else _print(found)


@app.command(epilog="Example: pyrovae config --set prior=normal > run.toml")
def config(config: ConfigFile = None, assignments: Assignments = None, as_json: Json = False) -> None:
    """The complete configuration of a run as TOML, every line with its unit and its choices."""
    from pyrovae.config import dump

    complete = resolved(config, assignments)
    if as_json:
        print_json(complete.model_dump(mode="json"))
        return
    typer.echo(dump(complete), nl=False)


def _chosen(place: str, one: str | None, all_: Sequence[str]) -> Sequence[str]:
    """The one that was named, or all."""
    if one is None:
        return all_
    if one not in all_:
        from pyrovae.wording import unknown

        if owners := [family for family in FAMILIES if place == "FAMILY" and one in names(family)]:
            what = f"{one!r} is a {' and a '.join(owners)}: write 'pyrovae components {owners[0]} {one}'"
            raise ConfigError([Problem(place, what)])
        raise ConfigError([Problem(place, unknown(one, all_))])
    return [one]


def _described(family: str, name: str) -> dict[str, Any]:
    """What a component is, where its values lie, and its options."""
    from pyrovae.config import schema
    from pyrovae.supports import in_words
    from pyrovae.wording import describe

    member, support = find(family, name), support_of(family, name)
    options = {
        option: {"default": field.default, "meaning": field.description, "allowed": describe(field)}
        for option, field in schema(member).model_fields.items()
        if option != "name"
    }
    values = {} if support is None else {"values": in_words(support)}
    return {"summary": (member.__doc__ or "").splitlines()[0], **values, "options": options}


def _print(found: Listed) -> None:
    """A line for each component, and two for each option: the setting, and what it means."""
    from pyrovae import console
    from pyrovae.config import DEFAULT_COMPONENTS, literal

    columns = console.standard_output().width
    for family, members in found.items():
        typer.secho(family, bold=True)
        width = max(map(len, members), default=0)
        for name, about in members.items():
            values = f" Values: {about['values']}." if "values" in about else ""
            line = f"  {name:<{width}}  {about['summary']}{values}"
            typer.echo(fill(line, columns, subsequent_indent=" " * (width + 4), break_on_hyphens=False))
            section = family if family in DEFAULT_COMPONENTS else name  # of a run, or of an evaluation
            for option, field in about["options"].items():
                is_set = field["default"] is not None  # TOML has no null
                value = literal(field["default"]) if is_set else "..."
                typer.echo(f"    --set {shlex.quote(f'{section}.{option}={value}')}")
                meaning = f"{field['meaning']} ({field['allowed']}{'' if is_set else '; not set'})"
                indent = " " * 8
                typer.echo(fill(meaning, columns, initial_indent=indent, subsequent_indent=indent))
