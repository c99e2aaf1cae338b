"""The Laplace likelihood, for real-valued data with some large errors."""

from __future__ import annotations

import math
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.likelihoods._scale import Floor, ScaledLikelihood, ScaleOrOptimal, Standardize


class Laplace(ScaledLikelihood):
    r"""Independent Laplace cells, which count errors as they are, not squared; the decoder gives the mean f.

    .. math:: p(x|z) = \prod_i \frac{1}{2 s_i b_i} e^{-|x_i - m_i - s_i f_i(z)| / (s_i b_i)}

    With ``standardize``, m_i and s_i are mean and standard deviation of cell i in the training data (s_i = 1
    where it never varies), which ``program.initialize`` sets and the weights keep; else they are 0 and 1. The
    encoder sees (x_i - m_i) / s_i, and b and its floor are in the unit s_i. Densities, means and draws
    are of the data as they are.

    ==============  ===============================================================================
    ``scale``       the mean absolute error b; the standard deviation is sqrt(2) b
    ==============  ===============================================================================
    a number        fixed, in the unit s_i
    ``learned``     one number for all cells, floor + softplus(t), trained with the weights; starts where the
                    standard deviation is that of all cells of the training data
    ``per-pixel``   floor + softplus(t_i(z)), from the decoder
    ``optimal``     one number: the mean absolute error of the training data, set after each epoch (the
                    maximum-likelihood value in closed form), and at least the floor
    ==============  ===============================================================================

    The ``optimal`` scale is 1 until it is first set. Under Pyro's own ``SVI`` nothing sets it but a call of
    ``program.calibrate(batches)``; ``learned`` needs none, but starts near 1 without ``program.initialize``.

    Args:
        event_shape: the shape of one datum.
        scale: a fixed mean absolute error in the unit s_i, or how it is found.
        floor: smallest scale that can be learned, in the unit s_i.
        standardize: whether encoder, decoder and scale work in standard deviations of a cell from its mean;
            ``auto``: where a datum has one axis, as a row of a table has.

    Source: Norton, *The Double Exponential Distribution: Using Calculus to Find a Maximum Likelihood
    Estimator*, 1984.

    Example:
        >>> Laplace(torch.Size([1]), scale=0.5)(torch.zeros(1, 1)).log_prob(torch.ones(1))  # nats
        tensor(-2.)
    """

    support = constraints.real
    unit_deviation = math.sqrt(2.0)
    error_power = 1

    def __init__(
        self,
        event_shape: Size,
        *,
        scale: Annotated[
            ScaleOrOptimal,
            Field(description="mean absolute error of a cell in the unit of networks, or how it is found"),
        ] = "optimal",
        floor: Floor = 0.01,
        standardize: Standardize = "auto",
    ) -> None:
        super().__init__(event_shape, scale, floor, standardize)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return self.of_data(dist.Laplace(*self.loc_and_scale(features)))
