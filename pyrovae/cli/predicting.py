"""``predict`` and ``denoise``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pyrovae import tables
from pyrovae.cli._app import app
from pyrovae.cli._given import GivenData, reading
from pyrovae.cli._options import Json, Seed, written_as
from pyrovae.cli._output import Written

Draws = Annotated[int, typer.Option("-n", min=2, help="Draws for each datum.")]


@dataclass(frozen=True)
class GivenToPredict(GivenData):
    """The same, with another name for the data."""

    data: Annotated[
        str | None,
        typer.Option(
            "--given",
            "--data",
            metavar="SOURCE",
            help="Other data than the run's own: their test set, or all rows where they have none.",
        ),
    ] = None


@app.command(epilog="Example: pyrovae predict runs/my-run --given new.npy -n 100")
@reading
def predict(
    given: GivenToPredict,
    n: Draws = 100,
    rows: Annotated[int, typer.Option(min=1, help="How many data.")] = 16,
    quantiles: Annotated[
        list[float] | None,
        typer.Option(
            "--quantile",
            min=0,
            max=1,
            help="Level of a quantile; may be repeated.",
            show_default="0.05, 0.5, 0.95",
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("predictions", ".png", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """Posterior predictive: for each datum z ~ q(z|x), x ~ p(x|z); mean, spread, quantiles and a picture."""
    given.check()
    import torch

    from pyrovae import plots
    from pyrovae.predict import QUANTILES
    from pyrovae.predict import predict as draw

    data = given.rows.rows(slice(rows))
    levels = quantiles or QUANTILES
    found = draw(given.run.program, [data], draws=n, seed=seed, quantiles=levels)
    figure = plots.predictive(
        data.cpu(), found, title=f"posterior predictive of {given.words}, {n:,} draws each"
    )
    written = Written()
    written.figure(figure, given.file(out, "predictions", ".png"))
    arrays = {"data": data, "levels": torch.tensor(levels), **found._asdict()}
    given.write_arrays(written, out, "predictions", **arrays)
    written.tell({**given.facts, "rows": len(data), "draws": n, "seed": seed}, as_json=as_json)


@app.command(epilog="Example: pyrovae denoise runs/my-run --noise salt:0.2 --json")
@reading
def denoise(
    given: GivenData,
    noise: Annotated[
        str,
        typer.Option(
            "--noise",
            metavar="KIND:AMOUNT",
            help="salt:SHARE (of cells to the smallest or largest value), gaussian:SIGMA, mask:SHARE (to 0) "
            "or block:SIDE (a square to 0).",
        ),
    ] = "salt:0.2",
    n: Draws = 100,
    rows: Annotated[int, typer.Option(min=1, help="How many data.")] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("restorations", ".png", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """Corrupt data and restore them: the posterior predictive mean given corrupted ones, and its errors."""
    given.check()
    from pyrovae import plots
    from pyrovae.corruption import parse
    from pyrovae.predict import denoise as restore
    from pyrovae.predict import restoration

    corruption = parse(noise)
    clean, is_likelihood = given.evaluated
    found = restore(
        given.run.program,
        [clean.rows(slice(rows))],
        corruption,
        extremes=clean.range(),
        draws=n,
        seed=seed,
        is_likelihood=is_likelihood,
    )
    errors = restoration(found)
    figure = plots.denoised(found, title=f"{corruption}, restored by the mean of {n:,} draws")
    written = Written()
    written.figure(figure, given.file(out, f"denoised-{corruption.kind}", ".png"))
    given.write_arrays(written, out, f"denoised-{corruption.kind}", **found._asdict())
    if not as_json:
        tables.print_findings(errors)
    facts = {**given.facts, "noise": str(corruption), "draws": n, "seed": seed}
    written.tell({**facts, **errors.to_dict()}, as_json=as_json)
