"""Walks through the latent space: between two data, along each latent variable, over a plane of two.

What comes out lies on the processor, wherever the program is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae import codes, paths, supports
from pyrovae.codes import Latent
from pyrovae.data import Split
from pyrovae.diagnostics import Subject, diagnose
from pyrovae.diagnostics.active_units import ActiveUnits
from pyrovae.errors import DataError
from pyrovae.generate import encode
from pyrovae.isolation import isolated
from pyrovae.programs import Program

PRIOR_DRAWS = 10_000
"""Draws from the prior whose quantiles are walked through."""

OUTERMOST = 0.01
"""The lowest level of these quantiles; the highest is 1 less it."""


class Interpolation(NamedTuple):
    """A way between the codes of two data."""

    share: Tensor
    """Of the way, from 0 to 1, (steps,)."""
    z: Tensor
    """Codes, (steps, code size)."""
    mean: Tensor
    """Expected data E[x|z], (steps, \\*event_shape)."""


class Traversal(NamedTuple):
    """What one latent variable changes, the others staying as they are."""

    number: int
    """Of the variable in a code, from 0 on."""
    name: str
    """Of the variable, as active units call it."""
    variance: float
    """Over data, of E_q[z]: how much the data use this variable."""
    active: bool
    """Whether that is above the threshold of active units."""
    labels: list[str]
    """What each step is called: ``10%``, say, for a quantile."""
    unit: str
    """Of the labels: quantile of the prior, category or value."""
    value: Tensor
    """The variable at each step, (steps,)."""
    z: Tensor
    """Codes, (steps, code size)."""
    mean: Tensor
    """Expected data E[x|z], (steps, \\*event_shape)."""


class Plane(NamedTuple):
    """What two latent variables change together, the others staying as they are."""

    names: tuple[str, str]
    """Of the variables, as active units call them."""
    units: tuple[str, str]
    """What their steps are: quantiles of the prior, categories or values."""
    first: Tensor
    """The first variable at each step, (steps,)."""
    second: Tensor
    """The second variable at each step, (steps,)."""
    z: Tensor
    """Codes, (steps of the second, steps of the first, code size)."""
    mean: Tensor
    """Expected data E[x|z], (steps of the second, steps of the first, \\*event_shape)."""


class _Unit(NamedTuple):
    """A variable, and a walk along it."""

    number: int
    name: str
    latent: Latent
    columns: slice
    """Of a code: those that change."""
    walk: paths.Walk

    def at(self, code: Tensor) -> Tensor:
        """Codes along the walk that start as the given ones, (..., code size) to (steps, ..., code size)."""
        walked = code.repeat(len(self.walk.points), *[1] * code.dim())
        walked[..., self.columns] = self.walk.points.view(
            -1, *[1] * (code.dim() - 1), self.walk.points.shape[1]
        )
        return walked


@isolated()
def interpolate(
    program: Program, start: Tensor, end: Tensor, steps: int = 11, *, seed: int = 0
) -> Interpolation:
    """Expected data on the way between the codes of two data.

    The way is straight; on a sphere it is the shorter part of a great circle. Of discrete variables those
    that differ switch one after another, in their order and evenly spread over the way. It begins and ends
    at the points of the support that are nearest to E_q[z].

    Args:
        program: model and guide.
        start: a datum, event_shape.
        end: another one.
        steps: codes on the way, both ends with them.
        seed: of the draws that are averaged where E_q[z] has no closed form.

    Raises:
        DataError: codes on a set on which no paths are known.

    Example:
        >>> interpolate(program, x[0], x[1], 5).mean.shape
        torch.Size([5, 1, 8, 8])
    """
    latents = codes.layout(program)
    ends = located(program, torch.stack([start, end]), seed=seed)
    share = torch.linspace(0, 1, steps).to(ends)
    way = []
    for latent, shares in zip(latents, _shares(latents, ends, share), strict=True):
        one, other = latent.parts(ends)
        way.append(paths.of(latent.element).between(one, other, shares).flatten(1))
    z = torch.cat(way, 1)
    return Interpolation(share.cpu(), z.cpu(), codes.decode(program, z).mean.cpu())


@isolated()
def traverse(
    program: Program,
    rows: Split,
    *,
    at: Tensor | None = None,
    steps: int = 11,
    latents: int | None = None,
    seed: int = 0,
) -> list[Traversal]:
    """Expected data when one latent variable moves through the prior's quantiles and the others stay.

    On a simplex and on a sphere the variable moves towards its corner or its axis, and the others keep their
    ratios; a discrete variable takes each of its categories. Quantiles are those of 10,000 draws from the
    model, from 1% to 99%.

    Args:
        program: model and guide.
        rows: data, whose variance of E_q[z] orders the variables.
        at: the datum near whose code the others stay, event_shape; if not given, they stay in the middle of
            the prior.
        steps: codes for each variable that is not discrete.
        latents: how many variables, those with the largest variance; all, if not given.
        seed: of the draws.

    Raises:
        DataError: fewer than two rows, or codes on a set on which no paths are known.

    Example:
        >>> first, *_ = traverse(program, Split(x), at=x[0], steps=5)
        >>> first.labels, first.mean.shape
        (['1%', '25%', '50%', '75%', '99%'], torch.Size([5, 1, 8, 8]))
    """
    base, units = _walked(program, at, _levels(steps), seed)
    variances, threshold = _variances(program, rows, seed)
    units = sorted(units, key=lambda unit: -variances[unit.name])[:latents]
    z = [unit.at(base) for unit in units]
    means = codes.decode(program, torch.cat(z)).mean.split([len(part) for part in z])
    return [
        Traversal(
            unit.number,
            unit.name,
            variances[unit.name],
            variances[unit.name] > threshold,
            unit.walk.labels,
            unit.walk.unit,
            unit.walk.values.cpu(),
            part.cpu(),
            mean.cpu(),
        )
        for unit, part, mean in zip(units, z, means, strict=True)
    ]


@isolated()
def plane(
    program: Program,
    rows: Split,
    *,
    at: Tensor | None = None,
    steps: int = 21,
    limits: tuple[float, float] | None = None,
    seed: int = 0,
) -> Plane:
    """Expected data over the plane of two latent variables, the others staying as they are.

    Of more than two variables those with the largest variance of E_q[z] over data are taken.

    Args:
        program: model and guide.
        rows: data that tell which variables are used.
        at: the datum near whose code the other variables stay; see :func:`traverse`.
        steps: codes along each variable that is not discrete.
        limits: both variables go evenly from the one to the other; through the prior's quantiles, if not
            given.
        seed: of the draws.

    Raises:
        DataError: the code has no two variables that move without each other, or none between these limits.

    Example:
        >>> plane(program, Split(x), steps=3).z.shape
        torch.Size([3, 3, 8])
    """
    base, units = _walked(program, at, _levels(steps), seed)
    if len(units) > 2:
        variances, _ = _variances(program, rows, seed)
        most = sorted(units, key=lambda unit: -variances[unit.name])[:2]
        units = sorted(most, key=lambda unit: unit.number)
    first, second = _free(units)
    if limits:
        first, second = (_evenly(unit, base, limits, steps) for unit in (first, second))
    z = second.at(first.at(base))
    mean = codes.decode(program, z.flatten(0, 1)).mean.unflatten(0, z.shape[:2])
    return Plane(
        (first.name, second.name),
        (first.walk.unit, second.walk.unit),
        first.walk.values.cpu(),
        second.walk.values.cpu(),
        z.cpu(),
        mean.cpu(),
    )


@isolated()
def located(program: Program, x: Tensor, *, seed: int = 0) -> Tensor:
    """The points of the support nearest to E_q[z], (n, code size): on a sphere, say, in its direction.

    Args:
        program: model and guide.
        x: data, (n, \\*event_shape).
        seed: of the draws that are averaged where E_q[z] has no closed form.

    Example:
        >>> located(program, x).shape
        torch.Size([16, 8])
    """
    return _nearest(codes.layout(program), encode(program, [x], seed=seed))


def _nearest(latents: Sequence[Latent], z: Tensor) -> Tensor:
    return torch.cat([paths.of(latent.element).nearest(latent.parts(z)).flatten(1) for latent in latents], 1)


def _shares(latents: Sequence[Latent], ends: Tensor, share: Tensor) -> Iterator[Tensor]:
    """The share of the way that each part of a latent site has gone, (steps, parts, 1).

    Of m discrete parts that differ, the k-th, from 0 on, has gone all of it after (k + 1/2) / m, and nothing
    before.
    """
    discrete = [latent.element.is_discrete for latent in latents]
    differs = [(latent.parts(ends)[0] != latent.parts(ends)[1]).any(-1) for latent in latents]
    m = sum(int(parts.sum()) for parts, jumps in zip(differs, discrete, strict=True) if jumps)
    before = 0
    for parts, jumps in zip(differs, discrete, strict=True):
        gone = share.unsqueeze(1).expand(-1, len(parts))
        if jumps:
            gone = (gone > (before + parts.cumsum(0) - 0.5) / max(m, 1)).to(share)
            before += int(parts.sum())
        yield gone.unsqueeze(-1)


def _walked(
    program: Program, at: Tensor | None, levels: Sequence[float], seed: int
) -> tuple[Tensor, list[_Unit]]:
    """The code at which variables stay, and a walk along each of them."""
    latents = codes.layout(program)
    draws = codes.drawn(program, PRIOR_DRAWS, seed=seed)
    if at is None:
        (base,) = _nearest(latents, draws.median(0, keepdim=True).values)
    else:
        (base,) = located(program, at.unsqueeze(0), seed=seed)
    units: list[_Unit] = []
    for latent in latents:
        along, names = paths.of(latent.element).along, iter(latent.units)
        for first in range(latent.columns.start, latent.columns.stop, latent.width):
            columns = slice(first, first + latent.width)
            walks = along(draws[:, columns], base[columns], levels)
            units += [
                _Unit(number, next(names), latent, columns, walk)
                for number, walk in enumerate(walks, len(units))
            ]
    return base, units


def _levels(steps: int) -> list[float]:
    """Evenly from 0 to 1, but for the ends, where the prior may have none: 1%, 10%, 20%, ..., 99%."""
    return torch.linspace(0, 1, steps, dtype=torch.float64).clamp(OUTERMOST, 1 - OUTERMOST).tolist()


def _variances(program: Program, rows: Split, seed: int) -> tuple[dict[str, float], float]:
    """The variance of E_q[z] over data for each variable, and the one above which it is active."""
    diagnostic = ActiveUnits(each=True)
    findings = diagnose(diagnostic, Subject(program, rows, seed))
    if findings.unavailable:
        raise DataError(f"which latent variables are used is not known: {findings.unavailable}")
    _, *units = findings.quantities
    return {unit.key: unit.mean.value for unit in units}, diagnostic.threshold


def _free(units: Sequence[_Unit]) -> tuple[_Unit, _Unit]:
    """Two variables that move without each other."""
    if len(units) < 2:
        raise DataError(
            "a plane needs two latent variables, and there is one: 'pyrovae traverse' walks along it"
        )
    first, second = units
    if first.columns == second.columns:
        raise DataError(
            f"{first.name} and {second.name} make no plane: they are two entries of one vector on "
            f"{supports.in_words(first.latent.element)}, where one cannot move without the other; "
            "'pyrovae traverse' walks along each"
        )
    return first, second


def _evenly(unit: _Unit, base: Tensor, limits: tuple[float, float], steps: int) -> _Unit:
    """The same variable on evenly spaced values, which need no draws."""
    latent, values = unit.latent, torch.linspace(*limits, steps).to(base)
    labels = [f"{value:.3g}" for value in values.tolist()]
    even = unit._replace(walk=paths.Walk(labels, "value", values, values.unsqueeze(1)))
    if not latent.element.is_discrete and latent.width == 1:
        z = even.at(base)[:, latent.columns].reshape(steps, *latent.event_shape)
        if supports.contains(latent.support, z):
            return even
    low, high = limits
    raise DataError(
        f"{unit.name} cannot go from {low:g} to {high:g}: it lives on {supports.in_words(latent.element)}"
    )
