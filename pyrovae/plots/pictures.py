"""Data as pictures in a grid, or as rows of a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

from pyrovae.plots._style import PANEL_INCHES, Array, styled, whole

Scale: TypeAlias = tuple[float, float]
"""The values that are shown black and white."""

BEYOND = 0.25
"""How far beyond 0 and 1 the lowest and the highest twentieth of the values of a picture may begin."""

BLANK = 0.02
"""Share of a scale below which the values of a cell can hardly be told apart."""

FEWEST_COMPARED = 3
"""Values of a cell that have a spread worth the name: two are always one standard deviation from the mean."""

FEW_PIXELS, ENLARGED = 16, 64
"""Pictures with fewer rows and columns than the first are shown with about as many as the second."""

AS_THEY_ARE = "value"
COMPARABLE = "in standard deviations\nof the cell in this figure"


def grid(data: ArrayLike, *, title: str = "") -> Figure:
    """Data side by side: pictures as a grid, any other data as rows of a heat map.

    Args:
        data: (n, rows, columns) and, of 1 or 3 channels, (n, channels, rows, columns) or (n, rows, columns,
            channels) are pictures.
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
    arrays = {name: as_shown(values) for name, values in data.items()}
    widths = [_width(values) for values in arrays.values()]
    with styled():
        size = (PANEL_INCHES * sum(widths) + 0.1 * len(widths), PANEL_INCHES + 0.3 + 0.3 * bool(title))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.04))
        axes = figure.subplots(1, len(arrays), squeeze=False, width_ratios=widths)[0]
        for axis, name in zip(axes, arrays, strict=True):
            axis.set_title(name)
        show(axes, list(arrays.values()))
        if title:
            figure.suptitle(title)
    return figure


def show(axes: Sequence[Axes], arrays: Sequence[Array]) -> None:
    """Draw data into axes, all on one scale: pictures as a grid, any other data as rows of a heat map.

    Args:
        axes: where to, in one row.
        arrays: for each of these, (n, \\*event_shape), as in :func:`grid`.
    """
    shown, unit = on_one_scale(*arrays)
    low, high = scale = scale_of(*shown)
    for axis, values in zip(axes, shown, strict=True):
        if are_pictures(values):
            axis.imshow(tiled(enlarged(values), scale), vmin=low, vmax=high)
            axis.set_axis_off()
        else:
            axis.imshow(values, vmin=low, vmax=high, aspect="auto", cmap="viridis")
            axis.set(xlabel="cell", ylabel="datum")
            axis.xaxis.set_major_locator(whole())
            axis.yaxis.set_major_locator(whole())
    if not are_pictures(shown[0]):
        axes[0].figure.colorbar(axes[0].images[0], ax=axes, label=unit)


def as_shown(data: ArrayLike) -> Array:
    """Data as figures take them: of pictures whose channels come last, the channels are put first."""
    values: Array = np.asarray(data, dtype=np.float64)
    is_last = values.ndim == 4 and not are_pictures(values) and values.shape[-1] in (1, 3)
    return np.moveaxis(values, -1, 1) if is_last else values


def are_pictures(values: Array) -> bool:
    """Whether data are grey or coloured pictures."""
    return values.ndim == 3 or (values.ndim == 4 and values.shape[1] in (1, 3))


def on_one_scale(*arrays: Array) -> tuple[list[Array], str]:
    """Data that are shown on one scale, and the unit of their values.

    These are as they are, but for rows of which some cell would look blank beside the others.
    """
    if are_pictures(arrays[0]):
        return list(arrays), AS_THEY_ARE
    rows = _rows(arrays)
    together = np.concatenate(rows)
    if len(together) < FEWEST_COMPARED:
        return rows, AS_THEY_ARE
    low, high = scale_of(together)
    ranges = np.ptp(together, axis=0)
    is_any_blank = np.any((ranges > 0) & (ranges < BLANK * (high - low)))
    if is_any_blank and (low, high) != (0, 1):  # a bit is worth as much as any other
        return comparable(*arrays), f"value, {COMPARABLE}"
    return rows, AS_THEY_ARE


def comparable(*arrays: Array) -> list[Array]:
    """Data as rows, in the mean and the standard deviations of each cell over all of them."""
    rows = _rows(arrays)
    together = np.concatenate(rows)
    spread = np.where(np.ptp(together, axis=0) > 0, together.std(0), 1)
    return [(values - together.mean(0)) / spread for values in rows]


def _rows(arrays: Sequence[Array]) -> list[Array]:
    return [values.reshape(len(values), -1) for values in arrays]


def scale_of(*arrays: Array) -> Scale:
    """Values that are shown black and white: 0 and 1 where all lie there, else the extremes.

    The mean of a Gaussian leaves [0, 1] here and there, and what is white paper would be grey by the
    extremes: so for pictures it is 0 and 1, too, where nearly all values lie about there.
    """
    values = np.concatenate([array.ravel() for array in arrays])
    low, high = float(values.min()), float(values.max())
    first, last = np.quantile(values, [0.05, 0.95])
    is_paper = are_pictures(arrays[0]) and first >= -BEYOND and 0.5 <= last <= 1 + BEYOND
    if is_paper or (low >= 0 and high <= 1):
        return 0.0, 1.0
    return low, high if high > low else low + 1


def enlarged(values: Array) -> Array:
    """Pictures of few pixels with more of them, so that eyes see shapes and not squares.

    Grey values are interpolated by bicubic splines, within the extremes of all. Bits stay squares.

    Args:
        values: pictures, as in :func:`grid`; those of many pixels are returned as they are.
    """
    from PIL import Image

    height, width = values.shape[-2:]
    times = math.ceil(ENLARGED / max(height, width))
    if max(height, width) >= FEW_PIXELS:
        return values
    method = Image.Resampling.NEAREST if np.isin(values, (0, 1)).all() else Image.Resampling.BICUBIC
    size = (times * width, times * height)
    channels = values.reshape(-1, height, width).astype(np.float32)
    larger = np.stack([np.asarray(Image.fromarray(channel).resize(size, method)) for channel in channels])
    return larger.clip(values.min(), values.max()).reshape(*values.shape[:-2], *reversed(size))


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
    line = max(1, width // FEW_PIXELS)
    down, right = height + line, width + line
    canvas = np.full((channels, rows * down - line, columns * right - line), high)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * down, (i % columns) * right
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
