"""What a component is: its family, its name and its options; knows no torch and no member of any family."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple, Self, get_type_hints
from weakref import WeakValueDictionary

FAMILIES: Mapping[str, str] = {
    "prior": "pyrovae.priors",
    "likelihood": "pyrovae.likelihoods",
    "posterior": "pyrovae.posteriors",
    "network": "pyrovae.networks",
}


_IMPORTED: WeakValueDictionary[str, type[Component]] = WeakValueDictionary()
"""Components by module and class, the user's own among them, for as long as they are imported."""


class Option(NamedTuple):
    """A choice that the user has: a keyword-only argument of the component's constructor."""

    annotation: Any
    default: Any


class Component:
    """A module that the user chooses by name and sets by options.

    Positional arguments of the constructor are what the program supplies (``given``); keyword-only ones are
    the user's ``options``. Both are kept as they were passed, so that every component can be written down.
    """

    family: ClassVar[str]
    given: dict[str, Any]
    options: dict[str, Any]

    def __init_subclass__(cls, *, family: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family is not None:
            cls.family = family
        _IMPORTED[f"{cls.__module__}:{cls.__qualname__}"] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        try:
            bound = signature.bind_partial(self, *args, **kwargs)
        except TypeError:  # __init__ is about to say it better
            return self
        bound.apply_defaults()
        chosen = options(cls)
        arguments = list(bound.arguments.items())[1:]
        self.__dict__["given"] = {key: value for key, value in arguments if key not in chosen}
        self.__dict__["options"] = {key: value for key, value in arguments if key in chosen}
        return self


def options(component: type[Component]) -> Mapping[str, Option]:
    """The options of a component, by name, as its constructor declares them."""
    hints = get_type_hints(component.__init__, include_extras=True)
    return {
        name: Option(hints[name], parameter.default)
        for name, parameter in inspect.signature(component.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def supplied(component: type[Component], available: Mapping[str, Any]) -> dict[str, Any]:
    """The positional arguments of a component's constructor, by name, from what a program has to give.

    Raises:
        TypeError: it asks for something else.
    """
    asked = [
        name
        for name, parameter in inspect.signature(component.__init__).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
    ]
    if unknown := [name for name in asked if name not in available]:
        raise TypeError(
            f"{name_of(component)} asks for {', '.join(unknown)}; a {component.family} is given "
            f"{', '.join(available)}, and its options stand behind a *"
        )
    return {name: available[name] for name in asked}


def module_names(package: str) -> list[str]:
    """The names of what a package's files hold (``student-t`` for ``student_t.py``), without an import."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(folders or [])
        if not module.name.startswith("_")
    )


def names(family: str) -> list[str]:
    """The names of a family's members."""
    return module_names(FAMILIES[family])


def name_of(component: type[Component]) -> str:
    """The name of a component: its file's; ``module:Class`` for one from outside the family's folder."""
    package, _, module = component.__module__.rpartition(".")
    if package == FAMILIES[component.family]:
        return module.replace("_", "-")
    return f"{component.__module__}:{component.__qualname__}"


def find(family: str, name: str) -> type[Component]:
    """The component of that name; ``LookupError`` where the family has none.

    A class of the user's own is found as ``module:Class``, while its module is imported.
    """
    if name in _IMPORTED and _IMPORTED[name].family == family:
        return _IMPORTED[name]
    if name not in names(family):
        raise LookupError(f"no {family} is named {name!r}")
    module = import_module(f"{FAMILIES[family]}.{name.replace('-', '_')}")
    members = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Component)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(members) != 1 or members[0].family != family:
        raise TypeError(f"{module.__file__} must hold one {family}, and holds {len(members)} components")
    return members[0]


def support_of(family: str, name: str) -> Any:
    """The set on which the values of a component live, a constraint of torch; ``None`` where it has none."""
    return getattr(find(family, name), "support", None)


def find_class(family: str, class_name: str) -> type[Component]:
    """The member whose class has that name, so that a family's package offers its classes as attributes."""
    for name in names(family):
        if find(family, name).__name__ == class_name:
            return find(family, name)
    raise AttributeError(f"module {FAMILIES[family]!r} has no attribute {class_name!r}")
