"""The straight-through Gumbel-softmax posterior, on one-hot codes."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.straight_through import StraightThroughOneHotCategorical
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._temperature import Temperature


class GumbelSoftmax(Posterior):
    r"""Independent categorical variables whose draws pass the gradient of a relaxed draw on.

    .. math:: q(z|x) = \prod_{j=1}^{d} \prod_{k=1}^{K} \pi_{jk}(x)^{z_{jk}}, \qquad
       \frac{\partial z_j}{\partial l_j} := \frac{\partial}{\partial l_j}
       \operatorname{softmax}\Bigl(\frac{l_j + g_j}{\tau}\Bigr), \quad g_{jk} \sim \operatorname{Gumbel}(0, 1)

    The features are the logits l, dK of them. Codes are exactly one-hot and scored by their mass; only their
    gradient is that of a relaxation, and so biased.

    Args:
        event_shape: (d, K), the shape of one code: d variables of K categories.
        temperature: tau. Lower ones bias the gradient less and make it noisier.

    Source: Jang, Gu and Poole, *Categorical Reparameterization with Gumbel-Softmax*, 2017, section 2.2.

    Example:
        >>> q = GumbelSoftmax(torch.Size([3, 4]))(torch.zeros(12))
        >>> q.log_prob(q.rsample()).exp()  # (1 / 4)^3
        tensor(0.0156)
    """

    support = supports.one_hot_codes
    has_independent_coordinates = True

    def __init__(
        self,
        event_shape: Size,
        *,
        temperature: Temperature = 1.0,
    ) -> None:
        super().__init__(event_shape)
        self.temperature = temperature
        self.features = event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        logits = features.unflatten(-1, self.event_shape)
        return StraightThroughOneHotCategorical(self.temperature, logits).to_event(1)
