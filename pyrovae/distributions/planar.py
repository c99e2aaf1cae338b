"""The planar transform, with parameters of any size, zero with them."""

from __future__ import annotations

from pyro.distributions.transforms.planar import ConditionedPlanar
from torch import Tensor, finfo
from torch.nn.functional import celu

SMALLEST_SLOPE = 0.01


class PlanarTransform(ConditionedPlanar):
    r"""A step along u across the plane w'x + b = 0.

    .. math:: y = x + \hat{u} \tanh(w^\top x + b), \qquad
       \hat{u} = u + \frac{m(w^\top u) - w^\top u}{\|w\|^2}\, w, \qquad
       m(a) = \begin{cases} a & a \ge 0 \\ c\, (e^{a / c} - 1) & a < 0 \end{cases}, \qquad c = 0.99

    Like every m > -1, this one makes the transform invertible. The paper's m, which Pyro has, is a softplus:
    it moves points although u = 0, and by infinitely much where w = 0. Here u = 0 is the identity for every
    w, and no slope lies below 0.01. The inverse has no closed form: a distribution scores its own last draw.

    Args:
        params: (b, u, w) of shapes (..., 1), (..., d), (..., d).

    Source: Rezende and Mohamed, *Variational Inference with Normalizing Flows*, 2015, equation 10 and
    appendix A.1.

    Example:
        >>> b, u, w = torch.zeros(1), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])
        >>> PlanarTransform((b, u, w))(torch.tensor([100.0, 2.0]))
        tensor([101.,   2.])
    """

    def u_hat(self, u: Tensor, w: Tensor) -> Tensor:
        product = (u * w).sum(-1, keepdim=True)
        squared_norm = w.square().sum(-1, keepdim=True).clamp(min=finfo(w.dtype).tiny)
        return u + (celu(product, 1 - SMALLEST_SLOPE) - product) * w / squared_norm
