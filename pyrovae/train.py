"""The training loop: epochs, validation, early stopping; knows no configuration, no files and no terminal."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast

import pyro
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from pyrovae.choices import ScheduleName
from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.errors import TrainingError
from pyrovae.evaluate import inspected
from pyrovae.isolation import isolated
from pyrovae.outcome import ADVICE, Outcome, judge
from pyrovae.randomness import seeded

# The share of the learning rate that is left after a share t of all epochs.
SCHEDULES: Mapping[ScheduleName, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: (1.0 + math.cos(math.pi * t)) / 2.0,
}


MEASURED = 1000
"""Training rows at most that stand for validation rows where no rows are held out."""


class Untrained(TypedDict):
    """What the weights give before the first step, in nats per datum: epoch 0.

    The terms are of validation data, measured as after every epoch. Where no data are held out, they are of
    at most :data:`MEASURED` training rows.
    """

    epoch: int
    train_loss: NotRequired[float]
    train_elbo: NotRequired[float]
    train_reconstruction: NotRequired[float]
    train_kl: NotRequired[float]
    validation_loss: NotRequired[float]
    validation_elbo: NotRequired[float]
    validation_reconstruction: NotRequired[float]
    validation_kl: NotRequired[float]


class Metrics(TypedDict):
    """What one epoch gave, in nats per datum; those of training are means over the epoch, as weights move.

    The loss is what the objective minimises; that of validation, as after any warm-up. ELBO and KL are those
    of the program, without any weight.
    """

    epoch: int
    train_loss: float
    train_elbo: float
    train_reconstruction: float
    train_kl: float
    validation_loss: NotRequired[float]
    validation_elbo: NotRequired[float]
    validation_reconstruction: NotRequired[float]
    validation_kl: NotRequired[float]
    seconds: float
    examples_per_second: float


@dataclass(frozen=True)
class Snapshot:
    """Everything that training goes on from: the state after an epoch."""

    epoch: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]


@dataclass
class Trainer:
    """Trains the program of an engine, an epoch at a time.

    All randomness of an epoch is a function of the seed and the epoch's number, so a training that was
    interrupted goes on to the same numbers, bit for bit.

    Args:
        engine: takes the steps.
        train: data to train on.
        validation: data to choose the best epoch by; may be empty.
        seed: of shuffling, binarisation, dropout and the draws of z.
        epochs: how many there are in all.
        batch_size: data in a step.
        lr: learning rate at the first epoch.
        lr_schedule: which of :data:`SCHEDULES`.
        patience: stop after this many epochs without a lower validation loss; ``None``: never.
        history: metrics of the epochs that have been run.
        computing: the settings of torch that an epoch has.
        pacing: those that a step has beside them, by the rows of its batch; only its time depends on them.

    Source: Hoffman, Blei, Wang and Paisley, *Stochastic Variational Inference*, 2013.

    Example:
        >>> settings = dict(seed=0, epochs=2, batch_size=8, lr=1e-3, lr_schedule="constant", patience=None)
        >>> trainer = Trainer(Engine(Elbo(program), "adam"), Split(x), Split(x), **settings, history=[])
        >>> [metrics["epoch"] for metrics in trainer.run()]
        [1, 2]
    """

    engine: Engine
    train: Split
    validation: Split
    seed: int
    epochs: int
    batch_size: int
    lr: float
    lr_schedule: ScheduleName
    patience: int | None
    history: list[Metrics]
    computing: Callable[[], AbstractContextManager[None]] = nullcontext
    pacing: Callable[[int], AbstractContextManager[Any]] = nullcontext

    def run(self, on_batch: Callable[[], None] = lambda: None) -> Iterator[Metrics]:
        """Run the epochs that are left, and yield the metrics of each when it has been added to the history.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        while not self.finished:
            with isolated(), torch.enable_grad(), self.computing():
                metrics = self._epoch(len(self.history) + 1, on_batch)
            self.history.append(metrics)
            yield metrics

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return len(self.history) >= self.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether the validation loss has not fallen for :attr:`patience` epochs."""
        if self.patience is None or not self.history:
            return False
        return len(self.history) - best_epoch(self.history) >= self.patience

    @isolated()
    def untrained(self) -> Untrained | None:
        """The terms before the first step; ``None`` where they are not finite. Nothing is changed by it.

        What follows from the data in closed form is set first, as after an epoch, and taken back.
        """
        program = self.engine.objective.program
        with isolated(), self.computing():
            weights = {name: value.clone() for name, value in program.state_dict().items()}
            try:
                self._calibrate(0)
                terms = self.measure()
            finally:
                program.load_state_dict(weights)
        if not all(map(math.isfinite, terms.values())):
            return None
        return cast(Untrained, {"epoch": 0, **terms})

    @isolated()
    def measure(self) -> dict[str, float]:
        """The terms of the weights as they are, on validation data, else on some training data."""
        if len(self.validation):
            return self._terms("validation", self.validation)
        with seeded(self.seed, "measure"):
            rows = torch.randperm(len(self.train))[:MEASURED].sort().values
        return self._terms("train", self.train.take(rows).drawn())

    def outcome(self, untrained: Untrained) -> Outcome | None:
        """What is wrong with the losses of the epochs that were trained, if anything is.

        Args:
            untrained: the terms before the first step.
        """
        epochs = len(self.history)
        if "validation_loss" in untrained:
            before, of = untrained["validation_loss"], "validation rows"
            losses = {metrics["epoch"]: metrics["validation_loss"] for metrics in self.history}
        else:
            before, of = untrained["train_loss"], "training rows"
            with self.computing():
                losses = {epochs: self.measure()["train_loss"]}
        ramp = self.engine.objective.ramp(epochs, epochs * steps(len(self.train), self.batch_size))
        return judge(before, losses, of=of, is_warming_up=ramp < 1)

    @isolated()
    def snapshot(self) -> Snapshot:
        """A copy of the state after the last epoch, in the processor's memory."""
        state = self.engine.objective.program.state_dict(), self.engine.state_dict()
        weights, optimizer = tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), state)
        return Snapshot(len(self.history), dict(weights), optimizer)

    @isolated()
    def restore(self, snapshot: Snapshot) -> None:
        """Go back to the state of a snapshot."""
        self.engine.objective.program.load_state_dict(snapshot.weights)
        self.engine.load_state_dict(deepcopy(snapshot.optimizer))
        del self.history[snapshot.epoch :]

    def _epoch(self, epoch: int, on_batch: Callable[[], None]) -> Metrics:
        program = self.engine.objective.program
        lr = self.lr * SCHEDULES[self.lr_schedule]((epoch - 1) / self.epochs)
        start = time.perf_counter()
        totals = torch.zeros(())  # a single number adds to tensors of any device
        program.train()
        with seeded(self.seed, "train", epoch), pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered NaN")  # _check_terms says it better
            batches = _shuffled(self.train, self.batch_size)
            for done, x in enumerate(self.train.reading(batches), start=(epoch - 1) * len(batches)):
                ramp = self.engine.objective.ramp(done / len(batches), done)
                with self.pacing(len(x)):
                    terms = self.engine.step(x, lr, ramp)
                if terms.is_cpu:  # elsewhere it would wait for the device
                    _check_terms(epoch, *terms.tolist())
                totals = totals + terms
                on_batch()
        self._calibrate(epoch)
        program.eval()
        seconds = time.perf_counter() - start
        loss, reconstruction, kl = (totals / len(self.train)).tolist()
        _check_terms(epoch, loss, reconstruction, kl)
        metrics: Metrics = {
            "epoch": epoch,
            "train_loss": loss,
            "train_elbo": reconstruction - kl,
            "train_reconstruction": reconstruction,
            "train_kl": kl,
            "seconds": seconds,
            "examples_per_second": len(self.train) / seconds,
        }
        if len(self.validation):
            metrics.update(self.measure())  # type: ignore[typeddict-item]
        _check_finite(metrics, program)
        return metrics

    def _calibrate(self, epoch: int) -> None:
        """Set what follows from the training data in closed form."""
        program = self.engine.objective.program
        with seeded(self.seed, "calibrate", epoch), inspected(program):
            program.calibrate(self.train.batches())

    def _terms(self, part: str, rows: Split) -> dict[str, float]:
        """The terms on rows of that part of the data, under the same noise in every epoch."""
        totals = torch.zeros(())  # a single number adds to tensors of any device
        with seeded(self.seed, "validate"), inspected(self.engine.objective):
            for x in rows.batches():
                terms = torch.stack([term.double() for term in self.engine.objective(x)])
                totals = totals + terms * len(x)
        loss, reconstruction, kl = (totals / len(rows)).tolist()
        return {
            f"{part}_loss": loss,
            f"{part}_elbo": reconstruction - kl,
            f"{part}_reconstruction": reconstruction,
            f"{part}_kl": kl,
        }


def best_epoch(history: Sequence[Metrics]) -> int:
    """The epoch with the lowest validation loss; the last one where nothing was validated."""
    return min(history, key=lambda metrics: metrics.get("validation_loss", -metrics["epoch"]))["epoch"]


def batches_of_all_sizes(split: Split, batch_size: int) -> list[Tensor]:
    """As many rows as the first batch of an epoch has, and as its last one if these are others."""
    with seeded("first batch"):
        by_size = {len(rows): rows for rows in reversed(_shuffled(split, batch_size))}
        return [split.rows(rows) for rows in reversed(by_size.values())]


def steps(n: int, batch_size: int) -> int:
    """How many batches n rows make; a single row left over, which cannot be normalised, joins the last."""
    full, left = divmod(n, batch_size)
    return max(1, full + (left > 1))


def _shuffled(split: Split, batch_size: int) -> Sequence[Tensor]:
    """The numbers of the rows in random order, in batches; beside the rows, where these are in memory."""
    order = torch.randperm(len(split))
    if isinstance(split.raw, Tensor):
        order = order.to(split.raw.device)
    return order.tensor_split([batch_size * i for i in range(1, steps(len(split), batch_size))])


def _check_terms(epoch: int, loss: float, reconstruction: float, kl: float) -> None:
    """Refuse a loss that is not finite, and say which of its terms it is."""
    for name, value in {"reconstruction": reconstruction, "KL": kl, "loss": loss}.items():
        if not math.isfinite(value):
            raise _broken(epoch, f"the {name} is {value}")


def _check_finite(metrics: Metrics, program: nn.Module) -> None:
    """Refuse an epoch that left a validation term or a weight that is not finite."""
    for term in ("reconstruction", "kl", "loss"):
        value = cast(Mapping[str, float], metrics).get(f"validation_{term}", 0.0)
        if not math.isfinite(value):
            raise _broken(metrics["epoch"], f"the validation {term} is {value}")
    for name, value in program.state_dict().items():
        if not value.isfinite().all():
            raise _broken(metrics["epoch"], f"the weights {name} are not finite")


def _broken(epoch: int, what: str) -> TrainingError:
    kept = "the checkpoints of earlier epochs are kept" if epoch > 1 else "there is no earlier epoch to keep"
    return TrainingError(f"training stopped in epoch {epoch}: {what}; {kept}; {ADVICE}")
