"""The data sets of torchvision that come as idx files, read or downloaded; knows none of them by name."""

from __future__ import annotations

import contextlib
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from pyrovae.data._cut import Parts
from pyrovae.data._dataset import Split
from pyrovae.errors import DataError

# The images and the labels of each part.
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(name: str, data_dir: Path | None) -> Parts:
    """The training and test rows of the torchvision data set called ``name``, under torchvision's root.

    torchvision, which takes longer to import than all files to read, is asked only to download them.
    """
    root = Path(data_dir or platformdirs.user_cache_path("pyrovae")).expanduser()
    folder = root / name / "raw"
    files = [file for pair in _FILES.values() for file in pair]
    if not all((folder / file).is_file() for file in files):
        _download(_torchvision_class(name), root, folder, files)
    try:
        return Parts.of({part: _split(*(folder / file for file in pair)) for part, pair in _FILES.items()})
    except (OSError, ValueError, struct.error) as error:
        raise DataError(
            f"The files of {name} in {folder} are damaged; remove them and load again."
        ) from error


def _split(images: Path, labels: Path) -> Split:
    rows, classes = _idx(images, dimensions=3), _idx(labels, dimensions=1)
    if len(rows) != len(classes):
        raise ValueError(f"{len(rows)} images and {len(classes)} labels")
    return Split(torch.from_numpy(rows).unsqueeze(1), classes.astype(np.int64), divisor=255.0)


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An idx file of bytes, memory-mapped: its kind, its shape and then its values."""
    header = struct.Struct(f">{1 + dimensions}I")
    with path.open("rb") as file:
        kind, *shape = header.unpack(file.read(header.size))
    if kind != 0x800 + dimensions or path.stat().st_size != header.size + math.prod(shape):
        raise ValueError(f"{path.name} is no idx file of {dimensions} dimensions, or not all of it")
    # Copy on write, since torch takes no array that is read-only.
    return np.memmap(path, np.uint8, mode="c", offset=header.size, shape=tuple(shape))


def _torchvision_class(name: str) -> Any:
    try:
        from torchvision import datasets
    # Beside a torch it was not built for, torchvision raises anything but ImportError.
    except (ImportError, RuntimeError, OSError) as error:
        raise DataError(
            f"{name} is downloaded by torchvision, which could not be imported ({_reason(error)}): install "
            "the torchvision that belongs to your torch; everything else works without it."
        ) from error
    return getattr(datasets, name)


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
