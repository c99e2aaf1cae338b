"""The uniform distribution on the unit sphere, in any dimension."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.types import _size

from pyrovae import supports


class SphericalUniform(TorchDistribution):
    r"""Uniform on the unit sphere, with a density for each unit of its surface.

    .. math:: p(z) = \frac{\Gamma(d/2)}{2\, \pi^{d/2}}, \qquad z \in \mathbb{R}^d,\ \lVert z \rVert = 1

    Args:
        dimension: number d of coordinates, at least 2; the sphere itself has one dimension less.
        batch_shape: how many there are.
        dtype: of the draws.
        device: of the draws.

    Source: Davidson et al., *Hyperspherical Variational Auto-Encoders*, 2018, section 3.

    Example:
        >>> SphericalUniform(2).log_prob(torch.tensor([0.0, 1.0])).exp()  # 1 / (2 pi)
        tensor(0.1592)
    """

    arg_constraints = {}
    support = supports.sphere
    has_rsample = True

    def __init__(
        self,
        dimension: int,
        batch_shape: _size = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.dtype = dtype
        self.device = device
        super().__init__(Size(batch_shape), Size([dimension]), validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> SphericalUniform:
        return SphericalUniform(
            self.event_shape.numel(),
            batch_shape,
            dtype=self.dtype,
            device=self.device,
            validate_args=self._validate_args,
        )

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        # The normal density is the same in all directions.
        normal = torch.randn(self._extended_shape(sample_shape), dtype=self.dtype, device=self.device)
        return normal / torch.linalg.vector_norm(normal, dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return value.new_full(shape, -self._log_area())

    def entropy(self) -> Tensor:
        return torch.full(self.batch_shape, self._log_area(), dtype=self.dtype, device=self.device)

    def _log_area(self) -> float:
        half = self.event_shape.numel() / 2
        return math.log(2) + half * math.log(math.pi) - math.lgamma(half)
