"""The evidence lower bound of discrete codes, summed over all of their values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.ops import packed
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import sites
from pyrovae.errors import ConfigError, Problem
from pyrovae.objectives import Need
from pyrovae.objectives._weighted import Beta, Cycle, Traced, Unit, WarmUp, Weight, WeightedELBO
from pyrovae.programs import Program
from pyrovae.pyro_compat import expectation, plates_of

MOST_CODES = 4096
"""How many codes are decoded for each datum at the most: beyond, a step takes gigabytes."""


class EnumElbo(WeightedELBO):
    r"""The evidence lower bound of discrete codes, exactly: the expectation is a sum over all values of z.

    .. math:: \text{ELBO}(x) = \sum_z q(z|x) \bigl[\log p(x|z) + \log p(z) - \log q(z|x)\bigr]

    Its gradient has no noise from draws. d variables of K values each are :math:`K^d` codes for every datum,
    all of which are decoded in every step; more than 4,096 are refused.

    Args:
        program: model and guide.
        beta: weight of the KL, after any warm-up.
        warm_up: how long the weight rises linearly from 0; 0 for not at all.
        cycle: the warm-up begins again after this long; ``None``: never.
        unit: what ``warm_up`` and ``cycle`` are counted in.

    Raises:
        ConfigError: a cycle without a warm-up or shorter than it; too many codes.

    Source: Pyro's documentation of ``TraceEnum_ELBO``.

    Example:
        >>> codes = {"prior": "bernoulli", "posterior": "bernoulli", "latent_dim": 3}
        >>> objective = EnumElbo(build(resolve(codes), Size([1, 8, 8])))
        >>> bool(objective(x).loss == objective(x).loss)  # nothing is drawn
        True
    """

    needs = frozenset({Need.SUMMABLE})

    def __init__(
        self,
        program: Program,
        *,
        beta: Beta = 1.0,
        warm_up: WarmUp = 0.0,
        cycle: Cycle = None,
        unit: Unit = "epochs",
    ) -> None:
        weight = Weight(beta, warm_up, cycle, unit)
        super().__init__(program, _TraceEnumELBO, weight)
        _refuse_too_many_codes(program)


def _refuse_too_many_codes(program: Program) -> None:
    values = program.codes.values
    if math.prod(values) > MOST_CODES:
        number = " x ".join(f"{each}^{count}" for each, count in Counter(values).items())
        message = (
            f"'enum-elbo' decodes every code for every datum, and there are {number} of them; at "
            f"most {MOST_CODES:,} are: have fewer latent variables or categories, or an objective that draws"
        )
        raise ConfigError([Problem("objective.name", message)])


class _TraceEnumELBO(Traced, TraceEnum_ELBO):
    def traces(self, model: Any, guide: Any, x: Tensor) -> Iterator[tuple[Trace, Trace]]:
        return super().traces(model, config_enumerate(guide), x)

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        of_model = [(site, site["packed"]["log_prob"]) for site in sites.drawn(model)]
        of_guide = [(site, packed.neg(site["packed"]["log_prob"])) for site in sites.drawn(guide)]
        return -_expectation(guide, of_model + of_guide)

    def reconstruction(self, model: Trace, guide: Trace) -> Tensor:
        return _expectation(guide, [(site, _unscaled(site)) for site in sites.drawn(model) if _is_data(site)])

    def kl(self, model: Trace, guide: Trace) -> Tensor:
        of_guide = [(site, _unscaled(site)) for site in sites.drawn(guide)]
        of_model = [(site, packed.neg(_unscaled(site))) for site in sites.drawn(model) if not _is_data(site)]
        return _expectation(guide, of_guide + of_model)


def _is_data(site: Any) -> bool:
    return bool(site["is_observed"])


def _unscaled(site: Any) -> Tensor:
    of_site = site["packed"]
    return packed.scale_and_mask(of_site["unscaled_log_prob"], mask=of_site["mask"])


def _expectation(guide: Trace, terms: list[tuple[Any, Tensor]]) -> Tensor:
    """The expectation under the guide of terms of sites, summed over data."""
    costs: dict[Any, list[Tensor]] = {}
    for site, term in terms:
        costs.setdefault(plates_of(guide, site), []).append(term)
    return expectation(guide, costs)
