"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from pyrovae.networks import ACTIVATIONS, Activation, Dropout, Network, Normalization, Shapes
from pyrovae.networks._layers import Hidden, mirrored


class MLP(Network):
    r"""Fully connected layers; the decoder has the encoder's layers in reverse.

    .. math:: h_0 = x, \qquad h_{k+1} = \phi(A_k h_k + a_k), \qquad h_{enc}(x) = A_K h_K + a_K

    Args:
        shapes: what the network connects.
        hidden: units of each hidden layer of the encoder, from datum to code.
        activation: the nonlinearity phi.
        normalization: ``batch`` or ``layer`` normalisation before phi.
        dropout: probability that a hidden unit is set to zero in training.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, appendix C.

    Example:
        >>> network = MLP(Shapes(torch.Size([1, 8, 8]), 2, 4, 1), hidden=[32, 16])
        >>> network.encoder(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        hidden: Hidden = (400,),
        activation: Activation = "relu",
        normalization: Normalization = "none",
        dropout: Dropout = 0.0,
    ) -> None:
        normalize = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[normalization]

        def layer(inputs: int, units: int) -> Iterable[nn.Module]:
            return nn.Linear(inputs, units), normalize(units), ACTIVATIONS[activation](), nn.Dropout(dropout)

        super().__init__(shapes, *mirrored(shapes, hidden, layer))
