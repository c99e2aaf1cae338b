"""What a command is given to read: a run, and data for it; their options stand here once for all commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pyrovae import places, sources
from pyrovae.cli._options import (
    Checkpoint,
    CheckpointOption,
    Device,
    OwnSource,
    RunPath,
    Source,
    SplitName,
    SplitOption,
    Trust,
)
from pyrovae.cli._output import Written, place

if TYPE_CHECKING:
    from torch import Tensor

    from pyrovae.data import Split
    from pyrovae.run import Run


@dataclass(frozen=True)
class GivenRun:
    """A run, read when it is asked for."""

    path: RunPath
    checkpoint: CheckpointOption = Checkpoint.best
    trust: Trust = False
    device: Device = "auto"

    @cached_property
    def run(self) -> Run:
        """The run, with the weights of the checkpoint."""
        self.check()
        from pyrovae.run import Run

        return Run.load(self.path, self.checkpoint.value, trust=self.trust, on=self.device)

    def check(self) -> None:
        """Refuse what can be seen to be missing before torch is imported, which takes seconds."""
        from pyrovae.config import read

        places.check(self.path)
        read(self.path / "config.toml")

    def write_arrays(self, written: Written, out: Path | None, name: str, **arrays: Tensor) -> None:
        """Write tensors as a compressed archive of arrays; data are in the layout that the run's own have."""
        given = {key: self.run.as_given(values) for key, values in arrays.items()}
        written.arrays(self.file(out, name, ".npz"), **given)

    @property
    def facts(self) -> dict[str, Any]:
        """What a document of JSON says first: what was read."""
        epoch = int(self.run.facts["epoch"])
        return {"run": str(self.path), "checkpoint": self.checkpoint.value, "epoch": epoch}

    def file(self, out: Path | None, name: str, suffix: str) -> Path:
        """The file to write: where the user wants it, or of that name in the run."""
        return place(out, self.path / name, suffix)


@dataclass(frozen=True)
class GivenData(GivenRun):
    """A run, and rows of its own data or of others, read when they are asked for."""

    split: SplitOption = None
    data: Source = None
    source: OwnSource = None

    def check(self) -> None:
        """Refuse data that are not there, too."""
        super().check()
        for source in (self.data, self.source):
            if source is not None:
                sources.check(source)

    @cached_property
    def evaluated(self) -> tuple[Split, bool]:
        """The rows, and whether the likelihood is one on them."""
        return self.run.evaluation_rows(
            self.split and self.split.value, data=self.data, source=self._source_of_evaluated
        )

    @property
    def _source_of_evaluated(self) -> str | None:
        return self.source

    @property
    def rows(self) -> Split:
        """The rows, drawn once for all."""
        return self.evaluated[0]

    @property
    def split_name(self) -> str:
        """Which part of the run's data they are; ``given``, where they are others."""
        return "given" if self.data else (self.split or SplitName.test).value

    @property
    def facts(self) -> dict[str, Any]:
        """What was read, the data among it."""
        return {**super().facts, "data": self.data or self.run.config.data.source, "split": self.split_name}

    @property
    def words(self) -> str:
        """What the rows are, for a title."""
        return f"data of {self.data}" if self.data else f"{self.split_name} data"


@dataclass(frozen=True)
class GivenDataBesideOwn(GivenData):
    """A run, rows of its own data or of others, and rows of its own to hold them against."""

    def own(self, split: str) -> Split:
        """Rows of the run's own data."""
        return self.run.evaluation_rows(split, source=self.source)[0]

    @property
    def _source_of_evaluated(self) -> str | None:
        return self.source if self.data is None else None


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options that are the fields of its first parameter's class, beside its own.

    Args:
        command: whose first parameter is a dataclass of options, the argument RUN first.
    """
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    given, annotations = first.annotation, get_type_hints(first.annotation, include_extras=True)
    argument, *shared = (
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.name == "path" else field.default,
            annotation=annotations[field.name],
        )
        for field in fields(given)
    )
    parameters = [argument, *(each.replace(kind=Parameter.KEYWORD_ONLY) for each in own), *shared]

    def called(**values: Any) -> None:
        command(given(**{each.name: values.pop(each.name) for each in (argument, *shared)}), **values)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called
