"""Beta-TCVAE: the KL in three parts, each with a weight of its own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import sites
from pyrovae.errors import ConfigError, Problem
from pyrovae.objectives import Need
from pyrovae.objectives._aggregate import AggregateELBO, AggregateObjective
from pyrovae.programs import PLATES, Program


class Tc(AggregateObjective):
    r"""Beta-TCVAE: mutual information, total correlation and distance to the prior, weighed apart.

    .. math:: -\mathbb{E}_{q(z|x)}[\log p(x|z)] + \alpha\, I_q(x; z)
       + \beta\, \text{KL}\Bigl(q(z) \,\Big\|\, \prod_j q(z_j)\Bigr)
       + \gamma \sum_j \text{KL}\bigl(q(z_j) \,\|\, p(z_j)\bigr), \qquad
       q(z) = \frac{1}{N} \sum_{i=1}^{N} q(z|x_i)

    With all weights 1 it is ``elbo``, draw by draw. For the draw of datum i in a batch B of M, q(z) and each
    q(z_j) are estimated from the batch:

    .. math:: \hat{q}(z_i) = \frac{1}{N}\, q(z_i|x_i)
       + \frac{N - 1}{N (M - 1)} \sum_{k \in B,\, k \ne i} q(z_i|x_k)

    Given i, the others of the batch are a sample of M - 1 of the other N - 1 data, so the mean of their
    :math:`q(z_i|x_k)` has the expectation :math:`\frac{1}{N - 1} \sum_{k \ne i} q(z_i|x_k)`, and the
    estimate that of q(z_i): it has no bias, and with M = N no error. Its logarithm, which is what counts, is
    too low by about half the estimate's relative variance. A batch of one datum says nothing of the others:
    there q(z|x) stands for q(z), and the loss is that of ``elbo`` with the weight gamma.

    Args:
        program: model and guide.
        data_size: N, the number of training data.
        alpha: weight of the mutual information between data and codes.
        beta: weight of the total correlation.
        gamma: weight of the coordinates' distances to their priors.

    Raises:
        ConfigError: on the first batch, where the guide's sites depend on each other given x.

    Source: Chen, Li, Grosse and Duvenaud, *Isolating Sources of Disentanglement in Variational Autoencoders*,
    2018, equations 2 and 4; the weights are those of its stratified estimate, appendix C.2.

    Example:
        >>> loss, reconstruction, kl = Tc(program, 1437, beta=1.0)(x)
        >>> torch.allclose(loss, kl - reconstruction)
        True
    """

    smallest_batch = 2
    needs = frozenset({Need.GRADIENTS, Need.DENSITY, Need.ANY_VALUE, Need.COORDINATES})

    def __init__(
        self,
        program: Program,
        data_size: int,
        *,
        alpha: Annotated[float, Field(ge=0, description="weight of I(x; z)")] = 1.0,
        beta: Annotated[float, Field(ge=0, description="weight of the total correlation of z")] = 6.0,
        gamma: Annotated[
            float, Field(ge=0, description="weight of each coordinate's distance to its prior")
        ] = 1.0,
    ) -> None:
        elbo = _TotalCorrelationELBO(max_plate_nesting=PLATES)
        elbo.data_size = data_size
        elbo.alpha, elbo.beta, elbo.gamma = alpha, beta, gamma
        super().__init__(program, elbo)


class _TotalCorrelationELBO(AggregateELBO):
    data_size: int
    alpha: float
    beta: float
    gamma: float

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        names = guide.stochastic_nodes
        if dependent := sites.dependent(guide):
            reason = (
                f"{', '.join(dependent)} of q(z|x) depend on others: 'tc' takes codes that do not, given x"
            )
            raise ConfigError([Problem("objective.name", f"{reason}; 'elbo' fits")])
        of_each = torch.cat([_cross_log_prob(guide.nodes[name]) for name in names], -1)
        joint = log_aggregate(of_each.sum(-1), self.data_size)
        product = log_aggregate(of_each, self.data_size).sum(-1)
        given = sum(sites.log_prob(guide.nodes[name]) for name in names)
        prior = sum(sites.log_prob(model.nodes[name]) for name in names)
        divergences = (
            self.alpha * (given - joint) + self.beta * (joint - product) + self.gamma * (product - prior)
        )
        return (divergences - sites.observed(model)).sum()


def log_aggregate(log_prob: Tensor, data_size: int) -> Tensor:
    """log q(z_i) of each datum's draw, estimated from its batch, (M, ...), in nats.

    Args:
        log_prob: log q(z_i|x_k), (M draws, M data, ...).
        data_size: N, of which the batch is a sample without replacement.
    """
    m = len(log_prob)
    if m == 1:
        return log_prob.squeeze(1)
    weights = log_prob.new_full((m, m), (data_size - 1) / (data_size * (m - 1))).fill_diagonal_(1 / data_size)
    return (log_prob + weights.log().reshape(m, m, *(1 for _ in log_prob.shape[2:]))).logsumexp(1)


def _cross_log_prob(site: Any) -> Tensor:
    """log q(z_ij|x_k) for the coordinates j of a site, (M draws, M data, coordinates)."""
    q: Any = sites.coordinates(site["fn"])
    draws = site["value"].unsqueeze(1)
    return site["fn"].log_prob(draws).unsqueeze(-1) if q is None else q.log_prob(draws)
