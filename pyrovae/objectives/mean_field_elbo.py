"""The evidence lower bound, with its KL in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae import sites
from pyrovae.errors import ConfigError, Problem
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


class MeanFieldElbo(WeightedELBO):
    r"""The evidence lower bound, with the KL in closed form where torch has one, and from draws elsewhere.

    .. math:: \text{ELBO}(x) = \mathbb{E}_{q(z|x)}[\log p(x|z)] - \text{KL}\bigl(q(z|x) \,\|\, p(z)\bigr)

    Args:
        program: model and guide.
        particles: draws of z for each datum and step.
        beta: weight of the KL, after any warm-up.
        warm_up: how long the weight rises linearly from 0; 0 for not at all.
        cycle: the warm-up begins again after this long; ``None``: never.
        unit: what ``warm_up`` and ``cycle`` are counted in.
        free_bits: nats of KL that each latent coordinate has for nothing, on the mean over the batch.
        capacity: C in nats; :math:`\beta |\text{KL} - C|` replaces the weighted KL, the warm-up is that of C.

    Raises:
        ConfigError: a cycle without a warm-up or shorter than it; free bits beside a capacity; when called,
            codes without gradients through their draws, or drawn in another order than the model's.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, equation 7; of the options, as for
    ``elbo``.

    Example:
        >>> MeanFieldElbo(program, beta=4.0, warm_up=10)(x, ramp=0.5).kl > 0  # without the weight, 2
        tensor(True)
    """

    # With validation off, Pyro leaves out the score of sites that are not reparameterised.
    needs = frozenset({Need.GRADIENTS})

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
    ) -> None:
        weight = Weight(beta, warm_up, cycle, unit)
        super().__init__(
            program, _TraceMeanFieldELBO, weight, particles=particles, free_bits=free_bits, capacity=capacity
        )

    @classmethod
    def needs_of_options(cls, options: Mapping[str, Any]) -> list[tuple[str, Need]]:
        return [("free_bits", Need.COORDINATES)] if options["free_bits"] > 0 else []


class _TraceMeanFieldELBO(Traced, TraceMeanField_ELBO):
    analytic = True

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        if names := ", ".join(sorted(guide.nonreparam_stochastic_nodes)):  # whatever a posterior declares
            raise ConfigError(
                [
                    Problem(
                        "objective.name",
                        f"'mean-field-elbo' needs gradients through draws: {names} have none",
                    )
                ]
            )
        if names := ", ".join(sites.out_of_order(model, guide)):
            reason = "'mean-field-elbo' needs a guide that draws codes in the order of the model: it draws"
            raise ConfigError(
                [
                    Problem(
                        "objective.name", f"{reason} {names} before others that come first there; 'elbo' fits"
                    )
                ]
            )
        total: Any = 0
        for site in sites.drawn(model):
            if site["is_observed"]:
                total = total + site["log_prob_sum"]
                continue
            q: Any = guide.nodes[site["name"]]
            try:
                kl = scale_and_mask(kl_divergence(q["fn"], site["fn"]), q["scale"], q["mask"])
            except NotImplementedError:  # torch has no closed form for this pair
                total = total + site["log_prob_sum"] - q["score_parts"].entropy_term.sum()
            else:
                total = total - kl.sum()
        return -total
