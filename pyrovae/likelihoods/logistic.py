"""The logistic likelihood, for real-valued data with tails between the normal's and Laplace's."""

from __future__ import annotations

import math
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.logistic import Logistic as FiniteLogistic
from pyrovae.likelihoods._scale import Floor, Scale, ScaledLikelihood


class Logistic(ScaledLikelihood):
    r"""Independent logistic cells: a bell with the tails of ``laplace``; the decoder gives the mean m.

    .. math:: p(x|z) = \prod_i \frac{e^{-u_i}}{s_i (1 + e^{-u_i})^2}, \qquad u_i = \frac{x_i - m_i(z)}{s_i}

    ==============  ===============================================================================
    ``scale``       s; the standard deviation is s pi / sqrt(3)
    ==============  ===============================================================================
    a number        fixed, in the unit of the data
    ``learned``     one number for all cells, floor + softplus(t), trained with the weights; starts where the
                    standard deviation is that of all cells of the training data
    ``per-pixel``   floor + softplus(t_i(z)), from the decoder
    ==============  ===============================================================================

    The most likely scale has no closed form. Without ``program.initialize``, as under Pyro's own ``SVI``,
    ``learned`` starts near 1. For grey values ``discretized-logistic`` gives probabilities of the same shape.

    Args:
        event_shape: the shape of one datum.
        scale: a fixed scale in the unit of the data, or how it is found.
        floor: smallest scale that can be learned, in the unit of the data.

    Source: Johnson, Kotz and Balakrishnan, *Continuous Univariate Distributions*, volume 2, 1995, chapter 23.

    Example:
        >>> Logistic(torch.Size([1]), scale=0.5)(torch.zeros(1, 1)).log_prob(torch.zeros(1)).exp()
        tensor(0.5000)
    """

    support = constraints.real
    unit_deviation = math.pi / math.sqrt(3.0)

    def __init__(
        self,
        event_shape: Size,
        *,
        scale: Annotated[
            Scale, Field(description="scale of a cell, in the unit of the data, or how it is found")
        ] = "learned",
        floor: Floor = 0.01,
    ) -> None:
        super().__init__(event_shape, scale, floor)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return FiniteLogistic(*self.loc_and_scale(features)).to_event(len(self.event_shape))
