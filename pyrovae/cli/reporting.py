"""``report``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pyrovae.cli._app import app
from pyrovae.cli._given import GivenDataBesideOwn, reading
from pyrovae.cli._options import Json, Quiet, Seed, SplitName, written_as
from pyrovae.cli._output import Written, console, writing
from pyrovae.console import say


@app.command(epilog="Example: pyrovae report runs/my-run --out my-run.html")
@reading
def report(
    given: GivenDataBesideOwn,
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 1000,
    limit: Annotated[
        int, typer.Option("--rows", min=2, help="At most so many data, chosen at random.")
    ] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("reports", ".html")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One HTML page for reading offline: configuration, figures, numbers, and what they mean."""
    given.check()
    from pyrovae.errors import PyrovaeError
    from pyrovae.page import page, some

    terminal = console(quiet)
    rows, is_likelihood = given.evaluated
    train = None
    if given.split is not SplitName.train:
        with suppress(PyrovaeError):  # the page says that there are none
            train = some(given.own("train"), limit, seed=seed)
    few = some(rows, limit, seed=seed)
    chosen = f", chosen at random from {len(rows):,}" if len(few) < len(rows) else ""
    html = page(
        given.run,
        few,
        train=train,
        name=given.path.resolve().name,
        data=f"{given.words}{chosen}",
        is_likelihood=is_likelihood,
        particles=particles,
        seed=seed,
        on_step=lambda step: say(terminal, step),
    )
    file = given.file(out, "report", ".html")
    with writing(file):
        file.write_text(html, encoding="utf-8")
    written = Written()
    written.add(file, "page")
    facts = {**given.facts, "rows": len(few), "particles": particles, "seed": seed}
    written.tell(facts, as_json=as_json)
