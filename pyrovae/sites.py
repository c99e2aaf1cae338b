"""What the sites of a model's and a guide's trace say of each datum; knows no program and no family."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence


def log_prob(site: Any) -> Tensor:
    """The log-probability at a site of which the trace has computed it, (..., n), before any scaling."""
    return scale_and_mask(site["unscaled_log_prob"], mask=site["mask"])


def observed(model: Trace) -> Tensor:
    """log p(x|z), (..., n), in nats."""
    return _total(model, model.observation_nodes)


def kl(model: Trace, guide: Trace) -> Tensor:
    """log q(z|x) - log p(z) at the values drawn, (..., n), in nats."""
    return _total(guide, guide.stochastic_nodes) - _total(model, model.stochastic_nodes)


def coordinates(distribution: Distribution) -> Distribution | None:
    """The distribution of every coordinate of a code, where they are independent; else ``None``.

    Its batch shape is that of the distribution, followed by the number of coordinates.
    """
    if isinstance(distribution, Independent) and distribution.reinterpreted_batch_ndims == 1:
        return distribution.base_dist
    return None


def kl_coordinates(model: Trace, guide: Trace, *, analytic: bool) -> Tensor:
    """KL(q || p) of each latent coordinate, (..., n, coordinates), in nats.

    A site whose coordinates are not independent, in the model or in the guide, counts as one. There is no
    closed form where p of a site depends on one that the guide draws later: that one depends on this one's
    value, over which a closed form would average as if it did not.

    Args:
        model: trace with log-probabilities.
        guide: trace with log-probabilities.
        analytic: in closed form where torch has one, else at the values drawn.
    """
    late = set(out_of_order(model, guide))
    return torch.cat(
        [
            _kl_of_site(model.nodes[name], guide.nodes[name], analytic=analytic and name not in late)
            for name in model.stochastic_nodes
        ],
        -1,
    )


def out_of_order(model: Trace, guide: Trace) -> list[str]:
    """The latent sites before which the model has drawn some that the guide draws after them."""
    of_guide = guide.stochastic_nodes
    before = {name: set(of_guide[:place]) for place, name in enumerate(of_guide)}
    of_model = model.stochastic_nodes
    return [name for place, name in enumerate(of_model) if not before[name].issuperset(of_model[:place])]


def _kl_of_site(model: Any, guide: Any, *, analytic: bool) -> Tensor:
    # What is replayed is not broadcast to the plates, and some of torch's KLs ask for equal shapes.
    prior = model["fn"].expand(guide["fn"].batch_shape)
    p, q = coordinates(prior), coordinates(guide["fn"])
    if analytic:
        try:
            if p is not None and q is not None:
                return kl_divergence(q, p)
            return kl_divergence(guide["fn"], prior).unsqueeze(-1)
        except NotImplementedError:  # torch has no closed form for this pair
            pass
    if p is not None and q is not None:
        return q.log_prob(guide["value"]) - p.log_prob(guide["value"])
    return (log_prob(guide) - log_prob(model)).unsqueeze(-1)


def _total(trace: Trace, names: list[str]) -> Tensor:
    return sum((log_prob(trace.nodes[name]) for name in names), torch.zeros(()))
