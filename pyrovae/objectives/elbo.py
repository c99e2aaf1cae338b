"""The evidence lower bound, with its KL at the values drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pyro.distributions.util import detach, is_identically_zero, scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import sites
from pyrovae.objectives import Need
from pyrovae.objectives._weighted import (
    Beta,
    Capacity,
    Cycle,
    FreeBits,
    Particles,
    Traced,
    Unit,
    WarmUp,
    Weight,
    WeightedELBO,
)
from pyrovae.programs import Program
from pyrovae.pyro_compat import log_ratios

Gradient = Annotated[
    Literal["total", "sticking-the-landing"],
    Field(description="all of log q(z|x), or without its score, whose expectation is 0"),
]


class Elbo(WeightedELBO):
    r"""The evidence lower bound, from draws.

    .. math:: \text{ELBO}(x) = \mathbb{E}_{q(z|x)}\bigl[\log p(x|z) + \log p(z) - \log q(z|x)\bigr]

    The loss is minus its mean over the batch. Where draws have no gradient, Pyro weighs that of log q(z|x)
    with the terms of the same datum. With a weight :math:`\beta \ge 1` of the KL it still is a lower bound of
    log p(x); with a smaller one it need not be.

    Args:
        program: model and guide.
        particles: draws of z for each datum and step.
        beta: weight of the KL, after any warm-up.
        warm_up: how long the weight rises linearly from 0; 0 for not at all.
        cycle: the warm-up begins again after this long; ``None``: never.
        unit: what ``warm_up`` and ``cycle`` are counted in.
        free_bits: lambda, nats that each latent coordinate's KL, on the mean over the batch, has for nothing:
            max(lambda, KL) is what counts.
        capacity: C in nats; :math:`\beta |\text{KL} - C|` replaces the weighted KL, the warm-up is that of C.
        gradient: ``sticking-the-landing`` leaves out the gradient of log q(z|x) with respect to its
            parameters at a fixed z: without bias, and without variance where q(z|x) is the posterior.

    Raises:
        ConfigError: a cycle without a warm-up or shorter than it; free bits beside a capacity.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, equation 3. beta: Higgins et al.,
    *beta-VAE*, 2017. Warm-up: Bowman et al., *Generating Sentences from a Continuous Space*, 2016; cycles:
    Fu et al., *Cyclical Annealing Schedule*, 2019. Free bits: Kingma et al., *Improving Variational Inference
    with Inverse Autoregressive Flow*, 2016. Capacity: Burgess et al., *Understanding Disentangling in
    beta-VAE*, 2018. Sticking the landing: Roeder, Wu and Duvenaud, 2017.

    Example:
        >>> loss, reconstruction, kl = Elbo(program)(x)  # loss = KL - reconstruction, in nats per datum
        >>> loss.backward()
    """

    def __init__(
        self,
        program: Program,
        *,
        particles: Particles = 1,
        beta: Beta = 1.0,
        warm_up: WarmUp = 0.0,
        cycle: Cycle = None,
        unit: Unit = "epochs",
        free_bits: FreeBits = 0.0,
        capacity: Capacity = None,
        gradient: Gradient = "total",
    ) -> None:
        elbo = _TraceELBO if gradient == "total" else _StickingELBO
        weight = Weight(beta, warm_up, cycle, unit)
        super().__init__(program, elbo, weight, particles=particles, free_bits=free_bits, capacity=capacity)

    @classmethod
    def needs_of_options(cls, options: Mapping[str, Any]) -> list[tuple[str, Need]]:
        needs = []
        if options["free_bits"] > 0:
            needs += [("free_bits", Need.GRADIENTS), ("free_bits", Need.COORDINATES)]
        if options["capacity"] is not None:
            needs += [("capacity", Need.GRADIENTS)]
        if options["gradient"] != "total":
            needs += [("gradient", Need.GRADIENTS), ("gradient", Need.ANY_VALUE)]
        return needs


class _TraceELBO(Traced, Trace_ELBO):
    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        return -_surrogate(model, guide)


class _StickingELBO(_TraceELBO):
    """Its log q(z|x) has no gradient but the one through z."""

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        for name in guide.reparameterized_nodes:
            _stick(guide.nodes[name])
        return super().surrogate(model, guide)


def _surrogate(model: Trace, guide: Trace) -> Tensor:
    """What has the gradient of the ELBO, as ``Trace_ELBO`` differentiates it."""
    total: Any = 0
    for site in sites.drawn(model):
        total = total + site["log_prob_sum"]
    ratios = None
    for site in sites.drawn(guide):
        _, score, entropy = site["score_parts"]
        if not is_identically_zero(entropy):
            total = total - entropy.sum()
        if not is_identically_zero(score):  # it has no gradient through its draw
            ratios = log_ratios(model, guide) if ratios is None else ratios
            total = total + (ratios.sum_to(site["cond_indep_stack"]) * score).sum()
    return total


def _stick(site: Any) -> None:
    log_prob = detach(site["fn"]).log_prob(site["value"])
    log_prob = scale_and_mask(log_prob, site["scale"], site["mask"])
    site["score_parts"] = site["score_parts"]._replace(entropy_term=log_prob)
