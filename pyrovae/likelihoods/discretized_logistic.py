"""The discretised logistic likelihood, for grey values."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.discretized_logistic import DiscretizedLogistic as Discretized
from pyrovae.likelihoods import Likelihood
from pyrovae.likelihoods._levels import LevelCount, location, scale


class DiscretizedLogistic(Likelihood):
    r"""Independent cells with K grey values: a logistic variable, rounded to the nearest one.

    .. math:: P(x_k|z) = \sigma\Bigl(\frac{x_k + h/2 - m(z)}{s(z)}\Bigr)
       - \sigma\Bigl(\frac{x_k - h/2 - m(z)}{s(z)}\Bigr), \qquad x_k = k h, \quad h = \frac{1}{K - 1}

    At :math:`x_k = 1` the left sigmoid is 1 and at :math:`x_k = 0` the right one is 0: both ends take their
    tails, and the probabilities of all K values sum to one. The features of a cell are (f, g):

    .. math:: m = \frac{1 + f}{2}, \qquad \log 2 s = \frac{g}{\sqrt{1 + g^2 / b^2}}, \qquad
       b = \log 10 (K - 1)

    so the scale lies between h / 20 and 5 / h.

    Args:
        event_shape: the shape of one datum.
        levels: number K of grey values from 0 to 1, both ends with them.

    Source: Kingma et al., *Improved Variational Inference with Inverse Autoregressive Flow*, 2016,
    appendix; Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equation 2, for the ends.

    Example:
        >>> p = DiscretizedLogistic(torch.Size([1]), levels=2)(torch.zeros(2, 1))
        >>> p.log_prob(torch.ones(1))  # log(1/2), in nats
        tensor(-0.6931)
    """

    support = supports.Levels(256)

    def __init__(self, event_shape: Size, *, levels: LevelCount = 256) -> None:
        super().__init__(event_shape)
        self.features = 2
        self.levels = levels
        self.support = supports.Levels(levels)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        f, g = features.unbind(-1 - len(self.event_shape))
        return Discretized(location(f), scale(g, self.levels), self.levels).to_event(len(self.event_shape))
