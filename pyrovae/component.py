"""What a component is: its family, its name and its options; knows no torch and no member of any family."""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self, get_type_hints
from weakref import WeakValueDictionary

from pyrovae.errors import ConfigError, Problem

FAMILIES: Mapping[str, str] = {
    "program": "pyrovae.programs",
    "prior": "pyrovae.priors",
    "likelihood": "pyrovae.likelihoods",
    "posterior": "pyrovae.posteriors",
    "network": "pyrovae.networks",
    "objective": "pyrovae.objectives",
    "diagnostic": "pyrovae.diagnostics",
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
    """The options of a component, by name, as its constructor declares them.

    Raises:
        ConfigError: one of the user's own lacks its type or its default.
    """
    declared = {
        name: parameter.default
        for name, parameter in inspect.signature(component.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    try:
        hints = get_type_hints(component.__init__, include_extras=True)
    except Exception as error:  # the user's own annotations, which may raise anything
        message = f"the types in the constructor of {name_of(component)} cannot be read: {error}"
        raise ConfigError([Problem(f"{component.family}.name", message)]) from error
    if bare := [name for name in declared if name not in hints or declared[name] is inspect.Parameter.empty]:
        message = f"{name_of(component)} has options without a type or a default: {', '.join(bare)}"
        raise ConfigError(
            [Problem(f"{component.family}.name", f"{message}; write for example units: int = 8")]
        )
    return {name: Option(hints[name], default) for name, default in declared.items()}


def asked(component: type[Component]) -> list[str]:
    """The names of the positional arguments of a component's constructor."""
    parameters = inspect.signature(component.__init__).parameters.items()
    return [name for name, each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD and name != "self"]


def supplied(component: type[Component], available: Mapping[str, Any]) -> dict[str, Any]:
    """The positional arguments of a component's constructor, by name, from what a program has to give.

    Raises:
        ConfigError: it asks for something else.
    """
    names = asked(component)
    if unknown := [name for name in names if name not in available]:
        message = (
            f"{name_of(component)} asks for {', '.join(unknown)}; a {component.family} is given "
            f"{', '.join(available)}, and its options stand behind a *"
        )
        raise ConfigError([Problem(f"{component.family}.name", message)])
    return {name: available[name] for name in names}


def complete(component: Component) -> Component:
    """The component, which has all that its family declares.

    Raises:
        ConfigError: naming what one of the user's own lacks.
    """
    declared = _declared(type(component))
    if missing := [name for name in declared if not hasattr(component, name)]:
        message = f"{name_of(type(component))!r} {_lacks(missing)}; every {component.family} has "
        raise ConfigError([Problem(f"{component.family}.name", message + ", ".join(declared))])
    return component


def _declared(component: type[Component]) -> dict[str, str]:
    """The attributes that a family declares and leaves to its members, with their types as written."""
    family = next(base for base in component.__mro__ if "family" in vars(base))
    return {name: kind for name, kind in inspect.get_annotations(family).items() if not hasattr(family, name)}


def _lacks(missing: Iterable[str]) -> str:
    return f"has no {' and no '.join(sorted(missing))}"


def module_names(package: str) -> list[str]:
    """The names of what a package's files hold (``student-t`` for ``student_t.py``), without an import."""
    return list(_module_names(package))


@cache
def _module_names(package: str) -> tuple[str, ...]:
    """As above; read from the disk once: a name is looked up hundreds of times."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    found = (module.name for module in pkgutil.iter_modules(folders or []))
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


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
    """The component of that name; ``LookupError``, saying what is wrong, where there is none.

    A class of the user's own is ``path/to/file.py:Class`` or ``package.module:Class``. Its code is run to get
    it, unless it has been run already; that of a file is run again when it has changed.
    """
    if ":" in name:
        return _own(family, name)
    if name not in names(family):
        raise LookupError(f"no {family} is named {name!r}")
    module = import_module(f"{FAMILIES[family]}.{name.replace('-', '_')}")
    members = [
        value
        for key, value in vars(module).items()
        if _is_component(value, module.__name__) and not key.startswith("_")
    ]
    if len(members) != 1 or members[0].family != family:
        raise TypeError(f"{module.__file__} must hold one {family}, and holds {len(members)} components")
    return members[0]


def is_imported(name: str) -> bool:
    """Whether the code of a component of the user's own, as it stands now, has been run to its end."""
    member, file = _IMPORTED.get(_absolute(name)), source_file(name)
    module = sys.modules.get(member.__module__) if member else None
    if module is None or file is None or not file.is_file():
        return module is not None
    return bool(vars(module)["__source__"] == file.read_bytes())


def source_file(name: str) -> Path | None:
    """The file in which a component of the user's own stands; ``None`` for one of an installed package."""
    place = name.rpartition(":")[0]
    return Path(place).expanduser().resolve() if place.endswith(".py") else None


def is_own(file: Path) -> bool:
    """Whether components of the user's own were imported from a file."""
    modules = {member.__module__ for member in _IMPORTED.values()}
    own = [sys.modules.get(name) for name in modules if name.partition(".")[0] != "pyrovae"]
    return str(file) in {vars(module).get("__file__") for module in own if module is not None}


def _own(family: str, name: str) -> type[Component]:
    """A component of the user's own."""
    place, _, class_name = name.rpartition(":")
    if not is_imported(name):
        module = _imported_module(place, source_file(name))
        classes = [
            key
            for key, value in vars(module).items()
            if _is_component(value, module.__name__) and value.__name__ == key
        ]
        if class_name not in classes:
            is_other = not hasattr(vars(module).get(class_name, Component), "family")
            base = f" (a {family} derives from {FAMILIES[family]}.{family.title()})"
            held = ", ".join(classes) or "none"
            raise LookupError(
                f"{place} holds no component {class_name!r}; those it holds: {held}"
                f"{base if is_other or not classes else ''}"
            )
    member = _IMPORTED[_absolute(name)]
    if member.family != family:
        raise LookupError(f"{name!r} is a {member.family}, and no {family}")
    if missing := {*getattr(member, "__abstractmethods__", ()), *_undefined(member)}:
        raise LookupError(f"{name!r} {_lacks(missing)}")
    return member


def _undefined(member: type[Component]) -> list[str]:
    """The attributes of the class itself, and not of its objects, that it leaves open."""
    declared = _declared(member).items()
    return [name for name, kind in declared if kind.startswith("ClassVar") and not hasattr(member, name)]


def _absolute(name: str) -> str:
    """The name under which a class of the user's own is known when it is imported."""
    file = source_file(name)
    return f"{file}:{name.rpartition(':')[2]}" if file else name


def _imported_module(place: str, file: Path | None) -> ModuleType:
    """The module of a component of the user's own; that of a file has the file's path as its name."""
    if file is not None and not file.is_file():
        raise LookupError(f"there is no file {place}")
    try:
        if file is None:
            return import_module(place)
        module = sys.modules[str(file)] = ModuleType(str(file))
        source = file.read_bytes()
        vars(module).update(__file__=str(file), __source__=source)
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))
        return module
    except (Exception, SystemExit) as error:  # the user's own code, which may raise anything
        sys.modules.pop(str(file), None)
        raise LookupError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error


def _is_component(value: Any, module: str) -> bool:
    """Whether a value is a member of some family that stands in this very module."""
    is_member = inspect.isclass(value) and issubclass(value, Component) and hasattr(value, "family")
    return is_member and value.__module__ == module


def support_of(family: str, name: str) -> Any:
    """The set on which the values of a component live, a constraint of torch; ``None`` where it has none.

    One that only its objects know counts as none.
    """
    support = getattr(find(family, name), "support", None)
    return None if isinstance(support, property) else support


def find_class(family: str, class_name: str) -> type[Component]:
    """The member whose class has that name, so that a family's package offers its classes as attributes."""
    for name in names(family):
        if find(family, name).__name__ == class_name:
            return find(family, name)
    raise AttributeError(f"module {FAMILIES[family]!r} has no attribute {class_name!r}")
