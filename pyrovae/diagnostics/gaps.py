"""What is lost between log p(x) and the ELBO: to the posterior's family, and to the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

from pyrovae import sites
from pyrovae.diagnostics import Diagnostic, Findings, Histogram, Subject, Unavailable
from pyrovae.diagnostics._points import CELLS_AT_ONCE, Points, blocks
from pyrovae.importance import Trust, pareto_k
from pyrovae.programs import particle_plate
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.quantities import Mean, Quantity, mean
from pyrovae.randomness import DatumNoise

FEW = 10
"""With fewer effective draws, neither an importance-sampled value nor its error can be relied on."""

OF_LOG_LIKELIHOOD = ("log_likelihood", "gap", "approximation")
"""Estimates that are made of the importance weights' mean."""


class Gaps(Diagnostic):
    r"""The gap between log p(x) and the ELBO, split into an approximation and an amortisation gap.

    .. math:: \log p(x) - \mathcal{L}[q] =
       \underbrace{\log p(x) - \mathcal{L}[q^*]}_{\text{approximation}} +
       \underbrace{\mathcal{L}[q^*] - \mathcal{L}[q]}_{\text{amortisation}}, \qquad
       \mathcal{L}[q] = \mathbb{E}_q[\log p(x, z) - \log q(z)]

    q is the guide's q(z|x), and q* the best one that the posterior can make of any features: the features of
    each datum start as the encoder's and follow the gradient of the ELBO by Adam; those of the second half of
    the steps are averaged. What the posterior has learned besides stays as it is. Both ELBOs are then
    estimated anew, from draws that share their noise, and log p(x) by importance sampling with q*, corrected
    for the bias of a mean's logarithm by half its squared error (unless the draws are worth fewer than 10 of
    the posterior). What is made of log p(x) has an error where :class:`~pyrovae.importance.Trust` trusts the
    draws of q*. An optimiser that stops short of q* leaves its remainder in the approximation gap
    and out of the amortisation gap.

    Args:
        points: how many data, chosen by the seed.
        steps: of Adam, for each datum.
        draws: of z for each step and datum.
        learning_rate: of Adam.
        particles: draws for the estimates.

    Source: Cremer, Li and Duvenaud, *Inference Suboptimality in Variational Autoencoders*, 2018, section 3.1;
    gradients by Roeder, Wu and Duvenaud, *Sticking the Landing*, 2017, and through discrete draws by Kool,
    van Hoof and Welling, *Buy 4 REINFORCE Samples, Get a Baseline for Free!*, 2019.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.evaluate import inspected
        >>> with inspected(program):
        ...     found = Gaps(points=4, steps=10, particles=20)(Subject(program, Split(x)))
        >>> [quantity.key for quantity in found.quantities][-3:]
        ['gap', 'approximation_gap', 'amortisation_gap']
    """

    def __init__(
        self,
        *,
        points: Points = 100,
        steps: Annotated[int, Field(ge=1, description="steps of Adam for each datum")] = 500,
        draws: Annotated[int, Field(ge=2, description="draws of z for each step")] = 8,
        learning_rate: Annotated[float, Field(gt=0, le=1, description="of Adam")] = 0.05,
        particles: Annotated[int, Field(ge=2, description="draws of z for the estimates")] = 1000,
    ) -> None:
        self.points = points
        self.steps = steps
        self.draws = draws
        self.learning_rate = learning_rate
        self.particles = particles

    def __call__(self, subject: Subject) -> Findings:
        program = subject.program
        if type(program) is not SingleLayer:  # a class of its own may have a guide of its own
            raise Unavailable("the program has no posterior whose features could be optimised")
        if not program.posterior.is_density:
            raise Unavailable("q(z|x) is a point, without a density")
        parts = []
        for x, data in blocks(subject, self.points, self.draws):
            start = program.network.encoder(program.likelihood.seen(x))
            best = self.optimised(program, x, start, data, subject.seed)
            parts.append(self._log_weights(program, x, (start, best), data, subject.seed))
        estimates = Estimates.of(*(torch.cat(of_all, 1) for of_all in zip(*parts, strict=True)))
        return Findings("gaps", estimates.quantities(), self._notes(estimates), estimates.histograms())

    def optimised(
        self, program: SingleLayer, x: Tensor, features: Tensor, data: Sequence[int], seed: int
    ) -> Tensor:
        """The features of q* for each datum, (n, features), from those of the encoder."""
        features = features.detach().clone().requires_grad_()
        adam = torch.optim.Adam([features], lr=self.learning_rate)
        average = torch.zeros_like(features, requires_grad=False)
        averaged_from = self.steps // 2
        for step in range(self.steps):
            noise = DatumNoise((seed, "gaps", step), data)
            with torch.enable_grad():
                gain = _differentiable_elbo(program, x, features, noise, self.draws)
                (features.grad,) = torch.autograd.grad(-gain.sum(), features)
            adam.step()
            if step >= averaged_from:
                average += features.detach() / (self.steps - averaged_from)
        return average

    def _log_weights(
        self, program: SingleLayer, x: Tensor, features: tuple[Tensor, Tensor], data: Sequence[int], seed: int
    ) -> tuple[Tensor, Tensor]:
        """Those of draws from the guide's q and from q*, each (particles, n)."""
        # Whatever the number of data is: what is drawn at once has noise of its own.
        at_once = max(self.draws, CELLS_AT_ONCE // (20 * program.event_shape.numel()))
        chunks = []
        for first in range(0, self.particles, at_once):
            count = min(at_once, self.particles - first)
            # Noise that both have in common leaves less of it in their difference.
            noise = DatumNoise((seed, "gaps", "estimates", first), data)
            chunks.append([_log_weights(program, x, one, noise, count) for one in features])
        guide, best = (torch.cat(chunk).cpu() for chunk in zip(*chunks, strict=True))
        return guide, best

    def _notes(self, estimates: Estimates) -> list[str]:
        notes = [
            "log p(x) is itself an estimate, and too low where q* misses a part of the posterior: the gap "
            "and the approximation gap are then too small",
            "q* is as good as its optimiser: what that misses counts as approximation",
        ]
        few = int((estimates.effective_draws < FEW).sum())
        if few:
            notes.append(
                f"at {few} of {len(estimates.effective_draws)} data the draws of q* are worth less than "
                f"{FEW} draws of the posterior: there log p(x) cannot be relied on"
            )
        return [*notes, *estimates.trust.notes("log p(x) from draws of q*")]


class Estimates(NamedTuple):
    """One estimate for each datum, (n,), in nats; ``_error``: its Monte-Carlo standard error."""

    log_likelihood: Tensor
    log_likelihood_error: Tensor
    elbo: Tensor
    elbo_error: Tensor
    best_elbo: Tensor
    best_elbo_error: Tensor
    gap: Tensor
    gap_error: Tensor
    approximation: Tensor
    approximation_error: Tensor
    amortisation: Tensor
    amortisation_error: Tensor
    effective_draws: Tensor
    trust: Trust
    """Of the draws of q*."""

    @classmethod
    def of(cls, guide: Tensor, best: Tensor) -> Estimates:
        """The estimates from log weights under draws from q and from q*, each (particles, n).

        Every estimate is about a mean over draws of its terms, which all estimates take from the same draws.
        """
        particles = len(best)
        log_mean = best.logsumexp(0) - math.log(particles)
        relative = (best - log_mean).exp()
        # Terms whose mean is the corrected log-likelihood, and whose spread gives its error (delta method).
        effective_draws = particles / relative.square().mean(0)
        # Of few draws the spread is unknown too: what a correction by it adds may be more than is missing.
        bias = (relative.var(0) / (2 * particles)).where(effective_draws >= FEW, 0.0)
        log_p = log_mean + bias + relative - 1

        def average(terms: Tensor) -> tuple[Tensor, Tensor]:
            return terms.mean(0), terms.std(0) / math.sqrt(particles)

        return cls(
            *average(log_p),
            *average(guide),
            *average(best),
            *average(log_p - guide),
            *average(log_p - best),
            *average(best - guide),
            effective_draws,
            Trust(pareto_k(best), particles),
        )

    def quantities(self) -> list[Quantity]:
        """Means over the data."""
        return [
            Quantity(
                "gaps_log_likelihood", "log p(x), importance-sampled with q*", self._mean("log_likelihood")
            ),
            Quantity("gaps_elbo", "ELBO of these data", self._mean("elbo")),
            Quantity("gaps_best_elbo", "ELBO of q*, optimised for each datum", self._mean("best_elbo")),
            Quantity("gap", "gap log p(x) - ELBO", self._mean("gap")),
            Quantity(
                "approximation_gap", "approximation gap log p(x) - ELBO of q*", self._mean("approximation")
            ),
            Quantity("amortisation_gap", "amortisation gap ELBO of q* - ELBO", self._mean("amortisation")),
        ]

    def histograms(self) -> list[Histogram]:
        """The two parts of the gap over the data."""
        return [
            Histogram("approximation gap", "nats", self.approximation),
            Histogram("amortisation gap", "nats", self.amortisation),
        ]

    def _mean(self, name: str) -> Mean:
        error = getattr(self, f"{name}_error")
        if name in OF_LOG_LIKELIHOOD and not self.trust.of_mean:
            error = torch.full_like(error, math.nan)
        return mean(getattr(self, name), error)


class _Given(nn.Module):
    """A network whose encoder gives the same features whatever it sees."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features

    def encoder(self, seen: Tensor) -> Tensor:
        return self.features


def _differentiable_elbo(
    program: SingleLayer, x: Tensor, features: Tensor, noise: DatumNoise, draws: int
) -> Tensor:
    """What has the gradient of each datum's ELBO with respect to its features, in expectation, (n,).

    Where q can score any value, the gradient passes through the draws alone: at a q that is the posterior it
    has no noise at all.
    """
    posterior = program.posterior
    scored = drawn = _traced(_guided(program, features).guide, x, noise, draws)
    model = _traced(poutine.replay(program.model, drawn), x, noise, draws)
    if posterior.only_own_draws is None and posterior.reparameterized:
        scored = _traced(poutine.replay(_guided(program, features.detach()).guide, drawn), x, noise, draws)
    log_weights = sites.observed(model) - sites.kl(model, scored)
    if posterior.reparameterized:
        return log_weights.mean(0)
    log_q = torch.stack([sites.log_prob(drawn.nodes[name]) for name in drawn.stochastic_nodes]).sum(0)
    # Each draw against the mean of the others: without a bias, whatever the draws are worth on the whole.
    advantage = (log_weights - log_weights.mean(0)).detach() * draws / (draws - 1)
    return (advantage * log_q).mean(0)


def _log_weights(
    program: SingleLayer, x: Tensor, features: Tensor, noise: DatumNoise, particles: int
) -> Tensor:
    """log p(x, z) - log q(z) under draws from the q of features, (particles, n), float64."""
    guide = _traced(_guided(program, features).guide, x, noise, particles)
    model = _traced(poutine.replay(program.model, guide), x, noise, particles)
    return sites.observed(model).double() - sites.kl(model, guide).double()


def _guided(program: SingleLayer, features: Tensor) -> SingleLayer:
    """The program with a guide that has these features for its data."""
    network: Any = _Given(features)
    return SingleLayer(program.prior, program.likelihood, program.posterior, network)


def _traced(function: Callable[[Tensor], None], x: Tensor, noise: DatumNoise, particles: int) -> Trace:
    with noise, particle_plate(particles):
        trace = prune_subsample_sites(poutine.trace(function).get_trace(x))
    trace.compute_log_prob()
    return trace
