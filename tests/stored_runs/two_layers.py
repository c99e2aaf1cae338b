"""The program that the stored run ``own_program`` was trained with: two layers of codes."""

import pyro
import pyro.distributions as dist
from torch import Size, Tensor, nn

from pyrovae.programs import Program


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
