"""The evidence lower bound of discrete codes, summed over all of their values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.traceenum_elbo import _compute_dice_elbo, _compute_model_factors
from pyro.infer.util import Dice
from pyro.ops import packed
from pyro.poutine import Trace
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.errors import ConfigError, Problem
from pyrovae.objectives import Need
from pyrovae.objectives._weighted import Beta, Cycle, Traced, Unit, WarmUp, Weight, WeightedELBO
from pyrovae.programs import Program

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


class _Everywhere(TorchFunctionMode):
    """Pyro leaves out what has a probability of 0: here it counts 0, so that no shape depends on values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.all:
            return False
        if func is Tensor.masked_select:
            values, mask = args
            return values.where(mask, 0.0)
        return func(*args, **(kwargs or {}))


class _TraceEnumELBO(Traced, TraceEnum_ELBO):
    def traces(self, model: Any, guide: Any, x: Tensor) -> Iterator[tuple[Trace, Trace]]:
        return super().traces(model, config_enumerate(guide), x)

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        with _Everywhere():
            return -_compute_dice_elbo(model, guide)

    def reconstruction(self, model: Trace, guide: Trace) -> Tensor:
        return _expectation(
            model, guide, [(name, _unscaled(model, name)) for name in model.observation_nodes]
        )

    def kl(self, model: Trace, guide: Trace) -> Tensor:
        of_guide = [(name, _unscaled(guide, name)) for name in guide.stochastic_nodes]
        of_model = [(name, packed.neg(_unscaled(model, name))) for name in model.stochastic_nodes]
        return _expectation(model, guide, of_guide + of_model)


def _unscaled(trace: Trace, name: str) -> Tensor:
    of_site: Any = trace.nodes[name]["packed"]
    return packed.scale_and_mask(of_site["unscaled_log_prob"], mask=of_site["mask"])


def _expectation(model: Trace, guide: Trace, terms: list[tuple[str, Tensor]]) -> Tensor:
    """The expectation under the guide of terms of sites, summed over data."""
    ordering = _compute_model_factors(model, guide)[2]
    costs: dict[Any, list[Tensor]] = {}
    for name, term in terms:
        costs.setdefault(ordering[name], []).append(term)
    with _Everywhere():
        return Dice(guide, ordering).compute_expectation(costs)
