"""The convolutional network, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Size, nn

from pyrovae.errors import ConfigError, Problem
from pyrovae.networks import ACTIVATIONS, Activation, Dropout, Network, Normalization, Shapes


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
        channels: Annotated[
            Sequence[Annotated[int, Field(ge=1)]],
            Field(min_length=1, description="channels after each convolution of the encoder"),
        ] = (32, 64),
        kernel: Annotated[Literal[3, 5, 7], Field(description="rows and columns of a kernel, in pixels")] = 3,
        hidden: Annotated[int, Field(ge=1, description="units of the dense layer next to the code")] = 256,
        activation: Activation = "relu",
        normalization: Normalization = "none",
        dropout: Dropout = 0.0,
    ) -> None:
        normalizations: dict[str, Callable[[int], nn.Module]] = {
            "none": _nothing,
            "batch": nn.BatchNorm2d,
            "layer": partial(nn.GroupNorm, 1),
        }

        def block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
            normalize = normalizations[normalization]
            return nn.Sequential(convolution, normalize(convolution.out_channels), ACTIVATIONS[activation]())

        image = _image_shape(shapes.event_shape)
        sizes = [image[1:]]
        for _ in channels:
            sizes.append(Size(math.ceil(length / 2) for length in sizes[-1]))
        smallest = Size([channels[-1], *sizes[-1]])

        down = [
            block(nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2))
            for inputs, outputs in pairwise([image[0], *channels])
        ]
        *up, last = [
            _doubling(inputs, outputs, kernel, size)
            for (outputs, inputs), size in zip(
                pairwise([shapes.likelihood_features * image[0], *channels]), sizes, strict=False
            )
        ][::-1]
        super().__init__(
            shapes,
            encoder=nn.Sequential(
                nn.Flatten(),
                nn.Unflatten(1, image),
                *down,
                nn.Flatten(),
                nn.Linear(smallest.numel(), hidden),
                ACTIVATIONS[activation](),
                nn.Dropout(dropout),
                nn.Linear(hidden, shapes.posterior_features),
            ),
            decoder=nn.Sequential(
                nn.Linear(shapes.code_size, hidden),
                ACTIVATIONS[activation](),
                nn.Dropout(dropout),
                nn.Linear(hidden, smallest.numel()),
                ACTIVATIONS[activation](),
                nn.Unflatten(1, smallest),
                *map(block, up),
                last,
            ),
        )


def _nothing(channels: int) -> nn.Module:
    return nn.Identity()


def _image_shape(event_shape: Size) -> Size:
    if len(event_shape) == 2:
        return Size([1, *event_shape])
    if len(event_shape) == 3:
        return event_shape
    raise ConfigError(
        [
            Problem(
                "network.name",
                f"'conv' needs images, (channels, rows, columns) or (rows, columns); a datum here has shape "
                f"{tuple(event_shape)}, which 'mlp' and 'linear' take",
            )
        ]
    )


def _doubling(inputs: int, outputs: int, kernel: int, size: Size) -> nn.ConvTranspose2d:
    """The transposed convolution from ceil(size / 2) back to size."""
    even = tuple(1 - length % 2 for length in size)
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=(even[0], even[1])
    )
