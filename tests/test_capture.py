"""Captured functions: the same numbers as the function, and the function itself where there is no graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Build
from torch import Tensor

from pyrovae.capture import WORTH_A_CAPTURE, Captured, Uncapturable, capture
from pyrovae.evaluate import _Model, evaluate


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
    assert len(calls) == 2 * (WORTH_A_CAPTURE + 1)  # each shape's own calls, and its capture
    assert len(captured.graphs) == 2


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: (x * torch.rand_like(x),), "random"),
        (lambda x: (x if x.sum() > 0 else -x,), "value"),
        (lambda x: (x * x.max().item(),), "value"),
    ],
)
def test_what_is_no_fixed_sequence_of_operations_is_called_as_it_is(function: object, reason: str) -> None:
    with pytest.raises(Uncapturable, match=reason):
        capture(function, torch.randn(3))  # type: ignore[arg-type]
    captured = Captured(function)  # type: ignore[arg-type]
    for _ in range(WORTH_A_CAPTURE + 2):
        captured(torch.randn(3))
    assert list(captured.graphs.values()) == [function]


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
