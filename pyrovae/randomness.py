"""All randomness: seeds, and noise that belongs to one datum; knows no model, changes no global generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Size, Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def mix(*key: int | str) -> int:
    """A seed of 64 bits from any key; different keys give unrelated seeds."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Draws inside are a function of the key; outside, the global generator goes on as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(*key))
        yield


class DatumNoise(Messenger):
    """Pyro handler under which every draw for datum i is a function of the seed and i alone.

    Neither the batch that a datum comes in nor its place there changes its noise. Draws outside the plate
    ``data`` are a function of the seed.

    Args:
        key: the seed, and whatever else tells this noise from other noise of the same seed.
        data: indices of the data in the batch.

    Example:
        >>> with DatumNoise((0,), range(3)):
        ...     codes = pyro.poutine.trace(program.guide).get_trace(x[:3])
    """

    def __init__(self, key: Sequence[int | str], data: Sequence[int]) -> None:
        super().__init__()
        self.key = tuple(key)
        self.data = data

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or msg["type"] != "sample":
            return
        frames = [frame for frame in msg["cond_indep_stack"] if frame.name == "data"]
        key = (*self.key, msg["name"])
        with seeded(*key):
            if frames:
                leading = msg["fn"].batch_shape[: len(msg["fn"].batch_shape) + frames[0].dim + 1]
                with _RowByRow(key, self.data, leading):
                    msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
            else:
                msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
        msg["done"] = True


class _RowByRow(TorchDispatchMode):
    """Runs each random operation of torch once for each datum, under that datum's seed.

    This works for whatever a distribution draws from (normal, uniform, gamma, ...), because it happens where
    torch draws. The data are the last of the ``leading`` dimensions of the sample.
    """

    def __init__(self, key: Sequence[int | str], data: Sequence[int], leading: Size) -> None:
        super().__init__()
        self.key = key
        self.data = data
        self.leading = leading
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        self.calls += 1
        rows = []
        for i, datum in enumerate(self.data):
            row = [self._row(argument, i) for argument in args]
            torch.default_generator.manual_seed(mix(*self.key, datum, self.calls))
            rows.append(func(*row, **kwargs))
        result = self._join(rows, _shape(args[0]))
        return args[0].copy_(result) if func._schema.is_mutable else result

    def _row(self, argument: Any, i: int) -> Any:
        """The part of an argument, a tensor or the size of one, that belongs to the i-th datum."""
        shape = _shape(argument)
        if not shape:
            return argument
        start = self._start(shape)
        axis = (start or 0) + len(self.leading) - 1
        if not isinstance(argument, Tensor):
            return [*shape[:axis], *shape[axis + 1 :]]
        if start is None:
            argument = argument.unflatten(0, (*self.leading, -1))
        row = argument.select(axis, i)
        if start is None:
            row = row.flatten(0, len(self.leading) - 1)
        # Always contiguous: torch fills strided memory with other numbers than contiguous memory.
        return row.clone(memory_format=torch.contiguous_format)

    def _join(self, rows: Sequence[Tensor], shape: Size) -> Tensor:
        """The rows side by side again, laid out as an argument of that shape is."""
        start = self._start(shape)
        if start is None:
            particles = self.leading[:-1]
            unfolded = [row.unflatten(0, (*particles, -1)) for row in rows]
            return torch.stack(unfolded, dim=len(particles)).flatten(0, len(self.leading))
        return torch.stack(list(rows), dim=start + len(self.leading) - 1)

    def _start(self, shape: Size) -> int | None:
        """Where the leading dimensions begin; ``None`` where they are folded into the first one."""
        starts = [
            start
            for start in range(len(shape) - len(self.leading) + 1)
            if shape[start : start + len(self.leading)] == self.leading
        ]
        # Folded before anything that only looks like the data further right: as many categories as data, say.
        if 0 not in starts and shape[0] % self.leading.numel() == 0:
            return None
        if starts:
            return starts[0]
        raise RuntimeError(
            f"no data dimension: noise of shape {tuple(shape)} for a batch {tuple(self.leading)}"
        )


class Streams:
    """Noise for each datum of a batch, drawn on and on: a function of the key and of the datum alone.

    For samplers, whose draws stand in no Pyro program. Two batches that ask for noise in the same order have
    the same noise for the data that they share.

    Args:
        key: the seed, and whatever else tells this noise from other noise of the same seed.
        data: indices of the data in the batch.

    Example:
        >>> few, many = Streams((0,), [3]), Streams((0,), range(5))
        >>> torch.equal(few.normal(torch.zeros(2, 1, 4)), many.normal(torch.zeros(2, 5, 4))[:, 3:4])
        True
    """

    def __init__(self, key: Sequence[int | str], data: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(mix(*key, datum)) for datum in data]

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise, shaped as a tensor (particles, n, ...)."""
        return self._side_by_side(torch.randn, like)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform noise on [0, 1), shaped as a tensor (particles, n, ...)."""
        return self._side_by_side(torch.rand, like)

    def _side_by_side(self, draw: Any, like: Tensor) -> Tensor:
        shape = [len(like), *like.shape[2:]]
        rows = [draw(shape, generator=generator, dtype=like.dtype) for generator in self.generators]
        return torch.stack(rows, dim=1).to(like.device)


def _shape(argument: Any) -> Size:
    """The shape of a tensor, or the one that a list of sizes stands for; else ()."""
    if isinstance(argument, Tensor):
        return argument.shape
    return Size(argument) if isinstance(argument, list | tuple) else Size()
