"""Functions of tensors as graphs of torch's operations, without the Python between them; knows no program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]

WORTH_A_CAPTURE = 30
"""Calls with arguments of one shape after which a capture will have paid, if there are as many again."""


class Uncapturable(Exception):  # noqa: N818 - no error: the function runs as it is
    """A function that is no fixed sequence of torch's operations."""


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
        if shape in self.graphs:
            return self.graphs[shape](*arguments)
        self.calls[shape] = self.calls.get(shape, 0) + 1
        if self.calls[shape] == WORTH_A_CAPTURE:
            try:
                self.graphs[shape] = capture(self.function, *arguments)
            except Uncapturable:
                self.graphs[shape] = self.function
        return self.function(*arguments)


def capture(function: Function, *arguments: Tensor) -> GraphModule:
    """The graph of a function, for arguments of these shapes.

    Raises:
        Uncapturable: it depends on values of tensors, draws random numbers, or is opaque to torch.
    """
    try:
        graph = make_fx(function)(*arguments)
    except Exception as error:  # whatever a program may raise where it sees no tensors but their traces
        raise Uncapturable(f"{type(error).__name__}: {error}") from error
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Uncapturable(f"{node.target} draws random numbers")
    return graph
