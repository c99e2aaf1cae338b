"""The straight-through relaxed Bernoulli posterior, on binary codes."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor

from pyrovae import supports
from pyrovae.distributions.straight_through import StraightThroughBernoulli
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._temperature import Temperature


class RelaxedBernoulli(Posterior):
    r"""Independent bits whose draws pass the gradient of a relaxed draw on.

    .. math:: \log q(z|x) = \sum_{j=1}^{d} z_j l_j(x) - \log\bigl(1 + e^{l_j(x)}\bigr), \qquad
       \frac{\partial z_j}{\partial l_j} := \frac{\partial}{\partial l_j}
       \operatorname{sigmoid}\Bigl(\frac{l_j + g_j}{\tau}\Bigr), \quad g_j \sim \operatorname{Logistic}(0, 1)

    The features are the logits l, d of them. Codes are exactly 0 or 1 and scored by their mass; only their
    gradient is that of a relaxation, and so biased.

    Args:
        event_shape: (d,), the shape of one code.
        temperature: tau. Lower ones bias the gradient less and make it noisier.

    Source: Maddison, Mnih and Teh, *The Concrete Distribution*, 2017, appendix B; Jang, Gu and Poole,
    *Categorical Reparameterization with Gumbel-Softmax*, 2017, section 2.2.

    Example:
        >>> q = RelaxedBernoulli(torch.Size([3]))(torch.zeros(3))
        >>> q.log_prob(q.rsample()).exp()  # (1 / 2)^3
        tensor(0.1250)
    """

    support = supports.binary_codes
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
        return StraightThroughBernoulli(self.temperature, features).to_event(1)
