"""The normal distribution, with a log-probability in half of torch's operations."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Normal(dist.Normal):
    r"""Torch's normal distribution, whose score takes three passes over the values, and torch's seven.

    .. math:: \log p(x) = -\tfrac{1}{2} \Bigl(\frac{x - \mu}{\sigma}\Bigr)^2 - \log \sigma
       - \tfrac{1}{2} \log 2\pi

    Args:
        loc: mu.
        scale: sigma, above 0.

    Example:
        >>> Normal(torch.zeros(2), torch.ones(2)).log_prob(torch.tensor([0.0, 1.0]))
        tensor([-0.9189, -1.4189])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = (value - self.loc) / self.scale
        log_volume = _unexpanded(self.scale).log() + LOG_ROOT_TWO_PI  # not once more for each draw of a datum
        return torch.addcmul(-log_volume, distance, distance, value=-0.5)


def _unexpanded(tensor: Tensor) -> Tensor:
    """A tensor with one of the equal numbers in every dimension that it was expanded to."""
    for dim, stride in enumerate(tensor.stride()):
        if stride == 0:
            tensor = tensor.narrow(dim, 0, min(1, tensor.shape[dim]))
    return tensor
