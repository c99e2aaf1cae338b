"""Rényi's bound, between the evidence lower bound and the importance-weighted one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pyrovae.objectives import Need
from pyrovae.objectives._importance import ImportanceBound
from pyrovae.programs import Program


class Renyi(ImportanceBound):
    r"""Rényi's bound, from K draws.

    .. math:: \mathcal{L}_\alpha(x) = \mathbb{E}_{z_1, \dots, z_K \sim q(z|x)}\Bigl[\frac{1}{1 - \alpha}
       \log \frac{1}{K} \sum_{k=1}^{K} \Bigl(\frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}\Bigr)^{1 - \alpha}\Bigr]

    A lower bound of log p(x) for every alpha in [0, 1]: the importance-weighted one at 0, and its limit, the
    ELBO, at 1. Smaller ones cover the posterior, larger ones seek its mode.

    Args:
        program: model and guide.
        particles: K, draws of z for each datum and step.
        alpha: order of the divergence; negative ones are refused, because they bound nothing.

    Source: Li and Turner, *Rényi Divergence Variational Inference*, 2016, equation 14.

    Example:
        >>> torch.isfinite(Renyi(program, alpha=0.5)(x).loss)
        tensor(True)
    """

    needs = frozenset({Need.DENSITY})

    def __init__(
        self,
        program: Program,
        *,
        particles: Annotated[int, Field(ge=1, description="draws of z for each datum and step")] = 5,
        alpha: Annotated[float, Field(ge=0, le=1, description="order of the divergence")] = 0.5,
    ) -> None:
        super().__init__(program, particles=particles, alpha=alpha)
