"""Objectives: what is minimised of a program; Pyro's ELBOs, knowing no family and no optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from pyrovae import component
from pyrovae.programs import Program


class Need(StrEnum):
    """What an objective may need of the distributions of codes."""

    GRADIENTS = "gradients through draws"
    ANY_VALUE = "q(z|x) at any value"
    DENSITY = "a density q(z|x)"
    SUMMABLE = "discrete codes, each a site of its own"
    COORDINATES = "independent coordinates of codes, in p(z) and in q(z|x)"
    SITES = "sites of codes that do not depend on each other"


class Terms(NamedTuple):
    """What an objective made of a batch: means over its data, in nats."""

    loss: Tensor
    """What is minimised; its gradient is the one to follow."""

    reconstruction: Tensor
    """E_q[log p(x|z)], without a gradient."""

    kl: Tensor
    """KL(q(z|x) || p(z)) without any weight, and without a gradient."""


class Objective(component.Component, nn.Module, ABC, family="objective"):
    """A program as a loss in nats per datum, whatever the size of the batch.

    A constructor may also ask for ``data_size``, the number of training data, as a positional argument.

    Args:
        program: model and guide.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    """What it needs with any options."""

    smallest_batch: ClassVar[int] = 1
    """How many data a batch must have at least."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    @classmethod
    def needs_of_options(cls, options: Mapping[str, Any]) -> list[tuple[str, Need]]:
        """What options need besides, each with the option's name.

        Args:
            options: all of them, with their values.
        """
        return []

    def ramp(self, epochs: float, steps: int) -> float:
        """How far a warm-up has got, in [0, 1].

        Args:
            epochs: passes over the training data so far.
            steps: batches so far.
        """
        return 1.0

    @abstractmethod
    def forward(self, x: Tensor, ramp: Tensor | float = 1.0) -> Terms:
        """The loss of a batch, and the terms of its ELBO.

        Args:
            x: data, (n, \\*event_shape).
            ramp: how far a warm-up has got, in [0, 1].
        """


def __getattr__(name: str) -> Any:
    return component.find_class("objective", name)
