"""What a checkpoint tells of itself, held against a run's configuration and data; reads no weights."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Size

from pyrovae import component, data
from pyrovae.config import Config, Section, own_names
from pyrovae.data import Columns, Dataset, check_columns
from pyrovae.errors import RunError
from pyrovae.threads import VARIES

PATHS = ("data.source", "data.dir")
"""Entries that say where data are: a hash of the rows tells whether they are the same."""


def gather(config: Config, dataset: Dataset) -> dict[str, str]:
    """What a checkpoint tells: shape of a datum, names of columns, hashes of rows and code, configuration.

    Args:
        config: of the run.
        dataset: its data, as they are stored.
    """
    trained = json.dumps(config.model_dump(mode="json", exclude={"train"}))
    names = {} if dataset.columns is None else {"columns": json.dumps(dataset.columns)}
    return {**_of_data(dataset), **names, "config": trained, **_code(config)}


def event_shape(facts: Mapping[str, str]) -> Size:
    """The shape of a datum."""
    return Size(json.loads(facts["event_shape"]))


def columns(facts: Mapping[str, str]) -> Columns | None:
    """The names of the columns, where the data had any."""
    return tuple(json.loads(facts["columns"])) if "columns" in facts else None


def check_readable(facts: Mapping[str, str], file: Path) -> None:
    """Raise if a checkpoint lacks a fact, or holds one of another kind.

    Args:
        facts: the metadata of the file.
        file: of weights.
    """
    if not {"epoch", "event_shape", "data"} <= facts.keys():
        raise RunError(f"{file} is no checkpoint that pyrovae wrote: it does not tell what it was trained on")
    kinds = {"event_shape": list, "columns": list, "code": dict, "config": dict, "held_out": list}
    try:
        read = {name: json.loads(facts[name]) for name in kinds if name in facts}
        wrong = [name for name, value in read.items() if not isinstance(value, kinds[name])]
        if not wrong and not all(type(size) is int and size > 0 for size in read["event_shape"]):
            wrong = ["event_shape"]
        if not wrong and not all(isinstance(digest, str) for digest in read.get("code", {}).values()):
            wrong = ["code"]
        if int(facts["epoch"]) < 1:
            wrong = ["epoch"]
        if not re.fullmatch(f"{VARIES}|[1-9][0-9]{{0,3}}", facts.get("threads", VARIES)):
            wrong = ["threads"]
    except (ValueError, RecursionError):
        wrong = [f"epoch, {', '.join(kinds)}"]
    if wrong:
        raise RunError(f"{file} is no checkpoint that pyrovae wrote: its metadata have a wrong {wrong[0]}")


def check_data(facts: Mapping[str, str], dataset: Dataset, source: str | None) -> None:
    """Raise if data are not those that a run was trained on: rows to test on may have been trained on.

    Args:
        facts: of a checkpoint.
        dataset: the data as they are read now.
        source: where the user says that they are; ``None`` where the run says it.
    """
    check_columns(dataset.name, dataset.columns, columns(facts))
    differ = [name for name, value in _of_data(dataset).items() if facts.get(name, value) != value]
    if not differ:
        return
    which = "validation or test rows" if differ == ["held_out"] else "training rows"
    if source is None:
        raise RunError(f"the data have changed since the run was trained on them: it had other {which}")
    raise RunError(
        f"{source} does not hold the run's own data: the run had other {which}; --data reads other data"
    )


def check_config(facts: Mapping[str, str], config: Config, file: Path) -> None:
    """Raise if a configuration is not the one that weights were trained with; ``train`` may differ.

    Args:
        facts: of a checkpoint; one of an older pyrovae does not tell its configuration.
        config: as the file says it now.
        file: where it stands.
    """
    if "config" not in facts:
        return
    if lines := list(_changes(json.loads(facts["config"]), config)):
        raise RunError(
            f"{file} is not what the run was trained with: {'; '.join(lines)}; put the old values back, or "
            f"train a new run with --config {file}"
        )


def warn_of_changed_code(facts: Mapping[str, str], config: Config) -> None:
    """Warn if a file of the user's own is not as it was.

    Args:
        facts: of a checkpoint.
        config: of the run.
    """
    now = json.loads(_code(config).get("code", "{}"))
    for file, digest in json.loads(facts.get("code", "{}")).items():
        if digest not in now.values():  # it may have been moved
            warnings.warn(f"{file} has changed since the run was trained with it", stacklevel=3)


def line(place: str, old: Any, new: Any) -> str:
    """A change of one entry, in TOML: ``train.lr = 0.001 -> 0.01``."""
    both = ("not set" if value is None else json.dumps(value, ensure_ascii=False) for value in (old, new))
    return f"{place} = {' -> '.join(both)}"


def _changes(recorded: Mapping[str, Any], config: Config) -> Iterator[str]:
    """The entries that are not as they were recorded, a line each."""
    was, now = _flat(recorded), _flat(config.model_dump(mode="json", exclude={"train"}))
    # Of an entry that is not recorded an older pyrovae did not know: it stands for its default.
    was = {place: _default(config, place) for place in now} | was
    names = [place for place in was if place.endswith(".name") and _differs(place, was, now)]
    renamed = {place.partition(".")[0] for place in names}
    for place in was:
        family, _, entry = place.partition(".")
        # The options of another component differ anyway.
        if _differs(place, was, now) and (family not in renamed or entry == "name"):
            yield line(place, was.get(place), now.get(place))


def _flat(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Every entry by its place, as ``prior.name``."""
    tables = {name: table for name, table in sections.items() if isinstance(table, Mapping)}
    flat = {name: value for name, value in sections.items() if name not in tables}
    return flat | {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}


def _differs(place: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    old, new = was.get(place), now.get(place)
    if place in PATHS:  # a path may lead elsewhere now, and the name of a data set stands for itself
        return old != new and {old, new} <= set(data.names())
    if place.endswith(".name") and ":" in f"{old}" and ":" in f"{new}":  # a file may have been moved
        return f"{old}".rpartition(":")[2] != f"{new}".rpartition(":")[2]
    return bool(old != new)


def _default(config: Config, place: str) -> Any:
    """What an entry is where nobody sets it."""
    *tables, entry = place.split(".")
    section: Section = getattr(config, tables[0]) if tables else config
    return type(section).model_fields[entry].default


def _of_data(dataset: Dataset) -> dict[str, str]:
    """The shape of a datum, and hashes of the rows that are trained on and of those that are not."""
    held_out, digits = (dataset.validation, dataset.test), dataset.train.fingerprint_of_digits()
    return {
        "event_shape": json.dumps(list(dataset.event_shape)),
        "data": dataset.fingerprint(),
        "held_out": json.dumps([rows.fingerprint() if len(rows) else "" for rows in held_out]),
        **({"digits": digits} if digits else {}),
    }


def _code(config: Config) -> dict[str, str]:
    """A hash of each file of the user's own that a component of the run comes from."""
    files = {component.source_file(name) for name in own_names(config.model_dump())} - {None}
    return {"code": json.dumps({str(file): _hash(file) for file in files if file})} if files else {}


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
