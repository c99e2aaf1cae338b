"""Active units: how many latent variables tell data apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Quantity, Subject, Unavailable
from pyrovae.diagnostics._codes import batches, categories, drawn, latent, unit_names
from pyrovae.programs import Program
from pyrovae.quantities import Mean
from pyrovae.randomness import DatumNoise, seeded
from pyrovae.sites import FEW_DRAWS, exact_mean


class ActiveUnits(Diagnostic):
    r"""How many latent variables have a posterior mean that varies between data.

    .. math:: A_j = \operatorname{Var}_x \mathbb{E}_{q(z|x)}[z_j], \qquad
       \text{active units} = \#\{j : A_j > \text{threshold}\}

    A unit is a coordinate, on the sphere and on the simplex too; of one-hot codes it is a variable, and A_j
    is the sum over its categories. Where q(z|x) has no mean in closed form, A_j is the covariance over data
    of the means of two independent halves of the draws: it has no bias, where the variance of a mean of S
    draws is too large by :math:`\mathbb{E}_x \operatorname{Var}_q(z_j) / S`. The errors of the count take
    those of the units as normal and independent.

    Args:
        threshold: the variance above which a unit is active, in squared units of the code.
        draws: draws of z for each datum where there is no closed form, both halves together.
        each: whether every unit has a row of its own.

    Source: Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders*, 2016, section 5.2.

    Example:
        >>> from pyrovae.data import Split
        >>> count, *variances = ActiveUnits(each=True)(Subject(program, Split(x))).quantities
        >>> count.unit, len(variances)
        ('units', 8)
    """

    def __init__(
        self,
        *,
        threshold: Annotated[float, Field(ge=0, description="variance above which a unit is active")] = 0.01,
        draws: Annotated[
            int, Field(ge=4, description="draws of z for each datum where E_q[z] has no closed form")
        ] = 64,
        each: Annotated[bool, Field(description="a row for every unit")] = False,
    ) -> None:
        self.threshold = threshold
        self.draws = draws
        self.each = each

    def __call__(self, subject: Subject) -> Findings:
        if len(subject.rows) < 2:
            raise Unavailable("a variance over data needs two rows")
        parts = [
            _site_means(subject.program, x, DatumNoise((subject.seed, "active-units"), data), self.draws)
            for x, data in batches(subject.rows, subject.batch_size)
        ]
        sites = [_Means.joined(batch) for batch in zip(*parts, strict=True)]
        units = [unit for site in sites for unit in zip(site.names, *_variances(site), strict=True)]
        names = [name for name, *_ in units]
        _, *table = zip(*units, strict=True)
        values, noise, over_data = (torch.tensor(column, dtype=torch.float64) for column in table)
        return Findings(
            "active units",
            [
                self._count(values, noise, over_data),
                *(self._row(*unit) for unit in units if self.each),
            ],
            self._notes(names, values, over_data),
            [Histogram("variance over data of E_q[z_j]", "variance", values, self.threshold, "threshold")],
        )

    def _count(self, values: Tensor, noise: Tensor, over_data: Tensor) -> Quantity:
        margin = values - self.threshold

        def error(of_units: Tensor) -> float:
            above = torch.special.ndtr(margin / of_units.clamp(min=torch.finfo(of_units.dtype).tiny))
            return math.sqrt((above * (1 - above)).sum().item())

        label = f"active units of {len(values)}: variance of E_q[z_j] > {self.threshold:g}"
        return Quantity(
            "active_units",
            label,
            Mean((margin > 0).sum().item(), error(noise), error(over_data)),
            unit="units",
        )

    @staticmethod
    def _row(name: str, value: float, noise: float, over_data: float) -> Quantity:
        return Quantity(
            name, f"variance over data of E_q[{name}]", Mean(value, noise, over_data), unit="variance"
        )

    def _notes(self, names: Sequence[str], values: Tensor, over_data: Tensor) -> list[str]:
        near = ((values - self.threshold).abs() < 2 * over_data).nonzero().flatten().tolist()
        if not near:
            return []
        listed = ", ".join(f"{names[j]} ({values[j]:.2g} +- {over_data[j]:.1g})" for j in near)
        return [
            f"Within two standard errors of the threshold {self.threshold:g}, so that these rows do not tell "
            f"whether they are active: {listed}."
        ]


class _Means(NamedTuple):
    """Two independent estimates of E_q[z] for the units of a site, (n, units, categories), float64."""

    names: Sequence[str]
    first: Tensor
    second: Tensor
    variance: Tensor
    """Of each of the two, given the data: 0 where both are exact."""

    @classmethod
    def joined(cls, batches: Sequence[_Means]) -> _Means:
        _, first, second, variance = (list(part) for part in zip(*batches, strict=True))
        return cls(batches[0].names, torch.cat(first), torch.cat(second), torch.cat(variance))


def _site_means(program: Program, x: Tensor, noise: DatumNoise, draws: int) -> list[_Means]:
    with seeded(*noise.key):  # nothing of these draws is kept
        few = drawn(program, x, FEW_DRAWS)
    exact = {name: exact_mean(site) for name, site in latent(few).items()}
    if all(mean is not None for mean in exact.values()):
        many = few
    else:
        with noise:
            many = drawn(program, x, draws // 2 * 2)
    return [_means(latent(many)[name], mean) for name, mean in exact.items()]


def _means(site: Any, exact: Tensor | None) -> _Means:
    def by_unit(values: Tensor) -> Tensor:
        leading = values.shape[: values.dim() - len(site["fn"].event_shape)]
        return values.reshape(*leading, -1, categories(site)).cpu().double()

    if exact is not None:
        mean = by_unit(exact)
        return _Means(unit_names(site), mean, mean, torch.zeros_like(mean))
    halves = by_unit(site["value"]).unflatten(0, (2, -1))
    first, second = halves.mean(1)
    return _Means(unit_names(site), first, second, halves.var(1).mean(0) / halves.shape[1])


def _variances(site: _Means) -> tuple[list[float], list[float], list[float]]:
    r"""A_j of each unit, its Monte-Carlo standard error, and its standard error over data.

    With noise e and f in the two estimates, of variance w, and c = E_q[z] less its mean over data, the sum of
    (c + e)(c + f) has the variance :math:`\sum_i 2 w_i c_i^2 + w_i^2` given the data. That is what to expect
    of :math:`\sum_i 2 w_i m_i^2`, m the mean of both estimates.
    """
    first, second = (half - half.mean(0) for half in (site.first, site.second))
    n = len(first)
    products = (first * second).sum(-1)
    middle = (first + second) / 2
    noise = (2 * site.variance * middle.square()).sum(0).sqrt() / (n - 1)
    # Categories depend on each other: the error of their sum is at most the sum of their errors.
    columns = products.sum(0) / (n - 1), noise.sum(-1), products.std(0) * math.sqrt(n) / (n - 1)
    return tuple(column.tolist() for column in columns)  # type: ignore[return-value]
