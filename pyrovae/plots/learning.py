"""The film of learning: the pictures of a training, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

RESTING_SECONDS = 2.0
"""How long the last picture stays, before the film begins again."""


def save_film(pictures: Sequence[Path], path: Path, *, fps: float) -> None:
    """Write pictures as a GIF, all in one size; coloured ones with 256 colours of the last one.

    Args:
        pictures: files, in the order in which they are shown.
        path: of the film.
        fps: pictures a second.

    Raises:
        OSError: a file that is no picture, or cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from pyrovae.plots import grid, save
        >>> with TemporaryDirectory() as folder:
        ...     files = [Path(folder, f"epoch-{epoch}.png") for epoch in (1, 2)]
        ...     for file in files:
        ...         save(grid(X[:4], title=file.stem), file)
        ...     save_film(files, Path(folder, "learning.gif"), fps=4)
    """
    from PIL import Image

    pages = [Image.open(file).convert("RGB") for file in pictures]
    size = max(page.width for page in pages), max(page.height for page in pages)
    frames = _reduced([_framed(page, size) for page in pages])
    seconds = [1 / fps] * (len(frames) - 1) + [RESTING_SECONDS]
    durations = [round(1000 * each) for each in seconds]
    first, *rest = frames
    first.save(path, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _reduced(frames: Sequence[Image]) -> list[Image]:
    """The frames in greys, where they have no other colours; else all in the same 256 colours."""
    from PIL import Image

    greys = [frame.convert("L") for frame in frames]
    if all(
        grey.convert("RGB").tobytes() == frame.tobytes() for grey, frame in zip(greys, frames, strict=True)
    ):
        return greys
    palette = frames[-1].quantize(256)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _framed(picture: Image, size: tuple[int, int]) -> Image:
    """The picture on a white ground of that size, where its top left corner stays."""
    from PIL import Image

    ground = Image.new("RGB", size, "white")
    ground.paste(picture)
    return ground
