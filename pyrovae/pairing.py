"""Which components fit each other, and if not, why; knows them by what they declare, and builds none."""

from __future__ import annotations

from typing import Any

from pyrovae import component, supports
from pyrovae.errors import Problem
from pyrovae.objectives import ELBOS, ObjectiveName


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


def objective_misfit(objective: ObjectiveName, posterior: Any) -> str | None:
    """Why an objective cannot train a posterior; ``None`` where it can."""
    if ELBOS[objective].needs_reparameterized and not posterior.reparameterized:
        return f"{objective!r} needs gradients through draws, and those of {_name(posterior)!r} have none"
    return None


def objective_refusal(objective: ObjectiveName, posterior: Any) -> Problem | None:
    """What to say to a user who asked for an objective that cannot train the posterior."""
    reason = objective_misfit(objective, posterior)
    if reason is None:
        return None
    fitting = [name for name in ELBOS if objective_misfit(name, posterior) is None]
    return Problem("objective.name", f"{reason}; what fits: {', '.join(fitting)}")


def _name(part: Any) -> str:
    return component.name_of(part if isinstance(part, type) else type(part))
