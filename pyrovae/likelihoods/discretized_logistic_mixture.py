"""The mixture of discretised logistics, for grey values and colour."""

from __future__ import annotations

from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.discretized_logistic import DiscretizedLogisticMixture as Mixture
from pyrovae.likelihoods import Likelihood
from pyrovae.likelihoods._levels import LevelCount, location, scale

COLOURS = 3


class DiscretizedLogisticMixture(Likelihood):
    r"""Independent pixels with K grey values in each channel: a mixture of rounded logistic variables.

    .. math:: P(x|z) = \prod_i \sum_{j=1}^{J} \pi_{ij}(z) \prod_c
       \Bigl[\sigma\Bigl(\frac{x_{ic} + h/2 - m_{ijc}}{s_{ijc}(z)}\Bigr)
       - \sigma\Bigl(\frac{x_{ic} - h/2 - m_{ijc}}{s_{ijc}(z)}\Bigr)\Bigr], \qquad h = \frac{1}{K - 1}

    with the tails at the ends as in ``discretized-logistic``. In data of shape (channels, rows, columns) the
    channels of a pixel share the component; all other data are one mixture a cell. For three channels, green
    depends on red, and blue on both, by coefficients between -1 and 1:

    .. math:: m_r = \mu_r, \qquad m_g = \mu_g + \alpha \bigl(x_r - \tfrac{1}{2}\bigr), \qquad
       m_b = \mu_b + \beta \bigl(x_r - \tfrac{1}{2}\bigr) + \gamma \bigl(x_g - \tfrac{1}{2}\bigr)

    A cell has 3 J features: logits (averaged over the channels of a pixel), means and log-scales of the
    components, both in the unit and with the bounds of ``discretized-logistic``. For three channels it has J
    more, whose tanh is alpha in the red cell, beta in the green one and gamma in the blue one.

    The mean is exact but for green and blue, which an exact sum would cost K³ terms a pixel. There, given a
    component, it takes the channels before at their means, and so misses what the dependence sends beyond the
    ends: over 3,000 pixels of standard normal features with K = 16, 0.01 on average and 0.08 at most.

    Args:
        event_shape: the shape of one datum.
        components: number J of components.
        levels: number K of grey values from 0 to 1, both ends with them.

    Source: Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, sections 2.1 and 2.2.

    Example:
        >>> likelihood = DiscretizedLogisticMixture(torch.Size([3, 8, 8]), components=5)
        >>> likelihood.features
        20
        >>> likelihood(torch.zeros(16, 20, 3, 8, 8)).sample().shape
        torch.Size([16, 3, 8, 8])
    """

    support = supports.Levels(256)

    def __init__(
        self,
        event_shape: Size,
        *,
        components: Annotated[int, Field(ge=2, description="components of the mixture of a pixel")] = 5,
        levels: LevelCount = 256,
    ) -> None:
        super().__init__(event_shape)
        self.channels = event_shape[0] if len(event_shape) == 3 else 1
        self.features = (4 if self.channels == COLOURS else 3) * components
        self.components = components
        self.levels = levels
        self.support = supports.Levels(levels)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        leading = features.shape[: -1 - len(self.event_shape)]
        pixels = features.reshape(*leading, self.features, self.channels, -1)
        logits, f, g, *dependence = pixels.split(self.components, dim=-3)
        coefficients = dependence[0].tanh() if dependence else None
        return Mixture(
            logits.mean(-2), location(f), scale(g, self.levels), coefficients, self.event_shape, self.levels
        )
