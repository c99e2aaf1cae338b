"""Data as pictures in a grid, or as rows of a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

from pyrovae.plots._style import PANEL_INCHES, Array, styled

Scale: TypeAlias = tuple[float, float]
"""The values that are shown black and white."""

BEYOND = 0.25
"""How far beyond 0 and 1 the lowest and the highest twentieth of the values of a picture may begin."""


def grid(data: ArrayLike, *, title: str = "") -> Figure:
    """Data side by side: pictures as a grid, any other data as rows of a heat map.

    Args:
        data: (n, rows, columns), (n, 1, rows, columns) or (n, 3, rows, columns) are pictures.
        title: what they are.

    Example:
        >>> grid(X[:16], title="digits").axes[0].get_title()
        'digits'
    """
    return panels({title: data})


def panels(data: Mapping[str, ArrayLike], *, title: str = "") -> Figure:
    """Several grids of data beside each other, all on one scale, each in the same order.

    Args:
        data: by the title of a panel, (n, \\*event_shape) as in :func:`grid`.
        title: of the whole figure.

    Example:
        >>> len(panels({"data": X[:16], "the same, darker": X[:16] / 2}).axes)
        2
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in data.items()}
    scale = scale_of(*arrays.values())
    widths = [_width(values) for values in arrays.values()]
    with styled():
        size = (PANEL_INCHES * sum(widths) + 0.1 * len(widths), PANEL_INCHES + 0.3 + 0.3 * bool(title))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.04))
        axes = figure.subplots(1, len(arrays), squeeze=False, width_ratios=widths)[0]
        for axis, (name, values) in zip(axes, arrays.items(), strict=True):
            axis.set_title(name)
            show(axis, values, scale)
        if title:
            figure.suptitle(title)
    return figure


def show(axis: Axes, values: Array, scale: Scale | None = None) -> None:
    """Draw data into axes: pictures as a grid, any other data as rows of a heat map.

    Args:
        axis: where to.
        values: (n, \\*event_shape), as in :func:`grid`.
        scale: the values that are black and white; those of the data, if not given.
    """
    low, high = scale = scale or scale_of(values)
    if are_pictures(values):
        axis.imshow(tiled(values, scale), vmin=low, vmax=high)
        axis.set_axis_off()
        return
    shown = axis.imshow(values.reshape(len(values), -1), vmin=low, vmax=high, aspect="auto", cmap="viridis")
    axis.set_xlabel("cell")
    axis.set_ylabel("datum")
    axis.figure.colorbar(shown, ax=axis, label="value")


def are_pictures(values: Array) -> bool:
    """Whether data are grey or coloured pictures."""
    return values.ndim == 3 or (values.ndim == 4 and values.shape[1] in (1, 3))


def scale_of(*arrays: Array) -> Scale:
    """Values that are shown black and white: 0 and 1 where nearly all lie about there, else the extremes.

    The mean of a Gaussian leaves [0, 1] here and there: what is white paper would be grey by the extremes.
    """
    values = np.concatenate([array.ravel() for array in arrays])
    low, high = float(values.min()), float(values.max())
    first, last = np.quantile(values, [0.05, 0.95])
    if (low >= 0 and high <= 1) or (first >= -BEYOND and 0.5 <= last <= 1 + BEYOND):
        return 0.0, 1.0
    return low, high if high > low else low + 1


def tiled(values: Array, scale: Scale, columns: int | None = None) -> Array:
    """Pictures in a grid, white lines between them: (height, width), or (height, width, 3) in [0, 1].

    Args:
        values: pictures, as in :func:`grid`.
        scale: the values that are black and white.
        columns: of the grid; as square as possible, if not given.
    """
    pictures = values[:, None] if values.ndim == 3 else values
    n, channels, height, width = pictures.shape
    columns = columns or _columns(values)
    rows = math.ceil(n / columns)
    low, high = scale
    canvas = np.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), high)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        canvas[:, top : top + height, left : left + width] = picture
    return canvas[0] if channels == 1 else np.clip((canvas.transpose(1, 2, 0) - low) / (high - low), 0, 1)


def _columns(values: Array) -> int:
    return math.ceil(math.sqrt(len(values) * values.shape[-2] / values.shape[-1]))


def _width(values: Array) -> float:
    """Of a panel, relative to its height."""
    if not are_pictures(values):
        return 1.0
    columns = _columns(values)
    rows = math.ceil(len(values) / columns)
    return (columns * (values.shape[-1] + 1) - 1) / (rows * (values.shape[-2] + 1) - 1)
