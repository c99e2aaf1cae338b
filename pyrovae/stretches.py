"""Which epochs of a run were trained under which settings, by which versions; knows no program, no data."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import tomli_w

from pyrovae.config import Config, resolve
from pyrovae.facts import line
from pyrovae.train import SCHEDULES

HEAD = """\
# How this run was trained: a table for each stretch of epochs under the same settings and versions. Each
# stretch ends where the next one begins. pyrovae writes this file; to change a setting, change config.toml.

"""
DISTRIBUTIONS = {"pyrovae": "pyrovae", "torch": "torch", "pyro": "pyro-ppl", "numpy": "numpy"}


@dataclass(frozen=True)
class Stretch:
    """Epochs of a run that were trained under the same settings, by the same versions.

    Args:
        from_epoch: the first of them.
        train: the section ``train`` of the configuration, without the entries that are not set.
        versions: of Python, pyrovae, torch, Pyro and NumPy.
    """

    from_epoch: int
    train: Mapping[str, Any]
    versions: Mapping[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def versions() -> dict[str, str]:
    """The versions that numbers depend on."""
    installed = {name: metadata.version(distribution) for name, distribution in DISTRIBUTIONS.items()}
    return {"python": platform.python_version(), **installed}


def begin(stretches: Sequence[Stretch], done: int, config: Config) -> list[Stretch]:
    """The stretches of a run that is about to be trained on: a new one only where something has changed.

    Args:
        stretches: of the run so far.
        done: how many epochs are finished.
        config: that holds from now on.
    """
    kept = [stretch for stretch in stretches if stretch.from_epoch <= done]
    now = Stretch(done + 1, config.train.model_dump(mode="json", exclude_none=True), versions())
    if kept and (kept[-1].train, kept[-1].versions) == (now.train, now.versions):
        return kept
    return [*kept, now]


def trained_with(config: Config, stretches: Sequence[Stretch]) -> Config:
    """The configuration with the section ``train`` that the last epochs were trained with.

    Raises:
        ConfigError: the section has an entry that this pyrovae does not know.
    """
    return resolve({**config.model_dump(), "train": stretches[-1].train}) if stretches else config


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The entries of ``train`` that differ, a line each."""
    for entry in dict.fromkeys([*before, *after]):
        if before.get(entry) != after.get(entry):
            yield line(f"train.{entry}", before.get(entry), after.get(entry))


def changed_on_the_way(stretches: Sequence[Stretch]) -> dict[str, str]:
    """The entries of ``train`` that were changed while a run was trained, by place, with all of their values.

    More epochs are a change only where the learning rate falls over them.
    """
    schedules = [SCHEDULES.get(stretch.train.get("lr_schedule", "")) for stretch in stretches]
    falls = any(schedule is None or schedule(0.5) < 1 for schedule in schedules)
    entries = dict.fromkeys(entry for stretch in stretches for entry in stretch.train)
    found = {}
    for entry in entries:
        values = [(stretch.from_epoch, stretch.train.get(entry)) for stretch in stretches]
        if len({repr(value) for _, value in values}) > 1 and (falls or entry != "epochs"):
            found[f"train.{entry}"] = ", ".join(f"{value} from epoch {start} on" for start, value in values)
    return found


def dump(stretches: Sequence[Stretch]) -> str:
    """Stretches as TOML."""
    return HEAD + tomli_w.dumps({"stretch": [asdict(stretch) for stretch in stretches]})


def parse(text: str) -> list[Stretch]:
    """Stretches from TOML.

    Raises:
        ValueError: the text holds something else.
    """
    tables = tomllib.loads(text).get("stretch")
    try:
        found = [Stretch(**table) for table in tables]  # type: ignore[union-attr]
    except TypeError:
        raise ValueError("it is no list of stretches") from None
    starts = [stretch.from_epoch for stretch in found]
    tabled = all(isinstance(part, dict) for stretch in found for part in (stretch.train, stretch.versions))
    if not tabled or not all(type(start) is int for start in starts) or starts != sorted(set(starts)):
        raise ValueError("each stretch has from_epoch, above that of the one before, train and versions")
    return found
