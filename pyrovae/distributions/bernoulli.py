"""The Bernoulli distribution of many cells, scored together; knows no likelihood and no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
from torch import Size, Tensor
from torch.autograd import Function
from torch.linalg import vecdot
from torch.nn import Parameter

AT_ONCE = 8
"""Cells under one logarithm: their sigmoids are 1/2 at least, and so their product is far from 0."""

PLAIN = {Tensor, Parameter}
"""Tensors that carry nothing besides their numbers."""


class Bernoulli(dist.Bernoulli):
    r"""Two values, 0 and 1, from a logit l.

    .. math:: \log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i})
       = \sum_i (x_i - \tfrac{1}{2})\, l_i - \tfrac{1}{2} |l_i| - \log \prod_i (1 + e^{-|l_i|})

    Torch's takes a ``log1p`` of an exponential for every cell, and differentiates it step by step. Here a
    logarithm is taken of eight cells at a time. In float32 a factor near 1 is rounded by 6e-8, and its
    logarithm as well: the sum over cells is rounded by as much anyway.

    Args:
        logits: l, any real numbers.

    Example:
        >>> Bernoulli(logits=torch.tensor([0.0, 30.0])).to_event(1).log_prob(torch.ones(2))
        tensor(-0.6931)
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Bernoulli:
        return Bernoulli(self.logits.expand(Size(batch_shape)), self._validate_args)

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> dist.TorchDistribution:
        """The last dimensions, all of them where nothing is said, as those of one event."""
        dims = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return _Cells(self, dims) if dims else self


class _Cells(dist.Independent):
    """Bernoulli cells of one event."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Of grey values in [0, 1], where they are not refused: minus the binary cross-entropy."""
        if self.base_dist._validate_args:
            self.base_dist._validate_sample(value)
        logits, start = self.base_dist.logits, -self.reinterpreted_batch_ndims
        logits, value = logits.flatten(start), value.flatten(start)
        if not {type(logits), type(value)} <= PLAIN:  # Pyro's provenance would be lost on the way
            return _score(logits, value)
        return _Score.apply(logits, value)


def _score(logits: Tensor, value: Tensor) -> Tensor:
    """The score of the cells in the last dimension.

    Of what is as large as the logits, little is kept at a time: new memory costs more than a logarithm.
    """
    size = logits.abs()
    linear = vecdot(value - 0.5, logits) - 0.5 * size.sum(-1)
    factors = size.sigmoid_()
    rest = factors.shape[-1] % AT_ONCE
    products = factors[..., rest:].unflatten(-1, (AT_ONCE, -1)).prod(-2)
    score = linear + products.log().sum(-1)
    return score + factors[..., :rest].log().sum(-1) if rest else score


class _Score(Function):
    """The score, and its gradient x - sigmoid(l), which takes a fraction of a step-by-step one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, value: Tensor) -> Tensor:
        return _score(logits, value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        logits, value = ctx.saved_tensors
        of_logits, of_value = ctx.needs_input_grad
        gradient = gradient.unsqueeze(-1)
        return (
            (gradient * (value - logits.sigmoid())).sum_to_size(logits.shape) if of_logits else None,
            (gradient * logits).sum_to_size(value.shape) if of_value else None,
        )
