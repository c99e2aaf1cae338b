"""``score``."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pyrovae.cli._app import app
from pyrovae.cli._given import GivenDataBesideOwn, reading
from pyrovae.cli._options import Json, Quiet, Seed, written_as
from pyrovae.cli._output import Written, console, writing
from pyrovae.console import finite, heading, say, table, text
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyrovae.data import Split
    from pyrovae.plots import Surprising
    from pyrovae.programs import Program
    from pyrovae.quantities import Mean
    from pyrovae.run import Run
    from pyrovae.score import Scores
    from pyrovae.units import Unit

BATCH = 100
"""Data at a time; does not change the numbers."""

REFERENCE = 1000
"""How many held-out rows set a threshold, where its level does not need more."""


LISTED = 10
"""How many rows are printed: those with the highest scores. All of them are in the file."""

HEADINGS = {"score_nats": "-log p(x), nats", "error_nats": "Monte-Carlo error", "pareto_k": "k-hat"}


class Reference(NamedTuple):
    """Scores of held-out rows, and the threshold that comes from them."""

    scores: Scores
    threshold: Mean


@app.command(epilog="Example: pyrovae score runs/my-run --threshold 0.9 --jsonl | jq 'select(.flagged)'")
@reading
def score(
    given: GivenDataBesideOwn,
    level: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="LEVEL",
            help="Flag rows above the score that new rows exceed with a probability of at most 1 - LEVEL "
            "(as 0.99); it comes from the run's validation rows.",
        ),
    ] = None,
    reference: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How many validation rows, chosen by the seed, set the threshold.",
            show_default=f"{REFERENCE}, or as many as LEVEL needs",
        ),
    ] = None,
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 100,
    top: Annotated[
        int, typer.Option(min=0, max=8, help="How many of the most surprising data are drawn; 0: no figure.")
    ] = 8,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("scores", ".csv", ".png")] = None,
    as_json: Json = False,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="Print a line of JSON for each row.")] = False,
    quiet: Quiet = False,
) -> None:
    """-log p(x) of each datum in nats: the most surprising data as a table, all of them in a file."""
    if level is not None and not 0 < level < 1:
        raise ConfigError([Problem("--threshold", f"needs a share above 0 and below 1, and not {level:g}")])
    if reference is not None and level is None:
        raise ConfigError([Problem("--reference", "is of rows that set a threshold: give --threshold, too")])
    if as_json and as_lines:
        raise ConfigError([Problem("--jsonl", "prints lines, and --json a document: leave one of them out")])
    given.check()
    from pyrovae.score import threshold

    held_out = None if level is None else _held_out(given, level, reference, seed)
    run, (rows, is_likelihood) = given.run, given.evaluated
    found = _scored(run.program, rows, particles, seed, quiet)
    written = Written()
    remarks = list(_remarks(run, found, rows.unit, is_likelihood=is_likelihood))
    known = None
    if level is not None and held_out is not None:
        scores = _scored(run.program, held_out, particles, seed, quiet)
        known = Reference(scores, threshold(scores.surprise, level))
        remarks += _promise(known, level, found, given)
    if top:
        surprising, more = _surprising(run.program, rows, found, top, seed)
        figure = _drawn(
            found, surprising, known, title=f"the most surprising of {len(rows):,} rows: {given.words}"
        )
        written.figure(figure, given.file(out, "scores", ".png"))
        remarks += more
    lines = list(_lines(rows, found, known))
    written.add(_write(lines, given.file(out, "scores", ".csv")), {"columns": list(lines[0])})
    if as_json:
        limit = None if known is None else known.threshold.value
        facts = {**given.facts, "particles": particles, "seed": seed, "unit": "nats", "threshold": limit}
        written.tell({**facts, "notes": remarks, "rows": lines}, as_json=True)
    elif as_lines:
        for remark in (*remarks, *written.holds):
            say(console(quiet), remark)
        for line in lines:
            typer.echo(json.dumps(line))
    else:
        _print(lines[:LISTED], len(lines), remarks)
        written.tell({}, as_json=False)


def _scored(program: Program, rows: Split, particles: int, seed: int, quiet: bool) -> Scores:
    """Scores of rows, with a bar in a terminal."""
    from pyrovae.progress import reporting, stepping
    from pyrovae.score import score

    with reporting(console(quiet), total=math.ceil(len(rows) / BATCH)) as report:
        return score(program, stepping(rows.batches(BATCH), report), particles=particles, seed=seed)


def _remarks(run: Run, found: Scores, unit: Unit, *, is_likelihood: bool) -> Iterator[str]:
    """What a reader of the scores must know, in sentences."""
    yield from run.caveats
    if not is_likelihood:
        yield (
            "these data are outside the likelihood's support, so the scores are cross-entropies, not "
            "log-likelihoods"
        )
    elif not run.program.support.is_discrete:
        yield f"scores are in nats: {unit.title}"
        yield from filter(None, [unit.of_stored(run.program.event_shape.numel(), -1, "each score")])
    if run.program.codes.is_density:
        yield from found.trust.notes("the score", "an upper bound of -log p(x)")


def _held_out(given: GivenDataBesideOwn, level: float, count: int | None, seed: int) -> Split:
    """The validation rows that set a threshold: no training rows, and enough for the level."""
    from pyrovae.errors import RunError
    from pyrovae.score import reference_rows, rows_needed

    needed = rows_needed(level)
    if count is not None and count < needed:
        raise ConfigError([Problem("--reference", f"--threshold {level:g} needs {needed:,} rows or more")])
    more = "train a run with a larger share of them (--set data.validation=0.2)"
    try:
        rows = given.own("validation")
    except RunError as error:
        reason = f"comes from rows that were held out of training, and {error}"
        raise ConfigError([Problem("--threshold", f"{reason}: {more}")]) from None
    if len(rows) < needed:
        reason = f"{level:g} needs {needed:,} validation rows or more, and the run has {len(rows):,}"
        raise ConfigError([Problem("--threshold", f"{reason}: give a lower level, or {more}")])
    return reference_rows(rows, count or max(REFERENCE, needed), seed=seed)


def _promise(known: Reference, level: float, found: Scores, given: GivenDataBesideOwn) -> Iterator[str]:
    """What the threshold is, what it promises, and of which rows it does not."""
    limit, above = known.threshold, sum(_flags(known, found))
    error = f" ± {limit.data_error:.2g}" if math.isfinite(limit.data_error) else ""
    yield (
        f"threshold {limit.value:.2f}{error} nats, from {len(known.scores.surprise):,} validation rows: a "
        f"new row like these is above it with a probability of at most {1 - level:.3g} (if the rows are "
        f"exchangeable); of these {len(found.surprise):,} rows {above:,} are"
    )
    if given.data is None and given.split_name != "test":
        seen = "set it" if given.split_name == "validation" else "were trained on"
        yield f"this promise is about new rows: these rows {seen}"


def _flags(known: Reference, found: Scores) -> list[bool]:
    """Which rows are above the threshold; a score that is not a number is."""
    return [not score <= known.threshold.value for score in found.surprise.tolist()]


def _surprising(
    program: Program, rows: Split, found: Scores, top: int, seed: int
) -> tuple[Surprising, list[str]]:
    """The data with the highest scores, and what cannot be said of them."""
    from pyrovae.plots import Surprising
    from pyrovae.score import NoProductOverCells, contributions

    places = found.ranking[:top]
    data = rows.rows(places)
    captions = [f"row {i}\n{found.surprise[i]:.1f} nats" for i in places.tolist()]
    if rows.labels is not None:
        labels = rows.labels[places.numpy()]
        captions = [f"label {label}\n{caption}" for label, caption in zip(labels, captions, strict=True)]
    try:
        of_cells = contributions(program, [data], seed=seed, numbers=places.tolist())
        return Surprising(data.cpu(), captions, of_cells), []
    except NoProductOverCells as why:
        return Surprising(data.cpu(), captions, None), [f"contributions of cells: not available: {why}"]


def _drawn(found: Scores, surprising: Surprising, known: Reference | None, title: str) -> Figure:
    from pyrovae import plots

    if known is None:
        return plots.scores(found.surprise, surprising, title=title)
    limit, held_out = known.threshold.value, known.scores.surprise
    return plots.scores(found.surprise, surprising, reference=held_out, threshold=limit, title=title)


def _lines(rows: Split, found: Scores, known: Reference | None) -> Iterator[dict[str, Any]]:
    """A line for each datum, the highest score first; what is not a finite number is nothing."""
    labels = None if rows.labels is None else rows.labels.tolist()
    flags = None if known is None else _flags(known, found)
    for i in found.ranking.tolist():
        line: dict[str, Any] = {"row": i} | ({} if labels is None else {"label": labels[i]})
        line["score_nats"] = finite(found.surprise[i].item())
        line["error_nats"] = finite(found.error[i].item())
        line["pareto_k"] = finite(found.pareto_k[i].item())
        if flags is not None:
            line["flagged"] = flags[i]
        yield line


def _write(lines: Sequence[dict[str, Any]], file: Path) -> Path:
    """All lines in a file, below a line of names; what is nothing is empty."""
    with writing(file), file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(lines[0])
        for line in lines:
            writer.writerow(int(value) if isinstance(value, bool) else value for value in line.values())
    return file


def _print(lines: Sequence[dict[str, Any]], n: int, remarks: Sequence[str]) -> None:
    """The highest scores, and what a reader of them must know."""
    shown = table(*(heading(HEADINGS.get(name, name)) for name in lines[0]))
    for line in lines:
        shown.add_row(*map(_as_text, line.values()))
    few = f"the {len(lines)} highest scores of {n:,} rows" if len(lines) < n else f"the scores of {n:,} rows"
    typer.echo(f"{few}\n\n{text(shown)}\n")
    for remark in remarks:
        typer.echo(remark)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:,.3f}" if isinstance(value, float) else str(value)
