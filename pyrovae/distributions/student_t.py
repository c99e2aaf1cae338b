"""Student's t distribution, which makes its chi-squared one only when it draws."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all
from torch.types import _size


class StudentT(dist.StudentT):
    r"""A normal variable over the root of a chi-squared one by its degrees of freedom.

    .. math:: p(x) = \frac{\Gamma\bigl(\frac{\nu + 1}{2}\bigr)}
       {\sigma \sqrt{\nu \pi}\, \Gamma\bigl(\frac{\nu}{2}\bigr)}
       \Bigl(1 + \frac{(x - \mu)^2}{\nu \sigma^2}\Bigr)^{-(\nu + 1) / 2}

    Torch's class makes the chi-squared distribution, of numbers that it copies to the device, at every
    construction: the processor waits for an accelerator then.

    Args:
        df: degrees of freedom nu, above 0.
        loc: mu.
        scale: sigma, above 0.

    Example:
        >>> zero, one, three = torch.tensor([0.0, 1.0, 3.0])
        >>> StudentT(three, zero, one).log_prob(zero).exp()
        tensor(0.3676)
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        Distribution.__init__(self, self.df.shape, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> StudentT:
        df, loc, scale = (part.expand(Size(batch_shape)) for part in (self.df, self.loc, self.scale))
        return StudentT(df, loc, scale, self._validate_args)

    @property
    def _chi2(self) -> dist.Gamma:
        return dist.Gamma(self.df / 2, torch.full_like(self.df, 0.5))
