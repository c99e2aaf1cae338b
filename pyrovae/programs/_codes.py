"""What a program declares of its codes; knows no program, and no component but by its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyrovae import component


@dataclass(frozen=True)
class Codes:
    """What objectives may ask of p(z) and q(z|x)."""

    name: str
    """Of what has these codes, for sentences."""

    reparameterized: bool
    """Whether gradients pass through draws."""

    only_own_draws: str | None
    """Why q(z|x) is known at its own draws only; ``None`` where it is known everywhere."""

    is_density: bool
    """Whether q(z|x) has a density; a point has none."""

    one_site_per_variable: bool
    """Whether each latent variable is discrete and a site of its own, so that an objective can sum it out."""

    has_independent_coordinates: bool
    """Whether the coordinates of a code are independent, under the prior and given x."""

    has_independent_sites: bool = True
    """Whether the sites of a code do not depend on each other, under the prior and given x."""

    values: tuple[int, ...] = ()
    """How many values each latent variable has, where each is a site of its own."""

    @classmethod
    def declared(cls, posterior: Any, prior: Any = None, values: tuple[int, ...] = ()) -> Codes:
        """What a posterior and a prior declare.

        Args:
            posterior: a component or its class.
            prior: a component or its class; ``None``: one with independent coordinates.
            values: how many values each latent variable has.
        """
        member = posterior if isinstance(posterior, type) else type(posterior)
        return cls(
            name=component.name_of(member),
            reparameterized=posterior.reparameterized,
            only_own_draws=posterior.only_own_draws,
            is_density=posterior.is_density,
            one_site_per_variable=posterior.one_site_per_variable,
            has_independent_coordinates=posterior.has_independent_coordinates
            and (prior is None or prior.has_independent_coordinates),
            values=values,
        )
