"""Captured functions: the same numbers as the function, and the function itself where there is no graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import Build
from torch import Tensor

from pyrovae.capture import WORTH_A_CAPTURE, Captured, Uncapturable, capture, check
from pyrovae.evaluate import _Model, evaluate

pytestmark = pytest.mark.smoke

READ = r"^a number is read from a tensor's value, as by an if or item\(\) \(test_capture.py, line \d+\)$"


def test_a_function_is_captured_once_for_each_shape_when_it_was_called_often() -> None:
    calls: list[tuple[int, ...]] = []

    def function(x: Tensor) -> tuple[Tensor, ...]:
        calls.append(tuple(x.shape))
        return x.exp(), x.sum()

    captured = Captured(function)
    for _ in range(WORTH_A_CAPTURE + 5):
        for shape in ((3,), (2, 4)):
            x = torch.randn(shape)
            exp, total = captured(x)
            assert torch.equal(exp, x.exp())
            assert torch.equal(total, x.sum())
    assert len(calls) == 2 * (WORTH_A_CAPTURE + 2)  # each shape's own calls, its capture and its check
    assert len(captured.graphs) == 2


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: (x * torch.rand_like(x),), "random"),
        (lambda x: (x if x.sum() > 0 else -x,), READ),
        (lambda x: (x * x.max().item(),), READ),
        (lambda x: (x * float(x.max()),), READ),
        (lambda x: (x[: int(x.argmax())],), READ),
        (lambda x: (x.nothing(),), r"has no attribute 'nothing' \(test_capture.py, line \d+\)$"),
    ],
)
def test_what_is_no_fixed_sequence_of_operations_is_called_as_it_is(function: object, reason: str) -> None:
    with pytest.raises(Uncapturable, match=reason) as refused:
        capture(function, torch.randn(3), may_draw=False)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    captured = Captured(function)  # type: ignore[arg-type]
    if "nothing" not in reason:
        for _ in range(WORTH_A_CAPTURE + 2):
            captured(torch.randn(3))
        assert list(captured.graphs.values()) == [function]


def test_a_long_error_is_cut() -> None:
    def function(x: Tensor) -> Any:
        raise ValueError("a word " * 100 + "\nand another line")

    with pytest.raises(Uncapturable, match=r"^(a word )+\.\.\. \(test_capture.py, line \d+\)$") as refused:
        capture(function, torch.randn(3), may_draw=False)
    assert len(str(refused.value)) < 200


def through_numpy(x: Tensor) -> tuple[Tensor, ...]:
    return (torch.from_numpy(np.exp(x.numpy())),)


def through_a_list(x: Tensor) -> tuple[Tensor, ...]:
    return (torch.tensor(x.tolist()).exp(),)


@pytest.mark.parametrize("function", [through_numpy, through_a_list])
def test_what_a_graph_takes_for_constant_is_seen_with_the_next_arguments(function: Any) -> None:
    """Torch says nothing of it: the graph would give the same for all arguments."""
    graph = capture(function, torch.tensor([-1.0, 1.0, 2.0]), may_draw=False)
    other = torch.tensor([3.0, 1.0, 2.0])
    with pytest.raises(Uncapturable, match=r"something else than torch"):
        check(graph, [other], function(other))
    captured = Captured(function)
    for number in range(WORTH_A_CAPTURE + 4):
        x = torch.tensor([-1.0, 1.0, 2.0]).roll(number) * (-1) ** number
        assert torch.equal(captured(x)[0], function(x)[0])
    assert list(captured.graphs.values()) == [function]


def test_rounding_and_what_is_no_number_are_no_differences() -> None:
    x = torch.tensor([1.0, float("nan"), 1e-9, float("inf")])
    check(lambda x: (x * (1 + 1e-6), None), [x], (x, None))
    with pytest.raises(Uncapturable):
        check(lambda x: (x * 1.01, None), [x[:1]], (x[:1], None))
    with pytest.raises(Uncapturable):
        check(lambda x: (x, None), [x], (x, x))


@pytest.mark.parametrize(
    "settings", [{}, {"prior": "vamp"}, {"prior": "bernoulli", "posterior": "bernoulli"}]
)
def test_an_evaluation_is_captured_and_says_the_same(
    make: Build, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make(**settings)
    x = torch.randn(50 * (WORTH_A_CAPTURE + 3), 6)
    program.initialize(lambda: [x])
    graphs = []
    call = _Model.__call__

    def counted(model: _Model, *arguments: Any) -> Any:
        terms = call(model, *arguments)
        graphs.append(len(model.terms.graphs))
        return terms

    monkeypatch.setattr(_Model, "__call__", counted)
    captured = evaluate(program, x.split(50), particles=10, tails=False)
    assert graphs[0] == 0
    assert graphs[-1] == 1
    monkeypatch.setattr("pyrovae.capture.WORTH_A_CAPTURE", 10**9)
    graphs.clear()
    eager = evaluate(program, x.split(50), particles=10, tails=False)
    assert graphs[-1] == 0
    torch.testing.assert_close(captured.elbo, eager.elbo, atol=1e-4, rtol=0)
    torch.testing.assert_close(captured.log_likelihood, eager.log_likelihood, atol=1e-4, rtol=0)
