"""ELBO surgery: the KL split into what codes tell of data and how far their aggregate is from the prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from pyro import poutine
from pyro.distributions import Independent, TorchDistribution
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyrovae import sites
from pyrovae.data import Split
from pyrovae.diagnostics import Diagnostic, Findings, Quantity, Subject, Unavailable
from pyrovae.diagnostics._codes import (
    Traces,
    batches,
    both,
    dependence,
    latent,
    refuse_points,
    scored,
)
from pyrovae.distributions.mixture import cross_log_prob
from pyrovae.programs import Program, particle_plate
from pyrovae.quantities import NEAR_CEILING, Mean, mean
from pyrovae.randomness import seeded

NUMBERS_AT_ONCE = 2**21
"""How many coordinates of pairs of a code and a datum are in memory at a time."""


class Aggregate(Diagnostic):
    r"""Mutual information of data and codes, and the distance of the aggregate posterior to the prior.

    .. math:: \frac{1}{N} \sum_{i=1}^{N} \text{KL}\bigl(q(z|x_i) \,\|\, p(z)\bigr)
       = I_q(x; z) + \text{KL}\bigl(q(z) \,\|\, p(z)\bigr), \qquad
       q(z) = \frac{1}{N} \sum_{i=1}^{N} q(z|x_i)

    .. math:: I_q(x; z) = \frac{1}{N} \sum_{i=1}^{N} \mathbb{E}_{q(z|x_i)} [\log q(z|x_i) - \log q(z)]
       \leq \log N

    In nats, for the N rows given and no population that they come from: I is that of a row's index and its
    code. Every draw is scored under all N rows, so the estimates have no bias; their errors are those of the
    draws. Hence no error over data, but for the mean KL. A posterior that scores only its own draws, or is a
    point, has none of these numbers. Where p(z) and q(z|x) have independent coordinates, the distance can be
    split further, into the total correlation of q(z) and the distances of its coordinates:

    .. math:: \text{KL}\bigl(q(z) \,\|\, p(z)\bigr) = \text{KL}\Bigl(q(z) \,\Big\|\, \prod_j q(z_j)\Bigr)
       + \sum_j \text{KL}\bigl(q(z_j) \,\|\, p(z_j)\bigr)

    Args:
        rows: how many of the rows to take, chosen at random; all where it is not set. The work grows with
            their square.
        draws: draws of z for each datum.
        by_coordinate: whether the distance to the prior is split further, which takes longer: as many
            logarithms of sums as a code has coordinates.

    Source: Hoffman and Johnson, *ELBO surgery: yet another way to carve up the variational evidence lower
    bound*, 2016, equation 6; Chen et al., *Isolating Sources of Disentanglement in Variational
    Autoencoders*, 2018, equation 2.

    Example:
        >>> information, distance, kl, log_n = Aggregate()(Subject(program, Split(x))).quantities
        >>> math.isclose(information.mean.value + distance.mean.value, kl.mean.value, rel_tol=1e-6)
        True
    """

    def __init__(
        self,
        *,
        rows: Annotated[
            Annotated[int, Field(ge=2)] | None,
            Field(description="how many rows to take at random; else all"),
        ] = None,
        draws: Annotated[int, Field(ge=2, description="draws of z for each datum")] = 4,
        by_coordinate: Annotated[
            bool, Field(description="also total correlation and the coordinates' distances to the prior")
        ] = False,
    ) -> None:
        self.rows = rows
        self.draws = draws
        self.by_coordinate = by_coordinate

    def __call__(self, subject: Subject) -> Findings:
        refuse_points(subject.program)
        if (reason := subject.program.codes.only_own_draws) is not None:
            raise Unavailable(
                f"it needs q(z|x) at codes of other data, and q(z|x) is known at its own draws only: {reason}"
            )
        rows, index = self._chosen(subject)
        own, reason = _own_draws(subject, rows, index, self.draws, self.by_coordinate)
        log_aggregate = _log_aggregate(subject, rows, own)
        notes = [
            f"For the aggregate of these {len(rows):,} rows" + self._of(len(subject.rows), len(rows)) + "."
        ]
        if reason:
            notes.append(f"The split by coordinates is not available: {reason}.")
        found = _quantities(own, log_aggregate)
        ceiling = math.log(len(rows))
        if found[0].mean.value > ceiling - NEAR_CEILING:
            notes.append(
                f"I(x; z) is within {NEAR_CEILING:g} nat of its ceiling log N = {ceiling:.2f}: codes tell "
                "these rows apart, and how much more they could tell cannot be seen from so few."
            )
        return Findings("aggregate posterior", found, notes)

    def _chosen(self, subject: Subject) -> tuple[Split, list[int]]:
        """The rows to take, and their indices."""
        n = len(subject.rows)
        if self.rows is None or self.rows >= n:
            return subject.rows, list(range(n))
        index = subject.rows.chosen(self.rows, subject.seed, "aggregate", "rows")
        return subject.rows.take(index), index.tolist()

    @staticmethod
    def _of(available: int, taken: int) -> str:
        return f", chosen at random of {available:,}" if taken < available else ""


class _Own(NamedTuple):
    """Draws of all data, S of each, those of a datum side by side."""

    codes: Mapping[str, Tensor]
    """Of each site, (N S, *event_shape)."""
    log_given: Tensor
    """log q(z|x) under their own datum, and of each coordinate if asked for, (N, S, columns), float64."""
    log_prior: Tensor
    """log p(z), (N, S), float64."""


def _own_draws(
    subject: Subject, rows: Split, index: Sequence[int], draws: int, by_coordinate: bool
) -> tuple[_Own, str]:
    """Draws of all data, and why they are not split by coordinates although that was asked for."""
    reason = ""
    codes: dict[str, list[Tensor]] = {}
    given: list[Tensor] = []
    prior: list[Tensor] = []
    for x, data in batches(rows, subject.batch_size):
        indices = [index[i] for i in data]
        runs = list(scored(subject.program, x, indices, (subject.seed, "aggregate"), draws))
        if by_coordinate and not given and (reason := _dependence(subject.program, x)):
            by_coordinate = False
        for name in latent(runs[0].guide):
            values = torch.cat([latent(run.guide)[name]["value"] for run in runs])
            codes.setdefault(name, []).append(values.transpose(0, 1).flatten(0, 1))
        given.append(torch.cat([_log_given_own(run, by_coordinate) for run in runs]).transpose(0, 1))
        kl = torch.cat([sites.kl(*run) for run in runs]).double().T
        prior.append(given[-1][..., 0] - kl)
    own = _Own({name: torch.cat(parts) for name, parts in codes.items()}, torch.cat(given), torch.cat(prior))
    return own, reason


def _dependence(program: Program, x: Tensor) -> str:
    """Why p(z) is no product, or q(z) has marginals of which nothing is known; empty where neither is so."""
    with seeded(0):  # nothing of these draws is kept
        traces = both(program, x, 2)
    for trace, where in ((traces.model, "p(z)"), (traces.guide, "q(z|x)")):
        for name, site in latent(trace).items():
            if reason := dependence(traces, name):
                return reason
            one = site["value"][:1].expand_as(site["value"])
            if not sites.same_for_all_draws(site["fn"].log_prob(one)):
                return f"{name} depends on other variables under {where}"
    return ""


def _log_given_own(run: Traces, by_coordinate: bool) -> Tensor:
    drawn = latent(run.guide).values()
    joint = torch.stack([sites.log_prob(site).double() for site in drawn]).sum(0).unsqueeze(-1)
    if not by_coordinate:
        return joint
    return torch.cat([joint, *(_by_coordinate(site["fn"], site["value"]) for site in drawn)], -1)


def _log_aggregate(subject: Subject, rows: Split, own: _Own) -> Tensor:
    """log q(z) of all draws, and of each coordinate where these are asked for, (N, S, columns), in nats."""
    n, draws, columns = own.log_given.shape
    size = sum(values[0].numel() for values in own.codes.values())
    total = own.log_given.new_full((n * draws, columns), -math.inf)
    for x, data in batches(rows, subject.batch_size):
        log_given = _scorer(subject.program, x, by_coordinate=columns > 1)
        at_once = max(1, NUMBERS_AT_ONCE // (len(data) * size))
        for start in range(0, n * draws, at_once):
            part = slice(start, min(start + at_once, n * draws))
            scores = log_given({name: values[part] for name, values in own.codes.items()}).double()
            # Their own datum scored them already, exactly: a posterior may lose what a draw was made of.
            owner = torch.arange(part.start, part.stop).unsqueeze(1) // draws
            is_own = (owner == torch.arange(data.start, data.stop)).to(scores.device)
            scores.masked_fill_(is_own.unsqueeze(-1), -math.inf)
            total[part] = total[part].logaddexp(scores.logsumexp(1))
    return total.reshape(own.log_given.shape).logaddexp(own.log_given) - math.log(n)


def _scorer(program: Program, x: Tensor, *, by_coordinate: bool) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A function of codes, (m, ...) for each site: log q(z|x) of each under each datum, (m, n, columns)."""
    with seeded(0):  # nothing of these draws is kept
        guide = latent(prune_subsample_sites(poutine.trace(program.guide).get_trace(x)))

    def log_given(codes: Mapping[str, Tensor]) -> Tensor:
        m, n = len(next(iter(codes.values()))), len(x)
        values = {name: value.unsqueeze(1).expand(m, n, *value.shape[1:]) for name, value in codes.items()}
        drawn = guide
        if len(guide) > 1:  # a variable's distribution may depend on the values of those before it
            with particle_plate(m):
                conditioned: Any = poutine.trace(poutine.condition(program.guide, data=values)).get_trace(x)
            drawn = conditioned.nodes
        return _columns([(drawn[name]["fn"], value) for name, value in values.items()], by_coordinate)

    return log_given


def _columns(scored: Sequence[tuple[TorchDistribution, Tensor]], by_coordinate: bool) -> Tensor:
    """The joint log-density of all sites, and then, if asked for, that of each coordinate."""
    if not by_coordinate:
        return torch.stack([_joint(q, value) for q, value in scored]).sum(0).unsqueeze(-1)
    of_each = torch.cat([_by_coordinate(q, value) for q, value in scored], -1)
    return torch.cat([of_each.sum(-1, keepdim=True), of_each], -1)


def _joint(q: TorchDistribution, value: Tensor) -> Tensor:
    if isinstance(q, Independent) and len(q.batch_shape) == 1:
        return cross_log_prob(q, value[:, 0])  # for diagonal normals in two matrix products
    return q.log_prob(value)


def _by_coordinate(q: TorchDistribution, value: Tensor) -> Tensor:
    each = sites.coordinates(q)
    return q.log_prob(value).unsqueeze(-1) if each is None else each.log_prob(value)


def _quantities(own: _Own, log_aggregate: Tensor) -> list[Quantity]:
    given, aggregate = own.log_given[..., 0], log_aggregate[..., 0]
    parts = [
        ("mutual_information", "mutual information I_q(x; z)", given - aggregate),
        ("aggregate_kl", "KL(q(z) || p(z)), aggregate posterior to prior", aggregate - own.log_prior),
    ]
    if log_aggregate.shape[-1] > 1:
        product = log_aggregate[..., 1:].sum(-1)
        parts += [
            ("total_correlation", "of it: total correlation of q(z)", aggregate - product),
            ("coordinate_kl", "of it: sum of KL(q(z_j) || p(z_j))", product - own.log_prior),
        ]
    rows = [Quantity(key, label, replace(_mean(values), data_error=math.nan)) for key, label, values in parts]
    whole = Quantity("kl", "I + KL: mean of KL(q(z|x) || p(z))", _mean(given - own.log_prior))
    ceiling = Quantity("log_n", "log N, the most that I can be", Mean(math.log(len(given)), 0.0))
    return [*rows, whole, ceiling]


def _mean(values: Tensor) -> Mean:
    """The mean of (N, S) values, whose draws are independent."""
    return mean(values.mean(1), values.std(1) / math.sqrt(values.shape[1]))
