"""``evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae import tables
from pyrovae.cli._app import app
from pyrovae.cli._given import GivenData, reading
from pyrovae.cli._options import Json, Quiet, Seed, starting_with
from pyrovae.cli._output import as_file_name, console, write_figure
from pyrovae.component import names
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pyrovae.quantities import Findings

DIAGNOSTICS = names("diagnostic")
ALWAYS = ("active-units",)
"""Diagnostics that every evaluation runs."""


@app.command(epilog="Example: pyrovae evaluate runs/my-run --split test --with active-units --json")
@reading
def evaluate(
    given: GivenData,
    diagnostics: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME",
            help=f"A further diagnostic; may be repeated: {', '.join(DIAGNOSTICS)}.",
            autocompletion=starting_with(DIAGNOSTICS),
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.OPTION=VALUE",
            help="An option of a diagnostic; may be repeated. See 'pyrovae components'.",
        ),
    ] = None,
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 1000,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Data at a time; does not change the numbers.")
    ] = 100,
    seed: Seed = 0,
    as_json: Json = False,
    per_datum: Annotated[
        bool, typer.Option("--per-datum", help="With --json: the estimates of every datum, too.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """ELBO, its two terms, the importance-sampled log p(x) and what --with asks for, each with its errors."""
    if per_datum and not as_json:
        raise ConfigError([Problem("--per-datum", "is a part of what --json prints: give both")])
    given.check()
    chosen = _diagnostics(diagnostics or [], assignments or [])
    from pyrovae.progress import reporting, stepping

    run, (rows, is_likelihood) = given.run, given.evaluated
    with reporting(console(quiet), total=-(-len(rows) // batch_size) + len(chosen)) as report:
        report.say(f"{len(rows):,} rows, {particles:,} draws of z each")
        batches = stepping(rows.batches(batch_size), report)
        findings = run.evaluate(
            batches, particles=particles, seed=seed, is_likelihood=is_likelihood, unit=rows.unit
        )
        others = {}
        for name, options in chosen.items():
            report.say(name)
            others[name] = run.diagnose(name, rows, options=options, seed=seed, batch_size=batch_size)
            report.step()
    facts: dict[str, Any] = {
        **given.facts,
        "rows": len(rows),
        "particles": particles,
        "seed": seed,
        "caveats": run.caveats,
        "trained": [asdict(stretch) for stretch in run.stretches],
    }
    drawn = as_file_name(given.data) if given.data else facts["split"]
    figures = {
        name: _draw(given.path, name, others[name], drawn) for name in dict.fromkeys(diagnostics or [])
    }
    facts["figures"] = {name: str(figure) for name, figure in figures.items() if figure}
    if as_json:
        tables.print_json(facts, findings, others, per_datum=per_datum)
        return
    tables.print_evaluation(facts, findings)
    for found in others.values():
        tables.print_findings(found)
    for figure in facts["figures"].values():
        typer.echo(figure)


def _diagnostics(asked: Sequence[str], assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The diagnostics to run, each with all of its options."""
    from pyrovae.config import parse_value, selected
    from pyrovae.wording import unknown

    chosen: dict[str, dict[str, Any]] = {name: {} for name in (*ALWAYS, *asked)}
    problems = []
    for text in assignments:
        place, value = parse_value(text, example="active-units.threshold=0.02")
        name, _, option = place.rpartition(".")
        if name in chosen:
            chosen[name][option] = value
        elif name in DIAGNOSTICS:
            problems.append(Problem(place, f"{name} is not run; ask for it with --with {name}"))
        elif place in DIAGNOSTICS:
            message = f"is a diagnostic: set one of its options, as {place}.OPTION=VALUE"
            problems.append(Problem(place, f"{message}; 'pyrovae components diagnostic {place}' lists them"))
        else:
            problems.append(Problem(place, unknown(name or place, list(chosen))))
    return selected("diagnostic", chosen, problems, place="--with")


def _draw(run: Path, name: str, findings: Findings, rows: str) -> Path | None:
    """Draw what a diagnostic has to be looked at into the run's folder; where it has nothing, ``None``."""
    if not findings.histograms:
        return None
    from pyrovae import plots

    figure = plots.histograms(findings.histograms, title=findings.title)
    return write_figure(figure, run / "figures" / f"{name.rpartition(':')[2]}-{rows}.png")
