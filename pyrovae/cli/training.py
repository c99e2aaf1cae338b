"""``train``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae import places, sources, tables
from pyrovae.cli._app import app
from pyrovae.cli._options import (
    Assignments,
    ConfigFile,
    Json,
    OwnSource,
    Quiet,
    Trust,
    component,
    layers,
    starting_with,
)
from pyrovae.cli._output import console, print_json
from pyrovae.component import module_names
from pyrovae.console import say
from pyrovae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from pyrovae.run import Run

SOURCES = module_names("pyrovae.data")


@app.command(epilog="Example: pyrovae train --data mnist --likelihood bernoulli --prior normal --epochs 20")
def train(
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help=f"{', '.join(SOURCES)}; a .npy or .npz file; a folder of images.",
            autocompletion=starting_with(SOURCES),
        ),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of downloaded data sets.")
    ] = None,
    program: Annotated[str | None, component("program", "Model and guide, FILE.py:CLASS or")] = None,
    prior: Annotated[str | None, component("prior", "p(z)")] = None,
    likelihood: Annotated[str | None, component("likelihood", "p(x|z)")] = None,
    posterior: Annotated[str | None, component("posterior", "q(z|x)")] = None,
    network: Annotated[str | None, component("network", "Encoder and decoder")] = None,
    objective: Annotated[str | None, component("objective", "What is maximised")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Number of latent coordinates.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data, in all.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Data in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights and of all noise.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ... or mps.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of products of matrices: float32, tf32 or bf16.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of the processor; 0 for as many as help: it is measured.")
    ] = None,
    watch: Annotated[
        int | None, typer.Option(help="Save a picture every so many epochs; 0: of the last one only.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New folder for the run.", show_default="by date, under runs/"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run; --epochs extends it, and a falling learning rate jumps up: its schedule "
            "is over all epochs.",
        ),
    ] = None,
    source: OwnSource = None,
    trust: Trust = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a VAE; without options, on an embedded set of digits, in less than a minute.

    The configuration is made of defaults, then --config, then --set, then the other options.
    """
    flags = {
        "--data": ("data.source", data),
        "--data-dir": ("data.dir", data_dir),
        "--program": ("program.name", program),
        "--prior": ("prior.name", prior),
        "--likelihood": ("likelihood.name", likelihood),
        "--posterior": ("posterior.name", posterior),
        "--network": ("network.name", network),
        "--objective": ("objective.name", objective),
        "--latent-dim": ("latent_dim", latent_dim),
        "--epochs": ("train.epochs", epochs),
        "--batch-size": ("train.batch_size", batch_size),
        "--lr": ("train.lr", lr),
        "--seed": ("seed", seed),
        "--device": ("train.device", device),
        "--precision": ("train.precision", precision),
        "--threads": ("train.threads", threads),
        "--watch": ("train.watch", watch),
    }
    typed = {flag: setting for flag, setting in flags.items() if setting[1] is not None}
    if resume is not None:
        files = {"--config": config, "--set": assignments, "--run": run}
        _refuse_beside_resume([*typed, *(flag for flag, value in files.items() if value)])
    elif source is not None:
        raise ConfigError(
            [Problem("--source", "says where the data of --resume RUN are: a new run has --data")]
        )
    terminal = console(quiet)
    if resume is not None:
        places.check(resume)
        if source is not None:
            sources.check(source)
        from pyrovae.run import Run

        trained = Run.resume(resume, epochs=epochs, source=source, trust=trust)
    else:
        given = layers(config, assignments, typed.values())
        path = run or _new_path(_source(given))
        places.check_free(path)
        from pyrovae.config import resolve
        from pyrovae.run import Run

        trained = Run.start(resolve(*given), path=path)
    _train(trained, terminal)
    assert trained.folder is not None
    if as_json:
        print_json(tables.trained(trained, trained.folder.path))
    else:
        tables.print_history(trained, trained.folder.path)


def _source(given: Sequence[dict[str, Any]]) -> str:
    """Where the data come from, if all is well that can be seen before torch is imported."""
    from pyrovae.config import Data, outline

    data = outline(*given).get("data", {})
    source = data.get("source", Data.model_fields["source"].default) if isinstance(data, dict) else None
    if isinstance(source, str):
        sources.check(source)
    return str(source)


def _refuse_beside_resume(flags: Sequence[str]) -> None:
    others = [flag for flag in flags if flag != "--epochs"]
    if others:
        message = f"goes on with the run's own configuration, without {', '.join(others)}"
        raise ConfigError([Problem("--resume", message)])


def _new_path(source: str) -> Path:
    """A folder under runs/ that is not there yet."""
    stem = f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(source).stem}"
    candidates = [places.RUNS / stem, *(places.RUNS / f"{stem}-{number}" for number in range(2, 100))]
    return next(path for path in candidates if not path.exists())


def _train(run: Run, terminal: Console) -> None:
    from pyrovae.progress import epoch_line, reporting

    assert run.folder is not None
    assert run.prepared is not None
    path, epochs = run.folder.path, run.config.train.epochs
    say(terminal, run.prepared.dataset.describe())
    for note in (*run.prepared.notes, *run.caveats):
        say(terminal, note)
    say(terminal, f"training into {path}")
    steps = run.steps_per_epoch
    try:
        with reporting(terminal, epochs * steps, len(run.history) * steps) as report:
            for metrics in run.train(report.step, report.note):
                report.say(epoch_line(metrics, epochs, run.terms, is_kl=run.program.codes.is_density))
    except KeyboardInterrupt:
        saved = f"{run.saved_epochs} of {epochs} epochs are saved"
        say(console(), f"interrupted: {saved}; go on with: pyrovae train --resume {path}")
        raise typer.Exit(130) from None
