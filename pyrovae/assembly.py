"""Configuration -> data, program, objective and engine; keeps nothing, and knows no folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor, nn

from pyrovae import component, data, device, pairing
from pyrovae.component import Component
from pyrovae.config import Config, Data, Train
from pyrovae.data import Dataset
from pyrovae.engine import Started, start
from pyrovae.errors import ConfigError, DataError, Problem, PyrovaeError, RunError
from pyrovae.isolation import isolated
from pyrovae.networks import Shapes
from pyrovae.objectives import Objective
from pyrovae.programs import Program
from pyrovae.randomness import seeded
from pyrovae.sources import PYTHON_ARRAY
from pyrovae.threads import Chosen, choose


@isolated()
def build(config: Config, event_shape: Size, objects: Mapping[str, Component] | None = None) -> Program:
    """The program of a configuration, with weights from its seed.

    Args:
        config: the run.
        event_shape: the shape of one datum.
        objects: components, by family, that are there already and are copied instead of built.

    Raises:
        ConfigError: components that do not fit each other, or the data's shape.
    """

    def make(family: str, **available: Any) -> Any:
        if objects and family in objects:
            return component.complete(_copied(family, objects[family], available))
        selection = getattr(config, family)
        member = component.find(family, selection.name)
        given = component.supplied(member, available)
        return component.complete(_made(member, given, selection.options))

    program: Program
    with seeded(config.seed, "weights"):
        parts = _parts(make, event_shape, config.latent_dim) if config.prior else {}
        program = make("program", event_shape=event_shape, latent_dim=config.latent_dim, **parts)
    return program


def _parts(make: Callable[..., Any], event_shape: Size, latent_dim: int) -> dict[str, Component]:
    """The components that a program may be made of."""
    prior = make("prior", latent_dim=latent_dim, datum_shape=event_shape)
    posterior = make("posterior", event_shape=prior.event_shape)
    if misfit := pairing.refusal(prior, posterior):
        raise ConfigError([misfit])
    likelihood = make("likelihood", event_shape=event_shape)
    shapes = Shapes(event_shape, prior.event_shape.numel(), posterior.features, likelihood.features)
    network = make("network", shapes=shapes)
    return {"prior": prior, "likelihood": likelihood, "posterior": posterior, "network": network}


def _made(member: type[Component], given: Mapping[str, Any], options: Mapping[str, Any]) -> Component:
    """A component; what the constructor of one of the user's own raises is said in a sentence."""
    try:
        return member(**given, **options)
    except PyrovaeError:
        raise
    except Exception as error:
        name = component.name_of(member)
        if ":" not in name:
            raise
        message = f"{name!r} cannot be made: {type(error).__name__}: {error}"
        raise ConfigError([Problem(f"{member.family}.name", message)]) from error


def load_data(options: Data) -> Dataset:
    """The data of a configuration, as they are stored."""
    if options.source == PYTHON_ARRAY:
        raise RunError(
            "this run was trained on an array from Python, which is kept nowhere: evaluate it on --data, or "
            "give the same rows in a file with --source FILE.npy; in Python, VAE.load(RUN).resume(X) goes on"
        )
    return data.load(
        options.source,
        data_dir=Path(options.dir) if options.dir else None,
        size=(options.size[0], options.size[1]) if options.size else None,
        color=options.color,
        classes=options.classes,
        **cutting(options),
    )


def load_own_data(options: Data, source: str | None = None) -> Dataset:
    """The data that a run was trained on, as they are stored.

    Args:
        options: of the run, with the place where the data are now.
        source: that place, if the user has named it; ``None`` where the run says it.

    Raises:
        DataError: the data are not there; the message says how to name another place.
    """
    try:
        return load_data(options)
    except DataError as error:
        place = options.dir if options.source in data.names() else options.source
        if source is not None or place is None or Path(place).expanduser().exists():
            raise
        message = f"{str(error).rstrip('.')}: the run's own data were there when it was trained"
        raise DataError(f"{message}; --source PATH says where they are now") from None


def moved(config: Config, source: str) -> Config:
    """The configuration of a run whose own data are somewhere else now.

    Args:
        config: of the run.
        source: where they are: a file or folder; for a data set with a name, its folder of downloads.
    """
    is_named = config.data.source in data.names() and Path(source).expanduser().is_dir()
    update = {"dir" if is_named else "source": source}
    return config.model_copy(update={"data": config.data.model_copy(update=update)})


def cutting(options: Data) -> dict[str, Any]:
    """How rows are chosen and cut into splits, whatever the source is."""
    return options.model_dump(include={"validation", "test", "limit", "exclude_labels", "divisor", "layout"})


@isolated()
def build_objective(config: Config, program: Program, data_size: int) -> Objective:
    """The objective of a configuration.

    Args:
        config: the run.
        program: that it built.
        data_size: the number of training data.

    Raises:
        ConfigError: it cannot train this program, or its options exclude each other.
    """
    selection = config.objective
    member = component.find("objective", selection.name)
    if problems := pairing.objective_refusals(member, selection.options, program.codes):
        raise ConfigError(problems)
    given = component.supplied(member, {"program": program, "data_size": data_size})
    return member(**given, **selection.options)  # type: ignore[return-value]


def begin(
    options: Train, objective: Objective, batches: Sequence[Tensor], steps: int, begun_with: Mapping[str, str]
) -> tuple[Started, Chosen]:
    """The engine of a training and its threads; where it goes on, those that it was begun with.

    Args:
        options: of the training.
        objective: the loss of a batch.
        batches: one of each size, the usual one first.
        steps: how many there will be.
        begun_with: what a checkpoint tells of the training before.
    """
    kept = begun_with.get("engine") if options.engine == "auto" else None
    wanted: Any = kept or options.engine
    started = start(wanted, objective, options.optimizer, options.clip, example=batches[0], steps=steps)
    rehearsals = {len(x): partial(started.engine.rehearse, x) for x in batches if x.is_cpu}
    threads = choose(
        rehearsals,
        asked=options.threads,
        begun_with=begun_with.get("threads"),
        is_fused=started.mode == "compiled",
    )
    return started, threads


def needing_two_rows(program: nn.Module, objective: Objective) -> Iterator[str]:
    """What makes no sense of a single row."""
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in program.modules()):
        yield "batch normalisation"
    if objective.smallest_batch > 1:
        yield f"the objective {component.name_of(type(objective))!r}"


def settled(config: Config, dataset: Dataset) -> Config:
    """The configuration with the layout that the data were found to have, which new data must have too."""
    update = {} if dataset.layout is None else {"layout": dataset.layout}
    return config.model_copy(update={"data": config.data.model_copy(update=update)})


def anchored(config: Config) -> Config:
    """The configuration with absolute paths, which hold wherever the run is read."""
    options, update = config.data, {}
    if options.source != PYTHON_ARRAY and options.source not in data.names():
        update["source"] = str(Path(options.source).expanduser().resolve())
    if options.dir is not None:
        update["dir"] = str(Path(options.dir).expanduser().resolve())
    return config.model_copy(update={"data": options.model_copy(update=update)})


def whole(options: Data, source: str) -> Data:
    """The options to read all rows of another source with."""
    update: dict[str, Any] = {
        "source": source,
        "validation": 0.0,
        "test": 0.0,
        "limit": None,
        "exclude_labels": [],
    }
    if not Path(source).is_dir():
        update |= {"size": None, "color": False, "classes": "auto"}
    if source in data.names() or Path(source).is_dir():
        update["layout"] = "auto"
    return options.model_copy(update=update)


def _copied(family: str, given_object: Component, available: Mapping[str, Any]) -> Component:
    """A copy of a component that came as an object, if it was made for what this program gives it."""
    if given_object.family != family:
        raise ConfigError(
            [Problem(family, f"the object is a {given_object.family}, and a {family} is needed")]
        )
    needed = component.supplied(type(given_object), available)
    if given_object.given != needed:
        made_for, wanted = _listed(given_object.given.values()), _listed(needed.values())
        message = f"the object was made for {made_for}, and is needed for {wanted}"
        raise ConfigError([Problem(family, message)])
    if isinstance(given_object, nn.Module) and (dtype := device.dtype_of(given_object)) != torch.float32:
        message = (
            f"the object was made of numbers of {dtype}, as after torch.set_default_dtype({dtype}), and "
            "programs have torch.float32: give its .float()"
        )
        raise ConfigError([Problem(family, message)])
    return deepcopy(given_object)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(tuple(value) if isinstance(value, Size) else value) for value in values)
