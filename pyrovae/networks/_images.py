"""Pictures halved again and again down to a code, and doubled back up; knows no kind of layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field
from torch import Size, nn

from pyrovae.errors import ConfigError, Problem
from pyrovae.networks import Shapes
from pyrovae.networks._layers import Layer

Channels = Annotated[
    Sequence[Annotated[int, Field(ge=1)]],
    Field(min_length=1, description="channels after each convolution of the encoder"),
]
Kernel = Annotated[Literal[3, 5, 7], Field(description="rows and columns of a kernel, in pixels")]
Units = Annotated[int, Field(ge=1, description="units of the dense layer next to the code")]

Stage: TypeAlias = Callable[[int, int, Size], nn.Module]
"""From channels in, channels out, and rows and columns of the larger picture, to the part in between."""

Block: TypeAlias = Callable[[Callable[[int], nn.Module], int], nn.Module]
"""A hidden layer, from a maker of convolutions to any number of channels, and how many the layer has."""


class Stages(NamedTuple):
    """How pictures come from one size to the next."""

    down: Stage
    """From a size to its half, rounded up."""
    up: Stage
    """From the half back to a size."""
    last: Stage
    """As ``up``, and the decoder's end: any real numbers come out."""


def image_shape(event_shape: Size, network: str) -> Size:
    """(channels, rows, columns) of a datum.

    Args:
        event_shape: the shape of a datum.
        network: the name of the network that asks.

    Raises:
        ConfigError: a datum is no image.
    """
    if len(event_shape) == 2:
        return Size([1, *event_shape])
    if len(event_shape) == 3:
        return event_shape
    raise ConfigError(
        [
            Problem(
                "network.name",
                f"{network!r} needs images, (channels, rows, columns) or (rows, columns); a datum here has "
                f"shape {tuple(event_shape)}, which 'linear', 'mlp' and 'gated-mlp' take",
            )
        ]
    )


def hourglass(
    shapes: Shapes,
    image: Size,
    channels: Sequence[int],
    stages: Stages,
    *,
    dense: Layer,
    hidden: int,
    dropout: float,
) -> tuple[nn.Module, nn.Module]:
    """An encoder that halves a picture once for each entry of ``channels``; a decoder that doubles it back.

    Args:
        shapes: what the network connects.
        image: channels, rows and columns of a datum.
        channels: channels after each halving.
        stages: the parts between two sizes.
        dense: makes a hidden layer of the vectors between pictures and code.
        hidden: units of the layer next to the code.
        dropout: probability that one of these units is set to zero in training.
    """
    sizes = [image[1:]]
    for _ in channels:
        sizes.append(Size(math.ceil(length / 2) for length in sizes[-1]))
    smallest = Size([channels[-1], *sizes[-1]])
    down = [
        stages.down(inputs, outputs, size)
        for (inputs, outputs), size in zip(pairwise([image[0], *channels]), sizes, strict=False)
    ]
    last = stages.last(channels[0], shapes.likelihood_features * image[0], sizes[0])
    up = [
        stages.up(inputs, outputs, size)
        for (outputs, inputs), size in zip(pairwise(channels), sizes[1:], strict=False)
    ]
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, image),
        *down,
        nn.Flatten(),
        *dense(smallest.numel(), hidden),
        nn.Dropout(dropout),
        nn.Linear(hidden, shapes.posterior_features),
    )
    decoder = nn.Sequential(
        *dense(shapes.code_size, hidden),
        nn.Dropout(dropout),
        *dense(hidden, smallest.numel()),
        nn.Unflatten(1, smallest),
        *reversed(up),
        last,
    )
    return encoder, decoder


def strided(kernel: int, block: Block) -> Stages:
    """Stages of one convolution each, with stride 2; those back up are transposed."""

    def down(inputs: int, outputs: int, size: Size) -> nn.Module:
        convolution = partial(nn.Conv2d, inputs, kernel_size=kernel, stride=2, padding=kernel // 2)
        return block(convolution, outputs)

    def last(inputs: int, outputs: int, size: Size) -> nn.Module:
        return _doubling(inputs, outputs, kernel, size)

    def up(inputs: int, outputs: int, size: Size) -> nn.Module:
        return block(lambda channels: _doubling(inputs, channels, kernel, size), outputs)

    return Stages(down, up, last)


def _doubling(inputs: int, outputs: int, kernel: int, size: Size) -> nn.ConvTranspose2d:
    """The transposed convolution from ceil(size / 2) back to size."""
    even = tuple(1 - length % 2 for length in size)
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=(even[0], even[1])
    )
