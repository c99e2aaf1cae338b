"""What every contender is given, and what it leaves behind; knows NumPy and no other library.

    python benchmarks/contenders/NAME.py --epochs 3 --data-dir DIR --rows rows.npz --out FOLDER

All train a 784-400-20 network with ReLU, on batches of 128 grey images in [0, 1] with Adam and the Bernoulli
cross-entropy; go through the validation rows after every epoch, with one draw of z; and save their weights.
"""

import argparse
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

PIXELS, HIDDEN, LATENT = 784, 400, 20
BATCH, LEARNING_RATE = 128, 1e-3

HEADER = 16
"""Bytes before the pixels of an idx file of images."""

Layer = tuple[NDArray[Any], NDArray[Any]]
"""Weights (inputs, outputs) and biases (outputs)."""

ScaleIs = Literal["exp(s / 2)", "exp(s)", "1e-5 + softplus(s + log(e - 1))"]
"""The standard deviation of q(z|x) as a function of the encoder's feature s."""


class Task(NamedTuple):
    """What to train on, and for how long."""

    epochs: int
    data_dir: Path
    out: Path
    seed: int
    train: NDArray[np.int64]
    """Which rows of the 60,000 are trained on."""
    validation: NDArray[np.int64]
    """Which rows are gone through after every epoch."""


def task() -> Task:
    """The task that the command line states."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--rows", type=Path, required=True, help="file that rows.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with np.load(options.rows) as rows:
        return Task(
            options.epochs, options.data_dir, options.out, options.seed, rows["train"], rows["validation"]
        )


def images(data_dir: Path, part: Literal["train", "t10k"]) -> NDArray[np.uint8]:
    """All images of one of MNIST's two parts, (n, 784)."""
    file = data_dir / "MNIST" / "raw" / f"{part}-images-idx3-ubyte"
    return np.fromfile(file, dtype=np.uint8, offset=HEADER).reshape(-1, PIXELS)


def layer(linear: Any) -> Layer:
    """The weights of a linear layer of torch."""
    return linear.weight.detach().numpy().T, linear.bias.detach().numpy()


def halves(linear: Any) -> tuple[Layer, Layer]:
    """The layers of mean and scale, where one linear layer of torch is both."""
    weight, bias = layer(linear)
    return (weight[:, :LATENT], bias[:LATENT]), (weight[:, LATENT:], bias[LATENT:])


def save(
    out: Path, *, encoder: Layer, mean: Layer, scale: Layer, scale_is: ScaleIs, decoder: Layer, logits: Layer
) -> None:
    """Write ``weights.npz``: the same layers, whoever trained them."""
    layers = {"encoder": encoder, "mean": mean, "scale": scale, "decoder": decoder, "logits": logits}
    arrays: dict[str, Any] = {
        f"{name}.{what}": array
        for name, pair in layers.items()
        for what, array in zip("Wb", pair, strict=True)
    }
    np.savez(out / "weights.npz", scale_is=scale_is, **arrays)
