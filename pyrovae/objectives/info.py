"""InfoVAE: a bound whose KL gives way to the distance between the aggregate posterior and the prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pyro.poutine import Trace
from torch import Tensor

from pyrovae.errors import ConfigError, Problem
from pyrovae.objectives import Need
from pyrovae.objectives._aggregate import AggregateELBO, AggregateObjective
from pyrovae.programs import PLATES, Program

KernelName = Literal["rbf", "imq"]

# k of a squared distance over twice that of the bandwidth; and the bandwidth of d coordinates.
KERNELS: Mapping[KernelName, Callable[[Tensor], Tensor]] = {
    "rbf": lambda t: torch.exp(-t),
    "imq": lambda t: 1.0 / (1.0 + t),
}
BANDWIDTHS: Mapping[KernelName, Callable[[int], float]] = {
    "rbf": lambda d: d / math.sqrt(2.0),
    "imq": lambda d: math.sqrt(d),
}


class Info(AggregateObjective):
    r"""InfoVAE: the KL has a weight of 1 - alpha, and codes as a whole are drawn to the prior.

    .. math:: -\mathbb{E}_{q(z|x)}[\log p(x|z)] + (1 - \alpha)\, \text{KL}\bigl(q(z|x) \,\|\, p(z)\bigr)
       + (\alpha + \lambda - 1)\, \text{MMD}^2\bigl(q(z), p(z)\bigr)

    .. math:: \text{MMD}^2(q, p) = \mathbb{E}_{z, z' \sim q}[k(z, z')] + \mathbb{E}_{z, z' \sim p}[k(z, z')]
       - 2\, \mathbb{E}_{z \sim q,\, z' \sim p}[k(z, z')]

    .. math:: k_\text{rbf}(z, z') = e^{-\lVert z - z' \rVert^2 / 2 h^2}, \qquad
       k_\text{imq}(z, z') = \bigl(1 + \lVert z - z' \rVert^2 / 2 h^2\bigr)^{-1}

    q(z) is the mean of q(z|x) over the distribution of data. The estimate compares the batch's draws with as
    many from the prior and leaves out the pairs of a draw with itself: without bias, whatever the batch, and
    so at times negative. A batch of one datum has no pair, and goes without the term. Gradients reach learned
    priors through their draws, or through the score of draws without gradients. The KL is in closed form
    where torch has one. With alpha = 1 there is none: this is a Wasserstein autoencoder, and the one of its
    authors where the posterior is ``delta``.

    All sites of a code are compared together, as one vector; they are to be independent under the prior.

    Args:
        program: model and guide.
        alpha: how much of the KL is given up; 0 for none, 1 for all.
        weight: lambda; what is left of it, alpha + lambda - 1, weighs MMD².
        kernel: ``imq`` for the inverse multiquadratic one, whose tails reach codes that are far out.
        bandwidth: h, in the unit of z; ``None`` for that of the authors' code: of d coordinates, d / sqrt(2)
            for ``rbf`` and sqrt(d) for ``imq``. Below 1e-6, squares of distances over h exceed float32.

    Raises:
        ConfigError: alpha + lambda - 1 is below 0.

    Source: Zhao, Song and Ermon, *InfoVAE: Balancing Learning and Inference in Variational Autoencoders*,
    2019, section 4. Estimate: Gretton et al., *A Kernel Two-Sample Test*, 2012, lemma 6. Wasserstein
    autoencoders and imq: Tolstikhin et al., *Wasserstein Auto-Encoders*, 2018, section 4.

    Example:
        >>> loss, reconstruction, kl = Info(program, alpha=1.0, weight=0.0)(x)
        >>> bool(loss == -reconstruction)
        True
    """

    smallest_batch = 2
    needs = frozenset({Need.GRADIENTS, Need.SITES})

    def __init__(
        self,
        program: Program,
        *,
        alpha: Annotated[float, Field(le=1, description="how much of the KL is given up")] = 0.0,
        weight: Annotated[
            float, Field(ge=0, description="lambda; alpha + lambda - 1 is the weight of MMD²")
        ] = 1000.0,
        kernel: Annotated[
            KernelName, Field(description="Gaussian, or inverse multiquadratic with longer tails")
        ] = "rbf",
        bandwidth: Annotated[
            Annotated[float, Field(ge=1e-6)] | None,
            Field(description="of the kernel, in the unit of z; by default it follows from the dimension"),
        ] = None,
    ) -> None:
        if alpha + weight < 1:
            reason = f"{weight} with objective.alpha = {alpha} leaves MMD² a weight below 0"
            raise ConfigError([Problem("objective.weight", f"{reason}; choose at least {1 - alpha}")])
        elbo = _InfoELBO(max_plate_nesting=PLATES)
        elbo.kl_weight, elbo.weight = 1 - alpha, alpha + weight - 1
        elbo.kernel, elbo.bandwidth = kernel, bandwidth
        super().__init__(program, elbo)


class _InfoELBO(AggregateELBO):
    analytic = True
    kl_weight: float
    weight: float
    """That of MMD²."""
    kernel: KernelName
    bandwidth: float | None

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        loss = -self.reconstruction(model, guide)
        if self.kl_weight:
            loss = loss + self.kl_weight * self.kl(model, guide)
        values: list[Any] = [guide.nodes[name]["value"] for name in model.stochastic_nodes]
        priors: list[Any] = [model.nodes[name]["fn"] for name in model.stochastic_nodes]
        codes = _together(values)
        if len(codes) == 1 or not self.weight:
            return loss
        draws = [p.rsample() if p.has_rsample else p.sample() for p in priors]
        return loss + len(codes) * self.weight * self._mmd(codes, _together(draws), _score(priors, draws))

    def _mmd(self, z: Tensor, prior: Tensor, score: Tensor) -> Tensor:
        """MMD² without bias between rows z, (n, d), and rows of the prior, where each counts ``score``, 1."""
        of_prior = self._k(prior, prior) * score * score.unsqueeze(1)
        return _of_pairs(self._k(z, z)) + _of_pairs(of_prior) - 2 * (self._k(z, prior) * score).mean()

    def _k(self, z: Tensor, other: Tensor) -> Tensor:
        """The kernel between all rows, (n, n)."""
        bandwidth = BANDWIDTHS[self.kernel](z.shape[1]) if self.bandwidth is None else self.bandwidth
        centre = z.detach().mean(0)  # near 0, squares are small and so are their rounding errors
        z, other = (z - centre) / bandwidth, (other - centre) / bandwidth
        half = (z.square().sum(1, keepdim=True) + other.square().sum(1)) / 2 - z @ other.T
        return KERNELS[self.kernel](half.clamp(min=0))


def _of_pairs(k: Tensor) -> Tensor:
    """The mean over all pairs of different rows."""
    return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))


def _together(values: list[Tensor]) -> Tensor:
    """The values of all sites side by side, (n, d)."""
    return torch.cat([value.reshape(len(value), -1) for value in values], 1)


def _score(priors: list[Any], draws: list[Tensor]) -> Tensor:
    """1 for each row, with the gradient of the log-probability of its draws without gradients, (n,)."""
    log_prob = draws[0].new_zeros(len(draws[0]))
    for p, draw in zip(priors, draws, strict=True):
        if not p.has_rsample:
            log_prob = log_prob + p.log_prob(draw)
    return (log_prob - log_prob.detach()).exp()
