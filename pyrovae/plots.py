"""Arrays -> matplotlib figures, all in one style; imports nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike, NDArray

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "figure.titlesize": 10,
    "savefig.dpi": 150,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}
PANEL_INCHES = 4.0
SMALL_INCHES = 2.2
HISTOGRAM_INCHES = (3.4, 2.6)
MOST_COLUMNS = 3
MOST_BINS = 25
BLUE, GREY = "#0072B2", "#999999"  # of Okabe and Ito's palette, which colour-blind eyes tell apart

Array = NDArray[np.floating[Any]]


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
    limits = _limits(list(arrays.values()))
    tiles = {
        name: _tiled(values, limits) if _are_pictures(values) else None for name, values in arrays.items()
    }
    widths = [1.0 if tile is None else tile.shape[1] / tile.shape[0] for tile in tiles.values()]
    with matplotlib.rc_context(STYLE):
        size = (PANEL_INCHES * sum(widths) + 0.1 * len(widths), PANEL_INCHES + 0.3 + 0.3 * bool(title))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.04))
        axes = figure.subplots(1, len(arrays), squeeze=False, width_ratios=widths)[0]
        for axis, (name, values) in zip(axes, arrays.items(), strict=True):
            axis.set_title(name)
            _show(axis, tiles[name], values, limits)
        if title:
            figure.suptitle(title)
    return figure


class Compared(NamedTuple):
    """What one model brings to a comparison."""

    samples: ArrayLike
    """Pictures drawn from the model, as in :func:`grid`."""
    prior: ArrayLike
    """Codes drawn from p(z), (n, d); the first two coordinates are shown."""
    posterior: ArrayLike
    """Codes drawn from q(z|x), one for each datum, (m, d)."""
    log_likelihood: float
    """The mean over data of log p(x), in nats per datum."""
    error: float
    """Its standard error over data."""


def comparison(models: Mapping[str, Compared], *, title: str = "") -> Figure:
    """Models side by side: samples, aggregate posterior against prior, and log-likelihoods with their errors.

    Args:
        models: by name, in the order in which they are shown.
        title: of the whole figure.

    Example:
        >>> z = X[:, 0, :2]
        >>> figure = comparison({"normal": Compared(X[:16], z, z, -20.0, 0.5)}, title="digits")
        >>> [axis.get_title() for axis in figure.axes]
        ['normal', '', '']
    """
    with matplotlib.rc_context(STYLE):
        size = (SMALL_INCHES * len(models) + 0.6, 2 * SMALL_INCHES + 1.8)
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.add_gridspec(3, len(models), height_ratios=[SMALL_INCHES, SMALL_INCHES, 1.4])
        for column, (name, model) in enumerate(models.items()):
            samples = np.asarray(model.samples, dtype=np.float64)
            axis = figure.add_subplot(rows[0, column], title=name)
            _show(axis, _tiled(samples, _limits([samples])), samples, _limits([samples]))
            _codes(figure.add_subplot(rows[1, column], box_aspect=1), model, labelled=column == 0)
        _log_likelihoods(figure.add_subplot(rows[2, :]), models)
        if title:
            figure.suptitle(title)
    return figure


class Traded(NamedTuple):
    """What one model pays for its reconstructions, as means over data in nats per datum."""

    rate: float
    """KL(q(z|x) || p(z))."""
    rate_error: float
    """Its standard error over data."""
    distortion: float
    """-E_q[log p(x|z)]."""
    distortion_error: float
    """Its standard error over data."""


def rate_distortion(models: Mapping[str, Traded], *, title: str = "") -> Figure:
    """The rate-distortion plane: a point with error bars for each model, over lines of equal ELBO.

    Args:
        models: by the label at their point, in the order in which they are joined.
        title: of the whole figure.

    Source: Alemi et al., *Fixing a Broken ELBO*, 2018, section 2.

    Example:
        >>> curve = {"0.5": Traded(20.0, 0.2, 15.0, 0.3), "2": Traded(8.0, 0.1, 30.0, 0.4)}
        >>> rate_distortion(curve).axes[0].get_xlabel()
        'rate KL(q(z|x) || p(z)), nats per datum'
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.3 * PANEL_INCHES, PANEL_INCHES), layout="constrained")
        axis = figure.subplots()
        axis.margins(0.08)  # room for the labels
        rates, rate_errors, distortions, distortion_errors = zip(*models.values(), strict=True)
        axis.errorbar(
            rates, distortions, distortion_errors, rate_errors, fmt="o-", color=BLUE, markersize=4, capsize=2
        )
        for name, model in models.items():
            axis.annotate(name, (model.rate, model.distortion), (6, 5), textcoords="offset points")
        sums = [model.rate + model.distortion for model in models.values()]
        _lines_of_equal_elbo(axis, sums)
        axis.set_xlabel("rate KL(q(z|x) || p(z)), nats per datum")
        axis.set_ylabel("distortion $-E_q$[log p(x|z)], nats per datum")
        axis.set_title(title)
    return figure


class Histogrammed(Protocol):
    """Values whose distribution is drawn; as :class:`pyrovae.quantities.Histogram` has them."""

    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def values(self) -> Any: ...
    @property
    def marked(self) -> float | None: ...
    @property
    def uniform(self) -> int: ...


def histograms(data: Sequence[Histogrammed], *, title: str = "") -> Figure:
    """Histograms beside each other; over one that should be uniform, the band that it should stay in.

    Of m values that are uniform, the number in a bin of probability p is binomial. Divided by m p, which is
    expected, it is within :math:`1 \\pm 1.96 \\sqrt{(1 - p) / (m p)}` in 95% of the bins.

    Args:
        data: the values of each panel, their unit, and what they are compared with.
        title: of the whole figure.

    Example:
        >>> from pyrovae.quantities import Histogram
        >>> ranks = Histogram("ranks of z_0", "rank", torch.arange(200) % 20, uniform=20)
        >>> [axis.get_title() for axis in histograms([ranks], title="calibration").axes]
        ['ranks of z_0']
    """
    columns = min(len(data), MOST_COLUMNS)
    rows = math.ceil(len(data) / columns)
    with matplotlib.rc_context(STYLE):
        size = (HISTOGRAM_INCHES[0] * columns, HISTOGRAM_INCHES[1] * rows + 0.4 * bool(title))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, histogram in zip(axes, data, strict=False):
            _histogram(axis, histogram)
        for axis in axes[len(data) :]:
            axis.remove()
        if title:
            figure.suptitle(title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file, in the format that its name ends in."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path)


def _histogram(axis: Axes, histogram: Histogrammed) -> None:
    values = np.asarray(histogram.values, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if histogram.uniform:
        _should_be_uniform(axis, values, histogram.uniform)
    else:
        axis.hist(values, bins=min(MOST_BINS, max(5, math.isqrt(len(values)))), color=BLUE)
        axis.set_ylabel("count")
    if histogram.marked is not None:
        axis.axvline(histogram.marked, color="black", linestyle="--", label=f"{histogram.marked:.4g}")
        axis.legend()
    axis.set_title(histogram.title)
    axis.set_xlabel(histogram.unit)


def _should_be_uniform(axis: Axes, values: Array, levels: int) -> None:
    """Counts of values in 0, ..., levels - 1, over those that are expected, and the band of these ratios."""
    bins = min(levels, MOST_BINS, max(2, len(values) // 10))
    edges = np.round(np.linspace(0, levels, bins + 1)) - 0.5
    share = np.diff(edges) / levels
    half = 1.96 * np.sqrt((1 - share) / (share * max(1, len(values))))
    expected = share * max(1, len(values))
    axis.stairs(
        1 + half, edges, baseline=np.maximum(0, 1 - half), fill=True, color=GREY, alpha=0.4, label="95%"
    )
    axis.stairs(np.histogram(values, edges)[0] / expected, edges, color=BLUE, linewidth=1.5)
    axis.axhline(1, color="black", linewidth=0.5)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("count / expected")
    axis.legend()


def _lines_of_equal_elbo(axis: Axes, sums: Sequence[float]) -> None:
    """Where rate and distortion add up to the least of the sums and to others above it."""
    rates = np.array(axis.get_xlim())
    axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())  # these lines are not to widen the axes
    for i, total in enumerate(np.linspace(min(sums), max(sums), 4)):
        label = "equal ELBO" if i == 0 else None
        axis.plot(rates, total - rates, "--", color=GREY, linewidth=0.8, zorder=0, label=label)
    axis.legend(loc="upper right")


def _codes(axis: Axes, model: Compared, *, labelled: bool) -> None:
    """The first two coordinates of codes from the prior and from the aggregate posterior."""
    for codes, label, colour in ((model.prior, "p(z)", GREY), (model.posterior, "q(z)", BLUE)):
        first, second = np.asarray(codes)[:, :2].T
        axis.plot(first, second, ".", color=colour, markersize=2, alpha=0.6, label=label)
    axis.set_xlabel("$z_1$")
    if labelled:
        axis.set_ylabel("$z_2$")
        axis.legend(loc="upper right", markerscale=4, handletextpad=0.1)


def _log_likelihoods(axis: Axes, models: Mapping[str, Compared]) -> None:
    values, errors = (
        [getattr(model, key) for model in models.values()] for key in ("log_likelihood", "error")
    )
    axis.errorbar(range(len(models)), values, yerr=errors, fmt="o", color=BLUE, capsize=4)
    axis.set_xticks(range(len(models)), list(models))
    axis.set_xlim(-0.5, len(models) - 0.5)
    axis.set_ylabel("log p(x)\nin nats per datum")
    axis.grid(axis="y", alpha=0.3)


def _show(axis: Axes, tile: Array | None, values: Array, limits: tuple[float, float]) -> None:
    low, high = limits
    if tile is not None:
        axis.imshow(tile, vmin=low, vmax=high)
        axis.set_axis_off()
        return
    shown = axis.imshow(values.reshape(len(values), -1), vmin=low, vmax=high, aspect="auto", cmap="viridis")
    axis.set_xlabel("cell")
    axis.set_ylabel("datum")
    axis.figure.colorbar(shown, ax=axis, label="value")


def _are_pictures(values: Array) -> bool:
    return values.ndim == 3 or (values.ndim == 4 and values.shape[1] in (1, 3))


def _limits(arrays: list[Array]) -> tuple[float, float]:
    """Values that are shown black and white: 0 and 1 where all lie between them, else the extremes."""
    low, high = min(float(values.min()) for values in arrays), max(float(values.max()) for values in arrays)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)


def _tiled(values: Array, limits: tuple[float, float]) -> Array:
    """Pictures in a grid as square as possible, with white lines between them."""
    pictures = values[:, None] if values.ndim == 3 else values
    n, channels, height, width = pictures.shape
    columns = math.ceil(math.sqrt(n * height / width))
    rows = math.ceil(n / columns)
    canvas = np.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), limits[1])
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        canvas[:, top : top + height, left : left + width] = picture
    if channels == 1:
        return canvas[0]
    low, high = limits
    return np.clip((canvas.transpose(1, 2, 0) - low) / (high - low), 0, 1)
