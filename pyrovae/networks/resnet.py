"""The residual network, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from pydantic import Field
from torch import Size, Tensor, nn

from pyrovae import component
from pyrovae.networks import ACTIVATIONS, Activation, Dropout, Network, Shapes
from pyrovae.networks._images import Stages, Units, hourglass, image_shape

LARGEST_GROUPS, SMALLEST_GROUP = 8, 4


class ResNet(Network):
    r"""Residual blocks at every size of the picture, which strided convolutions halve and upsampling doubles.

    .. math:: h_{k+1} = h_k + A_k * \phi\bigl(n(B_k * \phi(n(h_k)))\bigr)

    n normalises groups of channels within one datum, so that no datum depends on the rest of its batch. Every
    halving rounds up; nearest-neighbour upsampling goes back to the very size that was halved.

    Args:
        shapes: what the network connects; a datum is (channels, rows, columns) or (rows, columns).
        channels: channels after each halving of the picture.
        blocks: residual blocks after each halving, and as many before each doubling.
        hidden: units of the dense layer between pictures and code.
        activation: the nonlinearity phi.
        dropout: probability that a unit of the dense layer is set to zero in training.

    Raises:
        ConfigError: a datum is no image.

    Source: He, Zhang, Ren and Sun, *Identity Mappings in Deep Residual Networks*, 2016, figure 4e; n is that
        of Wu and He, *Group Normalization*, 2018, equation 7.

    Example:
        >>> network = ResNet(Shapes(torch.Size([1, 28, 21]), 2, 4, 1), channels=[8, 12], blocks=1)
        >>> network.decoder(torch.zeros(5, 2)).shape
        torch.Size([5, 1, 1, 28, 21])
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        # A single channel of a single pixel would be nothing but 0 once it is normalised.
        channels: Annotated[
            Sequence[Annotated[int, Field(ge=2)]],
            Field(min_length=1, description="channels after each halving of the picture"),
        ] = (32, 64),
        blocks: Annotated[int, Field(ge=1, description="residual blocks at each size of the picture")] = 2,
        hidden: Units = 256,
        activation: Activation = "silu",
        dropout: Dropout = 0.0,
    ) -> None:
        phi = ACTIVATIONS[activation]

        def activated(width: int) -> Iterable[nn.Module]:
            return nn.GroupNorm(_groups(width), width), phi()

        def residuals(width: int) -> Iterable[nn.Module]:
            return [_Residual(width, activated) for _ in range(blocks)]

        def down(inputs: int, outputs: int, size: Size) -> nn.Module:
            halving = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            return nn.Sequential(halving, *residuals(outputs), *activated(outputs))

        def up(inputs: int, outputs: int, size: Size) -> nn.Module:
            doubling = nn.Upsample(tuple(size)), nn.Conv2d(inputs, outputs, 3, padding=1)
            return nn.Sequential(*residuals(inputs), *activated(inputs), *doubling)

        def dense(inputs: int, units: int) -> Iterable[nn.Module]:
            return nn.Linear(inputs, units), phi()

        image = image_shape(shapes.event_shape, component.name_of(type(self)))
        stages = Stages(down, up, last=up)
        super().__init__(
            shapes, *hourglass(shapes, image, channels, stages, dense=dense, hidden=hidden, dropout=dropout)
        )


class _Residual(nn.Module):
    """The picture plus a small network of it, in the same shape."""

    def __init__(self, width: int, activated: Callable[[int], Iterable[nn.Module]]) -> None:
        super().__init__()

        def convolved() -> Iterable[nn.Module]:
            return *activated(width), nn.Conv2d(width, width, 3, padding=1)

        self.branch = nn.Sequential(*convolved(), *convolved())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def _groups(channels: int) -> int:
    """In how many groups channels are normalised: at most 8, of at least 4 channels, or one of all channels.

    A group of few channels would leave of a picture of few pixels little more than signs.
    """
    return max(1, math.gcd(channels, LARGEST_GROUPS * SMALLEST_GROUP) // SMALLEST_GROUP)
