"""The command line: parses what was typed, calls ``run``, prints; no maths, and no torch until needed."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrovae.component import FAMILIES, find, module_names, names, support_of
from pyrovae.errors import ConfigError, Problem, PyrovaeError, RunError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pyrovae.config import Config
    from pyrovae.evaluate import Quantity
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
    objective: Annotated[str | None, typer.Option(metavar="NAME", help="Which evidence lower bound.")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Number of latent coordinates.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data, in all.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Data in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights and of all noise.")] = None,
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


@app.command(epilog="Example: pyrovae evaluate runs/my-run --split test --json")
def evaluate(
    path: RunPath,
    split: SplitOption = None,
    data: Source = None,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    particles: Annotated[int, typer.Option(min=1, help="Draws of z for each datum.")] = 1000,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Data at a time; does not change the numbers.")
    ] = 100,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """ELBO, its two terms and the importance-sampled log p(x), in nats per datum, with their errors."""
    from pyrovae.report import reporting, stepping
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust)
    rows, is_likelihood = run.evaluation_rows(split and split.value, data)
    with reporting(_console(), total=-(-len(rows) // batch_size)) as report:
        report.say(f"{len(rows):,} rows, {particles:,} draws of z each")
        batches = stepping(rows.batches(batch_size), report)
        quantities = run.evaluate(batches, particles=particles, seed=seed, is_likelihood=is_likelihood)
    facts: dict[str, Any] = {
        "run": str(path),
        "checkpoint": checkpoint.value,
        "epoch": int(run.facts["epoch"]),
    }
    facts |= {
        "data": data or run.config.data.source,
        "split": "given" if data else (split or SplitName.test).value,
    }
    facts |= {"rows": len(rows), "particles": particles, "seed": seed, "caveats": run.caveats}
    if as_json:
        _print_json(facts, quantities)
    else:
        _print_evaluation(facts, quantities)


@app.command(epilog="Example: pyrovae sample runs/my-run -n 64")
def sample(
    path: RunPath,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    mean: Annotated[
        bool, typer.Option("--mean", help="Picture the expected data only, without draws.")
    ] = False,
    checkpoint: CheckpointOption = Checkpoint.best,
    trust: Trust = False,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Draw from the model: z ~ p(z), x ~ p(x|z), as a picture and as arrays."""
    from pyrovae.generate import sample as draw
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust)
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
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Data beside draws from the posterior predictive: z ~ q(z|x), x ~ p(x|z)."""
    from pyrovae.generate import reconstruct as draw
    from pyrovae.run import Run

    run = Run.load(path, checkpoint.value, trust=trust)
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
    """Every prior, likelihood, posterior and network, with its options."""
    if matrix:
        _print_matrix()
        return
    from pyrovae.config import describe, literal, schema
    from pyrovae.supports import in_words

    for family in FAMILIES:
        typer.secho(family, bold=True)
        width = max(map(len, names(family)))
        for name in names(family):
            member, support = find(family, name), support_of(family, name)
            values = f" Values: {in_words(support)}." if support is not None else ""
            typer.echo(f"  {name:<{width}}  {(member.__doc__ or '').splitlines()[0]}{values}")
            for option, field in schema(member).model_fields.items():
                if option != "name":
                    typer.echo(
                        f"    --set {family}.{option}={literal(field.default)}\n"
                        f"        {field.description} ({describe(field)})"
                    )


@app.command(epilog="Example: pyrovae config --set prior=normal > run.toml")
def config(config: ConfigFile = None, assignments: Assignments = None) -> None:
    """The complete configuration of a run as TOML, every line with its unit and its choices."""
    from pyrovae.config import dump

    typer.echo(dump(_resolve(config, assignments)), nl=False)


def _print_matrix() -> None:
    """The prior x posterior table, a block for each set: on different sets nothing fits."""
    from pyrovae.pairing import misfit
    from pyrovae.supports import in_words

    sets: dict[str, dict[str, list[str]]] = {}
    for family in ("prior", "posterior"):
        for name in names(family):
            block = sets.setdefault(in_words(support_of(family, name)), {"prior": [], "posterior": []})
            block[family].append(name)
    reasons: list[str] = []
    for words, block in sets.items():
        table = _table(f"on {words}", *block["prior"])
        for posterior in block["posterior"]:
            cells = [misfit(find("prior", prior), find("posterior", posterior)) for prior in block["prior"]]
            reasons += [reason for reason in cells if reason]
            table.add_row(
                posterior, *("fits" if cell is None else _footnote(reasons, cell) for cell in cells)
            )
        _print(table)
    typer.echo("A prior and a posterior of different tables live on different sets, and do not fit.")
    for number, reason in enumerate(reasons, start=1):
        typer.echo(f"({number}) {reason}")


def _footnote(reasons: Sequence[str], reason: str) -> str:
    return f"no ({reasons.index(reason) + 1})"


def _resolve(
    file: Path | None, assignments: Sequence[str] | None, flags: Iterable[tuple[str, Any]] = ()
) -> Config:
    from pyrovae.config import layer, parse_assignment, read, resolve

    files = [read(file)] if file is not None else []
    return resolve(*files, *map(parse_assignment, assignments or []), *(layer(*flag) for flag in flags))


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
            for metrics in run.train(report.step):
                report.say(epoch_line(metrics, epochs, run.terms))
    except KeyboardInterrupt:
        saved = f"{run.saved_epochs} of {epochs} epochs are saved"
        _say(console, f"interrupted: {saved}; go on with: pyrovae train --resume {path}")
        raise typer.Exit(130) from None
    _print_history(run, path)


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_history(run: Run, path: Path) -> None:
    """The table at the end of a training, and where the run is."""
    from pyrovae.train import best_epoch

    part = "validation" if "validation_elbo" in run.history[-1] else "train"
    terms = ["train_elbo", "validation_elbo", f"{part}_reconstruction", f"{part}_kl"]
    headings = [f"{split} {run.terms[term]}" for split, _, term in (name.partition("_") for name in terms)]
    table = _table("nats per datum", "epoch", *headings)
    for name, epoch in {"last": run.history[-1]["epoch"], "best": best_epoch(run.history)}.items():
        metrics = dict(run.history[epoch - 1])
        table.add_row(
            name, str(epoch), *(f"{metrics[term]:.2f}" if term in metrics else "-" for term in terms)
        )
    _print(table)
    typer.echo(path)


def _print_evaluation(facts: dict[str, Any], quantities: Sequence[Quantity]) -> None:
    typer.echo(
        f"{facts['run']}, {facts['checkpoint']} checkpoint (epoch {facts['epoch']}): "
        f"{facts['rows']:,} {facts['split']} rows of {facts['data']}, {facts['particles']:,} draws of z each"
    )
    table = _table("mean over data", "nats", "Monte-Carlo error", "error over data", "bits/dim")
    for row in quantities:
        bits = "-" if row.bits_per_dimension is None else f"{row.bits_per_dimension:.4f}"
        errors = (row.mean.monte_carlo_error, row.mean.data_error)
        table.add_row(row.label, f"{row.mean.value:.3f}", *(_error(error) for error in errors), bits)
    _print(table)
    for caveat in facts["caveats"]:
        typer.echo(caveat)


def _print_json(facts: dict[str, Any], quantities: Sequence[Quantity]) -> None:
    """Numbers for machines; what is not a number is null."""
    rows = {}
    for row in quantities:
        numbers = {**asdict(row.mean), "bits_per_dimension": row.bits_per_dimension}
        finite = {
            key: None if value is None or math.isnan(value) else value for key, value in numbers.items()
        }
        rows[row.key] = {"label": row.label, **finite}
    typer.echo(json.dumps({**facts, "unit": "nats per datum", "quantities": rows}, indent=2))


def _error(error: float) -> str:
    return "-" if math.isnan(error) else f"{error:.2g}"


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _print(table: Table) -> None:
    """To standard output, and never cut: a pipe has no width."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False).print(table)


def _write(stem: Path, pictured: dict[str, Any], title: str, **arrays: Any) -> None:
    """Write arrays and their picture, and print where."""
    import numpy as np

    from pyrovae import plots

    name = stem.stem if stem.suffix in (".npz", ".png") else stem.name
    archive, picture = stem.with_name(f"{name}.npz"), stem.with_name(f"{name}.png")
    try:
        np.savez_compressed(archive, **{name: array.numpy() for name, array in arrays.items()})
        plots.save(plots.panels(pictured, title=title), picture)
    except OSError as error:
        raise RunError(f"cannot write {archive}: {error.strerror}") from None
    typer.echo(f"{picture}\n{archive}")
