"""What an evaluation says: numbers by name, each with its unit and errors, and how they read; no program."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from torch import Tensor

from pyrovae import console
from pyrovae.wording import unknown

NEAR_CEILING = 1.0
"""Nats below log N, its ceiling, in which I(x; z) of N rows is no estimate: they are too few."""

ROUNDING = 1e-9
"""Of a share times a number of values, which is a whole number but for that."""


@dataclass(frozen=True)
class Mean:
    """The mean over data of one quantity.

    ``monte_carlo_error`` is the standard error from finitely many draws, for these very data; ``data_error``
    is the standard error of the mean as an estimate for the population of data. Not a number where unknown.
    """

    value: float
    monte_carlo_error: float = math.nan
    data_error: float = math.nan


def mean(values: Tensor, errors: Tensor) -> Mean:
    """The mean over data, with both of its standard errors.

    Args:
        values: one for each datum.
        errors: Monte-Carlo standard errors of the values.
    """
    n = len(values)
    spread = values.std().item() if n > 1 else math.nan
    return Mean(values.mean().item(), errors.square().sum().sqrt().item() / n, spread / math.sqrt(n))


def median(values: Tensor) -> Mean:
    r"""The median over data, with half the distance of the values one standard error of their ranks apart.

    .. math:: \tfrac{1}{2} \bigl(x_{(\lceil (n + \sqrt n) / 2 \rceil)} -
       x_{(\lfloor (n - \sqrt n) / 2 \rfloor + 1)}\bigr)

    Of n data, those below the population's median are binomial, n/2 with a standard error of
    :math:`\sqrt n / 2`. What a finite number of draws adds is not known.

    Args:
        values: one for each datum; what is not a number does not count.

    Source: McKean and Schrader, *A comparison of methods for studentizing the sample median*, 1984.

    Example:
        >>> median(torch.arange(100.0))
        Mean(value=49.0, monte_carlo_error=nan, data_error=4.5)
    """
    ordered = values[~values.isnan()].sort().values
    n = len(ordered)
    if not n:
        return Mean(math.nan)
    low, high = math.floor((n - math.sqrt(n)) / 2), math.ceil((n + math.sqrt(n)) / 2) - 1
    error = ((ordered[high] - ordered[low]) / 2).item() if n > 1 else math.nan
    return Mean(ordered[(n - 1) // 2].item(), data_error=error)


def jackknife(statistic: Callable[..., Tensor], *draws: Tensor) -> tuple[Tensor, Tensor]:
    r"""A statistic of independent draws, and its standard error, from those without one of the draws each.

    .. math:: C\, t - (C - 1)\, \bar t, \qquad s^2 = \frac{C - 1}{C} \sum_{c=1}^{C} (t_{-c} - \bar t)^2

    t is of all C draws, :math:`t_{-c}` without draw c, and :math:`\bar t` the mean of these. A bias in
    proportion to 1 / C, as a mean's variance leaves in its square, is taken away.

    Args:
        statistic: of tensors whose first dimension are the draws.
        draws: one or more, with as many draws each.

    Source: Efron and Stein, *The Jackknife Estimate of Variance*, 1981.

    Example:
        >>> value, error = jackknife(lambda draws: draws.mean(0), torch.tensor([1.0, 2.0, 3.0]))
        >>> value.item(), round(error.item(), 4)
        (2.0, 0.5774)
    """
    count = len(draws[0])
    others = [[draw for draw in range(count) if draw != left_out] for left_out in range(count)]
    without = torch.stack([statistic(*(values[kept] for values in draws)) for kept in others])
    unbiased = count * statistic(*draws) - (count - 1) * without.mean(0)
    return unbiased, (without.var(0, correction=0) * (count - 1)).sqrt()


@dataclass(frozen=True)
class Quantity:
    """One row of an evaluation."""

    key: str
    label: str
    mean: Mean
    bits_per_dimension: float | None = None
    """Minus the value, in bits for each cell of a datum; only for log-probabilities of discrete data."""

    unit: str = "nats"

    @property
    def value(self) -> float:
        """The mean over data."""
        return self.mean.value

    @property
    def monte_carlo_error(self) -> float:
        """The mean's standard error from finitely many draws."""
        return self.mean.monte_carlo_error

    @property
    def data_error(self) -> float:
        """The mean's standard error as an estimate for the population of data."""
        return self.mean.data_error

    def to_dict(self) -> dict[str, Any]:
        """Everything but the key, as JSON has it: ``None`` in the place of what is not a finite number."""
        numbers = {**vars(self.mean), "bits_per_dimension": self.bits_per_dimension}
        return {
            "label": self.label,
            "unit": self.unit,
            **{name: console.finite(number) for name, number in numbers.items()},
        }


@dataclass(frozen=True)
class Histogram:
    """Values whose distribution is to be looked at.

    Args:
        title: what they are.
        unit: of the values, as an axis has it.
        values: (m,).
        marked: the value that they are compared with, if there is one.
        marked_as: what that is.
        uniform: whether they should be uniform: over 0, ..., uniform - 1; 0 where not.
    """

    title: str
    unit: str
    values: Tensor
    marked: float | None = None
    marked_as: str = ""
    uniform: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The values and what they are, as JSON has them."""
        return {
            "title": self.title,
            "unit": self.unit,
            "values": console.all_finite(self.values.tolist()),
            "marked": console.finite(self.marked),
            "uniform": self.uniform,
        }


@dataclass(frozen=True, repr=False)
class Findings(Mapping[str, Quantity]):
    """What an evaluation or a diagnostic found: quantities by name, which read as a table.

    Args:
        title: of the table.
        quantities: its rows.
        notes: what a reader of these numbers must know, a sentence each.
        histograms: what may be drawn.
        unavailable: why there are none, as a part of a sentence; empty where there are.

    Raises:
        KeyError: with the names that there are, where another one is asked for.

    Example:
        >>> found = Findings("mean over data", [Quantity("elbo", "ELBO", Mean(-20.0, 0.1, 0.2))])
        >>> found["elbo"].value, found["elbo"].data_error, list(found)
        (-20.0, 0.2, ['elbo'])
    """

    title: str
    quantities: Sequence[Quantity] = ()
    notes: Sequence[str] = ()
    histograms: Sequence[Histogram] = field(default=())
    unavailable: str = ""

    def __getitem__(self, name: str) -> Quantity:
        for quantity in self.quantities:
            if quantity.key == name:
                return quantity
        raise KeyError(
            f"{self.title}: not available: {self.unavailable}"
            if self.unavailable
            else unknown(name, list(self))
        )

    def __iter__(self) -> Iterator[str]:
        return (quantity.key for quantity in self.quantities)

    def __len__(self) -> int:
        return len(self.quantities)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as ``--json`` prints it: ``None`` in the place of what is not a finite number."""
        if self.unavailable:
            return {"title": self.title, "unavailable": self.unavailable}
        histograms = [histogram.to_dict() for histogram in self.histograms]
        return {
            "title": self.title,
            "quantities": {quantity.key: quantity.to_dict() for quantity in self.quantities},
            "notes": list(self.notes),
            **({"histograms": histograms} if histograms else {}),
        }

    def __repr__(self) -> str:
        if self.unavailable:
            return f"{self.title}: not available: {self.unavailable}"
        is_heading = len(self.title) <= max((len(row.label) for row in self.quantities), default=0)
        table = console.table(self.title if is_heading else "", *map(console.heading, self._columns()))
        for quantity in self.quantities:
            table.add_row(*self._cells(quantity))
        above = [] if is_heading else [f"  {self.title}:", ""]
        below = ["", *self.notes] if self.notes else []
        return "\n".join([*above, console.text(table), *below])

    def _repr_html_(self) -> str:
        """The same table in a notebook."""
        if self.unavailable:
            return f"<p>{escape(repr(self))}</p>"
        head = _html_row("th", ["", *self._columns()])
        body = "".join(_html_row("td", self._cells(quantity)) for quantity in self.quantities)
        below = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><caption>{escape(self.title)}</caption>{head}{body}</table>{below}"

    @property
    def _has_bits(self) -> bool:
        return any(quantity.bits_per_dimension is not None for quantity in self.quantities)

    def _columns(self) -> list[str]:
        """The headings of all columns but the first."""
        return [
            "value",
            "unit",
            "Monte-Carlo error",
            "error over data",
            *(["bits/dim"] if self._has_bits else []),
        ]

    def _cells(self, quantity: Quantity) -> list[str]:
        errors = [console.error(quantity.monte_carlo_error), console.error(quantity.data_error)]
        bits = "-" if quantity.bits_per_dimension is None else f"{quantity.bits_per_dimension:.4f}"
        in_bits = [bits] if self._has_bits else []
        return [quantity.label, console.number(quantity.value), quantity.unit, *errors, *in_bits]


def _html_row(kind: str, cells: Sequence[str]) -> str:
    """A row of a table in a notebook, which puts all cells to the right: labels and units stand left."""
    parts = [
        f'<{kind} style="text-align: {"left" if column in (0, 2) else "right"}">{escape(cell)}</{kind}>'
        for column, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(parts)}</tr>"
