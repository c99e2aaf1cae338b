"""Where runs are: which paths hold one, and which runs a mistyped path may mean; reads no run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from pyrovae.errors import RunError

RUNS = Path("runs")
"""Where the command line puts runs that are given no name."""

SUGGESTED = 3
"""How many runs are named at most."""


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / "config.toml").is_file()


def runs_in(folder: Path) -> list[Path]:
    """The runs in a folder, the newest first."""
    try:
        found = [path for path in folder.iterdir() if is_run(path)]
    except OSError:
        return []
    return sorted(found, key=_last_written, reverse=True)


def newest() -> list[Path]:
    """The runs under ``runs/``, or else in the current folder, the one that was trained last first."""
    return runs_in(RUNS) or runs_in(Path())


def check(path: Path) -> None:
    """Refuse a path that holds no run.

    Raises:
        RunError: naming runs that may be meant.
    """
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}{_meant(path)}")
    if not is_run(path):
        held = runs_in(path)
        inside = f"; runs in it: {_named(held)}" if held else ""
        raise RunError(f"{path} is no run: it has no config.toml{inside}")


def check_free(path: Path) -> None:
    """Refuse a path at which no new run can be made, because something is there.

    Raises:
        RunError: saying what is there.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file and no run: name a folder with --run")
    if not is_run(path):
        raise RunError(f"{path} exists and is no run: name another folder with --run")
    raise RunError(f"{path} exists: name another folder with --run, or go on with --resume {path}")


def _meant(path: Path) -> str:
    """The runs that a mistyped path may mean, beside it and under ``runs/``."""
    there = dict.fromkeys([*runs_in(path.parent), *runs_in(RUNS)])
    close = difflib.get_close_matches(path.name, list(dict.fromkeys(run.name for run in there)), n=SUGGESTED)
    if near := [run for name in close for run in there if run.name == name]:
        return f" (did you mean {_named(near, 'or')}?)"
    return f"; the newest run is {next(iter(there))}" if there else ""


def _named(runs: Iterable[Path], last: str = "and") -> str:
    *others, final = list(map(str, runs))[:SUGGESTED]
    return f"{', '.join(others)} {last} {final}" if others else final


def _last_written(run: Path) -> float:
    """When the last epoch was finished, or else when the run was made."""
    files = [run / name for name in ("metrics.jsonl", "config.toml")]
    return next(file.stat().st_mtime for file in files if file.exists())
