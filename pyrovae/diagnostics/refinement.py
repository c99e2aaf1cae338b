"""How far the guide is from the posterior, seen by chains that begin at the guide's draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy
import torch
from pydantic import Field
from torch import Tensor

from pyrovae import hmc
from pyrovae.density import Density
from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Subject
from pyrovae.diagnostics._points import Points, blocks
from pyrovae.programs import Program
from pyrovae.quantities import Mean, Quantity, jackknife, mean
from pyrovae.randomness import DatumNoise, Streams

CONVERGED = 1.1
"""The largest split-R-hat of chains that are taken for converged."""

SMALLEST_VARIANCE = 1e-24


class Refinement(Diagnostic):
    r"""Chains of Hamiltonian Monte Carlo from the guide's draws to the posterior, and how far they go.

    .. math:: z_c^{(0)} \sim q(z|x), \qquad z_c^{(s)} \sim K\bigl(z \mid z_c^{(s-1)}\bigr), \qquad
       \text{K leaves } p(z|x) \text{ as it is}

    The chains of a datum share one step size, adapted to an acceptance of 0.65 during the warm-up. Codes move
    without bounds, in units of the guide's standard deviations. What the chains tell of the posterior is
    compared with draws of the guide, as many again, with errors by the jackknife over chains. Split-R-hat
    says whether the chains of a datum agree; where they do not, the numbers are only how far they have come.
    Chains that all miss another mode agree as well.

    Args:
        points: how many data, chosen by the seed.
        chains: for each datum.
        warmup: steps in which the step size is adapted; none of them counts.
        steps: of every chain after the warm-up.
        leapfrog: leapfrog steps of each step.

    Source: Hoffman, *Learning Deep Latent Gaussian Models with Markov Chain Monte Carlo*, 2017, section 3;
    Neal, *MCMC using Hamiltonian dynamics*, 2011; for split-R-hat Vehtari, Gelman, Simpson, Carpenter and
    Buerkner, *Rank-normalization, folding, and localization*, 2021, section 4.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.evaluate import inspected
        >>> with inspected(program):
        ...     found = Refinement(points=4, chains=2, warmup=10, steps=20)(Subject(program, Split(x)))
        >>> [quantity.key for quantity in found.quantities][:2]
        ['refinement_before', 'refinement_after']
    """

    def __init__(
        self,
        *,
        points: Points = 100,
        chains: Annotated[int, Field(ge=3, description="chains for each datum")] = 8,
        warmup: Annotated[int, Field(ge=1, description="steps in which step sizes are adapted")] = 100,
        steps: Annotated[int, Field(ge=4, description="steps of every chain after that")] = 200,
        leapfrog: Annotated[int, Field(ge=1, description="leapfrog steps of each step")] = 10,
    ) -> None:
        self.points = points
        self.chains = chains
        self.warmup = warmup
        self.steps = steps
        self.leapfrog = leapfrog

    def __call__(self, subject: Subject) -> Findings:
        parts = [
            self.refined(subject.program, x, data, subject.seed)
            for x, data in blocks(subject, self.points, self.chains)
        ]
        refined = Refined(*map(torch.cat, zip(*parts, strict=True)))
        return Findings("refinement", refined.quantities(), refined.notes(), refined.histograms())

    def refined(self, program: Program, x: Tensor, data: Sequence[int], seed: int) -> Refined:
        """What the chains of some data tell.

        Args:
            program: model and guide.
            x: the data, (n, \\*event_shape).
            data: their indices, which their noise follows from.
            seed: of the noise.
        """
        density = Density(program, x)
        key = (seed, "refinement")
        guide = density.from_guide(DatumNoise((*key, "guide"), data), self.chains * self.steps)
        chains = hmc.sample(
            density.log_joint,
            density.from_guide(DatumNoise((*key, "start"), data), self.chains),
            Streams(key, data),
            warmup=self.warmup,
            draws=self.steps,
            leapfrog=self.leapfrog,
            scale=hmc.scale_of(guide),
        )
        before = Summary.of(density, guide.unflatten(0, (self.steps, self.chains)))
        after = Summary.of(density, chains.draws)
        return Refined.of(before, after, chains.acceptance.mean(0).cpu())


class Summary(NamedTuple):
    """Draws of codes by chain."""

    codes: Tensor
    """z, (steps, chains, n, code size), float64."""
    log_joint: Tensor
    """log p(x, z), (steps, chains, n), in nats."""

    @classmethod
    @torch.no_grad()
    def of(cls, density: Density, draws: Tensor) -> Summary:
        codes = [density.codes(u).double().cpu() for u in draws]
        log_joint = [(density.log_joint(u) - density.log_volume(u)).cpu() for u in draws]
        return cls(torch.stack(codes), torch.stack(log_joint))


class Refined(NamedTuple):
    """What chains tell of each datum; ``_error``: standard errors by the jackknife over chains."""

    before: Tensor
    """E[log p(x, z)] under the guide, (n,), in nats."""
    before_error: Tensor
    after: Tensor
    """E[log p(x, z)] under the chains, (n,), in nats."""
    after_error: Tensor
    shift: Tensor
    """Squared shift of the mean, in variances of the guide, mean over coordinates, without bias, (n,)."""
    shift_error: Tensor
    stretch: Tensor
    """Standard deviation of the chains in units of the guide's, mean over coordinates, (n,)."""
    stretch_error: Tensor
    code: Tensor
    """Posterior mean of the code, (n, code size)."""
    code_error: Tensor
    scale: Tensor
    """Posterior standard deviation of every coordinate of the code, (n, code size)."""
    scale_error: Tensor
    rhat: Tensor
    """Split-R-hat, the largest of all coordinates, (n,)."""
    acceptance: Tensor
    """Its mean over steps and chains, (n,)."""

    @classmethod
    def of(cls, before: Summary, after: Summary, acceptance: Tensor) -> Refined:
        guide, chains = _Moments.of(before.codes), _Moments.of(after.codes)
        return cls(
            *jackknife(_average, before.log_joint.mean(0)),
            *jackknife(_average, after.log_joint.mean(0)),
            *jackknife(_squared_shift, *guide, *chains),
            *jackknife(_stretch, *guide, *chains),
            *jackknife(_average, chains.first),
            *jackknife(_scale, *chains),
            _split_rhat(after.codes),
            acceptance,
        )

    def quantities(self) -> list[Quantity]:
        """Means over the data."""
        unknown = torch.full_like(self.rhat, math.nan)
        return [
            Quantity(
                "refinement_before", "log p(x, z), z from the guide", mean(self.before, self.before_error)
            ),
            Quantity(
                "refinement_after", "log p(x, z), z from the chains", mean(self.after, self.after_error)
            ),
            Quantity(
                "refinement_shift",
                "shift of the posterior mean, root mean square",
                _root(mean(self.shift, self.shift_error)),
                unit="standard deviations of the guide",
            ),
            Quantity(
                "refinement_stretch",
                "standard deviation, chains / guide",
                mean(self.stretch, self.stretch_error),
                unit="ratio",
            ),
            Quantity(
                "refinement_acceptance", "acceptance", mean(self.acceptance, unknown), unit="probability"
            ),
            Quantity(
                "refinement_rhat", "split-R-hat, worst coordinate", mean(self.rhat, unknown), unit="ratio"
            ),
        ]

    def notes(self) -> list[str]:
        """Where the chains cannot be relied on."""
        apart = int((~(self.rhat <= CONVERGED)).sum())
        if not apart:
            return []
        return [
            f"at {apart} of {len(self.rhat)} data the chains have not converged: split-R-hat is above "
            f"{CONVERGED}, and their numbers are only how far they have come"
        ]

    def histograms(self) -> list[Histogram]:
        """What differs between data."""
        return [
            Histogram("standard deviation, chains / guide", "ratio", self.stretch, 1.0, "as wide"),
            Histogram("split-R-hat", "ratio", self.rhat, CONVERGED, "threshold"),
        ]


class _Moments(NamedTuple):
    """Of every chain, (chains, n, code size)."""

    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> _Moments:
        return cls(codes.mean(0), codes.square().mean(0))


def _average(chains: Tensor) -> Tensor:
    return chains.mean(0)


def _scale(first: Tensor, second: Tensor) -> Tensor:
    variance = second.mean(0) - first.mean(0).square()
    return variance.clamp(min=SMALLEST_VARIANCE).sqrt()


def _squared_shift(guide: Tensor, guide_second: Tensor, chains: Tensor, chains_second: Tensor) -> Tensor:
    shift = (chains - guide).mean(0) / _scale(guide, guide_second)
    return shift.square().mean(-1)


def _stretch(guide: Tensor, guide_second: Tensor, chains: Tensor, chains_second: Tensor) -> Tensor:
    return (_scale(chains, chains_second) / _scale(guide, guide_second)).mean(-1)


def _root(square: Mean) -> Mean:
    """The root of a mean; its errors lead from there to the root of the mean plus an error."""
    value = max(square.value, 0.0)

    def error(of_square: float) -> float:
        return math.sqrt(value + of_square) - math.sqrt(value)

    return Mean(math.sqrt(value), error(square.monte_carlo_error), error(square.data_error))


def _split_rhat(codes: Tensor) -> Tensor:
    """The largest rank-normalised split-R-hat of all coordinates, (n,); not a number where chains rest."""
    from arviz_stats.base.array import array_stats  # slow to import

    with numpy.errstate(all="ignore"):
        rhat = array_stats.rhat(codes.numpy(), chain_axis=1, draw_axis=0, method="rank")
    return torch.as_tensor(rhat).amax(-1)
