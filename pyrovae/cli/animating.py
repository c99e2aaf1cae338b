"""``animate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyrovae import places
from pyrovae.cli._app import app
from pyrovae.cli._options import Json, RunPath, written_as
from pyrovae.cli._output import Written, place, writing
from pyrovae.errors import RunError


@app.command(epilog="Example: pyrovae animate runs/my-run --fps 2")
def animate(
    path: RunPath,
    fps: Annotated[float, typer.Option("--fps", min=0.1, max=50, help="Pictures a second.")] = 4.0,
    out: Annotated[Path | None, written_as("films", ".gif")] = None,
    as_json: Json = False,
) -> None:
    """The film of learning: the samples and reconstructions that 'train --watch 1' saved, epoch by epoch."""
    places.check(path)
    from pyrovae import plots
    from pyrovae.folder import Folder

    pictures = Folder.open(path).pictures()
    if len(pictures) < 2:
        raise RunError(
            f"{path} has {len(pictures) or 'no'} picture{'' if len(pictures) == 1 else 's'} of its training, "
            "and a film needs two: train with --watch 1 to save one of every epoch"
        )
    film = place(out, path / "learning", ".gif")
    with writing(film):
        plots.save_film(pictures, film, fps=fps)
    written = Written()
    written.add(film, "film")
    written.tell({"run": str(path), "pictures": len(pictures), "fps": fps}, as_json=as_json)
