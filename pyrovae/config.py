"""The typed run: one schema for TOML, ``--set`` and Python; builds nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.fields import FieldInfo

from pyrovae import component, sources
from pyrovae.choices import DeviceName, EngineName, OptimizerName, Precision, ScheduleName, Threads
from pyrovae.errors import ConfigError, DataError, Problem
from pyrovae.validation import problems_of
from pyrovae.wording import describe, unknown

DEFAULT_COMPONENTS = {
    "program": "single-layer",
    "prior": "normal",
    "likelihood": "bernoulli",
    "posterior": "normal",
    "network": "mlp",
    "objective": "elbo",
}

PARTS = ("prior", "likelihood", "posterior", "network")
"""Components that a program may be made of."""


class Section(BaseModel):
    """A table of the configuration: nothing unknown, nothing coerced, nothing changed later."""

    # Validators are built when they are used: of most components, only the fields are read.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


class Selection(Section):
    """A component by name, with its options as further fields."""

    name: str

    @property
    def options(self) -> dict[str, Any]:
        return {name: value for name, value in self if name != "name"}


class Data(Section):
    """What is learned from."""

    source: Annotated[
        str,
        Field(description=f"{', '.join(sources.names())}; a .npy or .npz file; a folder of images"),
    ] = "digits"
    dir: Annotated[
        str | None, Field(description="folder of downloaded data sets; the platform's cache where not given")
    ] = None
    binarize: Annotated[
        Literal["dynamic", "static", "threshold", "auto", "none"],
        Field(
            description="grey values in [0, 1] to 0 or 1: anew in every batch and once for evaluation; "
            "all once; by x > 1/2; as the likelihood needs"
        ),
    ] = "auto"
    divisor: Annotated[
        Annotated[float, Field(gt=0)] | None,
        Field(description="number that values are divided by; not set: 255 for pictures, 1 for arrays"),
    ] = None
    layout: Annotated[
        Literal["auto", "channels-first", "channels-last"],
        Field(
            description="of arrays with three axes a datum: (channels, rows, columns), (rows, columns, "
            "channels), or as the shape says; data come back so"
        ),
    ] = "auto"
    dequantize: Annotated[
        bool,
        Field(
            description="uniform noise u on whole numbers, (value + u) / (divisor + 1), anew in every batch "
            "and once for evaluation"
        ),
    ] = False
    squeeze: Annotated[
        Annotated[float, Field(ge=1e-6, lt=0.5)] | None,
        Field(description="e that takes values x in [0, 1] into (0, 1), to e + (1 - 2 e) x"),
    ] = None
    validation: Annotated[
        float, Field(ge=0, lt=1, description="share of the training rows that is held out for validation")
    ] = 0.1
    test: Annotated[
        float,
        Field(ge=0, lt=1, description="share of all rows that is held out, where a source has no test set"),
    ] = 0.1
    limit: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="use at most this many training rows, chosen at random"),
    ] = None
    exclude_labels: Annotated[list[int | str], Field(description="leave out all rows with these labels")] = []
    size: Annotated[
        Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] | None,
        Field(description="[rows, columns] in pixels that a folder's images are resized to"),
    ] = None
    color: Annotated[bool, Field(description="whether a folder's images are read in colour")] = False
    classes: Annotated[
        Literal["auto", "leaf", "top"],
        Field(
            description="where folders lie in folders: whether an image's label is the folder it lies in, or "
            "the highest that does not hold all images; auto asks where both may be meant"
        ),
    ] = "auto"


class Train(Section):
    """How it is learned."""

    epochs: Annotated[int, Field(ge=1, description="passes over the training data")] = 100
    batch_size: Annotated[int, Field(ge=1, description="data in a step")] = 64
    lr: Annotated[float, Field(gt=0, description="learning rate of the first epoch")] = 1e-3
    lr_schedule: Annotated[ScheduleName, Field(description="how the learning rate falls over the epochs")] = (
        "constant"
    )
    optimizer: Annotated[OptimizerName, Field(description="which optimiser of torch")] = "adam"
    clip: Annotated[
        Annotated[float, Field(gt=0)] | None,
        Field(description="largest norm of the gradient, nats per datum"),
    ] = None
    patience: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="stop after this many epochs without a lower validation loss"),
    ] = None
    engine: Annotated[
        EngineName,
        Field(
            description="how a step is run: as a graph, compiled if that pays (auto) or always (captured); "
            "operation by operation; by Pyro's SVI"
        ),
    ] = "auto"
    device: DeviceName = "auto"
    precision: Precision = "float32"
    threads: Threads = 0
    watch: Annotated[
        int,
        Field(ge=0, description="save a picture every so many epochs, and of the last; 0: of the last only"),
    ] = 10


class Config(Section):
    """A complete run."""

    seed: Annotated[int, Field(ge=0, description="seed of the weights and of all noise in training")] = 0
    latent_dim: Annotated[int, Field(ge=1, description="number of latent coordinates")] = 8
    program: Annotated[Selection, Field(description="model and guide: how latents and data hang together")]
    prior: Annotated[Selection, Field(description="p(z)")]
    likelihood: Annotated[Selection, Field(description="p(x|z)")]
    posterior: Annotated[Selection, Field(description="q(z|x)")]
    network: Annotated[Selection, Field(description="encoder and decoder")]
    objective: Annotated[Selection, Field(description="what is maximised")]
    data: Annotated[Data, Field(description="what is learned from")] = Data()
    train: Annotated[Train, Field(description="how it is learned")] = Train()

    def __reduce__(self) -> Any:
        """Pickled as its values: the class is made anew for the components that they name."""
        return resolve, (self.model_dump(),)


SHORTHAND = {**dict.fromkeys(DEFAULT_COMPONENTS, "name"), "data": "source"}
"""Sections that may be given as one string, and the field which that string is."""


def resolve(*layers: Mapping[str, Any]) -> Config:
    """The complete configuration from partial ones, later ones first in force.

    A layer that names another component also replaces the options that came with the earlier name.

    Args:
        layers: nested tables as TOML has them; a string stands for a section's name (``prior = "normal"``).

    Raises:
        ConfigError: with every mistake, each with its place and what is allowed there.

    Example:
        >>> resolve({"prior": "normal"}, {"train": {"epochs": 3}}).train.epochs
        3
    """
    outline(*layers)
    raw = _merged([DEFAULT_COMPONENTS, *layers])
    problems: list[Problem] = []
    model = _schema(raw, {key for layer in layers for key in layer}, problems)
    try:
        config = model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(problems + problems_of(error, model)) from None
    if problems:
        raise ConfigError(problems)
    return config


def outline(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The merged layers, after a look at all that needs no component: it takes a moment, and torch seconds.

    Raises:
        ConfigError: with every mistake, where those that are seen so are all that there can be.
    """
    raw = _merged([DEFAULT_COMPONENTS, *layers])
    problems: list[Problem] = []
    for family in DEFAULT_COMPONENTS:
        section = raw[family]
        name = section.get("name") if isinstance(section, dict) else section
        if (isinstance(name, str) and ":" in name) or len(section if isinstance(section, dict) else ()) > 1:
            return raw  # the code of the user's own, or options, may have mistakes as well
        if not isinstance(name, str) or name not in component.names(family):
            problems.append(Problem(f"{family}.name", _not_found(family, name, LookupError())))
        elif family == "program" and name != DEFAULT_COMPONENTS["program"]:
            return raw  # what it asks for is not known
    named: dict[str, Any] = dict.fromkeys(DEFAULT_COMPONENTS, (Any, ...))
    model = create_model("Config", __base__=Config, **named)
    try:
        model.model_validate(raw)
    except ValidationError as error:
        problems += problems_of(error, model)
    if problems:
        raise ConfigError(problems)
    return raw


def own_names(*layers: Mapping[str, Any]) -> list[str]:
    """The components of the user's own that the layers name: their code is run where they are resolved."""
    raw = _merged([DEFAULT_COMPONENTS, *layers])
    names = [raw[family].get("name") for family in DEFAULT_COMPONENTS if isinstance(raw[family], Mapping)]
    return [name for name in names if isinstance(name, str) and ":" in name]


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        DataError: there is no such file.
        ConfigError: it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with the mark that Windows puts first
    except OSError as error:
        raise DataError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"no valid TOML: {error}")]) from None


def parse_assignment(text: str) -> dict[str, Any]:
    """The layer that one ``--set`` gives: ``network.hidden=[512, 256]``; what is no TOML value is a string.

    Example:
        >>> parse_assignment("prior.name=normal")
        {'prior': {'name': 'normal'}}
    """
    return layer(*parse_value(text, example="train.lr=5e-4"))


def parse_value(text: str, *, example: str) -> tuple[str, Any]:
    """The place and the value of one ``--set``; what is no TOML value is a string."""
    place, equals, literal = text.partition("=")
    keys = [key.strip() for key in place.split(".")]
    if not equals or not all(keys):
        raise ConfigError([Problem("--set", f"{text!r} is no assignment; write for example --set {example}")])
    try:
        parsed = tomllib.loads(f"value = {literal}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    return ".".join(keys), parsed["value"] if len(parsed) == 1 else literal.strip()


def layer(place: str, value: Any) -> dict[str, Any]:
    """The layer that sets one value: ``train.lr`` is the entry ``lr`` of the table ``train``."""
    for key in reversed(place.split(".")):
        value = {key: value}
    return value


def dump(config: Config) -> str:
    """The configuration as TOML, every line with its meaning, its unit and what is allowed.

    TOML has no null: what is not set stands there as a comment.
    """
    lines = []
    sections: list[tuple[str, Section, FieldInfo]] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if field.exclude:
            continue
        if isinstance(value, Section):
            sections.append((name, value, field))
        else:
            lines.append(_dump_line(name, value, field))
    for name, section, field in sections:
        lines += ["", f"[{name}]  # {field.description}"]
        lines += [_dump_line(key, value, type(section).model_fields[key]) for key, value in section]
    return "\n".join(lines) + "\n"


def schema(member: type[component.Component]) -> type[Selection]:
    """The table that selects a component: its name and its options, as its constructor declares them.

    Raises:
        ConfigError: an option of the user's own that cannot be written down.
    """
    name = component.name_of(member)
    choices: Any = Literal[tuple(dict.fromkeys([*component.names(member.family), name]))]
    named = Annotated[choices, Field(description=f"which {member.family}")]
    fields: dict[str, Any] = {key: tuple(option) for key, option in component.options(member).items()}
    own = fields.items() if ":" in name else ()  # those of others are tested
    problems = [_unusable(name, *field) for field in own]
    if found := [Problem(f"{member.family}.name", problem) for problem in problems if problem is not None]:
        raise ConfigError(found)
    return create_model(member.__name__, __base__=Selection, name=(named, name), **fields)


def _unusable(component_name: str, option: str, declared: tuple[Any, Any]) -> str | None:
    """What is wrong with an option that no table can hold; ``None`` where nothing is."""
    annotation, default = declared
    try:
        if option in Selection.model_fields:
            raise ValueError("every component has its name")
        checked = create_model("Option", __base__=Section, value=(annotation, ...)).model_validate(
            {"value": default}
        )
        literal(checked.value if default is not None else "")  # type: ignore[attr-defined]
    except (TypeError, ValueError, PydanticUserError) as error:
        reason = str(error).splitlines()[-1 if isinstance(error, ValidationError) else 0].strip()
        return (
            f"{component_name} has an option {option} with the default {default!r}, which no table can hold; "
            f"options are numbers, text, true or false, and lists of them ({reason})"
        )
    return None


def selected(
    family: str,
    chosen: Mapping[str, Mapping[str, Any]],
    problems: Sequence[Problem] = (),
    *,
    place: str | None = None,
) -> dict[str, dict[str, Any]]:
    """All options of members of a family that are no part of a run's configuration.

    Args:
        family: of all of them.
        chosen: by name, the options that are set.
        problems: that were found before.
        place: where the names were given, if not as the family's.

    Raises:
        ConfigError: with every mistake, those found before among them.
    """
    found: dict[str, dict[str, Any]] = {}
    missing = [name for name in chosen if ":" not in name and name not in component.names(family)]
    nowhere = [Problem(place or family, _not_found(family, name, LookupError())) for name in missing]
    problems = [*problems, *nowhere]
    if problems and not any(options or ":" in name for name, options in chosen.items()):
        raise ConfigError(problems)  # no more can be wrong, and an import takes seconds
    for name, options in chosen.items():
        if name in missing:
            continue
        try:
            member = component.find(family, name)
            fields = dict(schema(member).model_fields)
        except LookupError as error:
            problems.append(Problem(place or family, _not_found(family, name, error)))
            continue
        except ConfigError as error:
            problems += error.problems
            continue
        del fields["name"]
        declared: Any = {key: (field.annotation, field) for key, field in fields.items()}
        model = create_model(member.__name__, __base__=Section, **declared)
        try:
            found[name] = dict(model.model_validate(options))
        except ValidationError as error:
            problems += [Problem(f"{name}.{place}", message) for place, message in problems_of(error, model)]
    if problems:
        raise ConfigError(problems)
    return found


LONGEST_LINE = 120


def _schema(raw: dict[str, Any], given: Collection[str], problems: list[Problem]) -> type[Config]:
    """The schema of this very run: its component sections have the options of the components it names."""
    program, table = _chosen("program", raw, problems)
    schemas: dict[str, Any] = {"program": (Annotated[table, Config.model_fields["program"]], ...)}
    for entry in _not_asked_for(program):
        if entry in given:
            problems.append(_no_use(entry, program))
        raw.pop(entry, None)
        schemas[entry] = (Annotated[None, Field(exclude=True)], None)
    for family in [family for family in DEFAULT_COMPONENTS if family not in schemas]:
        _, table = _chosen(family, raw, problems)
        schemas[family] = (Annotated[table, Config.model_fields[family]], ...)
    return create_model("Config", __base__=Config, **schemas)


def _chosen(family: str, raw: dict[str, Any], problems: list[Problem]) -> tuple[Any, Any]:
    """The component that a section names, and the schema of the section, where its full name is put."""
    section = raw[family]
    name = section.get("name") if isinstance(section, dict) else section
    try:
        member = component.find(family, name if isinstance(name, str) else "")
        table = schema(member)
    except LookupError as error:
        problems.append(Problem(f"{family}.name", _not_found(family, name, error)))
    except ConfigError as error:
        problems += error.problems
    else:
        raw[family] = {**_longhand(family, section), "name": component.name_of(member)}
        return member, table
    return None, Any


def _not_asked_for(program: type[component.Component] | None) -> list[str]:
    """The entries that are of no use to a program. Its parts are made for each other: it has all, or none."""
    asked = component.asked(program) if program is not None else PARTS
    if set(asked) & set(PARTS):
        return []
    return [*PARTS, *({"latent_dim"} - set(asked))]


def _no_use(entry: str, program: type[component.Component]) -> Problem:
    asked = ", ".join(component.asked(program)) or "nothing"
    reason = f"is of no use to the program {component.name_of(program)!r}, whose constructor asks for {asked}"
    return Problem(entry, reason)


def _not_found(family: str, name: Any, error: LookupError) -> str:
    if isinstance(name, str) and ":" in name:
        return str(error)
    if isinstance(name, str) and name.endswith(".py"):
        return f"{name!r} is a file: name its class too, as {name}:MyClass"
    return unknown(str(name), component.names(family))


def _merged(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All layers in one; what a layer says of a component that a later one replaces is left out."""
    raw: dict[str, Any] = {}
    for key in dict.fromkeys(key for layer in layers for key in layer):
        values = [_longhand(key, layer[key]) for layer in layers if key in layer]
        tables = [value for value in values if isinstance(value, Mapping)]
        if key in DEFAULT_COMPONENTS:
            name = [table["name"] for table in tables if "name" in table][-1]
            tables = [table for table in tables if table.get("name", name) == name]
        merged = {option: value for table in tables for option, value in table.items()}
        raw[key] = merged if isinstance(values[-1], Mapping) else values[-1]
    return raw


def _longhand(key: str, value: Any) -> Any:
    return {SHORTHAND[key]: value} if isinstance(value, str) and key in SHORTHAND else value


def _dump_line(key: str, value: Any, field: FieldInfo) -> str:
    setting = f"# {key} =" if value is None else f"{key} = {literal(value)}"
    allowed = describe(field)
    comment = " ".join(filter(None, ["#", field.description, "" if allowed == "text" else f"({allowed})"]))
    line = f"{setting:<28}  {comment}"
    return line if len(line) <= LONGEST_LINE else f"{comment}\n{setting}"


def literal(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()
