"""Stacks of dense layers, the same way down and up; knows no kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, TypeAlias

from pydantic import Field
from torch import nn

from pyrovae.networks import Shapes

Hidden = Annotated[
    Sequence[Annotated[int, Field(ge=1)]],
    Field(description="units of each hidden layer of the encoder; the decoder mirrors them"),
]

Layer: TypeAlias = Callable[[int, int], Iterable[nn.Module]]
"""The parts of a hidden layer, from how many units come in and how many go out."""


def mirrored(shapes: Shapes, hidden: Sequence[int], layer: Layer) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder of hidden layers and one affine map, the decoder's in reverse.

    Args:
        shapes: what the network connects.
        hidden: units of each hidden layer of the encoder, from datum to code.
        layer: makes one hidden layer.
    """
    cells = shapes.event_shape.numel()
    return (
        _stack([cells, *hidden], shapes.posterior_features, layer),
        _stack([shapes.code_size, *reversed(hidden)], shapes.likelihood_features * cells, layer),
    )


def _stack(sizes: Sequence[int], outputs: int, layer: Layer) -> nn.Sequential:
    inner = [part for inputs, units in pairwise(sizes) for part in layer(inputs, units)]
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(sizes[-1], outputs))
