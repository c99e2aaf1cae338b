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

    only_own_draws: ClassVar[str | None] = None
    """Why the density is known at its own draws only; ``None`` where it is known everywhere."""

    is_density: ClassVar[bool] = True
    """Whether q(z|x) has a density, so that there is a bound and a KL; a point has none."""

    reparameterized: ClassVar[bool] = True
    """Whether gradients pass through draws."""

    has_independent_coordinates: ClassVar[bool] = False
    """Whether a code's coordinates are independent given x: an ``Independent`` of one-dimensional ones."""

    one_site_per_variable: ClassVar[bool] = False
    """Whether each latent variable is a site of its own, so that an objective can sum it out.

    Such a posterior, and every prior on its support, is an ``Independent`` of one discrete distribution that
    has ``logits``.
    """

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
