"""The Sylvester flow posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Size, Tensor
from torch.distributions import Transform

from pyrovae.distributions.bounded import bounded
from pyrovae.distributions.sylvester import SylvesterTransform, cayley, cayley_parameters, householder
from pyrovae.posteriors._flow import AmortizedFlow, Flows

LARGEST_DIAGONAL = 0.99  # of R and of R~, whose product has to stay above -1


class Sylvester(AmortizedFlow):
    r"""A diagonal normal, moved by nonlinear steps in several directions at once.

    .. math:: z_0 \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \qquad
       z_k = z_{k-1} + Q_k R_k \tanh(\tilde{R}_k Q_k^\top z_{k-1} + b_k)

    .. math:: \log q(z_K|x) = \log q(z_0|x) - \sum_{k=1}^{K} \sum_{m=1}^{M}
       \log \bigl(1 + \tanh'(\tilde{R}_k Q_k^\top z_{k-1} + b_k)_m\, r_{k,mm}\, \tilde{r}_{k,mm}\bigr)

    The encoder gives the upper triangular R and R~, b, and of Q what the variant leaves open. Entries lie
    between -5 and 5, on the diagonals between -0.99 and 0.99, which makes every transform invertible.

    ===============  ========================================================================================
    ``variant``      Q
    ===============  ========================================================================================
    ``orthogonal``   M orthonormal columns, by the Cayley transform of a skew-symmetric matrix from the
                     encoder; exact, whereas the iteration of the paper only converges
    ``householder``  d x d, a product of reflections from the encoder
    ``triangular``   d x d, fixed: the identity and the reversal of the coordinates in turn
    ===============  ========================================================================================

    Args:
        event_shape: (d,), the shape of one code.
        variant: how Q is made.
        flows: number K of transforms.
        rank: number M of columns of an orthogonal Q; at most d of them are used.
        reflections: number of reflections that a Householder Q consists of.

    Source: van den Berg, Hasenclever, Tomczak and Welling, *Sylvester Normalizing Flows for Variational
    Inference*, 2018, equations 8 to 15.

    Example:
        >>> Sylvester(torch.Size([3]), variant="triangular", flows=1).features  # 2 d + d (d + 2)
        21
    """

    only_own_draws = "a Sylvester transform has no inverse in closed form"

    def __init__(
        self,
        event_shape: Size,
        *,
        variant: Annotated[
            Literal["orthogonal", "householder", "triangular"],
            Field(description="how the orthonormal matrix Q is made"),
        ] = "householder",
        flows: Flows = 4,
        rank: Annotated[
            int, Field(ge=1, description="columns of an orthogonal Q, at most as many as rows")
        ] = 16,
        reflections: Annotated[int, Field(ge=1, description="reflections in a Householder Q")] = 8,
    ) -> None:
        size = event_shape.numel()
        columns = min(rank, size) if variant == "orthogonal" else size
        of_basis = {
            "orthogonal": cayley_parameters(size, columns),
            "householder": reflections * size,
            "triangular": 0,
        }[variant]
        sizes = [of_basis, columns**2, columns, columns]
        super().__init__(event_shape, flows, sum(sizes))
        self.variant = variant
        self.sizes = sizes
        self.columns = columns

    def transforms(self, parameters: Sequence[Tensor]) -> list[Transform]:
        return [self._transform(k, *part.split(self.sizes, dim=-1)) for k, part in enumerate(parameters)]

    def _transform(self, k: int, basis: Tensor, square: Tensor, diagonal: Tensor, bias: Tensor) -> Transform:
        # One square holds both strict triangles, and the diagonal of R.
        square = square.unflatten(-1, (self.columns, self.columns))
        outer = square.triu(1) + _diagonal(square.diagonal(dim1=-2, dim2=-1))
        inner = square.tril(-1).mT + _diagonal(diagonal)
        return SylvesterTransform(self._basis(k, basis), outer, inner, bias)

    def _basis(self, k: int, parameters: Tensor) -> Tensor:
        if self.variant == "orthogonal":
            basis = cayley(parameters, self.size, self.columns)
            return basis.roll(k * self.columns, dims=-2)  # features of 0: other coordinates in each transform
        if self.variant == "householder":
            return householder(parameters.unflatten(-1, (-1, self.size)))
        identity = torch.eye(self.size, dtype=parameters.dtype, device=parameters.device)
        return identity.flip(-1) if k % 2 else identity


def _diagonal(entries: Tensor) -> Tensor:
    return torch.diag_embed(bounded(entries, LARGEST_DIAGONAL))
