"""How values are distributed, and whether they are as they should be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrovae.plots._style import BLUE, GREY, Array, styled

HISTOGRAM_INCHES = (3.4, 2.6)
MOST_COLUMNS = 3
MOST_BINS = 25
LEGEND_SHARE = 0.25
"""Of a panel's height, left free for a legend."""


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
    def marked_as(self) -> str: ...
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
    with styled():
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


def _histogram(axis: Axes, histogram: Histogrammed) -> None:
    values = np.asarray(histogram.values, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if histogram.uniform:
        _should_be_uniform(axis, values, histogram.uniform)
    else:
        axis.hist(values, bins=min(MOST_BINS, max(5, math.isqrt(len(values)))), color=BLUE)
        axis.set_ylabel("count")
    if histogram.marked is not None:
        label = f"{histogram.marked_as}: {histogram.marked:.4g}"
        axis.axvline(histogram.marked, color="black", linestyle="--", label=label)
        axis.margins(y=LEGEND_SHARE)
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
