"""One run of a function of tensors, as a graph of torch's operations; knows no program and no compiler.

Torch's own ``make_fx`` gives the same graph. It first imports torch's compiler, which takes longer than all
else that a training does before its first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import getitem
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only

READING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Operations whose result is a number, or has a shape, that depends on the values of tensors."""

ALIASES = {"_to_copy": "to"}
"""Operations that users of torch know by another name."""


class ReadError(RuntimeError):
    """A number was asked for that depends on the values of arguments."""


class WriteError(RuntimeError):
    """Something was written into a constant, where every run of the graph would write again."""


def record(function: Callable[..., Sequence[Tensor | None]], *arguments: Tensor) -> GraphModule:
    """The graph of what a function did with its arguments, backward passes inside it included.

    Each node has the number of cells of its result as ``meta["cells"]``, and how users of torch call its
    operation as ``meta["call"]``.

    Args:
        function: of tensors. What it uses beside them is a constant of the graph, and what it makes of
            these alone.
        arguments: for example.

    Raises:
        ReadError: what it did may depend on the values.
        WriteError: it wrote into what it had not made of its arguments.

    Example:
        >>> graph = record(lambda x: (x * x,), torch.tensor(3.0))
        >>> graph(torch.tensor(4.0))
        (tensor(16.),)
    """
    recorder = _Recorder(arguments)
    with recorder:
        results = function(*arguments)
    recorder.graph.output(tuple(recorder.named(list(results))))
    return GraphModule(recorder.constants, recorder.graph)


def direct(graph: GraphModule) -> GraphModule:
    """The same graph, with torch's own functions and methods where they call the operations.

    From Python these take a microsecond less than the operations that they call.

    Example:
        >>> direct(record(lambda x: (x * x,), torch.tensor(3.0)))(torch.tensor(4.0))
        (tensor(16.),)
    """
    copy = Graph()
    copy.output(copy.graph_copy(graph.graph, {}))
    for node in copy.nodes:
        node.target = node.meta.get("call", node.target)
    return GraphModule(graph, copy)


class _Recorder(TorchDispatchMode):
    """Writes down every operation that depends on an argument, makes a tensor, or draws."""

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = Graph()
        self.constants = nn.Module()
        # With its tensor, which keeps another one from having the same identity.
        self.nodes: dict[int, tuple[Node, Tensor]] = {}
        for number, argument in enumerate(arguments):
            self._name(argument, self.graph.placeholder(f"argument_{number}"))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        depends = any(self._depends(tensor) for tensor in given)
        if depends and _reads(func, args):
            raise ReadError(f"{func} depends on values")
        for tensor in _written(func, args, kwargs):
            if not self._depends(tensor) and (depends or self._is_used(tensor)):
                raise WriteError(f"{func} writes into what it takes for a constant")
        results = func(*args, **kwargs)
        if given and self._depends(given[0]) and _is_itself(func, given[0], results):
            self._name(results, self._node(given[0]))
        elif depends or not given or torch.Tag.nondeterministic_seeded in func.tags:
            node = self.graph.call_function(func, *self.named((args, kwargs)))
            node.meta["call"] = _call(func, args, kwargs)
            node.meta["cells"] = sum(each.numel() for each in tree_leaves(results) if _is_tensor(each))
            self._name_all(results, node)
        return results

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, to be told to leave this alone

    def named(self, values: Any) -> Any:
        """The values with the nodes of tensors in their place."""
        return tree_map_only(Tensor, self._node, values)

    def _name_all(self, results: Any, node: Node) -> None:
        if _is_tensor(results):
            self._name(results, node)
        elif isinstance(results, list | tuple):
            for number, each in enumerate(results):
                if _is_tensor(each):
                    self._name(each, self.graph.call_function(getitem, (node, number)))

    def _depends(self, tensor: Tensor) -> bool:
        """Whether it was made in the graph; what is made of constants is one itself."""
        return id(tensor) in self.nodes and self.nodes[id(tensor)][0].op != "get_attr"

    def _is_used(self, constant: Tensor) -> bool:
        """Whether the memory of a constant is that of one in the graph."""
        place = constant.untyped_storage().data_ptr()
        return any(place == each.untyped_storage().data_ptr() for each in self.constants.buffers())

    def _name(self, tensor: Tensor, node: Node) -> None:
        self.nodes[id(tensor)] = node, tensor

    def _node(self, tensor: Tensor) -> Node:
        if id(tensor) not in self.nodes:
            name = f"constant_{len(list(self.constants.buffers()))}"
            self.constants.register_buffer(name, tensor.detach())
            self._name(tensor, self.graph.get_attr(name))
        return self.nodes[id(tensor)][0]


class _Called(Exception):  # noqa: N818 - no error: what was to be seen
    """An operation, and what it was called with."""


class _Stop(TorchDispatchMode):
    """Raises ``_Called`` in place of the first operation."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise _Called(func, args, kwargs or {})

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def _call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The function or method of torch that is this operation with these arguments; else the operation."""
    name = func._schema.name.partition("::")[2]
    for owner in (torch, Tensor):
        candidate = getattr(owner, ALIASES.get(name, name), None)
        if not isinstance(candidate, BuiltinFunctionType | MethodDescriptorType):
            continue  # what is written in Python may do more than that
        try:
            with _Stop():
                candidate(*args, **kwargs)
        except _Called as called:
            if called.args[0] is func and _same(called.args[1:], (args, kwargs)):
                return candidate
        except (TypeError, RuntimeError):  # it takes other arguments
            continue
    return func


def _same(some: Any, others: Any) -> bool:
    """Whether these are the same tensors among equal other values."""
    leaves, layout = tree_flatten(some)
    other_leaves, other_layout = tree_flatten(others)
    return layout == other_layout and all(
        one is other if isinstance(one, Tensor) else type(one) is type(other) and one == other
        for one, other in zip(leaves, other_leaves, strict=True)
    )


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into."""
    if not func._schema.is_mutable:
        return []
    given = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | kwargs
    named = [each.name for each in func._schema.arguments if each.alias_info and each.alias_info.is_write]
    return [each for name in named for each in tree_leaves(given.get(name)) if isinstance(each, Tensor)]


def _reads(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the result is a number, or has a shape, that depends on values: not so at numbered places."""
    if func is torch.ops.aten.index.Tensor:
        return any(place is not None and place.dtype in (torch.bool, torch.uint8) for place in args[1])
    return bool(READING.intersection(func.tags))


def _is_itself(func: Any, tensor: Tensor, result: Any) -> bool:
    """Whether an operation gave back all of its tensor as it was: detached, say, or expanded to its shape."""
    if not (getattr(func, "is_view", False) and _is_tensor(result)):
        return False
    of_both = [
        (each.shape, each.stride(), each.storage_offset(), each.dtype, each.is_conj(), each.is_neg())
        for each in (tensor, result)
    ]
    return of_both[0] == of_both[1]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
