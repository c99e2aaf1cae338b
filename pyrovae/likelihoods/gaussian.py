"""The Gaussian likelihood, for real-valued data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.likelihoods import Likelihood

UNIT_SCALE = math.log(math.e - 1.0)  # softplus(UNIT_SCALE) = 1


class Gaussian(Likelihood):
    r"""Independent normal cells; the decoder gives the mean m(z), and the scale too if it is per pixel.

    .. math:: p(x|z) = \prod_i \mathcal{N}\bigl(x_i;\, m_i(z), \sigma_i^2\bigr)

    ==============  ===============================================================================
    ``scale``       sigma
    ==============  ===============================================================================
    a number        fixed, in the unit of the data
    ``learned``     one number for all cells, floor + softplus(s), trained with the weights
    ``per-pixel``   floor + softplus(s_i(z)), from the decoder
    ``optimal``     one number: sigma squared is the mean squared error of the training data, set after
                    each epoch (the maximum-likelihood value in closed form), and at least floor squared
    ==============  ===============================================================================

    The ``optimal`` scale is 1 until it is first set. Under Pyro's own ``SVI`` nothing sets it but a call of
    ``program.calibrate(batches)``; ``learned`` needs none.

    Args:
        event_shape: the shape of one datum.
        scale: a fixed standard deviation in the unit of the data, or how it is found.
        floor: smallest scale that can be learned, in the unit of the data. Without one, the density of a cell
            that never varies would grow without bound.

    Source: Rybkin, Daniilidis and Levine, *Simple and Effective VAE Training with Calibrated Decoders*
    (sigma-VAE), 2021, equations 4 and 5.

    Example:
        >>> Gaussian(torch.Size([2]), scale=1.0)(torch.zeros(1, 2)).log_prob(torch.zeros(2))  # nats
        tensor(-1.8379)
    """

    support = constraints.real
    scale: Tensor | None
    unbounded_scale: nn.Parameter | None

    def __init__(
        self,
        event_shape: Size,
        *,
        scale: Annotated[
            Annotated[float, Field(gt=0)] | Literal["learned", "per-pixel", "optimal"],
            Field(description="standard deviation of a cell, in the unit of the data, or how it is found"),
        ] = "optimal",
        floor: Annotated[
            float, Field(gt=0, description="smallest scale that can be learned, in the unit of the data")
        ] = 0.01,
    ) -> None:
        super().__init__(event_shape)
        self.floor = floor
        self.calibrates = scale == "optimal"
        self.features = 2 if scale == "per-pixel" else 1
        fixed = 1.0 if self.calibrates else scale
        self.register_buffer("scale", torch.tensor(fixed) if isinstance(fixed, float | int) else None)
        unbounded = nn.Parameter(torch.tensor(UNIT_SCALE)) if scale == "learned" else None
        self.register_parameter("unbounded_scale", unbounded)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, *unbounded = features.unbind(-1 - len(self.event_shape))
        return dist.Normal(loc, self._scale(*unbounded)).to_event(len(self.event_shape))

    def _scale(self, unbounded: Tensor | None = None) -> Tensor:
        if self.scale is not None:
            return self.scale
        shared = self.unbounded_scale if unbounded is None else unbounded
        assert shared is not None
        return self.floor + softplus(shared)

    def calibrate(self, pairs: Iterable[tuple[dist.TorchDistribution, Tensor]]) -> None:
        """Set the scale to the root of the mean squared error over all cells of all pairs."""
        squared_error, cells = 0.0, 0
        for given_code, x in pairs:
            squared_error += (given_code.mean - x).square().sum(dtype=torch.float64).item()
            cells += x.numel()
        assert self.scale is not None
        self.scale.fill_(max(math.sqrt(squared_error / cells), self.floor))
