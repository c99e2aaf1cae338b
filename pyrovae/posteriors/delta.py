"""The point posterior: an autoencoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.posteriors import Posterior


class Delta(Posterior):
    r"""A single point, without a density: an autoencoder with the penalty -log p(z).

    .. math:: q(z|x) = \delta\bigl(z - f(x)\bigr)

    The features are the code f(x), d of them. The objective -log p(x|z) - log p(z) is no bound on
    -log p(x), and importance sampling is not defined.

    Args:
        event_shape: (d,), the shape of one code.

    Source: Ghosh et al., *From Variational to Deterministic Autoencoders*, 2020, section 3.

    Example:
        >>> Delta(torch.Size([2]))(torch.tensor([3.0, 4.0])).sample()
        tensor([3., 4.])
    """

    support = constraints.real_vector
    only_own_draws = "it is a point, and has no density anywhere else"
    is_density = False

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.features = event_shape.numel()

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        return dist.Delta(features, event_dim=1)
