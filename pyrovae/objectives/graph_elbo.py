"""The evidence lower bound, for codes without gradients through their draws."""

from __future__ import annotations

from pyro.infer import TraceGraph_ELBO
from pyro.ops.provenance import detach_provenance
from pyro.poutine import Trace
from torch import Tensor

from pyrovae.objectives._weighted import Beta, Cycle, Particles, Traced, Unit, WarmUp, Weight, WeightedELBO
from pyrovae.programs import Program


class GraphElbo(WeightedELBO):
    r"""The evidence lower bound, where the gradient of each draw is weighed with what depends on it only.

    .. math:: \nabla_\phi \text{ELBO}(x) = \mathbb{E}_{q(z|x)}\Bigl[
       \sum_j \nabla_\phi \log q(z_j|x)\, \bigl(\log p(x|z) + \log p(z_j) - \log q(z_j|x)\bigr)\Bigr]

    This is the gradient for independent codes :math:`z_j` without gradients through draws: ``elbo`` has the
    other codes' terms beside it, which are noise. For codes with gradients it is ``elbo``.

    Args:
        program: model and guide.
        particles: draws of z for each datum and step.
        beta: weight of the KL, after any warm-up.
        warm_up: how long the weight rises linearly from 0; 0 for not at all.
        cycle: the warm-up begins again after this long; ``None``: never.
        unit: what ``warm_up`` and ``cycle`` are counted in.

    Raises:
        ConfigError: a cycle without a warm-up or shorter than it.

    Source: Schulman, Heess, Weber and Abbeel, *Gradient Estimation Using Stochastic Computation Graphs*,
    2015; Mnih and Gregor, *Neural Variational Inference and Learning in Belief Networks*, 2014, section 2.

    Example:
        >>> GraphElbo(program)(x).loss.backward()
    """

    def __init__(
        self,
        program: Program,
        *,
        particles: Particles = 1,
        beta: Beta = 1.0,
        warm_up: WarmUp = 0.0,
        cycle: Cycle = None,
        unit: Unit = "epochs",
    ) -> None:
        weight = Weight(beta, warm_up, cycle, unit)
        super().__init__(program, _TraceGraphELBO, weight, particles=particles)


class _TraceGraphELBO(Traced, TraceGraph_ELBO):
    """Its log-probabilities carry what they depend on, which numbers for others need not."""

    def surrogate(self, model: Trace, guide: Trace) -> Tensor:
        return self._loss_and_surrogate_loss_particle(model, guide)[1]

    def reconstruction(self, model: Trace, guide: Trace) -> Tensor:
        return detach_provenance(super().reconstruction(model, guide))

    def kl(self, model: Trace, guide: Trace) -> Tensor:
        return detach_provenance(super().kl(model, guide))
