"""``sample`` and ``reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from pyrovae.cli._output import place, write_arrays, write_figure


@app.command(epilog="Example: pyrovae sample runs/my-run -n 64")
def sample(
    path: RunPath,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    mean: Annotated[
        bool, typer.Option("--mean", help="Picture the expected data only, without draws.")
    ] = False,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Draw from the model: z ~ p(z), x ~ p(x|z), as a picture and as arrays."""
    from pyrovae.generate import sample as draw
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust, on=device)
    draws = draw(run.program, n, seed=seed)
    pictured = {"E[x|z]": draws.mean} if mean else {"x ~ p(x|z)": draws.x, "E[x|z]": draws.mean}
    _write(out, path / "samples", pictured, f"{n} codes from the prior", **draws._asdict())


@app.command(epilog="Example: pyrovae reconstruct runs/my-run -n 36")
def reconstruct(
    path: RunPath,
    n: Annotated[int, typer.Option("-n", min=1, help="How many data.")] = 36,
    split: SplitOption = None,
    data: Source = None,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Data beside draws from the posterior predictive: z ~ q(z|x), x ~ p(x|z)."""
    from pyrovae.generate import reconstruct as draw
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust, on=device)
    rows = run.evaluation_rows(split and split.value, data)[0].rows(slice(n))
    draws = draw(run.program, [rows], seed=seed)
    pictured = {"data": rows, "x ~ p(x|z), z ~ q(z|data)": draws.x, "E[x|z]": draws.mean}
    title = f"data of {data}" if data else f"{(split or SplitName.test).value} data"
    _write(out, path / "reconstructions", pictured, title, data=rows, **draws._asdict())


def _write(out: Path | None, default: Path, pictured: dict[str, Any], title: str, **arrays: Any) -> None:
    """Write arrays and their picture, and print where."""
    from pyrovae import plots

    figure = plots.panels({label: tensor.cpu() for label, tensor in pictured.items()}, title=title)
    typer.echo(write_figure(figure, place(out, default, ".png")))
    typer.echo(write_arrays(place(out, default, ".npz"), **arrays))
