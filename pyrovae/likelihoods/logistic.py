"""The logistic likelihood, for real-valued data with tails between the normal's and Laplace's."""

from __future__ import annotations

import math
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.logistic import Logistic as FiniteLogistic
from pyrovae.likelihoods._scale import Floor, Scale, ScaledLikelihood, Standardize


class Logistic(ScaledLikelihood):
    r"""Independent logistic cells: a bell with the tails of ``laplace``; the decoder gives the mean f.

    .. math:: p(x|z) = \prod_i \frac{e^{-u_i}}{s_i b_i (1 + e^{-u_i})^2}, \qquad
       u_i = \frac{x_i - m_i - s_i f_i(z)}{s_i b_i}

    With ``standardize``, m_i and s_i are mean and standard deviation of cell i in the training data (s_i = 1
    where it never varies), which ``program.initialize`` sets and the weights keep; else they are 0 and 1. The
    encoder sees (x_i - m_i) / s_i, and b and its floor are in the unit s_i. Densities, means and draws
    are of the data as they are.

    ==============  ===============================================================================
    ``scale``       b; the standard deviation is b pi / sqrt(3)
    ==============  ===============================================================================
    a number        fixed, in the unit s_i
    ``learned``     one number for all cells, floor + softplus(t), trained with the weights; starts where the
                    standard deviation is that of all cells of the training data
    ``per-pixel``   floor + softplus(t_i(z)), from the decoder
    ==============  ===============================================================================

    The most likely scale has no closed form. Without ``program.initialize``, as under Pyro's own ``SVI``,
    ``learned`` starts near 1. For grey values ``discretized-logistic`` gives probabilities of the same shape.

    Args:
        event_shape: the shape of one datum.
        scale: a fixed scale in the unit s_i, or how it is found.
        floor: smallest scale that can be learned, in the unit s_i.
        standardize: whether encoder, decoder and scale work in standard deviations of a cell from its mean;
            ``auto``: where a datum has one axis, as a row of a table has.

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
            Scale, Field(description="scale of a cell in the unit of networks, or how it is found")
        ] = "learned",
        floor: Floor = 0.01,
        standardize: Standardize = "auto",
    ) -> None:
        super().__init__(event_shape, scale, floor, standardize)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return self.of_data(FiniteLogistic(*self.loc_and_scale(features)))
