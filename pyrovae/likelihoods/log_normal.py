"""The log-normal likelihood, for positive data of several orders of magnitude."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.bounded import bounded
from pyrovae.distributions.log_normal import LogNormal as OfLogarithm
from pyrovae.likelihoods._scale import ScaledLikelihood, Standardize
from pyrovae.moments import Moments

LARGEST_LOG = 40.0
LARGEST_SCALE = 5.0
FARTHEST_LOG = 59.0
"""No logarithm of a median is farther from 0: so draws and means are numbers of float32."""
LARGEST_MEAN = 55.0
"""Of the logarithms of a cell: around it, medians vary by factors of exp(4) at least."""


class LogNormal(ScaledLikelihood):
    r"""Independent cells whose logarithms are normal: errors are relative to the size of a value.

    .. math:: p(x|z) = \prod_i \frac{1}{x_i}\,
       \mathcal{N}\bigl(\log x_i;\, m_i + s_i g_i(z), (s_i \sigma_i)^2\bigr), \quad
       g_i = \frac{f_i(z)}{\sqrt{1 + f_i(z)^2 / b_i^2}}

    With ``standardize``, m_i and s_i are mean and standard deviation of the logarithm of cell i in the
    training data (s_i = 1 where it never varies, and at most), which ``program.initialize`` sets and the
    weights keep; else they are 0 and 1. The encoder sees (log x_i - m_i) / s_i, and sigma and its floor are
    in the unit s_i.

    The expected datum is :math:`\exp(m_i + s_i g_i + (s_i \sigma_i)^2 / 2)`. Bounds keep it, and every draw,
    between the smallest and the largest number of float32: b_i is 40 or, if that is less, 59 - \|m_i\|, and
    no sigma is above 5, a factor of 148.

    ==============  ===============================================================================
    ``scale``       sigma, of the natural logarithm: 0.1 is an error of 10 percent
    ==============  ===============================================================================
    a number        fixed, in the unit s_i
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
        scale: a fixed standard deviation of the logarithm in the unit s_i, or how it is found.
        floor: smallest scale that can be learned, in the unit s_i.
        standardize: whether encoder, decoder and scale work in standard deviations of the logarithm of a cell
            from its mean; ``auto``: where a datum has one axis, as a row of a table has.

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
        standardize: Standardize = "auto",
    ) -> None:
        super().__init__(event_shape, scale, floor, standardize)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        unbounded, scale = self.loc_and_scale(features)
        logarithm = self.in_unit_of_data(dist.Normal(bounded(unbounded, self._reach()), scale))
        return OfLogarithm(logarithm).to_event(len(self.event_shape))

    def _reach(self) -> float | Tensor:
        """The largest distance of the logarithm of a median from m, in the unit s."""
        if not self.standardizes:
            return LARGEST_LOG
        return (FARTHEST_LOG - self.cell_mean.abs()).clamp(max=LARGEST_LOG).to(self.cell_deviation.dtype)

    def seen(self, x: Tensor) -> Tensor:
        return super().seen(x.log())

    def initialize(self, batches: Iterable[Tensor]) -> None:
        super().initialize(x.log() for x in batches)

    def set_unit(self, found: Moments) -> None:
        super().set_unit(found)
        self.cell_mean.clamp_(-LARGEST_MEAN, LARGEST_MEAN)
        self.cell_deviation.clamp_(max=1.0)

    def strains(self, found: Moments) -> Iterator[str]:
        farthest = LARGEST_MEAN if self.standardizes else LARGEST_LOG
        size = found.largest[found.largest > 0].log().abs().amax().item()
        if size > farthest:
            yield (
                f"log-normal has medians from exp(-{farthest:g}) to exp({farthest:g}), and cells of these "
                f"data have values near exp({size:.0f}) or exp(-{size:.0f}): set data.divisor"
            )

    def of_cells(self, given_code: dist.TorchDistribution) -> dist.TorchDistribution:
        return super().of_cells(given_code.base_dist)
