"""The planar flow posterior."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Size, Tensor
from torch.distributions import Transform

from pyrovae.distributions.planar import PlanarTransform
from pyrovae.posteriors._flow import AmortizedFlow, Flows


class Planar(AmortizedFlow):
    r"""A diagonal normal, moved by steps across planes that the encoder sets.

    .. math:: z_0 \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \qquad
       z_k = z_{k-1} + \hat{u}_k(x) \tanh\bigl(w_k(x)^\top z_{k-1} + b_k(x)\bigr)

    .. math:: \log q(z_K|x) = \log q(z_0|x) -
       \sum_{k=1}^{K} \log \bigl|1 + \tanh'(w_k^\top z_{k-1} + b_k)\, w_k^\top \hat{u}_k\bigr|

    Each transform has 2d + 1 features. Entries of u, w and b lie between -5 and 5, and the slope along w is
    at least 0.01, which makes every transform invertible.

    Args:
        event_shape: (d,), the shape of one code.
        flows: number K of transforms.

    Source: Rezende and Mohamed, *Variational Inference with Normalizing Flows*, 2015, equations 10 to 13.

    Example:
        >>> Planar(torch.Size([2]), flows=3).features  # 2 d + 3 (2 d + 1)
        19
    """

    only_own_draws = "a planar transform has no inverse in closed form"

    def __init__(self, event_shape: Size, *, flows: Flows = 8) -> None:
        super().__init__(event_shape, flows, parameters=2 * event_shape.numel() + 1)

    def transforms(self, parameters: Sequence[Tensor]) -> list[Transform]:
        return [PlanarTransform(part.split([1, self.size, self.size], dim=-1)) for part in parameters]
