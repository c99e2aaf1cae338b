"""The ELBO of anybody's weights on the 10,000 test images, by the same few lines for all.

    python benchmarks/contenders/score.py --data-dir DIR FOLDER/weights.npz

Prints JSON: nats per image on grey pixels in [0, 1], and the standard error over images.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from contract import LATENT, ScaleIs, images
from numpy.typing import NDArray

DRAWS = 10
"""Draws of z for each image, the same for all weights."""

Array = NDArray[np.floating[Any]]

SCALES: dict[ScaleIs, Callable[[Array], Array]] = {
    "exp(s / 2)": lambda s: np.exp(s / 2),
    "exp(s)": np.exp,
    "1e-5 + softplus(s + log(e - 1))": lambda s: 1e-5 + np.logaddexp(0, s + np.float32(math.log(math.e - 1))),
}


def elbo(weights: Mapping[str, Array], scale_is: ScaleIs, x: Array) -> NDArray[np.float64]:
    r"""The ELBO of each image, its first term by draws of z and its second in closed form.

    .. math:: E_{q(z|x)} \Bigl[\sum_i x_i l_i(z) - \log(1 + e^{l_i(z)})\Bigr] - KL(q(z|x) \| N(0, I))
    """

    def dense(name: str, inputs: Array) -> Array:
        return inputs @ weights[f"{name}.W"] + weights[f"{name}.b"]

    hidden = np.maximum(dense("encoder", x), 0)
    mean, deviation = dense("mean", hidden), SCALES[scale_is](dense("scale", hidden))
    kl = 0.5 * (mean**2 + deviation**2 - 1).sum(-1, dtype=np.float64) - np.log(deviation).sum(
        -1, dtype=np.float64
    )
    reconstruction = np.zeros(len(x))
    noise = np.random.default_rng(0)
    for _ in range(DRAWS):
        z = mean + deviation * noise.standard_normal((len(x), LATENT), dtype=np.float32)
        logits = dense("logits", np.maximum(dense("decoder", z), 0))
        reconstruction += (x * logits - np.logaddexp(0, logits)).sum(-1, dtype=np.float64) / DRAWS
    return reconstruction - kl


def main() -> None:
    """Print the mean over images and its standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    with np.load(options.weights) as saved:
        weights = dict(saved)
    x = images(options.data_dir, "t10k") / np.float32(255)
    values = elbo(weights, weights.pop("scale_is").item(), x)
    print(json.dumps({"elbo": values.mean(), "standard_error": values.std(ddof=1) / math.sqrt(len(values))}))


if __name__ == "__main__":
    main()
