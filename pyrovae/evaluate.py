"""Trained program -> numbers, in nats per datum, each with its errors; trains, draws and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

from pyrovae.programs import Program
from pyrovae.randomness import DatumNoise

CELLS_AT_ONCE = 40_000
"""How many cells of one datum's draws are in memory at a time, beside those of its batch."""


@dataclass(frozen=True)
class Estimates:
    """One estimate for each datum, float64, in nats; ``_error``: Monte-Carlo standard error of each.

    The errors are those of the mean over particles (by the delta method for ``log_likelihood``), and not a
    number where there is only one particle.
    """

    elbo: Tensor
    elbo_error: Tensor
    reconstruction: Tensor
    reconstruction_error: Tensor
    kl: Tensor
    kl_error: Tensor
    log_likelihood: Tensor
    log_likelihood_error: Tensor


@dataclass(frozen=True)
class Mean:
    """The mean over data of one quantity, in nats per datum.

    ``monte_carlo_error`` is the standard error from finitely many draws of z, for these very data;
    ``data_error`` is the standard error of the mean as an estimate for the population of data.
    """

    value: float
    monte_carlo_error: float
    data_error: float


def evaluate(
    program: Program, batches: Iterable[Tensor], *, seed: int = 0, particles: int = 1000
) -> Estimates:
    r"""ELBO, its two terms, and the importance-sampled log-likelihood of every datum.

    .. math:: w_k = \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x), \qquad
       \widehat{ELBO} = \frac{1}{K} \sum_k \log w_k, \qquad
       \log \hat{p}(x) = \log \frac{1}{K} \sum_k w_k

    The last one is a lower bound of log p(x) in expectation, tight as K grows. Noise of datum i is a function
    of the seed and i alone, whatever the batches are. The program is in evaluation mode meanwhile.

    Args:
        program: model and guide.
        batches: the data in order, each batch (n, \*event_shape).
        seed: of the noise.
        particles: draws K of z for each datum.

    Raises:
        ValueError: particles is less than one.

    Source: Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders*, 2016, equation 8.

    Example:
        >>> evaluate(program, [x], particles=100).elbo.shape
        torch.Size([16])
    """
    if particles < 1:
        raise ValueError(f"particles must be at least 1, not {particles}")
    first, parts = 0, []
    with inspected(program):
        for x in batches:
            parts.append(_evaluate_batch(program, x, range(first, first + len(x)), seed, particles))
            first += len(x)
    return Estimates(
        **{
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(Estimates)
        }
    )


def mean(values: Tensor, errors: Tensor) -> Mean:
    """The mean over data, with both of its standard errors."""
    n = len(values)
    spread = values.std().item() if n > 1 else math.nan
    return Mean(values.mean().item(), errors.square().sum().sqrt().item() / n, spread / math.sqrt(n))


@dataclass(frozen=True)
class Quantity:
    """One row of an evaluation."""

    key: str
    label: str
    mean: Mean
    bits_per_dimension: float | None
    """Minus the value, in bits for each cell of a datum; only for log-probabilities of discrete data."""


def summarise(
    estimates: Estimates, *, cells: int, discrete: bool, is_likelihood: bool, is_bound: bool = True
) -> list[Quantity]:
    """The means over data of all estimates.

    Args:
        estimates: for each datum.
        cells: how many numbers a datum has.
        discrete: whether the likelihood is a probability, and no density.
        is_likelihood: whether the data lie in the likelihood's support; if not, the sums are cross-entropies.
        is_bound: whether q(z|x) has a density; if not, there is no bound, no KL and no importance sampling.
    """
    labels = LABELS if is_likelihood else CROSS_ENTROPY_LABELS
    if not is_bound:
        labels = {"reconstruction": POINT_LABELS[is_likelihood], "penalty": "penalty -log p(z)"}
    quantities = []
    for key, label in labels.items():
        term = "kl" if key == "penalty" else key  # the KL's formula, with a density of 1 at the point
        average = mean(getattr(estimates, term), getattr(estimates, f"{term}_error"))
        in_bits = discrete and is_likelihood and key in ("elbo", "log_likelihood")
        bits = -average.value / cells / math.log(2) if in_bits else None
        quantities.append(Quantity(key, label, average, bits))
    return quantities


LABELS = {
    "elbo": "ELBO",
    "reconstruction": "reconstruction E_q[log p(x|z)]",
    "kl": "KL(q(z|x) || p(z))",
    "log_likelihood": "log p(x), importance-sampled",
}
CROSS_ENTROPY_LABELS = {
    "elbo": "cross-entropy bound",
    "reconstruction": "minus cross-entropy",
    "kl": "KL(q(z|x) || p(z))",
    "log_likelihood": "cross-entropy bound, importance-sampled",
}
POINT_LABELS = {
    True: "log p(x|z) at the point z of x",
    False: "minus cross-entropy at the point z of x",
}


@contextmanager
def inspected(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients and no validation inside; everything as it was afterwards."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            yield
    finally:
        for part, mode in training.items():
            part.training = mode


def _evaluate_batch(program: Program, x: Tensor, data: range, seed: int, particles: int) -> Estimates:
    at_once = max(1, min(100, CELLS_AT_ONCE // program.event_shape.numel()))
    chunks = [
        _log_terms(program, x, DatumNoise((seed, start), data), min(at_once, particles - start))
        for start in range(0, particles, at_once)
    ]
    reconstruction, minus_kl = (torch.cat(terms) for terms in zip(*chunks, strict=True))
    log_weights = reconstruction + minus_kl

    def average(values: Tensor) -> tuple[Tensor, Tensor]:
        error = (
            values.std(0) / math.sqrt(particles) if particles > 1 else torch.full_like(values[0], math.nan)
        )
        return values.mean(0), error

    log_likelihood = log_weights.logsumexp(0) - math.log(particles)
    relative_weights = (log_weights - log_likelihood).exp()
    return Estimates(
        *average(log_weights),
        *average(reconstruction),
        *average(-minus_kl),
        log_likelihood,
        average(relative_weights)[1],
    )


def _log_terms(program: Program, x: Tensor, noise: DatumNoise, particles: int) -> tuple[Tensor, Tensor]:
    """log p(x|z) and log p(z) - log q(z|x) under draws z ~ q(z|x), each of shape (particles, n), in nats."""
    with noise, pyro.plate("particles", particles, dim=-1 - program.max_plate_nesting):
        guide = prune_subsample_sites(poutine.trace(program.guide).get_trace(x))
        model = prune_subsample_sites(poutine.trace(poutine.replay(program.model, guide)).get_trace(x))
    model.compute_log_prob()
    guide.compute_log_prob()
    observed = torch.zeros(particles, len(x), dtype=torch.float64, device=x.device)
    latent = observed.clone()
    for name in model.observation_nodes:
        observed += model.nodes[name]["log_prob"]
    for name in model.stochastic_nodes:
        latent += model.nodes[name]["log_prob"]
    for name in guide.stochastic_nodes:
        latent -= guide.nodes[name]["log_prob"]
    return observed, latent
