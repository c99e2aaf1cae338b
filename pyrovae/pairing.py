"""Which components fit each other, and if not, why; knows them by what they declare, and builds none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae import component, supports
from pyrovae.errors import Problem
from pyrovae.objectives import Need
from pyrovae.programs import Codes


def misfit(prior: Any, posterior: Any) -> str | None:
    """Why a prior and a posterior cannot be used together; ``None`` where they can.

    Args:
        prior: a component or its class.
        posterior: a component or its class.
    """
    if not supports.same(prior.support, posterior.support):
        return (
            f"{_name(posterior)!r} lives on {supports.in_words(posterior.support)}, "
            f"the prior {_name(prior)!r} on {supports.in_words(prior.support)}"
        )
    if prior.scores_posterior and posterior.only_own_draws is not None:
        return (
            f"the prior {_name(prior)!r} needs q(z|x) at any value, and {_name(posterior)!r} gives it at its "
            f"own draws only: {posterior.only_own_draws}"
        )
    return None


def refusal(prior: Any, posterior: Any) -> Problem | None:
    """What to say to a user who asked for a prior and a posterior that do not fit."""
    reason = misfit(prior, posterior)
    if reason is None:
        return None
    fitting = [
        name
        for name in component.names("posterior")
        if misfit(prior, component.find("posterior", name)) is None
    ]
    return Problem("posterior.name", f"{reason}; posteriors that fit: {', '.join(fitting) or 'none'}")


def objective_misfit(objective: Any, posterior: Any, prior: Any = None) -> str | None:
    """Why an objective cannot train a posterior, whatever its options; ``None`` where it can.

    Args:
        objective: a component or its class.
        posterior: a component or its class.
        prior: a component or its class; ``None``: one that suits the objective.
    """
    return _misfit(objective, Codes.declared(posterior, prior))


def objective_refusals(objective: Any, options: Mapping[str, Any], codes: Codes) -> list[Problem]:
    """What to say to a user who asked for an objective, or an option of it, that cannot train such codes."""
    problems = []
    if (reason := _misfit(objective, codes)) is not None:
        fitting = [
            name
            for name in component.names("objective")
            if _misfit(component.find("objective", name), codes) is None
        ]
        problems.append(Problem("objective.name", f"{reason}; what fits: {', '.join(fitting)}"))
    for option, need in objective.needs_of_options(options):
        if not _met(need, codes):
            reason = f"{options[option]!r} {_because(need, codes)}"
            problems.append(Problem(f"objective.{option}", reason))
    return problems


def _misfit(objective: Any, codes: Codes) -> str | None:
    unmet = [need for need in objective.needs if not _met(need, codes)]
    return f"{_name(objective)!r} {_because(min(unmet), codes)}" if unmet else None


def _met(need: Need, codes: Codes) -> bool:
    return {
        Need.GRADIENTS: codes.reparameterized,
        Need.ANY_VALUE: codes.only_own_draws is None,
        Need.DENSITY: codes.is_density,
        Need.SUMMABLE: codes.one_site_per_variable,
        Need.COORDINATES: codes.has_independent_coordinates,
        Need.SITES: codes.has_independent_sites,
    }[need]


def _because(need: Need, codes: Codes) -> str:
    """Why a need is not met."""
    name = codes.name
    return {
        Need.GRADIENTS: f"needs gradients through draws, and those of {name!r} have none",
        Need.ANY_VALUE: f"needs q(z|x) at any value, and {name!r} gives it at its own draws only: "
        f"{codes.only_own_draws}",
        Need.DENSITY: f"needs a density q(z|x), and {name!r} is a point",
        Need.SUMMABLE: f"sums over discrete codes, each a site of its own, and those of {name!r} are none",
        Need.COORDINATES: "needs codes whose coordinates are independent, under the prior and given x",
        Need.SITES: f"needs sites of codes that do not depend on each other, and those of {name!r} do",
    }[need]


def _name(part: Any) -> str:
    return component.name_of(part if isinstance(part, type) else type(part))
