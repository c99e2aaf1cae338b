"""ELBOs of Pyro whose KL has a weight: constant, warmed up or cyclical."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from pyro.infer import ELBO
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae import device, sites
from pyrovae.errors import ConfigError, Problem
from pyrovae.objectives import Objective, Terms
from pyrovae.programs import PLATES, Program

Particles = Annotated[int, Field(ge=1, description="draws of z for each datum and step")]
Beta = Annotated[float, Field(ge=0, description="weight of the KL, after any warm-up")]
WarmUp = Annotated[float, Field(ge=0, description="how long the weight rises from 0; 0: not at all")]
Cycle = Annotated[
    Annotated[float, Field(gt=0)] | None, Field(description="the warm-up begins again after this long")
]
Unit = Annotated[Literal["epochs", "steps"], Field(description="what warm_up and cycle are counted in")]
FreeBits = Annotated[
    float,
    Field(ge=0, description="nats of KL that each latent coordinate has for nothing, on the batch's mean"),
]
Capacity = Annotated[
    Annotated[float, Field(ge=0)] | None,
    Field(description="nats C: |KL - C|, on the batch's mean, in place of the KL; the warm-up is that of C"),
]


class Traced(ELBO):
    """One of Pyro's ELBOs, read trace by trace.

    Pyro's own losses also read what they report as a number: an accelerator would be waited for, and a graph
    knows of no numbers. So a surrogate is made of the traces here, by Pyro's formula.
    """

    analytic: ClassVar[bool] = False
    """Whether the KL is in closed form, where there is one."""

    def traces(self, model: Any, guide: Any, x: Tensor) -> Iterator[tuple[Trace, Trace]]:
        """The traces of model and guide, of all particles in one where Pyro can."""
        return self._get_traces(model, guide, (x,), {})

    @abstractmethod
    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        """What has the gradient of minus the ELBO, summed over data and particles."""

    def reconstruction(self, model: Trace, guide: Trace) -> Tensor:
        """E_q[log p(x|z)], summed over data and particles."""
        return sites.observed(model).sum()

    def kl(self, model: Trace, guide: Trace) -> Tensor:
        """KL(q(z|x) || p(z)) without any weight, summed over data and particles."""
        if self.analytic:
            return sites.kl_coordinates(model, guide, analytic=True).sum()
        return sites.kl(model, guide).sum()


class Weighted(Messenger):
    """Pyro handler that multiplies the log-probability of every latent site; around model and guide alike.

    Pyro's own ``scale`` refuses a weight of 0.
    """

    def __init__(self, weight: Tensor | float) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.weight


ROUNDING = 1e-9
"""Of a cycle: what is left of it, where it has ended but for rounding."""


class Weight(NamedTuple):
    """The weight of the KL over the course of a training."""

    beta: float
    warm_up: float
    cycle: float | None
    unit: str

    def ramp(self, epochs: float, steps: int) -> float:
        """How far the warm-up has got, in [0, 1]."""
        time = epochs if self.unit == "epochs" else steps
        if self.cycle is not None:
            time %= self.cycle
            if self.cycle - time < ROUNDING * self.cycle:  # 1.0 % 0.1 is nearly 0.1
                time = 0.0
        return min(1.0, time / self.warm_up) if self.warm_up else 1.0


class WeightedELBO(Objective):
    r"""Minus an ELBO whose KL has a weight, or something else in its place.

    .. math:: -\frac{1}{n} \sum_{i=1}^{n} \mathbb{E}_{q(z_i|x_i)}[\log p(x_i|z_i)]
       + \beta\, r\, R(\text{KL})

    r is how far the warm-up has got. R is the batch's mean KL; or, with free bits, the sum over coordinates
    of their mean KL or the free bits, whichever is more; or, with a capacity C, |KL - C r|, and r not before.
    """

    def __init__(
        self,
        program: Program,
        elbo: type[Traced],
        weight: Weight,
        *,
        particles: int = 1,
        free_bits: float = 0.0,
        capacity: float | None = None,
    ) -> None:
        super().__init__(program)
        if weight.cycle is not None and not weight.warm_up:
            raise ConfigError(
                [Problem("objective.cycle", "without objective.warm_up there is none to repeat")]
            )
        if weight.cycle is not None and weight.cycle < weight.warm_up:
            message = f"{weight.cycle} is shorter than objective.warm_up, {weight.warm_up}"
            raise ConfigError([Problem("objective.cycle", message)])
        if capacity is not None and free_bits > 0:
            raise ConfigError([Problem("objective.capacity", "free bits and a capacity exclude each other")])
        self.elbo = elbo(
            num_particles=particles,
            vectorize_particles=particles > 1,
            max_plate_nesting=PLATES,
        )
        self.weight = weight
        self.free_bits = free_bits
        self.capacity = capacity

    def ramp(self, epochs: float, steps: int) -> float:
        return self.weight.ramp(epochs, steps)

    def forward(self, x: Tensor, ramp: Tensor | float = 1.0) -> Terms:
        weight = self.weight.beta if self.capacity is not None else self.weight.beta * ramp
        weighted = Weighted(weight)
        model, guide = weighted(self.program.model), weighted(self.program.guide)
        (traces,) = self.elbo.traces(model, guide, x)
        surrogate = self.elbo.surrogate(*traces)
        with torch.no_grad():
            sums = surrogate, self.elbo.reconstruction(*traces), self.elbo.kl(*traces)
        draws = self.elbo.num_particles * len(x)
        surrogate, reconstruction, kl = (each.to(device.widest(x.device)) / draws for each in sums)
        loss = weight * kl - reconstruction + (surrogate - surrogate.detach())
        return Terms(loss + self._change(*traces, weight, ramp), reconstruction, kl)

    def _change(
        self, model: Trace, guide: Trace, weight: Tensor | float, ramp: Tensor | float
    ) -> Tensor | float:
        """What R(KL) adds to the weighted KL, in nats per datum."""
        if self.capacity is None and self.free_bits == 0:
            return 0.0
        kl = sites.kl_coordinates(model, guide, analytic=self.elbo.analytic)
        kl = kl.flatten(end_dim=-2).mean(0)
        if self.capacity is not None:
            return weight * ((kl.sum() - self.capacity * ramp).abs() - kl.sum())
        return weight * (kl.clamp(min=self.free_bits) - kl).sum()
