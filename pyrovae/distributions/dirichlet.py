"""The Dirichlet distribution, finite next to the boundary of the simplex."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.types import _size


class Dirichlet(dist.Dirichlet):
    r"""Dirichlet with draws that stay inside the simplex, and a density that is finite on its boundary.

    .. math:: p(z) = \frac{\Gamma\bigl(\sum_j \alpha_j\bigr)}{\prod_j \Gamma(\alpha_j)}
       \prod_{j=1}^{d} z_j^{\alpha_j - 1}

    The density is infinite or zero where a coordinate is 0, as rounding makes it under small concentrations.
    Coordinates are therefore taken to be at least 1e-32 (2e-302 in float64), a million times the smallest
    normal number, so that their reciprocals, which are in the gradient, are far from overflow.

    Args:
        concentration: alpha, (..., d), above 0.

    Source: Devroye, *Non-Uniform Random Variate Generation*, 1986, sections IX.3 and XI.4.

    Example:
        >>> Dirichlet(torch.tensor([0.5, 0.5])).log_prob(torch.tensor([0.0, 1.0])).isfinite()
        tensor(True)
    """

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        r"""Normalised gamma variables, by their logarithms, which small concentrations do not underflow.

        .. math:: \log \text{Gamma}(\alpha) = \log \text{Gamma}(\alpha + 1) - \text{Exponential}(1) / \alpha
        """
        concentration = self.concentration.expand(self._extended_shape(sample_shape))
        exponential = torch.empty_like(concentration).exponential_()
        log_gamma = torch._standard_gamma(concentration + 1).log() - exponential / concentration
        return _inside(log_gamma.softmax(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return super().log_prob(_inside(value))


def _inside(value: Tensor) -> Tensor:
    return value.clamp(min=1e6 * torch.finfo(value.dtype).tiny)
