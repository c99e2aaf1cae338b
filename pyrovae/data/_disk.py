"""Rows that stay on disk until they are asked for, read in the background; knows not what they mean."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Batches that are read before they are asked for, and threads that read them: a disk answers several at once.
_AHEAD, _READERS = 4, 2

_CPU = torch.device("cpu")
_KINDS = {torch.uint8: np.uint8, torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True, eq=False)
class RowsOnDisk:
    """Rows of a memory-mapped array, which look like the tensor of these rows and are read piece by piece.

    Args:
        array: The array that rows are taken from, (n, \\*event_shape), of real numbers.
        order: Which rows of the array these are, in which order; None for all of them.
        device: Where rows that are read are moved.
        rounded: Whether numbers of more digits than float32 has are rounded to it when they are read.
    """

    array: NDArray[Any]
    order: NDArray[np.int64] | None = None
    device: torch.device = _CPU
    rounded: bool = False

    def __len__(self) -> int:
        return len(self.array if self.order is None else self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all rows together."""
        return (len(self), *self.array.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """What rows are read as: bytes where bytes or bits are stored, floating-point numbers elsewhere."""
        if self.array.dtype in (np.uint8, np.bool_):
            return torch.uint8
        fits = self.rounded or np.can_cast(self.array.dtype, np.float32)
        return torch.float32 if fits else torch.float64

    def numel(self) -> int:
        """The number of cells in all rows."""
        return math.prod(self.shape)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self._moved(self._read(index))

    def take(self, index: Tensor) -> RowsOnDisk:
        """The rows at ``index``, which stay on disk too."""
        chosen = index.cpu().numpy()
        return replace(self, order=chosen if self.order is None else self.order[chosen])

    def to(self, device: torch.device) -> RowsOnDisk:
        """The same rows, moved to a device when they have been read."""
        return replace(self, device=device)

    def float(self) -> RowsOnDisk:
        """The same rows, in float32 when they have been read."""
        return replace(self, rounded=True)

    def ahead(self, indices: Iterable[Tensor | slice]) -> Iterator[Tensor]:
        """The rows at each index in turn, read in the background shortly before they are wanted."""
        with ThreadPoolExecutor(_READERS, "pyrovae-rows") as readers:
            begun: deque[Future[Tensor]] = deque()
            for index in indices:
                begun.append(readers.submit(self._read, index))
                if len(begun) > _AHEAD:
                    yield self._moved(begun.popleft().result())
            while begun:
                yield self._moved(begun.popleft().result())

    def _read(self, index: Tensor | slice) -> Tensor:
        """A copy of the rows in memory, which a graphics processor can fetch without waiting."""
        place = index if isinstance(index, slice) else index.cpu().numpy()
        stored = self.array[place if self.order is None else self.order[place]]
        copied = not np.may_share_memory(stored, self.array)
        kind = _KINDS[self.dtype]
        rows = torch.from_numpy(stored.astype(kind, order="C", copy=not copied))
        return rows.pin_memory() if self.device.type == "cuda" else rows

    def _moved(self, rows: Tensor) -> Tensor:
        return rows.to(self.device, non_blocking=self.device.type == "cuda")
