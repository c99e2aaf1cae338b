"""What a schema finds wrong, in words, each with its place; knows no schema."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pyrovae.errors import Problem
from pyrovae.wording import describe, unknown


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's errors, one for each place, in our words."""
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        place, field, section = _locate(detail["loc"], model)
        if detail["type"] == "extra_forbidden":
            message = _unknown_entry(place, section)
        elif detail["type"] == "model_type":
            message = f"{detail['input']!r} is no table of options"
        else:
            message = f"{detail['input']!r} is not allowed; it must be {describe(field)}"
        problems.setdefault(place, Problem(place, message))
    return list(problems.values())


def _unknown_entry(place: str, section: type[BaseModel]) -> str:
    """What to say of an entry that its table does not have."""
    table, _, name = place.rpartition(".")
    known = [name for name, field in section.model_fields.items() if not field.exclude]
    if "name" not in section.model_fields:
        return unknown(name, known) if known else f"{name!r} is unknown; there are no options here"
    owner = f"the {table} {section.model_fields['name'].default!r}"
    options = [option for option in known if option != "name"]
    if not options:
        return f"{name!r} is unknown; {owner} has no options"
    return f"{unknown(name, options)}, the options of {owner}"


def _locate(location: Sequence[int | str], model: type[BaseModel]) -> tuple[str, Any, type[BaseModel]]:
    """The place of an error as the user writes it, the field that stands there, and the table it is in."""
    place, field, table = "", None, model
    section: type[BaseModel] | None = model
    for part in location:
        if section is not None:
            place = f"{place}.{part}".lstrip(".")
            table, field = section, section.model_fields.get(str(part))
            inner = field.annotation if field else None
            section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        elif isinstance(part, int):
            place += f"[{part}]"
            field = _item(field)
    return place, field, table


def _item(annotation: Any) -> Any:
    """What each item of a list must be; the annotation itself where it is no list."""
    annotation = annotation.annotation if isinstance(annotation, FieldInfo) else annotation
    for part in (annotation, *get_args(annotation)):
        part = get_args(part)[0] if get_origin(part) is Annotated else part
        if get_origin(part) not in (None, Union, types.UnionType, Literal):
            return get_args(part)[0]
    return annotation
