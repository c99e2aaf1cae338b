"""The gated convolutional network, for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from pyrovae import component
from pyrovae.networks import Dropout, Network, Shapes
from pyrovae.networks._images import Channels, Kernel, Units, hourglass, image_shape, strided


class GatedConv(Network):
    r"""Strided convolutions down to a dense layer and transposed ones back up, each channel times a gate.

    .. math:: h_{k+1} = (A_k * h_k + a_k) \odot \sigma(B_k * h_k + b_k)

    The sigmoid gates are the only nonlinearity, of the dense layers too. Sizes are as in ``conv``: every
    convolution halves the image, rounding up, and odd sizes come back exactly.

    Args:
        shapes: what the network connects; a datum is (channels, rows, columns) or (rows, columns).
        channels: channels after each convolution of the encoder.
        kernel: rows and columns of every convolution's kernel, in pixels.
        hidden: units of the dense layer between convolutions and code.
        dropout: probability that a unit of the dense layer is set to zero in training.

    Raises:
        ConfigError: a datum is no image.

    Source: Dauphin, Fan, Auli and Grangier, *Language Modeling with Gated Convolutional Networks*, 2017,
        equation 1; in a VAE, Tomczak and Welling, *VAE with a VampPrior*, 2018, section 5.

    Example:
        >>> network = GatedConv(Shapes(torch.Size([1, 28, 20]), 2, 4, 1))
        >>> network.decoder(torch.zeros(5, 2)).shape
        torch.Size([5, 1, 1, 28, 20])
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        channels: Channels = (32, 64),
        kernel: Kernel = 3,
        hidden: Units = 256,
        dropout: Dropout = 0.0,
    ) -> None:
        # One convolution, or one product, for values and gates: the first half times the second's sigmoid.
        def block(convolution: Callable[[int], nn.Module], width: int) -> nn.Module:
            return nn.Sequential(convolution(2 * width), nn.GLU(dim=1))

        def dense(inputs: int, units: int) -> Iterable[nn.Module]:
            return nn.Linear(inputs, 2 * units), nn.GLU()

        image = image_shape(shapes.event_shape, component.name_of(type(self)))
        stages = strided(kernel, block)
        super().__init__(
            shapes, *hourglass(shapes, image, channels, stages, dense=dense, hidden=hidden, dropout=dropout)
        )
