"""The KL of each latent coordinate: which ones carry information, and how much."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pyrovae import sites
from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Quantity, Subject, Unavailable
from pyrovae.diagnostics._codes import (
    Traces,
    batches,
    dependence,
    refuse_points,
    scored,
    unit_names,
)
from pyrovae.quantities import mean


class Coordinates(Diagnostic):
    r"""The KL divergence of q(z|x) from p(z), coordinate by coordinate; their sum is the whole KL.

    .. math:: \text{KL}_j = \frac{1}{N} \sum_{i=1}^{N} \text{KL}\bigl(q(z_j|x_i) \,\|\, p(z_j)\bigr), \qquad
       \sum_j \text{KL}_j = \frac{1}{N} \sum_{i=1}^{N} \text{KL}\bigl(q(z|x_i) \,\|\, p(z)\bigr)

    In nats per datum: in closed form where torch has one, without a Monte-Carlo error then, else the mean of
    :math:`\log q(z_j|x) - \log p(z_j)` over draws. The coordinates are to be independent under the prior and
    given x. A variable of a one-hot code is one coordinate. Where a variable depends on others, its KL is the
    mean of that given them.

    Args:
        draws: draws of z for each datum where there is no closed form.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, appendix B.

    Example:
        >>> from pyrovae.data import Split
        >>> *each, total = Coordinates()(Subject(program, Split(x))).quantities
        >>> math.isclose(sum(row.mean.value for row in each), total.mean.value, rel_tol=1e-6)
        True
    """

    def __init__(
        self,
        *,
        draws: Annotated[
            int, Field(ge=2, description="draws of z for each datum where the KL has no closed form")
        ] = 100,
    ) -> None:
        self.draws = draws

    def __call__(self, subject: Subject) -> Findings:
        refuse_points(subject.program)
        names: list[str] = []
        parts = []
        for x, data in batches(subject.rows, subject.batch_size):
            key = (subject.seed, "coordinates")
            two = list(scored(subject.program, x, data, (*key, "two"), 2))
            names = names or _names(two[0])
            kl = torch.cat([_kl(traces) for traces in two])
            if not sites.same_for_all_draws(kl):
                kl = torch.cat([_kl(part) for part in scored(subject.program, x, data, key, self.draws)])
            parts.append((kl.mean(0).cpu(), kl.std(0).cpu() / math.sqrt(len(kl))))
        values, errors = map(torch.cat, zip(*parts, strict=True))
        labels = [(name, f"KL of {name}") for name in names]
        rows = [
            Quantity(key, label, mean(values[:, j], errors[:, j]))
            for j, (key, label) in enumerate([*labels, ("sum", "sum: KL(q(z|x) || p(z))")])
        ]
        by_coordinate = Histogram("KL of each coordinate", "nats", values.mean(0)[:-1])
        return Findings("KL by coordinate", rows, histograms=[by_coordinate])


def _kl(traces: Traces) -> Tensor:
    """KL of each coordinate, and at last their sum, (draws, n, coordinates + 1), float64."""
    of_each = sites.kl_coordinates(*traces, analytic=True).double()
    return torch.cat([of_each, of_each.sum(-1, keepdim=True)], -1)


def _names(traces: Traces) -> list[str]:
    """What the coordinates are called, in the order of their KL."""
    names = []
    for name in traces.model.stochastic_nodes:
        if reason := dependence(traces, name):
            raise Unavailable(reason)
        names += unit_names(traces.guide.nodes[name])
    return names
