"""The life of a run: assembled, trained, kept in a folder and read from it; no Typer, and prints nothing."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from pyrovae import component, device, generate
from pyrovae.assembly import anchored, build, build_objective, load_data, needing_two_rows, settled, whole
from pyrovae.component import Component
from pyrovae.config import Config, own_names, selected
from pyrovae.data import Columns, Dataset, Split, as_given, check_columns, shape_as_given
from pyrovae.diagnostics import Subject, diagnose
from pyrovae.engine import Engine, start
from pyrovae.errors import ConfigError, DataError, Problem, RunError
from pyrovae.evaluate import Evaluation, evaluate, summarise
from pyrovae.folder import Checkpoint, Folder
from pyrovae.isolation import isolated
from pyrovae.networks import can_be_rounded, rounding
from pyrovae.preparation import Prepared, prepare
from pyrovae.programs import Program, check, rehearse
from pyrovae.quantities import Findings
from pyrovae.randomness import seeded
from pyrovae.train import Metrics, Snapshot, Trainer, best_epoch, first_batch, steps

PICTURED = 25
"""How many samples and how many reconstructions a picture of training shows."""

CHECKED = 5
"""Rows of data that a program is tried on before it is trained."""


class Run:
    """A configuration, the program that it describes, and what training recorded of it.

    Args:
        config: the complete configuration.
        program: model and guide.
        facts: what else a checkpoint tells of itself: shape of a datum, fingerprint of the training data.
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
        self.history: list[Metrics] = []
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
        run = cls._assembled(config, dataset, objects)
        run.folder = Folder.create(path, run.config) if path is not None else None
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
        weights, facts = folder.read_weights(checkpoint)
        _warn_of_changed_code(facts, config)
        program = build(config, Size(json.loads(facts["event_shape"])))
        try:
            program.load_state_dict(weights)
        except RuntimeError:
            raise RunError(f"the weights in {path} do not fit its config.toml") from None
        run = cls(config, program.to(place), facts, folder)
        run.history = folder.history()
        return run

    @classmethod
    def resume(
        cls, path: Path, *, epochs: int | None = None, dataset: Dataset | None = None, trust: bool = False
    ) -> Run:
        """A run from its folder, ready to go on where it stopped.

        Args:
            path: the run's folder.
            epochs: how many there shall be in all, if not as many as were configured.
            dataset: the data, where they came as an array.
            trust: whether components of the user's own, which the run names, may be imported: it runs them.
        """
        folder = Folder.open(path)
        changes = {"train": {"epochs": epochs}} if epochs is not None else {}
        config = folder.config(changes, trust=trust)
        history, state = folder.history(), folder.read_state()
        # Metrics are written before the state: of one epoch they may stand alone.
        lost = state is None and (folder.has("last") or len(history) > 1)
        if lost or len(history) < (state.epoch if state else 0):
            raise RunError(f"{path} cannot go on: its metrics.jsonl or its checkpoints/resume.pt is missing")
        dataset = load_data(config.data) if dataset is None else dataset
        run = cls._assembled(config, dataset)
        run.folder = folder
        if state is not None:
            weights, facts = folder.read_weights("best")
            check_columns(dataset.name, dataset.columns, _columns(facts))
            _check_unchanged(facts, _facts(dataset))
            _warn_of_changed_code(facts, config)
            for name in ("engine", "columns"):
                if name in facts:
                    run.facts[name] = facts[name]
            run.snapshots = {"last": state, "best": Snapshot(int(facts["epoch"]), weights, {})}
            run.history = history[: state.epoch]
            if config.train.epochs < state.epoch:
                raise RunError(f"{path} has {state.epoch} epochs already, more than {config.train.epochs}")
        folder.write_config(run.config)
        folder.write_history(run.history)
        return run

    @classmethod
    @isolated()
    def _assembled(
        cls, config: Config, dataset: Dataset | None, objects: Mapping[str, Component] | None = None
    ) -> Run:
        """A run with its program and its data, before the first epoch."""
        dataset = load_data(config.data) if dataset is None else dataset
        program = build(config, Size(dataset.event_shape), objects)
        with seeded(config.seed, "check"):
            check(program, dataset.train.rows(slice(CHECKED)))
        facts = _facts(dataset) | _names(dataset) | _code(config)
        run = cls(settled(anchored(config), dataset), program, facts)
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

        Args:
            on_batch: called after every step.
            on_note: called with what there is to say of it in a sentence.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        trainer = self._trainer(on_note)
        try:
            for metrics in trainer.run(on_batch):
                self._keep(metrics, trainer.snapshot())
                self._picture(metrics["epoch"], last=trainer.finished)
                yield metrics
        finally:
            self.use("best")

    @property
    def columns(self) -> Columns | None:
        """The names of the columns that it was trained on, where the data had any."""
        return _columns(self.facts)

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
        codes = self.program.codes
        if codes.is_density:
            return []
        return [
            f"{codes.name!r} is a point and no density: what is maximised, log p(x|z) + log p(z), is no "
            "bound of log p(x), and importance sampling is undefined"
        ]

    @property
    def saved_epochs(self) -> int:
        """How many epochs are finished and kept."""
        return self.snapshots["last"].epoch if self.snapshots else 0

    @property
    def steps_per_epoch(self) -> int:
        """How many steps of training an epoch has."""
        assert self.prepared is not None
        return steps(len(self.prepared.dataset.train), self.config.train.batch_size)

    def evaluation_rows(self, split: str | None = None, source: str | None = None) -> tuple[Split, bool]:
        """Rows to evaluate on, drawn once; and whether the likelihood is one on them.

        Args:
            split: ``train``, ``validation`` or ``test`` (the default) of the run's own data.
            source: other data instead: the test set of a source that has one, else all rows.

        Raises:
            RunError: there are no such rows, or they are not of the run's shape.
        """
        if source is None:
            dataset = load_data(self.config.data)
            check_columns(dataset.name, dataset.columns, self.columns)
            _check_unchanged(self.facts, _facts(dataset))
            split = split or "test"
        elif split is not None:
            raise RunError("other data are evaluated whole: give a split or a source, not both")
        else:
            dataset = load_data(whole(self.config.data, source))
            split = "test" if len(dataset.test) else "train"
        self.check(dataset)
        prepared = prepare(dataset, self.config.data, self.program.scorer)
        rows = prepared.dataset.splits[split].drawn().to(device.of(self.program))
        if not len(rows):
            raise RunError(f"the run has no {split} rows (data.{split} = {getattr(self.config.data, split)})")
        return rows, prepared.is_likelihood

    def evaluate(
        self, batches: Iterable[Tensor], *, particles: int, seed: int = 0, is_likelihood: bool = True
    ) -> Evaluation:
        """ELBO, its terms and log p(x): means over data in nats per datum, errors, bits per dimension."""
        return summarise(
            evaluate(self.program, batches, particles=particles, seed=seed),
            cells=self.program.event_shape.numel(),
            discrete=self.program.support.is_discrete,
            is_likelihood=is_likelihood,
            is_bound=self.program.codes.is_density,
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
            self.folder.write_history(self.history)
            self._write(self.folder, self.snapshots)
        else:
            raise RunError("no epoch was finished: there is nothing to save")

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Inside, torch computes as the configuration says: how precisely, and on how many threads."""
        options, place = self.config.train, device.of(self.program)
        rounds = device.PRECISIONS[options.precision].networks_round
        with (
            device.threaded(options.threads),
            device.multiplying(options.precision, place),
            device.explaining(place),
            rounding(self.program, rounds),
        ):
            yield

    def _trainer(self, on_note: Callable[[str], None]) -> Trainer:
        if self.prepared is None:
            raise RunError("this run was loaded to be read: go on with Run.resume")
        options, data = self.config.train, self.prepared.dataset
        trainer = Trainer(
            self._engine(data.train, on_note),
            data.train,
            data.validation,
            seed=self.config.seed,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr=options.lr,
            lr_schedule=options.lr_schedule,
            patience=options.patience,
            history=self.history,
            computing=self._computing,
        )
        if "last" in self.snapshots:
            try:
                trainer.restore(self.snapshots["last"])
            except (RuntimeError, ValueError, KeyError):
                raise RunError("the state to resume from does not fit the run's config.toml") from None
        return trainer

    def _engine(self, train: Split, on_note: Callable[[str], None]) -> Engine:
        """The engine of the configuration; a run goes on with the one that it was begun with."""
        options = self.config.train
        begun_with = self.facts.get("engine") if options.engine == "auto" else None
        with isolated(), torch.enable_grad(), self._computing():
            started = start(
                begun_with or options.engine,  # type: ignore[arg-type]
                build_objective(self.config, self.program, len(train)),
                options.optimizer,
                options.clip,
                example=first_batch(train, options.batch_size),
                steps=options.epochs * self.steps_per_epoch,
            )
        self.facts["engine"] = started.mode
        on_note(started.note)
        return started.engine

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
        from pyrovae import plots  # matplotlib takes a second to import, and only pictures need it

        dataset, seed = self.prepared.dataset, self.config.seed
        with seeded(seed, "picture"):
            split = dataset.validation if len(dataset.validation) else dataset.train
            rows, shown = split.rows(slice(PICTURED)), split.expected().rows(slice(PICTURED))
        samples = generate.sample(self.program, PICTURED, seed=seed)
        restored = generate.reconstruct(self.program, [rows], seed=seed)
        figure = plots.panels(
            {
                "validation data" if split is dataset.validation else "training data": shown.cpu(),
                "the same data through their codes: E[x|z], z ~ q(z|x)": restored.mean.cpu(),
                "new data: E[x|z], z ~ p(z)": samples.mean.cpu(),
            },
            title=f"epoch {epoch}",
        )
        with self.folder.picture(epoch) as file:
            plots.save(figure, file)


def _facts(dataset: Dataset) -> dict[str, str]:
    """What a checkpoint tells of the data: the shape of a datum, and a hash of the training rows."""
    return {"event_shape": json.dumps(list(dataset.event_shape)), "data": dataset.fingerprint()}


def _names(dataset: Dataset) -> dict[str, str]:
    """What a checkpoint tells of the columns, where they have names."""
    return {} if dataset.columns is None else {"columns": json.dumps(dataset.columns)}


def _columns(facts: Mapping[str, str]) -> Columns | None:
    return tuple(json.loads(facts["columns"])) if "columns" in facts else None


def _code(config: Config) -> dict[str, str]:
    """A hash of each file of the user's own that a component of the run comes from."""
    files = {component.source_file(name) for name in own_names(config.model_dump())} - {None}
    return {"code": json.dumps({str(file): _hash(file) for file in files if file})} if files else {}


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _warn_of_changed_code(recorded: Mapping[str, str], config: Config) -> None:
    now = json.loads(_code(config).get("code", "{}"))
    for file, digest in json.loads(recorded.get("code", "{}")).items():
        if digest not in now.values():  # it may have been moved
            warnings.warn(f"{file} has changed since the run was trained with it", stacklevel=3)


def _check_unchanged(recorded: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse data that are not those a run was trained on: rows to test on may have been trained on."""
    if any(recorded[name] != value for name, value in now.items()):
        raise RunError("the data have changed since the run was trained on them")
