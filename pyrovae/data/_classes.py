"""The classes that folders of images stand for, below the folder that is read; reads no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from pyrovae.data._dataset import Labels
from pyrovae.errors import DataError

ClassesOption: TypeAlias = Literal["auto", "leaf", "top"]
"""Whether a class is the folder that an image lies in, or the highest one that does not hold all images."""

# How many classes are named.
_MOST = 5


def classes_of(
    place: str, parts: Mapping[str, Sequence[tuple[str, ...]]], option: ClassesOption
) -> tuple[dict[str, Labels | None], str]:
    """The labels of images by the folders that they lie in, and what to say of them.

    Where an image lies in no folder, there are no classes. Where folders lie in folders, the lowest and the
    highest may be classes, below those that hold all images; the one that puts all images into one class, or
    each into its own, is not meant.

    Args:
        place: what an error calls the folder that is read.
        parts: for each split, the folders of each image below the folder that is read, and its name.
        option: which folders are classes; ``auto`` takes those that are meant.

    Raises:
        DataError: both may be meant.
    """
    parts = _without_common(parts)
    every = [path for paths in parts.values() for path in paths]
    depths = {len(path) - 1 for path in every}
    if min(depths) == 0:
        beside = "" if depths == {0} else f", since some images lie in {place} itself"
        return dict.fromkeys(parts), f"they have no classes{beside}"
    tops, leaves = [path[0] for path in every], [path[-2] for path in every]
    if option == "auto":
        option = _meant(place, tops, leaves)
    level = 0 if option == "top" else -2
    labels = {part: np.array([path[level] for path in paths]) for part, paths in parts.items()}
    other = "top" if option == "leaf" else "leaf"
    which = "" if depths == {1} else f" (data.classes = {option}, and not {other})"
    return {**labels}, f"their classes are the folders {_listed(tops if option == 'top' else leaves)}{which}"


def _without_common(parts: Mapping[str, Sequence[tuple[str, ...]]]) -> dict[str, list[tuple[str, ...]]]:
    """The paths below the folder that holds all images, which what was unpacked often lies in."""
    shortened = {part: list(paths) for part, paths in parts.items()}
    while True:
        every = [path for paths in shortened.values() for path in paths]
        if min(map(len, every)) < 3 or len({path[0] for path in every}) > 1:
            return shortened
        shortened = {part: [path[1:] for path in paths] for part, paths in shortened.items()}


def _meant(place: str, tops: Sequence[str], leaves: Sequence[str]) -> Literal["leaf", "top"]:
    """Which folders are classes, where this is plain."""
    high, low, both, images = (
        len(set(tops)),
        len(set(leaves)),
        len(set(zip(tops, leaves, strict=True))),
        len(tops),
    )
    if both == high == low or low == 1 or (low == images and high < images):
        return "top"
    if high == 1:
        return "leaf"
    raise DataError(
        f"{place} has folders in folders, and either may be the classes of the images: set data.classes = "
        f"top for {_listed(tops)}, or data.classes = leaf for {_listed(leaves)}."
    )


def _listed(names: Sequence[str]) -> str:
    unique = sorted(set(names))
    shown = ", ".join(map(repr, unique[:_MOST]))
    return f"{shown}, ... ({len(unique):,} in all)" if len(unique) > _MOST else shown
