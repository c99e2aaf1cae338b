"""Functions of tensors as graphs of torch's operations, without the Python between them; knows no program."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyrovae import recording
from pyrovae.recording import ReadError, direct, record

Function: TypeAlias = Callable[..., Any]

WORTH_A_CAPTURE = 10
"""Calls with arguments of one shape after which a capture will have paid, if there are as many again."""

SECONDS_TO_COMPILE = 8.0, 0.03
"""Of a graph: what every one takes, and each of its operations; a second time it is a quarter of it."""

SECONDS_SAVED = 4e-6, 6e-10
"""By compiling, in a call: for each operation but products of matrices, and for each cell of its result."""

SAME = 1e-3
"""Difference, as a share of the largest number, of what a function and its graph may make of the same."""

LONGEST = 150
"""Letters of what an error says that are passed on."""

OUTSIDE = "its numbers pass through something else than torch, as by numpy() or tolist()"

COMPILER: dict[str, str | int | bool | Callable[..., Any]] = {
    "cpp.dynamic_threads": True,  # the number of threads may change after it
    "fallback_random": True,  # the random numbers of torch's other kernels, in their order
    "cpp.vec_isa_ok": True,  # the processor's instructions are known: to compile a test of each takes seconds
}

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")
"""Operations that cost the same compiled."""


class Uncapturable(Exception):  # noqa: N818 - no error: the function runs as it is
    """A function that is no fixed sequence of torch's operations."""


class Uncompilable(Exception):  # noqa: N818 - no error: the graph runs as it is
    """A graph that cannot be compiled here."""


class Captured:
    """A function that is captured when it has been called often with arguments of one shape.

    Until then, and where it cannot be captured, it is called as it is.

    Args:
        function: of tensors, to a tuple of tensors; what else it uses must not change.

    Example:
        >>> square = Captured(lambda x: (x * x,))
        >>> square(torch.tensor(3.0))
        (tensor(9.),)
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.calls: dict[Any, int] = {}
        self.graphs: dict[Any, Function] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        shape = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in arguments)
        if self.calls.get(shape, 0) > WORTH_A_CAPTURE:
            return self.graphs[shape](*arguments)
        self.calls[shape] = self.calls.get(shape, 0) + 1
        results = self.function(*arguments)
        try:
            if self.calls[shape] == WORTH_A_CAPTURE:
                self.graphs[shape] = direct(capture(self.function, *arguments, may_draw=False))
            elif self.calls[shape] > WORTH_A_CAPTURE:  # whose arguments are others
                check(self.graphs[shape], arguments, results)
        except Uncapturable:
            self.graphs[shape] = self.function
        return results


def capture(function: Function, *arguments: Tensor, may_draw: bool) -> GraphModule:
    """The graph of a function, for arguments of these shapes.

    The function is run once: what it draws, and what it writes into its arguments, is drawn and written.

    Args:
        function: of tensors.
        arguments: for example.
        may_draw: whether it may draw random numbers; the graph draws new ones in every call.

    Raises:
        Uncapturable: it depends on values of tensors, is opaque to torch, or draws.
    """
    try:
        graph = record(function, *arguments)
    except Exception as error:  # whatever a program may raise where it sees no tensors but their traces
        raise Uncapturable(_reason(error)) from error
    for node in graph.graph.nodes:
        if not may_draw and torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Uncapturable(f"{node.target} draws random numbers")
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def check(graph: Function, arguments: Sequence[Any], expected: Sequence[Tensor | None]) -> None:
    """Refuse a graph that has taken for constant what is none: of numbers outside torch it knows nothing.

    Args:
        graph: of a function.
        arguments: others than those that it was captured with.
        expected: what the function makes of them.

    Raises:
        Uncapturable: the graph makes something else of them.
    """
    try:
        found = graph(*arguments)
    except RuntimeError as error:  # of sizes that do not fit
        raise Uncapturable(OUTSIDE) from error
    if not all(map(_same, found, expected)):
        raise Uncapturable(OUTSIDE)


def compilation_pays(graph: GraphModule, calls: int) -> bool:
    """Whether compiling a graph saves more time, in that many calls, than it takes.

    An estimate from its operations and the sizes of their results, the same on every machine. It never does
    with convolutions, which are as slow compiled, and to whose layouts the rest is then copied.
    """
    operations = [node for node in graph.graph.nodes if node.op == "call_function"]
    if any(node.target is torch.ops.aten.convolution.default for node in operations):
        return False
    others = [node for node in operations if node.target.__name__.split(".")[0] not in PRODUCTS]
    cells = sum(node.meta.get("cells", 0) for node in others if not getattr(node.target, "is_view", False))
    saved = SECONDS_SAVED[0] * len(others) + SECONDS_SAVED[1] * cells
    return calls * saved > SECONDS_TO_COMPILE[0] + SECONDS_TO_COMPILE[1] * len(operations)


def compiled(graph: GraphModule, *arguments: Any) -> Function:
    """A graph, compiled; it draws the same random numbers as before.

    Args:
        graph: for arguments of one shape.
        arguments: for example; it is called with them once.

    Raises:
        Uncompilable: there is no compiler here, or it cannot.
    """
    function = torch.compile(graph, fullgraph=True, dynamic=False, options=COMPILER)
    try:
        with _quiet():
            function(*arguments)
    except Exception as error:  # a compiler's failures have no common class
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise Uncompilable(_said(cause)) from error
    return function


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return one is other
    largest = other.detach().double().nan_to_num().abs().max().item() if other.numel() else 0.0
    return torch.allclose(one.double(), other.double(), rtol=0.0, atol=SAME * largest, equal_nan=True)


def _reason(error: Exception) -> str:
    """What stopped a capture, and in which line outside torch."""
    what = (
        "a number is read from a tensor's value, as by an if or item()"
        if isinstance(error, ReadError)
        else _said(error)
    )
    torchs, recorder = Path(torch.__file__).parent, Path(recording.__file__)
    places = [(Path(place.filename), place.lineno) for place in traceback.extract_tb(error.__traceback__)]
    file, line = [each for each in places if torchs not in each[0].parents and each[0] != recorder][-1]
    return f"{what} ({file.name}, line {line})"


def _said(error: BaseException) -> str:
    """The first line of an error, without the rest: those of torch can have a page."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shorten(lines[0].rstrip("."), width=LONGEST, placeholder=" ...")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remark, beside the CUDA build, that there is no CUDA."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
