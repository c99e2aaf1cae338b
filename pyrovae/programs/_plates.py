"""The plates of a program: one over the data, and around it one over the draws of their codes."""

from __future__ import annotations

import pyro

PLATES = 1
"""How many plates a model and a guide have themselves: that over the data."""

PARTICLES = -1 - PLATES
"""The dimension, from the right, of the draws of codes for each datum."""


def particle_plate(draws: int) -> pyro.plate:
    """The plate over so many draws of the codes of each datum, around that over the data."""
    return pyro.plate("particles", draws, dim=PARTICLES)
