"""What is done to data, to be undone: noise by name and amount, drawn for each datum; knows no program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pyrovae import supports
from pyrovae.errors import ConfigError, DataError, Problem
from pyrovae.isolation import isolated
from pyrovae.randomness import Streams

Extremes = tuple[float, float]


class Kind(NamedTuple):
    """One way to corrupt data."""

    apply: Callable[[Tensor, float, Streams, Extremes], Tensor]
    """(n, \\*event_shape), amount, noise and the extremes of the data -> (n, \\*event_shape)."""
    amount: str
    """What the number after the colon is."""
    allowed: Callable[[float], bool]
    example: str


class Corruption(NamedTuple):
    """A kind of :data:`KINDS`, and how much of it.

    Example:
        >>> parse("salt:0.2")
        Corruption(kind='salt', amount=0.2)
    """

    kind: str
    amount: float

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"


def _salt(x: Tensor, share: float, noise: Streams, extremes: Extremes) -> Tensor:
    u, (low, high) = noise.uniform(x.unsqueeze(0))[0], extremes
    return x.masked_fill(u < share, high).masked_fill(u < share / 2, low)


def _gaussian(x: Tensor, deviation: float, noise: Streams, _: Extremes) -> Tensor:
    return x + deviation * noise.normal(x.unsqueeze(0))[0]


def _mask(x: Tensor, share: float, noise: Streams, _: Extremes) -> Tensor:
    return x.masked_fill(noise.uniform(x.unsqueeze(0))[0] < share, 0.0)


def _block(x: Tensor, size: float, noise: Streams, _: Extremes) -> Tensor:
    sides = x.shape[1:][-2:]
    if size > min(sides):
        raise DataError(f"a block of {size:g} cells a side does not fit data of {_times(sides)} cells")
    corners = noise.uniform(x.new_empty(1, len(x), len(sides)))[0]
    hidden = torch.ones(len(x), *sides, dtype=torch.bool, device=x.device)
    for dim, side in enumerate(sides):
        start = (corners[:, dim] * (side - size + 1)).floor().unsqueeze(1)
        places = torch.arange(side, device=x.device)
        inside = (places >= start) & (places < start + size)
        hidden &= inside.reshape(len(x), *(side if other == dim else 1 for other in range(len(sides))))
    return x.masked_fill(hidden.reshape(len(x), *[1] * (x.dim() - 1 - len(sides)), *sides), 0.0)


def _is_share(amount: float) -> bool:
    return 0 <= amount <= 1


KINDS: Mapping[str, Kind] = {
    "salt": Kind(
        _salt,
        "share of cells, from 0 to 1, that become the smallest or the largest value, half of them each",
        _is_share,
        "salt:0.2",
    ),
    "gaussian": Kind(
        _gaussian,
        "standard deviation of normal noise, above 0, in the unit of the data",
        lambda amount: 0 < amount < math.inf,
        "gaussian:0.3",
    ),
    "mask": Kind(_mask, "share of cells, from 0 to 1, that become 0", _is_share, "mask:0.5"),
    "block": Kind(
        _block,
        "side of a square that becomes 0, in whole cells; of a run of cells, in rows of a table",
        lambda amount: amount >= 1 and amount == round(amount),
        "block:4",
    ),
}


def parse(text: str, place: str = "--noise") -> Corruption:
    """A corruption from ``kind:amount``.

    Args:
        text: as it was typed.
        place: where, for a message.

    Raises:
        ConfigError: naming what is allowed.

    Example:
        >>> parse("block:4").amount
        4.0
    """
    name, _, number = text.partition(":")
    if name not in KINDS:
        kinds = ", ".join(kind.example for kind in KINDS.values())
        raise ConfigError([Problem(place, f"there is no noise {name!r}; give kind:amount, as {kinds}")])
    kind = KINDS[name]
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not kind.allowed(amount):
        raise ConfigError([Problem(place, f"{text!r} needs a {kind.amount}: as {kind.example}")])
    return Corruption(name, amount)


@isolated()
def corrupt(
    x: Tensor,
    corruption: Corruption,
    data: Sequence[int],
    *,
    seed: int,
    extremes: Extremes,
    support: Constraint,
) -> Tensor:
    """Data after a corruption, still in the set that a likelihood takes.

    Real numbers that noise takes out of that set, as below 0 or above 1, become the nearest extreme of the
    data; so do zeros that are not in it. Bits, levels and counts that would become other numbers are refused.

    Args:
        x: clean, (n, \\*event_shape).
        corruption: its kind and amount.
        data: the numbers of the data; noise is a function of the seed and of them.
        seed: of the noise.
        extremes: the smallest and the largest value that data have.
        support: the set on which each cell lives.

    Raises:
        DataError: the result would not be in the support, or the corruption does not fit the data's shape.

    Example:
        >>> from torch.distributions import constraints
        >>> bits = constraints.boolean
        >>> noisy = corrupt(x, parse("mask:1"), range(16), seed=0, extremes=(0.0, 1.0), support=bits)
        >>> noisy.sum()
        tensor(0.)
    """
    noise = Noise(data, seed, extremes, support)
    noisy = _applied(x, corruption, noise)
    if supports.contains(support, noisy):
        return noisy
    others = [kind.example for kind in KINDS.values() if _fits(x, parse(kind.example), noise)]
    raise DataError(
        f"{corruption} takes data out of {supports.in_words(support)}, which the likelihood is made for; "
        f"what fits: {', '.join(others) or 'nothing'}"
    )


class Noise(NamedTuple):
    """Where noise comes from, and the values that it may lead to."""

    data: Sequence[int]
    seed: int
    extremes: Extremes
    support: Constraint


def _applied(x: Tensor, corruption: Corruption, noise: Noise) -> Tensor:
    kind, amount = corruption
    streams = Streams((noise.seed, "corrupt", kind), noise.data)
    noisy = KINDS[kind].apply(x, amount, streams, noise.extremes)
    return noisy.where(noise.support.check(noisy), noisy.clamp(*noise.extremes))


def _fits(x: Tensor, corruption: Corruption, noise: Noise) -> bool:
    try:
        return supports.contains(noise.support, _applied(x, corruption, noise))
    except DataError:
        return False


def _times(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))
