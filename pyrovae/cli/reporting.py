"""``report``."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from pyrovae.cli._app import app
from pyrovae.cli._options import (
    Checkpoint,
    CheckpointOption,
    Device,
    Out,
    RunPath,
    Seed,
    Source,
    SplitName,
    SplitOption,
    Trust,
)
from pyrovae.cli._output import console, place, say, writing


@app.command(epilog="Example: pyrovae report runs/my-run --out my-run.html")
def report(
    path: RunPath,
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 1000,
    limit: Annotated[
        int, typer.Option("--rows", min=2, help="At most so many data, chosen at random.")
    ] = 1000,
    split: SplitOption = None,
    data: Source = None,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """One HTML page for reading offline: configuration, figures, numbers, and what they mean."""
    from pyrovae.errors import PyrovaeError
    from pyrovae.page import page, some
    from pyrovae.run import Run

    terminal = console()
    run = Run.load(path, checkpoint.value, trust=trust, on=device)
    rows, is_likelihood = run.evaluation_rows(split and split.value, data)
    train = None
    if split is not SplitName.train:
        with suppress(PyrovaeError):  # the page says that there are none
            train = some(run.evaluation_rows("train")[0], limit, seed=seed)
    few = some(rows, limit, seed=seed)
    chosen = f", chosen at random from {len(rows):,}" if len(few) < len(rows) else ""
    what = f"data of {data}" if data else f"{(split or SplitName.test).value} data"
    html = page(
        run,
        few,
        train=train,
        name=path.resolve().name,
        data=f"{what}{chosen}",
        is_likelihood=is_likelihood,
        particles=particles,
        seed=seed,
        on_step=lambda step: say(terminal, step),
    )
    file = place(out, path / "report", ".html")
    with writing(file):
        file.write_text(html, encoding="utf-8")
    typer.echo(file)
