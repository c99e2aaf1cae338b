"""Models beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from pyrovae.plots._style import BLUE, GREY, PALETTE, SMALL_INCHES, Array, styled
from pyrovae.plots.curves import learning_curves
from pyrovae.plots.pictures import show

MOST_PICTURED = 6
"""Models in a row of pictures: more would not fit a page."""

PRIOR, POSTERIOR = "p(z)", "q(z)"
MOST_LETTERS = 60
"""Of all names together, from which on they stand aslant."""

LOW_INCHES = 1.9
"""Height of a panel that has the figure's whole width."""

LINE_INCHES = 0.2
"""Height of a line of the legend."""


class Compared(NamedTuple):
    """What one model brings to a comparison."""

    samples: ArrayLike
    """Pictures drawn from the model, as in :func:`grid`."""
    prior: ArrayLike
    """Codes drawn from p(z), (n, d); the first two coordinates are shown."""
    posterior: ArrayLike
    """Codes drawn from q(z|x), one for each datum, (m, d)."""
    log_likelihood: float
    """The mean over data of log p(x), in nats per datum; not a number where it is not to be shown."""
    error: float
    """Its standard error over data."""
    is_bound: bool = False
    """Whether it is a lower bound only."""
    difference: tuple[float, float, float] | None = None
    """What it is more than that of another model, and the ends of an interval of that."""
    curve: ArrayLike = ()
    """The validation ELBO after each epoch of training, in nats per datum."""
    coordinates: tuple[str, ...] = ("z[0]", "z[1]")
    """What the first two coordinates are called."""
    kind: str = ""
    """What models of one colour have in common; empty where each has a colour of its own."""


def comparison(
    models: Mapping[str, Compared],
    *,
    title: str = "",
    log_likelihood: str = "log p(x)",
    difference: str = "difference",
) -> Figure:
    """Models side by side: samples, aggregate posterior against prior, log-likelihoods, learning curves.

    Args:
        models: by name, in the order in which they are shown. Of more than six, those are pictured that are
            the first of their kind, and no more than six of these.
        title: of the whole figure.
        log_likelihood: what it is called.
        difference: what the differences are.

    Example:
        >>> z = X[:, 0, :2]
        >>> figure = comparison({"normal": Compared(X[:16], z, z, -20.0, 0.5)}, title="digits")
        >>> [axis.get_title() for axis in figure.axes]
        ['normal', '', '']
    """
    pictured = _pictured(models)
    kinds = list(dict.fromkeys(model.kind or name for name, model in models.items()))
    colours = {
        name: PALETTE[kinds.index(model.kind or name) % len(PALETTE)] for name, model in models.items()
    }
    curves = {name: model.curve for name, model in models.items() if len(np.asarray(model.curve))}
    heights = [SMALL_INCHES, SMALL_INCHES, LOW_INCHES]
    has_differences = any(model.difference for model in models.values())
    heights += [LOW_INCHES] * (has_differences + bool(curves))
    with styled():
        lines = 2 + len({model.kind for model in models.values()} - {""})
        height = sum(heights) + 0.4 + LINE_INCHES * lines
        size = (max(SMALL_INCHES * len(pictured) + 0.6, 2.3 * SMALL_INCHES), height)
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.add_gridspec(len(heights), len(pictured), height_ratios=heights)
        axes = []
        for column, (name, model) in enumerate(pictured.items()):
            axes.append(figure.add_subplot(rows[0, column], title=name))
            _codes(figure.add_subplot(rows[1, column], box_aspect=1), model)
        show(axes, [np.asarray(model.samples, dtype=np.float64) for model in pictured.values()])
        axis = figure.add_subplot(rows[2, :])
        _log_likelihoods(axis, models, colours, log_likelihood)
        if has_differences:
            axis.tick_params(labelbottom=False)
            _differences(figure.add_subplot(rows[3, :], sharex=axis), models, colours, difference)
        if curves:
            learning_curves(figure.add_subplot(rows[-1, :]), curves, colours)
        _explain(figure, axis)
        if title:
            figure.suptitle(title)
    return figure


def _pictured(models: Mapping[str, Compared]) -> dict[str, Compared]:
    """The models whose samples and codes are shown."""
    if len(models) <= MOST_PICTURED:
        return dict(models)
    firsts: dict[str, str] = {}
    for name, model in models.items():
        firsts.setdefault(model.kind or name, name)
    return {name: models[name] for name in list(firsts.values())[:MOST_PICTURED]}


def _explain(figure: Figure, kinds: Axes) -> None:
    """Say below all panels, where no data are, what the colours mean: those of kinds, those of codes."""
    handles, labels = kinds.get_legend_handles_labels()
    codes = [Patch(color=colour) for colour in (GREY, BLUE)]
    figure.legend([*handles, *codes], [*labels, PRIOR, POSTERIOR], loc="outside lower left", frameon=False)


def _codes(axis: Axes, model: Compared) -> None:
    """Codes from the prior and the aggregate posterior: their first two coordinates, if there are two."""
    prior, posterior = (np.asarray(codes, dtype=np.float64) for codes in (model.prior, model.posterior))
    if np.isin(prior, (0, 1)).all():
        _frequencies(axis, prior, posterior)
    elif prior.shape[1] == 1:
        _densities(axis, prior, posterior, model.coordinates[0])
    else:
        _scatter(axis, prior[:, :2], posterior[:, :2])
        axis.set(xlabel=model.coordinates[0], ylabel=model.coordinates[1])


def _scatter(axis: Axes, prior: Array, posterior: Array) -> None:
    """A point for each code; those far away from nearly all others are left out of the view."""
    for codes, colour in ((prior, GREY), (posterior, BLUE)):
        axis.plot(*codes.T, ".", color=colour, markersize=2, alpha=0.6)
    both = np.concatenate([prior, posterior])
    low, high = np.quantile(both, (0.01, 0.99), axis=0)
    margin = (high - low) / 2
    ends = np.maximum(both.min(0), low - margin), np.minimum(both.max(0), high + margin)
    gaps = 0.05 * (ends[1] - ends[0]) + 1e-6
    left, bottom = ends[0] - gaps
    right, top = ends[1] + gaps
    axis.set(xlim=(left, right), ylim=(bottom, top))


def _frequencies(axis: Axes, prior: Array, posterior: Array) -> None:
    """How often each entry of a code of zeros and ones is one."""
    places = np.arange(prior.shape[1])
    axis.plot(places, prior.mean(0), "_", markersize=8, markeredgewidth=2, color=GREY)
    axis.plot(places, posterior.mean(0), "o", markersize=3, color=BLUE)
    axis.set(xlabel="entry of the code", ylabel="share of ones", ylim=(0, 1))


def _densities(axis: Axes, prior: Array, posterior: Array, name: str) -> None:
    """How the only coordinate of a code is distributed."""
    bins = np.histogram_bin_edges(np.concatenate([prior, posterior]), bins=30)
    axis.hist(prior[:, 0], bins.tolist(), density=True, color=GREY)
    axis.hist(posterior[:, 0], bins.tolist(), density=True, color=BLUE, histtype="step")
    axis.set(xlabel=name, ylabel="density")


def _log_likelihoods(
    axis: Axes, models: Mapping[str, Compared], colours: Mapping[str, str], what: str
) -> None:
    kinds: set[str] = {""}
    for place, (name, model) in enumerate(models.items()):
        label = model.kind if model.kind not in kinds else None
        kinds |= {model.kind}
        marker = "^" if model.is_bound else "o"
        axis.errorbar(
            place, model.log_likelihood, model.error, fmt=marker, color=colours[name], capsize=4, label=label
        )
    _name(axis, models)
    bounds = "\n($\\blacktriangle$: lower bound)" if any(model.is_bound for model in models.values()) else ""
    axis.set_ylabel(f"{what}\nin nats per datum{bounds}")


def _differences(axis: Axes, models: Mapping[str, Compared], colours: Mapping[str, str], what: str) -> None:
    for place, (name, model) in enumerate(models.items()):
        if model.difference is not None:
            value, low, high = model.difference
            bars = [[value - low], [high - value]]
            axis.errorbar(place, value, bars, fmt="o", color=colours[name], capsize=4)
    axis.axhline(0, color="black", linewidth=0.5)
    _name(axis, models)
    axis.set_ylabel(f"{what}\nin nats per datum")


def _name(axis: Axes, models: Mapping[str, Compared]) -> None:
    """The models' names below their places."""
    axis.set_xticks(range(len(models)), list(models))
    if sum(map(len, models)) > MOST_LETTERS:
        for label in axis.get_xticklabels():
            label.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, len(models) - 0.5)
    axis.grid(axis="y", alpha=0.3)
