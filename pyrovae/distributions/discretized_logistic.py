"""Logistic distributions cut into evenly spaced grey values, and mixtures of them; know no likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from pyrovae.supports import Levels


class DiscretizedLogistic(TorchDistribution):
    r"""A logistic distribution, rounded to the nearest of K levels from 0 to 1; the ends take the tails.

    .. math:: P(x_k) = \sigma\Bigl(\frac{x_k + h/2 - m}{s}\Bigr) - \sigma\Bigl(\frac{x_k - h/2 - m}{s}\Bigr),
       \qquad x_k = k h, \quad h = \frac{1}{K - 1}

    The left sigmoid is 1 at the last level, the right one 0 at the first. With a and b for their arguments,

    .. math:: \log\bigl(\sigma(a) - \sigma(b)\bigr) = \log \sigma(a) + \log \sigma(-b) + \log(1 - e^{b - a})

    holds exactly, and is computed without a difference: all three terms are negative.

    Args:
        loc: m, in the unit of the data.
        scale: s, in the unit of the data.
        levels: number K of levels.

    Source: Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equation 2.

    Example:
        >>> p = DiscretizedLogistic(torch.tensor(0.5), torch.tensor(0.1), levels=2)
        >>> p.log_prob(torch.tensor([0.0, 1.0])).exp()
        tensor([0.5000, 0.5000])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(
        self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The step between levels, times the sum of the probabilities to lie above each boundary."""
        above = torch.zeros_like(self.loc)
        for level in range(self.levels - 1):  # one at a time: there can be a million cells
            above = above + torch.sigmoid((self.loc - self._boundary_above(level)) / self.scale)
        return above / (self.levels - 1)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> DiscretizedLogistic:
        loc, scale = self.loc.expand(*batch_shape), self.scale.expand(*batch_shape)
        return DiscretizedLogistic(loc, scale, self.levels, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        level = (value * (self.levels - 1)).round()
        first, last = level == 0, level == self.levels - 1
        log_below = logsigmoid((self._boundary_above(level) - self.loc) / self.scale)
        log_above = logsigmoid((self.loc - self._boundary_above(level - 1)) / self.scale)
        log_between = (-torch.expm1(-1 / ((self.levels - 1) * self.scale))).log()
        return (
            log_below.masked_fill(last, 0.0)
            + log_above.masked_fill(first, 0.0)
            + torch.where(first | last, 0.0, log_between)
        )

    def icdf(self, value: Tensor) -> Tensor:
        continuous = self.loc + self.scale * torch.logit(value)
        return (continuous * (self.levels - 1)).clamp(0, self.levels - 1).round() / (self.levels - 1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(Size(sample_shape))
            return self.icdf(torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def _boundary_above(self, level: Any) -> Any:
        """Half-way between a level and the next one."""
        return (level + 0.5) / (self.levels - 1)


class DiscretizedLogisticMixture(TorchDistribution):
    r"""Mixtures of discretised logistics, one for each pixel, whose component all channels share.

    .. math:: P(x) = \prod_i \sum_j \pi_{ij} \prod_c P\bigl(x_{ic} \mid m_{ijc}(x_{i1}, \dots, x_{i,c-1}),
       s_{ijc}\bigr), \qquad
       m_{ijc} = \mu_{ijc} + \sum_{d < c} \alpha_{ijcd} \bigl(x_{id} - \tfrac{1}{2}\bigr)

    The mean is exact for channels that depend on no other. Where one does, its mean given a component takes
    the channels before it at their means, which is inexact by what the dependence sends beyond the ends.

    Args:
        logits: of the weights, (..., components, pixels), any real numbers.
        loc: (..., components, channels, pixels), in the unit of the data.
        scale: (..., components, channels, pixels), in the unit of the data.
        coefficients: (..., components, pairs of channels, pixels), of the second channel on the first one, of
            the third on the first and on the second, and so on; ``None`` for none.
        event_shape: shape of a datum, which has as many numbers as channels and pixels together.
        levels: number of levels.

    Source: Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equations 2 and 3.

    Example:
        >>> logits, loc = torch.zeros(5, 64), torch.full((5, 3, 64), 0.5)
        >>> p = DiscretizedLogisticMixture(logits, loc, loc, None, Size([3, 8, 8]))
        >>> p.sample().shape
        torch.Size([3, 8, 8])
    """

    arg_constraints = {}

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        coefficients: Tensor | None,
        event_shape: Size,
        levels: int = 256,
        validate_args: bool | None = None,
    ) -> None:
        self.log_weights = logits.log_softmax(-2)
        self.loc = loc
        self.scale = scale
        self.coefficients = coefficients
        self.levels = levels
        super().__init__(loc.shape[:-3], event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(Levels(self.levels), len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        means: list[Tensor] = []
        for channel in range(self.loc.shape[-2]):
            means.append(self._channel(channel, means).mean)
        weights = self.log_weights.exp().unsqueeze(-2)
        return (weights * torch.stack(means, dim=-2)).sum(-3).reshape(self.batch_shape + self.event_shape)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> DiscretizedLogisticMixture:
        def expanded(parameter: Tensor, event_dim: int) -> Tensor:
            return parameter.expand(Size(batch_shape) + parameter.shape[parameter.dim() - event_dim :])

        return DiscretizedLogisticMixture(
            expanded(self.log_weights, 2),
            expanded(self.loc, 3),
            expanded(self.scale, 3),
            None if self.coefficients is None else expanded(self.coefficients, 3),
            self.event_shape,
            self.levels,
            self._validate_args,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        leading = value.shape[: value.dim() - len(self.event_shape)]
        channels = value.reshape(*leading, 1, *self.loc.shape[-2:]).unbind(-2)
        given_component = sum(
            self._channel(index, channels[:index]).log_prob(channel) for index, channel in enumerate(channels)
        )
        return (self.log_weights + given_component).logsumexp(-2).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            leading = Size(sample_shape) + self.batch_shape
            chosen = dist.Categorical(logits=self.log_weights.mT).sample(Size(sample_shape))
            component = self.expand(leading)._component(chosen)
            noise = torch.rand(component.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
            channels: list[Tensor] = []
            for index, uniform in enumerate(noise.unbind(-2)):
                channels.append(component._channel(index, channels).icdf(uniform))
            return torch.stack(channels, dim=-2).reshape(leading + self.event_shape)

    def _component(self, index: Tensor) -> DiscretizedLogisticMixture:
        """The component that an index, (..., pixels), names for each pixel: a mixture of only one."""

        def chosen(parameter: Tensor) -> Tensor:
            return parameter.take_along_dim(index[..., None, None, :], dim=-3)

        return DiscretizedLogisticMixture(
            torch.zeros_like(index[..., None, :], dtype=self.loc.dtype),
            chosen(self.loc),
            chosen(self.scale),
            None if self.coefficients is None else chosen(self.coefficients),
            self.event_shape,
            self.levels,
        )

    def _channel(self, index: int, before: Sequence[Tensor]) -> DiscretizedLogistic:
        """A channel given those before it, (..., components, pixels)."""
        loc = self.loc[..., index, :]
        if self.coefficients is not None:
            pairs = range(index * (index - 1) // 2, index * (index + 1) // 2)
            for pair, channel in zip(pairs, before, strict=True):
                loc = loc + self.coefficients[..., pair, :] * (channel - 0.5)
        return DiscretizedLogistic(loc, self.scale[..., index, :], self.levels)
