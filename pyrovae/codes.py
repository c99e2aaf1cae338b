"""Codes as plain numbers: which latent sites they consist of, draws of them, data from them; no component."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pyrovae import device, sites
from pyrovae.errors import DataError
from pyrovae.evaluate import inspected
from pyrovae.generate import CELLS_AT_ONCE, Draws
from pyrovae.isolation import isolated
from pyrovae.programs import Program
from pyrovae.randomness import DatumNoise, seeded


class Latent(NamedTuple):
    """A latent site of a program, and the numbers of a code that are its value."""

    name: str
    """Of the site."""
    event_shape: Size
    """Of its value."""
    support: Constraint
    """The set that its value lies in."""
    start: int
    """Its first column in codes of shape (n, code size)."""
    dtype: torch.dtype = torch.float32
    """Of its value: an integer is the number of a category."""

    @property
    def columns(self) -> slice:
        """Its columns in codes of shape (n, code size)."""
        return slice(self.start, self.start + self.event_shape.numel())

    @property
    def element(self) -> Constraint:
        """The set of one of its independent parts: a number, or a vector on a sphere, say."""
        support = self.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return _plain(support)

    @property
    def width(self) -> int:
        """How many numbers such a part has."""
        return self.event_shape[-1] if self.element.event_dim else 1

    @property
    def units(self) -> list[str]:
        """What its variables are called, as active units are: each number is one, or each one-hot vector."""
        return sites.variables(self.name, self.event_shape, self.support)

    @property
    def names(self) -> list[str]:
        """What each of its numbers is called."""
        count = self.event_shape.numel()
        return [f"{self.name}[{j}]" for j in range(count)] if self.event_shape else [self.name]

    def parts(self, codes: Tensor) -> Tensor:
        """Its value in codes of shape (n, code size), part by part: (n, parts, :attr:`width`)."""
        return codes[:, self.columns].unflatten(1, (-1, self.width))


def names(program: Program) -> list[str]:
    """What the numbers of a program's codes are called, in the order of their columns.

    Example:
        >>> names(program)[:2]
        ['z[0]', 'z[1]']
    """
    return [name for latent in layout(program) for name in latent.names]


@isolated()
def layout(program: Program) -> list[Latent]:
    """The latent sites of a program, in the order in which their values stand in a code.

    Example:
        >>> [(latent.name, latent.event_shape) for latent in layout(program)]
        [('z', torch.Size([8]))]
    """
    with inspected(program), seeded(0, "layout"):
        trace = _run(program.model, program, 1)
    latents: list[Latent] = []
    for name in trace.stochastic_nodes:
        site: Any = trace.nodes[name]
        start = latents[-1].columns.stop if latents else 0
        latents.append(Latent(name, site["fn"].event_shape, site["fn"].support, start, site["value"].dtype))
    return latents


def drawn(program: Program, n: int, *, seed: int = 0) -> Tensor:
    """Codes from the prior, (n, code size): those of :func:`pyrovae.generate.sample`, without the data.

    Args:
        program: model and guide.
        n: number of draws.
        seed: of the noise; draw i is a function of the seed and i alone.

    Example:
        >>> drawn(program, 16).shape
        torch.Size([16, 8])
    """
    parts = []
    with inspected(program):
        for data in _batches(program, n):
            with DatumNoise((seed, "sample"), data):
                trace = _run(program.model, program, len(data))
            values: list[Any] = [trace.nodes[name]["value"] for name in trace.stochastic_nodes]
            parts.append(torch.cat([sites.numbers(value).reshape(len(data), -1) for value in values], 1))
    return torch.cat(parts)


@isolated()
def decode(program: Program, codes: Tensor, *, seed: int = 0) -> Draws:
    """Run the model at given codes: x ~ p(x|z) and the expected datum E[x|z].

    Any numbers are decoded: it is not checked whether they are codes that the prior may draw.

    Args:
        program: model and guide.
        codes: (n, code size), as :func:`pyrovae.generate.sample` and ``reconstruct`` give them.
        seed: of the noise; draw i is a function of the seed and i alone.

    Raises:
        DataError: the codes are not of the program's size.

    Example:
        >>> decode(program, torch.zeros(3, 8)).mean.shape
        torch.Size([3, 1, 8, 8])
    """
    latents = layout(program)
    _check_shape(codes, latents)
    codes = codes.to(device.of(program))
    parts = []
    with inspected(program):
        for data in _batches(program, len(codes)):
            some = codes[data.start : data.stop]
            model = poutine.uncondition(poutine.replay(program.model, _values(latents, some)))
            with DatumNoise((seed, "decode"), data):
                trace = _run(model, program, len(data))
            drawn: list[Any] = [trace.nodes[name] for name in trace.stochastic_nodes]
            (x,) = [site for site in drawn if site["infer"].get("was_observed")]
            parts.append(Draws(x["value"], x["fn"].mean, some))
    return Draws(*map(torch.cat, zip(*parts, strict=True)))


def _plain(element: Constraint) -> Constraint:
    """The same set with numbers for bounds that are tensors of one number, a coordinate each."""
    plain = copy(element)
    for name, bound in vars(element).items():
        if isinstance(bound, Tensor) and len(values := bound.unique()) == 1:
            setattr(plain, name, values.item())
    return plain


def _run(model: Any, program: Program, n: int) -> poutine.Trace:
    """A run of the model, n times side by side, when nothing is known of the data."""
    return prune_subsample_sites(poutine.trace(model).get_trace(program.unseen(n)))


def _batches(program: Program, n: int) -> Iterator[range]:
    at_once = max(1, CELLS_AT_ONCE // program.event_shape.numel())
    return (range(start, min(n, start + at_once)) for start in range(0, n, at_once))


def _values(latents: list[Latent], codes: Tensor) -> poutine.Trace:
    """A trace with the values of the latent sites, to be replayed."""
    trace = poutine.Trace()
    for latent in latents:
        value = codes[:, latent.columns].reshape(len(codes), *latent.event_shape).to(latent.dtype)
        trace.add_node(latent.name, name=latent.name, type="sample", value=value, is_observed=False, infer={})
    return trace


def _check_shape(codes: Tensor, latents: list[Latent]) -> None:
    size = latents[-1].columns.stop if latents else 0
    if codes.dim() != 2 or not len(codes) or codes.shape[1] != size:
        sites = ", ".join(f"{latent.event_shape.numel()} of {latent.name}" for latent in latents)
        raise DataError(
            f"codes of the shape {tuple(codes.shape)} cannot be decoded: it must be (n, {size}), the numbers "
            f"of a code being {sites}"
        )
