"""The log-normal likelihood, for positive data of several orders of magnitude."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.bounded import bounded
from pyrovae.likelihoods._scale import ScaledLikelihood

LARGEST_LOG = 40.0
LARGEST_SCALE = 5.0


class LogNormal(ScaledLikelihood):
    r"""Independent cells whose logarithms are normal: errors are relative to the size of a value.

    .. math:: p(x|z) = \prod_i \frac{1}{x_i}\, \mathcal{N}\bigl(\log x_i;\, m_i(z), \sigma_i^2\bigr), \qquad
       m_i = \frac{f_i(z)}{\sqrt{1 + f_i(z)^2 / 40^2}}

    The expected datum is :math:`\exp(m_i + \sigma_i^2 / 2)`. Bounds of m and sigma keep it, and every draw,
    between the smallest and the largest number of float32: medians lie between exp(-40) and exp(40), and no
    sigma is above 5, a factor of 148. The encoder sees log(x).

    ==============  ===============================================================================
    ``scale``       sigma, of the natural logarithm: 0.1 is an error of 10 percent
    ==============  ===============================================================================
    a number        fixed
    ``learned``     one number for all cells, floor + softplus(s) - softplus(s + floor - 5), trained with the
                    weights; starts at the standard deviation of the logarithms of all training data
    ``per-pixel``   the same of s_i(z), from the decoder
    ``optimal``     one number: sigma squared is the mean squared error of the logarithms, set after each
                    epoch (the maximum-likelihood value in closed form), within the bounds
    ==============  ===============================================================================

    The ``optimal`` scale is 1 until it is first set. Under Pyro's own ``SVI`` nothing sets it but a call of
    ``program.calibrate(batches)``; ``learned`` needs none, but starts near 1 without ``program.initialize``.

    Args:
        event_shape: the shape of one datum.
        scale: a fixed standard deviation of the logarithm, or how it is found.
        floor: smallest scale that can be learned.

    Source: Johnson, Kotz and Balakrishnan, *Continuous Univariate Distributions*, volume 1, 1994, chapter 14.

    Example:
        >>> p = LogNormal(torch.Size([1]), scale=2.0)(torch.zeros(1, 1))
        >>> p.log_prob(torch.ones(1)), p.mean.log()  # -log(8 pi) / 2, in nats; sigma squared / 2
        (tensor(-1.6121), tensor([2.]))
    """

    support = constraints.positive
    ceiling = LARGEST_SCALE
    error_power = 2

    def __init__(
        self,
        event_shape: Size,
        *,
        scale: Annotated[
            Annotated[float, Field(ge=1e-9, le=LARGEST_SCALE)] | Literal["learned", "per-pixel", "optimal"],
            Field(description="standard deviation of the logarithm of a cell, or how it is found"),
        ] = "optimal",
        floor: Annotated[
            float, Field(ge=1e-9, le=1, description="smallest scale of a logarithm that can be learned")
        ] = 0.01,
    ) -> None:
        super().__init__(event_shape, scale, floor)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        unbounded, scale = self.loc_and_scale(features)
        return dist.LogNormal(bounded(unbounded, LARGEST_LOG), scale).to_event(len(self.event_shape))

    def seen(self, x: Tensor) -> Tensor:
        return x.log()

    def initialize(self, batches: Iterable[Tensor]) -> None:
        super().initialize(x.log() for x in batches)

    def calibrate(self, pairs: Iterable[tuple[dist.TorchDistribution, Tensor]]) -> None:
        """Set the scale to the root of the mean squared error of the logarithms."""
        super().calibrate((p.base_dist.base_dist, x.log()) for p, x in pairs)
