"""Walks through a latent space: strips, a row for each latent variable, planes, and films."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeAlias

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from pyrovae.plots._style import BLUE, PALETTE, PANEL_INCHES, SMALL_INCHES, Array, styled
from pyrovae.plots.pictures import COMPARABLE, Scale, are_pictures, as_shown, comparable, scale_of, tiled

PICTURE_INCHES = 0.6
"""Height of a picture in a row."""

NARROWEST_INCHES = 4.0
"""That a title has room in."""

WIDEST_INCHES = 10.0
MOST_CELLS = 16
"""Cells of data that are no pictures, each of which has a panel of its own."""

LARGEST_INCHES = 8.0
MOST_COLUMNS = 4
MOST_LABELS = 11
FEW_LABELS = 6
FRAME_MILLISECONDS = 50
RESTING = 5
"""Frames that a film rests at each end."""

INACTIVE = "#777777"

Film: TypeAlias = tuple[Figure, Callable[[int], Sequence[Artist]]]
"""A figure, and what draws a step into it."""


class Traversed(Protocol):
    """What one latent variable changes; as :class:`pyrovae.walks.Traversal` has it."""

    @property
    def name(self) -> str: ...
    @property
    def variance(self) -> float: ...
    @property
    def active(self) -> bool: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def unit(self) -> str: ...
    @property
    def mean(self) -> Any: ...


class Planar(Protocol):
    """What two latent variables change together; as :class:`pyrovae.walks.Plane` has it."""

    @property
    def names(self) -> tuple[str, str]: ...
    @property
    def first(self) -> Any: ...
    @property
    def second(self) -> Any: ...
    @property
    def mean(self) -> Any: ...


def interpolation(ends: ArrayLike, mean: ArrayLike, *, names: Sequence[str], title: str = "") -> Figure:
    """Expected data on the way between the codes of two data, which stand at the ends.

    Args:
        ends: the two data, (2, \\*event_shape).
        mean: expected data, (steps, \\*event_shape), evenly spaced over the way.
        names: of the two data.
        title: of the whole figure.

    Example:
        >>> figure = interpolation(X[:2], X[2:9], names=("a zero", "a one"))
        >>> [axis.get_title() for axis in figure.axes]
        ['a zero', 'E[x|z]', 'a one']
    """
    data, way = as_shown(ends), as_shown(mean)
    pictures = are_pictures(way)
    if not pictures:
        data, way = comparable(data, way)
    scale = scale_of(data, way)
    with styled():
        height = PICTURE_INCHES if pictures else PANEL_INCHES / 2
        width = _width(way, height) * len(way) + 2 * max(0.8, _width(way, height))
        figure = Figure(figsize=(min(WIDEST_INCHES, width + 0.6), height + 1.0), layout="constrained")
        widths = [values.shape[-1] if pictures else 1 for values in (data, way)]
        axes = figure.subplots(1, 3, width_ratios=[widths[0], (widths[1] + pictures) * len(way), widths[0]])
        for axis, values, name in zip(
            axes, (data[:1], way, data[1:]), (names[0], "E[x|z]", names[1]), strict=True
        ):
            shown = _strip(axis, values, scale)
            axis.set_title(name)
        _label_columns(axes[1], way, [f"{share:.3g}" for share in np.linspace(0, 100, len(way))])
        axes[1].set_xlabel("way between the codes, %")
        if not pictures:
            axes[0].set_yticks(_some(way.shape[1]))
            axes[0].set_ylabel("cell")
            figure.colorbar(shown, ax=axes, label=COMPARABLE)
        figure.suptitle(title)
    return figure


def interpolation_film(ends: ArrayLike, mean: ArrayLike, *, names: Sequence[str]) -> FuncAnimation:
    """The same as a film: there and back again.

    Args:
        ends: the two data, (2, \\*event_shape).
        mean: expected data, (steps, \\*event_shape), evenly spaced over the way.
        names: of the two data.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> film = interpolation_film(X[:2], X[2:4], names=("a zero", "a one"))
        >>> with TemporaryDirectory() as folder:
        ...     film.save(f"{folder}/way.gif", writer="pillow", dpi=20)
    """
    data, way = as_shown(ends), as_shown(mean)
    with styled():
        draw = _film_of_pictures if are_pictures(way) else _film_of_tables
        figure, show = draw(data, way, names)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # nothing moves but what is shown
        forth, rest = range(len(way)), [len(way) - 1] * RESTING
        there_and_back = [*forth, *rest, *reversed(forth), *([0] * RESTING)]
        return FuncAnimation(figure, show, frames=there_and_back, interval=FRAME_MILLISECONDS)


def traversal(walks: Sequence[Traversed], *, title: str = "") -> Figure:
    """What each latent variable changes: pictures in a row for each, other data as a heat map for each.

    Args:
        walks: in the order of the rows.
        title: of the whole figure.

    Example:
        >>> from pyrovae.walks import Traversal
        >>> step = torch.arange(3.0)
        >>> walk = Traversal(0, "z[0]", 0.9, True, ["1%", "50%", "99%"], "quantile", step, step, X[:3])
        >>> traversal([walk]).axes[0].get_xlabel()
        'quantile'
    """
    means = [np.asarray(walk.mean, dtype=np.float64) for walk in walks]
    draw = _rows_of_pictures if are_pictures(means[0]) else _heat_maps
    with styled():
        figure = draw(walks, means)
        figure.suptitle(title)
    return figure


def plane(walked: Planar, *, title: str = "") -> Figure:
    """What two latent variables change together: the first to the right, the second upwards.

    Data that are no pictures have a map for each cell, for the cells that change most.

    Args:
        walked: over the plane.
        title: of the whole figure.

    Example:
        >>> from pyrovae.walks import Plane
        >>> step = torch.arange(2.0)
        >>> z, mean = torch.zeros(2, 2, 2), X[:4].reshape(2, 2, 8, 8)
        >>> walked = Plane(("z[0]", "z[1]"), ("value", "value"), step, step, z, mean)
        >>> plane(walked).axes[0].get_ylabel()
        'z[1]'
    """
    mean = np.asarray(walked.mean, dtype=np.float64)
    draw = _tiles if are_pictures(mean[0]) else _maps_of_cells
    with styled():
        figure = draw(walked, mean)
        figure.suptitle(title)
    return figure


def _tiles(walked: Planar, mean: Array) -> Figure:
    rows, columns = mean.shape[:2]
    pictures = mean[::-1].reshape(-1, *mean.shape[2:])  # the first row of a picture is its top
    scale = scale_of(pictures)
    canvas = tiled(pictures, scale, columns)
    height = min(LARGEST_INCHES, max(2.0, rows * PICTURE_INCHES))
    width = height * canvas.shape[1] / canvas.shape[0]
    figure = Figure(figsize=(max(NARROWEST_INCHES, width + 0.7), height + 0.9), layout="constrained")
    axis = figure.subplots()
    axis.imshow(canvas, vmin=scale[0], vmax=scale[1])
    axis.spines[:].set_visible(False)
    tall, wide = pictures.shape[-2:]
    for ticks, values, size in (
        (axis.set_xticks, walked.first, wide),
        (axis.set_yticks, list(walked.second)[::-1], tall),
    ):
        shown = _some(len(values))
        ticks([_middle(i, size) for i in shown], _numbers([float(values[i]) for i in shown]))
    axis.set(xlabel=walked.names[0], ylabel=walked.names[1])
    return figure


def _maps_of_cells(walked: Planar, mean: Array) -> Figure:
    cells = mean.reshape(*mean.shape[:2], -1)
    change = cells.std((0, 1))
    chosen = np.sort(np.argsort(-change, kind="stable")[:MOST_CELLS])
    figure, axes = _panels(len(chosen))
    first, second = (np.asarray(values, dtype=np.float64) for values in (walked.first, walked.second))
    for axis, cell in zip(axes, chosen, strict=True):
        drawn = axis.pcolormesh(first, second, cells[..., cell], shading="nearest", cmap="viridis")
        axis.set_title(f"E[x|z], cell {cell}")
        axis.set(xlabel=walked.names[0], ylabel=walked.names[1])
        figure.colorbar(drawn, ax=axis)
    return figure


def _rows_of_pictures(walks: Sequence[Traversed], means: Sequence[Array]) -> Figure:
    """Variables whose steps are called the same share their axes."""
    groups = [
        list(group) for _, group in groupby(zip(walks, means, strict=True), lambda pair: pair[0].labels)
    ]
    scale = scale_of(*means)
    wide = max(len(mean) for mean in means)
    width = _width(means[0], PICTURE_INCHES)
    size = (max(NARROWEST_INCHES, width * wide + 1.3), PICTURE_INCHES * len(walks) + 0.5 * len(groups) + 0.5)
    shrink = min(1.0, WIDEST_INCHES / size[0])
    figure = Figure(figsize=(size[0] * shrink, size[1] * shrink), layout="compressed")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(group) for group in groups])
    for axis, group in zip(axes.ravel(), groups, strict=True):
        pictures = np.concatenate([mean for _, mean in group])
        columns = len(group[0][1])
        low, high = scale
        axis.imshow(tiled(pictures, scale, columns), vmin=low, vmax=high)
        axis.spines[:].set_visible(False)
        tall = pictures.shape[-2]
        axis.set_yticks([_middle(i, tall) for i in range(len(group))], [_named(walk) for walk, _ in group])
        _label_columns(axis, group[0][1], group[0][0].labels)
        axis.set_xlabel(group[0][0].unit, x=columns / wide / 2)
        axis.set_xlim(-0.5, _middle(wide - 1, pictures.shape[-1]) + pictures.shape[-1] / 2)
        axis.tick_params(left=False)
        for label, (walk, _) in zip(axis.get_yticklabels(), group, strict=True):
            label.set_color("black" if walk.active else INACTIVE)
    figure.supylabel("variance of\n$E_q$[z] over data", size="medium")
    return figure


def _heat_maps(walks: Sequence[Traversed], means: Sequence[Array]) -> Figure:
    figure, axes = _panels(len(walks))
    shown_means = comparable(*means)
    low, high = scale_of(*shown_means)
    for axis, walk, values in zip(axes, walks, shown_means, strict=True):
        shown = _strip(axis, values, (low, high))
        _label_columns(axis, values, walk.labels, FEW_LABELS)
        axis.set_yticks(_some(values.shape[1]))
        axis.set(xlabel=walk.unit, ylabel="cell")
        axis.set_title(
            _named(walk).replace("\n", ", variance ", 1).replace("\n", ", "),
            color="black" if walk.active else INACTIVE,
        )
    figure.colorbar(shown, ax=axes, label=f"E[x|z], {COMPARABLE}")
    return figure


def _film_of_pictures(data: Array, way: Array, names: Sequence[str]) -> Film:
    scale = scale_of(data, way)
    width = SMALL_INCHES * _width(way, 1.0)
    figure = Figure(figsize=(3 * width + 0.4, SMALL_INCHES + 0.4), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, values, name in zip(
        axes, (data[:1], way[:1], data[1:]), (names[0], _share(0, way), names[1]), strict=True
    ):
        _strip(axis, values, scale)
        axis.set_title(name)

    def show(step: int) -> Sequence[Artist]:
        shown_in_middle.set_data(tiled(way[step : step + 1], scale))
        axes[1].title.set_text(_share(step, way))
        return [shown_in_middle]

    shown_in_middle = axes[1].images[0]
    return figure, show


def _film_of_tables(data: Array, way: Array, names: Sequence[str]) -> Film:
    data, way = comparable(data, way)
    figure = Figure(figsize=(1.3 * PANEL_INCHES, PANEL_INCHES), layout="constrained")
    axis = figure.subplots()
    cells = np.arange(way[0].size)
    for values, name, colour in zip(data, names, PALETTE[1:], strict=False):
        axis.plot(cells, values.ravel(), "o", markersize=4, color=colour, label=name)
    (line,) = axis.plot(cells, way[0].ravel(), "o-", markersize=3, color=BLUE, label="E[x|z]")
    low, high = scale_of(data, way)
    axis.set(xlabel="cell", ylabel=COMPARABLE, ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)))
    axis.set_xticks(_some(len(cells)))
    axis.legend(loc="upper right")
    axis.set_title(_share(0, way))

    def show(step: int) -> Sequence[Artist]:
        line.set_ydata(way[step].ravel())
        axis.title.set_text(_share(step, way))
        return [line]

    return figure, show


def _share(step: int, way: Array) -> str:
    return f"E[x|z]\n{step / (len(way) - 1):.0%} of the way"


def _strip(axis: Axes, values: Array, scale: Scale) -> AxesImage:
    """Data side by side: pictures, or columns of a heat map."""
    axis.spines[:].set_visible(False)
    axis.set_xticks([])
    axis.set_yticks([])
    low, high = scale
    if are_pictures(values):
        return axis.imshow(tiled(values, scale, len(values)), vmin=low, vmax=high)
    return axis.imshow(values.T, vmin=low, vmax=high, aspect="auto", cmap="viridis")


def _label_columns(axis: Axes, values: Array, labels: Sequence[str], most: int = MOST_LABELS) -> None:
    size = values.shape[-1] if are_pictures(values) else 0
    shown = _some(len(labels), most)
    axis.set_xticks([_middle(i, size) for i in shown], [labels[i] for i in shown])
    axis.tick_params(bottom=False)


def _named(walk: Traversed) -> str:
    """A variable and its variance, and whether it is used."""
    return f"{walk.name}\n{walk.variance:.2g}" + ("" if walk.active else "\ninactive")


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, MOST_COLUMNS)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(3.2 * columns, 2.5 * rows + 0.4), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def _some(count: int, most: int = MOST_LABELS) -> range:
    """Numbers from 0 on, few enough to label."""
    return range(0, count, math.ceil(count / most))


def _numbers(values: Sequence[float]) -> list[str]:
    """Whole numbers as they are, others with as many decimals as tell a hundredth of their range."""
    if all(value == round(value) for value in values):
        return [f"{value:.0f}" for value in values]
    extent = max(values) - min(values) or abs(values[0])
    decimals = max(0, 2 - math.floor(math.log10(extent)))
    return [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values]  # -0.0 + 0.0 is 0.0


def _middle(i: int, size: int) -> float:
    """Where the i-th of pictures lies that are tiled, or the i-th column of a heat map, of size 0."""
    return i * (size + 1) + (size - 1) / 2 if size else i


def _width(values: Array, height: float) -> float:
    return height * values.shape[-1] / values.shape[-2] if are_pictures(values) else height / 4
