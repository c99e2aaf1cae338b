"""What is allowed, in words: annotations and names as a user reads them; knows no configuration."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_LENGTHS = {"min_length": "of at least", "max_length": "of at most"}


def unknown(name: str, known: Sequence[str]) -> str:
    """What to say of a name that is not among the known ones."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{name!r} is unknown{hint}; choose from {', '.join(known)}"


def describe(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    """What an annotation allows, in words.

    Example:
        >>> from pydantic import Field
        >>> describe(Annotated[float, Field(gt=0)] | Literal["learned", "optimal"])
        'a number > 0, or learned, optimal'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, FieldInfo):
        if annotation.examples:
            return ", ".join(map(str, annotation.examples))
        return describe(annotation.annotation, annotation.metadata)
    if origin is Annotated:
        inner = [part for extra in arguments[1:] for part in getattr(extra, "metadata", [extra])]
        return describe(arguments[0], inner)
    if origin in (Union, types.UnionType):
        return ", or ".join(describe(part) for part in arguments if part is not type(None))
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is not None:
        length = _bounds(_LENGTHS, constraints)
        exact = re.fullmatch(r" of at least (\d+) and of at most \1", length)
        return f"a list{f' of {exact[1]}' if exact else length}, each {describe(arguments[0])}"
    return _WORDS.get(annotation, str(annotation)) + _bounds(_SIGNS, constraints)


def _bounds(words: Mapping[str, str], constraints: Sequence[Any]) -> str:
    found = [
        f" {word} {getattr(part, bound):g}"
        for part in constraints
        for bound, word in words.items()
        if hasattr(part, bound)
    ]
    return " and".join(found)
