"""Folders of image files as rows of data; knows nothing of how splits are cut."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.data._classes import ClassesOption, classes_of
from pyrovae.data._cut import Parts
from pyrovae.data._dataset import Split
from pyrovae.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
# Pillow's names for images without colours, and for images with transparency.
_GREY, _ALPHA = ("1", "L", "LA", "La"), ("LA", "La", "PA", "RGBA", "RGBa")
# By these a run of pyrovae is known, in whose folder figures lie too.
_RUN_FILES = ("config.toml", "metrics.jsonl")
_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


Read: TypeAlias = Callable[[Path], tuple[NDArray[np.uint8], list[str]]]


def read_folder(
    folder: Path, size: tuple[int, int] | None = None, color: bool = False, classes: ClassesOption = "auto"
) -> Parts:
    """Every image under a folder, in the order of their paths, as (1, h, w) or (3, h, w) bytes.

    The label of an image is a folder that it lies in below ``folder``; there are no labels as soon as one
    image lies in ``folder`` itself. Subfolders ``train`` and ``test``, ``validation`` (``val``, ``valid``) or
    both, where there are no other subfolders with images, are splits, each with its own classes; so they are
    in the only subfolder of ``folder``. Hidden files and runs of pyrovae are left out.

    Args:
        size: Height and width that images are resized to; without it they must all have one size.
        color: Whether to keep colours as three channels.
        classes: Which folders are classes where folders lie in folders; see :func:`classes_of`.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise DataError(f"data.size is a height and a width of at least 1 pixel, and not {size}.")
    folders = _split_folders(folder)
    paths = {key: _image_paths(place) for key, place in folders.items()}
    below = {key: [path.relative_to(folders[key]).parts for path in found] for key, found in paths.items()}
    labels, said = classes_of(folder.name, below, classes)
    height, width = size or _size(paths["train"][0])
    shape = (3 if color else 1, height, width)
    read = partial(_pixels, shape=shape, resize=size is not None, example=paths["train"][0])
    stacks = {key: _stack(found, read, shape) for key, found in paths.items()}
    lost = sum((lost for _, lost in stacks.values()), Counter())
    return Parts.of(
        {key: Split(rows, labels[key], divisor=255.0) for key, (rows, _) in stacks.items()},
        [_note(sum(map(len, paths.values())), lost, shape, size is not None, said)],
    )


def _note(images: int, lost: Counter[str], shape: tuple[int, int, int], resized: bool, classes: str) -> str:
    """How images were read, and which options read them in another way."""
    channels, height, width = shape
    if channels == 3:
        colors = "in colour"
    elif lost["colour"]:
        which = "" if lost["colour"] == images else f"though {lost['colour']:,} are coloured; "
        colors = f"grey ({which}data.color = true keeps colours)"
    else:
        colors = "grey"
    sizes = "resized to" if resized else "of"
    option = "" if resized else " (data.size = [rows, columns] resizes them)"
    alpha = f"; the transparency of {lost['transparency']:,} is left out" if lost["transparency"] else ""
    return (
        f"{images:,} images are read {colors}, {sizes} {height} rows and {width} columns{option}; {classes}"
        f"{alpha}"
    )


def _split_folders(folder: Path) -> dict[str, Path]:
    subfolders = [place for place in folder.iterdir() if place.is_dir() and not _is_left_out(place)]
    places = {place.name: place for place in subfolders if place.name in _SPLITS or any(_images_in(place))}
    splits = {_SPLITS[name]: place for name, place in places.items() if name in _SPLITS}
    if "train" in splits and len(splits) == len(places) > 1:
        return splits
    # What was unpacked often lies in a folder of its own.
    if len(places) == 1 and not any(place.suffix.lower() in _SUFFIXES for place in folder.iterdir()):
        inner = _split_folders(*places.values())
        return inner if len(inner) > 1 else {"train": folder}
    return {"train": folder}


def _image_paths(folder: Path) -> list[Path]:
    paths = sorted(_images_in(folder), key=lambda path: path.relative_to(folder).parts)
    if not paths:
        raise DataError(
            f"{folder} holds no images: wanted are files ending in {', '.join(sorted(_SUFFIXES))}."
        )
    return paths


def _images_in(folder: Path) -> Iterator[Path]:
    """The images anywhere under a folder, but for hidden ones and the figures of runs."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_left_out(Path(place, name))]
        # Files that systems leave behind, such as ._face.png, are named like images and are none.
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        yield from (path for path in paths if path.suffix.lower() in _SUFFIXES and path.is_file())


def _is_left_out(folder: Path) -> bool:
    return folder.name.startswith(".") or all((folder / name).is_file() for name in _RUN_FILES)


def _stack(paths: list[Path], read: Read, shape: tuple[int, ...]) -> tuple[torch.Tensor, Counter[str]]:
    """The pixels of all images, and how many of them lost what when they were read."""
    rows = np.empty((len(paths), *shape), np.uint8)
    lost: Counter[str] = Counter()
    # Threads, because Pillow lets go of the interpreter while it decodes.
    with ThreadPoolExecutor() as pool:
        for row, (pixels, lacks) in zip(rows, pool.map(read, paths), strict=True):
            row[:] = pixels
            lost.update(lacks)
    return torch.from_numpy(rows), lost


def _size(path: Path) -> tuple[int, int]:
    image = _open(path)
    return image.height, image.width


def _pixels(
    path: Path, shape: tuple[int, int, int], resize: bool, example: Path
) -> tuple[NDArray[np.uint8], list[str]]:
    """The pixels of an image, and what of it is not in them."""
    channels, height, width = shape
    original = _open(path)
    image = original.convert("L" if channels == 1 else "RGB")
    lacks = ["colour"] if channels == 1 and original.mode not in _GREY else []
    lacks += ["transparency"] if original.mode in _ALPHA or "transparency" in original.info else []
    if resize:
        image = image.resize((width, height), resample=_lanczos())
    if (image.height, image.width) != (height, width):
        raise DataError(
            f"Images need one size: {path} has height {image.height} and width {image.width}, {example} has "
            f"{height} and {width}; data.size = [height, width] resizes them all."
        )
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1), lacks


def _open(path: Path) -> Image.Image:
    """The first frame, decoded and the right way up."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    # Pillow's decoders raise whatever they like on a broken file: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image ({error}); repair or remove it.") from error
    if image.mode.startswith(("I", "F")):
        # Pillow would cut their values off at 255.
        raise DataError(f"{path} has more than 8 bits a channel; store such images as one .npy array.")
    return image


def _lanczos() -> Any:
    from PIL import Image

    return Image.Resampling.LANCZOS
