"""Bounds from several draws: the mean of importance weights, or of a power of them, for each datum."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.util import detach
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import device, sites
from pyrovae.errors import ConfigError, Problem
from pyrovae.objectives import Objective, Terms
from pyrovae.programs import PLATES, Program


class ImportanceBound(Objective):
    r"""Minus a bound from K weights of each datum.

    .. math:: -\frac{1}{n} \sum_{i=1}^{n} \frac{1}{1 - \alpha} \log \frac{1}{K}
       \sum_{k=1}^{K} w_{ik}^{1 - \alpha},
       \qquad w_{ik} = \frac{p(x_i|z_{ik})\, p(z_{ik})}{q(z_{ik}|x_i)}, \quad z_{ik} \sim q(z|x_i)

    With alpha = 1 it is its limit, minus the mean of :math:`\log w_{ik}`, which is minus the ELBO.

    Draws without gradients have that of log q(z|x), weighed with what they add to the bound (Mnih and Rezende
    2016): with alpha = 0, Pyro's ``RenyiELBO`` leaves the guide of such codes without any gradient.
    """

    def __init__(self, program: Program, *, particles: int, alpha: float, doubly: bool = False) -> None:
        super().__init__(program)
        self.alpha = alpha
        self.doubly = doubly
        self.elbo = Trace_ELBO(
            num_particles=particles,
            vectorize_particles=True,
            max_plate_nesting=PLATES,
        )

    def forward(self, x: Tensor, ramp: Tensor | float = 1.0) -> Terms:
        ((model, guide),) = self.elbo._get_traces(self.program.model, self.program.guide, (x,), {})
        if self.doubly:
            _refuse_several(guide)
            _forget_score(guide)
        observed, kl = (
            _by_particle(term, len(x)).to(device.widest(x.device))
            for term in (sites.observed(model), sites.kl(model, guide))
        )
        log_weights = observed - kl
        if self.doubly:
            _weigh_gradients(guide, log_weights.softmax(0).detach())
        bound = self._bound(log_weights)
        surrogate = bound + self._score(guide, log_weights)
        loss = -(bound.detach() + surrogate - surrogate.detach())
        return Terms(loss.mean(), observed.detach().mean(), kl.detach().mean())

    def _bound(self, log_weights: Tensor) -> Tensor:
        r"""The bound of each datum from the first dimension's weights, in nats.

        .. math:: m + \frac{1}{p} \log\Bigl(1 + \frac{1}{K} \sum_{k=1}^{K}
           \bigl(e^{p (\log w_k - m)} - 1\bigr)\Bigr), \qquad p = 1 - \alpha

        m is the largest log w. Written so, neither a large m nor a small p leaves rounding errors over p.
        """
        power = 1.0 - self.alpha
        if power == 0:
            return log_weights.mean(0)
        largest = log_weights.detach().amax(0)
        largest = largest.where(largest.isfinite(), 0.0)  # where all weights are 0, so is their mean
        excess = torch.expm1(power * (log_weights - largest)).mean(0)
        return largest + torch.log1p(excess) / power

    def _score(self, guide: Trace, log_weights: Tensor) -> Tensor:
        """What has the gradient that comes through the choice of draws without gradients, (n,)."""
        names = set(guide.stochastic_nodes) - set(guide.reparameterized_nodes)
        if not names:
            return torch.zeros_like(log_weights[0])
        scores = sum(_by_particle(sites.log_prob(guide.nodes[name]), log_weights.shape[1]) for name in names)
        return (self._gain(log_weights.detach()) * scores).sum(0)

    def _gain(self, log_weights: Tensor) -> Tensor:
        """What each draw adds to the bound, over the geometric mean of the others' weights in its place."""
        particles = len(log_weights)
        bound = self._bound(log_weights)
        if particles == 1:
            return bound.unsqueeze(0)
        others = (log_weights.sum(0) - log_weights) / (particles - 1)
        replaced = log_weights.unsqueeze(1).repeat(1, particles, 1)  # (weight, draw that is replaced, n)
        replaced.diagonal(dim1=0, dim2=1).copy_(others.T)
        return bound - self._bound(replaced)


def _by_particle(term: Tensor, n: int) -> Tensor:
    """(particles, n), where Pyro leaves out the dimension of a single particle."""
    return term.reshape(-1, n)


def _refuse_several(guide: Trace) -> None:
    """Of sites that depend on each other, a gradient would be weighed once for each that it passes."""
    if len(names := guide.stochastic_nodes) > 1:
        reason = f"'doubly-reparameterised' takes codes of one site, not of several ({', '.join(names)})"
        raise ConfigError([Problem("objective.gradient", f"{reason}; 'total' fits")])


def _forget_score(guide: Trace) -> None:
    """Leave log q(z|x) no gradient but the one through z."""
    for name in guide.reparameterized_nodes:
        site = guide.nodes[name]
        site["unscaled_log_prob"] = detach(site["fn"]).log_prob(site["value"])


def _weigh_gradients(guide: Trace, weights: Tensor) -> None:
    """Multiply the gradient that passes through each draw by its weight, (particles, n)."""
    for name in guide.reparameterized_nodes:
        value: Any = guide.nodes[name]["value"]
        event_dim = guide.nodes[name]["fn"].event_dim  # type: ignore[attr-defined]
        batch = value.shape[: value.dim() - event_dim]
        if value.requires_grad:
            value.register_hook(weights.reshape(*batch, *[1] * event_dim).to(value.dtype).mul)
