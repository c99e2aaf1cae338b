"""How surprising each datum is under a trained program, and which of its cells are; draws no figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import Independent

from pyrovae import device
from pyrovae.data import Split
from pyrovae.evaluate import CELLS_AT_ONCE, evaluate, inspected
from pyrovae.programs import Program, particle_plate
from pyrovae.quantities import ROUNDING, Mean
from pyrovae.randomness import DatumNoise


class Scores(NamedTuple):
    """How surprising each of n data is, on the processor in float64; every field (n,)."""

    surprise: Tensor
    """-log p(x) in nats, from above in expectation."""
    error: Tensor
    """Its Monte-Carlo standard error in nats; not a number where it cannot be trusted."""
    pareto_k: Tensor
    """k-hat: above 0.7, importance sampling has no error that can be trusted."""

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

    Too large in expectation, by less the more draws there are. It has no error where k-hat is above 0.7, as
    is often so for data unlike those of training: there it ranks, but is no estimate of -log p(x). Nor is it
    where q(z|x) is a point: it is -log p(x, z) there.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        particles: draws K of z for each datum; below 25 there is no k-hat, and no error is withheld.
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
    return Scores(-estimates.log_likelihood, error, estimates.pareto_k)


def threshold(surprise: Tensor, level: float) -> Mean:
    r"""The score that a share of the data does not exceed, with its standard error over data.

    .. math:: x_{(\lceil p n \rceil)}, \qquad \tfrac{1}{2} \bigl(x_{(\lceil p n + s \rceil)}
       - x_{(\lfloor p n - s \rfloor)}\bigr), \quad s = \sqrt{p (1 - p) n}

    Of n data, those below the population's quantile are binomial, p n with a standard deviation of s. Where
    one of these ranks is none of 1 to n, the data are too few for an error at this level: it is not a number.

    Args:
        surprise: scores, (n,).
        level: p, between 0 and 1.

    Raises:
        ValueError: the level is not between 0 and 1.

    Example:
        >>> threshold(torch.arange(1.0, 101.0), 0.9)
        Mean(value=90.0, monte_carlo_error=nan, data_error=3.0)
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of a threshold lies between 0 and 1, and is not {level}")
    ordered, n = surprise.sort().values, len(surprise)

    def at(rank: int) -> float:
        return ordered[rank - 1].item() if 1 <= rank <= n else math.nan

    middle, spread = level * n, math.sqrt(level * (1 - level) * n)
    low, high = math.floor(middle - spread + ROUNDING), math.ceil(middle + spread - ROUNDING)
    return Mean(at(max(1, math.ceil(middle - ROUNDING))), data_error=(at(high) - at(low)) / 2)


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
    first, parts = 0, []
    with inspected(program):
        for batch in batches:
            for x in batch.split(at_once):
                data = range(first, first + len(x))
                numbered = data if numbers is None else numbers[data.start : data.stop]
                with DatumNoise((seed, "contributions"), numbered):
                    parts.append(_of_cells(program, x, draws))
                first += len(x)
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
