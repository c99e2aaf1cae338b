"""The linear network: one affine map each way."""

from __future__ import annotations

from torch import nn

from pyrovae.networks import Network, Shapes


class Linear(Network):
    r"""One affine map from datum to features, and one from code to features.

    .. math:: h_{enc}(x) = V x + c, \qquad h_{dec}(z) = W z + b

    With a Gaussian likelihood of one scale this is probabilistic principal component analysis.

    Args:
        shapes: what the network connects.

    Source: Tipping and Bishop, *Probabilistic Principal Component Analysis*, 1999.

    Example:
        >>> network = Linear(Shapes(torch.Size([3]), 2, posterior_features=4, likelihood_features=1))
        >>> network.decoder(torch.zeros(5, 2)).shape
        torch.Size([5, 1, 3])
    """

    def __init__(self, shapes: Shapes) -> None:
        cells = shapes.event_shape.numel()
        super().__init__(
            shapes,
            encoder=nn.Sequential(nn.Flatten(), nn.Linear(cells, shapes.posterior_features)),
            decoder=nn.Linear(shapes.code_size, shapes.likelihood_features * cells),
        )
