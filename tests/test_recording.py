"""A recorded graph does what the function did, with other values, as torch's own tracer has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.capture import Captured
from pyrovae.randomness import seeded
from pyrovae.recording import ReadError, WriteError, direct, record

pytestmark = pytest.mark.smoke

CONSTANT = torch.tensor([2.0, -1.0, 0.5])
MATRIX = torch.tensor([[0.5, 2.0], [-1.0, 1.5], [3.0, 0.1]])
RENAMED = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


def gradient(x: Tensor) -> tuple[Tensor, ...]:
    x = x.detach().requires_grad_()
    return torch.autograd.grad((x.sin() * CONSTANT).exp().sum() + (x @ MATRIX).square().sum(), x)


def in_place(x: Tensor) -> tuple[Tensor, ...]:
    y = torch.zeros(3)
    y[1:] = x[:2]
    return y.add_(x).exp_(), y[0]


def several(x: Tensor) -> tuple[Tensor | None, ...]:
    first, *rest = x.split(1)
    return first, None, torch.stack(rest).amax(), torch.cat([CONSTANT, x]).sort().values


def drawn(x: Tensor) -> tuple[Tensor, ...]:
    noise = torch.randn(3)
    torch.rand(2)  # not used, and yet drawn
    return x + noise, torch.nn.functional.dropout(x, 0.5), torch.empty(2).normal_()


FUNCTIONS = [gradient, in_place, several, drawn]


def values(results: tuple[Tensor | None, ...]) -> list[list[float] | None]:
    return [None if each is None else each.detach().flatten().tolist() for each in results]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_graph_does_with_other_values_what_the_function_does(
    function: Callable[[Tensor], tuple[Tensor | None, ...]],
) -> None:
    graph = record(function, torch.tensor([1.0, 2.0, 3.0]))
    for number in range(3):
        x = torch.linspace(-1, 1, 3) * (number + 1) + 0.1
        with seeded(number):
            expected, after = function(x), torch.rand(1)
        with seeded(number):
            found, also_after = graph(x), torch.rand(1)
        assert values(found) == values(expected)
        assert after == also_after


@pytest.mark.parametrize("function", FUNCTIONS)
def test_torchs_functions_in_place_of_its_operations_call_these_operations(
    function: Callable[[Tensor], tuple[Tensor | None, ...]],
) -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    graph = record(function, x)
    once_more = record(direct(graph), x)
    assert operations(once_more.graph) == operations(graph.graph)


def test_nearly_all_operations_are_called_by_torchs_functions() -> None:
    graph = direct(record(gradient, torch.ones(3))).graph
    calls = [node.target for node in graph.nodes if node.op == "call_function"]
    assert torch.sin in calls
    assert [str(call) for call in calls if isinstance(call, OpOverload)] == ["aten.mul.Scalar"]


def operations(graph: Graph) -> list[OpOverload]:
    """Of what is not made of constants alone: that is done once, when a function is recorded."""
    constants: set[Node] = set()
    found = []
    for node in graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr" or (inputs and constants.issuperset(inputs)):
            constants.add(node)
        elif isinstance(node.target, OpOverload) and node.target not in RENAMED:
            found.append(node.target)
    return found


def test_what_is_made_of_constants_alone_is_made_once() -> None:
    graph = record(lambda x: ((x + CONSTANT) / CONSTANT.exp(),), torch.ones(3))
    assert [str(target) for target in operations(graph.graph)] == ["aten.add.Tensor", "aten.div.Tensor"]
    assert torch.ops.aten.exp.default not in {node.target for node in graph.graph.nodes}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_operations_are_those_of_torchs_own_tracer(
    function: Callable[[Tensor], tuple[Tensor | None, ...]],
) -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    ours, theirs = record(function, x), make_fx(function)(x)
    for graph in (ours.graph, theirs.graph):
        graph.eliminate_dead_code()
    assert operations(ours.graph) == operations(theirs.graph)
    assert len(operations(ours.graph)) > 2


def test_each_operation_knows_how_many_cells_it_made() -> None:
    graph = record(lambda x: (x.repeat(5).sum(), *x.split(1)), torch.ones(3)).graph
    cells = {str(node.target): node.meta["cells"] for node in graph.nodes if "cells" in node.meta}
    assert cells == {"aten.repeat.default": 15, "aten.sum.default": 1, "aten.split.Tensor": 3}


def test_what_changes_nothing_is_left_out() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        y = x.detach().expand(3).view(3)[:]
        return y.view(torch.int32), y.neg(), y.view(1, 3), y[:2]

    graph = record(function, torch.ones(3))
    calls = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert calls == ["aten.view.dtype", "aten.neg.default", "aten.view.default", "aten.slice.Tensor"]
    x = torch.tensor([1.0, -2.0, 3.0])
    assert all(map(torch.equal, graph(x), function(x)))


def test_a_constant_is_kept_once() -> None:
    graph = record(lambda x: (x + CONSTANT, x * CONSTANT), torch.ones(3))
    assert [tensor.tolist() for tensor in graph.buffers()] == [CONSTANT.tolist()]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * x.max().item(),),
        lambda x: (x if x.sum() > 0 else -x,),
        lambda x: (x[x > 0],),
        lambda x: (x.nonzero(),),
        lambda x: (x * float(torch.equal(x, CONSTANT)),),
    ],
)
def test_what_depends_on_values_is_refused(function: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    with pytest.raises(ReadError, match="depends on values"):
        record(function, torch.tensor([1.0, 2.0, 3.0]))


def _added_to_a_copy(x: Tensor) -> Tensor:
    copy = CONSTANT.clone()
    copy += x
    return copy


def _added_to_a_part(x: Tensor) -> Tensor:
    copy = CONSTANT.clone()
    copy[1:].add_(x[1:])
    return copy


def _changed_after_use(x: Tensor) -> Tensor:
    copy = CONSTANT.clone()
    product = x * copy
    copy[:1].mul_(2.0)
    return product


@pytest.mark.parametrize("function", [_added_to_a_copy, _added_to_a_part, _changed_after_use])
def test_what_is_written_into_a_constant_would_be_written_again(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(WriteError, match="writes into what it takes for a constant"):
        record(lambda x: (function(x),), torch.ones(3))
    captured = Captured(lambda x: (function(x),))
    for number in range(30):
        x = torch.full((3,), 1e-4 * number)
        assert torch.equal(captured(x)[0], function(x))


def test_a_constant_that_is_finished_before_it_is_used_may_be_written_into() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        copy = CONSTANT.clone()
        copy[1:] += 1.0
        return (x * copy,)

    x = torch.linspace(-1, 1, 3)
    assert torch.equal(record(function, torch.ones(3))(x)[0], function(x)[0])


def test_numbers_of_constants_may_be_read() -> None:
    graph = record(lambda x: (x * CONSTANT.max().item(),), torch.ones(3))
    assert graph(torch.full((3,), 3.0))[0].tolist() == [6.0, 6.0, 6.0]
