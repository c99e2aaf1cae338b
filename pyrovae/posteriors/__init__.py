"""Posterior families q(z|x): features of the encoder -> distribution; know no prior, network or loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae import component


class Posterior(component.Component, nn.Module, ABC, family="posterior"):
    """The family of q(z|x), the distribution of a datum's code that the guide proposes.

    Args:
        event_shape: the shape of one code, as the prior has it.
    """

    support: ClassVar[Constraint]
    """The set on which codes live."""

    features: int
    """How many numbers the encoder gives for one datum."""

    def __init__(self, event_shape: Size) -> None:
        super().__init__()
        self.event_shape = event_shape

    @abstractmethod
    def forward(self, features: Tensor) -> TorchDistribution:
        """q(z|x), with batch shape (...) and event shape :attr:`event_shape`.

        Args:
            features: output of the encoder, (..., :attr:`features`), any real numbers.
        """


def __getattr__(name: str) -> Any:
    return component.find_class("posterior", name)
