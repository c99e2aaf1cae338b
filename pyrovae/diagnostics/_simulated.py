"""Data drawn from the model of a program, and how many draws are in memory at a time; knows no component."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyrovae.diagnostics import Subject, Unavailable
from pyrovae.randomness import DatumNoise

CELLS_OF_A_DATUM = 40_000
"""How many cells of one datum's draws are in memory at a time."""


def draws_at_once(subject: Subject, draws: int) -> int:
    """How many draws of a datum are made together; no batch has a say in it, as noise depends on it."""
    return max(1, min(100, draws, CELLS_OF_A_DATUM // subject.program.event_shape.numel()))


def chunks(draws: int, at_once: int) -> Iterator[range]:
    """All draws, so many at a time."""
    return (range(start, min(draws, start + at_once)) for start in range(0, draws, at_once))


def simulated(subject: Subject, noise: DatumNoise) -> tuple[Tensor, Trace]:
    """Data drawn from the model, (n, \\*event_shape), and the trace that they were drawn in.

    Raises:
        Unavailable: the model observes several variables.
    """
    program = subject.program
    with noise:
        trace = poutine.trace(poutine.uncondition(program.model)).get_trace(program.unseen(len(noise.data)))
    return data_of(trace), trace


def data_of(trace: Trace) -> Tensor:
    """The data that a model without observations has drawn.

    Raises:
        Unavailable: the model observes several variables.
    """
    drawn = [site["value"] for site in _drawn(trace).values() if _was_observed(site)]
    if len(drawn) != 1:
        raise Unavailable("the model observes several variables")
    return drawn[0]


def codes_of(trace: Trace) -> dict[str, Tensor]:
    """The values of all latent sites."""
    return {name: site["value"] for name, site in _drawn(trace).items() if not _was_observed(site)}


def _drawn(trace: Trace) -> dict[str, Any]:
    trace = prune_subsample_sites(trace)
    return {name: trace.nodes[name] for name in trace.stochastic_nodes}


def _was_observed(site: Any) -> bool:
    return bool(site["infer"].get("was_observed"))
