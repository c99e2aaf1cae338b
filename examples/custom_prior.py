"""A prior of your own: codes on a ring, beside the normal prior that every textbook has.

python examples/custom_prior.py                                    # digits, about half a minute
pyrovae train --prior examples/custom_prior.py:Ring --latent-dim 2 # and every other command
"""

import math
from collections.abc import Callable
from pathlib import Path

import pyro.distributions as dist
import torch
import typer
from torch import Tensor
from torch.distributions import constraints

from pyrovae import plots
from pyrovae.config import resolve
from pyrovae.generate import reconstruct, sample
from pyrovae.priors import Prior
from pyrovae.run import Run


class Ring(Prior):
    """Equal normal distributions around a circle in the first two coordinates; the others are normal."""

    support = constraints.real_vector

    def __init__(self, latent_dim: int, *, components: int = 10, radius: float = 3.0) -> None:
        super().__init__(latent_dim)
        angles = 2 * math.pi * torch.arange(components) / components
        centres = torch.zeros(components, latent_dim)
        centres[:, 0], centres[:, 1] = radius * angles.cos(), radius * angles.sin()
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        weights = dist.Categorical(logits=self.centres[:, 0] * 0)
        return dist.MixtureSameFamily(weights, dist.Normal(self.centres, 0.5).to_event(1))


def main(epochs: int = 60, out: Path = Path("custom_prior.png")) -> None:
    """Train under both priors, score the test data, and compare."""
    models = {}
    for name, prior in {"normal": "normal", "ring": f"{__file__}:Ring"}.items():
        run = Run.start(resolve({"prior": prior, "latent_dim": 2, "train": {"epochs": epochs}}))
        list(run.train())
        rows, _ = run.evaluation_rows("test")
        found = {row.key: row.mean for row in run.evaluate(rows.batches(100), particles=300).quantities}
        score, drawn = found["log_likelihood"], sample(run.program, 1000)
        arrays = drawn.mean[:36], drawn.z, reconstruct(run.program, rows.batches()).z
        models[name] = plots.Compared(*(each.cpu() for each in arrays), score.value, score.data_error)
        print(f"{name:<6} log p(x) = {score.value:.2f} +- {score.data_error:.2f} nats per datum")
    plots.save(plots.comparison(models, title="digits: E[x|z], codes, and log p(x) of the test data"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
