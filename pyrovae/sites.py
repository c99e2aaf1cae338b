"""What the sites of a model's and a guide's trace say of each datum; knows no program and no family."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, constraints, kl_divergence
from torch.distributions.constraints import Constraint

from pyrovae import supports

CLOSE = 1e-5
"""Relative difference of numbers that are the same but for their rounding in float32."""

FEW_DRAWS = 8
"""Enough to see whether a mean depends on other draws, as in a hierarchy."""


def drawn(trace: Trace) -> list[Any]:
    """The sites of a trace that are drawn or observed, in their order."""
    nodes: list[Any] = list(trace.nodes.values())
    return [site for site in nodes if site["type"] == "sample"]


def log_prob(site: Any) -> Tensor:
    """The log-probability at a site of which the trace has computed it, (..., n), before any scaling."""
    return scale_and_mask(site["unscaled_log_prob"], mask=site["mask"])


def observed(model: Trace) -> Tensor:
    """log p(x|z), (..., n), in nats."""
    return _total(model, model.observation_nodes)


def kl(model: Trace, guide: Trace) -> Tensor:
    """log q(z|x) - log p(z) at the values drawn, (..., n), in nats."""
    return _total(guide, guide.stochastic_nodes) - _total(model, model.stochastic_nodes)


def categories(event_shape: Size, support: Constraint) -> int:
    """How many entries of a code are one variable: the categories of a one-hot code, else 1.

    Args:
        event_shape: of the values at a site.
        support: of the site's distribution.
    """
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return event_shape[-1] if supports.same(support, constraints.one_hot) else 1


def variables(name: str, event_shape: Size, support: Constraint) -> list[str]:
    """What the variables of a site are called: ``z[0]``, ``z[1]``, ...; one alone by the site's name.

    Example:
        >>> variables("z", torch.Size([2]), constraints.real_vector)
        ['z[0]', 'z[1]']
    """
    width = categories(event_shape, support)
    count = event_shape.numel() // width
    if count == 1 and len(event_shape) == (width > 1):
        return [name]
    return [f"{name}[{j}]" for j in range(count)]


def numbers(values: Tensor) -> Tensor:
    """Values as floating-point numbers: a category as the number of it."""
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def coordinates(distribution: Distribution) -> Distribution | None:
    """The distribution of every coordinate of a code, where they are independent; else ``None``.

    Its batch shape is that of the distribution, followed by the number of coordinates.
    """
    if not (isinstance(distribution, Independent) and distribution.reinterpreted_batch_ndims == 1):
        return None
    one = distribution.base_dist
    return one if one.event_shape.numel() == categories(one.event_shape, one.support) else None


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


def dependent(trace: Trace) -> list[str]:
    """The latent sites whose distribution is made of the draws of others.

    A draw is seen where a gradient passes through it: not under ``no_grad``, and not a discrete one.

    Args:
        trace: of a guide.
    """
    found = []
    names = trace.stochastic_nodes
    for place, name in enumerate(names):
        site: Any = trace.nodes[name]
        before = [value for other in names[:place] if (value := _value(trace, other)).requires_grad]
        score = site["fn"].log_prob(site["value"].detach()).sum()
        if before and score.requires_grad:
            slopes = torch.autograd.grad(score, before, retain_graph=True, allow_unused=True)
            found += [name] if any(slope is not None for slope in slopes) else []
    return found


def exact_mean(site: Any) -> Tensor | None:
    """E[z] at a site in closed form, (n, \\*event_shape); ``None`` where there is none.

    Args:
        site: of a trace in a plate of several draws. What varies with the draws of others is no mean of all.
    """
    try:
        means = site["fn"].mean
    except (NotImplementedError, AttributeError):
        return None
    return means[0] if means.isfinite().all() and same_for_all_draws(means) else None


def same_for_all_draws(values: Tensor) -> bool:
    """Whether values, (draws, ...), do not depend on what was drawn."""
    return torch.allclose(values, values[:1].expand_as(values), rtol=CLOSE, atol=CLOSE)


def _value(trace: Trace, name: str) -> Tensor:
    site: Any = trace.nodes[name]
    return site["value"]


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
    terms = [log_prob(trace.nodes[name]) for name in names]
    return reduce(torch.add, terms) if terms else torch.zeros(())
