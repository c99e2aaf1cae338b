"""Data as a likelihood takes them: binarised as configured, refused outside its support; knows no network."""

from __future__ import annotations

from dataclasses import dataclass

from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pyrovae import component, supports
from pyrovae.config import Data
from pyrovae.data import Dataset
from pyrovae.errors import ConfigError, Problem
from pyrovae.likelihoods import Likelihood


@dataclass(frozen=True)
class Prepared:
    """Data as a likelihood takes them."""

    dataset: Dataset
    is_likelihood: bool = True
    """False where the likelihood is evaluated outside its support: no density, but a cross-entropy."""
    notes: tuple[str, ...] = ()
    """What was done with the data, in sentences."""


def prepare(dataset: Dataset, options: Data, likelihood: Likelihood, *, evaluating: bool = False) -> Prepared:
    """Binarise as configured, and refuse data outside the likelihood's support.

    Args:
        dataset: as stored.
        options: of the run.
        likelihood: of the run.
        evaluating: whether training rows too are drawn only once, as validation and test rows are.

    Raises:
        ConfigError: naming the data's range, the support, and the choices that fit.
    """
    mode = options.binarize
    if mode == "auto":
        needs_bits = supports.same(likelihood.support, constraints.boolean)
        mode = "dynamic" if needs_bits and _is_grey(dataset) else "none"
    if mode != "none" and not dataset.is_binary():
        dataset = dataset.binarized("static" if evaluating and mode == "dynamic" else mode)
        return Prepared(dataset, notes=(f"grey values are binarised ({mode})",))
    if _within(dataset, likelihood.support):
        return Prepared(dataset)
    tolerated = likelihood.tolerated if options.binarize == "none" else None
    if tolerated is None or not _within(dataset, tolerated):
        raise ConfigError([_outside(dataset, likelihood)])
    name = component.name_of(type(likelihood))
    note = f"{name} on grey values is no likelihood: what is maximised bounds minus a cross-entropy"
    return Prepared(dataset, is_likelihood=False, notes=(note,))


def _within(dataset: Dataset, support: Constraint) -> bool:
    return all(
        supports.contains(support, rows) for split in dataset.splits.values() for rows in split.batches()
    )


def _is_grey(dataset: Dataset) -> bool:
    low, high = dataset.range()
    return low >= 0 and high <= 1 and not dataset.is_binary()


def _outside(dataset: Dataset, likelihood: Likelihood) -> Problem:
    """What to say of data that a likelihood does not take."""
    low, high = dataset.range()
    fitting = [
        name
        for name in component.names("likelihood")
        if _within(dataset, component.support_of("likelihood", name))
    ]
    choices = [f"likelihood = {', '.join(fitting)}"] if fitting else []
    if supports.same(likelihood.support, constraints.boolean) and low >= 0:
        divisor = 255 if 128 < high <= 255 else high
        choices.append(
            f"data.divisor = {divisor:g} with data.binarize = auto" if high > 1 else "data.binarize = auto"
        )
    return Problem(
        "likelihood.name",
        f"{component.name_of(type(likelihood))!r} takes values in {supports.in_words(likelihood.support)}; "
        f"{dataset.name} has values from {low:g} to {high:g}. What fits: {'; '.join(choices) or 'nothing'}",
    )
