"""Torch's optimisers by their functions; knows no objective and no learning rate's schedule.

The classes of ``torch.optim`` first import torch's compiler, which takes longer than all else that a training
does before its first step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from pyrovae.choices import OptimizerName

Update: TypeAlias = Callable[..., None]


class Formula(NamedTuple):
    """How an optimiser moves parameters."""

    moments: int
    """How many running means it keeps of each gradient."""
    update: Update
    """(parameters, gradients, moments, counts of steps, learning rate), all written in place."""


def _adam(function: Any, weight_decay: float) -> Formula:
    # Fused: one pass over all parameters, where torch has it.
    fixed: Any = {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "amsgrad": False,
        "maximize": False,
        "fused": True,
    }

    def update(parameters: Any, gradients: Any, moments: Any, counts: Any, lr: float) -> None:
        function(parameters, gradients, *moments, [], counts, lr=lr, weight_decay=weight_decay, **fixed)

    return Formula(2, update)


def _rmsprop(parameters: Any, gradients: Any, moments: Any, counts: Any, lr: float) -> None:
    fixed: Any = {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False}
    rmsprop(parameters, gradients, moments[0], [], [], counts, lr=lr, **fixed)


def _sgd(parameters: Any, gradients: Any, moments: Any, counts: Any, lr: float) -> None:
    fixed: Any = {
        "weight_decay": 0.0,
        "momentum": 0.0,
        "dampening": 0.0,
        "nesterov": False,
        "maximize": False,
    }
    sgd(parameters, gradients, [None] * len(parameters), lr=lr, fused=True, **fixed)


FORMULAS: Mapping[OptimizerName, Formula] = {
    "adam": _adam(adam, weight_decay=0.0),
    "adamw": _adam(adamw, weight_decay=0.01),
    "rmsprop": Formula(1, _rmsprop),
    "sgd": Formula(0, _sgd),
}


CLASSES: Mapping[OptimizerName, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "rmsprop": torch.optim.RMSprop,
    "sgd": partial(torch.optim.SGD, fused=True),
}
"""The same, as those who want a class of torch's take them."""


class Optimizer:
    """Moves parameters against their gradients, with torch's defaults.

    Args:
        name: which of :data:`FORMULAS`.
        parameters: what is moved.

    Source: Kingma and Ba, *Adam: A method for stochastic optimization*, 2015.

    Example:
        >>> weights = torch.ones(2)
        >>> Optimizer("sgd", [weights]).step([torch.tensor([1.0, 2.0])], lr=0.5)
        >>> weights
        tensor([0.5000, 0.0000])
    """

    def __init__(self, name: OptimizerName, parameters: Sequence[Tensor]) -> None:
        self.formula = FORMULAS[name]
        self.parameters = list(parameters)
        self.counts = [torch.zeros((), device=each.device) for each in self.parameters]
        self.moments = [[torch.zeros_like(p) for p in self.parameters] for _ in range(self.formula.moments)]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], lr: float) -> None:
        """Move every parameter that has a gradient.

        Args:
            gradients: one for each parameter, in the same order.
            lr: learning rate.
        """
        moved = [i for i, gradient in enumerate(gradients) if gradient is not None]
        columns = (self.parameters, gradients, *self.moments, self.counts)
        parameters, given, *moments, counts = ([column[i] for i in moved] for column in columns)
        self.formula.update(parameters, given, moments, counts, lr)

    def state_dict(self) -> dict[str, Any]:
        """What is remembered between steps."""
        return {"counts": self.counts, "moments": self.moments}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what another one remembered."""
        mine, kept = ([self.counts, *self.moments], [state["counts"], *state["moments"]])
        for column, other in zip(mine, kept, strict=True):
            for value, remembered in zip(column, other, strict=True):
                value.copy_(remembered)
