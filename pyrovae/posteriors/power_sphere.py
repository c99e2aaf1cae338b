"""The power spherical posterior, on the unit sphere."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor, zeros
from torch.nn.functional import normalize

from pyrovae import supports
from pyrovae.distributions.power_spherical import PowerSpherical
from pyrovae.posteriors import Posterior
from pyrovae.posteriors._scale import positive

START = 0.1
FIRST_ODDS = 10
"""kappa / (d - 1) at features of 0: how much of z lies along its direction, against what does not."""

SLOWER = 10
"""What the feature of the concentration is divided by."""


class PowerSphere(Posterior):
    r"""Unit vectors around a direction from the encoder.

    .. math:: q(z|x) \propto \bigl(1 + \mu(x)^\top z\bigr)^{\kappa(x)}, \qquad
       \mu = \frac{m(x) + c}{\lVert m(x) + c \rVert}, \quad
       \kappa = 10 (d - 1) \Bigl(10^{-5} + \log\bigl(1 + (e - 1)\, e^{s(x) / 10}\bigr)\Bigr)

    The features are (m, s), d + 1 of them; c = (0.1, 0, ..., 0), so that features of 0 have a direction too.
    The density is with respect to the area of the sphere. The concentration starts high, where the mean of z
    has a length of 10/11, and moves slowly: from a start near the uniform distribution, the decoder never
    learns to read the code.

    Args:
        event_shape: (d,), the shape of one code, d at least 2.

    Source: De Cao and Aziz, *The Power Spherical distribution*, 2020, section 3.

    Example:
        >>> PowerSphere(torch.Size([3]))(torch.zeros(4)).direction
        tensor([1., 0., 0.])
    """

    support = supports.sphere
    start: Tensor

    def __init__(self, event_shape: Size) -> None:
        super().__init__(event_shape)
        start = zeros(event_shape)
        start[0] = START
        self.register_buffer("start", start, persistent=False)
        self.features = event_shape.numel() + 1

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        direction = normalize(features[..., :-1] + self.start, dim=-1)
        concentration = positive(features[..., -1] / SLOWER)
        return PowerSpherical(direction, FIRST_ODDS * (self.features - 2) * concentration)
