"""The gated multilayer perceptron."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from pyrovae.networks import Dropout, Network, Shapes
from pyrovae.networks._layers import Hidden, mirrored


class GatedMLP(Network):
    r"""Fully connected layers, each unit times a gate; the decoder has the encoder's layers in reverse.

    .. math:: h_0 = x, \qquad h_{k+1} = (A_k h_k + a_k) \odot \sigma(B_k h_k + b_k), \qquad
       h_{enc}(x) = A_K h_K + a_K

    The sigmoid gates are the only nonlinearity.

    Args:
        shapes: what the network connects.
        hidden: units of each hidden layer of the encoder, from datum to code.
        dropout: probability that a hidden unit is set to zero in training.

    Source: Tomczak and Welling, *VAE with a VampPrior*, 2018, section 5; the gates are those of Dauphin, Fan,
        Auli and Grangier, *Language Modeling with Gated Convolutional Networks*, 2017, equation 1.

    Example:
        >>> network = GatedMLP(Shapes(torch.Size([1, 8, 8]), 2, 4, 1), hidden=[32, 16])
        >>> network.encoder(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(self, shapes: Shapes, *, hidden: Hidden = (300, 300), dropout: Dropout = 0.0) -> None:
        def gated(inputs: int, units: int) -> Iterable[nn.Module]:
            # One product for values and gates: the first half of the units times the sigmoid of the second.
            return nn.Linear(inputs, 2 * units), nn.GLU(), nn.Dropout(dropout)

        super().__init__(shapes, *mirrored(shapes, hidden, gated))
