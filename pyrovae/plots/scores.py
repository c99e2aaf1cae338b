"""Scores of data: how they are distributed, which cells they come from, and how well they tell outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyrovae.plots._strips import Strip, strips
from pyrovae.plots._style import BLUE, GREY, PALETTE, PANEL_INCHES, Array, styled, whole
from pyrovae.plots.pictures import are_pictures, on_one_scale

MOST_SURPRISING = 8
HISTOGRAM_INCHES = 2.2
MOST_BINS = 40


class Surprising(NamedTuple):
    """The most surprising data, the first one most."""

    data: ArrayLike
    """(n, \\*event_shape) as in :func:`grid`."""
    captions: Sequence[str]
    """One for each."""
    contributions: ArrayLike | None
    """What each cell adds to a score in nats, shaped as the data; ``None`` where there is no such number."""


class Detection(NamedTuple):
    """A score of data that should be told from others by it."""

    usual: ArrayLike
    """(m,)."""
    outlying: ArrayLike
    """(n,), larger where the score tells."""
    area: str
    """The area under the curve, in words."""


def scores(
    surprise: ArrayLike,
    surprising: Surprising,
    *,
    reference: ArrayLike | None = None,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """A histogram of scores, over the most surprising data and what each of their cells adds.

    Args:
        surprise: -log p(x) of each datum in nats.
        surprising: the data with the highest scores; the first eight are shown.
        reference: scores of held-out data, which set the threshold.
        threshold: the score above which data are flagged.
        title: of the whole figure.

    Example:
        >>> worst = Surprising(X[:3], ["a", "b", "c"], X[:3] / 4)
        >>> figure = scores(X[:, 0, 3], worst, reference=X[:, 0, 4], threshold=0.9)
        >>> figure.axes[-1].get_xlabel()
        '$-$log p(x), nats'
    """
    data = np.asarray(surprising.data, dtype=np.float64)[:MOST_SURPRISING]
    cells = surprising.contributions
    added = None if cells is None else np.asarray(cells, dtype=np.float64)
    captions = surprising.captions[:MOST_SURPRISING]
    with styled():
        if are_pictures(data):
            parts = [Strip("data", data, "value")]
            if added is not None:
                by_pixel = (added.sum(1) if added.ndim == 4 else added)[:MOST_SURPRISING]
                parts.append(Strip("$-$log p($x_i$|z)", by_pixel, "nats", vivid=True))
            figure = strips(parts, len(data), title=title, captions=captions, head=HISTOGRAM_INCHES + 0.5)
            width, height = figure.get_size_inches()
            left, top = 0.75, HISTOGRAM_INCHES + 0.3
            place = (left / width, 1 - top / height, 1 - (left + 0.2) / width, HISTOGRAM_INCHES / height)
            histogram = figure.add_axes(place)
        else:
            figure = Figure(figsize=(6.4, 5.2), layout="constrained")
            histogram, heat = figure.subplots(2, 1)
            (rows,), unit = on_one_scale(data) if added is None else _told_apart(added)
            _heat(heat, rows[:MOST_SURPRISING], captions, unit)
            figure.suptitle(title)
        _histogram(histogram, np.asarray(surprise, dtype=np.float64), reference, threshold)
    return figure


def detection(kinds: Mapping[str, Detection], *, title: str = "") -> Figure:
    """How well scores tell outlying data from usual ones: the curves of all, and a histogram of each.

    Args:
        kinds: by what an axis calls the score, with its unit where it has one.
        title: of the whole figure.

    Example:
        >>> kind = Detection(X[:90, 0, 3], X[90:, 0, 3], "0.50")
        >>> [axis.get_xlabel() for axis in detection({"grey value": kind}).axes]
        ['share of usual data flagged', 'grey value']
    """
    with styled():
        size = (PANEL_INCHES + 3.2, max(PANEL_INCHES, 1.5 * len(kinds)) + 0.2 * len(kinds) + 0.8)
        figure = Figure(figsize=size, layout="constrained")
        places = figure.add_gridspec(len(kinds), 2, width_ratios=[PANEL_INCHES, 3.2])
        curves = figure.add_subplot(places[:, 0], box_aspect=1)
        curves.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.8)
        for row, ((name, kind), colour) in enumerate(zip(kinds.items(), PALETTE, strict=False)):
            usual, outlying = (np.asarray(values, dtype=np.float64) for values in kind[:2])
            curves.plot(*_curve(usual, outlying), color=colour, label=f"{name}: {kind.area}")
            axis = figure.add_subplot(places[row, 1])
            edges = _edges(usual, outlying)
            axis.hist(usual, edges, density=True, color=GREY, alpha=0.6, label="usual")
            axis.hist(outlying, edges, density=True, histtype="step", color=colour, label="outlying")
            axis.set(xlabel=name, yticks=[], ylabel="density")
            axis.legend(fontsize=7)
        curves.set(xlabel="share of usual data flagged", ylabel="share of outlying data flagged")
        figure.legend(
            *curves.get_legend_handles_labels(), loc="outside lower left", title="area under the curve"
        )
        if title:
            figure.suptitle(title)
    return figure


def _curve(usual: Array, outlying: Array) -> tuple[Array, Array]:
    """The shares of usual and of outlying data that are at or above each value, from (0, 0) to (1, 1)."""
    cuts = np.unique(np.concatenate([usual, outlying]))[::-1]
    shares = [1 - np.searchsorted(np.sort(values), cuts) / len(values) for values in (usual, outlying)]
    return np.concatenate([[0], shares[0]]), np.concatenate([[0], shares[1]])


def _edges(*arrays: Array) -> list[float]:
    """Of bins that have all values but the most extreme thousandth of them inside."""
    values = np.concatenate(arrays)
    low, high = np.quantile(values[np.isfinite(values)], [0.0005, 0.9995])
    bins = min(MOST_BINS, max(10, math.isqrt(len(values))))
    return list(np.linspace(low, high if high > low else low + 1, bins + 1))


def _histogram(axis: Axes, surprise: Array, reference: ArrayLike | None, threshold: float | None) -> None:
    others = [] if reference is None else [np.asarray(reference, dtype=np.float64)]
    together = np.concatenate([surprise, *others])
    finite = together[np.isfinite(together)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    edges = list(np.linspace(low, high if high > low else low + 1, MOST_BINS + 1))
    for values in others:
        _bars(axis, values, edges, "held-out rows", color=GREY, alpha=0.6)
    _bars(axis, surprise, edges, "rows scored", histtype="step", color=BLUE)
    if threshold is not None:
        axis.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    axis.set(xlabel="$-$log p(x), nats", ylabel="density, 1/nats")
    axis.legend()


def _bars(axis: Axes, values: Array, edges: Sequence[float], what: str, **look: Any) -> None:
    """The density of those values that are finite, which may be none."""
    finite = values[np.isfinite(values)]
    count = f"{len(values):,}" if len(finite) == len(values) else f"{len(finite):,} finite of {len(values):,}"
    axis.hist(finite, edges, density=len(finite) > 0, label=f"{count} {what}", **look)


def _told_apart(added: Array) -> tuple[list[Array], str]:
    """What cells add to scores, as rows, and its unit: less what a cell adds to every score, if it is known.

    A density has a constant in every cell, the logarithm of its scale, beside which nothing else is seen.
    """
    rows, name = added.reshape(len(added), -1), "$-$log p($x_i$|z)"
    if len(rows) == 1:
        return [rows], f"{name}, nats"
    median = np.median(rows, axis=0)
    usual = np.where(np.isfinite(median), median, 0)
    return [rows - usual], f"{name} less its median\nover these {len(rows)} rows, nats"


def _heat(axis: Axes, rows: Array, captions: Sequence[str], unit: str) -> None:
    """A row for each datum, a column for each cell."""
    shown = axis.imshow(rows, aspect="auto", cmap="viridis")
    axis.set_yticks(range(len(rows)), [caption.replace("\n", ", ") for caption in captions], fontsize=7)
    axis.set_xlabel("cell")
    axis.xaxis.set_major_locator(whole())
    axis.figure.colorbar(shown, ax=axis, label=unit)
