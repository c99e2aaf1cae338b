"""Programs: a Pyro model and guide on one module; know components by their forward, and no optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from uuid import uuid4

import pyro
from torch import Size, Tensor, nn


class Program(nn.Module, ABC):
    """A generative model p(x, z) and its guide q(z|x), as two pure Pyro functions that share one module.

    Both take a batch of data, open a plate named ``data`` over it, and neither registers parameters: the
    engine reads them from the module, and :meth:`registered_guide` is there for Pyro's own ``SVI``.

    Args:
        event_shape: the shape of one datum.
    """

    max_plate_nesting: int = 1
    """How many plates are nested in the model."""

    def __init__(self, event_shape: Size) -> None:
        super().__init__()
        self.event_shape = event_shape

    @abstractmethod
    def model(self, x: Tensor) -> None:
        """p(x, z), observed at the data x of shape (n, \\*event_shape)."""

    @abstractmethod
    def guide(self, x: Tensor) -> None:
        """q(z|x) for the data x of shape (n, \\*event_shape)."""

    def initialize(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Set what starts from the training data, before the first step.

        Args:
            batches: gives the training data from the first row on, whenever it is called.
        """

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set what follows from the training data in closed form; called after each epoch."""

    def registered_guide(self) -> Callable[[Tensor], None]:
        """The guide for ``pyro.infer.SVI``: it registers this program's parameters with Pyro's store first.

        Without it ``SVI`` finds no parameter and leaves the program untrained, without a word. The name in
        the store is new at every call, so two programs cannot come to share weights through it.

        Example:
            >>> SVI(program.model, program.registered_guide(), Adam({"lr": 1e-3}), Trace_ELBO()).step(x) > 0
            True
        """
        name = f"program-{uuid4().hex}"

        def guide(x: Tensor) -> None:
            pyro.module(name, self)
            self.guide(x)

        return guide
