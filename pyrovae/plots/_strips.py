"""Strips of pictures, one below the other, each with its label, and a bar for each scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pyrovae.plots._style import Array
from pyrovae.plots.pictures import Scale, scale_of, tiled

PICTURE, LABEL, BAR, BAR_WIDTH, GAP, LINE = 0.75, 1.5, 0.95, 0.12, 0.1, 0.14
"""In inches: a picture's width, the room for labels and for a bar, what is between strips, a line of text."""

VIVID = "viridis"


class Strip(NamedTuple):
    """Pictures of as many data as every strip has, one row of them or more."""

    label: str
    pictures: Array
    """(rows * n, \\*event_shape), as in :func:`pyrovae.plots.grid`; without channels where they are vivid."""
    unit: str
    """What the bar beside it is called, if it has one; strips of one name share a scale."""
    vivid: bool = False
    """Whether its scale is of colours, from 0 on."""


def strips(
    parts: Sequence[Strip], n: int, *, title: str = "", captions: Sequence[str] = (), head: float = 0.0
) -> Figure:
    """A figure of strips.

    Args:
        parts: from the top.
        n: how many data stand side by side.
        title: of the figure.
        captions: of the data, over the first strip.
        head: inches to leave free below the title.
    """
    height, width = parts[0].pictures.shape[-2:]
    pixel = PICTURE * n / (n * (width + 1) - 1)
    talls = [pixel * (len(part.pictures) // n * (height + 1) - 1) for part in parts]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    top = head + (2 * LINE if title else GAP) + lines * LINE
    figure = Figure(figsize=(LABEL + PICTURE * n + BAR, top + sum(talls) + GAP * len(parts)))
    if title:
        figure.suptitle(title, y=1 - LINE / 2 / figure.get_figheight(), va="top")
    units = dict.fromkeys(part.unit for part in parts)
    scales = {unit: _scale([part for part in parts if part.unit == unit]) for unit in units}
    tops = [top + sum(talls[:i]) + GAP * i for i in range(len(parts))]
    images = []
    for part, tall, start in zip(parts, talls, tops, strict=True):
        axis = _axes(figure, LABEL, start, PICTURE * n, tall)
        images.append(_show(axis, part, scales[part.unit], n))
    if captions:
        _caption(figure.axes[0], captions, width)
    barred = set()
    for unit, run in groupby(range(len(parts)), key=lambda i: parts[i].unit):
        places = list(run)
        first, last = places[0], places[-1]
        if unit not in barred and not _is_coloured(parts[first].pictures):
            tall = tops[last] + talls[last] - tops[first] - GAP
            bar = _axes(figure, LABEL + PICTURE * n + GAP, tops[first] + GAP / 2, BAR_WIDTH, tall)
            figure.colorbar(images[first], cax=bar, label=unit)
        barred.add(unit)
    return figure


def _is_coloured(pictures: Array) -> bool:
    return pictures.ndim == 4 and pictures.shape[1] == 3


def _scale(parts: Sequence[Strip]) -> Scale:
    if not parts[0].vivid:
        return scale_of(*(part.pictures for part in parts))
    ends = [end for part in parts for end in (float(part.pictures.min()), float(part.pictures.max()))]
    low, high = min(0.0, *ends), max(ends)
    return low, high if high > low else low + 1


def _show(axis: Axes, part: Strip, scale: Scale, n: int) -> AxesImage:
    axis.set_ylabel(part.label, rotation=0, ha="right", va="center")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    between = (scale[0], np.nan) if part.vivid else scale  # no colour of the scale stands between pictures
    return axis.imshow(
        tiled(part.pictures, between, columns=n),
        vmin=scale[0],
        vmax=scale[1],
        cmap=VIVID if part.vivid else "gray",
        aspect="auto",
    )


def _caption(axis: Axes, captions: Sequence[str], width: int) -> None:
    middles = [(width + 1) * i + (width - 1) / 2 for i in range(len(captions))]
    axis.set_xticks(middles, captions, fontsize=7)
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)


def _axes(figure: Figure, left: float, top: float, wide: float, tall: float) -> Axes:
    """Axes at a place in inches from the figure's left and upper edge."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
