"""Where the channels of pictures stand in an array, before or after rows and columns; knows no network."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from pyrovae.errors import DataError

Layout: TypeAlias = Literal["channels-first", "channels-last"]
LayoutOption: TypeAlias = Literal["auto", "channels-first", "channels-last"]

# Pictures have that many channels: grey, grey and alpha, colours, colours and alpha.
_MOST_CHANNELS = 4


def settle(place: str, shape: tuple[int, ...], option: LayoutOption) -> Layout | None:
    """The layout of data of a shape; ``None`` where they do not have three axes, and so no channels.

    A picture has one to four channels, and more than one row and one column. Where only one reading of the
    shape is a picture, this is taken; where both are, the data are refused until the option says which.

    Args:
        place: what an error calls the data.
        shape: of a datum, as it is stored.
        option: ``auto``, or the layout.

    Raises:
        DataError: both readings are pictures, or there are no channels to come last.

    Example:
        >>> settle("X", (32, 32, 3), "auto")
        'channels-last'
    """
    if len(shape) != 3:
        if option == "channels-last":
            raise DataError(
                f"{place}: data.layout = channels-last is for data of three axes (rows, columns, channels), "
                f"and these have shape {shape}."
            )
        return None
    if option != "auto":
        return option
    one, middle, other = shape
    first = one <= _MOST_CHANNELS and min(middle, other) > 1
    last = other <= _MOST_CHANNELS and min(one, middle) > 1
    if first and last:
        raise DataError(
            f"{place}: data of shape {shape} may be {_read_as(shape, 'channels-first')}, or "
            f"{_read_as(shape, 'channels-last')}; set data.layout = channels-first or channels-last."
        )
    # Of more channels than a picture has, rows and columns that are as many as each other tell.
    return "channels-last" if last or (not first and one == middle != other) else "channels-first"


def note(shape: tuple[int, ...], layout: Layout | None, option: LayoutOption) -> str | None:
    """What a reader must know of a layout that was found out; ``None`` where it is plain or was chosen.

    Args:
        shape: of a datum, as it is stored.
        layout: that :func:`settle` found.
        option: that it was given.
    """
    if layout is None or option != "auto" or (layout == "channels-first" and shape[0] <= _MOST_CHANNELS):
        return None
    other: Layout = "channels-first" if layout == "channels-last" else "channels-last"
    return (
        f"data of shape {shape} are read as {_read_as(shape, layout)} (data.layout = {layout}); "
        f"data.layout = {other} reads {_read_as(shape, other)}"
    )


def channels_first(x: Any, layout: Layout | None) -> Any:
    """Arrays or tensors (..., a, b, c) of that layout, with the channels first."""
    return _moved(x, -1, -3) if layout == "channels-last" else x


def as_given(x: Any, layout: Layout | None) -> Any:
    """Arrays or tensors (..., channels, rows, columns) in that layout."""
    return _moved(x, -3, -1) if layout == "channels-last" else x


def shape_as_given(shape: tuple[int, ...], layout: Layout | None) -> tuple[int, ...]:
    """The shape (channels, rows, columns) of a datum in that layout; other shapes as they are."""
    return (*shape[1:], shape[0]) if layout == "channels-last" and len(shape) == 3 else shape


def _moved(x: Any, place: int, to: int) -> Any:
    return x.movedim(place, to) if isinstance(x, Tensor) else np.moveaxis(x, place, to)


def _read_as(shape: tuple[int, ...], layout: Layout) -> str:
    """A shape in words."""
    channels, rows, columns = shape if layout == "channels-first" else (shape[2], *shape[:2])
    parts = ((channels, "channel"), (rows, "row"), (columns, "column"))
    many, high, wide = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in parts)
    return f"{many} of {high} and {wide}"
