"""Networks: pairs of encoder and decoder; know shapes and counts of features, no distribution, no Pyro."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Size, Tensor, nn

from pyrovae import component

ActivationName = Literal["relu", "leaky-relu", "elu", "gelu", "silu", "softplus", "tanh"]

Activation = Annotated[ActivationName, Field(description="nonlinearity of every hidden layer")]
Normalization = Annotated[
    Literal["none", "batch", "layer"], Field(description="normalisation before every nonlinearity")
]
Dropout = Annotated[float, Field(ge=0, lt=1, description="probability that a hidden unit is set to zero")]

ACTIVATIONS: Mapping[ActivationName, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class Shapes(NamedTuple):
    """What a network connects."""

    event_shape: Size
    """The shape of one datum."""
    code_size: int
    """How many numbers one code has."""
    posterior_features: int
    """How many numbers the posterior needs for one datum."""
    likelihood_features: int
    """How many numbers the likelihood needs for each cell of a datum."""


class Network(component.Component, nn.Module, family="network"):
    """An encoder and a decoder.

    ``encoder`` maps data (..., \\*event_shape) to (..., posterior_features), ``decoder`` flat codes
    (..., code_size) to (..., likelihood_features, \\*event_shape). Both take any number of
    leading dimensions.

    Args:
        shapes: what the network connects.
        encoder: maps (n, \\*event_shape) to (n, posterior_features).
        decoder: maps (n, code_size) to n times the numbers of (likelihood_features, \\*event_shape).
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, shapes: Shapes, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        event_shape, code_size, posterior_features, likelihood_features = shapes
        self.encoder = Folded(encoder, event_shape, Size([posterior_features]))
        self.decoder = Folded(decoder, Size([code_size]), Size([likelihood_features, *event_shape]))


class Folded(nn.Module):
    """A network that takes any number of leading dimensions, by folding them into one batch.

    Without folding, convolutions refuse particle dimensions and batch normalisation mixes up its channels.

    Args:
        network: maps (n, \\*input_shape) to n times the numbers of output_shape.
        input_shape: shape of one input.
        output_shape: shape of one output.
    """

    rounded: bool = False
    """Whether products are of bfloat16, see :func:`rounding`."""

    def __init__(self, network: nn.Module, input_shape: Size, output_shape: Size) -> None:
        super().__init__()
        self.network = network
        self.input_shape = input_shape
        self.output_shape = output_shape

    def forward(self, x: Tensor) -> Tensor:
        leading = x.shape[: x.dim() - len(self.input_shape)]
        return self._batch(x.reshape(-1, *self.input_shape)).reshape(*leading, *self.output_shape)

    def _batch(self, x: Tensor) -> Tensor:
        if not self.rounded:
            return self.network(x)
        # Each weight is used once: to keep it rounded would save nothing, and lead it past a captured graph.
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            return self.network(x).to(x.dtype)


def can_be_rounded(module: nn.Module) -> bool:
    """Whether a module has networks that :func:`rounding` is about."""
    return any(isinstance(part, Folded) for part in module.modules())


@contextmanager
def rounding(module: nn.Module, rounded: bool = True) -> Iterator[None]:
    """Inside, the networks of a module multiply in bfloat16; features that leave them are float32 again.

    Weights, their gradients and everything that is no network stay in float32.

    Args:
        module: whose encoders and decoders are meant, those of an objective or a program, say.
        rounded: whether to do so at all.

    Example:
        >>> with rounding(program):
        ...     program.network.decoder(torch.zeros(3, 8)).dtype
        torch.float32
    """
    before = {part: part.rounded for part in module.modules() if isinstance(part, Folded)}
    for part in before:
        part.rounded = rounded
    try:
        yield
    finally:
        for part, was in before.items():
            part.rounded = was


def __getattr__(name: str) -> Any:
    return component.find_class("network", name)
