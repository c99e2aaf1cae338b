"""The additive logistic transform, from real vectors onto the simplex."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import log_softmax, pad


class AdditiveLogistic(Transform):
    r"""Log-ratios to the last part -> parts of a whole.

    .. math:: z_j = \frac{e^{y_j}}{1 + \sum_{k=1}^{d-1} e^{y_k}} \;\; (j < d), \qquad
       \log \left|\det \frac{\partial z_{1:d-1}}{\partial y}\right| = \sum_{j=1}^{d} \log z_j

    Parts too small for a float are given as the square root of the smallest one (1e-19 in float32): their
    logarithms and the gradients of these stay finite, where torch's ``StickBreakingTransform`` rounds to 0.

    Source: Aitchison and Shen, *Logistic-normal distributions: Some properties and uses*, 1980, section 1.

    Example:
        >>> AdditiveLogistic()(torch.tensor([0.0, math.log(2.0)]))
        tensor([0.2500, 0.5000, 0.2500])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def forward_shape(self, shape: Size) -> Size:
        return Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Size) -> Size:
        return Size((*shape[:-1], shape[-1] - 1))

    def _call(self, x: Tensor) -> Tensor:
        return _above_smallest(_log_parts(x).exp())

    def _inverse(self, y: Tensor) -> Tensor:
        log_parts = _above_smallest(y).log()
        return log_parts[..., :-1] - log_parts[..., -1:]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _log_parts(x).sum(-1)


def _log_parts(ratios: Tensor) -> Tensor:
    return log_softmax(pad(ratios, (0, 1)), dim=-1)


def _above_smallest(parts: Tensor) -> Tensor:
    return parts.clamp(min=torch.finfo(parts.dtype).tiny ** 0.5)
