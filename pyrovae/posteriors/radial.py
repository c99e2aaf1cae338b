"""The radial flow posterior."""

from __future__ import annotations

from collections.abc import Sequence

from pyro.distributions.transforms.radial import ConditionedRadial
from torch import Size, Tensor
from torch.distributions import Transform

from pyrovae.posteriors._flow import AmortizedFlow, Flows


class Radial(AmortizedFlow):
    r"""A diagonal normal, pulled towards points or pushed away from them, as the encoder sets.

    .. math:: z_0 \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \qquad
       z_k = z_{k-1} + \frac{\beta_k(x)}{\alpha_k(x) + r_k}\, (z_{k-1} - c_k(x)), \qquad
       r_k = \|z_{k-1} - c_k(x)\|

    .. math:: \alpha = \log(1 + e^{a}), \qquad \beta = \log(1 + e^{a + b}) - \alpha > -\alpha

    Each transform has the d + 2 features (c, a, b). Entries lie between -5 and 5; b = 0 is the identity, and
    b below 0 pulls.

    Args:
        event_shape: (d,), the shape of one code.
        flows: number K of transforms.

    Source: Rezende and Mohamed, *Variational Inference with Normalizing Flows*, 2015, equation 14 and
    appendix A.2.

    Example:
        >>> Radial(torch.Size([2]), flows=3).features  # 2 d + 3 (d + 2)
        16
    """

    only_own_draws = "the inverse of a radial transform is not implemented in Pyro"

    def __init__(self, event_shape: Size, *, flows: Flows = 8) -> None:
        super().__init__(event_shape, flows, parameters=event_shape.numel() + 2)

    def transforms(self, parameters: Sequence[Tensor]) -> list[Transform]:
        parts = (part.split([self.size, 1, 1], dim=-1) for part in parameters)
        return [ConditionedRadial((centre, a, a + b)) for centre, a, b in parts]
