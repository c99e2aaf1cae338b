"""Invertible transforms whose parameters are learned functions of a context; know no component."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyro.distributions.transforms as transforms
import torch
from pyro.distributions.conditional import ConditionalTransformModule
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN
from torch import Tensor, nn
from torch.distributions import Transform

from pyrovae.distributions.bounded import bounded

LARGEST_LOG_SCALE = 3.0
LARGEST_KNOT = 2.0
"""Of the logits of widths and heights of a spline's pieces, and of the slopes between them."""

UNIT_SLOPE = math.log(math.e - 1.0)  # softplus(UNIT_SLOPE) = 1
START = 0.01  # of the last layer's weights: nearly the identity, and yet gradients reach the layers before it


class Flow(nn.Module):
    """Conditional transforms one after the other, with the coordinates in reverse order after each.

    Transforms remember what they last computed, with its graph. Hence none is kept: every call of
    :meth:`condition` makes them anew, and a module with a flow can be copied and saved.

    Args:
        size: number of coordinates.
        layers: the conditional transforms.

    Example:
        >>> flow = Flow(2, [affine_coupling(2, context=3, hidden=[16]) for _ in range(4)])
        >>> [type(transform).__name__ for transform in flow.condition(torch.zeros(3))][:2]
        ['AffineCoupling', 'Permute']
    """

    layers: Any
    reversal: Tensor

    def __init__(self, size: int, layers: Iterable[ConditionalTransformModule]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("reversal", torch.arange(size).flip(0), persistent=False)

    def condition(self, context: Tensor) -> list[Transform]:
        """The transforms for a context, (..., context size)."""
        return [
            transform
            for layer in self.layers
            for transform in (layer.condition(context), transforms.Permute(self.reversal))
        ]


def affine_coupling(size: int, context: int, hidden: Sequence[int]) -> ConditionalTransformModule:
    r"""The second half of the coordinates, shifted and scaled by functions of the first half.

    .. math:: y_{1:h} = x_{1:h}, \qquad
       y_{h+1:d} = \mu(x_{1:h}, c) + e^{s(x_{1:h}, c)} \odot x_{h+1:d}, \qquad |s| < 3

    Args:
        size: number d of coordinates, at least two; h is half of it, rounded down.
        context: size of the context c.
        hidden: units of each hidden layer.

    Source: Dinh, Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2017, equations 4 and 5.
    """
    half = size // 2
    return transforms.ConditionalAffineCoupling(
        half,
        _started(_CouplingNetwork(half, context, list(hidden), [size - half] * 2, nonlinearity=nn.Tanh())),
    )


def affine_autoregressive(size: int, context: int, hidden: Sequence[int]) -> ConditionalTransformModule:
    r"""Each coordinate, shifted and scaled by functions of those before it.

    .. math:: y_j = \mu_j(x_{1:j-1}, c) + e^{s_j(x_{1:j-1}, c)}\, x_j, \qquad |s_j| < 3

    The inverse takes d passes through the network.

    Args:
        size: number d of coordinates.
        context: size of the context c.
        hidden: units of each hidden layer; layers with fewer than d get d.

    Source: Kingma et al., *Improved Variational Inference with Inverse Autoregressive Flow*, 2016,
    equation 10.
    """
    return transforms.ConditionalAffineAutoregressive(_masked(_AffineNetwork, size, context, hidden, [1, 1]))


def spline_autoregressive(
    size: int, context: int, hidden: Sequence[int], bins: int, bound: float
) -> ConditionalTransformModule:
    r"""Each coordinate, bent by a monotone spline that is a function of those before it.

    .. math:: y_j = g(x_j;\, \theta_j(x_{1:j-1}, c))

    Splines are rational quadratic, with continuous slopes, and the identity outside of (-bound, bound). The
    inverse takes d passes through the network.

    Args:
        size: number d of coordinates.
        context: size of the context c.
        hidden: units of each hidden layer; layers with fewer than d get d.
        bins: number of pieces of each spline.
        bound: where splines end.

    Source: Durkan, Bekasov, Murray and Papamakarios, *Neural Spline Flows*, 2019, sections 3.1 and 3.2.
    """
    network = _masked(_SplineNetwork, size, context, hidden, [bins, bins, bins - 1])
    return transforms.ConditionalSplineAutoregressive(
        size, network, count_bins=bins, bound=bound, order="quadratic"
    )


class _CouplingNetwork(ConditionalDenseNN):
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = super().forward(x, context)
        return shift, bounded(log_scale, LARGEST_LOG_SCALE)


class _AffineNetwork(ConditionalAutoRegressiveNN):
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = super().forward(x, context)
        return shift, bounded(log_scale, LARGEST_LOG_SCALE)


class _SplineNetwork(ConditionalAutoRegressiveNN):
    """Unbounded slopes would differ so much that float32 loses the space between two knots."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        widths, heights, slopes = (bounded(logits, LARGEST_KNOT) for logits in super().forward(x, context))
        return widths, heights, slopes + UNIT_SLOPE


def _masked(
    network: Callable[..., Any], size: int, context: int, hidden: Sequence[int], outputs: Sequence[int]
) -> Any:
    """A network whose outputs for a coordinate depend on the coordinates before it."""
    units = [max(units, size) for units in hidden]  # with fewer, some coordinates would depend on none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one coordinate depends on none, and that is right
        made = network(
            size, context, units, list(outputs), permutation=torch.arange(size), nonlinearity=nn.Tanh()
        )
    del made.permutation  # a buffer, whose values the inverse would read: no graph could be made of it
    made.permutation = range(size)
    return _started(made)


def _started(network: Any) -> Any:
    """The network, with outputs near 0."""
    with torch.no_grad():
        network.layers[-1].weight *= START
        network.layers[-1].bias.zero_()
    return network
