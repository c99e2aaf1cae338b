"""Likelihoods p(x|z): features of the decoder -> distribution of a datum; know no prior, network or loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae import component
from pyrovae.moments import Moments


class Likelihood(component.Component, nn.Module, ABC, family="likelihood"):
    """The distribution p(x|z) of a datum given its code.

    Args:
        event_shape: the shape of one datum.
    """

    support: Constraint
    """The set on which each cell of a datum lives; one of the class, unless an option changes it."""

    features: int
    """How many numbers the decoder gives for each cell; 1 unless a constructor says otherwise."""

    tolerated: ClassVar[Constraint | None] = None
    """A wider set on which the formula can be evaluated, though it is no density there."""

    conditional: ClassVar[str] = ""
    """What of x itself p(x|z) is conditional on, as ``its total``: it sums to one over data that share it."""

    calibrates: bool = False
    """Whether :meth:`calibrate` sets anything."""

    standardizes: bool | None = None
    """Whether encoder and decoder work in standard deviations of a cell; None where they never do."""

    def __init__(self, event_shape: Size) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.features = 1

    @abstractmethod
    def forward(self, features: Tensor) -> TorchDistribution:
        """p(x|z), with batch shape (...) and event shape :attr:`event_shape`.

        Args:
            features: output of the decoder, (..., :attr:`features`, \\*event_shape), any real numbers.
        """

    def conditioned(self, features: Tensor, x: Tensor) -> TorchDistribution:
        """p(x|z) where something of the datum itself is known, as its total; most take no notice.

        Args:
            features: as for :meth:`forward`.
            x: the data, (..., \\*event_shape); not a number where nothing is known of them.
        """
        return self(features)

    @property
    def precision(self) -> torch.dtype:
        """Of the data that the likelihood is given: float64 where float32 cannot hold them."""
        return torch.float32

    def seen(self, x: Tensor) -> Tensor:
        """The data as the encoder sees them, in the same shape: large counts as their logarithm, say."""
        return x

    def widen(self) -> bool:
        """Take data in float64 from now on; False for a likelihood that needs them in float32."""
        return False

    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Set what starts from the training data, before the first step.

        Args:
            batches: the training data, each (n, \\*event_shape).
        """

    def strains(self, found: Moments) -> Iterator[str]:
        """What the bounds of this likelihood keep it from saying of data like these, in sentences.

        Args:
            found: mean, deviation and size of each cell of the training data.
        """
        return iter(())

    def calibrate(self, pairs: Iterable[tuple[TorchDistribution, Tensor]]) -> None:
        """Set buffers that follow from the training data; called after each epoch.

        Args:
            pairs: for each batch, p(x|z) under a draw z ~ q(z|x), and the data x.
        """


def __getattr__(name: str) -> Any:
    return component.find_class("likelihood", name)
