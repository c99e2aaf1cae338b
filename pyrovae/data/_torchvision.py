"""The data sets of torchvision that come as idx files, read or downloaded; knows none of them by name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from pyrovae.data._cut import Parts
from pyrovae.data._dataset import Split
from pyrovae.errors import DataError


def read_idx(name: str, data_dir: Path | None) -> Parts:
    """The training and test rows of the torchvision data set called ``name``, under torchvision's root."""
    kind = _torchvision_class(name)
    root = Path(data_dir or platformdirs.user_cache_path("pyrovae")).expanduser()
    folder = root / name / "raw"
    files = [Path(file).stem for file, _ in kind.resources]
    if not all((folder / file).is_file() for file in files):
        _download(kind, root, folder, files)
    try:
        return Parts(train=_split(kind(root, train=True)), test=_split(kind(root, train=False)))
    # torchvision checks what it reads with assertions too.
    except (OSError, RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise DataError(
            f"The files of {name} in {folder} are damaged; remove them and load again."
        ) from error


def _torchvision_class(name: str) -> Any:
    try:
        from torchvision import datasets
    # Beside a torch it was not built for, torchvision raises anything but ImportError.
    except (ImportError, RuntimeError, OSError) as error:
        raise DataError(
            f"{name} is read by torchvision, which could not be imported ({_reason(error)}): install the "
            "torchvision that belongs to your torch; everything else works without it."
        ) from error
    return getattr(datasets, name)


def _split(stored: Any) -> Split:
    return Split(stored.data.unsqueeze(1), stored.targets.numpy(), divisor=255.0)


def _download(kind: Any, root: Path, folder: Path, files: list[str]) -> None:
    try:
        # Standard output is for results.
        with _no_empty_folders(folder), contextlib.redirect_stdout(sys.stderr):
            kind(root, download=True)
    # URLError is an OSError; the rest is what a proxy's or a broken archive's answer turns into.
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise DataError(
            f"{kind.__name__} could not be downloaded ({_reason(error)}): put {', '.join(files)} "
            f"(unpacked) in {folder}, or name the folder that holds {kind.__name__}/raw with --data-dir."
        ) from error


@contextlib.contextmanager
def _no_empty_folders(folder: Path) -> Iterator[None]:
    """On an error, the folders on the way to ``folder`` that came to be inside, and are empty, go again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for place in missing:
                place.rmdir()
        raise


def _reason(error: BaseException) -> str:
    # Of all that torchvision tried, the last line says what happened; the others name addresses.
    return (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")
