"""What happens over the epochs of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyrovae.plots._style import BLUE, PALETTE, styled, whole

CURVE_INCHES = (3.2, 2.8)
PARTS = {"train": (PALETTE[1], "--"), "validation": (BLUE, "-")}
"""Of the data, each with its colour and line: they are told apart in grey, too."""

TERMS = {"elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}

SHARE_IN_VIEW = 0.9
"""Of a curve's points: the first epochs rise by so much that nothing else could be seen."""


def learning_curves(axis: Axes, curves: Mapping[str, ArrayLike], colours: Mapping[str, str]) -> None:
    """Draw the validation ELBO after each epoch into axes, its first tenth cut where that is far below.

    Args:
        axis: where to.
        curves: by name of the model, in nats per datum, from the first epoch on.
        colours: by the same names.
    """
    low, high = np.inf, -np.inf
    for name, curve in curves.items():
        values = np.asarray(curve, dtype=np.float64)
        epochs = np.arange(1, len(values) + 1)
        axis.plot(epochs, values, color=colours[name], linewidth=1, marker="." if len(values) == 1 else None)
        low = min(low, float(np.quantile(values, 1 - SHARE_IN_VIEW)))
        high = max(high, float(values.max()))
    margin = 0.05 * (high - low) or 1.0
    axis.set_ylim(low - margin, high + margin)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(whole())
    axis.set_ylabel("validation ELBO\nin nats per datum")
    axis.grid(axis="y", alpha=0.3)


def training_curves(
    history: Sequence[Mapping[str, Any]],
    *,
    terms: Mapping[str, str] = TERMS,
    best: int | None = None,
    title: str = "",
) -> Figure:
    """The objective and its two terms on training and validation data, in nats per datum, by epoch.

    Args:
        history: the metrics of every epoch, as a run has them.
        terms: what ``elbo``, ``reconstruction`` and ``kl`` are called.
        best: the epoch whose weights are kept, to be marked.
        title: of the whole figure.

    Example:
        >>> numbers = {f"train_{term}": -20.0 for term in ("elbo", "reconstruction", "kl")}
        >>> figure = training_curves([{"epoch": 1, **numbers}, {"epoch": 2, **numbers}], best=2)
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['ELBO, nats per datum', 'reconstruction, nats per datum', 'KL, nats per datum']
    """
    with styled():
        width, height = CURVE_INCHES
        size = (width * len(terms), height + 0.3 * bool(title))
        figure = Figure(figsize=size, layout="constrained")
        for axis, (term, name) in zip(figure.subplots(1, len(terms)), terms.items(), strict=True):
            for part in PARTS:
                _curve(axis, history, part, term)
            if best is not None:
                axis.axvline(best, color="black", linewidth=0.8, linestyle=":", label=f"best epoch, {best}")
            axis.set(xlabel="epoch", ylabel=f"{name}, nats per datum")
            axis.xaxis.set_major_locator(whole())
            axis.grid(alpha=0.3)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        if title:
            figure.suptitle(title)
    return figure


def _curve(axis: Axes, history: Sequence[Mapping[str, Any]], part: str, term: str) -> None:
    """One term on one part of the data, where it was computed; a dot where there is one epoch alone."""
    key = f"{part}_{term}"
    values = np.array([(line["epoch"], line[key]) for line in history if key in line])
    if len(values):
        colour, line = PARTS[part]
        marker = "o" if len(values) == 1 else ""
        axis.plot(*values.T, color=colour, linestyle=line, marker=marker, linewidth=1.3, label=part)
