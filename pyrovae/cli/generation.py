"""``sample`` and ``reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pyrovae.cli._app import app
from pyrovae.cli._given import GivenData, GivenRun, reading
from pyrovae.cli._options import Json, Seed, written_as
from pyrovae.cli._output import Written


@app.command(epilog="Example: pyrovae sample runs/my-run -n 64")
@reading
def sample(
    given: GivenRun,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    mean: Annotated[
        bool, typer.Option("--mean", help="Picture the expected data only, without draws.")
    ] = False,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("samples", ".png", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """Draw from the model: z ~ p(z), x ~ p(x|z), as a picture and as arrays."""
    program = given.run.program
    from pyrovae.generate import sample as draw

    draws = draw(program, n, seed=seed)
    pictured = {"E[x|z]": draws.mean} if mean else {"x ~ p(x|z)": draws.x, "E[x|z]": draws.mean}
    written = _written(given, out, "samples", pictured, f"{n} codes from the prior", **draws._asdict())
    written.tell({**given.facts, "n": n, "seed": seed}, as_json=as_json)


@app.command(epilog="Example: pyrovae reconstruct runs/my-run -n 36")
@reading
def reconstruct(
    given: GivenData,
    n: Annotated[int, typer.Option("-n", min=1, help="How many data.")] = 36,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("reconstructions", ".png", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """Data beside draws from the posterior predictive: z ~ q(z|x), x ~ p(x|z)."""
    rows = given.rows.rows(slice(n))
    from pyrovae.generate import reconstruct as draw

    draws = draw(given.run.program, [rows], seed=seed)
    pictured = {"data": rows, "x ~ p(x|z), z ~ q(z|data)": draws.x, "E[x|z]": draws.mean}
    written = _written(given, out, "reconstructions", pictured, given.words, data=rows, **draws._asdict())
    written.tell({**given.facts, "n": len(rows), "seed": seed}, as_json=as_json)


def _written(
    given: GivenRun, out: Path | None, name: str, pictured: dict[str, Any], title: str, **arrays: Any
) -> Written:
    """Write arrays and their picture."""
    from pyrovae import plots

    written = Written()
    figure = plots.panels({label: tensor.cpu() for label, tensor in pictured.items()}, title=title)
    written.figure(figure, given.file(out, name, ".png"))
    given.write_arrays(written, out, name, **arrays)
    return written
