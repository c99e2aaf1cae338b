"""The posterior predictive: data anew given each datum, clean ones given corrupted ones; draws no figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import constraints

from pyrovae.corruption import Corruption, corrupt
from pyrovae.evaluate import inspected, numbered
from pyrovae.generate import CELLS_AT_ONCE
from pyrovae.isolation import isolated
from pyrovae.programs import Program, particle_plate
from pyrovae.quantities import ROUNDING, Findings, Quantity, mean
from pyrovae.randomness import DatumNoise

QUANTILES = (0.05, 0.5, 0.95)

_HARMED = (
    "the corrupted data are nearer to the clean ones: what the codes leave out is more than the noise took"
)


class Predictive(NamedTuple):
    """What the model expects in the place of each of n data, from S draws of z ~ q(z|x) and of p(x|z)."""

    mean: Tensor
    """The mean over draws of E[x|z], or of x where that has no closed form: (n, \\*event_shape)."""
    deviation: Tensor
    """The standard deviation of x over draws, (n, \\*event_shape)."""
    deviation_of_mean: Tensor
    """The standard deviation of E[x|z] over draws, (n, \\*event_shape): the code's part in it. Not a number
    where that has no closed form."""
    quantiles: Tensor
    """Of x over draws, (n, levels, \\*event_shape)."""
    x: Tensor
    """The draws, (n, S, \\*event_shape)."""
    z: Tensor
    """The codes that they were drawn from, (n, S, code size); several latent variables side by side."""


class Denoised(NamedTuple):
    """Data before and after corruption, and what the model makes of the latter; each (n, \\*event_shape)."""

    clean: Tensor
    corrupted: Tensor
    restored: Tensor
    """The posterior predictive mean, given the corrupted datum."""
    deviation: Tensor
    """The standard deviation of the posterior predictive."""


def predict(
    program: Program,
    batches: Iterable[Tensor],
    *,
    draws: int = 100,
    seed: int = 0,
    quantiles: Sequence[float] = QUANTILES,
) -> Predictive:
    r"""For each datum S draws of a new one, :math:`z_s \sim q(z|x),\; x_s \sim p(x|z_s)`, and their summary.

    .. math:: q(x^{\text{new}}|x) = \int p(x^{\text{new}}|z)\, q(z|x)\, dz, \qquad
       \mathbb{E}[x^{\text{new}}|x] \approx \frac{1}{S} \sum_s \mathbb{E}[x|z_s]

    The p-quantile of a cell is the smallest draw that a share p of the draws is not above: so quantiles of
    bits are bits. Draws of datum i are a function of the seed and i, whatever the batches are; the whole
    result is in memory, on the processor, and little beside it.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        draws: S, two at least: one has no spread.
        seed: of the noise.
        quantiles: levels between 0 and 1.

    Raises:
        ValueError: fewer draws than two, or a level outside [0, 1].

    Example:
        >>> predict(program, [x], draws=10).quantiles.shape
        torch.Size([16, 3, 1, 8, 8])
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, not {draws}")
    if not all(0 <= level <= 1 for level in quantiles):
        raise ValueError(f"quantiles are levels from 0 to 1, not {tuple(quantiles)}")
    parts = [
        _predict(program, x, data, draws, (seed, "predict"), quantiles)
        for x, data in numbered(program, batches, _at_once(program, draws))
    ]
    return Predictive(*map(torch.cat, zip(*parts, strict=True)))


def denoise(
    program: Program,
    batches: Iterable[Tensor],
    corruption: Corruption,
    *,
    extremes: tuple[float, float],
    draws: int = 100,
    seed: int = 0,
    is_likelihood: bool = True,
) -> Denoised:
    r"""Corrupt each datum and restore it by the posterior predictive mean given the corrupted one.

    .. math:: \hat x = \mathbb{E}_{q(z|\tilde x)}\bigl[\mathbb{E}[x|z]\bigr]

    The guide knows nothing of the corruption: it takes the corrupted datum for a clean one, so that the
    deviation is that of the data which such a code stands for. Corruption and draws of datum i are functions
    of the seed and i.

    Args:
        program: model and guide.
        batches: the clean data in order, each batch (n, \*event_shape).
        corruption: what is done to them.
        extremes: the smallest and the largest value that data have.
        draws: of each datum, two at least.
        seed: of corruption and draws.
        is_likelihood: whether the data lie in the likelihood's support; if not, as grey values under a
            Bernoulli likelihood, they may become anything between their extremes.

    Raises:
        ValueError: fewer draws than two.
        DataError: the corruption would take the data out of the likelihood's support, or does not fit them.

    Example:
        >>> restored = denoise(program, [x], Corruption("mask", 0.5), extremes=(0.0, 1.0), draws=10).restored
        >>> restored.shape
        torch.Size([16, 1, 8, 8])
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, not {draws}")
    support = program.support if is_likelihood else constraints.interval(*extremes)
    parts = []
    for x, data in numbered(program, batches, _at_once(program, draws)):
        given = corrupt(x, corruption, data, seed=seed, extremes=extremes, support=support)
        found = _predict(program, given, data, draws, (seed, "denoise"), ())
        parts.append(Denoised(x.cpu(), given.cpu(), found.mean, found.deviation))
    return Denoised(*map(torch.cat, zip(*parts, strict=True)))


def restoration(denoised: Denoised) -> Findings:
    r"""Errors of corrupted and of restored data against the clean ones: means over data, and their errors.

    .. math:: \frac{1}{D} \sum_i \frac{(\hat x_i - x_i)^2}{s_i^2}, \qquad
       \frac{1}{D} \sum_i \bigl[\mathbb{1}(\hat x_i > \tfrac{1}{2}) \neq x_i\bigr]

    The scale :math:`s_i` is 1 for pictures and bits, whose cells have one unit. The columns of a table have
    each their own: there it is the standard deviation of the column over the clean data, and columns that are
    constant are left out. The second error, the share of wrong bits, is there for data that are bits only.

    Args:
        denoised: clean, corrupted and restored data.

    Example:
        >>> data = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
        >>> found = restoration(Denoised(data, 1 - data, data, data))
        >>> [(row.key, row.mean.value) for row in found.quantities]
        [('corrupted.squared_error', 1.0), ('corrupted.wrong_bits', 1.0),
         ('restored.squared_error', 0.0), ('restored.wrong_bits', 0.0)]
    """
    clean = denoised.clean.flatten(1).double()
    are_bits = bool(((clean == 0) | (clean == 1)).all())
    scale, unit_of_error = clean.new_ones(clean.shape[1]), "squared unit of the data"
    if denoised.clean.dim() == 2 and not are_bits and len(clean) > 1:
        scale, unit_of_error = clean.std(0), "squared standard deviation of the column"
    rows: list[Quantity] = []
    for name in ("corrupted", "restored"):
        values = getattr(denoised, name).flatten(1).double()
        squared = ((values - clean) / scale)[:, scale > 0] ** 2
        errors = {"squared_error": ("mean squared error", unit_of_error, squared)}
        if are_bits:
            wrong = ((values > 0.5) != (clean > 0.5)).double()
            errors["wrong_bits"] = ("wrong bits", "share of cells", wrong)
        for key, (label, unit, of_cells) in errors.items():
            of_data = of_cells.mean(1)
            average = mean(of_data, torch.full_like(of_data, math.nan))
            rows.append(Quantity(f"{name}.{key}", f"{name}: {label} of a cell", average, unit=unit))
    of_corrupted, of_restored = rows[0].mean.value, rows[len(rows) // 2].mean.value
    notes = [_HARMED] if of_restored > of_corrupted else []
    return Findings(f"against {len(clean):,} clean rows", rows, notes)


def _at_once(program: Program, draws: int) -> int:
    """How many data with so many draws of each are in memory at a time."""
    return max(1, CELLS_AT_ONCE // (draws * program.event_shape.numel()))


@isolated()
def _predict(
    program: Program,
    x: Tensor,
    data: range,
    draws: int,
    key: tuple[int | str, ...],
    quantiles: Sequence[float],
) -> Predictive:
    at_once = _at_once(program, 1)
    with inspected(program):
        chunks = [
            _draw(program, x, DatumNoise((*key, start), data), min(at_once, draws - start))
            for start in range(0, draws, at_once)
        ]
    drawn, expected, codes = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    has_closed_form = expected.isfinite().all(0)
    levels = [_quantile(drawn, level) for level in quantiles]
    return Predictive(
        torch.where(has_closed_form, expected.mean(0), drawn.mean(0)),
        drawn.std(0),
        expected.std(0).where(has_closed_form, math.nan),
        torch.stack(levels, 1) if levels else drawn.new_empty(len(x), 0, *x.shape[1:]),
        drawn.transpose(0, 1),
        codes.transpose(0, 1),
    )


def _draw(program: Program, x: Tensor, noise: DatumNoise, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draws of x, E[x|z] and z on the processor, (draws, n, ...) each."""
    with noise, particle_plate(draws):
        codes = poutine.trace(program.guide).get_trace(x)
        model = poutine.uncondition(poutine.replay(program.model, codes))
        trace = prune_subsample_sites(poutine.trace(model).get_trace(x))
    sites: list[Any] = [trace.nodes[name] for name in trace.stochastic_nodes]
    (observed,) = [site for site in sites if site["infer"].get("was_observed")]
    latent = [site["value"] for site in sites if site is not observed]
    z = torch.cat([value.reshape(draws, len(x), -1) for value in latent], -1)
    shape = (draws, len(x), *program.event_shape)
    drawn, expected = observed["value"], _expected(observed)
    return drawn.expand(shape).cpu(), expected.expand(shape).cpu(), z.cpu()


def _expected(site: Any) -> Tensor:
    """E[x|z], or not a number where that has no closed form."""
    try:
        return site["fn"].mean
    except (NotImplementedError, AttributeError):
        return torch.full_like(site["value"], math.nan)


def _quantile(drawn: Tensor, level: float) -> Tensor:
    """The smallest of the draws, in the first dimension, that a share of them is not above."""
    rank = math.ceil(level * len(drawn) - ROUNDING)
    return drawn.kthvalue(min(max(rank, 1), len(drawn)), dim=0).values
