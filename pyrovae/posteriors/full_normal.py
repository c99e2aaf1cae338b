"""The normal posterior with a full covariance."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae.distributions.cholesky_normal import CholeskyNormal
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive


class FullNormal(Posterior):
    r"""A normal distribution with any covariance, by its Cholesky factor.

    .. math:: q(z|x) = \mathcal{N}\bigl(z;\, \mu(x), L(x) L(x)^\top\bigr), \qquad
       L = \operatorname{diag}(\sigma) (I + A), \quad A_{ij} = \operatorname{arsinh} a_{ij}(x) \;\; (i > j)

    The features are (mu, s, a), d + d (d + 1) / 2 of them, with the scales sigma from s as the ``normal``
    posterior has them. The arsinh reaches every factor, and keeps those of features of 1000 below 8: they can
    still be inverted.

    Args:
        event_shape: (d,), the shape of one code.

    Source: Kingma and Welling, *An Introduction to Variational Autoencoders*, 2019, section 2.5.1.

    Example:
        >>> FullNormal(torch.Size([2]))(torch.tensor([0.0, 0.0, 0.0, 0.0, math.sinh(1.0)])).covariance_matrix
        tensor([[1.0000, 1.0000],
                [1.0000, 2.0000]])
    """

    support = constraints.real_vector

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        self.d = d = event_shape.numel()
        self.sizes = [d, d, d * (d - 1) // 2]
        self.features = sum(self.sizes)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        loc, unbounded, entries = features.split(self.sizes, dim=-1)
        factor = torch.ones_like(loc).diag_embed()
        below = torch.tril_indices(self.d, self.d, offset=-1, device=factor.device)
        factor[..., *below] = entries.asinh()
        return CholeskyNormal(loc, scale_tril=positive(unbounded).unsqueeze(-1) * factor)
