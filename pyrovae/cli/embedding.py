"""``embed`` and ``map``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae.cli._app import app
from pyrovae.cli._given import GivenData, reading
from pyrovae.cli._options import Json, Seed, written_as
from pyrovae.cli._output import Written, suffix_of, writing
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pyrovae.data import Split
    from pyrovae.embed import Embedding


class Format(StrEnum):
    """What a file of codes is."""

    npz = "npz"
    csv = "csv"
    parquet = "parquet"


class Method(StrEnum):
    """How codes of many dimensions become points of two."""

    pca = "pca"
    tsne = "tsne"
    umap = "umap"


@app.command(epilog="Example: pyrovae embed runs/my-run --split train --scales --out codes.csv")
@reading
def embed(
    given: GivenData,
    scales: Annotated[
        bool, typer.Option("--scales", help="Also the standard deviations of z under q(z|x).")
    ] = False,
    draws: Annotated[
        int, typer.Option("--draws", min=0, metavar="N", help="Also N draws z ~ q(z|x) for each datum.")
    ] = 0,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Of the file.", show_default="as --out ends, else npz"),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("codes", *(f".{form}" for form in Format))] = None,
    as_json: Json = False,
) -> None:
    """Codes of data: the means E_q[z], row by row, with the data's labels."""
    chosen = _format(form, out)
    given.check()
    from pyrovae.embed import embed as encode

    codes = encode(given.run.program, given.rows, scales=scales, draws=draws, seed=seed)
    file = given.file(out, "codes", f".{chosen.value}")
    written = Written()
    with writing(file):
        written.add(file, WRITERS[chosen](file, codes, given.rows))
    written.tell({**given.facts, "rows": len(given.rows), "seed": seed}, as_json=as_json)


@app.command("map", epilog="Example: pyrovae map runs/my-run --method tsne --rows 2000")
@reading
def map_(
    given: GivenData,
    method: Annotated[
        Method | None,
        typer.Option(
            "--method",
            help="How codes become points; umap where umap-learn is installed.",
            show_default="pca; two latent coordinates are shown as they are",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--rows", min=1, help="At most so many data, chosen at random.")
    ] = 2000,
    seed: Seed = 0,
    out: Annotated[Path | None, written_as("maps", ".png")] = None,
    as_json: Json = False,
) -> None:
    """A map of the codes E_q[z] in two dimensions, coloured by label; two latent coordinates over p(z)."""
    given.check()
    from pyrovae import plots
    from pyrovae.embed import mapped

    found = mapped(given.run.program, given.rows, method and method.value, limit=limit, seed=seed)
    title = f"codes E_q[z] of {len(found.points):,} {given.words}"
    figure = plots.code_map(found.points, found.labels, axes=found.axes, behind=found.prior, title=title)
    written = Written()
    written.figure(figure, given.file(out, "map", ".png"))
    facts = {**given.facts, "rows": len(found.points), "axes": found.axes, "seed": seed}
    written.tell(facts, as_json=as_json)


def _format(form: Format | None, out: Path | None) -> Format:
    """What is written: as asked for, or as the name of the file says."""
    suffix = suffix_of(out) if out else ""
    if form and suffix and suffix[1:] != form:
        raise ConfigError([Problem("--format", f"is {form.value}, but --out ends in {suffix}")])
    chosen = form or Format(suffix[1:] or Format.npz)
    if chosen is Format.parquet and find_spec("pyarrow") is None:
        message = "parquet needs pyarrow, which is not installed: pip install pyarrow, or choose csv or npz"
        raise ConfigError([Problem("--format", message)])
    return chosen


def _write_npz(file: Path, codes: Embedding, rows: Split) -> Any:
    import numpy as np

    arrays: dict[str, Any] = {"row": np.arange(len(rows))}
    if rows.labels is not None:
        arrays["label"] = rows.labels
    for name in ("mean", "scale", "draws"):
        if (values := getattr(codes, name)) is not None:
            arrays[name] = values.numpy(force=True)
    np.savez_compressed(file, **arrays)
    return {name: list(array.shape) for name, array in arrays.items()}


def _write_csv(file: Path, codes: Embedding, rows: Split) -> Any:
    """Numbers as they are in float32: reading them gives the same bits."""
    import csv

    columns = dict(_columns(codes, rows))
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.astype(str) for column in columns.values()), strict=True))
    return {"columns": list(columns)}


def _write_parquet(file: Path, codes: Embedding, rows: Split) -> Any:
    import pyarrow
    from pyarrow import parquet

    columns = dict(_columns(codes, rows))
    parquet.write_table(pyarrow.table(columns), file)
    return {"columns": list(columns)}


WRITERS: Mapping[Format, Any] = {
    Format.npz: _write_npz,
    Format.csv: _write_csv,
    Format.parquet: _write_parquet,
}


def _columns(codes: Embedding, rows: Split) -> Iterator[tuple[str, Any]]:
    """A table of codes: row, label, z[0], z[1], ..., and what else was asked for, number by number."""
    import numpy as np

    yield "row", np.arange(len(rows))
    if rows.labels is not None:
        yield "label", rows.labels
    groups = {"": codes.mean}
    if codes.scale is not None:
        groups["scale_"] = codes.scale
    if codes.draws is not None:
        groups |= {f"draw_{s}_": draw for s, draw in enumerate(codes.draws.unbind(1), start=1)}
    for prefix, values in groups.items():
        for name, column in zip(codes.names, values.T.numpy(force=True), strict=True):
            yield f"{prefix}{name}", column
