"""The densities of a program as functions of unconstrained codes; knows no component and no sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Size, Tensor
from torch.distributions import Transform, biject_to
from torch.distributions.constraints import Constraint

from pyrovae import sites, supports
from pyrovae.diagnostics import Unavailable
from pyrovae.distributions.additive_logistic import AdditiveLogistic
from pyrovae.isolation import isolated
from pyrovae.programs import Program, particle_plate
from pyrovae.randomness import DatumNoise, seeded


class Density:
    r"""log p(x, z) and log q(z|x) of a batch as differentiable functions of codes without bounds.

    .. math:: z = T(u), \qquad \log p(u) = \log p\bigl(T(u)\bigr) + \log |\det T'(u)|, \qquad
       \log q(u|x) = \log q\bigl(T(u)|x\bigr) + \log |\det T'(u)|

    T maps real vectors onto the set that codes live on. A site lives where the guide draws it; the
    coordinates of several sites stand side by side. Codes u have the shape (particles, n, :attr:`size`), and
    log-densities (particles, n), float64, in nats.

    Args:
        program: model and guide.
        x: the data, (n, \*event_shape).

    Raises:
        Unavailable: codes are discrete, a point, on a set without such a map, or not of one datum each.

    Source: Carpenter et al., *Stan: A Probabilistic Programming Language*, 2017, section 2.3.

    Example:
        >>> density = Density(program, x)
        >>> u = density.from_guide(DatumNoise((0,), range(16)), particles=5)
        >>> u.shape, density.log_joint(u).shape
        (torch.Size([5, 16, 8]), torch.Size([5, 16]))
    """

    @isolated()
    def __init__(self, program: Program, x: Tensor) -> None:
        self.program = program
        self.x = x
        with torch.no_grad(), seeded(0):  # nothing of these draws is kept
            guide = prune_subsample_sites(poutine.trace(program.guide).get_trace(x))
            model = prune_subsample_sites(poutine.trace(program.model).get_trace(x))
        if set(guide.stochastic_nodes) != set(model.stochastic_nodes):
            raise Unavailable("the model and the guide do not draw the same variables")
        self.only_own_draws = program.codes.only_own_draws
        """Why q(z|x) is known at its own draws only, if it is."""
        self.sites = [_Site.of(name, guide.nodes[name]) for name in guide.stochastic_nodes]
        self.size = sum(site.size for site in self.sites)
        """How many coordinates u has."""

    def from_guide(self, noise: DatumNoise, particles: int) -> Tensor:
        """Draws u ~ q(u|x)."""
        return self._drawn(self.program.guide, noise, particles)

    def from_prior(self, noise: DatumNoise, particles: int) -> Tensor:
        """Draws u ~ p(u)."""
        return self._drawn(self.program.model, noise, particles)

    @isolated()
    def log_model(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log p(u), and log p(x|z)."""
        trace = self._conditioned(self.program.model, u)
        names = [site.name for site in self.sites]
        observed = [name for name in trace.observation_nodes if name not in names]
        return _total(trace, names, u) + self.log_volume(u), _total(trace, observed, u)

    @isolated()
    def log_joint(self, u: Tensor) -> Tensor:
        """log p(x, u)."""
        log_prior, log_likelihood = self.log_model(u)
        return log_prior + log_likelihood

    @isolated()
    def log_guide(self, u: Tensor) -> Tensor:
        """log q(u|x), at any value.

        Raises:
            Unavailable: it is known at the guide's own draws only.
        """
        if reason := self.only_own_draws:
            raise Unavailable(f"q(z|x) is known at its own draws only: {reason}")
        try:
            trace = self._conditioned(self.program.guide, u)
        except (NotImplementedError, KeyError) as error:  # what Pyro's flows without an inverse raise
            raise Unavailable("q(z|x) is known at its own draws only") from error
        return _total(trace, [site.name for site in self.sites], u) + self.log_volume(u)

    @isolated()
    def log_volume(self, u: Tensor) -> Tensor:
        """log |det T'(u)|."""
        total = torch.zeros(u.shape[:2], dtype=torch.float64, device=u.device)
        for site, free, value in self._values(u):
            log_det = site.bijection.log_abs_det_jacobian(free, value)
            total = total + log_det.reshape(*u.shape[:2], -1).sum(-1)
        return total

    @isolated()
    def codes(self, u: Tensor) -> Tensor:
        """z = T(u), (particles, n, code size)."""
        return torch.cat([value.reshape(*u.shape[:2], -1) for _, _, value in self._values(u)], -1)

    def _values(self, u: Tensor) -> Iterable[tuple[_Site, Tensor, Tensor]]:
        """Each site with its part of u and of z."""
        for site, part in zip(self.sites, u.split([site.size for site in self.sites], -1), strict=True):
            free = part.reshape(*u.shape[:2], *site.shape)
            yield site, free, site.bijection(free)

    def _conditioned(self, function: Callable[[Tensor], None], u: Tensor) -> Trace:
        values = {site.name: value for site, _, value in self._values(u)}
        with particle_plate(len(u)):
            trace = poutine.trace(poutine.condition(function, values)).get_trace(self.x)
        trace = prune_subsample_sites(trace)
        trace.compute_log_prob()
        return trace

    @isolated()
    @torch.no_grad()
    def _drawn(self, function: Callable[[Tensor], None], noise: DatumNoise, particles: int) -> Tensor:
        with noise, particle_plate(particles):
            trace = poutine.trace(function).get_trace(self.x)
        return self.free(trace)

    @isolated()
    def free(self, trace: Trace) -> Tensor:
        """The codes u of a trace with a plate of particles, or without, which counts as one particle."""
        parts = []
        for site in self.sites:
            free = site.bijection.inv(trace.nodes[site.name]["value"])
            parts.append(free.reshape(-1, len(self.x), site.size))
        return torch.cat(parts, -1)


class _Site(NamedTuple):
    """A latent variable of each datum."""

    name: str
    bijection: Transform
    """From real vectors onto the set that values live on."""
    shape: Size
    """Of a value's coordinates without bounds."""

    @property
    def size(self) -> int:
        return self.shape.numel()

    @classmethod
    def of(cls, name: str, site: Any) -> _Site:
        frames = {frame.name: frame.dim for frame in site["cond_indep_stack"]}
        if frames != {"data": -1}:
            raise Unavailable(f"{name!r} is not a variable of one datum each")
        q = site["fn"]
        if _is_point(q):
            raise Unavailable("q(z|x) is a point, without a density")
        support = q.support
        if support.is_discrete:
            raise Unavailable(f"codes are discrete: {supports.in_words(support)}")
        try:
            bijection = _bijection(support)
        except NotImplementedError as error:
            words = supports.in_words(support)
            raise Unavailable(
                f"codes live on {words}, onto which no map from real vectors is known"
            ) from error
        return cls(name, bijection, bijection.inverse_shape(q.event_shape))


def _bijection(support: Constraint) -> Transform:
    """A map from real vectors onto a set; ``NotImplementedError`` where none is known."""
    if supports.same(support, supports.simplex):
        return AdditiveLogistic()  # torch's map loses a last part that is small: it is what the others leave
    return biject_to(support)


def _is_point(q: Any) -> bool:
    """Whether a distribution is a point, or made of one."""
    return isinstance(q, Delta) or (hasattr(q, "base_dist") and _is_point(q.base_dist))


def _total(trace: Trace, names: Iterable[str], u: Tensor) -> Tensor:
    total = torch.zeros(u.shape[:2], dtype=torch.float64, device=u.device)
    for name in names:
        total = total + sites.log_prob(trace.nodes[name])
    return total
