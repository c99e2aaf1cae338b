"""All randomness: seeds, and noise that belongs to one datum; knows no model, changes no global generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Size, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from pyrovae.errors import ConfigError, Problem, RunError
from pyrovae.isolation import LOCK

Seed: TypeAlias = int | np.random.RandomState | np.random.Generator
"""A whole number, or one of NumPy's generators, from which one is drawn."""

_SEEDS = 2**31
"""How many seeds a generator chooses from: ``RandomState`` draws no larger numbers on every platform."""


def seed_of(seed: Seed, random_state: Seed | None = None) -> int:
    """The seed that a user means; a generator gives another one each time, and goes on by one draw.

    Args:
        seed: a whole number from 0 on, or a generator of NumPy's.
        random_state: scikit-learn's name for the same, in force where it is not ``None``.

    Raises:
        ConfigError: it is neither.

    Example:
        >>> seed_of(3), seed_of(3, random_state=4)
        (3, 4)
    """
    place, chosen = ("seed", seed) if random_state is None else ("random_state", random_state)
    if isinstance(chosen, np.random.Generator):
        return int(chosen.integers(_SEEDS))
    if isinstance(chosen, np.random.RandomState):
        return int(chosen.randint(_SEEDS))
    if isinstance(chosen, int | np.integer) and chosen >= 0 and not isinstance(chosen, bool):
        return int(chosen)
    allowed = "it must be an integer >= 0, or a RandomState or Generator of NumPy"
    raise ConfigError([Problem(place, f"{chosen!r} is not allowed; {allowed}")])


def mix(*key: int | str) -> int:
    """A seed of 64 bits from any key; different keys give unrelated seeds."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Draws inside are a function of the key and the device; outside, global generators go on as before.

    Other threads that want this wait meanwhile.
    """
    seed = mix(*key)
    with LOCK, ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.default_generator.manual_seed(seed)
        for kind, devices in _accelerators().items():
            stack.enter_context(torch.random.fork_rng(devices, device_type=kind))
            _seed_all[kind](seed)
        yield


_seed_all = {"cuda": torch.cuda.manual_seed_all, "mps": torch.mps.manual_seed}


def _accelerators() -> dict[str, range]:
    """The devices with generators of their own that this process may use; none is started to find out."""
    cuda = {"cuda": range(torch.cuda.device_count())} if torch.cuda.is_initialized() else {}
    return cuda | ({"mps": range(1)} if torch.backends.mps.is_available() else {})


class DatumNoise(Messenger):
    """Pyro handler under which every draw for datum i is a function of the seed and i alone.

    Neither the batch that a datum comes in, nor its place there, nor the device changes its noise. Draws
    outside the plate ``data`` are a function of the seed.

    The shape of the noise shows which of its dimensions is that of the data. Where two may be, as with as
    many coordinates as data, the distribution is expanded to more data and drawn from once more, to see.

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
            if not frames:
                with _OnProcessor():
                    msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
            else:
                leading = msg["fn"].batch_shape[: len(msg["fn"].batch_shape) + frames[0].dim + 1]
                what = f"the site {msg['name']!r}, which draws from {type(msg['fn']).__name__},"
                msg["value"] = self._of_each(msg, key, leading, what)
        msg["done"] = True

    def _of_each(self, msg: Any, key: Sequence[int | str], leading: Size, what: str) -> Any:
        """What a site draws, each datum from noise of its own."""
        try:
            with _RowByRow(key, self.data, leading, what):
                return msg["fn"](*msg["args"], **msg["kwargs"])
        except _Unclear:
            wider = [_wider(msg, width) for width in WIDTHS]
            with _RowByRow(key, self.data, leading, what, wider):
                return msg["fn"](*msg["args"], **msg["kwargs"])


WIDTHS = (2, 3)
"""How many times the data a distribution is expanded to: no shape looks alike under both."""

FOLDING = {torch.ops.aten.multinomial.default}
"""Operations that draw from rows, into which all dimensions before the last are folded."""


class _Unclear(Exception):  # noqa: N818 - no error: the distribution is looked at more closely
    """Noise of a shape in which more than one dimension may be that of the data."""


class _Watching(TorchDispatchMode):
    """Keeps what each random operation of torch is and the shapes of its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, list[Size]]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.calls.append((func, [_shape(argument) for argument in args]))
        return func(*args, **(kwargs or {}))


def _wider(msg: Any, width: int) -> _Watching:
    """How a site draws when its distribution is expanded to so many times the data; empty, if it cannot."""
    watching = _Watching()
    with suppress(Exception), watching:  # a distribution of the user's own may raise anything
        msg["fn"].expand(Size([width, *msg["fn"].batch_shape]))(*msg["args"], **msg["kwargs"])
    return watching


def _readings(shape: Size, leading: Size) -> list[int | None]:
    """Which dimensions may be that of the data; ``None``: the leading ones are folded into the first."""
    dims = len(leading)
    starts = [start for start in range(len(shape) - dims + 1) if shape[start : start + dims] == leading]
    folded = [None] if 0 not in starts and shape[0] % leading.numel() == 0 else []
    return [*folded, *(start + dims - 1 for start in starts)]


def _fits(reading: int | None, shape: Size, wider: Size, leading: Size, width: int) -> bool:
    """Whether so many times the data make one shape of the other, if it is read so."""
    if reading is None:
        return wider == Size([width * shape[0], *shape[1:]])
    start = reading + 1 - len(leading)
    inserted = Size([*shape[:start], width, *shape[start:]])
    return wider == inserted or (start == 0 and _fits(None, shape, wider, leading, width))


class _OnProcessor(TorchDispatchMode):
    """Runs each random operation of torch on the processor, and moves what it draws from there.

    This works for whatever a distribution draws from (normal, uniform, gamma, ...), because it happens where
    torch draws.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, to be told to leave this alone

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if (device := _device(args, kwargs)) is None:
            result = self._drawn(func, args, kwargs)
        else:
            near, rest = tree_map_only(Tensor, Tensor.cpu, args), {**kwargs, "device": None}
            result = self._drawn(func, near, rest if "device" in kwargs else kwargs).to(device)
        return args[0].copy_(result) if func._schema.is_mutable else result

    def _drawn(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """What an operation draws, given tensors on the processor."""
        return func(*args, **kwargs)


class _RowByRow(_OnProcessor):
    """Runs each random operation of torch once for each datum, under that datum's seed.

    The data are the last of the ``leading`` dimensions of the sample.

    Args:
        key: of the noise.
        data: their indices.
        leading: the shape of all draws of all data, the data last.
        what: draws, for a message.
        wider: how it draws from more data, for each of :data:`WIDTHS`; ``None`` before that is looked at.
    """

    def __init__(
        self,
        key: Sequence[int | str],
        data: Sequence[int],
        leading: Size,
        what: str,
        wider: Sequence[_Watching] | None = None,
    ) -> None:
        super().__init__()
        self.key = key
        self.data = data
        self.leading = leading
        self.what = what
        self.wider = wider
        self.calls = 0

    def _drawn(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        axes = [self._axis(func, place, _shape(each)) for place, each in enumerate(args)]
        self.calls += 1
        parts = [self._rows(each, axis) for each, axis in zip(args, axes, strict=True)]
        if func._schema.is_mutable:  # what it writes into holds no numbers yet
            parts[0] = iter(written := self._empty(args[0], axes[0]))
        seed, rows = torch.default_generator.manual_seed, []
        for datum, *row in zip(self.data, *parts, strict=False):
            seed(mix(*self.key, datum, self.calls))
            rows.append(func(*row, **kwargs))
        if func._schema.is_mutable:
            return self._join(written, axes[0])
        return self._join(torch.stack(rows), axes[0]).contiguous()

    def _rows(self, argument: Any, axis: int | None) -> Iterator[Any]:
        """The parts of an argument, a tensor or the size of one, that belong to each datum in turn."""
        shape = _shape(argument)
        if not shape:
            return repeat(argument)
        if not isinstance(argument, Tensor):
            return repeat(self._row(shape, axis))
        # Always contiguous: torch fills strided memory with other numbers than contiguous memory.
        return (row.clone(memory_format=torch.contiguous_format) for row in self._part(argument, axis))

    def _empty(self, tensor: Tensor, axis: int | None) -> Tensor:
        """Memory for the parts of a tensor, (n, ...)."""
        return torch.empty(len(self.data), *self._row(tensor.shape, axis), dtype=tensor.dtype)

    def _row(self, shape: Size, axis: int | None) -> list[int]:
        """The shape of the part of one datum."""
        if axis is None:
            return [shape[0] // len(self.data), *shape[1:]]
        return [*shape[:axis], *shape[axis + 1 :]]

    def _part(self, tensor: Tensor, axis: int | None) -> Tensor:
        """The parts of a tensor, (n, ...)."""
        if axis is not None:
            return tensor.movedim(axis, 0)
        dims = len(self.leading)
        return tensor.unflatten(0, (*self.leading, -1)).movedim(dims - 1, 0).flatten(1, dims)

    def _join(self, rows: Tensor, axis: int | None) -> Tensor:
        """The parts (n, ...) side by side again, laid out as their argument is."""
        if axis is not None:
            return rows.movedim(0, axis)
        dims = len(self.leading)
        return rows.unflatten(1, (*self.leading[:-1], -1)).movedim(0, dims - 1).flatten(0, dims)

    def _axis(self, func: Any, place: int, shape: Size) -> int | None:
        """Which dimension that of the data is; ``None`` where the leading ones are folded into the first."""
        if not shape:
            return None
        readings = _readings(shape, self.leading)
        is_plain = len(readings) == 1 and (readings[0] is not None or func in FOLDING)
        if is_plain or (readings and len(self.data) == 1):
            return readings[0]
        if readings and self.wider is None:
            raise _Unclear
        fitting = [each for each in readings if self._is_seen(each, func, place, shape)]
        if len(fitting) == 1:
            return fitting[0]
        found = "no dimension is" if not readings else "it cannot be told which dimension is"
        raise RunError(
            f"{self.what} takes noise of the shape {tuple(shape)}, in which {found} that of the "
            f"{len(self.data)} data: where each datum has noise of its own, as in evaluation, it cannot run"
            + (
                "; noise of the distribution's batch shape with further dimensions after it can"
                if readings
                else ""
            )
        )

    def _is_seen(self, reading: int | None, func: Any, place: int, shape: Size) -> bool:
        """Whether the same argument has grown so where there were more data."""
        assert self.wider is not None
        for width, watched in zip(WIDTHS, self.wider, strict=True):
            if not watched.calls:
                return False
            # An algorithm that tries again and again may have needed fewer tries.
            other, shapes = watched.calls[min(self.calls, len(watched.calls) - 1)]
            if other is not func or not _fits(reading, shape, shapes[place], self.leading, width):
                return False
        return True


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


def _device(args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.device | None:
    """The device on which an operation draws, if it is not the processor."""
    device = args[0].device if isinstance(args[0], Tensor) else torch.device(kwargs.get("device") or "cpu")
    return None if device.type == "cpu" else device
