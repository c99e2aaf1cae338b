"""The Bernoulli likelihood, for binary data."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.bernoulli import Bernoulli as BernoulliDistribution
from pyrovae.likelihoods import Likelihood


class Bernoulli(Likelihood):
    r"""Independent binary cells; the decoder gives logits l(z).

    .. math:: \log p(x|z) = \sum_i x_i l_i(z) - \log\bigl(1 + e^{l_i(z)}\bigr), \qquad x_i \in \{0, 1\}

    On grey values in [0, 1] the same formula is the negative binary cross-entropy: a training signal, but no
    log-likelihood.

    Args:
        event_shape: the shape of one datum.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, appendix C.1.

    Example:
        >>> Bernoulli(torch.Size([3]))(torch.zeros(1, 3)).log_prob(torch.ones(3))  # 3 log(1/2), in nats
        tensor(-2.0794)
    """

    support = constraints.boolean
    tolerated = constraints.unit_interval

    def forward(self, features: Tensor) -> TorchDistribution:
        logits = features.squeeze(-1 - len(self.event_shape))
        # Values are checked against the support once, before training; here grey ones must pass.
        return BernoulliDistribution(logits, validate_args=False).to_event(len(self.event_shape))
