"""A run on disk: which file holds what, written whole or not at all; knows no program and no data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path

from pyrovae import places
from pyrovae.component import is_imported
from pyrovae.config import Config, dump, own_names, read, resolve
from pyrovae.errors import RunError
from pyrovae.facts import check_readable
from pyrovae.stretches import Stretch, parse
from pyrovae.stretches import dump as stretches_as_toml
from pyrovae.train import Metrics, Snapshot, Untrained

Checkpoint = Literal["best", "last"]


class Folder:
    """A run on disk: ``config.toml``, ``training.toml``, ``metrics.jsonl``, ``checkpoints/``, ``figures/``.

    Nothing that is read from it can run code, but for components of the user's own that are trusted.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config) -> Folder:
        """Make a new folder for a run; an existing one is refused."""
        folder = cls(path)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            places.check_free(path)
            raise
        except OSError as error:
            raise RunError(f"cannot make the folder {path}: {error.strerror}") from None
        (path / "figures").mkdir()
        folder.write_config(config)
        return folder

    def copy(self, path: Path) -> Folder:
        """The same run in another folder, which must not exist."""
        try:
            shutil.copytree(self.path, path)
        except FileExistsError:
            raise RunError(f"{path} exists: name another folder") from None
        except OSError as error:
            raise RunError(f"cannot copy the run to {path}: {error}") from None
        return Folder(path)

    @classmethod
    def open(cls, path: Path) -> Folder:
        """The folder of a run that is there."""
        places.check(path)
        return cls(path)

    def config(self, changes: Mapping[str, Any] | None = None, *, trust: bool = False) -> Config:
        """The configuration, with changes to it if any.

        Args:
            changes: entries that are set anew.
            trust: whether code of the user's own that the configuration names may be run.
        """
        # A run from before there was a choice has its data as they are stored.
        layers = {"data": {"layout": "channels-first"}}, read(self.path / "config.toml"), changes or {}
        if not trust and (own := [name for name in own_names(*layers) if not is_imported(name)]):
            raise RunError(
                f"{self.path} was trained with code of its own, {', '.join(own)}, and loading it runs that "
                "code: allow it with --trust (in Python trust=True) if you know what it does"
            )
        return resolve(*layers)

    def write_config(self, config: Config) -> None:
        with _replacing(self.path / "config.toml") as file:
            file.write_text(dump(config), encoding="utf-8")

    def stretches(self) -> list[Stretch]:
        """How the run was trained; an older pyrovae has not written it down."""
        file = self.path / "training.toml"
        try:
            return parse(file.read_text(encoding="utf-8")) if file.exists() else []
        except (OSError, ValueError) as error:
            raise RunError(f"{file} is damaged: {error}") from None

    def write_stretches(self, stretches: Sequence[Stretch]) -> None:
        with _replacing(self.path / "training.toml") as file:
            file.write_text(stretches_as_toml(stretches), encoding="utf-8")

    def untrained(self) -> Untrained | None:
        """The metrics before the first step; an older pyrovae has not measured them."""
        first = self._metrics()[:1]
        return first[0] if first and first[0]["epoch"] == 0 else None

    def history(self) -> list[Metrics]:
        """The metrics of all epochs that were finished; a line that was cut off is not one of them."""
        return [metrics for metrics in self._metrics() if metrics["epoch"] > 0]

    def write_history(self, untrained: Untrained | None, history: Sequence[Metrics]) -> None:
        lines = [*([untrained] if untrained else []), *history]
        with _replacing(self.path / "metrics.jsonl") as file:
            file.write_text("".join(json.dumps(metrics) + "\n" for metrics in lines))

    def append(self, metrics: Metrics | Untrained) -> None:
        with _writing(), (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    @contextmanager
    def picture(self, epoch: int) -> Iterator[Path]:
        """Where the picture of an epoch is written inside the block."""
        with _writing():
            (self.path / "figures").mkdir(exist_ok=True)
            yield self.path / "figures" / f"epoch-{epoch:04d}.png"

    def pictures(self) -> list[Path]:
        """The pictures of epochs, in their order."""
        files = (self.path / "figures").glob("epoch-*.png")
        return sorted(files, key=lambda file: int(file.stem.partition("-")[2]))

    def write_weights(self, name: Checkpoint, snapshot: Snapshot, facts: Mapping[str, str]) -> None:
        """Save weights as safetensors, with the epoch and other facts as its metadata."""
        metadata = {"epoch": str(snapshot.epoch), **facts}
        with _replacing(self._weights(name)) as file:
            save_file(snapshot.weights, file, metadata)

    def read_weights(self, name: Checkpoint) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The weights of a checkpoint, and the facts that were saved with them."""
        file = self._weights(name)
        if not file.exists():
            raise RunError(f"{self.path} has no checkpoint {name!r}; {self._checkpoints()}")
        try:
            with safe_open(file, "pt") as opened:
                facts = opened.metadata() or {}
            weights = load_file(file)
        except SafetensorError as error:
            raise RunError(f"{file} is damaged: {error}") from None
        check_readable(facts, file)
        _check_finite(weights, file)
        return weights, facts

    def has(self, name: Checkpoint) -> bool:
        """Whether there is such a checkpoint."""
        return self._weights(name).exists()

    def write_state(self, snapshot: Snapshot) -> None:
        """Save everything that training goes on from, in one file."""
        with _replacing(self.path / "checkpoints" / "resume.pt") as file:
            torch.save(vars(snapshot), file)

    def read_state(self) -> Snapshot | None:
        """What training goes on from; ``None`` where no epoch was finished."""
        file = self.path / "checkpoints" / "resume.pt"
        if not file.exists():
            return None
        try:
            state = Snapshot(**torch.load(file, weights_only=True))
            weights, optimizer = dict(state.weights), dict(state.optimizer)
            if type(state.epoch) is not int or not all(isinstance(each, Tensor) for each in weights.values()):
                raise TypeError("an epoch is a number, and weights are tensors")
        except Exception:  # what torch raises on a file that is not its own has no common class
            raise RunError(f"{file} is damaged, or no file that pyrovae wrote") from None
        _check_finite(weights, file)
        # Its sums of squares may have grown beyond float32, which stops a weight and breaks none.
        _check_finite(_tensors(optimizer), file, may_be_infinite=True)
        return state

    def _metrics(self) -> list[Any]:
        """All lines of metrics, perhaps with one of epoch 0."""
        file = self.path / "metrics.jsonl"
        try:
            lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
            metrics = [json.loads(line) for line in lines]
            epochs = [each["epoch"] for each in metrics]
            if epochs != list(range(epochs[0], epochs[0] + len(epochs)) if epochs[:1] in ([0], [1]) else []):
                raise ValueError("its epochs are not 1, 2, ...")
            if not all(isinstance(value, int | float) for each in metrics for value in each.values()):
                raise ValueError("it holds something else than numbers")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise RunError(f"{file} is damaged: {error}") from None
        return metrics

    def _checkpoints(self) -> str:
        if found := [file.stem for file in sorted((self.path / "checkpoints").glob("*.safetensors"))]:
            return f"it has {' and '.join(found)}"
        return "the checkpoints of its epochs are missing" if self.history() else "no epoch was finished"

    def _weights(self, name: Checkpoint) -> Path:
        return self.path / "checkpoints" / f"{name}.safetensors"


def _check_finite(tensors: Mapping[str, Tensor], file: Path, *, may_be_infinite: bool = False) -> None:
    """Raise if a tensor of a file holds a value that no training writes, and name the tensor."""
    for name, tensor in tensors.items():
        bad = tensor.isnan() if may_be_infinite else ~tensor.isfinite()
        if count := int(bad.sum()):
            what = "not a number" if may_be_infinite else "not finite"
            raise RunError(
                f"{file} cannot be used: {name} has {count:,} of {tensor.numel():,} values that are {what}; "
                "take another checkpoint, or train anew"
            )


def _tensors(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of nested tables, by their places."""
    leaves = tree_flatten_with_path(dict(state))[0]
    return {
        f"the optimiser's state {keystr(place)}": leaf for place, leaf in leaves if isinstance(leaf, Tensor)
    }


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes the file when it is complete: no reader ever sees half of it."""
    part = file.with_name(f".{file.name}.part")
    with _writing():
        file.parent.mkdir(exist_ok=True)
        yield part
        part.replace(file)


@contextmanager
def _writing() -> Iterator[None]:
    """Says in a sentence that a disk is full, or a folder not to be written to."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write the run: {error}") from None
