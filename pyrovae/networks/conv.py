"""The convolutional network, for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from torch import nn

from pyrovae import component
from pyrovae.networks import ACTIVATIONS, Activation, Dropout, Network, Normalization, Shapes
from pyrovae.networks._images import Channels, Kernel, Units, hourglass, image_shape, strided


class Conv(Network):
    r"""Strided convolutions down to a dense layer; transposed convolutions back up.

    .. math:: h_{k+1} = \phi(A_k * h_k + a_k), \qquad
       \text{rows}_{k+1} = \lceil \text{rows}_k / 2 \rceil, \quad
       \text{columns}_{k+1} = \lceil \text{columns}_k / 2 \rceil

    Every convolution halves the image, rounding up; the decoder's output padding undoes the rounding, so that
    odd sizes come back exactly.

    Args:
        shapes: what the network connects; a datum is (channels, rows, columns) or (rows, columns).
        channels: channels after each convolution of the encoder.
        kernel: rows and columns of every convolution's kernel, in pixels.
        hidden: units of the dense layer between convolutions and code.
        activation: the nonlinearity phi.
        normalization: ``batch``, or ``layer`` (over channels and pixels), before phi.
        dropout: probability that a unit of the dense layer is set to zero in training.

    Raises:
        ConfigError: a datum is no image.

    Source: Dumoulin and Visin, *A guide to convolution arithmetic for deep learning*, 2016, section 4.

    Example:
        >>> network = Conv(Shapes(torch.Size([1, 28, 20]), 2, 4, 1))
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
        activation: Activation = "relu",
        normalization: Normalization = "none",
        dropout: Dropout = 0.0,
    ) -> None:
        normalizations: dict[str, Callable[[int], nn.Module]] = {
            "none": lambda width: nn.Identity(),
            "batch": nn.BatchNorm2d,
            "layer": partial(nn.GroupNorm, 1),
        }
        normalize, phi = normalizations[normalization], ACTIVATIONS[activation]

        def block(convolution: Callable[[int], nn.Module], width: int) -> nn.Module:
            return nn.Sequential(convolution(width), normalize(width), phi())

        def dense(inputs: int, units: int) -> Iterable[nn.Module]:
            return nn.Linear(inputs, units), phi()

        image = image_shape(shapes.event_shape, component.name_of(type(self)))
        stages = strided(kernel, block)
        super().__init__(
            shapes, *hourglass(shapes, image, channels, stages, dense=dense, hidden=hidden, dropout=dropout)
        )
