"""One training step: loss, gradients, optimiser; knows no family and no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyrovae.objectives import Objective

OptimizerName = Literal["adam", "adamw", "rmsprop", "sgd"]

# Fused: one pass over all parameters, where torch has it.
OPTIMIZERS: Mapping[OptimizerName, Callable[..., Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "rmsprop": torch.optim.RMSprop,
    "sgd": partial(torch.optim.SGD, fused=True),
}


class Engine:
    """Runs training steps on an objective.

    Args:
        objective: the loss of a batch.
        optimizer: which of :data:`OPTIMIZERS`.
        clip: largest norm of the gradient of the loss (nats per datum); ``None`` for no limit.

    Example:
        >>> loss, reconstruction, kl = Engine(Elbo(program), "adam").step(x, lr=1e-3)
        >>> bool(loss > 0 > reconstruction)  # nats, summed over the 16 data of x
        True
    """

    def __init__(self, objective: Objective, optimizer: OptimizerName, clip: float | None = None) -> None:
        self.objective = objective
        self.optimizer = OPTIMIZERS[optimizer](objective.parameters(), lr=0.0)
        self.clip = clip

    def step(self, x: Tensor, lr: float, ramp: float = 1.0) -> Tensor:
        """Take one step on the batch x; returns its (loss, reconstruction, KL), summed over data, in nats.

        Args:
            x: data, (n, \\*event_shape).
            lr: learning rate.
            ramp: how far a warm-up has got, in [0, 1].
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        terms = self.objective(x, ramp)
        terms.loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.clip)
        self.optimizer.step()
        return torch.stack([term.detach().double() for term in terms]) * len(x)

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser remembers between steps."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)
