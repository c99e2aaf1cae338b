"""The logistic distribution, whose draws are finite."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.types import _size


class Logistic(dist.Logistic):
    r"""Logistic, with draws that are finite, where one in 17 million of Pyro's class is minus infinity.

    .. math:: x = m + s \log \frac{u}{1 - u}, \qquad u \sim \mathcal{U}(0, 1)

    Random numbers of torch may be 0: they are multiples of half the precision of their type. Here a 0 is the
    first of these multiples.

    Args:
        loc: m.
        scale: s.

    Example:
        >>> Logistic(torch.zeros(()), torch.ones(())).rsample((10,)).isfinite().all()
        tensor(True)
    """

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u.clamp(min=torch.finfo(u.dtype).eps / 2))
