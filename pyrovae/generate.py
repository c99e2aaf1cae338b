"""Trained program -> tensors: codes, samples, posterior predictive; draws no figures and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyrovae import sites
from pyrovae.evaluate import inspected, numbered
from pyrovae.programs import Program, particle_plate
from pyrovae.randomness import DatumNoise, seeded

# Of 256 features a cell, as a categorical one has, this many are a quarter of a gigabyte.
CELLS_AT_ONCE = 2**18


class Draws(NamedTuple):
    """Draws of codes and of data given the codes; n of them."""

    x: Tensor
    """x ~ p(x|z), (n, \\*event_shape)."""
    mean: Tensor
    """The expected datum E[x|z], (n, \\*event_shape)."""
    z: Tensor
    """The codes that the data were drawn from, (n, code size); several latent variables side by side."""


def sample(program: Program, n: int, *, seed: int = 0) -> Draws:
    """Run the model n times without observations: z ~ p(z), x ~ p(x|z).

    Draw i is a function of the seed and i alone, so more draws begin with the same ones.

    Args:
        program: model and guide.
        n: number of draws.
        seed: of the noise.

    Raises:
        ValueError: n is less than one.

    Example:
        >>> sample(program, 16).x.shape
        torch.Size([16, 1, 8, 8])
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    parts = []
    with inspected(program):
        at_once = max(1, CELLS_AT_ONCE // program.event_shape.numel())
        for start in range(0, n, at_once):
            data = range(start, min(n, start + at_once))
            with DatumNoise((seed, "sample"), data):
                model = poutine.uncondition(program.model)
                trace = poutine.trace(model).get_trace(program.unseen(len(data)))
            parts.append(_draws(trace))
    return Draws(*map(torch.cat, zip(*parts, strict=True)))


def reconstruct(program: Program, batches: Iterable[Tensor], *, seed: int = 0) -> Draws:
    """Posterior predictive: for each datum z ~ q(z|x), and a new datum from p(x|z).

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \\*event_shape).
        seed: of the noise; datum i's is a function of the seed and i alone.

    Example:
        >>> reconstruct(program, [x]).mean.shape
        torch.Size([16, 1, 8, 8])
    """
    parts = []
    for x, data in numbered(program, batches):
        with inspected(program), DatumNoise((seed, "reconstruct"), data):
            codes = poutine.trace(program.guide).get_trace(x)
            model = poutine.uncondition(poutine.replay(program.model, codes))
            parts.append(_draws(poutine.trace(model).get_trace(x)))
    return Draws(*map(torch.cat, zip(*parts, strict=True)))


def encode(program: Program, batches: Iterable[Tensor], *, seed: int = 0, draws: int = 100) -> Tensor:
    r"""Posterior means :math:`\mathbb{E}_{q(z|x)}[z]`, in closed form where the posterior has one.

    Of a latent variable whose distribution depends on another one's draw there is none.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        seed: of the draws that are averaged where there is no closed form.
        draws: how many of them.

    Returns:
        (n, code size); several latent variables stand side by side.

    Example:
        >>> encode(program, [x]).shape
        torch.Size([16, 8])
    """
    parts = []
    names = order(program)
    for x, data in numbered(program, batches):
        with inspected(program):
            parts.append(_expected_codes(program, names, x, data, (seed, "encode"), draws))
    return torch.cat(parts)


def order(program: Program) -> list[str]:
    """The latent sites as the model draws them: the order in which their values stand in a code.

    A guide may draw them in another one.

    Example:
        >>> order(program)
        ['z']
    """
    with inspected(program), seeded("order"):
        trace = poutine.trace(program.model).get_trace(program.unseen(1))
    return prune_subsample_sites(trace).stochastic_nodes


def _expected_codes(
    program: Program, names: list[str], x: Tensor, data: range, key: tuple[int | str, ...], draws: int
) -> Tensor:
    """E_q[z] of the sites in that order, (n, code size): exact, or else the mean of draws."""

    def latents(x: Tensor, particles: int) -> list[Any]:
        with particle_plate(particles):
            trace = poutine.trace(program.guide).get_trace(x)
        return [trace.nodes[name] for name in names]

    with seeded(*key):  # nothing of these draws is kept
        means = [sites.exact_mean(site) for site in latents(x, sites.FEW_DRAWS)]
    exact = [mean for mean in means if mean is not None]
    if len(exact) == len(means):
        return _flat(exact)
    at_once, parts = max(1, CELLS_AT_ONCE // (draws * program.event_shape.numel())), []
    for start in range(0, len(x), at_once):
        some = x[start : start + at_once]
        with DatumNoise(key, data[start : start + at_once]):
            parts.append(_flat([sites.numbers(site["value"]).mean(0) for site in latents(some, draws)]))
    return torch.cat(parts)


def _draws(trace: poutine.Trace) -> Draws:
    drawn = _sites(trace)
    (observed,) = [site for site in drawn if site["infer"].get("was_observed")]
    codes = [site["value"] for site in drawn if site is not observed]
    return Draws(observed["value"], observed["fn"].mean, _flat(codes))


def _sites(trace: poutine.Trace) -> list[Any]:
    trace = prune_subsample_sites(trace)
    return [trace.nodes[name] for name in trace.stochastic_nodes]


def _flat(values: list[Tensor]) -> Tensor:
    return torch.cat([sites.numbers(value).reshape(len(value), -1) for value in values], dim=1)
