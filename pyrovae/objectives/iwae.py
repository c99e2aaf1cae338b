"""The importance-weighted bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from pyrovae.objectives import Need
from pyrovae.objectives._importance import ImportanceBound
from pyrovae.programs import Program

Gradient = Annotated[
    Literal["total", "doubly-reparameterised"],
    Field(description="as it is, or without the score of q(z|x), whose noise grows with the particles"),
]


class Iwae(ImportanceBound):
    r"""The importance-weighted bound: the logarithm of a mean of K weights.

    .. math:: \mathcal{L}_K(x) = \mathbb{E}_{z_1, \dots, z_K \sim q(z|x)}\Bigl[
       \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}\Bigr]

    A lower bound of log p(x) that rises with K; with K = 1 it is the ELBO. Its KL has no weight: that would
    make it no bound. Where draws have no gradient, that of log q(z|x) is weighed with what each draw adds.

    Args:
        program: model and guide.
        particles: K, draws of z for each datum and step.
        gradient: ``doubly-reparameterised`` for the encoder's gradient without the score of q(z|x): the same
            in expectation, with a signal that does not fade as K grows.

    Raises:
        ConfigError: when called, ``doubly-reparameterised`` for codes of several sites.

    Source: Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders*, 2016, equation 8. Gradients:
    Tucker, Lawson, Gu and Maddison, *Doubly Reparameterized Gradient Estimators*, 2019; without gradients
    through draws: Mnih and Rezende, *Variational Inference for Monte Carlo Objectives*, 2016.

    Example:
        >>> bool(Iwae(program, particles=50)(x).loss < Iwae(program, particles=1)(x).loss)
        True
    """

    needs = frozenset({Need.DENSITY})

    def __init__(
        self,
        program: Program,
        *,
        particles: Annotated[int, Field(ge=1, description="draws of z for each datum and step")] = 5,
        gradient: Gradient = "total",
    ) -> None:
        super().__init__(program, particles=particles, alpha=0.0, doubly=gradient != "total")

    @classmethod
    def needs_of_options(cls, options: Mapping[str, Any]) -> list[tuple[str, Need]]:
        if options["gradient"] == "total":
            return []
        return [("gradient", Need.GRADIENTS), ("gradient", Need.ANY_VALUE)]
