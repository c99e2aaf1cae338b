"""The command line: parses what was typed, calls ``run``, prints; no maths, and no torch until needed."""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae import tables
from pyrovae.component import FAMILIES, find, module_names, names, support_of
from pyrovae.errors import ConfigError, Problem, PyrovaeError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from pyrovae.config import Config
    from pyrovae.quantities import Findings
    from pyrovae.run import Run

app = typer.Typer(
    name="pyrovae",
    help="Variational autoencoders as Pyro programs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich's takes a tenth of a second to import
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is printed as a sentence, without a traceback."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app(arguments)
    except PyrovaeError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)


def _show_warning(message: Warning | str, *_: Any) -> None:
    typer.echo(f"warning: {message}", err=True)


class Checkpoint(StrEnum):
    """Which weights of a run are read."""

    best = "best"
    last = "last"


class SplitName(StrEnum):
    """Which part of the data is read."""

    train = "train"
    validation = "validation"
    test = "test"


def _starting_with(choices: Sequence[str]) -> Callable[[str], list[str]]:
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def _component(family: str, meaning: str) -> Any:
    """A flag that names a component; help and completion list the family's members."""
    members = names(family)
    text = f"{meaning}: {', '.join(members)}."
    return typer.Option(f"--{family}", metavar="NAME", help=text, autocompletion=_starting_with(members))


SOURCES = module_names("pyrovae.data")
DIAGNOSTICS = names("diagnostic")
ALWAYS = ("active-units",)
"""Diagnostics that every evaluation runs."""

CONFIGURATION = "Configuration"

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; see 'pyrovae config'.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PLACE=VALUE", help="One setting, as train.lr=5e-4; may be repeated."),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.", show_default=False)]
CheckpointOption = Annotated[Checkpoint, typer.Option("--checkpoint", help="Which weights of the run.")]
SplitOption = Annotated[
    SplitName | None, typer.Option("--split", help="Which part of the run's data.", show_default="test")
]
Source = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Other data than the run's own: their test set, or all rows where they have none.",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the components of the user's own that the run was trained with.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, ... or mps.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="PATH", help="Where to write, without suffix.", show_default="in the run"),
]


@app.command(epilog="Example: pyrovae train --data mnist --likelihood bernoulli --prior normal --epochs 20")
def train(
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help=f"{', '.join(SOURCES)}; a .npy or .npz file; a folder of images.",
            autocompletion=_starting_with(SOURCES),
        ),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of downloaded data sets.")
    ] = None,
    prior: Annotated[str | None, _component("prior", "p(z)")] = None,
    likelihood: Annotated[str | None, _component("likelihood", "p(x|z)")] = None,
    posterior: Annotated[str | None, _component("posterior", "q(z|x)")] = None,
    network: Annotated[str | None, _component("network", "Encoder and decoder")] = None,
    objective: Annotated[str | None, _component("objective", "What is maximised")] = None,
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
    threads: Annotated[int | None, typer.Option(help="Of the processor; 0 for as many as help.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New folder for the run.", show_default="by date, under runs/"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run; --epochs extends it, and stretches a falling learning rate.",
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Train a VAE; without options, on an embedded set of digits, in less than a minute.

    The configuration is made of defaults, then --config, then --set, then the other options.
    """
    flags = {
        "--data": ("data.source", data),
        "--data-dir": ("data.dir", data_dir),
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
    }
    typed = {flag: setting for flag, setting in flags.items() if setting[1] is not None}
    if resume is not None:
        files = {"--config": config, "--set": assignments, "--run": run}
        _refuse_beside_resume([*typed, *(flag for flag, value in files.items() if value)])
    from pyrovae.run import Run

    console = _console()
    if resume is not None:
        trained = Run.resume(resume, epochs=epochs, trust=trust)
    else:
        resolved = _resolve(config, assignments, typed.values())
        trained = Run.start(resolved, path=run or _new_path(resolved.data.source))
    _train(trained, console)


@app.command(epilog="Example: pyrovae evaluate runs/my-run --split test --with active-units --json")
def evaluate(
    path: RunPath,
    split: SplitOption = None,
    data: Source = None,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    diagnostics: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME",
            help=f"A further diagnostic; may be repeated: {', '.join(DIAGNOSTICS)}.",
            autocompletion=_starting_with(DIAGNOSTICS),
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.OPTION=VALUE",
            help="An option of a diagnostic; may be repeated. See 'pyrovae components'.",
        ),
    ] = None,
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 1000,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Data at a time; does not change the numbers.")
    ] = 100,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    per_datum: Annotated[
        bool, typer.Option("--per-datum", help="With --json: the estimates of every datum, too.")
    ] = False,
) -> None:
    """ELBO, its two terms, the importance-sampled log p(x) and what --with asks for, each with its errors."""
    from pyrovae.report import reporting, stepping
    from pyrovae.run import Run

    if per_datum and not as_json:
        raise ConfigError([Problem("--per-datum", "is a part of what --json prints: give both")])
    chosen = _diagnostics(diagnostics or [], assignments or [])
    run = Run.load(path, checkpoint.value, trust=trust, on=device)
    rows, is_likelihood = run.evaluation_rows(split and split.value, data)
    with reporting(_console(), total=-(-len(rows) // batch_size) + len(chosen)) as report:
        report.say(f"{len(rows):,} rows, {particles:,} draws of z each")
        batches = stepping(rows.batches(batch_size), report)
        findings = run.evaluate(batches, particles=particles, seed=seed, is_likelihood=is_likelihood)
        others = {}
        for name, options in chosen.items():
            report.say(name)
            others[name] = run.diagnose(name, rows, options=options, seed=seed, batch_size=batch_size)
            report.step()
    facts: dict[str, Any] = {
        "run": str(path),
        "checkpoint": checkpoint.value,
        "epoch": int(run.facts["epoch"]),
        "data": data or run.config.data.source,
        "split": "given" if data else (split or SplitName.test).value,
        "rows": len(rows),
        "particles": particles,
        "seed": seed,
        "caveats": run.caveats,
    }
    drawn = _as_file_name(data) if data else facts["split"]
    figures = {name: _draw(path, name, others[name], drawn) for name in dict.fromkeys(diagnostics or [])}
    facts["figures"] = {name: str(figure) for name, figure in figures.items() if figure}
    if as_json:
        tables.print_json(facts, findings, others, per_datum=per_datum)
        return
    tables.print_evaluation(facts, findings)
    for found in others.values():
        tables.print_findings(found)
    for figure in facts["figures"].values():
        typer.echo(figure)


@app.command(epilog="Example: pyrovae sample runs/my-run -n 64")
def sample(
    path: RunPath,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    mean: Annotated[
        bool, typer.Option("--mean", help="Picture the expected data only, without draws.")
    ] = False,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Draw from the model: z ~ p(z), x ~ p(x|z), as a picture and as arrays."""
    from pyrovae.generate import sample as draw
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust, on=device)
    draws = draw(run.program, n, seed=seed)
    pictured = {"E[x|z]": draws.mean} if mean else {"x ~ p(x|z)": draws.x, "E[x|z]": draws.mean}
    _write(out or path / "samples", pictured, f"{n} codes from the prior", **draws._asdict())


@app.command(epilog="Example: pyrovae reconstruct runs/my-run -n 36")
def reconstruct(
    path: RunPath,
    n: Annotated[int, typer.Option("-n", min=1, help="How many data.")] = 36,
    split: SplitOption = None,
    data: Source = None,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Data beside draws from the posterior predictive: z ~ q(z|x), x ~ p(x|z)."""
    from pyrovae.generate import reconstruct as draw
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust, on=device)
    rows = run.evaluation_rows(split and split.value, data)[0].rows(slice(n))
    draws = draw(run.program, [rows], seed=seed)
    pictured = {"data": rows, "x ~ p(x|z), z ~ q(z|data)": draws.x, "E[x|z]": draws.mean}
    title = f"data of {data}" if data else f"{(split or SplitName.test).value} data"
    _write(out or path / "reconstructions", pictured, title, data=rows, **draws._asdict())


@app.command(epilog="Example: pyrovae components --matrix")
def components(
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Which priors and posteriors fit each other, or why not.")
    ] = False,
) -> None:
    """Every prior, likelihood, posterior, network, objective and diagnostic, with its options."""
    if matrix:
        tables.print_matrix()
        return
    from pyrovae.config import DEFAULT_COMPONENTS, describe, literal, schema
    from pyrovae.supports import in_words

    for family in FAMILIES:
        typer.secho(family, bold=True)
        width = max(map(len, names(family)), default=0)
        for name in names(family):
            member, support = find(family, name), support_of(family, name)
            values = f" Values: {in_words(support)}." if support is not None else ""
            section = family if family in DEFAULT_COMPONENTS else name  # of a run, or of an evaluation
            typer.echo(f"  {name:<{width}}  {(member.__doc__ or '').splitlines()[0]}{values}")
            for option, field in schema(member).model_fields.items():
                if option != "name":
                    is_set = field.default is not None  # TOML has no null
                    setting = shlex.quote(f"{section}.{option}={literal(field.default) if is_set else '...'}")
                    allowed = describe(field) + ("" if is_set else "; not set")
                    typer.echo(f"    --set {setting}\n        {field.description} ({allowed})")


@app.command(epilog="Example: pyrovae config --set prior=normal > run.toml")
def config(config: ConfigFile = None, assignments: Assignments = None) -> None:
    """The complete configuration of a run as TOML, every line with its unit and its choices."""
    from pyrovae.config import dump

    typer.echo(dump(_resolve(config, assignments)), nl=False)


def _resolve(
    file: Path | None, assignments: Sequence[str] | None, flags: Iterable[tuple[str, Any]] = ()
) -> Config:
    from pyrovae.config import layer, parse_assignment, read, resolve

    files = [read(file)] if file is not None else []
    return resolve(*files, *map(parse_assignment, assignments or []), *(layer(*flag) for flag in flags))


def _diagnostics(asked: Sequence[str], assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The diagnostics to run, each with all of its options."""
    from pyrovae.config import parse_value, selected, unknown

    chosen: dict[str, dict[str, Any]] = {name: {} for name in (*ALWAYS, *asked)}
    problems = []
    for text in assignments:
        place, value = parse_value(text, example="active-units.threshold=0.02")
        name, _, option = place.rpartition(".")
        if name in chosen:
            chosen[name][option] = value
        elif name in DIAGNOSTICS:
            problems.append(Problem(place, f"{name} is not run; ask for it with --with {name}"))
        else:
            problems.append(Problem(place, unknown(name or place, list(chosen))))
    return selected("diagnostic", chosen, problems, place="--with")


def _draw(run: Path, name: str, findings: Findings, rows: str) -> Path | None:
    """Draw what a diagnostic has to be looked at into the run's folder; where it has nothing, ``None``."""
    if not findings.histograms:
        return None
    from pyrovae import plots

    figure = plots.histograms(findings.histograms, title=findings.title)
    file = run / "figures" / f"{name.rpartition(':')[2]}-{rows}.png"
    try:
        file.parent.mkdir(exist_ok=True)
        plots.save(figure, file)
    except OSError as error:
        raise RunError(f"cannot write {file}: {error.strerror}") from None
    return file


def _as_file_name(source: str) -> str:
    """A source's name or path as a part of a file's name, which no split has."""
    return "of-" + re.sub(r"[^\w.]+", "-", source).lstrip("-")[-100:]


def _refuse_beside_resume(flags: Sequence[str]) -> None:
    others = [flag for flag in flags if flag != "--epochs"]
    if others:
        message = f"goes on with the run's own configuration, without {', '.join(others)}"
        raise ConfigError([Problem("--resume", message)])


def _new_path(source: str) -> Path:
    """A folder under runs/ that is not there yet."""
    stem = f"{datetime.now():%Y-%m-%d-%H%M%S}-{Path(source).stem}"
    candidates = [Path("runs") / stem, *(Path("runs") / f"{stem}-{number}" for number in range(2, 100))]
    return next(path for path in candidates if not path.exists())


def _console() -> Console:
    """Standard error: standard output is for results."""
    from rich.console import Console

    return Console(stderr=True)


def _train(run: Run, console: Console) -> None:
    from pyrovae.report import epoch_line, reporting

    assert run.folder is not None
    assert run.prepared is not None
    path, epochs = run.folder.path, run.config.train.epochs
    _say(console, run.prepared.dataset.describe())
    for note in (*run.prepared.notes, *run.caveats):
        _say(console, note)
    _say(console, f"training into {path}")
    steps = run.steps_per_epoch
    try:
        with reporting(console, epochs * steps, len(run.history) * steps) as report:
            for metrics in run.train(report.step, report.note):
                report.say(epoch_line(metrics, epochs, run.terms))
    except KeyboardInterrupt:
        saved = f"{run.saved_epochs} of {epochs} epochs are saved"
        _say(console, f"interrupted: {saved}; go on with: pyrovae train --resume {path}")
        raise typer.Exit(130) from None
    tables.print_history(run, path)


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _write(stem: Path, pictured: dict[str, Any], title: str, **arrays: Any) -> None:
    """Write arrays and their picture, and print where."""
    import numpy as np

    from pyrovae import plots

    name = stem.stem if stem.suffix in (".npz", ".png") else stem.name
    archive, picture = stem.with_name(f"{name}.npz"), stem.with_name(f"{name}.png")
    try:
        np.savez_compressed(archive, **{name: array.numpy(force=True) for name, array in arrays.items()})
        panels = {label: tensor.cpu() for label, tensor in pictured.items()}
        plots.save(plots.panels(panels, title=title), picture)
    except OSError as error:
        raise RunError(f"cannot write {archive}: {error.strerror}") from None
    typer.echo(f"{picture}\n{archive}")
