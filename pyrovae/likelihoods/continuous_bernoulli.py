"""The continuous Bernoulli likelihood, for grey values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pyro.distributions as dist
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.bounded import bounded
from pyrovae.distributions.continuous_bernoulli import ContinuousBernoulli as Exponential
from pyrovae.likelihoods import Likelihood
from pyrovae.moments import Moments


class ContinuousBernoulli(Likelihood):
    r"""Independent cells from 0 to 1; the binary cross-entropy, made the logarithm of a density.

    .. math:: \log p(x|z) = \sum_i x_i l_i(z) + \log \frac{l_i(z)}{e^{l_i(z)} - 1}, \qquad
       l_i = \frac{f_i(z)}{\sqrt{1 + f_i(z)^2 / b^2}}

    The expected datum is :math:`1 / (1 - e^{-l_i}) - 1 / l_i`, and not the sigmoid of the logit.

    The paper lets the logits l grow freely. But many pixels are exactly 0, where the density is close to -l:
    a likelihood without bound is to be had. The default bound of 50 ends this at log(50) = 3.9 nats for each
    such pixel, and lets means come to within 0.02 of 0 and 1, five grey values of 256. It is smooth, and a
    feature of 10 still becomes a logit of 9.8. Compare log-likelihoods only under the same bound.

    Args:
        event_shape: the shape of one datum.
        bound: the largest size b of a logit.

    Source: Loaiza-Ganem and Cunningham, *The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders*, 2019, section 3.

    Example:
        >>> p = ContinuousBernoulli(torch.Size([1]))(torch.full((1, 1), -1e9))
        >>> p.log_prob(torch.zeros(1)).exp(), p.mean
        (tensor(50.0000), tensor([0.0200]))
    """

    support = constraints.unit_interval

    def __init__(
        self,
        event_shape: Size,
        *,
        bound: Annotated[float, Field(gt=0, le=1e3, description="largest size of a logit")] = 50.0,
    ) -> None:
        super().__init__(event_shape)
        self.bound = bound

    def strains(self, found: Moments) -> Iterator[str]:
        end = 1 / self.bound
        mean = found.mean[found.deviation > 0]
        if bool((mean < end).all()) or bool((mean > 1 - end).all()):
            yield (
                f"likelihood.bound = {self.bound:g} keeps all means between {end:.2g} and {1 - end:.2g}, and "
                f"the means of all cells of these data, {mean.min():.2g} to {mean.max():.2g}, lie outside: "
                "set data.divisor so that the data fill [0, 1], or raise the bound"
            )

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        logits = bounded(features.squeeze(-1 - len(self.event_shape)), self.bound)
        return Exponential(logits).to_event(len(self.event_shape))
