"""The continuous Bernoulli distribution, with the right normaliser for every logit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

NEAR_ZERO = 0.25
"""Logits smaller than this have series, where a quotient would lose the digits of its gradient."""

LOG_DENSITY_SERIES = (-1 / 24, 1 / 2880, -1 / 181440, 1 / 9676800, -1 / 479001600)
MEAN_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)

# Gauss-Legendre quadrature on (0, 1).
NODES = (0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263)
WEIGHTS = (0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692)


class ContinuousBernoulli(TorchDistribution):
    r"""A density on [0, 1] that is an exponential function, or flat.

    .. math:: \log p(x) = x l + \log \frac{l}{e^l - 1}, \qquad
       \mathbb{E}[x] = \frac{1}{1 - e^{-l}} - \frac{1}{l}

    It is the Bernoulli formula for any x in [0, 1], and the normaliser that makes this a density. Torch's
    class holds the probability :math:`1 / (1 + e^{-l})` away from 1 by the precision of its type in the
    normaliser alone: in float32, its density integrates to 0.80 at the logit 20.

    Nothing here overflows, or cancels: with t = \|l\|, the density at the end where it is largest is
    :math:`t / (1 - e^{-t})`, and it falls by a factor of :math:`e^{-t}` from there to the other end. Near
    l = 0, where such quotients lose digits, there are series, and for the quantile function the integral

    .. math:: F^{-1}(u) = \frac{\log(1 + u (e^l - 1))}{l} = \int_0^1 \frac{u}{u + (1 - u) e^{-l s}} \, ds

    Args:
        logits: l, any real numbers.

    Source: Loaiza-Ganem and Cunningham, *The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders*, 2019, equations 5 to 8, in terms of the logit.

    Example:
        >>> p = ContinuousBernoulli(torch.tensor([0.0, -20.0]))
        >>> p.log_prob(torch.zeros(2)).exp(), p.mean
        (tensor([ 1., 20.]), tensor([0.5000, 0.0500]))
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        is_small, small, t, end = self._parts()
        near = 0.5 + small * _polynomial(small.square(), MEAN_SERIES)
        from_end = 1 / t - (-t).exp() / -torch.expm1(-t)
        return torch.where(is_small, near, (end - from_end).abs())

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ContinuousBernoulli:
        return ContinuousBernoulli(self.logits.expand(*batch_shape), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """From the log-density in the middle for small logits, at the end where it is largest for others."""
        if self._validate_args:
            self._validate_sample(value)
        is_small, small, t, end = self._parts()
        square = small.square()
        in_middle = square * _polynomial(square, LOG_DENSITY_SERIES)
        at_end = (t / -torch.expm1(-t)).log()
        return self.logits * (value - end.masked_fill(is_small, 0.5)) + torch.where(
            is_small, in_middle, at_end
        )

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which a given part of the probability lies."""
        is_small, small, t, end = self._parts()
        near = sum(
            weight * value / (value + (1 - value) * (-small * node).exp())
            for node, weight in zip(NODES, WEIGHTS, strict=True)
        )
        part = (end - value).abs()
        rest = (1 - end - value).abs()  # 1 - part, without its rounding
        log_rest = torch.where(
            part < 0.5,
            torch.log1p(part.clamp(max=0.5) * torch.expm1(-t)),
            torch.log(rest + part * torch.exp(-t)),
        )
        from_end = (-log_rest / t).clamp(max=1)
        return torch.where(is_small, near, (end - from_end).abs()).clamp(0, 1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        # Zero has no finite gradient; the next number that torch may draw has.
        return self.icdf(u.clamp(min=torch.finfo(u.dtype).eps / 2))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which logits are small; those, or 0; sizes t of the others, or 1; the end with the larger density.

        Neither formula sees logits meant for the other one, where its gradient may be no number.
        """
        is_small = self.logits.abs() < NEAR_ZERO
        small = self.logits.masked_fill(~is_small, 0.0)
        t = self.logits.abs().masked_fill(is_small, 1.0)
        return is_small, small, t, (self.logits > 0).to(self.logits.dtype)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum of c_k x^k, by Horner's rule."""
    result = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = coefficient + x * result
    return result
