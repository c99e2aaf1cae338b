"""Hamiltonian Monte Carlo, many chains of many data at once; knows a log-density and noise, and no model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from pyrovae.isolation import isolated
from pyrovae.randomness import Streams

LogDensity: TypeAlias = Callable[[Tensor], Tensor]
"""From positions (chains, n, d) to log-densities (chains, n) in nats, up to a constant of each datum."""

TARGET = 0.65
"""The acceptance that step sizes are adapted to: the best one as d grows (Beskos et al., 2013)."""

JITTER = 0.2
"""By how much of itself a step size varies at random: steps of one size may lead around an orbit."""


SMALLEST_SCALE = 1e-6


class Transition(NamedTuple):
    """Where the chains are after a step, and with what probability they went there."""

    position: Tensor
    """(chains, n, d)."""
    acceptance: Tensor
    """(chains, n)."""


@isolated()
@torch.no_grad()
def transition(
    log_density: LogDensity,
    position: Tensor,
    step_size: Tensor,
    noise: Streams,
    *,
    leapfrog: int,
    scale: Tensor,
) -> Transition:
    r"""One step of every chain, which leaves the density as it is.

    .. math:: r \sim \mathcal{N}(0, I), \qquad \alpha = \min\Bigl(1,
       \frac{\pi(u')\, e^{-r'^\top r' / 2}}{\pi(u)\, e^{-r^\top r / 2}}\Bigr)

    (u', r') are where leapfrog steps of size epsilon lead from (u, r): r += epsilon s grad log pi(u) / 2,
    u += epsilon s r, r += epsilon s grad log pi(u) / 2. Where the density is not a number, nothing moves.

    Args:
        log_density: log pi.
        position: u, (chains, n, d).
        step_size: epsilon of every datum, (n,), in units of the scale.
        noise: of the n data.
        leapfrog: number of leapfrog steps.
        scale: s, about the standard deviation of each coordinate, (n, d).

    Source: Neal, *MCMC using Hamiltonian dynamics*, 2011, sections 3.2 and 4.1; the jitter is of section 3.2.

    Example:
        >>> u, step_size = torch.zeros(4, 3, 2), torch.full((3,), 0.5)
        >>> standard_normal = lambda u: -u.square().sum(-1) / 2
        >>> noise = Streams((0,), range(3))
        >>> moved = transition(standard_normal, u, step_size, noise, leapfrog=5, scale=torch.ones(3, 2))
        >>> moved.position.shape
        torch.Size([4, 3, 2])
    """
    momentum = noise.normal(position)
    jitter = 1 + JITTER * (2 * noise.uniform(position[..., 0]) - 1)
    step = (step_size * jitter).unsqueeze(-1) * scale

    value, gradient = _with_gradient(log_density, position)
    before = value - momentum.square().sum(-1) / 2
    moved = position
    for _ in range(leapfrog):
        momentum = momentum + step * gradient / 2
        moved = moved + step * momentum
        value, gradient = _with_gradient(log_density, moved)
        momentum = momentum + step * gradient / 2

    log_ratio = (value - momentum.square().sum(-1) / 2 - before).nan_to_num(
        nan=-math.inf, posinf=math.inf, neginf=-math.inf
    )
    accepted = noise.uniform(log_ratio).log() < log_ratio
    return Transition(
        torch.where(accepted.unsqueeze(-1), moved, position), log_ratio.clamp(max=0).exp().to(position.dtype)
    )


class DualAveraging:
    r"""A step size for each datum, adapted towards an acceptance of 0.65.

    .. math:: \log \epsilon_{m+1} = \mu - \frac{\sqrt m}{\gamma} \frac{1}{m + t_0}
       \sum_{i=1}^{m} (0.65 - \alpha_i), \qquad
       \log \bar\epsilon_{m+1} = m^{-\kappa} \log \epsilon_{m+1} + (1 - m^{-\kappa}) \log \bar\epsilon_m

    Args:
        step_size: the first one, (n,).

    Source: Hoffman and Gelman, *The No-U-Turn Sampler*, 2014, section 3.2.1, with their gamma = 0.05,
    t0 = 10, kappa = 0.75, mu = log 10 epsilon_1.

    Example:
        >>> adapted = DualAveraging(torch.ones(2))
        >>> adapted.update(torch.tensor([0.0, 1.0]))
        >>> adapted.step_size[0] < adapted.step_size[1]
        tensor(True)
    """

    def __init__(self, step_size: Tensor) -> None:
        self.step_size = step_size
        """To be tried next, (n,)."""
        self.average = step_size
        """To be used once adaptation has ended, (n,)."""
        self._centre = (10 * step_size).log()
        self._shortfall = torch.zeros_like(step_size)
        self._count = 0

    def update(self, acceptance: Tensor) -> None:
        """Take notice of the acceptance of a step, (n,)."""
        self._count += 1
        m = self._count
        self._shortfall = self._shortfall + (TARGET - acceptance - self._shortfall) / (m + 10)
        log_step = self._centre - math.sqrt(m) / 0.05 * self._shortfall
        weight = m**-0.75
        self.step_size = log_step.exp()
        self.average = (weight * log_step + (1 - weight) * self.average.log()).exp()


class Chains(NamedTuple):
    """What HMC has drawn."""

    draws: Tensor
    """(draws, chains, n, d)."""
    acceptance: Tensor
    """Its mean over the draws, (chains, n)."""


def first_step_size(position: Tensor) -> Tensor:
    """A step size to start from, (n,): it falls with the number of coordinates as it should."""
    return torch.full_like(position[0, :, 0], 0.5 * position.shape[-1] ** -0.25)


def scale_of(draws: Tensor) -> Tensor:
    """The standard deviation of each coordinate over draws (draws, n, d), above 0: (n, d)."""
    return draws.std(0).clamp(min=SMALLEST_SCALE)


@isolated()
def sample(
    log_density: LogDensity,
    position: Tensor,
    noise: Streams,
    *,
    warmup: int,
    draws: int,
    leapfrog: int,
    scale: Tensor,
) -> Chains:
    """Chains with one step size for each datum, adapted during the warm-up and fixed after it.

    Args:
        log_density: what is sampled from.
        position: where the chains start, (chains, n, d).
        noise: of the n data.
        warmup: number of steps in which step sizes are adapted; none of them is kept.
        draws: number of steps after that.
        leapfrog: number of leapfrog steps in each.
        scale: about the standard deviation of each coordinate, (n, d).

    Source: Hoffman and Gelman, *The No-U-Turn Sampler*, 2014, algorithm 5.

    Example:
        >>> standard_normal = lambda u: -u.square().sum(-1) / 2
        >>> chains = sample(standard_normal, torch.zeros(4, 3, 2), Streams((0,), range(3)),
        ...                 warmup=50, draws=100, leapfrog=5, scale=torch.ones(3, 2))
        >>> chains.draws.shape
        torch.Size([100, 4, 3, 2])
    """
    adapted = DualAveraging(first_step_size(position))
    for _ in range(warmup):
        position, acceptance = transition(
            log_density, position, adapted.step_size, noise, leapfrog=leapfrog, scale=scale
        )
        adapted.update(acceptance.mean(0))
    kept, acceptances = [], []
    for _ in range(draws):
        position, acceptance = transition(
            log_density, position, adapted.average, noise, leapfrog=leapfrog, scale=scale
        )
        kept.append(position)
        acceptances.append(acceptance)
    return Chains(torch.stack(kept), torch.stack(acceptances).mean(0))


def _with_gradient(log_density: LogDensity, position: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        position = position.detach().requires_grad_()
        value = log_density(position)
        (gradient,) = torch.autograd.grad(value.sum(), position)
    return value.detach(), gradient
