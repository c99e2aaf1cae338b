"""The learned flow prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import pyro.distributions as dist
import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.flows import Flow as Transforms
from pyrovae.distributions.flows import affine_autoregressive, affine_coupling, spline_autoregressive
from pyrovae.distributions.normal import Normal
from pyrovae.errors import ConfigError, Problem
from pyrovae.priors import Prior

BINS, BOUND = 8, 5.0


class Flow(Prior):
    r"""Codes that invertible transforms turn into standard normal ones; the transforms are learned.

    .. math:: p(z) = \mathcal{N}(f_K \circ \dots \circ f_1(z);\, 0, I)
       \prod_{k=1}^{K} \left|\det \frac{\partial f_k}{\partial z_{k-1}}\right|, \qquad z_k = f_k(z_{k-1})

    ==================  ==========================================================================
    ``transform``       f, with masked or split networks m, s and theta
    ==================  ==========================================================================
    ``coupling``        m(first half) + exp(s(first half)) times the second half
    ``autoregressive``  m(coordinates before) + exp(s(coordinates before)) times each coordinate
    ``spline``          a monotone spline theta(coordinates before) of each coordinate: 8 rational
                        quadratic pieces between -5 and 5, and the identity elsewhere
    ==================  ==========================================================================

    Scales exp(s) lie between exp(-3) and exp(3). The order of the coordinates is reversed after every
    transform. The density takes one pass through the networks; draws take one with ``coupling``, else d.

    Args:
        latent_dim: number d of latent coordinates; ``coupling`` needs two.
        transform: what one transform does.
        depth: number K of transforms.
        hidden: units of each hidden layer of a network; those of masked ones with fewer than d get d.

    Raises:
        ConfigError: ``coupling`` with one latent coordinate.

    Source: Chen et al., *Variational Lossy Autoencoder*, 2017, section 3.2 (autoregressive); Dinh,
    Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2017 (coupling); Durkan et al., *Neural
    Spline Flows*, 2019 (spline).

    Example:
        >>> bool(Flow(2)(encode=None).log_prob(torch.tensor([0.0, 1e3])).isfinite())
        True
    """

    support = constraints.real_vector
    loc: Tensor
    scale: Tensor
    nothing: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        transform: Annotated[
            Literal["coupling", "autoregressive", "spline"], Field(description="what one transform does")
        ] = "autoregressive",
        depth: Annotated[int, Field(ge=1, description="number of transforms")] = 4,
        hidden: Annotated[
            Sequence[Annotated[int, Field(ge=1)]],
            Field(min_length=1, description="units of each hidden layer of a transform's network"),
        ] = (64, 64),
    ) -> None:
        super().__init__(latent_dim)
        if transform == "coupling" and latent_dim < 2:
            raise ConfigError(
                [
                    Problem(
                        "prior.transform",
                        "'coupling' moves one half of a code by the other, and so needs a latent_dim of at "
                        "least 2; for 1 there are 'autoregressive' and 'spline'",
                    )
                ]
            )
        layers: dict[str, Callable[..., Any]] = {
            "coupling": affine_coupling,
            "autoregressive": affine_autoregressive,
            "spline": partial(spline_autoregressive, bins=BINS, bound=BOUND),
        }
        self.flow = Transforms(latent_dim, [layers[transform](latent_dim, 0, hidden) for _ in range(depth)])
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)
        self.register_buffer("nothing", torch.empty(0), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        base = Normal(self.loc, self.scale).to_event(1)
        to_normal = self.flow.condition(self.nothing)
        return dist.TransformedDistribution(base, [transform.inv for transform in reversed(to_normal)])
