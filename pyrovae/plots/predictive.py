"""What a model expects in the place of data: means, spreads and draws, below or beside the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyrovae.plots._strips import Strip, strips
from pyrovae.plots._style import BLUE, PALETTE, Array, styled, whole
from pyrovae.plots.pictures import are_pictures, as_shown, on_one_scale

MOST_DATA = 8
MOST_DRAWS = 5
"""How many a figure shows, the first ones of what it is given."""

SPREAD = "unit of x"

INNER = (0.05, 0.95)
"""Levels of the quantiles between which a bar lies."""

CELLS_INCHES = (3.4, 2.2)
CELLS_COLUMNS = 2
CELLS_DATA = 6


class Predicted(Protocol):
    """A posterior predictive, as :class:`pyrovae.predict.Predictive` has it."""

    @property
    def mean(self) -> Any: ...
    @property
    def deviation(self) -> Any: ...
    @property
    def deviation_of_mean(self) -> Any: ...
    @property
    def x(self) -> Any: ...


class Restored(Protocol):
    """Data before, under and after corruption, as :class:`pyrovae.predict.Denoised` has them."""

    @property
    def clean(self) -> Any: ...
    @property
    def corrupted(self) -> Any: ...
    @property
    def restored(self) -> Any: ...
    @property
    def deviation(self) -> Any: ...


def predictive(data: ArrayLike, predicted: Predicted, *, title: str = "") -> Figure:
    """Data, and below each its posterior predictive: mean, standard deviations, draws.

    Of data that are no pictures each cell has a point, on the mean and the range of most draws.

    Args:
        data: (n, \\*event_shape) as in :func:`grid`; the first eight are shown, or six that are no pictures.
        predicted: for the same data.
        title: of the whole figure.

    Example:
        >>> from pyrovae.predict import predict
        >>> axes = predictive(x, predict(program, [x], draws=5)).axes
        >>> [axis.get_ylabel().split()[0] for axis in axes if axis.get_ylabel()]
        ['datum', 'mean', 'standard', 'standard', 'draws', ...]
    """
    x, mean, deviation = _first(as_shown(data), predicted.mean, predicted.deviation)
    if not are_pictures(x):
        low, high = np.quantile(_array(predicted.x)[: len(x)], INNER, axis=1, method="inverted_cdf")
        return _cells({"datum": x}, Interval(mean, low, high, "mean, 5% to 95% of draws"), title)
    draws = _array(predicted.x)[: len(x), :MOST_DRAWS].swapaxes(0, 1).reshape(-1, *x.shape[1:])
    (of_mean,) = _first(predicted.deviation_of_mean)
    parts = [
        Strip("datum", x, "value"),
        Strip("mean", mean, "value"),
        Strip("standard deviation\nof x", _over_channels(deviation), SPREAD, vivid=True),
        Strip("standard deviation\nof E[x|z]", _over_channels(of_mean), SPREAD, vivid=True),
        Strip("draws of x", draws, "value"),
    ]
    with styled():
        return strips(parts, len(x), title=title)


def denoised(found: Restored, *, title: str = "") -> Figure:
    """Clean data, and below each the corrupted one, the restored one and its standard deviation.

    Args:
        found: the data; the first eight are shown, or six that are no pictures.
        title: of the whole figure.

    Example:
        >>> from pyrovae.predict import Denoised
        >>> axes = denoised(Denoised(x, 1 - x, x, x / 4)).axes
        >>> [axis.get_ylabel() for axis in axes if axis.get_ylabel()]
        ['clean', 'corrupted', 'restored', 'standard deviation', ...]
    """
    clean, corrupted, restored, deviation = _first(
        found.clean, found.corrupted, found.restored, found.deviation
    )
    if not are_pictures(clean):
        low, high = restored - deviation, restored + deviation
        band = Interval(restored, low, high, "restored ± one standard deviation")
        return _cells({"clean": clean, "corrupted": corrupted}, band, title)
    data = {"clean": clean, "corrupted": corrupted, "restored": restored}
    parts = [Strip(label, pictures, "value") for label, pictures in data.items()]
    with styled():
        spread = Strip("standard deviation", _over_channels(deviation), SPREAD, vivid=True)
        return strips([*parts, spread], len(clean), title=title)


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _over_channels(deviation: Array) -> Array:
    """Of each pixel, the root of the mean over channels of its variances."""
    return np.sqrt(np.mean(deviation**2, axis=1)) if deviation.ndim == 4 else deviation


def _first(*arrays: ArrayLike) -> Sequence[Array]:
    return [_array(values)[:MOST_DATA] for values in arrays]


class Interval(NamedTuple):
    """What is expected of each cell, (n, \\*event_shape), and a range of values about it."""

    centre: Array
    low: Array
    high: Array
    label: str


def _cells(points: Mapping[str, Array], expected: Interval, title: str) -> Figure:
    """A panel for each datum: points over its cells, on what is expected of them."""
    n = min(len(expected.centre), CELLS_DATA)
    columns = min(n, CELLS_COLUMNS)
    rows = math.ceil(n / columns)
    arrays, unit = on_one_scale(*(values[:n] for values in (*points.values(), *expected[:3])))
    points = dict(zip(points, arrays, strict=False))
    centre, low, high = arrays[len(points) :]
    expected = Interval(centre, low, high, expected.label)
    with styled():
        size = (CELLS_INCHES[0] * columns, CELLS_INCHES[1] * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for i, axis in enumerate(axes.ravel()[:n]):
            _expected(axis, expected, i)
            for (what, values), colour, mark in zip(
                points.items(), (PALETTE[1], "black"), "ox", strict=False
            ):
                axis.plot(values[i], mark, color=colour, markersize=3, label=what)
            axis.set_title(f"datum {i}")
            axis.xaxis.set_major_locator(whole())
        for axis in axes.ravel()[n:]:
            axis.remove()
        figure.supxlabel("cell", fontsize=9)
        figure.supylabel(unit, fontsize=9)
        figure.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title=title
        )
    return figure


def _expected(axis: Axes, expected: Interval, i: int) -> None:
    """The i-th datum's range of each cell as a bar, with a dash at its centre."""
    centre, low, high = (values[i] for values in expected[:3])
    cells = np.arange(len(centre))
    width = min(6.0, 150 / len(cells))
    axis.vlines(cells, low, high, color=BLUE, alpha=0.35, linewidth=width, label=expected.label)
    axis.plot(cells, centre, "_", color=BLUE, markersize=width + 1)
