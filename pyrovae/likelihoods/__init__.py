"""Likelihoods p(x|z): features of the decoder -> distribution of a datum; know no prior, network or loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae import component


class Likelihood(component.Component, nn.Module, ABC, family="likelihood"):
    """The distribution p(x|z) of a datum given its code.

    Args:
        event_shape: the shape of one datum.
    """

    support: ClassVar[Constraint]
    """The set on which each cell of a datum lives."""

    tolerated: ClassVar[Constraint | None] = None
    """A wider set on which the formula can be evaluated, though it is no density there."""

    calibrates: bool = False
    """Whether :meth:`calibrate` sets anything."""

    def __init__(self, event_shape: Size) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.features: int = 1
        """How many numbers the decoder gives for each cell."""

    @abstractmethod
    def forward(self, features: Tensor) -> TorchDistribution:
        """p(x|z), with batch shape (...) and event shape :attr:`event_shape`.

        Args:
            features: output of the decoder, (..., :attr:`features`, \\*event_shape), any real numbers.
        """

    def calibrate(self, pairs: Iterable[tuple[TorchDistribution, Tensor]]) -> None:
        """Set buffers that follow from the training data; called after each epoch.

        Args:
            pairs: for each batch, p(x|z) under a draw z ~ q(z|x), and the data x.
        """


def __getattr__(name: str) -> Any:
    return component.find_class("likelihood", name)
