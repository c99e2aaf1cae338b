"""The beta likelihood, for data between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.beta import Beta as PreciseBeta
from pyrovae.distributions.bounded import bounded
from pyrovae.likelihoods import Likelihood
from pyrovae.moments import Moments


class Beta(Likelihood):
    r"""Independent beta cells, by a mean and a concentration that both come from the decoder.

    .. math:: p(x|z) = \prod_i \frac{x_i^{\alpha_i - 1} (1 - x_i)^{\beta_i - 1}}{B(\alpha_i, \beta_i)}, \qquad
       \alpha_i = a + \nu_i m_i, \quad \beta_i = a + \nu_i (1 - m_i)

    The features of a cell are (f, g):

    .. math:: m = \frac{1}{1 + e^{-f}}, \qquad \log \nu = \frac{g}{\sqrt{1 + g^2 / b^2}}, \qquad
       b = \log(\text{largest})

    where a is the option ``smallest``, so both concentrations lie between a and a + largest. The expected
    datum is alpha / (alpha + beta), and zero features give the uniform distribution where a is one half.

    The density is infinite or zero at 0 and 1, so data must lie between them: the option ``data.squeeze``
    brings grey values there. The bounds matter, because squeezed data repeat a few values exactly, and a
    density that could become a spike at them would grow without bound.

    Args:
        event_shape: the shape of one datum.
        smallest: the smallest concentration a. Below 1, the density may rise towards 0 and 1 without bound,
            as x to the power of a - 1; from 1 on it never does.
        largest: the largest nu: at 10,000 the standard deviation of a cell of mean 1/2 is 0.005.

    Source: Ferrari and Cribari-Neto, *Beta Regression for Modelling Rates and Proportions*, 2004, section 2,
    with concentrations that have bounds.

    Example:
        >>> p = Beta(torch.Size([1]))(torch.zeros(2, 1))
        >>> p.mean, p.log_prob(torch.tensor([0.25])).exp()
        (tensor([0.5000]), tensor(1.))
    """

    support = supports.open_unit_interval
    tolerated = None

    def __init__(
        self,
        event_shape: Size,
        *,
        smallest: Annotated[
            float, Field(ge=0.01, le=1, description="smallest concentration, on either side")
        ] = 0.5,
        largest: Annotated[
            float, Field(gt=1, le=1e6, description="largest concentration, beyond the smallest")
        ] = 1e4,
    ) -> None:
        super().__init__(event_shape)
        self.features = 2
        self.smallest = smallest
        self.largest = largest

    def strains(self, found: Moments) -> Iterator[str]:
        mean = found.mean[found.deviation > 0]
        end = self.smallest / (2 * self.smallest + self.largest)
        if bool((mean < 2 * end).any()) or bool((mean > 1 - 2 * end).any()):
            yield (
                f"likelihood.smallest = {self.smallest:g} and likelihood.largest = {self.largest:g} keep all "
                f"means between {end:.2g} and {1 - end:.2g}, and cells of these data have means from "
                f"{mean.min():.2g} to {mean.max():.2g}: set data.divisor so that the data fill (0, 1), or "
                "raise largest"
            )

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        f, g = features.unbind(-1 - len(self.event_shape))
        concentration = bounded(g, math.log(self.largest)).exp()
        one, zero = (self.smallest + concentration * part for part in (f.sigmoid(), (-f).sigmoid()))
        return PreciseBeta(one, zero).to_event(len(self.event_shape))
