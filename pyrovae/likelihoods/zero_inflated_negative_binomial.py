"""The zero-inflated negative binomial likelihood, for counts with more zeros than others explain."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae.distributions import counts
from pyrovae.likelihoods._counts import Dispersion, OverdispersedLikelihood


class ZeroInflatedNegativeBinomial(OverdispersedLikelihood):
    r"""Independent counts: zero with probability pi, else negative binomial with mean mu.

    .. math:: P(x|z) = \prod_i \pi_i \mathbf{1}[x_i = 0]
       + (1 - \pi_i) \frac{\Gamma(x_i + r_i)}{\Gamma(r_i)\, x_i!}
       \Bigl(\frac{r_i}{r_i + \mu_i}\Bigr)^{r_i} \Bigl(\frac{\mu_i}{r_i + \mu_i}\Bigr)^{x_i}

    The features of a cell are the logit of pi, the logarithm of mu and, where the dispersion is
    ``per-pixel``, that of the inverse dispersion r; both logarithms as ``negative-binomial`` has them, which
    also says what the dispersion is. The encoder sees what that of ``poisson`` sees.

    Args:
        event_shape: the shape of one datum.
        dispersion: how the inverse dispersion is found.

    Source: Lopez et al., *Deep generative modeling for single-cell transcriptomics* (scVI), 2018, methods.

    Example:
        >>> likelihood = ZeroInflatedNegativeBinomial(torch.Size([1]), dispersion="per-pixel")
        >>> likelihood(torch.zeros(3, 1)).log_prob(torch.zeros(1))  # pi = 1/2, mu = r = 1: log(3/4), in nats
        tensor(-0.2877)
    """

    def __init__(self, event_shape: Size, *, dispersion: Dispersion = "learned") -> None:
        super().__init__(event_shape, dispersion)
        self.features += 1

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        gate_logits, *rest = features.unbind(-1 - len(self.event_shape))
        inflated = counts.ZeroInflatedNegativeBinomial(
            **self.negative_binomial(*rest), gate_logits=gate_logits.double()
        )
        return counts.Counts(inflated, features.dtype).to_event(len(self.event_shape))
