"""How surprising each datum is under a trained program, and which of its cells are; draws no figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import Independent

from pyrovae import device
from pyrovae.data import Split
from pyrovae.errors import DataError
from pyrovae.evaluate import CELLS_AT_ONCE, evaluate, inspected, numbered
from pyrovae.importance import Trust
from pyrovae.programs import Program, particle_plate
from pyrovae.quantities import ROUNDING, Mean
from pyrovae.randomness import DatumNoise


class Scores(NamedTuple):
    """How surprising each of n data is, on the processor in float64; every tensor (n,)."""

    surprise: Tensor
    """-log p(x) in nats, from above in expectation."""
    error: Tensor
    """Its Monte-Carlo standard error in nats; not a number where it cannot be trusted."""
    pareto_k: Tensor
    """k-hat, the shape of the upper tail of the importance weights."""
    trust: Trust
    """Which errors can be trusted, and what is to be said of the others."""

    @property
    def ranking(self) -> Tensor:
        """The numbers of the data, the most surprising one first; equal ones in their order."""
        return self.surprise.argsort(descending=True, stable=True)


class NoProductOverCells(Exception):  # noqa: N818 - no error of a user's
    """A likelihood whose score is no sum over cells; the text says why."""


def score(program: Program, batches: Iterable[Tensor], *, particles: int = 100, seed: int = 0) -> Scores:
    r"""The importance-sampled -log p(x) of every datum, in nats: the larger, the more surprising.

    .. math:: -\log \hat p(x) = -\log \frac{1}{K} \sum_k \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)},
       \qquad z_k \sim q(z|x)

    Too large in expectation, by less the more draws there are. Errors are given where
    :class:`~pyrovae.importance.Trust` trusts them: for no datum where k-hat is too high for more than 5% of
    the data, as is often so for data unlike those of training. Such scores rank, as upper bounds in
    expectation; one of them may well lie below -log p(x). Where q(z|x) is a point, the score is -log p(x, z),
    without an error.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        particles: draws K of z for each datum; below 25 there is no k-hat, and no error.
        seed: of the noise; that of datum i is a function of the seed and i alone.

    Raises:
        ValueError: particles is less than one.

    Source: Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders*, 2016, equation 8.

    Example:
        >>> score(program, [x], particles=30).surprise.shape
        torch.Size([16])
    """
    estimates = evaluate(program, batches, seed=seed, particles=particles)
    error = estimates.log_likelihood_error
    if not program.codes.is_density:
        error = torch.full_like(error, math.nan)
    return Scores(-estimates.log_likelihood, error, estimates.pareto_k, estimates.trust)


def rows_needed(level: float) -> int:
    """How many held-out rows a threshold at a level needs: the smallest n with ceil((n + 1) p) <= n.

    Args:
        level: p, between 0 and 1.

    Raises:
        ValueError: the level is not between 0 and 1.

    Example:
        >>> rows_needed(0.99)
        99
    """
    p = _exactly(level)
    return math.ceil(p / (1 - p))


def threshold(held_out: Tensor, level: float) -> Mean:
    r"""The score that a new datum exceeds with a probability of at most 1 - p, with its error over data.

    .. math:: x_{(\lceil (n + 1) p \rceil)}, \qquad \tfrac{1}{2} \bigl(x_{(\lceil r + s \rceil)}
       - x_{(\lfloor r - s \rfloor)}\bigr), \quad r = (n + 1) p, \quad s = \sqrt{p (1 - p) n}

    This is the conformal quantile. The promise holds for every n and every model, on the average over
    held-out rows, if the new datum and these rows are exchangeable (say, drawn independently from one
    population) and the model has not seen them. Training rows are no such rows: their scores are too low.
    Where the rows have chosen something, as validation rows choose the checkpoint ``best``, the promise is
    approximate.

    The error is half the distance of the scores one standard deviation s of the rank apart. Where one of
    these ranks is none of 1 to n, the data are too few for an error at this level: it is not a number.

    Args:
        held_out: scores of rows that the model was not trained on, (n,), in nats; one that is not a number
            counts as the highest.
        level: p, between 0 and 1.

    Raises:
        ValueError: the level is not between 0 and 1.
        DataError: there are fewer rows than the level needs.

    Source: Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005, section 2.2; Lei,
    G'Sell, Rinaldo, Tibshirani and Wasserman, *Distribution-Free Predictive Inference for Regression*, 2018,
    section 2.

    Example:
        >>> threshold(torch.arange(1.0, 100.0), 0.9)  # n = 99
        Mean(value=90.0, monte_carlo_error=nan, data_error=3.0)
    """
    needed, n = rows_needed(level), len(held_out)
    if n < needed:
        raise DataError(
            f"a threshold at {level:g} needs {needed:,} held-out rows or more, and there are {n:,}"
        )
    ordered = held_out.sort().values

    def at(rank: int) -> float:
        return ordered[rank - 1].item() if 1 <= rank <= n else math.nan

    rank, spread = (n + 1) * _exactly(level), math.sqrt(level * (1 - level) * n)
    low, high = math.floor(rank - spread + ROUNDING), math.ceil(rank + spread - ROUNDING)
    return Mean(at(math.ceil(rank)), data_error=(at(high) - at(low)) / 2)


def _exactly(level: float) -> Fraction:
    """The level as the decimal that it was written as: 0.99 of 100 is 99, and no more."""
    if not 0 < level < 1:
        raise ValueError(f"the level of a threshold lies between 0 and 1, and is not {level}")
    return Fraction(str(float(level)))


def auroc(usual: Tensor, outlying: Tensor) -> Mean:
    r"""The area under the ROC curve of a score, and its standard error over both sets of data.

    .. math:: A = \frac{1}{m n} \sum_{i, j}
       \bigl[\mathbb{1}(y_j > x_i) + \tfrac{1}{2}\, \mathbb{1}(y_j = x_i)\bigr], \qquad
       s^2 = \frac{\operatorname{Var}_i(A_{i\cdot})}{m} + \frac{\operatorname{Var}_j(A_{\cdot j})}{n}

    The probability that an outlying datum has a higher score than a usual one; :math:`A_{i\cdot}` and
    :math:`A_{\cdot j}` are the means over the data of the other set.

    Args:
        usual: scores x, (m,).
        outlying: scores y, (n,).

    Source: DeLong, DeLong and Clarke-Pearson, *Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves: A Nonparametric Approach*, 1988, equations 2 to 5.

    Example:
        >>> area = auroc(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([2.5, 4.0]))
        >>> area.value, round(area.data_error, 4)
        (0.875, 0.1768)
    """
    above, below = _shares_below(outlying, usual), 1 - _shares_below(usual, outlying)
    variance = sum(shares.var().item() / len(shares) for shares in (above, below))
    return Mean(above.mean().item(), data_error=math.sqrt(variance))


def _shares_below(values: Tensor, others: Tensor) -> Tensor:
    """The share of the others that lie below each value, those that equal it counted half."""
    ordered = others.sort().values
    ranks = [torch.searchsorted(ordered, values, side=side) for side in ("left", "right")]
    return (ranks[0] + ranks[1]).double() / (2 * len(others))


def reference_rows(rows: Split, count: int, *, seed: int = 0) -> Split:
    """So many of the rows, chosen by the seed, in their order; all of them where there are no more.

    Example:
        >>> from pyrovae.data import Split
        >>> len(reference_rows(Split(x), 5))
        5
    """
    return rows.take(rows.chosen(count, seed, "reference"))


def contributions(
    program: Program,
    batches: Iterable[Tensor],
    *,
    draws: int = 100,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
) -> Tensor:
    r"""What each cell of each datum adds to its score: the mean of -log p(x_i|z) over z ~ q(z|x), in nats.

    .. math:: c_i = -\mathbb{E}_{q(z|x)}[\log p(x_i|z)], \qquad
       -\mathrm{ELBO} = \sum_i c_i + KL\bigl(q(z|x)\,\|\,p(z)\bigr)

    The mean is over q(z|x) and not over p(z|x), which importance weights would give: of surprising data a few
    draws carry all the weight, and their cells would be shown.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        draws: of z for each datum.
        seed: of the noise; that of datum i is a function of the seed and i alone.
        numbers: i of each datum; from 0 on, if not given.

    Returns:
        (n, \*event_shape), on the processor.

    Raises:
        ValueError: draws is less than one.
        NoProductOverCells: p(x|z) is no product over cells.

    Example:
        >>> contributions(program, [x], draws=10).shape
        torch.Size([16, 1, 8, 8])
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    at_once = max(1, CELLS_AT_ONCE // (draws * program.event_shape.numel()))
    parts = []
    for x, data in numbered(program, batches, at_once):
        noisy = data if numbers is None else numbers[data.start : data.stop]
        with inspected(program), DatumNoise((seed, "contributions"), noisy):
            parts.append(_of_cells(program, x, draws))
    return torch.cat(parts)


def _of_cells(program: Program, x: Tensor, draws: int) -> Tensor:
    with particle_plate(draws):
        codes = poutine.trace(program.guide).get_trace(x)
        model = poutine.trace(poutine.replay(program.model, codes)).get_trace(x)
    (observed,) = prune_subsample_sites(model).observation_nodes
    site: Any = model.nodes[observed]
    p = site["fn"]
    if not (isinstance(p, Independent) and not p.base_dist.event_shape):
        raise NoProductOverCells(f"p(x|z) is no product over cells ({type(p).__name__})")
    scores = p.base_dist.log_prob(site["value"])
    scores = scores.expand(draws, len(x), *program.event_shape)
    return -scores.to(device.widest(scores.device)).mean(0).cpu().double()
