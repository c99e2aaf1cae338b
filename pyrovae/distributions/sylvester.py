"""The Sylvester transform, and orthonormal bases for it from parameters of any size."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import normalize


class SylvesterTransform(Transform):
    r"""A nonlinear step inside a subspace of M dimensions.

    .. math:: y = x + Q R \tanh(\tilde{R} Q^\top x + b), \qquad
       \left|\det \frac{\partial y}{\partial x}\right| =
       \prod_{m=1}^{M} \bigl(1 + \tanh'(\tilde{R} Q^\top x + b)_m\, r_{mm}\, \tilde{r}_{mm}\bigr)

    It is invertible where every r times r~ is above -1. The inverse has no closed form: a distribution scores
    its own last draw.

    Args:
        basis: Q with orthonormal columns, (..., d, M).
        outer: R, upper triangular, (..., M, M).
        inner: R~, upper triangular, (..., M, M).
        bias: b, (..., M).

    Source: van den Berg, Hasenclever, Tomczak and Welling, *Sylvester Normalizing Flows for Variational
    Inference*, 2018, equations 8 to 13.

    Example:
        >>> q = torch.eye(2)[:, :1]
        >>> transform = SylvesterTransform(q, torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1))
        >>> x = torch.tensor([0.0, 5.0])
        >>> transform.log_abs_det_jacobian(x, transform(x)).exp()
        tensor(2.)
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, basis: Tensor, outer: Tensor, inner: Tensor, bias: Tensor) -> None:
        super().__init__(cache_size=1)
        self.basis = basis
        self.outer = outer
        self.inner = inner
        self.bias = bias

    def _call(self, x: Tensor) -> Tensor:
        return x + _times(self.basis, _times(self.outer, self._activation(x)))

    def _inverse(self, y: Tensor) -> NoReturn:
        raise NotImplementedError("a Sylvester transform has no inverse: only its last draw can be scored")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        slope = 1 - self._activation(x).square()
        diagonals = self.outer.diagonal(dim1=-2, dim2=-1) * self.inner.diagonal(dim1=-2, dim2=-1)
        return torch.log1p(slope * diagonals).sum(-1)

    def _activation(self, x: Tensor) -> Tensor:
        return torch.tanh(_times(self.inner, _times(self.basis.mT, x)) + self.bias)


def cayley(parameters: Tensor, size: int, columns: int) -> Tensor:
    r"""Orthonormal columns from a skew-symmetric matrix A, whose first columns the parameters fill.

    .. math:: Q = (I + A)^{-1} (I - A)\, E, \qquad A = -A^\top

    E are the first columns of the identity, which is Q where the parameters are 0. Unlike iterations towards
    the nearest orthonormal matrix, this is exact for parameters of any size.

    Args:
        parameters: below the diagonal of A, (..., :func:`cayley_parameters`).
        size: number d of rows.
        columns: number M of columns.

    Source: Wen and Yin, *A feasible method for optimization with orthogonality constraints*, 2013, section 1.

    Example:
        >>> cayley(torch.tensor([1.0]), size=2, columns=1)  # a turn by a right angle
        tensor([[ 0.],
                [-1.]])
    """
    rows, below = torch.tril_indices(size, columns, offset=-1, device=parameters.device)
    skew = parameters.new_zeros(*parameters.shape[:-1], size, size)
    skew[..., rows, below] = parameters
    skew = skew - skew.mT
    identity = torch.eye(size, dtype=parameters.dtype, device=parameters.device)
    return torch.linalg.solve(identity + skew, (identity - skew)[..., :columns])


def cayley_parameters(size: int, columns: int) -> int:
    """How many parameters :func:`cayley` takes."""
    return size * columns - columns * (columns + 1) // 2


def householder(vectors: Tensor) -> Tensor:
    r"""The product of reflections in the planes orthogonal to vectors, in one go.

    .. math:: Q = \prod_{h=1}^{H} (I - 2 u_h u_h^\top) = I - U^\top T^{-1} U, \qquad
       u_h = \frac{v_h}{\|v_h\|}, \qquad
       T_{gh} = \begin{cases} u_g^\top u_h & g < h \\ \tfrac{1}{2} & g = h \\ 0 & g > h \end{cases}

    Args:
        vectors: (..., H, d).

    Returns:
        (..., d, d), orthogonal.

    Source: van den Berg et al., 2018, equation 15, with T of Joffrain et al., *Accumulating Householder
    transformations, revisited*, 2006.

    Example:
        >>> householder(torch.tensor([[0.0, 2.0]]))
        tensor([[ 1.,  0.],
                [ 0., -1.]])
    """
    units = normalize(vectors, dim=-1)
    halves = torch.eye(units.shape[-2], dtype=units.dtype, device=units.device) / 2
    triangle = (units @ units.mT).triu(1) + halves
    identity = torch.eye(units.shape[-1], dtype=units.dtype, device=units.device)
    return identity - units.mT @ torch.linalg.solve_triangular(triangle, units, upper=True)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
