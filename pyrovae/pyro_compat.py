"""Private parts of Pyro 1.9, each behind a name of ours; knows nothing of this project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from opt_einsum import shared_intermediates  # type: ignore[import-untyped]
from pyro.infer.trace_elbo import _compute_log_r
from pyro.infer.util import Dice, MultiFrameTensor
from pyro.ops import packed
from pyro.ops.einsum.adjoint import require_backward
from pyro.ops.rings import MarginalRing
from pyro.poutine import Trace
from pyro.poutine.runtime import _DIM_ALLOCATOR, _ENUM_ALLOCATOR, _PYRO_STACK
from torch import Tensor


@contextmanager
def no_handlers() -> Iterator[None]:
    """Inside, Pyro knows no handler, no plate and no enumerated dimension; afterwards, all as before.

    Pyro keeps them in three lists of the process.

    Example:
        >>> with pyro.plate("data", 3), no_handlers():
        ...     pyro.sample("z", pyro.distributions.Normal(0.0, 1.0)).shape
        torch.Size([])
    """
    handlers, plates = [*_PYRO_STACK], [*_DIM_ALLOCATOR._stack]
    enumerated = dict(vars(_ENUM_ALLOCATOR))
    _PYRO_STACK.clear()
    _DIM_ALLOCATOR._stack.clear()
    try:
        yield
    finally:
        _PYRO_STACK[:] = handlers
        _DIM_ALLOCATOR._stack[:] = plates
        vars(_ENUM_ALLOCATOR).clear()
        vars(_ENUM_ALLOCATOR).update(enumerated)


def log_ratios(model: Trace, guide: Trace) -> MultiFrameTensor:
    """log p - log q of every site, without a gradient; ``sum_to`` adds up those of the plates of a site."""
    return _compute_log_r(model, guide)


Plates = frozenset[str]
"""Those that a site stands in, by the symbols of their dimensions."""


def plates_of(trace: Trace, site: Any) -> Plates:
    """The plates of a site of this trace, or of one beside it."""
    return frozenset(trace.plate_to_symbol[frame.name] for frame in site["cond_indep_stack"])


def expectation(guide: Trace, costs: Mapping[Plates, list[Tensor]]) -> Tensor:
    """The expectation under a guide whose sites are enumerated, summed over the plates, with its gradient.

    ``Dice.compute_expectation`` of Pyro computes the same. It leaves out values of probability 0, so that
    shapes depend on numbers; here they count 0.

    Args:
        guide: trace with packed log-probabilities.
        costs: what the expectation is of, packed, by plates.
    """
    dice = Dice(guide, {name: plates_of(guide, guide.nodes[name]) for name in guide.stochastic_nodes})
    total: Any = 0.0
    with shared_intermediates() as cache:
        ring = MarginalRing(cache=cache)
        for plates, terms in costs.items():
            factors: list[Any] = [each for each in dice._get_log_factors(plates) if isinstance(each, Tensor)]
            queries = _queries(terms, factors)
            ring.sumproduct(factors, frozenset().union(*map(_dims, factors)) - plates)._pyro_backward()
            probabilities = {dims: query._pyro_backward_result.exp() for dims, query in queries.items()}
            for term in terms:
                probability = probabilities[_dims(term)]
                probability._pyro_dims = queries[_dims(term)]._pyro_dims
                possible = probability > 0
                possible._pyro_dims = probability._pyro_dims
                cost, probability, possible = packed.broadcast_all(term, probability, possible)
                probability, cost = probability.where(possible, 0.0), cost.where(possible, 0.0)
                total = total + torch.tensordot(probability, cost, dims=cost.dim())
    return total


def _queries(terms: list[Tensor], factors: list[Any]) -> dict[frozenset[str], Any]:
    """For the dimensions of each term, the factor whose adjoint is their probability; or a new one."""
    queries: dict[frozenset[str], Any] = dict.fromkeys(map(_dims, terms))
    for factor in factors:
        if queries.get(_dims(factor), 0) is None:
            queries[_dims(factor)] = factor
    for term in terms:
        if queries[_dims(term)] is None:
            nothing: Any = torch.zeros_like(term)
            nothing._pyro_dims = term._pyro_dims  # type: ignore[attr-defined]
            queries[_dims(term)] = nothing
            factors.append(nothing)
    for query in queries.values():
        require_backward(query)
    return queries


def _dims(term: Any) -> frozenset[str]:
    return frozenset(term._pyro_dims)
