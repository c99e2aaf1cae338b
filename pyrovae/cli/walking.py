"""``interpolate``, ``traverse`` and ``plane``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyrovae.cli._app import app
from pyrovae.cli._given import GivenData, reading
from pyrovae.cli._options import Json, Seed, written_as
from pyrovae.cli._output import Written, writing
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from torch import Tensor

    from pyrovae.data import Split
    from pyrovae.walks import Traversal

FRAMES = 31
"""Of a film, one way."""

ROW = "row:"
PRIOR = "prior"

Steps = Annotated[int, typer.Option("--steps", min=2, help="Codes along a way.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="DATUM",
        help="Where the other variables stay: at the code of a datum (a label, whose first row is taken, or "
        "row:N), or in the middle of the prior (prior).",
        show_default="row:0",
    ),
]


@app.command(epilog="Example: pyrovae interpolate runs/my-run --from 3 --to 8")
@reading
def interpolate(
    given: GivenData,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="DATUM", help="A label, whose first row is taken, or row:N.", show_default=False
        ),
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="DATUM", help="The same, where the way ends.", show_default=False)
    ],
    steps: Steps = 11,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("interpolations", ".png", ".gif", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """From a datum to another one through the latent space, as a strip, a film and arrays.

    The way is straight, on a sphere along the great circle; discrete variables switch one after another.
    """
    given.check()
    import torch

    from pyrovae import plots, walks

    run, rows = given.run, given.rows
    numbers = [_row(rows, start, "--from"), _row(rows, end, "--to")]
    one, other = (_datum(rows, number) for number in numbers)
    names = [_named(rows, number) for number in numbers]
    way = walks.interpolate(run.program, one, other, steps, seed=seed)
    smooth = walks.interpolate(run.program, one, other, FRAMES, seed=seed)
    shown = torch.stack([one, other]).cpu()
    name = f"interpolation-{numbers[0]}-{numbers[1]}"
    film = given.file(out, name, ".gif")
    written = Written()
    written.figure(plots.interpolation(shown, way.mean, names=names), given.file(out, name, ".png"))
    with writing(film):
        plots.interpolation_film(shown, smooth.mean, names=names).save(film, writer="pillow")
    written.add(film, "film")
    given.write_arrays(written, out, name, **way._asdict())
    written.tell({**given.facts, "from": numbers[0], "to": numbers[1], "seed": seed}, as_json=as_json)


@app.command(epilog="Example: pyrovae traverse runs/my-run --at 3")
@reading
def traverse(
    given: GivenData,
    at: At = None,
    steps: Steps = 11,
    latents: Annotated[
        int, typer.Option("--latents", min=1, help="How many latent variables, the most active first.")
    ] = 20,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("traversals", ".png", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """One latent variable at a time through the prior's quantiles: what each of them changes.

    The most active ones come first; a discrete variable takes each of its values.
    """
    given.check()
    from pyrovae import plots, walks

    run, rows = given.run, given.rows
    base, where = _base(rows, at)
    found = walks.traverse(run.program, rows, at=base, steps=steps, latents=latents, seed=seed)
    figure = plots.traversal(found, title=f"E[x|z], one latent variable at a time,\n{where}")
    written = Written()
    written.figure(figure, given.file(out, "traversal", ".png"))
    given.write_arrays(written, out, "traversal", **_long(found))
    used = [
        {"name": walk.name, "number": walk.number, "variance": walk.variance, "active": walk.active}
        for walk in found
    ]
    written.tell({**given.facts, "latents": used, "seed": seed}, as_json=as_json)


@app.command(epilog="Example: pyrovae plane runs/my-run --range -4 4")
@reading
def plane(
    given: GivenData,
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Evenly from LOW to HIGH along both variables.",
            show_default="through the prior's quantiles from 1% to 99%",
        ),
    ] = None,
    at: At = None,
    steps: Steps = 21,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("planes", ".png", ".npz")] = None,
    as_json: Json = False,
) -> None:
    """Two latent variables together, the two most active ones where there are more."""
    if limits and not limits[0] < limits[1]:
        raise ConfigError([Problem("--range", "goes from a number LOW to a larger one, HIGH")])
    given.check()
    from pyrovae import plots, walks

    run, rows = given.run, given.rows
    base, where = _base(rows, at)
    found = walks.plane(run.program, rows, at=base, steps=steps, limits=limits, seed=seed)
    ways = (
        f"from {limits[0]:g} to {limits[1]:g}" if limits else f"by {' and '.join(dict.fromkeys(found.units))}"
    )
    others = f",\n{where}" if found.z.shape[-1] > 2 else ""
    figure = plots.plane(found, title=f"E[x|z] {ways}{others}")
    written = Written()
    written.figure(figure, given.file(out, "plane", ".png"))
    arrays = {name: array for name, array in found._asdict().items() if name not in ("names", "units")}
    given.write_arrays(written, out, "plane", **arrays)
    written.tell({**given.facts, "latents": found.names, "units": found.units, "seed": seed}, as_json=as_json)


def _long(found: Sequence[Traversal]) -> dict[str, Tensor]:
    """A row for each step along each variable, which its number tells."""
    import torch

    steps = [len(walk.value) for walk in found]
    return {
        "latent": torch.tensor([walk.number for walk in found]).repeat_interleave(torch.tensor(steps)),
        "variance": torch.tensor([walk.variance for walk in found]).repeat_interleave(torch.tensor(steps)),
        "value": torch.cat([walk.value for walk in found]),
        "z": torch.cat([walk.z for walk in found]),
        "mean": torch.cat([walk.mean for walk in found]),
    }


def _base(rows: Split, at: str | None) -> tuple[Tensor | None, str]:
    """The datum at whose code variables stay, if any, and where that is, in words."""
    if at == PRIOR:
        return None, "the others in the middle of the prior"
    number = _row(rows, at or f"{ROW}0", "--at")
    return _datum(rows, number), f"the others at the code of {_named(rows, number)}".replace("\n", ", ")


def _row(rows: Split, text: str, option: str) -> int:
    """The number of the row that a user means: ``row:N``, or the first one with a label."""
    number = text.removeprefix(ROW)
    if number != text:
        if not number.isdecimal() or int(number) >= len(rows):
            raise ConfigError(
                [Problem(option, f"there is no {text}: rows go from {ROW}0 to {ROW}{len(rows) - 1}")]
            )
        return int(number)
    if rows.labels is None:
        raise ConfigError(
            [Problem(option, f"the data have no labels: write {ROW}N for row number N, from 0 on")]
        )
    labels = [str(label) for label in rows.labels.tolist()]
    if text not in labels:
        there = ", ".join(map(str, sorted(set(rows.labels.tolist()))))
        raise ConfigError(
            [Problem(option, f"no row has the label {text}, but {there}; {ROW}N is row number N")]
        )
    return labels.index(text)


def _datum(rows: Split, number: int) -> Tensor:
    return rows.rows(slice(number, number + 1))[0]


def _named(rows: Split, number: int) -> str:
    label = "" if rows.labels is None else f"\nlabel {rows.labels[number]}"
    return f"row {number}{label}"
