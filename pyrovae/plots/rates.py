"""Rate against distortion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrovae.plots._style import BLUE, GREY, PANEL_INCHES, styled


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
    with styled():
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


def _lines_of_equal_elbo(axis: Axes, sums: Sequence[float]) -> None:
    """Where rate and distortion add up to the least of the sums and to others above it."""
    rates = np.array(axis.get_xlim())
    axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())  # these lines are not to widen the axes
    for i, total in enumerate(np.linspace(min(sums), max(sums), 4)):
        label = "equal ELBO" if i == 0 else None
        axis.plot(rates, total - rates, "--", color=GREY, linewidth=0.8, zorder=0, label=label)
    axis.legend(loc="upper right")
