"""Programs: a Pyro model and guide on one module; know components by their forward, and no optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from uuid import uuid4

import pyro
import torch
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae import component, device
from pyrovae.programs import _trial
from pyrovae.programs._codes import Codes
from pyrovae.programs._plates import PARTICLES, PLATES, particle_plate
from pyrovae.programs._trial import check, rehearse

__all__ = ["PARTICLES", "PLATES", "Codes", "Program", "check", "particle_plate", "rehearse"]


class Program(component.Component, nn.Module, ABC, family="program"):
    """A generative model p(x, z) and its guide q(z|x), as two pure Pyro functions that share one module.

    Both take a batch of data and open a plate named ``data`` over it, with all sites in it. Neither registers
    parameters: the engine reads them from the module, and :meth:`registered_guide` is there for Pyro's own
    ``SVI``. The model observes one site and draws others, which the guide draws too. Of x it needs no more
    than its length and the observation: to sample is to run it on data that are not a number. Further draws
    of codes come as dimensions on the left.

    A constructor asks by name for what it wants, of ``event_shape``, the shape of one datum, and
    ``latent_dim``; or else for the parts ``prior``, ``likelihood``, ``posterior`` and ``network``, as
    :class:`~pyrovae.programs.single_layer.SingleLayer` does. What stands behind a ``*`` are options.

    Args:
        event_shape: the shape of one datum.
    """

    event_shape: Size
    """The shape of one datum."""

    tolerated: ClassVar[Constraint | None] = None
    """A wider set of data on which the formula can be evaluated, though it is no density there."""

    def __init__(self, event_shape: Size) -> None:
        super().__init__()
        self.event_shape = event_shape

    @abstractmethod
    def model(self, x: Tensor) -> None:
        """p(x, z), observed at the data x of shape (n, \\*event_shape)."""

    @abstractmethod
    def guide(self, x: Tensor) -> None:
        """q(z|x) for the data x of shape (n, \\*event_shape)."""

    @property
    def support(self) -> Constraint:
        """The set on which each cell of a datum lives; by default, that of the site which is observed."""
        return _trial.support(self)

    @property
    def codes(self) -> Codes:
        """What objectives may ask of p(z) and q(z|x); by default, what a run of model and guide shows."""
        return _trial.codes(self)

    @property
    def precision(self) -> torch.dtype:
        """Of the data that a program which scores them itself is given."""
        return torch.float32

    @property
    def scorer(self) -> Any:
        """The component that scores data, and so says which ones it takes."""
        return self

    def initialize(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Set what starts from the training data, before the first step.

        Args:
            batches: gives the training data from the first row on, whenever it is called.
        """

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set what follows from the training data in closed form; called after each epoch."""

    def unseen(self, n: int) -> Tensor:
        """So many data of which nothing is known, (n, \\*event_shape): the model is run on them to sample."""
        return torch.full((n, *self.event_shape), torch.nan, device=device.of(self))

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


def __getattr__(name: str) -> Any:
    return component.find_class("program", name)
