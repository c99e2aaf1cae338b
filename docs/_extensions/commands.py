"""For each component a command that trains with it, found by trying, or asks for it; names no component."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice, product
from typing import Any

from pyrovae import pairing
from pyrovae.component import find, names
from pyrovae.config import DEFAULT_COMPONENTS, SHORTHAND, layer, literal, resolve
from pyrovae.errors import PyrovaeError
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
    """The shortest command that starts a training with a component, or asks for a diagnostic of a run.

    Raises:
        LookupError: there is none; its data are of no kind that :data:`DATA` has, or nothing fits it.

    Example:
        >>> command("prior", "normal")
        'pyrovae train --prior normal'
    """
    if family not in DEFAULT_COMPONENTS:  # no part of a run
        return shlex.join(["pyrovae", "evaluate", "RUN", "--with", name])
    for settings in sorted(_candidates(family, name), key=len):
        if _starts(settings):
            return _typed(settings)
    raise LookupError(f"no command of docs/_extensions/commands.py trains with the {family} {name!r}")


def fitting(family: str, name: str) -> list[str]:
    """The posteriors that fit a prior, or the priors that fit a posterior; the default one first."""
    partner = PARTNERS[family]
    return [other for other in _default_first(partner) if not _misfit(**{family: name, partner: other})]


def trained_by(objective: str, posterior: str, prior: str | None = None) -> bool:
    """Whether an objective can train a posterior, with a prior or with one that suits it."""
    given = find("prior", prior) if prior else None
    return pairing.objective_misfit(find("objective", objective), find("posterior", posterior), given) is None


def _default_first(family: str) -> list[str]:
    return sorted(names(family), key=lambda name: name != DEFAULT_COMPONENTS[family])


def _misfit(prior: str, posterior: str) -> str | None:
    return pairing.misfit(find("prior", prior), find("posterior", posterior))


def _candidates(family: str, name: str) -> Iterator[dict[str, Any]]:
    """Settings with which a component may train: a partner that fits, an objective, data of its kind."""
    others = [{"objective": other} for other in names("objective")] if family != "objective" else []
    objectives: list[Mapping[str, Any]] = [{}, *others]
    for partner, objective, data in product(_partners(family, name), objectives, DATA):
        yield {family: name, **partner, **objective, **data}


def _partners(family: str, name: str) -> list[Mapping[str, Any]]:
    """The settings that choose what fits, if anything must be chosen; an empty list where nothing fits."""
    if family == "objective":
        return _chosen(pair for pair in _pairs() if trained_by(name, **pair))
    if family not in PARTNERS:
        return [{}]
    return _chosen({PARTNERS[family]: other} for other in fitting(family, name))


def _pairs() -> Iterator[dict[str, str]]:
    """Priors and posteriors that fit each other, the default ones first."""
    for prior, posterior in product(_default_first("prior"), _default_first("posterior")):
        if not _misfit(prior=prior, posterior=posterior):
            yield {"prior": prior, "posterior": posterior}


def _chosen(settings: Iterable[Mapping[str, str]]) -> list[Mapping[str, Any]]:
    """The first settings, without what is chosen anyway."""
    return [
        {family: name for family, name in each.items() if name != DEFAULT_COMPONENTS[family]}
        for each in islice(settings, 1)
    ]


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
