"""Rows of data in memory and the three splits made of them; knows no source, no file and no model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.errors import DataError
from pyrovae.randomness import mix

Labels: TypeAlias = NDArray[Any]
Binarization: TypeAlias = Literal["dynamic", "static", "threshold"]

# How many cells are turned to float at a time wherever all rows are gone through.
_CHUNK_CELLS = 2**20


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of data as stored, and how stored values become the data a model sees.

    Args:
        raw: The rows as stored, (n, \\*event_shape), uint8 or float32.
        labels: One whole number or string a row, or None.
        divisor: A datum is ``raw / divisor``.
        dynamic: Whether each cell is drawn anew, Bernoulli with the grey value as its mean, on every read.
    """

    raw: Tensor
    labels: Labels | None = None
    divisor: float = 1.0
    dynamic: bool = False

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.raw.shape[1:])

    def rows(self, index: Tensor | slice) -> Tensor:
        """The data at ``index``, float32 and never a view of what is stored.

        Dynamic rows are drawn from torch's global generator, so a seeded training run repeats its draws.
        """
        grey = self._grey(index)
        # The law of torch.bernoulli(grey) at a third of its cost.
        return (torch.rand_like(grey) < grey).to(torch.float32) if self.dynamic else grey

    def batches(self, size: int | None = None) -> Iterator[Tensor]:
        """All data in order, ``size`` rows at a time, or as many as make about a million cells."""
        size = self._chunk_rows if size is None else size
        return (self.rows(slice(start, start + size)) for start in range(0, len(self), size))

    def take(self, index: Tensor) -> Split:
        """The split that holds only the rows at ``index``, in that order."""
        labels = None if self.labels is None else self.labels[index.numpy()]
        return replace(self, raw=self.raw[index], labels=labels)

    def range(self) -> tuple[float, float]:
        """The lowest and the highest value a read can give; (inf, -inf) where there are no rows."""
        if not len(self):
            return math.inf, -math.inf
        if self.dynamic:
            return 0.0, 1.0
        low, high = (self._scaled(extreme).item() for extreme in self.raw.aminmax())
        return low, high

    def is_binary(self) -> bool:
        """Whether every value is 0 or 1."""
        return self.dynamic or all(
            bool(((grey == 0) | (grey == 1)).all()) for grey in map(self._grey, self._slices())
        )

    def drawn(self) -> Split:
        """Every cell drawn once, Bernoulli with the grey value as its mean.

        The bits of a row are a function of its grey values alone: not of its place, nor of the other rows.
        """
        generator = torch.Generator()

        def draw(grey: Tensor) -> Tensor:
            noise = torch.empty_like(grey)
            for row, values in zip(noise, grey, strict=True):
                generator.manual_seed(mix("binarized", hashlib.blake2b(values.numpy().data).hexdigest()))
                row.uniform_(generator=generator)
            return noise < grey

        return self._as_bits(draw)

    def thresholded(self) -> Split:
        """1 where a value is above one half, 0 elsewhere."""
        return self._as_bits(lambda grey: grey > 0.5)

    def fingerprint(self) -> str:
        """A short hash of the rows as stored and of the divisor."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.raw.dtype, tuple(self.raw.shape), float(self.divisor))).encode())
        for part in self._slices():
            digest.update(self.raw[part].contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def _chunk_rows(self) -> int:
        return max(1, _CHUNK_CELLS // math.prod(self.event_shape))

    def _slices(self) -> Iterator[slice]:
        step = self._chunk_rows
        return (slice(start, start + step) for start in range(0, len(self), step))

    def _scaled(self, stored: Tensor) -> Tensor:
        return stored.to(torch.float32) / self.divisor

    def _grey(self, index: Tensor | slice) -> Tensor:
        return self._scaled(self.raw[index])

    def _as_bits(self, decide: Callable[[Tensor], Tensor]) -> Split:
        bits = torch.empty_like(self.raw, dtype=torch.uint8)
        for part in self._slices():
            bits[part] = decide(self._grey(part))
        return Split(bits, self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits that share the shape of a datum; a split that was not asked for has no rows."""

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by their names, the training rows first."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return self.train.event_shape

    def range(self) -> tuple[float, float]:
        """The lowest and the highest value over all splits."""
        lows, highs = zip(*(split.range() for split in self.splits.values()), strict=True)
        return min(lows), max(highs)

    def is_binary(self) -> bool:
        """Whether every value of every split is 0 or 1."""
        return all(split.is_binary() for split in self.splits.values())

    def binarized(self, mode: Binarization) -> Dataset:
        """The same data as zeros and ones.

        Args:
            mode: ``dynamic`` draws the training rows anew on every read, and validation and test rows once;
                ``static`` draws all rows once; ``threshold`` is 1 above one half. What is drawn once is
                seeded by its own grey values.
        """
        if mode not in get_args(Binarization):
            raise DataError(f"There is no binarisation {mode!r}: choose {_listed(get_args(Binarization))}.")
        self._check_unit_range()
        if mode == "threshold":
            splits = [split.thresholded() for split in self.splits.values()]
        else:
            splits = [split.drawn() for split in self.splits.values()]
        if mode == "dynamic":
            splits[0] = replace(self.train, dynamic=True)
        return Dataset(self.name, *splits)

    def fingerprint(self) -> str:
        """A short hash of the training rows and their divisor, to notice that a data file has changed."""
        return self.train.fingerprint()

    def describe(self) -> str:
        """One line: how many rows of which shape, and the range of their values."""
        counts = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        low, high = self.range()
        return f"{self.name}: {counts} rows of {self.event_shape}, values {low:g} to {high:g}"

    def _check_unit_range(self) -> None:
        low, high = self.range()
        if low < 0 or high > 1:
            raise DataError(
                f"Only values between 0 and 1 can be binarised, and {self.name} holds {low:g} to {high:g}: "
                "set data.divisor (255 for grey values of 8 bits)."
            )


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
