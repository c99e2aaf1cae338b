"""Results on standard output, as tables for people and JSON for machines; computes nothing, and no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pyrovae import console
from pyrovae.component import find, names, support_of
from pyrovae.console import all_finite, error, finite

if TYPE_CHECKING:
    from rich.table import Table

    from pyrovae.contrast import Comparison, Contrast, Group, Scored
    from pyrovae.evaluate import Evaluation
    from pyrovae.intervals import Interval
    from pyrovae.quantities import Findings, Mean
    from pyrovae.run import Run


def print_findings(findings: Findings) -> None:
    """A table of quantities, and the notes below it."""
    print(f"{findings}\n" if findings.unavailable else f"\n{findings}\n")


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
    unit = {"unit": evaluation.unit, "nats_to_stored_values": evaluation.to_stored}
    document = {**facts, **unit, **_untitled(evaluation)}
    if per_datum and evaluation.estimates is not None:
        estimates = evaluation.estimates.of_rows
        document["per_datum"] = {key: all_finite(values.tolist()) for key, values in estimates.items()}
    document["diagnostics"] = {name: found.to_dict() for name, found in others.items()}
    print(json.dumps(document, indent=2, allow_nan=False))


def trained(run: Run, path: Path) -> dict[str, Any]:
    """What a training came to, for machines: where the run is, and its last and its best epoch."""
    from pyrovae.train import best_epoch

    best = best_epoch(run.history)
    metrics = {"last": run.history[-1], "best": run.history[best - 1]}
    files = [path / "config.toml", path / "metrics.jsonl", *sorted((path / "checkpoints").iterdir())]
    return {
        "run": str(path),
        "unit": "nats per datum",
        "epochs": len(run.history),
        "best_epoch": best,
        "metrics": {
            name: {key: finite(value) for key, value in cast(dict[str, float], line).items()}
            for name, line in metrics.items()
        },
        "files": [str(file) for file in files],
    }


def print_history(run: Run, path: Path) -> None:
    """The table at the end of a training, and where the run is."""
    from pyrovae.progress import BELOW_ZERO
    from pyrovae.train import best_epoch

    history: list[dict[str, Any]] = [dict(line) for line in run.history]
    part = "validation" if "validation_elbo" in history[-1] else "train"
    terms = ["train_elbo", "validation_elbo", f"{part}_reconstruction", f"{part}_kl"]
    parts = [name.partition("_") for name in terms]
    headings = [f"{split} {run.terms[term]}" for split, _, term in parts]
    best_of = f"{part}_loss"
    if any(abs(line[best_of] + line[f"{part}_elbo"]) > 0.005 for line in history):  # the best has the lowest
        terms.append(best_of)
        headings.append(f"{part} loss")
    table = console.table(*map(console.heading, ("nats per datum", "epoch", *headings)))
    kls = []
    for name, epoch in {"last": len(history), "best": best_epoch(run.history)}.items():
        metrics = history[epoch - 1]
        kls.append(metrics[f"{part}_kl"])
        table.add_row(
            name, str(epoch), *(f"{metrics[term]:.2f}" if term in metrics else "-" for term in terms)
        )
    _print(table)
    if min(kls) < 0 and run.program.codes.is_density:
        print(f"{part} {run.terms['kl']}: {BELOW_ZERO}")
    print(path)


def print_comparison(facts: Mapping[str, Any], comparison: Comparison) -> None:
    """Runs, their differences and their configurations, a table each; then what that says."""
    print(
        f"{facts['checkpoint']} checkpoints on {facts['rows']:,} {facts['split']} rows of {facts['data']}, "
        f"{facts['particles']:,} draws of z each; nats per datum, +- standard errors over data; "
        "seconds of training, without validation"
    )
    table = console.table("", comparison.log_p, *COMPARED.values(), "active\nunits", "seconds", "parameters")
    for run in comparison.runs:
        table.add_row(run.name, *_cells(run))
    _print(table)
    score = comparison.score
    columns = {score: comparison.scored, **COMPARED} if score else COMPARED
    table = console.table(f"minus {comparison.baseline}", *columns.values())
    for difference in comparison.differences:
        table.add_row(difference.run, *(_signed(difference.means.get(score)) for score in columns))
    _print(table)
    if any(len(group.seeds) > 1 for group in comparison.groups):
        table = console.table("mean (deviation) over seeds", "seeds", *columns.values())
        for group in comparison.groups:
            table.add_row(
                group.name, str(len(group.seeds)), *(_over_seeds(group, score) for score in columns)
            )
        _print(table)
    if comparison.contrasts:
        table = console.table(f"minus {comparison.contrasts[0].baseline}", *columns.values())
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
        "quantities": {row.key: row.to_dict() for row in run.quantities.values()},
        "validation_elbo": all_finite(run.curve),
        "notes": [*run.notes, *run.caveats],
        "settings": dict(run.settings),
    }


def _plain_mean(mean: Mean) -> dict[str, float | None]:
    return {key: finite(number) for key, number in vars(mean).items()}


def _ends(interval: Interval) -> list[float | None]:
    return all_finite([interval.low, interval.high])


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
            yield f"{error(max(row.mean.monte_carlo_error for row in rows))} in {label}"


def _with_error(mean: Mean) -> str:
    return console.beside(f"{mean.value:,.2f}", f"+- {error(mean.data_error)}")


def _signed(mean: Mean | None) -> str:
    return "-" if mean is None else console.beside(f"{mean.value:+,.2f}", f"+- {error(mean.data_error)}")


def _over_seeds(group: Group, score: str) -> str:
    if score not in group.means:
        return "-"
    return console.beside(f"{group.means[score]:,.2f}", f"({error(group.deviations[score])})")


def _interval(contrast: Contrast, score: str) -> str:
    if score not in contrast.intervals:
        return "-"
    interval = contrast.intervals[score]
    return f"{interval.low:+,.2f} to {interval.high:+,.2f}"


def misfits() -> dict[str, dict[str, dict[str, str | None]]]:
    """By the set of their values, posterior and prior: why the two do not fit each other, or nothing."""
    from pyrovae.pairing import misfit
    from pyrovae.supports import in_words

    sets: dict[str, dict[str, list[str]]] = {}
    for family in ("prior", "posterior"):
        for name in names(family):
            block = sets.setdefault(in_words(support_of(family, name)), {"prior": [], "posterior": []})
            block[family].append(name)
    return {
        words: {
            posterior: {
                prior: misfit(find("prior", prior), find("posterior", posterior)) for prior in block["prior"]
            }
            for posterior in block["posterior"]
        }
        for words, block in sets.items()
    }


def print_matrix() -> None:
    """The prior x posterior table, a block for each set: on different sets nothing fits."""
    reasons: list[str] = []
    for words, block in misfits().items():
        priors = dict.fromkeys(prior for row in block.values() for prior in row)
        table = console.table(f"on {words}", *map(console.heading, priors))
        for posterior, row in block.items():
            reasons += [reason for reason in row.values() if reason]
            cells = ("fits" if reason is None else _footnote(reasons, reason) for reason in row.values())
            table.add_row(posterior, *cells)
        _print(table)
    print("A prior and a posterior of different tables live on different sets, and do not fit.")
    for number, reason in enumerate(reasons, start=1):
        print(f"({number}) {reason}")


def _footnote(reasons: Sequence[str], reason: str) -> str:
    return f"no ({reasons.index(reason) + 1})"


def _untitled(findings: Findings) -> dict[str, Any]:
    """Findings as JSON has them in a document of their own."""
    document = findings.to_dict()
    del document["title"]
    return document


def _print(filled: Table) -> None:
    print(f"\n{console.text(filled)}\n")
