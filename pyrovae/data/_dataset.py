"""Rows of data and the three splits made of them; knows no source, no file and no model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.data._columns import Columns
from pyrovae.data._disk import RowsOnDisk
from pyrovae.data._layout import Layout
from pyrovae.errors import DataError
from pyrovae.isolation import isolated
from pyrovae.randomness import mix, seeded
from pyrovae.units import STORED, Unit

Labels: TypeAlias = NDArray[Any]
Binarization: TypeAlias = Literal["dynamic", "static", "threshold"]
Noise: TypeAlias = Literal["binarized", "dequantized"]
Draws: TypeAlias = Literal["fresh", "own", "middle"]

# How many cells are turned to float at a time wherever all rows are gone through.
_CHUNK_CELLS = 2**20

_SILENCE, _MIDDLE = (torch.tensor(u, dtype=torch.float32, device="cpu") for u in (0.0, 0.5))
# In float32 uniform noise is a multiple of 2^-24. 0 itself is moved up: many a density has no value there.
_LOWEST, _HIGHEST = 2**-25, 1 - 2**-24
_LARGEST_WITH_FRACTION = 2**22
_MIDDLE_OF_CELLS = torch.tensor(0.5 + 2**-17, dtype=torch.float32, device="cpu")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of data as stored, and how stored values become the data a model sees.

    In this order: noise u, uniform on (0, 1), turns whole numbers into real ones; values are divided; values
    in [0, 1] are squeezed into the middle of that interval; grey values become bits.

    Args:
        raw: The rows as stored, (n, \\*event_shape), in memory or on disk: uint8 or float32, or float64 where
            float32 would round them, as long as nobody has chosen :meth:`rounded`.
        labels: One whole number or string a row, or None.
        divisor: A grey value is ``raw / divisor``; a dequantised one ``(raw + u) / (divisor + 1)``.
        margin: A value x in [0, 1] becomes ``margin + (1 - 2 margin) x``.
        noise: What noise makes of the values: ``binarized`` ones are 1 where u is below the grey value, which
            is their mean.
        draws: Where u comes from: drawn on every read (``fresh``), a function of the values of its row alone
            (``own``), or always one half (``middle``).
        columns: The names of the cells of a row, where its source has them.
        layout: How the source has the channels of data of three axes; here they come first.
        origin: What these rows are beside those that they were made of, where noise has been drawn already.

    Source: Theis, van den Oord and Bethge, *A note on the evaluation of generative models*, 2016, section 3.
    """

    raw: Tensor | RowsOnDisk
    labels: Labels | None = None
    divisor: float = 1.0
    margin: float = 0.0
    noise: Noise | None = None
    draws: Draws = "fresh"
    columns: Columns | None = None
    layout: Layout | None = None
    origin: Unit | None = None

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def unit(self) -> Unit:
        """The unit of the values that a model sees, beside that of the stored ones."""
        if self.origin is not None:
            return self.origin
        if self.noise == "binarized":
            return Unit("the bits")
        divisor, is_dequantized = self.divisor, self.noise == "dequantized"
        if is_dequantized:
            divisor += 1
        if divisor == 1 and not is_dequantized and not self.margin:
            return STORED
        words = "(value + u)" if is_dequantized else "value"
        words += f" / {divisor:g}" if divisor != 1 else ""
        if self.margin:
            words = f"{self.margin:g} + {1 - 2 * self.margin:g} {words}"
        return Unit(words, math.log1p(-2 * self.margin) - math.log(divisor), is_dequantized)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.raw.shape[1:])

    def rows(self, index: Tensor | slice) -> Tensor:
        """The data at ``index``, where the split is, and never a view of what is stored.

        They are float64 where such numbers are stored, float32 elsewhere.

        Noise is drawn from that device's global generator, so a seeded training run repeats its draws.
        """
        split = self._settled
        return split._read(split._at(index))

    def reading(self, batches: Iterable[Tensor | slice]) -> Iterator[Tensor]:
        """The data of each batch of row numbers in turn, as :meth:`rows` gives them.

        Rows on disk are read in the background, and their numbers therefore asked for, a few batches ahead.
        Noise is drawn when a batch is handed out: the same numbers, bit for bit, as without reading ahead.
        """
        if isinstance(self.raw, RowsOnDisk):
            return map(self._read, self.raw.ahead(batches))
        return map(self._settled.rows, batches)

    def batches(self, size: int | None = None) -> Iterator[Tensor]:
        """All data in order, ``size`` rows at a time, or as many as make about a million cells."""
        return self.reading(self._slices(size))

    def to(self, device: torch.device | str) -> Split:
        """The split whose rows are stored on a device; those on disk stay there, and are moved when read.

        Values are scaled, and noise is drawn, on that device.
        """
        return replace(self, raw=self.raw.to(torch.device(device)))

    def extremes(self) -> Iterator[Tensor]:
        """All cells, equal ones perhaps once, under no noise but the lowest, the middle and the highest.

        Whether all draws lie in a set can be seen from these: the middle tells points from what is between.
        """
        cells = self.distinct() if self.raw.dtype == torch.uint8 else self
        noises = torch.tensor([_LOWEST, 0.5, _HIGHEST]) if self.noise else _SILENCE.unsqueeze(0)
        return (cells._data(part.to(_real(part.dtype)), u) for part in cells._parts() for u in noises)

    def rounded(self) -> Split:
        """The same split, whose numbers have the digits of float32."""
        return replace(self, raw=self.raw.float()) if self.raw.dtype == torch.float64 else self

    def take(self, index: Tensor) -> Split:
        """The split that holds only the rows at ``index``, in that order."""
        labels = None if self.labels is None else self.labels[index.cpu().numpy()]
        raw = self.raw.take(index) if isinstance(self.raw, RowsOnDisk) else _gathered(self.raw, index)
        return replace(self, raw=raw, labels=labels)

    @isolated()
    def chosen(self, count: int, *key: int | str) -> Tensor:
        """The numbers of so many rows, chosen by the key, in their order; of all, where there are no more."""
        with seeded(*key):
            return torch.randperm(len(self))[:count].sort().values

    @isolated()
    def range(self) -> tuple[float, float]:
        """The ends of the interval that all values lie in; (inf, -inf) where there are no rows."""
        if not len(self):
            return math.inf, -math.inf
        ends = torch.tensor(self._stored_range(), dtype=_real(self.raw.dtype))
        low, high = torch.stack([self._data(ends, u) for u in (_SILENCE, _SILENCE + _HIGHEST)]).aminmax()
        return low.item(), high.item()

    def is_binary(self) -> bool:
        """Whether every value is 0 or 1."""
        # The first rows tell grey values from bits at a glance.
        glance = replace(self, raw=self.raw[next(self._slices(), slice(0))], labels=None)
        return self.noise == "binarized" or (_are_bits(glance.extremes()) and _are_bits(self.extremes()))

    def is_whole(self) -> bool:
        """Whether all stored values are whole numbers."""
        return not self.raw.dtype.is_floating_point or all(
            torch.equal(stored, stored.round()) for stored in self._parts()
        )

    @isolated()
    def drawn(self) -> Split:
        """The data under noise that is drawn once and for all.

        The noise of a row is a function of its grey values alone: not of its place, nor of the other rows.
        """
        if not self.noise:
            return self
        return (replace(self, draws="own") if self.draws == "fresh" else self)._settled

    def expected(self) -> Split:
        """The grey values that bits are drawn from, and are the mean of; other data as they are."""
        return replace(self, noise=None) if self.noise == "binarized" and self.draws != "middle" else self

    @isolated()
    def thresholded(self) -> Split:
        """1 where a value is above one half, 0 elsewhere."""
        return replace(self, noise="binarized", draws="middle")._settled

    def distinct(self) -> Split:
        """The values that are stored, as a single row, each once; all rows where such values are too many."""
        if not len(self):
            return self
        # Bytes are counted in a tenth of the time that sorting them takes.
        values = self._bytes() if self.raw.dtype == torch.uint8 else self._numbers()
        return replace(self, raw=self.raw if values is None else values.unsqueeze(0), labels=None)

    def fingerprint(self) -> str:
        """A short hash of the rows as stored, to the digits of float32, and of the divisor."""
        kind = torch.float32 if self.raw.dtype == torch.float64 else self.raw.dtype
        return self._hash(kind, lambda part: part.to(kind))

    def fingerprint_of_digits(self) -> str:
        """A short hash of what float32 rounds away from the rows; empty where it holds them."""
        if self.raw.dtype != torch.float64:
            return ""
        return self._hash(torch.float64, lambda part: part - part.float())

    def _hash(self, kind: torch.dtype, seen: Callable[[Tensor], Tensor]) -> str:
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((kind, tuple(self.raw.shape), float(self.divisor))).encode())
        for part in self._parts():
            digest.update(seen(part).contiguous().cpu().numpy().data)
        return digest.hexdigest()

    def _slices(self, size: int | None = None) -> Iterator[slice]:
        step = max(1, _CHUNK_CELLS // math.prod(self.event_shape)) if size is None else size
        return (slice(start, start + step) for start in range(0, len(self), step))

    def _parts(self) -> Iterator[Tensor]:
        """All rows as stored, a chunk at a time."""
        return (
            self.raw.ahead(self._slices())
            if isinstance(self.raw, RowsOnDisk)
            else map(self.raw.__getitem__, self._slices())
        )

    def _at(self, index: Tensor | slice) -> Tensor:
        """The rows at ``index`` as stored, a copy."""
        if isinstance(self.raw, RowsOnDisk):
            return self.raw[index]
        return self.raw[index].clone() if isinstance(index, slice) else _gathered(self.raw, index)

    def _read(self, stored: Tensor) -> Tensor:
        """Stored values as data, under the noise of this read."""
        stored = stored.to(_real(stored.dtype))
        return self._data(stored, self._noise(stored) if self.noise else _SILENCE)

    def _data(self, stored: Tensor, u: Tensor) -> Tensor:
        """Stored values as data, under noise u."""
        if self.noise == "dequantized":
            x = _within_cells(stored, u) / (self.divisor + 1)
        else:
            x = stored if self.divisor == 1 else stored / self.divisor
        if self.margin:
            x = self.margin + (1 - 2 * self.margin) * x
        # The law of torch.bernoulli(x) at a tenth of its cost.
        return torch.gt(x, u, out=torch.empty_like(x)) if self.noise == "binarized" else x

    def _noise(self, stored: Tensor) -> Tensor:
        if self.draws == "middle":
            return _MIDDLE
        if self.draws == "own":
            return self._own_noise(stored)
        if self.noise == "dequantized":
            return torch.rand_like(stored).clamp_(min=_LOWEST)
        # An accelerator draws in no time, and counts operations.
        return _coarse_noise(stored) if stored.device.type == "cpu" else torch.rand_like(stored)

    def _own_noise(self, stored: Tensor) -> Tensor:
        """For each row uniform noise that its grey values seed."""
        generator, noise = torch.Generator(), torch.empty(stored.shape)
        for row, grey in zip(noise, (stored.cpu() / self.divisor).float().numpy(), strict=True):
            generator.manual_seed(mix(str(self.noise), hashlib.blake2b(grey.data).hexdigest()))
            row.uniform_(generator=generator)
        return noise.clamp_(min=_LOWEST).to(stored.device)

    @cached_property
    def _settled(self) -> Split:
        """Data in memory whose noise is never drawn anew, as they have become; any other split as it is."""
        if self.draws == "fresh" or isinstance(self.raw, RowsOnDisk):
            return self
        dtype = torch.uint8 if self.noise == "binarized" else _real(self.raw.dtype)
        raw = torch.empty_like(self.raw, dtype=dtype)
        for part in self._slices():
            # On the CPU, so that all devices have the same bits.
            raw[part] = self._read(self._at(part).cpu()).to(raw.device)
        return Split(raw, self.labels, columns=self.columns, layout=self.layout, origin=self.unit)

    def _stored_range(self) -> tuple[float, float]:
        low, high = math.inf, -math.inf
        for part in self._parts():
            lowest, highest = part.aminmax()
            low, high = min(low, lowest.item()), max(high, highest.item())
            if self.raw.dtype == torch.uint8 and (low, high) == (0, 255):
                break  # no byte goes further
        return low, high

    def _bytes(self) -> Tensor:
        """The bytes that are stored, each once."""
        counts = torch.zeros(256, dtype=torch.int64, device=self.raw.device)
        for part in self._parts():
            counts += part.flatten().bincount(minlength=256)
            if counts.all():
                break  # there are no others
        return counts.nonzero().flatten().to(torch.uint8)

    def _numbers(self) -> Tensor | None:
        """The numbers that are stored, each once; None where they are too many to go on collecting them."""
        found = None
        for part in self._parts():
            found = (part if found is None else torch.cat([found, part.flatten()])).unique()
            if len(found) > _CHUNK_CELLS:
                return None
        return found


def _are_bits(parts: Iterable[Tensor]) -> bool:
    return all(bool(((x == 0) | (x == 1)).all()) for x in parts)


def _real(stored: torch.dtype) -> torch.dtype:
    """Of the numbers that stored ones become."""
    return stored if stored.is_floating_point else torch.float32


def _gathered(raw: Tensor, index: Tensor) -> Tensor:
    # Several times faster than raw[index].
    return raw.index_select(0, index.to(raw.device))


def _coarse_noise(like: Tensor) -> Tensor:
    """Uniform noise at the middles of 2^16 equal cells of (0, 1), in a third of the time of ``torch.rand``.

    What is binarised under it has its mean within 2^-17, and exactly where that is 0 or 1.
    """
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    cells = words.view(torch.int16)[: like.numel()].view(like.shape)
    return torch.add(_MIDDLE_OF_CELLS, cells.to(torch.float32), alpha=2**-16)


def _within_cells(whole: Tensor, u: Tensor) -> Tensor:
    """Whole numbers plus noise, below the next whole number even where the sum is rounded."""
    return torch.minimum(whole + u, (whole + 1).nextafter(whole))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits that share the shape of a datum; a split that was not asked for has no rows.

    ``notes`` are sentences that say what was decided when the source was read.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by their names, the training rows first."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return self.train.event_shape

    @property
    def columns(self) -> Columns | None:
        """The names of the cells of a datum, where the source has them."""
        return self.train.columns

    @property
    def layout(self) -> Layout | None:
        """How the source has the channels of data of three axes; in the splits they come first."""
        return self.train.layout

    def range(self) -> tuple[float, float]:
        """The lowest and the highest value over all splits."""
        lows, highs = zip(*(split.range() for split in self.splits.values()), strict=True)
        return min(lows), max(highs)

    def is_binary(self) -> bool:
        """Whether every value of every split is 0 or 1."""
        return all(split.is_binary() for split in self.splits.values())

    def divided(self, divisor: float) -> Dataset:
        """The same stored values, divided by another number."""
        return self._map(lambda split: replace(split, divisor=divisor))

    def distinct(self) -> Dataset:
        """The same splits, each with only the values that occur in it: see :meth:`Split.distinct`."""
        return self._map(Split.distinct)

    def binarized(self, mode: Binarization) -> Dataset:
        """The same data as zeros and ones.

        Args:
            mode: ``dynamic`` draws the training rows anew on every read, and validation and test rows once;
                ``static`` draws all rows once; ``threshold`` is 1 above one half. What is drawn once is
                seeded by its own grey values.

        Raises:
            DataError: Values outside [0, 1], or values that were dequantised or squeezed.
        """
        if mode not in get_args(Binarization):
            raise DataError(f"There is no binarisation {mode!r}: choose {_listed(get_args(Binarization))}.")
        self._check_unit_range("binarised")
        if self.train.margin or self.train.noise == "dequantized":
            raise DataError(
                f"{self.name} would be binarised, and bits are neither dequantised nor squeezed: leave out "
                "data.dequantize and data.squeeze, or set data.binarize = none."
            )
        if mode == "threshold":
            return self._map(Split.thresholded)
        noisy = self._noisy("binarized")
        return noisy if mode == "dynamic" else noisy.drawn()

    def dequantized(self) -> Dataset:
        """The same data with uniform noise on whole numbers, so that a density of them means something.

        Training rows have new noise on every read; that of validation and test rows is drawn once.

        Raises:
            DataError: Stored values that are no whole numbers.
        """
        low, high = self.range()
        if not all(split.is_whole() for split in self.splits.values()):
            raise DataError(
                f"Only whole numbers can be dequantised, and {self.name} holds fractions from {low:g} to "
                f"{high:g}: give the whole numbers, and what to divide them by as data.divisor."
            )
        if max(-low, high) * self.train.divisor > _LARGEST_WITH_FRACTION:
            raise DataError(
                f"Whole numbers above {_LARGEST_WITH_FRACTION:,} cannot be dequantised, since float32 has "
                f"too few numbers between them, and {self.name} goes from {low:g} to {high:g}: leave out "
                "data.dequantize, which changes next to nothing of such numbers."
            )
        return self._noisy("dequantized")

    def squeezed(self, margin: float) -> Dataset:
        """The same data in the open interval (0, 1): x becomes ``margin + (1 - 2 margin) x``.

        Raises:
            DataError: Values outside [0, 1], or a margin outside (0, 1/2).
        """
        if not 0 < margin < 0.5:
            raise DataError(f"data.squeeze is a number above 0 and below 1/2, and not {margin}.")
        self._check_unit_range("squeezed")
        return self._map(lambda split: replace(split, margin=margin))

    def drawn(self) -> Dataset:
        """The same data, all noise drawn once."""
        return self._map(Split.drawn)

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on a device: see :meth:`Split.to`."""
        return self._map(lambda split: split.to(device))

    def rounded(self) -> Dataset:
        """The same data, to the digits of float32."""
        kinds = {split.raw.dtype for split in self.splits.values()}
        return self._map(Split.rounded) if torch.float64 in kinds else self

    def fingerprint(self) -> str:
        """A short hash of the training rows and their divisor, to notice that a data file has changed."""
        return self.train.fingerprint()

    def describe(self) -> str:
        """One line: how many rows of which shape, and the range of their values."""
        counts = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        low, high = self.range()
        return f"{self.name}: {counts} rows of {self.event_shape}, values {low:g} to {high:g}"

    def _map(self, change: Callable[[Split], Split]) -> Dataset:
        train, validation, test = map(change, self.splits.values())
        return replace(self, train=train, validation=validation, test=test)

    def _noisy(self, noise: Noise) -> Dataset:
        """Noise anew on every read of training rows, and once, at the first, of rows that are evaluated."""
        noisy = self._map(lambda split: replace(split, noise=noise))
        validation, test = (replace(split, draws="own") for split in (noisy.validation, noisy.test))
        return replace(noisy, validation=validation, test=test)

    def _check_unit_range(self, changed: str) -> None:
        low, high = self.range()
        if low < 0 or high > 1:
            remedy = ": set data.divisor (255 for grey values of 8 bits)" if low >= 0 else ""
            raise DataError(
                f"Only values between 0 and 1 can be {changed}, and {self.name} holds {low:g} to {high:g}"
                f"{remedy}."
            )


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
