"""What runs of a model and a guide on a few data show: what they are made of, and what is wrong with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions.constraints import Constraint

from pyrovae import component, sites, supports
from pyrovae.errors import ConfigError, Problem, PyrovaeError, raised
from pyrovae.isolation import isolated, switched
from pyrovae.programs._codes import Codes
from pyrovae.programs._plates import particle_plate
from pyrovae.randomness import seeded

if TYPE_CHECKING:
    from pyrovae.programs import Program

PLATE = "data"
DRAWS = 2
"""Of codes for each datum, in a plate around that of the data."""


def support(program: Program) -> Constraint:
    """The set on which each cell of a datum lives, as the observed site has it."""
    with _trying(program):
        return supports.of_cells(_observed(_without_data(program))["fn"])


def codes(program: Program) -> Codes:
    """What the sites of a program are like, on a datum that its model has drawn."""
    with _trying(program):
        x = _observed(_without_data(program))["value"].detach()
        drawn = _trace(program.guide, x)
        # What depends on a draw has a gradient to it, if the draw is made the start of one.
        leaves = _as_leaves(drawn)
        guide, model = (_trace(poutine.replay(each, leaves), x) for each in (program.guide, program.model))
        latents: list[Any] = [
            trace.nodes[name] for trace in (guide, model) for name in drawn.stochastic_nodes
        ]
        of_guide: list[Any] = [drawn.nodes[name] for name in drawn.stochastic_nodes]
        apart = _independent(guide) and _independent(model)
        values = [_number_of_values(site["fn"]) for site in of_guide]
        return Codes(
            name=component.name_of(type(program)),
            reparameterized=not drawn.nonreparam_stochastic_nodes,
            only_own_draws=_only_own_draws(of_guide),
            is_density=not any(isinstance(_base(site["fn"]), Delta) for site in of_guide),
            one_site_per_variable=all(values),
            has_independent_coordinates=apart and all(_has_coordinates(site["fn"]) for site in latents),
            has_independent_sites=apart,
            values=tuple(value for value in values if value) if all(values) else (),
        )


def rehearse(program: Program, function: Callable[[Tensor], Any], x: Tensor) -> None:
    """Call something that runs a program, an objective say, for what it refuses or raises.

    Raises:
        ConfigError: by the function, or what it raises in a sentence.
    """
    with _trying(program, ", run by its objective,"):
        function(x)


def check(program: Program, x: Tensor) -> None:
    """Refuse, in a sentence, a program that is not what it must be.

    Args:
        program: model and guide.
        x: some data, (n, \\*event_shape).

    Raises:
        ConfigError: naming the site, or the line that raised.
    """
    with _trying(program):
        guide = _trace(program.guide, x)
        _check_plate(guide, "guide", len(x))
        model = _trace(poutine.replay(program.model, guide), x)
        _check_plate(model, "model", len(x))
        _check_sites(model, guide, x)
    with _trying(program, ", given several draws of z for each datum as dimensions on the left,"):
        with particle_plate(DRAWS):
            guide = _trace(program.guide, x)
            model = _trace(poutine.replay(program.model, guide), x)
        for trace in (guide, model):
            trace.compute_log_prob()
    with _trying(program, ", run without data as it is to sample,"):
        _observed(_without_data(program))["fn"].mean  # noqa: B018 - what pictures show


class _Wrong(Exception):  # noqa: N818 - a part of a sentence
    """What is wrong with a program, after "its"."""


@contextlib.contextmanager
def _trying(program: Program, when: str = "") -> Iterator[None]:
    """Inside, a program runs as in evaluation, under noise of its own; what is wrong with it is an error."""
    name = component.name_of(type(program))
    try:
        with (
            isolated(),
            switched(program, training=False),
            seeded("trial"),
            pyro.get_param_store().scope(),
            pyro.validation_enabled(False),
            torch.enable_grad(),
        ):
            yield
    except _Wrong as wrong:
        raise ConfigError([Problem("program.name", f"{name!r} does not fit: {wrong}")]) from None
    except PyrovaeError:
        raise
    except Exception as error:  # of the user's own code, which may raise anything
        raise ConfigError(
            [Problem("program.name", f"{name!r}{when} raises {raised(error, _is_no_librarys)}")]
        ) from error


def _is_no_librarys(file: Path) -> bool:
    libraries = {Path(module.__file__ or "").parent for module in (torch, pyro, contextlib)}
    return not libraries & {*file.parents}


def _trace(function: Callable[[Tensor], Any], x: Tensor) -> Trace:
    trace = poutine.trace(function).get_trace(x)
    if names := [str(name) for name, site in trace.nodes.items() if site["type"] == "param"]:
        raise _Wrong(
            f"it calls pyro.module or pyro.param ({names[0]}); parameters live on the program, and are found "
            "there without a call"
        )
    return prune_subsample_sites(trace)


def _without_data(program: Program) -> Trace:
    """A run of the model when nothing is known of the data, as in sampling."""
    return _trace(poutine.uncondition(program.model), program.unseen(DRAWS))


def _observed(trace: Trace) -> Any:
    """The site that the model observes, or would."""
    nodes: list[Any] = list(trace.nodes.values())
    found = [
        site
        for site in nodes
        if site["type"] == "sample" and (site["is_observed"] or site["infer"].get("was_observed"))
    ]
    if not found:
        raise _Wrong('its model observes nothing; write pyro.sample("x", ..., obs=x)')
    if len(found) > 1:
        raise _Wrong(f"its model observes {_listed(site['name'] for site in found)}, and one site is taken")
    return found[0]


def _check_plate(trace: Trace, which: str, n: int) -> None:
    """All sites lie in the plate over the data, and in no other."""
    nodes: dict[str, Any] = dict(trace.nodes)
    for name, site in nodes.items():
        if site["type"] != "sample":
            continue
        frames = {frame.name: frame for frame in site["cond_indep_stack"]}
        if PLATE not in frames:
            raise _Wrong(f'its {which} has {name} outside a plate "data"; write pyro.plate("data", len(x))')
        frame = frames[PLATE]
        if frame.size != n:
            raise _Wrong(f"its {which} has a plate of {frame.size} over {n} data; its size is len(x)")
        if site["scale"] != 1:
            raise _Wrong(
                f'its {which} counts {name} {float(site["scale"]):g} times; write pyro.plate("data", len(x))'
            )
        if frame.dim != -1 or len(frames) > 1:
            raise _Wrong(f"its {which} has {name} in several plates; of one datum, write to_event(...)")
        shape = tuple(site["fn"].batch_shape)
        if shape != (n,):
            extra = len(shape) - 1
            raise _Wrong(
                f"its {which} has {name} with batch shape {shape} over {n} data"
                + (f"; write .to_event({extra})" if extra > 0 else "")
            )


def _check_sites(model: Trace, guide: Trace, x: Tensor) -> None:
    """The guide draws what the model draws, and the model observes the data whole."""
    observed = _observed(model)
    if observed["value"].shape != x.shape:
        shapes = tuple(observed["value"].shape[1:]), tuple(x.shape[1:])
        raise _Wrong(
            f"its model observes {observed['name']} of shape {shapes[0]}, and a datum has {shapes[1]}"
        )
    of_model, of_guide = model.stochastic_nodes, guide.stochastic_nodes
    if not of_model:
        raise _Wrong("its model draws nothing that could be a code")
    if missed := [name for name in of_model if name not in of_guide]:
        raise _Wrong(f"its guide does not draw {_listed(missed)}, which its model draws")
    if unknown := [name for name in of_guide if name not in of_model]:
        raise _Wrong(f"its guide draws {_listed(unknown)}, which its model does not")


def _as_leaves(trace: Trace) -> Trace:
    """The trace, its values cut off from how they were made, and each the start of a gradient."""
    leaves = trace.copy()
    for name in leaves.stochastic_nodes:
        site: Any = leaves.nodes[name]
        value = site["value"].detach()
        leaves.nodes[name] = site | {"value": value.requires_grad_(value.is_floating_point())}
    return leaves


def _only_own_draws(latents: list[Any]) -> str | None:
    """Why densities are not known at other values, if they are not."""
    for site in latents:
        if isinstance(_base(site["fn"]), Delta):
            return f"{site['name']} is a point"
        try:
            site["fn"].log_prob(site["value"].detach().clone())
        except Exception:  # a transformation without an inverse says so in many ways
            return f"at others, {site['name']} raises"
    return None


def _independent(trace: Trace) -> bool:
    """Whether no site depends on the draw of another one; not so where that cannot be seen."""
    if len(trace.stochastic_nodes) < 2:
        return True
    try:
        return not sites.dependent(trace)
    except Exception:  # of densities at values that were not drawn
        return False


def _base(fn: Any) -> Any:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn


def _number_of_values(fn: Any) -> int:
    """How many values a discrete variable has; 0 where they cannot be listed."""
    try:
        return len(fn.enumerate_support(expand=False))
    except (NotImplementedError, ValueError):
        return 0


def _has_coordinates(fn: Any) -> bool:
    return fn.event_dim == 0 or sites.coordinates(fn) is not None


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
