"""One training step: loss, gradients, optimiser; knows no family and no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

import pyro
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from pyrovae.capture import Function, Uncapturable, Uncompilable, capture, check, compilation_pays, compiled
from pyrovae.choices import EngineName, OptimizerName
from pyrovae.isolation import switched
from pyrovae.objectives import Objective, Terms
from pyrovae.optimizers import CLASSES, Optimizer
from pyrovae.randomness import seeded
from pyrovae.recording import direct

Mode = Literal["compiled", "graph", "eager", "svi"]

MODES: Mapping[Mode, str] = {
    "compiled": "as one graph, compiled",
    "graph": "as one graph",
    "eager": "operation by operation",
    "svi": "by Pyro's SVI",
}

FEWEST_STEPS = 300
"""Steps from which on a capture pays, which takes as long as some hundred steps do outside torch."""


class Engine:
    """Runs training steps on an objective, one operation of torch after the other.

    Args:
        objective: the loss of a batch.
        optimizer: which of :data:`~pyrovae.optimizers.FORMULAS`.
        clip: largest norm of the gradient of the loss (nats per datum); ``None`` for no limit.

    Example:
        >>> loss, reconstruction, kl = Engine(Elbo(program), "adam").step(x, lr=1e-3)
        >>> bool(loss > 0 > reconstruction)  # nats, summed over the 16 data of x
        True
    """

    def __init__(self, objective: Objective, optimizer: OptimizerName, clip: float | None = None) -> None:
        self.objective = objective
        self.parameters = [each for each in objective.parameters() if each.requires_grad]
        self.optimizer = Optimizer(optimizer, self.parameters)
        self.clip = clip

    def step(self, x: Tensor, lr: float, ramp: float = 1.0) -> Tensor:
        """Take one step on the batch x; returns its (loss, reconstruction, KL), summed over data, in nats.

        Args:
            x: data, (n, \\*event_shape).
            lr: learning rate.
            ramp: how far a warm-up has got, in [0, 1].
        """
        sums, *gradients = self._gradients(x, ramp)
        self._move(gradients, lr)
        return sums

    def rehearse(self, x: Tensor) -> list[Tensor | None]:
        """Terms, gradients, weights, buffers and moments of a step on the batch x, which leaves no trace.

        Zeros among the weights, which some networks begin with, have other values meanwhile: gradients that
        are zero would hide how they are summed.
        """
        with _rehearsing(self.objective), self._restored() as state:
            with seeded("zeros"):
                for each in self.parameters:
                    each.data.copy_(each.data.where(each.data != 0, 0.01 * torch.rand_like(each)))
            sums, *gradients = self._gradients(x, 1.0)
            self._move(gradients, lr=1e-3)
            return [sums, *gradients, *(each.clone() for each in state())]

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser remembers between steps."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)

    def _move(self, gradients: Sequence[Tensor | None], lr: float) -> None:
        self.optimizer.step(gradients if self.clip is None else self._clipped(gradients), lr)

    @contextmanager
    def _restored(self) -> Iterator[Callable[[], list[Tensor]]]:
        """What a step writes into, as it is when asked for; after the block, all is as before it."""
        buffers = _Buffers(self.objective)

        def state() -> list[Tensor]:
            written = [*self.parameters, *buffers.tensors(), *tree_leaves(self.optimizer.state_dict())]
            return [each.detach() for each in written]

        before, kept = buffers.tensors(), [each.clone() for each in state()]
        try:
            yield state
        finally:
            buffers.put(before)
            for each, value in zip(state(), kept, strict=True):
                each.copy_(value)

    def _clipped(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients, made smaller together if they are too large."""
        assert self.clip is not None
        present = [gradient for gradient in gradients if gradient is not None]
        share = (self.clip / (nn.utils.get_total_norm(present) + 1e-6)).clamp(max=1.0)
        return [None if gradient is None else gradient * share for gradient in gradients]

    def _gradients(self, x: Tensor, ramp: float) -> tuple[Tensor, ...]:
        """The terms, summed over data, and the gradient of the loss for each parameter."""
        return _differentiated(self.objective(x, ramp), self.parameters, len(x))


class CapturedEngine(Engine):
    """Runs training steps as a graph, forward and backward together, without the Python between.

    A batch of another size than the example's is run eagerly.

    Args:
        example: a batch, whose values do not matter.

    Raises:
        Uncapturable: the objective is no fixed sequence of torch's operations.
    """

    def __init__(
        self, objective: Objective, optimizer: OptimizerName, clip: float | None = None, *, example: Tensor
    ) -> None:
        super().__init__(objective, optimizer, clip)
        self.names = [name for name, each in objective.named_parameters() if each.requires_grad]
        self.detached = [each.detach() for each in self.parameters]
        self.buffers = _Buffers(objective)
        self.shape = example.shape
        self.ramp = torch.ones((), device=example.device)
        with _rehearsing(objective):
            self.graph = capture(self._pure, *self._rehearsal(example), may_draw=True)
        self._check_graph(example[torch.arange(len(example)) // 2])
        self.run: Function = direct(self.graph)

    def compile(self, example: Tensor) -> None:
        """Compile the graph.

        Raises:
            Uncompilable: there is no compiler, or it cannot.
        """
        with _rehearsing(self.objective):
            self.run = compiled(self.graph, *self._rehearsal(example))

    def _gradients(self, x: Tensor, ramp: float) -> tuple[Tensor, ...]:
        if x.shape != self.shape:
            return super()._gradients(x, ramp)
        return self.run(*self.detached, *self.buffers.tensors(), x, self.ramp.fill_(ramp))

    def _pure(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The terms and gradients, as a function of parameters, buffers, data and ramp."""
        *buffers, x, ramp = tensors[len(self.names) :]
        parameters = [each.detach().requires_grad_() for each in tensors[: len(self.names)]]
        state = dict(zip((*self.names, *self.buffers.names), (*parameters, *buffers), strict=True))
        return _differentiated(functional_call(self.objective, state, (x, ramp)), parameters, len(x))

    def _check_graph(self, example: Tensor) -> None:
        """Refuse a graph that is right for the example that it was captured with only."""
        parameters = [1.01 * each for each in self.detached]
        with _rehearsing(self.objective):
            expected = self._pure(*self._rehearsal(example, parameters, ramp=0.5))
        with _rehearsing(self.objective):
            check(self.graph, self._rehearsal(example, parameters, ramp=0.5), expected)

    def _rehearsal(
        self, example: Tensor, parameters: Sequence[Tensor] = (), ramp: float = 1.0
    ) -> tuple[Any, ...]:
        """Arguments of a call that leaves no trace; the parameters are the objective's own, if not given."""
        buffers = [each.clone() for each in self.buffers.tensors()]
        ramp_ = torch.tensor(ramp, device=example.device)
        return *(parameters or self.detached), *buffers, example, ramp_


class SVIEngine(Engine):
    """Runs training steps by Pyro's own ``SVI``, which finds parameters in a store: the reference, and slow.

    Pyro's store is left as it was.
    """

    def __init__(self, objective: Objective, optimizer: OptimizerName, clip: float | None = None) -> None:
        super().__init__(objective, optimizer, clip)
        self.lr = 0.0
        self.optim = PyroOptim(CLASSES[optimizer], lambda _: {"lr": self.lr})
        self.svi = SVI(objective.program.model, objective.program.guide, self.optim, self._loss)
        self.store: Any = None
        self.restored: dict[str, Any] = {}

    def step(self, x: Tensor, lr: float, ramp: float = 1.0) -> Tensor:
        self.lr = lr
        for optimizer in self.optim.optim_objs.values():
            optimizer.param_groups[0]["lr"] = lr
        for state in self.restored.values():  # Pyro reads it in the first step, its learning rate too
            state["param_groups"][0]["lr"] = lr
        with self._own_store():
            return torch.tensor(self.svi.step(x, ramp), dtype=torch.float64) * len(x)

    def state_dict(self) -> dict[str, Any]:
        with self._own_store():
            return self.optim.get_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.restored = state
        self.optim.optim_objs.clear()
        self.optim.set_state(state)

    def _loss(self, model: Any, guide: Any, x: Tensor, ramp: float) -> tuple[Tensor, ...]:
        """The terms, their loss differentiated; it is to register the parameters that SVI shall find."""
        pyro.module("objective", self.objective)
        terms = self.objective(x, ramp)
        terms.loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        return tuple(terms)  # Pyro makes one of the same kind of it, from numbers

    @contextmanager
    def _own_store(self) -> Iterator[None]:
        with pyro.get_param_store().scope(self.store) as self.store:
            yield


class Started(NamedTuple):
    """An engine that is ready."""

    engine: Engine
    mode: Mode
    note: str
    """How steps are run, and why not otherwise."""


def start(
    wanted: EngineName | Mode,
    objective: Objective,
    optimizer: OptimizerName,
    clip: float | None,
    *,
    example: Tensor,
    steps: int,
) -> Started:
    """The engine that is wanted, or for ``auto`` the fastest one; what cannot be captured runs eagerly.

    The choice is a function of the program and the number of steps alone, so that it is the same every time.

    Args:
        wanted: by the configuration, or the mode that a run was begun with.
        objective: the loss of a batch.
        optimizer: which of :data:`~pyrovae.optimizers.FORMULAS`.
        clip: largest norm of the gradient of the loss, nats per datum.
        example: a batch.
        steps: how many there will be.
    """
    parts = objective, optimizer, clip
    if wanted == "svi":
        return _started(SVIEngine(*parts), "svi")
    if wanted == "eager" or (wanted == "auto" and steps < FEWEST_STEPS):
        return _started(Engine(*parts), "eager")
    try:
        engine = CapturedEngine(*parts, example=example)
    except Uncapturable as error:
        return _started(Engine(*parts), "eager", f", since the program cannot be captured: {error}")
    if wanted == "graph" or (wanted == "auto" and not compilation_pays(engine.graph, steps)):
        return _started(engine, "graph")
    try:
        engine.compile(example)
    except Uncompilable as error:
        return _started(engine, "graph", f", which cannot be compiled: {error}")
    return _started(engine, "compiled")


def _started(engine: Engine, mode: Mode, reason: str = "") -> Started:
    return Started(engine, mode, f"steps run {MODES[mode]}{reason}")


class _Buffers:
    """The buffers of a module as they are now: some are written anew between epochs."""

    def __init__(self, module: nn.Module) -> None:
        self.places = [
            (part, name)
            for part in module.modules()
            for name, buffer in part._buffers.items()
            if buffer is not None
        ]
        named = {id(part): path for path, part in module.named_modules()}
        self.names = [f"{named[id(part)]}.{name}".lstrip(".") for part, name in self.places]

    def tensors(self) -> list[Tensor]:
        return [cast(Tensor, part._buffers[name]) for part, name in self.places]

    def put(self, tensors: Sequence[Tensor]) -> None:
        for (part, name), tensor in zip(self.places, tensors, strict=True):
            part._buffers[name] = tensor


@contextmanager
def _rehearsing(objective: Objective) -> Iterator[None]:
    """As in a step of training, but for the random numbers that are drawn."""
    with switched(objective, training=True), seeded("rehearsal"), pyro.validation_enabled(False):
        yield


def _differentiated(terms: Terms, parameters: Sequence[Tensor], n: int) -> tuple[Tensor, ...]:
    """The terms, summed over n data, and the gradient of the loss for each parameter, if it has one."""
    gradients = torch.autograd.grad(terms.loss, parameters, allow_unused=True)
    return torch.stack([term.detach().double() for term in terms]) * n, *gradients
