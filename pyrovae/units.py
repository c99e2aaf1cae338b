"""What the values that a model sees are, beside the values as they are stored; knows no data and no model."""

from __future__ import annotations

import math
from typing import NamedTuple


class Unit(NamedTuple):
    r"""The unit that densities of values x are per, where x is a linear function of the stored value.

    .. math:: \log p(\text{stored values}) = \log p(x) + D \log \frac{dx}{d\,\text{value}}

    Args:
        words: x as a formula of the stored ``value``, or what it is called.
        log_slope: log dx / d value, in nats for each of the D cells of a datum.
        is_dequantized: whether noise u was added to whole numbers, so that values are ``value + u``.

    Example:
        >>> unit = Unit("value / 255", -math.log(255))
        >>> unit.of_stored(cells=784)
        'for a density per unit of the stored values, add -4,344.351 nats per datum to log p(x)'
    """

    words: str
    log_slope: float = 0.0
    is_dequantized: bool = False

    @property
    def title(self) -> str:
        """What densities are per, after the name of a table."""
        return f"densities are per unit of {self.words}"

    def of_stored(self, cells: int, sign: int = 1, what: str = "log p(x)") -> str:
        """How to come to the densities of stored values; empty where they are these.

        Args:
            cells: D, how many numbers a datum has.
            sign: -1 where the number is minus a log-density.
            what: the number.
        """
        if not self.log_slope and not self.is_dequantized:
            return ""
        stored = "value + u, u the noise" if self.is_dequantized else "the stored values"
        change = sign * cells * self.log_slope
        return f"for a density per unit of {stored}, add {change:+,.3f} nats per datum to {what}"

    def bits_per_dimension(self, log_p: float, cells: int) -> float | None:
        r"""Bits for each cell of whole numbers, an upper bound; ``None`` where values were not dequantised.

        .. math:: -\frac{\log P(\text{value})}{D \log 2} \le
           -\frac{\mathbb{E}_u[\log p(\text{value} + u)]}{D \log 2}

        Args:
            log_p: log p(x) of a datum, in nats.
            cells: D, how many numbers a datum has.

        Source: Theis, van den Oord and Bethge, *A note on the evaluation of generative models*, 2016, section
        3.1.
        """
        if not self.is_dequantized:
            return None
        return -(log_p / cells + self.log_slope) / math.log(2)


STORED = Unit("the stored values")
"""That of the values as they are stored."""
