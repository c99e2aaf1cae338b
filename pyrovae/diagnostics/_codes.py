"""Codes of data as a guide draws them, and their parts by name; knows no component, estimates nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyrovae import sites
from pyrovae.data import Split
from pyrovae.diagnostics import Unavailable
from pyrovae.evaluate import CELLS_AT_ONCE
from pyrovae.programs import Program, particle_plate
from pyrovae.randomness import DatumNoise


class Traces(NamedTuple):
    """Runs of a model and its guide on the same codes, in a plate of draws, with log-probabilities."""

    model: Trace
    guide: Trace


def latent(trace: Trace) -> dict[str, Any]:
    """The sites of a trace that are drawn and not observed, by name."""
    return {name: trace.nodes[name] for name in trace.stochastic_nodes}


def batches(rows: Split, size: int) -> Iterator[tuple[Tensor, range]]:
    """The data, ``size`` at a time, with their indices."""
    for start in range(0, len(rows), size):
        data = range(start, min(start + size, len(rows)))
        yield rows.rows(slice(data.start, data.stop)), data


def drawn(program: Program, x: Tensor, draws: int) -> Trace:
    """The guide's draws z ~ q(z|x) in a plate: values of shape (draws, n, ...)."""
    with particle_plate(draws):
        return prune_subsample_sites(poutine.trace(program.guide).get_trace(x))


def both(program: Program, x: Tensor, draws: int) -> Traces:
    """Draws of codes in a plate, and the model on them.

    Raises:
        Unavailable: the model and the guide do not draw the same variables.
    """
    guide = drawn(program, x, draws)
    with particle_plate(draws):
        model = poutine.trace(poutine.replay(program.model, guide)).get_trace(x)
    model = prune_subsample_sites(model)
    if set(model.stochastic_nodes) != set(guide.stochastic_nodes):
        raise Unavailable("the model and the guide do not draw the same variables")
    model.compute_log_prob()
    guide.compute_log_prob()
    return Traces(model, guide)


def scored(
    program: Program, x: Tensor, data: Sequence[int], key: Sequence[int | str], draws: int
) -> Iterator[Traces]:
    """Draws of codes and the model on them, each datum's with its own noise; as many at a time as fit.

    Args:
        program: model and guide.
        x: the data, (n, \\*event_shape).
        data: their indices.
        key: of the noise.
        draws: how many for each datum, in all.
    """
    at_once = max(1, min(100, CELLS_AT_ONCE // program.event_shape.numel()))
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        with DatumNoise((*key, start), data):
            traces = both(program, x, count)
        yield traces


def refuse_points(program: Program) -> None:
    """Raise ``Unavailable`` where q(z|x) has no density."""
    if not program.codes.is_density:
        raise Unavailable("q(z|x) is a point, and has no density")


def categories(site: Any) -> int:
    """How many entries of a code are one variable: the categories of a one-hot code, else 1."""
    return sites.categories(site["fn"].event_shape, site["fn"].support)


def unit_names(site: Any) -> list[str]:
    """What the variables of a site are called."""
    return sites.variables(site["name"], site["fn"].event_shape, site["fn"].support)


def dependence(traces: Traces, name: str) -> str:
    """Why the coordinates of a site are not taken one by one; empty where they are independent."""
    for trace, where in ((traces.model, "under p(z)"), (traces.guide, "under q(z|x)")):
        site: Any = trace.nodes[name]
        is_one_variable = site["fn"].event_shape.numel() == categories(site)
        if not is_one_variable and sites.coordinates(site["fn"]) is None:
            return f"the coordinates of {name} are not known to be independent {where}"
    return ""
