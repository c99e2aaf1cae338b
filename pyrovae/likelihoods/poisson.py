"""The Poisson likelihood, for counts."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions.counts import Counts
from pyrovae.likelihoods._counts import RateLikelihood


class Poisson(RateLikelihood):
    r"""Independent counts whose variance is their mean; the decoder gives the logarithm of the rate.

    .. math:: P(x|z) = \prod_i \frac{\lambda_i^{x_i} e^{-\lambda_i}}{x_i!}, \qquad
       \log \lambda_i = \log u_i + \frac{f_i(z)}{\sqrt{1 + f_i(z)^2 / 15^2}}

    The unit u_i is 1, but the mean of cell i in the training data where one of its counts is above exp(10):
    ``program.initialize`` sets it, and the weights keep it. Rates lie between exp(-15) and exp(15) times
    their unit. The encoder sees log(1 + x_i) - log u_i.

    Args:
        event_shape: the shape of one datum.

    Source: McCullagh and Nelder, *Generalized Linear Models*, 1989, chapter 6.

    Example:
        >>> Poisson(torch.Size([1]))(torch.zeros(1, 1)).log_prob(torch.zeros(1))  # nats
        tensor(-1.)
    """

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        log_rate = self.log_rate(features.squeeze(-1 - len(self.event_shape)))
        return Counts(dist.Poisson(log_rate.exp()), features.dtype).to_event(len(self.event_shape))
