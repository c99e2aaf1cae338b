"""Results on standard output, as tables for people and JSON for machines; computes nothing, and no torch."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.component import find, names, support_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pyrovae.contrast import Comparison, Contrast, Group, Scored
    from pyrovae.evaluate import Evaluation
    from pyrovae.intervals import Interval
    from pyrovae.quantities import Findings, Histogram, Mean, Quantity
    from pyrovae.run import Run

WIDTH = 120
"""Of a table in a pipe, which has no width."""

WIDE = 110
"""Of a terminal in which headings need no second line."""


def print_findings(findings: Findings) -> None:
    """A table of quantities, and the notes below it."""
    if findings.unavailable:
        print(f"{findings.title}: not available: {findings.unavailable}\n")
        return
    in_bits = any(row.bits_per_dimension is not None for row in findings.quantities)
    between = _between()
    errors_of = [f"Monte-Carlo{between}error", f"error over{between}data"]
    columns = ["value", "unit", *errors_of, *(["bits/dim"] if in_bits else [])]
    is_heading = len(findings.title) <= max((len(row.label) for row in findings.quantities), default=0)
    if not is_heading:
        print(f"\n  {findings.title}:")
    table = _table(findings.title if is_heading else "", *columns)
    for row in findings.quantities:
        errors = (row.mean.monte_carlo_error, row.mean.data_error)
        bits = "-" if row.bits_per_dimension is None else f"{row.bits_per_dimension:.4f}"
        cells = [_number(row), row.unit, *map(_error, errors), *([bits] if in_bits else [])]
        table.add_row(row.label, *cells)
    _print(table)
    for note in findings.notes:
        print(note)
    if findings.notes:
        print()


def print_evaluation(facts: Mapping[str, Any], findings: Findings) -> None:
    """What was evaluated, and what came out."""
    print(
        f"{facts['run']}, {facts['checkpoint']} checkpoint (epoch {facts['epoch']}): "
        f"{facts['rows']:,} {facts['split']} rows of {facts['data']}, {facts['particles']:,} draws of z each"
    )
    print_findings(findings)
    for caveat in facts["caveats"]:
        print(caveat)


def print_json(
    facts: Mapping[str, Any], evaluation: Evaluation, others: Mapping[str, Findings], *, per_datum: bool
) -> None:
    """Everything, for machines; what is not a finite number is null."""
    document = {**facts, "unit": "nats per datum", **_plain(evaluation)}
    if per_datum and evaluation.estimates is not None:
        estimates = vars(evaluation.estimates)
        document["per_datum"] = {key: _all_finite(values.tolist()) for key, values in estimates.items()}
    document["diagnostics"] = {
        name: {"title": found.title, **_plain(found)} for name, found in others.items()
    }
    print(json.dumps(document, indent=2, allow_nan=False))


def print_document(facts: Mapping[str, Any], findings: Findings) -> None:
    """Facts and findings, for machines; what is not a finite number is null."""
    print(json.dumps({**facts, **_plain(findings)}, indent=2, allow_nan=False))


def print_history(run: Run, path: Path) -> None:
    """The table at the end of a training, and where the run is."""
    from pyrovae.train import best_epoch

    history: list[dict[str, Any]] = [dict(line) for line in run.history]
    part = "validation" if "validation_elbo" in history[-1] else "train"
    terms = ["train_elbo", "validation_elbo", f"{part}_reconstruction", f"{part}_kl"]
    between = _between()
    parts = [name.partition("_") for name in terms]
    headings = [f"{split}{between}{run.terms[term]}" for split, _, term in parts]
    best_of = f"{part}_loss"
    if any(abs(line[best_of] + line[f"{part}_elbo"]) > 0.005 for line in history):  # the best has the lowest
        terms.append(best_of)
        headings.append(f"{part}{between}loss")
    table = _table(f"nats per{between}datum", "epoch", *headings)
    for name, epoch in {"last": len(history), "best": best_epoch(run.history)}.items():
        metrics = history[epoch - 1]
        table.add_row(
            name, str(epoch), *(f"{metrics[term]:.2f}" if term in metrics else "-" for term in terms)
        )
    _print(table)
    print(path)


def print_comparison(facts: Mapping[str, Any], comparison: Comparison) -> None:
    """Runs, their differences and their configurations, a table each; then what that says."""
    print(
        f"{facts['checkpoint']} checkpoints on {facts['rows']:,} {facts['split']} rows of {facts['data']}, "
        f"{facts['particles']:,} draws of z each; nats per datum, +- standard errors over data; "
        "seconds of training, without validation"
    )
    table = _table("", comparison.log_p, *COMPARED.values(), "active\nunits", "seconds", "parameters")
    for run in comparison.runs:
        table.add_row(run.name, *_cells(run))
    _print(table)
    score = comparison.score
    columns = {score: comparison.scored, **COMPARED} if score else COMPARED
    table = _table(f"minus {comparison.baseline}", *columns.values())
    for difference in comparison.differences:
        table.add_row(difference.run, *(_signed(difference.means.get(score)) for score in columns))
    _print(table)
    if any(len(group.seeds) > 1 for group in comparison.groups):
        table = _table("mean (deviation) over seeds", "seeds", *columns.values())
        for group in comparison.groups:
            table.add_row(
                group.name, str(len(group.seeds)), *(_over_seeds(group, score) for score in columns)
            )
        _print(table)
    if comparison.contrasts:
        table = _table(f"minus {comparison.contrasts[0].baseline}", *columns.values())
        for contrast in comparison.contrasts:
            table.add_row(f"{contrast.group}, 95%", *(_interval(contrast, score) for score in columns))
        _print(table)
    print(f"Monte-Carlo errors are at most {', '.join(_largest_errors(comparison))}.")
    for note in comparison.notes:
        print(f"{note}.")


def print_comparison_json(facts: Mapping[str, Any], comparison: Comparison) -> None:
    """Everything, for machines; what is not a finite number is null."""
    document = {
        **facts,
        "unit": "nats per datum",
        "baseline": comparison.baseline,
        "score": comparison.score,
        "results": {run.name: _plain_run(run) for run in comparison.runs},
        "differences": [
            {
                **{"run": found.run, "baseline": found.baseline, "incomparable": found.incomparable},
                "scores": {
                    score: _plain_mean(found.means[score]) | {"interval": _ends(interval)}
                    for score, interval in found.intervals.items()
                },
            }
            for found in comparison.differences
        ],
        "configurations": [
            {
                **{"name": group.name, "runs": list(group.runs), "seeds": list(group.seeds)},
                "mean": {score: finite(value) for score, value in group.means.items()},
                "deviation": {score: finite(value) for score, value in group.deviations.items()},
            }
            for group in comparison.groups
        ],
        "contrasts": [
            {
                **{"configuration": found.group, "baseline": found.baseline},
                "scores": {
                    score: {
                        "value": finite(interval.difference),
                        "interval": _ends(interval),
                        "degrees_of_freedom": finite(interval.degrees_of_freedom),
                        "data_error": finite(found.data_errors[score]),
                    }
                    for score, interval in found.intervals.items()
                },
            }
            for found in comparison.contrasts
        ],
        "notes": list(comparison.notes),
    }
    print(json.dumps(document, indent=2, allow_nan=False))


def _plain_run(run: Scored) -> dict[str, Any]:
    """A run by itself, as JSON has it."""
    return {
        "seed": run.seed,
        "measure": run.measure,
        "quantities": {row.key: _quantity(row) for row in run.quantities.values()},
        "validation_elbo": _all_finite(run.curve),
        "notes": [*run.notes, *run.caveats],
        "settings": dict(run.settings),
    }


def _plain_mean(mean: Mean) -> dict[str, float | None]:
    return {key: finite(number) for key, number in vars(mean).items()}


def _ends(interval: Interval) -> list[float | None]:
    return _all_finite([interval.low, interval.high])


COMPARED = {"elbo": "ELBO", "rate": "rate", "distortion": "distortion"}


def _cells(run: Scored) -> Iterator[str]:
    """The row of a run."""
    found = run.quantities
    bound = f">= {_with_error(found['bound'].mean)}" if "bound" in found else "-"
    yield _with_error(found["log_likelihood"].mean) if "log_likelihood" in found else bound
    for score in COMPARED:
        yield _with_error(found[score].mean) if score in found else "-"
    units = "active_units" in found
    yield f"{found['active_units'].mean.value:g} of {found['units'].mean.value:g}" if units else "-"
    yield f"{found['seconds'].mean.value:,.1f}"
    yield f"{found['parameters'].mean.value:,.0f}"


def _largest_errors(comparison: Comparison) -> Iterator[str]:
    """The largest Monte-Carlo error of any run in each score."""
    for score, label in {"log_likelihood": comparison.log_p, **COMPARED}.items():
        rows = [run.quantities[score] for run in comparison.runs if score in run.quantities]
        if rows:
            yield f"{_error(max(row.mean.monte_carlo_error for row in rows))} in {label}"


def _with_error(mean: Mean) -> str:
    return f"{mean.value:,.2f} +- {_error(mean.data_error)}"


def _signed(mean: Mean | None) -> str:
    return "-" if mean is None else f"{mean.value:+,.2f} +- {_error(mean.data_error)}"


def _over_seeds(group: Group, score: str) -> str:
    if score not in group.means:
        return "-"
    return f"{group.means[score]:,.2f} ({_error(group.deviations[score])})"


def _interval(contrast: Contrast, score: str) -> str:
    if score not in contrast.intervals:
        return "-"
    interval = contrast.intervals[score]
    return f"{interval.low:+,.2f} to {interval.high:+,.2f}"


def print_matrix() -> None:
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
    print("A prior and a posterior of different tables live on different sets, and do not fit.")
    for number, reason in enumerate(reasons, start=1):
        print(f"({number}) {reason}")


def _footnote(reasons: Sequence[str], reason: str) -> str:
    return f"no ({reasons.index(reason) + 1})"


def _plain(findings: Findings) -> dict[str, Any]:
    """Findings without their title, as JSON has them."""
    if findings.unavailable:
        return {"unavailable": findings.unavailable}
    rows = {row.key: _quantity(row) for row in findings.quantities}
    histograms = [_histogram(histogram) for histogram in findings.histograms]
    return {
        "quantities": rows,
        "notes": list(findings.notes),
        **({"histograms": histograms} if histograms else {}),
    }


def _quantity(row: Quantity) -> dict[str, Any]:
    numbers = {**vars(row.mean), "bits_per_dimension": row.bits_per_dimension}
    return {"label": row.label, "unit": row.unit, **{key: finite(number) for key, number in numbers.items()}}


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "title": histogram.title,
        "unit": histogram.unit,
        "values": _all_finite(histogram.values.tolist()),
        "marked": finite(histogram.marked),
        "uniform": histogram.uniform,
    }


def _all_finite(values: Iterable[float]) -> list[float | None]:
    return [finite(value) for value in values]


def finite(value: float | None) -> float | None:
    """The value, or nothing in the place of what is not finite: JSON has no such numbers."""
    return value if value is not None and math.isfinite(value) else None


def _number(row: Quantity) -> str:
    value = row.mean.value
    return f"{value:,.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _error(error: float) -> str:
    return "-" if math.isnan(error) else f"{error:.2g}"


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    is_narrow = _console().width < WIDE
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0) if is_narrow else (0, 1))
    for i, column in enumerate(columns):
        is_text = i == 0 or column == "unit"
        # A word that is too long is broken: rich would cut it.
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table


def _between() -> str:
    """What parts the words of a long heading: a line where the width is for labels and numbers."""
    return " " if _console().width >= WIDE else "\n"


def _print(table: Table) -> None:
    _console().print(table)


def _console() -> Console:
    """Standard output: as wide as the terminal; a pipe has no width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH, markup=False, highlight=False)
