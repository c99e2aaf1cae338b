"""The exact categorical posterior, on one-hot codes."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.one_hot import OneHotCategorical
from pyrovae.posteriors import Posterior


class Categorical(Posterior):
    r"""Independent categorical variables, each a site of its own.

    .. math:: q(z|x) = \prod_{j=1}^{d} \prod_{k=1}^{K} \pi_{jk}(x)^{z_{jk}}, \qquad
       \pi_j = \operatorname{softmax}(l_j(x))

    The features are the logits l, dK of them. Draws pass no gradient on: an objective sums the variables out,
    or weighs the gradients of log q(z|x).

    Args:
        event_shape: (d, K), the shape of one code: d variables of K categories.

    Source: Mnih and Gregor, *Neural Variational Inference and Learning in Belief Networks*, 2014.

    Example:
        >>> q = Categorical(torch.Size([3, 4]))(torch.zeros(12))
        >>> q.log_prob(q.sample()).exp()  # (1 / 4)^3
        tensor(0.0156)
    """

    support = supports.one_hot_codes
    has_independent_coordinates = True
    reparameterized = False
    one_site_per_variable = True

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return OneHotCategorical(logits=features.unflatten(-1, self.event_shape)).to_event(1)
