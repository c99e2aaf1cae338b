"""Models beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyrovae.plots._style import BLUE, GREY, SMALL_INCHES, styled
from pyrovae.plots.pictures import show


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
    with styled():
        size = (SMALL_INCHES * len(models) + 0.6, 2 * SMALL_INCHES + 1.8)
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.add_gridspec(3, len(models), height_ratios=[SMALL_INCHES, SMALL_INCHES, 1.4])
        for column, (name, model) in enumerate(models.items()):
            samples = np.asarray(model.samples, dtype=np.float64)
            axis = figure.add_subplot(rows[0, column], title=name)
            show(axis, samples)
            _codes(figure.add_subplot(rows[1, column], box_aspect=1), model, labelled=column == 0)
        _log_likelihoods(figure.add_subplot(rows[2, :]), models)
        if title:
            figure.suptitle(title)
    return figure


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
