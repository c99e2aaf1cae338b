"""The one style of all figures, and how a figure is written to a file; draws nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "figure.titlesize": 10,
    "savefig.dpi": 150,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}
BLUE, GREY = "#0072B2", "#999999"
"""Of Okabe and Ito's palette, which colour-blind eyes tell apart: what is shown, and what it is beside."""

PALETTE = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Its other colours, for what has no order."""

PANEL_INCHES = 4.0
SMALL_INCHES = 2.2

Array = NDArray[np.floating[Any]]


def whole() -> MaxNLocator:
    """Ticks at whole numbers alone, be there but one of them."""
    return MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])


@contextmanager
def styled() -> Iterator[None]:
    """Inside, what matplotlib draws has this style."""
    with matplotlib.rc_context(STYLE):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file, in the format that its name ends in."""
    with styled():
        figure.savefig(path)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
