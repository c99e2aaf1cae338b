"""Objectives by name: Pyro's ELBOs, and one module that turns one of them into a loss; knows no family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyrovae.programs import Program

ObjectiveName = Literal["elbo", "mean-field-elbo"]


class _Observing(Trace_ELBO):
    """Keeps what the observed sites contribute, from the traces that Pyro's ELBO makes anyway."""

    observed: Tensor | float = 0.0
    needs_reparameterized: ClassVar[bool] = False
    """Whether gradients are wrong, without a word, for draws that no gradient passes through."""

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        model_trace, guide_trace = super()._get_trace(model, guide, args, kwargs)
        self.observed += sum(
            site["log_prob_sum"].detach()
            for site in model_trace.nodes.values()
            if site["type"] == "sample" and site["is_observed"]
        )
        return model_trace, guide_trace


class _TraceELBO(_Observing, Trace_ELBO): ...


class _TraceMeanFieldELBO(_Observing, TraceMeanField_ELBO):
    needs_reparameterized = True  # with validation off, Pyro drops the score term


ELBOS: Mapping[ObjectiveName, type[_Observing]] = {
    "elbo": _TraceELBO,
    "mean-field-elbo": _TraceMeanFieldELBO,
}


class Objective(nn.Module):
    r"""A program under one of Pyro's ELBOs, as a loss in nats per datum.

    .. math:: -\frac{1}{n} \sum_{i=1}^{n} \mathbb{E}_{q(z_i|x_i)}
       \bigl[\log p(x_i|z_i) + \log p(z_i) - \log q(z_i|x_i)\bigr]

    Args:
        program: model and guide.
        name: which of :data:`ELBOS`.
        particles: draws of z for each datum and step.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, equations 3 (``elbo``) and 7
    (``mean-field-elbo``: the KL in closed form where torch has one).

    Example:
        >>> loss, reconstruction = Objective(program)(x)  # loss = KL - reconstruction, in nats per datum
        >>> loss.backward()
    """

    def __init__(self, program: Program, name: ObjectiveName = "elbo", particles: int = 1) -> None:
        super().__init__()
        self.program = program
        self.elbo = ELBOS[name](
            num_particles=particles,
            vectorize_particles=particles > 1,
            max_plate_nesting=program.max_plate_nesting,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and E_q[log p(x|z)], both in nats per datum of the batch x."""
        self.elbo.observed = 0.0
        loss = self.elbo.differentiable_loss(self.program.model, self.program.guide, x)
        reconstruction = self.elbo.observed / self.elbo.num_particles
        return loss / len(x), reconstruction / len(x)
