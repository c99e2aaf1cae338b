"""Points in two dimensions, coloured by a label."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from pyrovae.plots._style import BLUE, GREY, PALETTE, Array, styled

Named: TypeAlias = dict[str, PathCollection]
"""What a legend explains."""

MAP_INCHES = 5.6
MOST_NAMED = 20
"""Different labels that are told apart by colour and marker; more are a colour bar, if they are numbers."""

MARKERS = ("o", "x", "^")
"""As many labels as the palette has colours have the first one, as many more the second one, and so on."""


def code_map(
    points: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    axes: tuple[str, str] = ("z[0]", "z[1]"),
    behind: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Points in the plane: up to 20 labels by colour, marker and name, more numbers by a colour bar.

    A label's name stands at the median of its points, too, or beside it where another one is as near.

    Args:
        points: (n, 2).
        labels: (n,), whole numbers or text; without, or with more than 20 different texts, one colour.
        axes: what the two coordinates are called.
        behind: draws from the prior, (m, 2), in grey.
        title: of the figure.

    Example:
        >>> z, digit = X[:40, 0, :2], torch.arange(40) % 10
        >>> [text.get_text() for text in code_map(z, digit).axes[0].texts][:3]
        ['0', '1', '2']
    """
    with styled():
        figure = Figure(figsize=(MAP_INCHES + 0.7, MAP_INCHES), layout="constrained")
        axis = figure.subplots()
        named: Named = {}
        if behind is not None:
            draws = axis.scatter(*_columns(behind), s=1.5, color=GREY, alpha=0.6, zorder=0)
            named["z ~ p(z)"] = draws
        named |= _points(axis, np.asarray(points, dtype=np.float64), labels)
        axis.set(xlabel=axes[0], ylabel=axes[1])
        axis.set_title(title, parse_math=False)
        axis.set_aspect("equal", adjustable="datalim")
        if named:
            _legend(figure, named)
    return figure


def _points(axis: Axes, points: Array, labels: ArrayLike | None) -> Named:
    """Draw points; those that have a label of their own, by its name."""
    size = float(np.clip(6000 / max(1, len(points)), 4, 18))
    values = np.zeros(0) if labels is None else np.asarray(labels)
    different = np.unique(values)
    if 0 < len(different) <= MOST_NAMED:
        clusters = {str(label): points[values == label] for label in different}
        medians = np.array([np.median(cluster, axis=0) for cluster in clusters.values()])
        for name, place in zip(clusters, _apart(medians, 0.04 * np.ptp(points, axis=0).max()), strict=True):
            _name(axis, name, place)
        return {
            name: _cluster(axis, cluster, number, size)
            for number, (name, cluster) in enumerate(clusters.items())
        }
    if len(different) and np.issubdtype(values.dtype, np.number):
        shown = axis.scatter(*_columns(points), s=size, c=values, cmap="viridis", linewidths=0)
        axis.figure.colorbar(shown, ax=axis, label="label")
    else:
        axis.scatter(*_columns(points), s=size, color=BLUE, linewidths=0)
    return {}


def _cluster(axis: Axes, points: Array, number: int, size: float) -> PathCollection:
    """The points of one label, in a colour and a shape that no other of 20 labels has both."""
    turn, colour = divmod(number, len(PALETTE))
    marker = MARKERS[turn % len(MARKERS)]
    width = 0.8 if marker == "x" else 0
    return axis.scatter(*_columns(points), s=size, color=PALETTE[colour], marker=marker, linewidths=width)


def _name(axis: Axes, name: str, place: Array) -> None:
    """A label's name, as it is, over the points."""
    axis.annotate(
        name,
        (place[0], place[1]),
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        path_effects=[withStroke(linewidth=3, foreground="white")],
        parse_math=False,
        zorder=3,
    )


def _apart(places: Array, least: float) -> Array:
    """Places, (n, 2), those nearer to each other than a least distance pushed apart."""
    places = places.copy()
    number = np.arange(len(places))
    sideways = np.sign(number[:, None] - number)  # for those that are at the same place
    for _ in range(100):
        between = places[:, None] - places
        distance = np.hypot(between[..., 0], between[..., 1])
        between[distance == 0, 0] = sideways[distance == 0]
        push = np.clip(least - distance, 0, None) / np.where(distance == 0, 1, distance)
        places += (push[..., None] * between).sum(1) / 2
    return places


def _legend(figure: Figure, named: Named) -> None:
    """A legend beside the axes, every name as it is: no formula, and none is left out."""
    legend = figure.legend(
        list(named.values()), ["?"] * len(named), loc="outside right upper", frameon=False, handletextpad=0.2
    )
    for text, name in zip(legend.get_texts(), named, strict=True):
        text.set(text=name, parse_math=False)
    for handle in legend.legend_handles:
        handle.set(sizes=[25], alpha=1)  # type: ignore[union-attr]


def _columns(points: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(points, dtype=np.float64).T
    return first, second
