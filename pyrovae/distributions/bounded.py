"""A smooth bound for parameters that come out of a network."""

from __future__ import annotations

import torch
from torch import Tensor


def bounded(values: Tensor, limit: float | Tensor) -> Tensor:
    r"""Any real numbers -> (-limit, limit), with slope 1 at 0.

    .. math:: y = \frac{x}{\sqrt{1 + x^2 / l^2}}

    The slope falls like a power, and not like the exponential of a tanh: values that ran far out come back.

    Example:
        >>> bounded(torch.tensor([-1e3, 0.0, 4.0]), limit=3.0)
        tensor([-3.0000,  0.0000,  2.4000])
    """
    ends = limit if isinstance(limit, Tensor) else values.new_full((), limit)
    return limit * values / torch.hypot(values, ends)
