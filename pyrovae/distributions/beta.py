"""The beta distribution, scored in double precision."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor


class Beta(dist.Beta):
    r"""Beta, with a density that is computed in float64 whatever the type of the data.

    .. math:: \log p(x) = (\alpha - 1) \log x + (\beta - 1) \log(1 - x)
       + \log \Gamma(\alpha + \beta) - \log \Gamma(\alpha) - \log \Gamma(\beta)

    Under large concentrations this is a small difference of large terms: near 10,000, float32 leaves an error
    of a hundredth nat for each cell.

    Args:
        concentration1: alpha, above 0.
        concentration0: beta, above 0.

    Example:
        >>> Beta(torch.tensor(1e4), torch.tensor(1e4)).log_prob(torch.tensor(0.5))
        tensor(4.7259)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x, one, zero = value.double(), self.concentration1.double(), self.concentration0.double()
        log_normalizer = one.lgamma() + zero.lgamma() - (one + zero).lgamma()
        log_prob = torch.xlogy(one - 1, x) + torch.special.xlog1py(zero - 1, -x) - log_normalizer
        return log_prob.to(value.dtype)
