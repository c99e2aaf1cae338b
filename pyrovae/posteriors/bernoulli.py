"""The exact Bernoulli posterior, on binary codes."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.posteriors import Posterior


class Bernoulli(Posterior):
    r"""Independent bits, each a site of its own.

    .. math:: \log q(z|x) = \sum_{j=1}^{d} z_j l_j(x) - \log\bigl(1 + e^{l_j(x)}\bigr), \quad z_j \in \{0, 1\}

    The features are the logits l, d of them. Draws pass no gradient on: an objective sums the bits out, or
    weighs the gradients of log q(z|x).

    Args:
        event_shape: (d,), the shape of one code.

    Source: Mnih and Gregor, *Neural Variational Inference and Learning in Belief Networks*, 2014.

    Example:
        >>> q = Bernoulli(torch.Size([3]))(torch.zeros(3))
        >>> q.log_prob(q.sample()).exp()  # (1 / 2)^3
        tensor(0.1250)
    """

    support = supports.binary_codes
    has_independent_coordinates = True
    reparameterized = False
    one_site_per_variable = True

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=features).to_event(1)
