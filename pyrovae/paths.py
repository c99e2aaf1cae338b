"""How to move on the sets that codes live on: to the nearest point, between two points, along one variable.

Points of a set are vectors of shape (..., width); a number is a vector of width 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn.functional import normalize, one_hot

from pyrovae import supports
from pyrovae.errors import DataError

QUANTILE = "quantile of the prior"


class Walk(NamedTuple):
    """Points of a set between which one variable changes, and its other numbers as little as they can."""

    labels: list[str]
    """What each step is called: ``10%``, say, for a quantile."""
    unit: str
    """Of the labels."""
    values: Tensor
    """The variable itself at each step, (steps,)."""
    points: Tensor
    """(steps, width)."""


class Paths(NamedTuple):
    """How to move on a set."""

    nearest: Callable[[Tensor], Tensor]
    """The point of the set that is nearest to a mean of its points; (..., width) to the same."""
    between: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(start, end, share) -> the point at that share of the way."""
    along: Callable[[Tensor, Tensor, Sequence[float]], list[Walk]]
    """(draws from the prior, (n, width); a point, (width,); levels) -> a walk along each of its variables."""


def of(element: Constraint) -> Paths:
    """How to move on a set.

    Raises:
        DataError: nobody has said how yet.

    Example:
        >>> of(supports.sphere).between(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor(0.5))
        tensor([0.7071, 0.7071])
    """
    try:
        return PATHS[type(element)]
    except KeyError:
        raise DataError(
            f"codes on {supports.in_words(element)} cannot be walked through: no paths are known there"
        ) from None


def _itself(points: Tensor) -> Tensor:
    return points


def _on_sphere(points: Tensor) -> Tensor:
    return normalize(points, dim=-1)


def _on_simplex(points: Tensor) -> Tensor:
    return normalize(points, p=1, dim=-1)


def _one_hot(points: Tensor) -> Tensor:
    return one_hot(points.argmax(-1), points.shape[-1]).to(points.dtype)


def _straight(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    return (1 - share) * start + share * end


def _great_circle(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """The shorter way along the great circle through both points; any one, where they are opposite."""
    cosine = (start * end).sum(-1, keepdim=True)
    across = end - cosine * start
    sine = torch.linalg.vector_norm(across, dim=-1, keepdim=True)
    # Opposite to the start every direction is as good, and rounding would choose one, not across it.
    axis = one_hot(start.abs().argmin(-1), start.shape[-1]).to(start.dtype)
    other = axis - (start * axis).sum(-1, keepdim=True) * start
    direction = normalize(torch.where((sine > 1e-4) | (cosine > 0), across, other), dim=-1)
    angle = share * torch.atan2(sine, cosine)
    return _on_sphere(angle.cos() * start + angle.sin() * direction)


def _along_line(draws: Tensor, base: Tensor, levels: Sequence[float]) -> list[Walk]:
    """The prior's quantiles."""
    values = _quantiles(draws[:, 0], levels)
    return [Walk([_percent(level) for level in levels], QUANTILE, values, values.unsqueeze(1))]


def _along_whole_numbers(draws: Tensor, base: Tensor, levels: Sequence[float]) -> list[Walk]:
    """The prior's quantiles, rounded to draws."""
    (walk,) = _along_line(draws, base, levels)
    return [walk._replace(values=walk.values.round(), points=walk.points.round())]


def _along_bit(draws: Tensor, base: Tensor, levels: Sequence[float]) -> list[Walk]:
    values = torch.tensor([0.0, 1.0]).to(base)
    return [Walk(["0", "1"], "value", values, values.unsqueeze(1))]


def _by_category(draws: Tensor, base: Tensor, levels: Sequence[float]) -> list[Walk]:
    categories = torch.arange(len(base), device=base.device)
    labels = [str(k) for k in range(len(base))]
    return [Walk(labels, "category", categories, torch.eye(len(base)).to(base))]


def _towards_axes(power: float) -> Callable[[Tensor, Tensor, Sequence[float]], list[Walk]]:
    r"""Walks on :math:`\sum_i |z_i|^p = 1`: z_j at the prior's quantiles, the others in the base's ratios.

    On the sphere, p = 2, these are great circles through the base and the axis j; on the simplex, p = 1,
    lines through the base and the corner j.
    """

    def along(draws: Tensor, base: Tensor, levels: Sequence[float]) -> list[Walk]:
        return [walk(draws, base, levels, j) for j in range(len(base))]

    def walk(draws: Tensor, base: Tensor, levels: Sequence[float], j: int) -> Walk:
        axis = torch.eye(len(base)).to(base)[j]
        values = _quantiles(draws[:, j], levels)
        others = (1 - axis) * base
        if not others.any():  # the base is on the axis, and all ways lead there
            others = 1 - axis
        left = (1 - values.abs().pow(power)).clamp(min=0).pow(1 / power)
        points = values.unsqueeze(1) * axis + left.unsqueeze(1) * normalize(others, p=power, dim=0)
        return Walk([_percent(level) for level in levels], QUANTILE, values, points)

    return along


def _quantiles(draws: Tensor, levels: Sequence[float]) -> Tensor:
    return draws.quantile(torch.tensor(levels).to(draws))


def _percent(level: float) -> str:
    return f"{100 * level:.3g}%"


LINE = Paths(_itself, _straight, _along_line)
WHOLE_NUMBERS = Paths(torch.round, _straight, _along_whole_numbers)

PATHS: dict[type[Constraint], Paths] = {
    type(constraints.real): LINE,
    type(constraints.positive): LINE,
    type(constraints.nonnegative): LINE,
    type(constraints.unit_interval): LINE,
    type(constraints.half_open_interval(0.0, 1.0)): LINE,
    supports.OpenUnitInterval: LINE,
    type(supports.simplex): Paths(_on_simplex, _straight, _towards_axes(1)),
    type(supports.sphere): Paths(_on_sphere, _great_circle, _towards_axes(2)),
    type(constraints.boolean): Paths(torch.round, _straight, _along_bit),
    type(constraints.one_hot): Paths(_one_hot, _straight, _by_category),
    type(constraints.nonnegative_integer): WHOLE_NUMBERS,
    type(constraints.integer_interval(0, 1)): WHOLE_NUMBERS,
}
"""How to move on a set, by the type of its constraint. Of a discrete one, only the ends of a way are used."""
