"""Annealed importance sampling of log p(x), and its check on simulated data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from pyrovae import hmc
from pyrovae.density import Density
from pyrovae.diagnostics import Diagnostic, Findings, Subject
from pyrovae.diagnostics._points import Points, block_size, blocks
from pyrovae.diagnostics._simulated import simulated
from pyrovae.quantities import Quantity, jackknife, mean
from pyrovae.randomness import DatumNoise, Streams

Start = Literal["guide", "prior", "best"]

SCALE_DRAWS = 100
"""Draws from which the standard deviations of codes are found."""

STRIDE = 4
"""The preliminary run visits every so manieth temperature."""

GAIN = 0.3
"""By how much the logarithm of a step size follows a shortfall of the acceptance."""

SETTLING = 30
"""Steps in which step sizes are adapted before the preliminary run begins."""


class AIS(Diagnostic):
    r"""Annealed importance sampling of log p(x): a path of densities, from one that can be drawn from.

    .. math:: \pi_t(z) \propto \pi_0(z)^{1 - t}\, p(x, z)^{t}, \qquad
       w = \prod_{k=1}^{T} \frac{\pi_{t_k}(z_{k-1})}{\pi_{t_{k-1}}(z_{k-1})}, \qquad \mathbb{E}[w] = p(x)

    Between two temperatures, Hamiltonian Monte Carlo moves every chain and leaves the density at the
    temperature as it is. The log of the mean weight over chains is a lower bound of log p(x) in expectation;
    its error, by the jackknife over chains, is that of the bound, and does not say how far below it lies.
    The path begins at q(z|x), a much shorter way than from p(z), or at p(z), which asks nothing of the guide:
    the path is then p(z) p(x|z)^t. Step sizes, one for each datum and temperature, are adapted towards an
    acceptance of 0.65 on a preliminary run with noise of its own and fixed after it: adapted on the way, they
    would depend on the chains, and E[w] would no longer be p(x).

    On data drawn from the model, a code drawn with a datum is an exact draw from its posterior. The path run
    backwards from there gives weights v with E[v] = 1 / p(x), hence an upper bound: log p(x) is bracketed.
    The bracket says how good the sampler is on data like the model's own.

    Args:
        points: how many data, chosen by the seed; simulated ones are as many.
        steps: number T of temperatures, spaced as a sigmoid: dense at both ends.
        chains: for each datum.
        leapfrog: steps of each transition.
        start: where the path begins: ``guide``, ``prior``, or ``best`` for the guide where q(z|x) is known at
            any value, and else the prior.
        simulated: whether to bracket log p(x) of simulated data too.

    Source: Neal, *Annealed importance sampling*, 2001, section 2; Wu, Burda, Salakhutdinov and Grosse, *On
    the Quantitative Analysis of Decoder-Based Generative Models*, 2017, section 3; for simulated data Grosse,
    Ghahramani and Adams, *Sandwiching the marginal likelihood using bidirectional Monte Carlo*, 2015, section
    3.

    Example:
        >>> from pyrovae.data import Split
        >>> from pyrovae.evaluate import inspected
        >>> with inspected(program):
        ...     found = AIS(points=4, steps=10, chains=2)(Subject(program, Split(x)))
        >>> [quantity.key for quantity in found.quantities]
        ['ais', 'ais_effective_chains', 'ais_acceptance']
    """

    def __init__(
        self,
        *,
        points: Points = 100,
        steps: Annotated[int, Field(ge=1, description="number of temperatures")] = 200,
        chains: Annotated[int, Field(ge=2, description="chains for each datum")] = 8,
        leapfrog: Annotated[int, Field(ge=1, description="leapfrog steps of each transition")] = 10,
        start: Annotated[
            Start, Field(description="where the path begins: at q(z|x), at p(z), or at the better one")
        ] = "best",
        simulated: Annotated[
            bool, Field(description="bracket log p(x) of as many data drawn from the model")
        ] = False,
    ) -> None:
        self.points = points
        self.steps = steps
        self.chains = chains
        self.leapfrog = leapfrog
        self.start: Start = start
        self.simulated = simulated

    def __call__(self, subject: Subject) -> Findings:
        found, from_guide = [], True
        for x, data in blocks(subject, self.points, self.chains):
            path = self._path(Density(subject.program, x))
            from_guide = path.from_guide
            noise = Noise((subject.seed, "ais"), data)
            found.append(_lower(path, path.step_sizes(self.chains, noise), self.chains, noise))
        quantities = _quantities("ais", "log p(x), annealed: lower bound", found)
        notes = [
            "the annealed log p(x) is a lower bound in expectation: more steps and more chains raise it",
            f"the path begins at {'q(z|x)' if from_guide else 'p(z)'}",
        ]
        if self.simulated:
            quantities += self._bracket(subject)
            notes.append(
                "the bracket is of data drawn from the model: on other data the sampler may do worse. The "
                "upper bound of a datum rests on one exact draw: its error for these very data is unknown"
            )
        return Findings("annealed importance sampling", quantities, notes)

    def _bracket(self, subject: Subject) -> list[Quantity]:
        """Both bounds on data drawn from the model."""
        lower, upper = [], []
        for part in torch.arange(self.points).split(block_size(subject, self.chains)):
            noise = Noise((subject.seed, "ais", "simulated"), part.tolist())
            x, trace = simulated(subject, noise.of_program("data"))
            path = self._path(Density(subject.program, x))
            step_sizes = path.step_sizes(self.chains, noise)
            exact = path.density.free(trace).expand(self.chains, -1, -1)
            lower.append(_lower(path, step_sizes, self.chains, noise))
            upper.append(-log_mean_exp(path.backward(exact, step_sizes, noise.streams("backward"))))
        key, label = "ais_simulated", "log p(x) of simulated data"
        above, below = torch.cat(upper), torch.cat([part.log_p for part in lower])
        unknown = torch.full_like(above, math.nan)
        return [
            *_quantities(key, f"{label}: lower bound", lower),
            Quantity(f"{key}_upper", f"{label}: upper bound", mean(above, unknown)),
            Quantity(f"{key}_width", f"{label}: upper - lower bound", mean(above - below, unknown)),
        ]

    def _path(self, density: Density) -> Path:
        from_guide = self.start == "guide" or (self.start == "best" and density.only_own_draws is None)
        return Path(density, from_guide, schedule(self.steps), self.leapfrog)


class Noise(NamedTuple):
    """The noise of some data, told apart by its purpose."""

    key: tuple[int | str, ...]
    data: Sequence[int]

    def streams(self, purpose: str) -> Streams:
        return Streams((*self.key, purpose), self.data)

    def of_program(self, purpose: str) -> DatumNoise:
        return DatumNoise((*self.key, purpose), self.data)


class Forward(NamedTuple):
    """What the chains of each datum bring with them from one end of the path to the other."""

    log_weights: Tensor
    """(chains, n), in nats."""
    acceptance: Tensor
    """Its mean over temperatures and chains, (n,)."""


class Path(NamedTuple):
    """Densities of unconstrained codes from q(u|x) or p(u) to p(x, u), and the transitions between them."""

    density: Density
    from_guide: bool
    """Whether the path begins at q(u|x)."""
    temperatures: Tensor
    """t_0 = 0, ..., t_T = 1, (T + 1,)."""
    leapfrog: int
    """Steps of each transition."""

    def first(self, noise: DatumNoise, chains: int) -> Tensor:
        """Exact draws from the path's beginning, (chains, n, d)."""
        return (self.density.from_guide if self.from_guide else self.density.from_prior)(noise, chains)

    def step_sizes(self, chains: int, noise: Noise) -> StepSizes:
        """The transitions' sizes, from draws and a preliminary run that are used for nothing else."""
        end = hmc.scale_of(self.density.from_guide(noise.of_program("scale"), SCALE_DRAWS))
        first = hmc.scale_of(self.first(noise.of_program("scale of the beginning"), SCALE_DRAWS))
        streams = noise.streams("preliminary")
        u = self.first(noise.of_program("preliminary"), chains)

        adapted = hmc.DualAveraging(hmc.first_step_size(u))
        sizes = StepSizes(adapted.average.expand(len(self.temperatures), -1).clone(), first, end)
        for _ in range(SETTLING):
            sizes.relative[1] = adapted.step_size
            u, acceptance = self._move(1, u, sizes, streams)
            adapted.update(acceptance.mean(0))
        size = adapted.average
        for k in range(1, len(self.temperatures), STRIDE):
            sizes.relative[k : k + STRIDE] = size
            u, acceptance = self._move(k, u, sizes, streams)
            size = size * (GAIN * (acceptance.mean(0) - hmc.TARGET)).exp()
        return sizes

    def forward(self, u: Tensor, sizes: StepSizes, streams: Streams) -> Forward:
        """log w of chains that begin with exact draws u from the path's beginning."""
        log_weights, acceptances = u.new_zeros(u.shape[:2], dtype=torch.float64), []
        last = len(self.temperatures) - 1
        for k in range(1, last + 1):
            log_weights += self._increment(k, u)
            if k < last:
                u, acceptance = self._move(k, u, sizes, streams)
                acceptances.append(acceptance.mean(0))
        nothing = torch.full_like(u[0, :, 0], math.nan)
        mean = torch.stack(acceptances).mean(0) if acceptances else nothing
        return Forward(log_weights.cpu(), mean.cpu())

    def backward(self, u: Tensor, sizes: StepSizes, streams: Streams) -> Tensor:
        """log v, (chains, n), of chains that begin with exact draws u from p(u|x)."""
        log_weights = u.new_zeros(u.shape[:2], dtype=torch.float64)
        last = len(self.temperatures) - 1
        for k in range(last, 0, -1):
            if k < last:
                u, _ = self._move(k, u, sizes, streams)
            log_weights -= self._increment(k, u)
        return log_weights.cpu()

    def _ends(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The log-densities at both ends, both normalised but for p(x)."""
        log_prior, log_likelihood = self.density.log_model(u)
        return (self.density.log_guide(u) if self.from_guide else log_prior), log_prior + log_likelihood

    @torch.no_grad()
    def _increment(self, k: int, u: Tensor) -> Tensor:
        begin, end = self._ends(u)
        return (self.temperatures[k] - self.temperatures[k - 1]) * (end - begin)

    def _move(self, k: int, u: Tensor, sizes: StepSizes, streams: Streams) -> hmc.Transition:
        """A transition that leaves the density at the k-th temperature as it is."""
        t = self.temperatures[k]

        def log_density(u: Tensor) -> Tensor:
            begin, end = self._ends(u)
            return begin + t * (end - begin)

        return hmc.transition(
            log_density, u, sizes.relative[k], streams, leapfrog=self.leapfrog, scale=sizes.scale(t)
        )


class StepSizes(NamedTuple):
    """How far the transitions of a path go."""

    relative: Tensor
    """At every temperature in units of the scale there, (T + 1, n)."""
    first: Tensor
    """Standard deviations at the path's beginning, (n, d)."""
    end: Tensor
    """Standard deviations of the guide, which should be about those at the path's end, (n, d)."""

    def scale(self, t: Tensor) -> Tensor:
        """Standard deviations at a temperature, (n, d): those on a path between two normal densities."""
        t = t.to(self.end.dtype)
        return ((1 - t) / self.first.square() + t / self.end.square()).rsqrt()


def schedule(steps: int) -> Tensor:
    r"""Temperatures t_0 = 0, ..., t_T = 1, dense at both ends, (T + 1,).

    .. math:: t_k = \frac{\tilde t_k - \tilde t_0}{\tilde t_T - \tilde t_0}, \qquad
       \tilde t_k = \operatorname{sigmoid}\Bigl(4 \bigl(2 k / T - 1\bigr)\Bigr)

    Source: Grosse, Ghahramani and Adams, *Sandwiching the marginal likelihood using bidirectional Monte
    Carlo*, 2015, section 6.1.

    Example:
        >>> schedule(2)
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    t = (4 * torch.linspace(-1, 1, steps + 1, dtype=torch.float64)).sigmoid()
    return (t - t[0]) / (t[-1] - t[0])


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """The log of the mean weight over chains, (n,)."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


class _Lower(NamedTuple):
    log_p: Tensor
    error: Tensor
    effective_chains: Tensor
    acceptance: Tensor


def _lower(path: Path, sizes: StepSizes, chains: int, noise: Noise) -> _Lower:
    """The lower bound of each datum, its error, and how the chains have done, (n,)."""
    first = path.first(noise.of_program("forward"), chains)
    log_weights, acceptance = path.forward(first, sizes, noise.streams("forward"))
    log_p = log_mean_exp(log_weights)
    relative = (log_weights - log_p).exp()
    # Of few chains, the delta method's error cannot exceed 1 nat, however far their weights are apart.
    _, error = jackknife(log_mean_exp, log_weights)
    return _Lower(log_p, error, chains / relative.square().mean(0), acceptance)


def _quantities(key: str, label: str, parts: list[_Lower]) -> list[Quantity]:
    log_p, error, effective_chains, acceptance = map(torch.cat, zip(*parts, strict=True))
    unknown = torch.full_like(error, math.nan)
    return [
        Quantity(key, label, mean(log_p, error)),
        Quantity(
            f"{key}_effective_chains",
            "effective number of chains",
            mean(effective_chains, unknown),
            unit="chains",
        ),
        Quantity(f"{key}_acceptance", "acceptance", mean(acceptance, unknown), unit="probability"),
    ]
