"""A Pyro program of your own: two layers of codes, and a guide from the bottom up.

python examples/custom_program.py                                  # digits, about a minute
pyrovae train --program examples/custom_program.py:TwoLayers       # and every other command
"""

from pathlib import Path

import pyro
import pyro.distributions as dist
import typer
from torch import Size, Tensor, nn

from pyrovae import generate, plots
from pyrovae.config import resolve
from pyrovae.programs import Program
from pyrovae.run import Run


class TwoLayers(Program):
    """p(z2) p(z1|z2) p(x|z1), with q(z1|x) q(z2|z1)."""

    def __init__(self, event_shape: Size, latent_dim: int, *, units: int = 256) -> None:
        super().__init__(event_shape)
        cells, two = event_shape.numel(), 2 * latent_dim
        ends = {"p_z1": (2, two), "p_x": (latent_dim, cells), "q_z1": (cells, two), "q_z2": (latent_dim, 4)}
        layers = {key: [nn.Linear(i, units), nn.ReLU(), nn.Linear(units, o)] for key, (i, o) in ends.items()}
        self.nets = nn.ModuleDict({key: nn.Sequential(*net) for key, net in layers.items()})

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", self._normal("p_z1", z2))
            logits = self.nets["p_x"](z1).unflatten(-1, self.event_shape)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(len(self.event_shape)), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", self._normal("q_z1", x.flatten(1)))
            pyro.sample("z2", self._normal("q_z2", z1))

    def _normal(self, net: str, given: Tensor) -> dist.TorchDistribution:
        loc, scale = self.nets[net](given).chunk(2, -1)
        return dist.Normal(loc, nn.functional.softplus(scale) + 1e-3).to_event(1)


def main(epochs: int = 60, out: Path = Path("custom_program.png")) -> None:
    """Train it on the digits, score the test data, and picture what it draws."""
    run = Run.start(resolve({"program": f"{__file__}:TwoLayers", "train": {"epochs": epochs}}))
    list(run.train())
    for row in run.evaluate(run.evaluation_rows()[0].batches(100), particles=300).quantities[:4]:
        print(f"{row.label}: {row.mean.value:.2f} +- {row.mean.data_error:.2f} nats per datum")
    drawn = generate.sample(run.program, 64).mean.cpu()
    plots.save(plots.grid(drawn, title="E[x|z], codes from p(z1, z2)"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
