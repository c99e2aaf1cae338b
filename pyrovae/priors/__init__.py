"""Priors p(z): modules whose forward returns a distribution over codes; know no data, likelihood or loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae import component


class Prior(component.Component, nn.Module, ABC, family="prior"):
    """The distribution p(z) of the codes before any datum is seen.

    A constructor may also ask for ``datum_shape``, the shape of one datum, as a positional argument.

    Args:
        latent_dim: number of latent coordinates.
    """

    support: ClassVar[Constraint]
    """The set on which codes live."""

    scores_posterior: ClassVar[bool] = False
    """Whether p(z) is made of q(z|x), and so needs it at values that it did not draw itself."""

    has_independent_coordinates: ClassVar[bool] = False
    """Whether the coordinates of a code are independent: an ``Independent`` of one-dimensional ones."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @property
    def event_shape(self) -> Size:
        """The shape of one code."""
        return Size((self.latent_dim,))

    @abstractmethod
    def forward(self, encode: Callable[[Tensor], TorchDistribution]) -> TorchDistribution:
        """p(z), with batch shape () and event shape :attr:`event_shape`.

        Args:
            encode: what an encoder sees, (n, \\*datum) -> q(z|x); only priors made from the guide use it.
        """

    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Set what starts from the training data, before the first step.

        Args:
            batches: the training data as the encoder sees them, each (n, \\*datum).
        """


def __getattr__(name: str) -> Any:
    return component.find_class("prior", name)
