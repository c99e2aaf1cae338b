"""A run as one HTML page that stands alone: its configuration, figures, numbers, and what they mean."""

from __future__ import annotations

import base64
import inspect
import math
from collections.abc import Callable, Iterator
from importlib import metadata, resources
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, StrictUndefined

from pyrovae import component, generate, verdicts
from pyrovae.config import Selection, dump, literal
from pyrovae.data import Split
from pyrovae.embed import mapped
from pyrovae.errors import ConfigError, PyrovaeError
from pyrovae.evaluate import Evaluation, evaluate
from pyrovae.quantities import Findings, Quantity
from pyrovae.run import Run
from pyrovae.stretches import changes
from pyrovae.train import best_epoch
from pyrovae.verdicts import LEVELS, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 36
RESTORED = 36
TRAVERSED = 10
"""How many latent variables are walked along, those that data use most."""

TRAINING_DRAWS = 50
"""Draws of z for each training row, whose ELBO is compared with that of new data."""

AGGREGATED = 1000
"""Rows whose codes are compared with the prior: the work grows with their square."""

MAPPED = 2000

CROSS_ENTROPY = (
    "These data are no values that p(x|z) gives a probability to (grey values under bits, say), so that the "
    "sums are cross-entropies and no log-probabilities."
)


class Picture(NamedTuple):
    """A figure of a page, with the words around it."""

    title: str
    uri: str
    """The figure itself, as a ``data:`` URI."""
    size: tuple[int, int]
    """Its width and height in CSS pixels."""
    alternative: str
    """What it shows, for those who do not see it."""
    caption: str
    """What to look for."""


class Row(NamedTuple):
    """A number of a page."""

    label: str
    value: str
    unit: str
    monte_carlo_error: str
    data_error: str
    meaning: str


def page(
    run: Run,
    rows: Split,
    *,
    train: Split | None = None,
    name: str = "a run",
    data: str = "given data",
    is_likelihood: bool = True,
    particles: int = 1000,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> str:
    """The page, in HTML: it needs no other file, no network and no script.

    Args:
        run: a trained one.
        rows: the data to look at, drawn once for all.
        train: rows that it was trained on, to compare these with; ``None`` where there are no others.
        name: of the run.
        data: what the rows are, in words.
        is_likelihood: whether the likelihood is one on them.
        particles: draws of z for each datum, for log p(x).
        seed: of all draws.
        on_step: called with what is about to be done.

    Example:
        >>> from pyrovae.run import Run
        >>> run = Run.start(resolve({"train": {"epochs": 1}, "data": {"limit": 20}}))
        >>> history = list(run.train())
        >>> text = page(run, run.prepared.dataset.test, name="<my run>", particles=2)
        >>> "&lt;my run&gt;" in text, "<my run>" in text
        (True, False)
    """
    on_step(f"{len(rows):,} rows, {particles:,} draws of z each")
    batches = rows.batches(AT_ONCE)
    evaluation = run.evaluate(
        batches, particles=particles, seed=seed, is_likelihood=is_likelihood, unit=rows.unit
    )
    on_step("training rows and diagnostics")
    active = run.diagnose("active-units", rows, seed=seed)
    aggregate = run.diagnose("aggregate", rows, options={"rows": AGGREGATED}, seed=seed)
    found = [
        verdicts.training(run.history, run.untrained),
        _generalisation(run, evaluation, train, seed),
        verdicts.collapse(active),
        verdicts.coverage(aggregate),
        verdicts.weights({row.key: row.mean for row in evaluation.quantities}, particles),
    ]
    on_step("figures")
    findings = (evaluation, active, aggregate)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files("pyrovae").joinpath("page.html").read_text("utf-8"))
    return template.render(
        name=name,
        data=data,
        count=len(rows),
        particles=particles,
        seed=seed,
        facts=list(_facts(run)),
        verdicts=found,
        levels=LEVELS,
        tables=[(one.title, list(map(_row, one.quantities))) for one in findings if not one.unavailable],
        notes=[*run.caveats, *([] if is_likelihood else [CROSS_ENTROPY]), *_sentences(*findings)],
        pictures=list(_pictures(run, rows, seed)),
        configuration=dump(run.config),
        version=metadata.version("pyrovae"),
    )


def some(rows: Split, limit: int, *, seed: int = 0) -> Split:
    """At most so many rows, chosen at random, in their order."""
    if len(rows) <= limit:
        return rows
    return rows.take(rows.chosen(limit, seed, "page", "rows"))


AT_ONCE = 100
"""Data that are evaluated at a time; no number depends on it."""


def _generalisation(run: Run, evaluation: Evaluation, train: Split | None, seed: int) -> Verdict:
    """The ELBO of these rows beside that of rows that the model was trained on."""
    assert evaluation.estimates is not None
    new = evaluation.estimates.elbo
    if all(row.key != "elbo" for row in evaluation.quantities):
        return verdicts.generalisation(None, new, reason="there is no ELBO")
    if train is None:
        return verdicts.generalisation(None, new, reason="there are no other rows to compare these with")
    batches = train.batches(AT_ONCE)
    known = evaluate(run.program, batches, seed=seed, particles=TRAINING_DRAWS, tails=False).elbo
    return verdicts.generalisation(known, new)


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """What was trained, and how, in a line each."""
    yield "Data", run.config.data.source
    yield "Shape of a datum", str(tuple(run.program.event_shape))
    for name, value in run.config:
        if isinstance(value, Selection):
            yield name.capitalize(), _component(name, value)
    if run.config.latent_dim is not None:
        yield "Latent coordinates", str(run.config.latent_dim)
    yield "Parameters", f"{sum(parameter.numel() for parameter in run.program.parameters()):,}"
    if run.history:
        seconds = sum(line["seconds"] for line in run.history)
        took = f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"
        yield (
            "Training",
            f"{len(run.history)} epochs, {took} seconds; best epoch {best_epoch(run.history)}",
        )
    if "epoch" in run.facts:
        yield "Weights on this page", f"of epoch {run.facts['epoch']}"
    for before, after in pairwise([None, *run.stretches]):
        if after is not None:
            changed = "" if before is None else "; ".join(changes(before.train, after.train))
            yield f"From epoch {after.from_epoch} on", f"{after}{changed and f'; {changed}'}"


def _component(family: str, chosen: Selection) -> str:
    """The name of a component, its options, and what it is."""
    set_ = [f"{key} = {literal(value)}" for key, value in chosen.options.items() if value is not None]
    options = f" ({', '.join(set_)})" if set_ else ""
    about = inspect.getdoc(component.find(family, chosen.name)) or ""
    return f"{chosen.name}{options}. {about.partition(chr(10))[0]}"


def _row(quantity: Quantity) -> Row:
    mean, bits = quantity.mean, quantity.bits_per_dimension
    in_bits = f" It is {bits:.4f} bits per dimension." if bits is not None else ""
    return Row(
        quantity.label,
        _number(mean.value),
        quantity.unit,
        _error(mean.monte_carlo_error),
        _error(mean.data_error),
        verdicts.MEANINGS.get(quantity.key, "") + in_bits,
    )


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "minus infinity"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _error(error: float) -> str:
    return "" if math.isnan(error) else f"{error:.2g}"


def _sentences(*findings: Findings) -> Iterator[str]:
    """Notes, as sentences."""
    for found in findings:
        yield from (note.rstrip(".") + "." for note in found.notes)
        if found.unavailable:
            yield f"{found.title}: not available: {found.unavailable}."


def _pictures(run: Run, rows: Split, seed: int) -> Iterator[Picture]:
    from pyrovae import plots  # matplotlib takes a second to import

    if run.history:
        figure = plots.training_curves(run.history, terms=run.terms, best=best_epoch(run.history))
        yield Picture(
            "Learning curves",
            *_image(figure),
            f"{', '.join(run.terms.values())} of training and validation data over {len(run.history)} "
            "epochs.",
            "Both lines should rise and level off together. A validation line that falls while the training "
            "line rises is overfitting; a KL that stays at 0 is posterior collapse. Training values are "
            "means over an epoch, while weights still move, so early ones lie below those of validation.",
        )
    samples = generate.sample(run.program, SAMPLES, seed=seed)
    drawn = {"x ~ p(x|z)": samples.x.cpu(), "E[x|z]": samples.mean.cpu()}
    yield Picture(
        "Samples",
        *_image(plots.panels(drawn, title="z ~ p(z)")),
        f"{SAMPLES} draws from the model on the left, and the expected data of the same codes on the right.",
        "New data that the model makes up. Good ones look like data, and differ from each other as data do. "
        "The draws on the left have the noise of p(x|z) in every cell; the right side is without it, so it "
        "is smooth.",
    )
    shown = rows.rows(slice(RESTORED))
    restored = generate.reconstruct(run.program, [shown], seed=seed).mean
    yield Picture(
        "Reconstructions",
        *_image(plots.panels({"data": shown.cpu(), "E[x|z], z ~ q(z|x)": restored.cpu()})),
        f"{len(shown)} data on the left, and in the same places on the right what their codes restore.",
        "Each datum on the right was restored from the code of the one on the left. What is lost (thin "
        "strokes, rare shapes) is what the code does not keep. A blurred mean of all data means that codes "
        "are not used.",
    )
    yield from _map(run, rows, seed)
    yield from _traversal(run, rows, seed)


def _map(run: Run, rows: Split, seed: int) -> Iterator[Picture]:
    """A map of the codes, where they have two dimensions or more."""
    from pyrovae import plots

    try:
        found = mapped(run.program, rows, limit=MAPPED, seed=seed)
    except ConfigError:
        return
    direct = found.prior is not None
    how = "as they are" if direct else "on the two directions of their largest variance"
    labelled = ", coloured by label" if found.labels is not None else ""
    beside = (
        " Grey points are draws from the prior: where they are alone, samples are made of codes that no "
        "datum has."
        if direct
        else " Directions of small variance are not seen, so what overlaps here may be apart there."
    )
    yield Picture(
        "Map of the codes",
        *_image(plots.code_map(found.points, found.labels, axes=found.axes, behind=found.prior)),
        f"The codes of {len(found.points):,} data as points{labelled}, {how}.",
        "Each point is the mean code E_q[z] of a datum. The model has not seen labels: points of one label "
        f"that lie together show that codes keep what the label says.{beside}",
    )


def _traversal(run: Run, rows: Split, seed: int) -> Iterator[Picture]:
    """What each latent variable changes, where there is a way to walk along it."""
    from pyrovae import plots, walks

    try:
        found = walks.traverse(run.program, rows, at=rows.rows(slice(1))[0], latents=TRAVERSED, seed=seed)
    except PyrovaeError:
        return
    yield Picture(
        "Latent variables, one at a time",
        *_image(plots.traversal(found)),
        f"For each of {len(found)} latent variables a row of expected data, as that variable grows.",
        "One variable moves through the prior's quantiles, and the others stay at the code of the first "
        "datum. Rows are ordered by how much data use the variable. A row that does not change belongs to "
        "one that is not active, or, in a program of several layers, to one that acts only through another "
        "one, which is held fixed.",
    )


def _image(figure: Figure) -> tuple[str, tuple[int, int]]:
    """A figure as a ``data:`` URI, and its size in CSS pixels, of which an inch has 96."""
    from pyrovae import plots

    width, height = (round(96 * float(inches)) for inches in figure.get_size_inches())
    return "data:image/png;base64," + base64.b64encode(plots.png(figure)).decode("ascii"), (width, height)
