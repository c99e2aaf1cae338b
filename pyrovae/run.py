"""The life of a run: assembled, trained, kept in a folder and read from it; no Typer, and prints nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from pyrovae import component, device, epoch_picture, facts, stretches, threads
from pyrovae.assembly import (
    anchored,
    begin,
    build,
    build_objective,
    load_data,
    load_own_data,
    moved,
    needing_two_rows,
    settled,
    whole,
)
from pyrovae.component import Component
from pyrovae.config import Config, selected
from pyrovae.data import Columns, Dataset, Split, as_given, check_columns, shape_as_given
from pyrovae.diagnostics import Subject, diagnose
from pyrovae.errors import ConfigError, DataError, Problem, RunError, TrainingError
from pyrovae.evaluate import Evaluation, caveats, evaluate, given, summarise
from pyrovae.folder import Checkpoint, Folder
from pyrovae.isolation import isolated
from pyrovae.networks import can_be_rounded, rounding
from pyrovae.preparation import Prepared, as_precise, prepare
from pyrovae.programs import Program, check, rehearse
from pyrovae.quantities import Findings
from pyrovae.randomness import seeded
from pyrovae.stretches import Stretch
from pyrovae.train import Metrics, Snapshot, Trainer, Untrained, batches_of_all_sizes, best_epoch, steps
from pyrovae.units import STORED, Unit

CHECKED = 5
"""Rows of data that a program is tried on before it is trained."""


class Run:
    """A configuration, the program that it describes, and what training recorded of it.

    Args:
        config: the complete configuration.
        program: model and guide.
        facts: what else a checkpoint tells of itself: see :mod:`pyrovae.facts`.
        folder: where the run is kept; ``None`` for one in memory.

    Example:
        >>> run = Run.start(resolve({"train": {"epochs": 1}}))
        >>> [metrics["epoch"] for metrics in run.train()]
        [1]
        >>> run.evaluate([x], particles=10).quantities[0].label
        'ELBO'
    """

    def __init__(
        self, config: Config, program: Program, facts: Mapping[str, str], folder: Folder | None = None
    ) -> None:
        self.config = config
        self.program = program
        self.facts = dict(facts)
        self.folder = folder
        self.untrained: Untrained | None = None
        self.history: list[Metrics] = []
        self.stretches: list[Stretch] = []
        self.snapshots: dict[Checkpoint, Snapshot] = {}
        self.prepared: Prepared | None = None

    @classmethod
    def start(
        cls,
        config: Config,
        *,
        dataset: Dataset | None = None,
        objects: Mapping[str, Component] | None = None,
        path: Path | None = None,
    ) -> Run:
        """A new run, ready to be trained.

        Args:
            config: the complete configuration.
            dataset: the data, where they do not come from ``config.data.source``.
            objects: components, by family, that are there already.
            path: the folder to keep the run in, which must not exist; ``None`` to keep it in memory.
        """
        dataset = load_data(config.data) if dataset is None else dataset
        run = cls._assembled(config, dataset, objects)
        run.stretches = stretches.begin([], 0, run.config)
        if path is not None:
            run.folder = Folder.create(path, run.config)
            run.folder.write_stretches(run.stretches)
        return run

    @classmethod
    @isolated()
    def load(
        cls, path: Path, checkpoint: Checkpoint = "best", *, trust: bool = False, on: str = "cpu"
    ) -> Run:
        """A run from its folder, with the weights of a checkpoint.

        Args:
            path: the run's folder.
            checkpoint: which weights.
            trust: whether components of the user's own, which the run names, may be imported: it runs them.
            on: the name of a device.
        """
        place = device.find(on, "--device")
        folder = Folder.open(path)
        config = folder.config(trust=trust)
        weights, recorded = folder.read_weights(checkpoint)
        facts.check_config(recorded, config, folder.path / "config.toml")
        facts.warn_of_changed_code(recorded, config)
        program = build(config, facts.event_shape(recorded))
        try:
            program.load_state_dict(weights)
        except RuntimeError:
            raise RunError(f"the weights in {path} do not fit its config.toml") from None
        known = folder.stretches()
        run = cls(stretches.trained_with(config, known), program.to(place), recorded, folder)
        run.untrained, run.history, run.stretches = folder.untrained(), folder.history(), known
        return run

    @classmethod
    def resume(
        cls,
        path: Path,
        *,
        epochs: int | None = None,
        dataset: Dataset | None = None,
        source: str | None = None,
        trust: bool = False,
    ) -> Run:
        """A run from its folder, ready to go on where it stopped.

        Args:
            path: the run's folder.
            epochs: how many there shall be in all, if not as many as were configured.
            dataset: the data, where they came as an array.
            source: where the run's data are now, if they have moved; it is written into ``config.toml``.
            trust: whether components of the user's own, which the run names, may be imported: it runs them.

        Raises:
            RunError: the run cannot go on, or its data or the configuration of its model have changed.
            DataError: the data are not where they were.
        """
        folder = Folder.open(path)
        changes = {"train": {"epochs": epochs}} if epochs is not None else {}
        config = folder.config(changes, trust=trust)
        history, state = folder.history(), folder.read_state()
        # Metrics are written before the state: of one epoch they may stand alone.
        lost = state is None and (folder.has("last") or len(history) > 1)
        if lost or len(history) < (state.epoch if state else 0):
            raise RunError(f"{path} cannot go on: its metrics.jsonl or its checkpoints/resume.pt is missing")
        if state is not None:
            weights, recorded = folder.read_weights("best")
            facts.check_config(recorded, config, folder.path / "config.toml")
            facts.warn_of_changed_code(recorded, config)
        if source is not None:
            config = moved(config, source)
        dataset = load_own_data(config.data, source) if dataset is None else dataset
        if state is not None:
            facts.check_data(recorded, dataset, source)
        run = cls._assembled(config, dataset)
        run.folder = folder
        if state is not None:
            run.facts |= {name: recorded[name] for name in ("engine", "columns") if name in recorded}
            # Before it was recorded, runs had as many as help.
            run.facts["threads"] = recorded.get("threads", str(threads.that_help()))
            run.snapshots = {"last": state, "best": Snapshot(int(recorded["epoch"]), weights, {})}
            run.untrained, run.history = folder.untrained(), history[: state.epoch]
            if config.train.epochs < state.epoch:
                raise RunError(f"{path} has {state.epoch} epochs already, more than {config.train.epochs}")
        run.stretches = stretches.begin(folder.stretches(), len(run.history), run.config)
        folder.write_config(run.config)
        folder.write_stretches(run.stretches)
        folder.write_history(run.untrained, run.history)
        return run

    @classmethod
    @isolated()
    def _assembled(
        cls, config: Config, dataset: Dataset, objects: Mapping[str, Component] | None = None
    ) -> Run:
        """A run with its program and its data, before the first epoch."""
        program = build(config, Size(dataset.event_shape), objects)
        config = settled(anchored(config), dataset)
        run = cls(config, program, facts.gather(config, dataset))
        dataset = as_precise(dataset, program.scorer)
        with seeded(config.seed, "check"):
            check(program, dataset.train.rows(slice(CHECKED)))
        run.prepared = prepare(dataset, config.data, program.scorer)
        place = device.find(config.train.device)
        if reason := device.refusal(config.train.precision, place):
            raise ConfigError([Problem("train.precision", reason)])
        if device.PRECISIONS[config.train.precision].networks_round and not can_be_rounded(program):
            about = f"{config.train.precision} is about these only"
            reason = f"the program has no network of pyrovae.networks, and {about}"
            raise ConfigError([Problem("train.precision", reason)])
        with seeded(config.seed, "initialize"):
            program.initialize(run.prepared.dataset.train.batches)
        with device.explaining(place):
            program.to(place)
            run.prepared = replace(run.prepared, dataset=run.prepared.dataset.to(place))
        objective = build_objective(run.config, program, len(dataset.train))  # refused now, if at all
        with seeded(config.seed, "check"):
            rehearse(program, objective, run.prepared.dataset.train.rows(slice(CHECKED)))
        if config.train.patience is not None and not len(dataset.validation):
            raise ConfigError([Problem("train.patience", "early stopping needs data.validation > 0")])
        if min(config.train.batch_size, len(dataset.train)) == 1:
            for what in needing_two_rows(program, objective):
                raise ConfigError([Problem("train.batch_size", f"{what} needs 2 rows in a batch")])
        return run

    def __getstate__(self) -> dict[str, Any]:
        """A pickled or copied run leaves its training data behind."""
        return {**vars(self), "prepared": None}

    def train(
        self, on_batch: Callable[[], None] = lambda: None, on_note: Callable[[str], None] = lambda _: None
    ) -> Iterator[Metrics]:
        """Train for the epochs that are left; keeps and yields the metrics of each.

        An epoch that does not finish leaves no trace. In the end the program has the best epoch's weights.
        The loss is measured before the first step, too (:attr:`untrained`). If it ends above that, there is a
        warning; if no epoch is below it, or the last is above it by 100 times its size, training has failed:
        an error says so when all epochs are kept.

        Args:
            on_batch: called after every step.
            on_note: called with what there is to say of it in a sentence.

        Raises:
            TrainingError: the loss is no longer finite, or training has not made the model better.
        """
        trainer = self._trainer(on_note)
        for change in self._changes():
            on_note(change)
        try:
            if not self.history and self.untrained is None:
                self.untrained = trainer.untrained()
                if self.folder is not None:
                    self.folder.write_history(self.untrained, [])
            for metrics in trainer.run(on_batch):
                self._keep(metrics, trainer.snapshot())
                self._picture(metrics["epoch"], last=trainer.finished)
                yield metrics
            self._judge(trainer)
        finally:
            self.use("best")

    @property
    def columns(self) -> Columns | None:
        """The names of the columns that it was trained on, where the data had any."""
        return facts.columns(self.facts)

    def check(self, dataset: Dataset) -> None:
        """Raise if data have not the columns, or the shape, of the data that the run was trained on.

        Raises:
            DataError: saying how they differ.
        """
        check_columns(dataset.name, dataset.columns, self.columns)
        if Size(dataset.event_shape) != self.program.event_shape:
            shapes = (dataset.event_shape, tuple(self.program.event_shape))
            found, wanted = (shape_as_given(shape, dataset.layout) for shape in shapes)
            raise DataError(
                f"{dataset.name} has rows of shape {found}; this run was trained on rows of shape {wanted}"
                f"{' (rows, columns, channels)' if dataset.layout == 'channels-last' else ''}."
            )

    def as_given(self, x: Any) -> Any:
        """Data (..., \\*event_shape) in the layout that the run's own data have; all else as it is."""
        shape = tuple(self.program.event_shape)
        layout = self.config.data.layout
        return as_given(x, layout) if layout != "auto" and tuple(x.shape[-3:]) == shape else x

    @property
    def terms(self) -> dict[str, str]:
        """What the two terms of the objective and their sum are called: a point has no bound and no KL."""
        if self.program.codes.is_density:
            return {"elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}
        return {"elbo": "objective", "reconstruction": "reconstruction", "kl": "penalty"}

    @property
    def caveats(self) -> list[str]:
        """What a reader of this run's numbers must know."""
        return caveats(self.program)

    @property
    def saved_epochs(self) -> int:
        """How many epochs are finished and kept."""
        return self.snapshots["last"].epoch if self.snapshots else 0

    @property
    def steps_per_epoch(self) -> int:
        """How many steps of training an epoch has."""
        assert self.prepared is not None
        return steps(len(self.prepared.dataset.train), self.config.train.batch_size)

    def evaluation_rows(
        self, split: str | None = None, *, data: str | None = None, source: str | None = None
    ) -> tuple[Split, bool]:
        """Rows to evaluate on, drawn once; and whether the likelihood is one on them.

        Args:
            split: ``train``, ``validation`` or ``test`` (the default) of the run's own data.
            data: other data instead: the test set of a source that has one, else all rows.
            source: where the run's own data are now, if they have moved.

        Raises:
            RunError: there are no such rows, they are not of the run's shape, or the run's data have changed.
            DataError: the data are not where they were.
        """
        if data is None:
            config = self.config if source is None else moved(self.config, source)
            dataset = load_own_data(config.data, source)
            facts.check_data(self.facts, dataset, source)
            split = split or "test"
        elif split is not None:
            raise RunError("other data are evaluated whole: give a split or other data, not both")
        elif source is not None:
            raise RunError(
                "the source is where the run's own data are: give a source or other data, not both"
            )
        else:
            dataset = load_data(whole(self.config.data, data))
            split = "test" if len(dataset.test) else "train"
            self.check(dataset)
        prepared = prepare(dataset, self.config.data, self.program.scorer)
        rows = prepared.dataset.splits[split].drawn().to(device.of(self.program))
        if not len(rows):
            raise RunError(f"the run has no {split} rows (data.{split} = {getattr(self.config.data, split)})")
        return rows, prepared.is_likelihood

    def evaluate(
        self,
        batches: Iterable[Tensor],
        *,
        particles: int,
        seed: int = 0,
        is_likelihood: bool = True,
        unit: Unit = STORED,
    ) -> Evaluation:
        """ELBO, its terms and log p(x): means over data in nats per datum, errors, bits per dimension."""
        return summarise(
            evaluate(self.program, batches, particles=particles, seed=seed),
            cells=self.program.event_shape.numel(),
            discrete=self.program.support.is_discrete,
            is_likelihood=is_likelihood,
            is_bound=self.program.codes.is_density,
            unit=unit,
            given=given(self.program),
        )

    def diagnose(
        self,
        name: str,
        rows: Split,
        *,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        batch_size: int = 100,
    ) -> Findings:
        """What a diagnostic finds in rows of data, or why it has nothing to say.

        Raises:
            ConfigError: there is no such diagnostic, or it has no such options.
        """
        chosen = selected("diagnostic", {name: options or {}})[name]
        member: Any = component.find("diagnostic", name)
        return diagnose(member(**chosen), Subject(self.program, rows, seed, batch_size))

    @isolated()
    def use(self, checkpoint: Checkpoint) -> None:
        """Give the program the weights of a checkpoint, if there is one."""
        snapshot = self.snapshots.get(checkpoint, self.snapshots.get("last"))
        if snapshot is not None:
            self.program.load_state_dict(snapshot.weights)

    def save(self, path: Path) -> None:
        """Write the run to a new folder, which it is kept in from now on.

        Raises:
            RunError: the folder exists, or there is nothing to write.
        """
        if self.folder is not None:
            self.folder = self.folder.copy(path)
        elif self.snapshots:
            self.folder = Folder.create(path, self.config)
            self.folder.write_stretches(self.stretches)
            self.folder.write_history(self.untrained, self.history)
            self._write(self.folder, self.snapshots)
        else:
            raise RunError("no epoch was finished: there is nothing to save")

    @contextmanager
    def _computing(self, count: int) -> Iterator[None]:
        """Inside, torch computes on so many threads, and as precisely as the configuration says."""
        options, place = self.config.train, device.of(self.program)
        rounds = device.PRECISIONS[options.precision].networks_round
        with (
            threads.threaded(count),
            device.multiplying(options.precision, place),
            device.explaining(place),
            rounding(self.program, rounds),
        ):
            yield

    def _trainer(self, on_note: Callable[[str], None]) -> Trainer:
        if self.prepared is None:
            raise RunError("this run was loaded to be read: go on with Run.resume")
        options, data = self.config.train, self.prepared.dataset
        count = threads.asked_for(options.threads)[0] or threads.that_help()
        with isolated(), torch.enable_grad(), self._computing(count):
            batches = batches_of_all_sizes(data.train, options.batch_size)
            objective = build_objective(self.config, self.program, len(data.train))
            started, chosen = begin(
                options, objective, batches, options.epochs * self.steps_per_epoch, self.facts
            )
        self.facts |= {"engine": started.mode, "threads": chosen.recorded}
        for note in filter(None, (started.note, chosen.note)):
            on_note(note)
        trainer = Trainer(
            started.engine,
            data.train,
            data.validation,
            seed=self.config.seed,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr=options.lr,
            lr_schedule=options.lr_schedule,
            patience=options.patience,
            history=self.history,
            computing=partial(self._computing, chosen.number),
            pacing=chosen.pacing,
        )
        if "last" in self.snapshots:
            try:
                trainer.restore(self.snapshots["last"])
            except (RuntimeError, ValueError, KeyError):
                raise RunError("the state to resume from does not fit the run's config.toml") from None
        return trainer

    def _keep(self, metrics: Metrics, snapshot: Snapshot) -> None:
        kept = {**self.snapshots, "last": snapshot}
        if best_epoch(self.history) == metrics["epoch"]:
            kept["best"] = snapshot
        if self.folder is not None:
            self.folder.append(metrics)
            self._write(self.folder, kept)
        self.snapshots = kept

    def _write(self, folder: Folder, snapshots: Mapping[Checkpoint, Snapshot]) -> None:
        """Write the checkpoints, the state to resume from last: it is never ahead of the others."""
        last, best = snapshots["last"], snapshots["best"]
        if best.epoch == last.epoch or not folder.has("best"):
            folder.write_weights("best", best, self.facts)
        folder.write_weights("last", last, self.facts)
        folder.write_state(last)

    def _picture(self, epoch: int, *, last: bool) -> None:
        """Save a grid of samples and reconstructions, for the epochs that the configuration chooses."""
        watch = self.config.train.watch
        if self.folder is None or self.prepared is None or not (last or (watch and epoch % watch == 0)):
            return
        from pyrovae import plots

        seed = self.config.seed
        figure = epoch_picture.draw(self.program, self.prepared.dataset, epoch=epoch, seed=seed)
        with self.folder.picture(epoch) as file:
            plots.save(figure, file)

    def _changes(self) -> Iterator[str]:
        """What has changed in the section ``train``, where the next epoch is the first under it."""
        for before, after in pairwise(self.stretches):
            if after.from_epoch == len(self.history) + 1:
                for change in stretches.changes(before.train, after.train):
                    yield f"from epoch {after.from_epoch} on: {change}"

    def _judge(self, trainer: Trainer) -> None:
        """Say whether the losses of all epochs lead below the loss before the first step."""
        if self.untrained is None or not self.history:
            return
        if found := trainer.outcome(self.untrained):
            if found.is_failure:
                raise TrainingError(found.message)
            warnings.warn(found.message, stacklevel=3)
