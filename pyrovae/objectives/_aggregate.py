"""ELBOs of Pyro with terms that join the data of a batch: estimates of the aggregate posterior."""

from __future__ import annotations

from pyro.infer import TraceMeanField_ELBO
from pyro.poutine import Trace
from torch import Tensor

from pyrovae.objectives import Objective, Terms
from pyrovae.objectives._weighted import Traced
from pyrovae.programs import Program


class AggregateELBO(Traced, TraceMeanField_ELBO):
    """One of Pyro's ELBOs whose loss is no sum over data, of one draw for each of them."""

    def _differentiable_loss_particle(self, model: Trace, guide: Trace) -> tuple[Tensor, Tensor]:
        loss = self.surrogate(model, guide)
        return loss.detach(), loss


class AggregateObjective(Objective):
    r"""A loss with terms of the aggregate posterior, whose estimate is made of the whole batch.

    .. math:: q(z) = \frac{1}{N} \sum_{i=1}^{N} q(z|x_i)
    """

    def __init__(self, program: Program, elbo: AggregateELBO) -> None:
        super().__init__(program)
        self.elbo = elbo

    def forward(self, x: Tensor, ramp: Tensor | float = 1.0) -> Terms:
        (traces,) = self.elbo.traces(self.program.model, self.program.guide, x)
        sums = (
            self.elbo.surrogate(*traces),
            self.elbo.reconstruction(*traces).detach(),
            self.elbo.kl(*traces).detach(),
        )
        return Terms(*(each / len(x) for each in sums))
