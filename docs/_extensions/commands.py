"""For each component a command that trains with it, found by trying; names no component."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

from pyrovae import pairing
from pyrovae.component import find, names
from pyrovae.config import DEFAULT_COMPONENTS, SHORTHAND, layer, literal, resolve
from pyrovae.errors import PyrovaeError
from pyrovae.objectives import ELBOS
from pyrovae.run import Run

PARTNERS = {"prior": "posterior", "posterior": "prior"}

DATA: Sequence[Mapping[str, Any]] = [
    {},  # the embedded digits, 17 grey values in [0, 1]
    {"data.squeeze": 0.001},  # inside (0, 1)
    {"data.dequantize": True},
    {"data.divisor": 1},  # the counts 0, 1, ..., 16
    {"likelihood.levels": 17},
    {"likelihood.categories": 17},
]
"""Settings that make the embedded data fit likelihoods of many kinds; unknown ones are passed over."""


@cache
def command(family: str, name: str) -> str:
    """The shortest command that starts a training with a component.

    Raises:
        LookupError: there is none; its data are of no kind that :data:`DATA` has, or nothing fits it.

    Example:
        >>> command("prior", "normal")
        'pyrovae train --prior normal'
    """
    for settings in sorted(_candidates(family, name), key=len):
        if _starts(settings):
            return _typed(settings)
    raise LookupError(f"no command of docs/_extensions/commands.py trains with the {family} {name!r}")


def fitting(family: str, name: str) -> list[str]:
    """The posteriors that fit a prior, or the priors that fit a posterior; the default one first."""
    partner = PARTNERS[family]
    members = sorted(names(partner), key=lambda other: other != DEFAULT_COMPONENTS[partner])
    return [other for other in members if not _misfit(**{family: name, partner: other})]


def _misfit(prior: str, posterior: str) -> str | None:
    return pairing.misfit(find("prior", prior), find("posterior", posterior))


def _candidates(family: str, name: str) -> Iterator[dict[str, Any]]:
    """Settings with which a component may train: a partner that fits, an objective, data of its kind."""
    objectives: list[Mapping[str, Any]] = [{}, *({"objective": objective} for objective in ELBOS)]
    for partner, objective, data in product(_partner(family, name), objectives, DATA):
        yield {family: name, **partner, **objective, **data}


def _partner(family: str, name: str) -> list[Mapping[str, Any]]:
    """The setting that chooses what fits, if anything must be chosen; an empty list where nothing fits."""
    if family not in PARTNERS:
        return [{}]
    partner = PARTNERS[family]
    first = fitting(family, name)[:1]
    return [{} if other == DEFAULT_COMPONENTS[partner] else {partner: other} for other in first]


def _starts(settings: Mapping[str, Any]) -> bool:
    """Whether a run gets as far as its first step: settings are known, and parts and data fit."""
    try:
        Run.start(resolve(*(layer(place, value) for place, value in settings.items())))
    except PyrovaeError:
        return False
    return True


def _typed(settings: Mapping[str, Any]) -> str:
    """Settings as the command line takes them."""
    words = ["pyrovae", "train"]
    for place, value in settings.items():
        words += [f"--{place}", value] if place in SHORTHAND else ["--set", f"{place}={literal(value)}"]
    return shlex.join(words)
