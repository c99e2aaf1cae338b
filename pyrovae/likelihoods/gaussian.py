"""The Gaussian likelihood, for real-valued data."""

from __future__ import annotations

from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.normal import Normal
from pyrovae.likelihoods._scale import Floor, ScaledLikelihood, ScaleOrOptimal, Standardize


class Gaussian(ScaledLikelihood):
    r"""Independent normal cells; the decoder gives the mean f(z), and the scale too if it is per pixel.

    .. math:: p(x|z) = \prod_i \mathcal{N}\bigl(x_i;\, m_i + s_i f_i(z), (s_i \sigma_i)^2\bigr)

    With ``standardize``, m_i and s_i are mean and standard deviation of cell i in the training data (s_i = 1
    where it never varies), which ``program.initialize`` sets and the weights keep; else they are 0 and 1. The
    encoder sees (x_i - m_i) / s_i, and sigma and its floor are in the unit s_i. Densities, means and draws
    are of the data as they are.

    ==============  ===============================================================================
    ``scale``       sigma
    ==============  ===============================================================================
    a number        fixed, in the unit s_i
    ``learned``     one number for all cells, floor + softplus(t), trained with the weights; starts at the
                    standard deviation of all cells of the training data
    ``per-pixel``   floor + softplus(t_i(z)), from the decoder
    ``optimal``     one number: sigma squared is the mean squared error of the training data, set after
                    each epoch (the maximum-likelihood value in closed form), and at least floor squared
    ==============  ===============================================================================

    The ``optimal`` scale is 1 until it is first set. Under Pyro's own ``SVI`` nothing sets it but a call of
    ``program.calibrate(batches)``; ``learned`` needs none, but starts near 1 without ``program.initialize``.

    Args:
        event_shape: the shape of one datum.
        scale: a fixed standard deviation in the unit s_i, or how it is found.
        floor: smallest scale that can be learned, in the unit s_i. Without one, the density of a cell
            that never varies would grow without bound.
        standardize: whether encoder, decoder and scale work in standard deviations of a cell from its mean;
            ``auto``: where a datum has one axis, as a row of a table has.

    Source: Rybkin, Daniilidis and Levine, *Simple and Effective VAE Training with Calibrated Decoders*
    (sigma-VAE), 2021, equations 4 and 5.

    Example:
        >>> Gaussian(torch.Size([2]), scale=1.0)(torch.zeros(1, 2)).log_prob(torch.zeros(2))  # nats
        tensor(-1.8379)
    """

    support = constraints.real
    error_power = 2

    def __init__(
        self,
        event_shape: Size,
        *,
        scale: Annotated[
            ScaleOrOptimal,
            Field(description="standard deviation of a cell in the unit of networks, or how it is found"),
        ] = "optimal",
        floor: Floor = 0.01,
        standardize: Standardize = "auto",
    ) -> None:
        super().__init__(event_shape, scale, floor, standardize)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return self.of_data(Normal(*self.loc_and_scale(features)))
