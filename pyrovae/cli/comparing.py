"""``compare``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae import places, sources, tables
from pyrovae.cli._app import app
from pyrovae.cli._options import (
    Checkpoint,
    CheckpointOption,
    Device,
    Json,
    OwnSource,
    Quiet,
    Seed,
    Source,
    SplitName,
    SplitOption,
    Trust,
    written_as,
)
from pyrovae.cli._output import console, place, write_figure
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyrovae.contrast import Comparison
    from pyrovae.data import Split
    from pyrovae.run import Run

AGAINST = "vs"
"""What stands between the runs of two sides."""

BATCH = 100
"""Data at a time; does not change the numbers."""


@app.command(epilog="Example: pyrovae compare runs/normal-* runs/vamp-*")
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of two runs or more; their configurations are known by the settings, or stand on "
            "either side of a 'vs'.",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="RUN",
            help="The run that is subtracted from the others.",
            show_default="the first one",
        ),
    ] = None,
    split: SplitOption = None,
    data: Source = None,
    source: OwnSource = None,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("comparisons", ".png")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Runs on the same data: a table, paired differences, what they say of configurations, and a figure."""
    sides = _sides(paths)
    names = _names([path for side in sides for path in side])
    reference = _baseline(baseline, names)
    for path in names:
        places.check(path)
    if data is not None:
        sources.check(data)
    from pyrovae.compare import compare as of_runs
    from pyrovae.compare import same_rows
    from pyrovae.progress import reporting
    from pyrovae.run import Run

    runs = {name: Run.load(path, checkpoint.value, trust=trust, on=device) for path, name in names.items()}
    rows = same_rows(runs, split and split.value, data=data, source=source)
    with reporting(console(quiet), total=-(-len(rows.split) // BATCH) * len(runs)) as report:
        report.say(f"{len(rows.split):,} rows, {particles:,} draws of z each, {len(runs)} runs")
        comparison = of_runs(
            runs,
            rows,
            particles=particles,
            seed=seed,
            batch_size=BATCH,
            baseline=names[reference],
            sides=[[names[path] for path in side] for side in sides] if len(sides) > 1 else (),
            on_batch=report.step,
        )
    facts: dict[str, Any] = {
        "runs": {name: str(path) for path, name in names.items()},
        "checkpoint": checkpoint.value,
        "epochs": {name: int(run.facts["epoch"]) for name, run in runs.items()},
        "data": data or next(iter(runs.values())).config.data.source,
        "split": "given" if data else (split or SplitName.test).value,
        "rows": len(rows.split),
        "particles": particles,
        "seed": seed,
    }
    figure = _figure(runs, comparison, rows.split, seed, f"{facts['split']} rows of {facts['data']}")
    facts["figure"] = str(write_figure(figure, place(out, reference / "comparison", ".png")))
    if as_json:
        tables.print_comparison_json(facts, comparison)
        return
    tables.print_comparison(facts, comparison)
    typer.echo(facts["figure"])


def _sides(paths: Sequence[Path]) -> list[list[Path]]:
    """The runs that were typed, cut where one side ends."""
    sides: list[list[Path]] = [[]]
    for path in paths:
        if str(path) == AGAINST:
            sides.append([])
        else:
            sides[-1].append(path)
    if not all(sides):
        raise ConfigError([Problem("RUN", f"no run stands on one side of {AGAINST!r}")])
    return sides


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """What each run is called: the last part of its path, where no other run has the same."""
    places = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, places, strict=True) if places.count(place) > 1]:
        raise ConfigError([Problem("RUN", f"{twice[0]} is named twice")])
    if len(paths) < 2:
        raise ConfigError([Problem("RUN", "there is nothing to compare: name two runs or more")])
    last = [place.name for place in places]
    return {
        path: name if last.count(name) == 1 else str(path) for path, name in zip(paths, last, strict=True)
    }


def _baseline(chosen: Path | None, names: Mapping[Path, str]) -> Path:
    """The run to subtract, which is one of those that are compared."""
    if chosen is None:
        return next(iter(names))
    for path in names:
        if path.resolve() == chosen.resolve():
            return path
    raise ConfigError([Problem("--baseline", f"{chosen} is none of the runs: {', '.join(map(str, names))}")])


def _figure(runs: Mapping[str, Run], comparison: Comparison, rows: Split, seed: int, title: str) -> Figure:
    """The runs beside each other; log p(x) and curves only of those comparable with the baseline."""
    from pyrovae import plots
    from pyrovae.compare import picture

    differences = {found.run: found for found in comparison.differences}
    apart = {name for name, found in differences.items() if found.incomparable}
    kinds = {name: group.name for group in comparison.groups for name in group.runs if len(group.runs) > 1}
    models = {}
    for run in comparison.runs:
        seen = picture(runs[run.name], rows, seed=seed)
        quantities = {} if run.name in apart else run.quantities
        shown = quantities.get("log_likelihood", quantities.get("bound"))
        intervals = differences[run.name].intervals if run.name in differences else {}
        interval = intervals.get(comparison.score or "")
        models[run.name] = plots.Compared(
            seen.samples,
            seen.prior,
            seen.posterior,
            shown.mean.value if shown else math.nan,
            shown.mean.data_error if shown else math.nan,
            is_bound="log_likelihood" not in quantities,
            difference=interval and (interval.difference, interval.low, interval.high),
            curve=() if run.name in apart else run.curve,
            coordinates=seen.coordinates,
            kind=kinds.get(run.name, ""),
        )
    return plots.comparison(
        models,
        title=f"E[x|z], codes, {comparison.log_p} of {len(rows):,} {title}",
        log_likelihood=comparison.log_p,
        difference=f"minus {comparison.baseline},\n95% interval, paired,",
    )
