"""How many threads of the processor compute: as asked for, or as help; knows no program and no file."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrovae.capture import PRODUCTS

Step: TypeAlias = Callable[[], Sequence[Tensor | None]]
Clock: TypeAlias = Callable[[], float]

MOST = 4
"""Threads that are taken without being asked for: operations of a small network are too short for more."""

BLOCK = 0.05
"""Seconds after which it is known how fast steps are: some slices of time that processes get of a core."""

ROUNDS = 3
"""Blocks on each number of threads, where the choice is made once and for all."""

LONGEST = 1.0
"""Seconds of these rounds after which no other begins."""

CLEARLY = 0.95
"""Share of a time below which another one is shorter and not so by chance."""

SHARE = 0.02
"""Share of all time that may be lost by trying the number of threads that is slower."""

SHORTEST = 0.25
"""Seconds between two trials, however little they cost."""

GRAIN = 32768
"""Cells of a tensor from which on torch cuts an operation cell by cell, a piece for each thread."""

VECTORS = 128
"""Bytes that torch takes in one go at the most; what is left of a piece it may round otherwise."""

EXACT = {
    *PRODUCTS,
    *("add", "sub", "rsub", "mul", "div", "neg", "abs", "sqrt", "relu", "threshold_backward"),
    *("where", "masked_fill", "clone", "copy", "rand_like"),
}
"""Operations that are not cut cell by cell, or round every cell as prescribed."""

VARIES = "any"
"""What is recorded of a training whose results are the same on any number of threads."""


@contextmanager
def threaded(count: int) -> Iterator[int]:
    """Operations on the processor inside use so many threads; after it, as many as before.

    Example:
        >>> with threaded(1) as count:
        ...     count, torch.get_num_threads()
        (1, 1)
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def asked_for(count: int = 0) -> tuple[int, str]:
    """How many threads a user asks for, and where; 0 where nowhere.

    Args:
        count: what the configuration says; 0 leaves it open.
    """
    if count:
        return count, "train.threads"
    named = [name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ]
    return (torch.get_num_threads(), named[0]) if named else (0, "")


def that_help() -> int:
    """How many threads may help where nobody says how many: the cores of the process, at most 4.

    Torch counts cores, and knows which of them the process may run on, but nothing of the share of them that
    a container is allowed: threads beyond it only wait for each other.
    """
    return max(1, min(torch.get_num_threads(), MOST, _quota()))


class Chosen(NamedTuple):
    """On how many threads a training computes."""

    number: int
    """Of all that is no step."""
    pacing: Callable[[int], AbstractContextManager[Any]]
    """What a step runs in, by the number of rows in its batch."""
    recorded: str
    """For the training to go on with."""
    note: str
    """How many they are, and why; empty where another device takes the steps."""


def choose(
    steps: Mapping[int, Step],
    *,
    asked: int = 0,
    begun_with: str | None = None,
    is_fused: bool = False,
    clock: Clock = time.perf_counter,
) -> Chosen:
    """The number of threads of a training: asked for, found once by timing, or varying with what is faster.

    It varies only where steps make the same bits on one thread as on all, as most products of matrices do.
    Convolutions do not, and of fused operations nobody sees where they are cut: their number is chosen once,
    and kept when the training goes on. So what a training learns does not depend on the time that it took.

    Args:
        steps: calls that make what a training step makes and leave no trace, by the number of rows in the
            batch, the usual one first; none, where the processor does not take the steps.
        asked: what the configuration asks for; 0 leaves it open.
        begun_with: what was recorded of this training before.
        is_fused: whether a compiler has put several operations of a step into one.
        clock: seconds from some time on.

    Example:
        >>> choose({64: lambda: [torch.ones(3).sum()]}, asked=1).note
        'each step has 1 thread, as train.threads says'
    """
    count, place = asked_for(asked)
    if count:
        return _fixed(count, f"as {place} says")
    here = that_help()
    before = int(begun_with) if begun_with not in (None, VARIES) else None
    most = max(here, before or 1)
    if not steps:
        return Chosen(most, nullcontext, str(most), "")
    if most == 1:
        return _fixed(most, "since more would not help")
    usual = next(iter(steps))
    if not is_fused and _same_bits(steps[usual], most):
        others = {rows for rows in steps if rows != usual and _same_bits(steps[rows], most)}
        pace = Pace(most, {usual, *others}, clock)
        return Chosen(1, pace, VARIES, f"each step has 1 thread or {most}, whichever is faster at the time")
    if before is None:
        return _fixed(_faster(steps[usual], most, clock), "which was faster before the first step")
    few = f", though only {here} can help here" if here < before else ""
    return _fixed(before, f"as the run was begun{few}")


class Pace:
    """Steps inside have one thread or all, whichever was faster of late.

    The other number is tried now and then for a short block of steps, and the less that took, the sooner
    again: trials cost 2% of the time, even where the other number is many times slower.

    Args:
        most: how many all are.
        sizes: rows in batches whose steps make the same bits on all; others have one thread.
        clock: seconds from some time on.

    Example:
        >>> pace = Pace(2, {64})
        >>> with pace(64):
        ...     torch.get_num_threads()
        1
    """

    def __init__(self, most: int, sizes: Collection[int], clock: Clock = time.perf_counter) -> None:
        self.sizes = sizes
        self.clock = clock
        self.chosen, self.other = 1, most
        self.count = self.chosen
        self.seconds: list[float] = []
        """Of the steps of this block."""
        self.before = math.inf
        """Seconds of a step in the last block on the chosen number."""
        self.due = -math.inf
        """When the other number is tried."""

    @contextmanager
    def __call__(self, rows: int) -> Iterator[None]:
        if rows not in self.sizes:
            with threaded(1):
                yield
            return
        start = self.clock()
        with threaded(self.count):
            yield
        end = self.clock()
        self.seconds.append(end - start)
        if len(self.seconds) > 1 and sum(self.seconds) >= BLOCK:
            self._judge(end)
            self.seconds = []

    def _judge(self, now: float) -> None:
        """Choose the number of threads of the next block after one that is over."""
        spent, steps = sum(self.seconds), len(self.seconds)
        if self.count == self.chosen:
            self.before = spent / steps
            self.count = self.other if now >= self.due else self.chosen
            return
        self.due = now + max((spent - steps * self.before) / SHARE, SHORTEST)
        if spent < CLEARLY * steps * self.before:
            self.chosen, self.other = self.other, self.chosen
        self.count = self.chosen


def _fixed(count: int, reason: str) -> Chosen:
    words = f"each step has {count} thread{'s' * (count > 1)}, {reason}"
    return Chosen(count, nullcontext, str(count), words)


def _same_bits(step: Step, most: int) -> bool:
    """Whether a step makes the same on one thread as on all, and would whatever its numbers."""
    with threaded(1), _Cuts(most) as cuts:
        one = step()
    with threaded(most):
        other = step()
    return cuts.between_vectors and all(map(_identical, one, other))


class _Cuts(TorchDispatchMode):
    """Sees where so many threads would cut the tensors that are made cell by cell.

    A cell may be rounded otherwise by a vector's function than by that of a single number, which takes the
    cells that are left at the end of a piece. This is seldom so: numbers that happen to agree prove nothing.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.between_vectors = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        if not func.is_view and func.__name__.partition(".")[0].rstrip("_") not in EXACT:
            made = [
                each for each in tree_leaves(results) if isinstance(each, Tensor) and each.is_floating_point()
            ]
            self.between_vectors &= all(_between_vectors(each, self.most) for each in made)
        return results

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, to be told to leave this alone


def _between_vectors(tensor: Tensor, most: int) -> bool:
    """Whether a tensor is cut, if at all, between vectors, those of each run of cells in memory."""
    cells, cells_at_once = tensor.numel(), VECTORS // tensor.element_size()
    piece = math.ceil(cells / min(most, math.ceil(cells / GRAIN))) if cells else 1
    by_stride = sorted(zip(tensor.stride(), tensor.shape, strict=True))
    runs = accumulate((size for _, size in by_stride if size > 1), mul)
    return not any(cut % run % cells_at_once for run in runs for cut in range(piece, cells, piece))


def _identical(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)


def _faster(step: Step, most: int, clock: Clock) -> int:
    """One thread or all, by the median time of a step in blocks that take turns."""
    found: dict[int, list[float]] = {1: [], most: []}
    begun = clock()
    while len(found[most]) < ROUNDS and clock() - begun < LONGEST:
        for count, seconds in found.items():
            with threaded(count):
                seconds.append(_timed(step, clock))
    one, all_of_them = map(statistics.median, found.values())
    return most if all_of_them < CLEARLY * one else 1


def _timed(step: Step, clock: Clock) -> float:
    """Seconds of a step, the mean of a block."""
    start, steps = clock(), 0
    while clock() - start < BLOCK:
        step()
        steps += 1
    return (clock() - start) / steps


def _quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processors a container may use: its quota by its period, rounded up."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (root / "cpu" / f"cpu.cfs_{part}_us").read_text(encoding="ascii").strip()
                for part in ("quota", "period")
            )
        except OSError:
            return os.cpu_count() or 1
    unlimited = not quota.isdigit()  # "max", or -1
    return (os.cpu_count() or 1) if unlimited else math.ceil(int(quota) / int(period))
