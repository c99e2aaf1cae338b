"""The negative binomial likelihood, for counts that vary more than Poisson's."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae.distributions.counts import Counts
from pyrovae.likelihoods._counts import Dispersion, OverdispersedLikelihood


class NegativeBinomial(OverdispersedLikelihood):
    r"""Independent counts with mean mu and variance mu + mu² / r: Poisson counts of a gamma-distributed rate.

    .. math:: P(x|z) = \prod_i \frac{\Gamma(x_i + r_i)}{\Gamma(r_i)\, x_i!}
       \Bigl(\frac{r_i}{r_i + \mu_i}\Bigr)^{r_i} \Bigl(\frac{\mu_i}{r_i + \mu_i}\Bigr)^{x_i}, \qquad
       \log \mu_i = \log u_i + \frac{f_i(z)}{\sqrt{1 + f_i(z)^2 / 15^2}}

    ==============  ===============================================================================
    ``dispersion``  the logarithm of the inverse dispersion r, between -15 and 15
    ==============  ===============================================================================
    ``learned``     one number for each cell of a datum, trained with the weights
    ``per-pixel``   from the decoder
    ==============  ===============================================================================

    The unit u_i and what the encoder sees are those of ``poisson``.

    Args:
        event_shape: the shape of one datum.
        dispersion: how the inverse dispersion is found.

    Source: Lopez et al., *Deep generative modeling for single-cell transcriptomics* (scVI), 2018, methods.

    Example:
        >>> likelihood = NegativeBinomial(torch.Size([1]), dispersion="per-pixel")
        >>> likelihood(torch.zeros(2, 1)).log_prob(torch.zeros(1))  # mu = r = 1: log(1/2), in nats
        tensor(-0.6931)
    """

    def __init__(self, event_shape: Size, *, dispersion: Dispersion = "learned") -> None:
        super().__init__(event_shape, dispersion)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        parameters = self.negative_binomial(*features.unbind(-1 - len(self.event_shape)))
        counts = dist.NegativeBinomial(**parameters)
        return Counts(counts, features.dtype).to_event(len(self.event_shape))
