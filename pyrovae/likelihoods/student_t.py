"""The Student t likelihood, for real-valued data with outliers."""

from __future__ import annotations

import math
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.student_t import StudentT as StudentTDistribution
from pyrovae.likelihoods._scale import Floor, Scale, ScaledLikelihood, Standardize


class StudentT(ScaledLikelihood):
    r"""Independent Student t cells, which an outlier moves but little; the decoder gives the mean f.

    .. math:: p(x|z) = \prod_i \frac{\Gamma\bigl(\frac{\nu + 1}{2}\bigr)}
       {s_i \sigma_i \sqrt{\nu \pi}\, \Gamma\bigl(\frac{\nu}{2}\bigr)}
       \Bigl(1 + \frac{(x_i - m_i - s_i f_i(z))^2}{\nu (s_i \sigma_i)^2}\Bigr)^{-(\nu + 1) / 2}

    With ``standardize``, m_i and s_i are mean and standard deviation of cell i in the training data (s_i = 1
    where it never varies), which ``program.initialize`` sets and the weights keep; else they are 0 and 1. The
    encoder sees (x_i - m_i) / s_i, and sigma and its floor are in the unit s_i. Densities, means and draws
    are of the data as they are.

    ==============  ===============================================================================
    ``scale``       sigma; the variance is sigma squared times nu / (nu - 2)
    ==============  ===============================================================================
    a number        fixed, in the unit s_i
    ``learned``     one number for all cells, floor + softplus(t), trained with the weights; starts where the
                    standard deviation is that of all cells of the training data
    ``per-pixel``   floor + softplus(t_i(z)), from the decoder
    ==============  ===============================================================================

    The degrees of freedom nu are above 2, where mean and variance exist, and at most 100, where this is
    ``gaussian`` in all but name. The most likely scale has no closed form. Without ``program.initialize``, as
    under Pyro's own ``SVI``, ``learned`` starts near 1.

    Args:
        event_shape: the shape of one datum.
        df: degrees of freedom nu; the fewer, the heavier the tails.
        scale: a fixed scale in the unit s_i, or how it is found.
        floor: smallest scale that can be learned, in the unit s_i.
        standardize: whether encoder, decoder and scale work in standard deviations of a cell from its mean;
            ``auto``: where a datum has one axis, as a row of a table has.

    Source: Takahashi, Iwata, Yamanaka, Yamada and Yagi, *Student-t Variational Autoencoder for Robust Density
    Estimation*, 2018, section 3, with degrees of freedom that are an option.

    Example:
        >>> likelihood = StudentT(torch.Size([1]), df=3.0, scale=1.0)
        >>> likelihood(torch.zeros(1, 1)).log_prob(torch.zeros(1)).exp()  # 2 / (sqrt(3) pi)
        tensor(0.3676)
    """

    support = constraints.real

    def __init__(
        self,
        event_shape: Size,
        *,
        df: Annotated[
            float, Field(gt=2, le=100, description="degrees of freedom; the fewer, the heavier the tails")
        ] = 5.0,
        scale: Annotated[
            Scale, Field(description="scale of a cell in the unit of networks, or how it is found")
        ] = "learned",
        floor: Floor = 0.01,
        standardize: Standardize = "auto",
    ) -> None:
        super().__init__(event_shape, scale, floor, standardize)
        self.df = float(df)
        self.unit_deviation = math.sqrt(df / (df - 2))

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, scale = self.loc_and_scale(features)
        return self.of_data(StudentTDistribution(loc.new_full((), self.df), loc, scale))
