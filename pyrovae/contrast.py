"""Scores of runs on the same data -> differences, and what they say of configurations; knows no run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyrovae.config import literal
from pyrovae.errors import RunError
from pyrovae.importance import FEWEST_DRAWS, TOLERATED_SHARE
from pyrovae.intervals import Interval, paired, welch
from pyrovae.quantities import Mean, Quantity, mean

SEEDS_FOR_A_CLAIM = 3
"""Of each of two configurations, from which on something is said of these."""

MOST_LISTED = 6
"""Names of runs in a sentence."""

SCORES = ("log_likelihood", "bound", "elbo", "rate", "distortion")
"""What is known of every datum, and so compared datum by datum."""

OF_A_MEASURE = ("log_likelihood", "bound", "elbo", "distortion")
"""Scores that are logarithms of a probability or of a density, and compared only with their like."""

DECISIVE = ("log_likelihood", "bound")
"""What runs are told apart by: the first of these scores that all of them have."""

CROSS_ENTROPY = "a cross-entropy"
"""What a likelihood is of data outside its support."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What is known of one run by itself.

    Args:
        name: what it is called here.
        settings: its configuration, by place, but for what runs of one configuration may differ in.
        seed: of its training.
        values: the score of each datum, (n,), in nats, by name: ``log_likelihood``, log p(x), only if k-hat
            allows it an error; ``bound``, its importance-sampled lower bound; ``elbo``; ``rate``;
            ``distortion``.
        errors: the Monte-Carlo errors of these.
        quantities: means over the data, and what else there is to say in numbers, by name.
        measure: what its likelihood is, of these data.
        curve: the validation ELBO after each epoch, in nats per datum; empty where there is none.
        notes: what its evaluation says of its numbers, a sentence each.
        caveats: what a reader of any of its numbers must know.
    """

    name: str
    settings: Mapping[str, Any]
    seed: int
    values: Mapping[str, Tensor]
    errors: Mapping[str, Tensor]
    quantities: Mapping[str, Quantity]
    measure: str = "a probability"
    curve: Sequence[float] = ()
    notes: Sequence[str] = ()
    caveats: Sequence[str] = ()


@dataclass(frozen=True)
class Difference:
    """A run minus another one, over the same data.

    Args:
        run: the run.
        baseline: the one that is subtracted.
        means: the mean differences, by name of the score; their Monte-Carlo errors are at most these.
        intervals: their 95% t intervals over data like these.
        incomparable: why the scores of a probability are left out; empty where they are not.
    """

    run: str
    baseline: str
    means: Mapping[str, Mean]
    intervals: Mapping[str, Interval]
    incomparable: str = ""


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Args:
        name: what sets it apart from the others.
        runs: their names.
        seeds: those of their trainings, each once.
        means: mean over seeds, by name of the score.
        deviations: standard deviation between seeds; not a number where there is only one.
    """

    name: str
    runs: Sequence[str]
    seeds: Sequence[int]
    means: Mapping[str, float]
    deviations: Mapping[str, float]


@dataclass(frozen=True)
class Contrast:
    """A configuration minus another one, as expected over seeds, on these very data.

    Args:
        group: its name.
        baseline: name of the one that is subtracted.
        intervals: the difference and its 95% interval by Welch's t over seeds, by name of the score.
        data_errors: standard errors over data of the difference of these runs' means.
    """

    group: str
    baseline: str
    intervals: Mapping[str, Interval]
    data_errors: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Runs on the same data, their differences, and what these say of their configurations.

    Args:
        runs: each by itself.
        baseline: name of the run that is subtracted from the others.
        measure: what the baseline's likelihood is, of these data.
        score: what they are told apart by: ``log_likelihood``, or ``bound`` where one has no more; ``None``
            where the baseline has neither.
        differences: of the others from it.
        groups: the configurations.
        contrasts: between configurations with three seeds or more.
        notes: what all that says, a sentence each.
    """

    runs: Sequence[Scored]
    baseline: str
    measure: str
    score: str | None
    differences: Sequence[Difference]
    groups: Sequence[Group]
    contrasts: Sequence[Contrast]
    notes: Sequence[str] = ()

    @property
    def log_p(self) -> str:
        """What the logarithm of the likelihood is to be called."""
        return "minus the cross-entropy" if self.measure == CROSS_ENTROPY else "log p(x)"

    @property
    def scored(self) -> str:
        """What the score that tells runs apart is to be called."""
        return self.log_p if self.score == "log_likelihood" else f"the bound of {self.log_p}"


def compared(
    runs: Sequence[Scored], *, baseline: str | None = None, sides: Sequence[Collection[str]] = ()
) -> Comparison:
    """Compare runs whose scores of the same data are known.

    Args:
        runs: each by itself.
        baseline: name of the run that is subtracted from the others; the first one, if not given.
        sides: names of the runs on each side, where these are not to be found by their settings.

    Raises:
        RunError: a side holds runs of different configurations.

    Example:
        >>> scores = torch.tensor([-3.0, -1.0, -2.0])
        >>> def scored(name, log_p):
        ...     return Scored(name, {}, 0, {"log_likelihood": log_p}, {"log_likelihood": 0 * log_p}, {})
        >>> comparison = compared([scored("one", scores), scored("other", scores + 1)])
        >>> comparison.differences[0].means["log_likelihood"].value
        1.0
    """
    reference = next(run for run in runs if run.name == (baseline or runs[0].name))
    members = _on_sides(runs, sides) if sides else _by_configuration(runs)
    groups = [_group(name, group) for name, group in zip(_names(members), members, strict=True)]
    enough = {
        group.name: _one_of_each_seed(runs)
        for group, runs in zip(groups, members, strict=True)
        if len(group.seeds) >= SEEDS_FOR_A_CLAIM
    }
    alike = [run for run in runs if run.measure == reference.measure and "bound" in run.values]
    comparison = Comparison(
        runs,
        reference.name,
        reference.measure,
        next((score for score in DECISIVE if _comparable(score, reference, *alike)), None),
        [_difference(run, reference) for run in runs if run is not reference],
        groups,
        list(_contrasts(enough, next(group for group in groups if reference.name in group.runs))),
    )
    return replace(comparison, notes=list(_notes(comparison, reference)))


def places_that_differ(*settings: Mapping[str, Any]) -> list[str]:
    """The settings that are not the same in all; options that only some have are different in none."""
    places = dict.fromkeys(place for each in settings for place in each)
    return [place for place in places if len({repr(each[place]) for each in settings if place in each}) > 1]


def _difference(run: Scored, reference: Scored) -> Difference:
    incomparable = ""
    if run.measure != reference.measure:
        incomparable = f"{run.name} gives {run.measure}, {reference.name} {reference.measure}"
    scores = [score for score in SCORES if _comparable(score, run, reference)]
    means = {
        score: mean(run.values[score] - reference.values[score], run.errors[score] + reference.errors[score])
        for score in scores
    }
    intervals = {score: paired(run.values[score], reference.values[score]) for score in scores}
    return Difference(run.name, reference.name, means, intervals, incomparable)


def _comparable(score: str, *runs: Scored) -> bool:
    """Whether all of the runs have a score, and it means the same in all."""
    is_same = score not in OF_A_MEASURE or len({run.measure for run in runs}) == 1
    return is_same and all(score in run.values for run in runs)


def _by_configuration(runs: Sequence[Scored]) -> list[list[Scored]]:
    found: list[list[Scored]] = []
    for run in runs:
        group = next((group for group in found if group[0].settings == run.settings), None)
        if group is None:
            found.append(group := [])
        group.append(run)
    return found


def _on_sides(runs: Sequence[Scored], sides: Sequence[Collection[str]]) -> list[list[Scored]]:
    found = [[run for run in runs if run.name in side] for side in sides]
    for first, *others in found:
        for other in others:
            if other.settings != first.settings:
                places = places_that_differ(first.settings, other.settings)
                raise RunError(
                    f"a side is of one configuration, and {first.name} and {other.name} differ in "
                    f"{', '.join(places)}"
                )
    return found


def _names(groups: Sequence[Sequence[Scored]]) -> list[str]:
    """What sets each group apart; the runs' names where no setting does."""
    settings = [group[0].settings for group in groups]
    places = places_that_differ(*settings)
    names = [
        ", ".join(
            f"{place.removesuffix('.name')} = {_written(each[place])}" for place in places if place in each
        )
        for each in settings
    ]
    return [
        name if name and names.count(name) == 1 else _listed([run.name for run in group])
        for name, group in zip(names, groups, strict=True)
    ]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else literal(value)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= MOST_LISTED:
        return ", ".join(names)
    first = names[: MOST_LISTED - 1]
    return f"{', '.join(first)} and {len(names) - len(first)} more"


def _one_of_each_seed(runs: Sequence[Scored]) -> list[Scored]:
    """The first run of each seed: a second one is no further evidence."""
    first: dict[int, Scored] = {}
    for run in runs:
        first.setdefault(run.seed, run)
    return list(first.values())


def _group(name: str, members: Sequence[Scored]) -> Group:
    counted = _one_of_each_seed(members)
    means = {score: _means(score, counted) for score in SCORES if _comparable(score, *counted)}
    return Group(
        name,
        [run.name for run in members],
        [run.seed for run in counted],
        {score: values.mean().item() for score, values in means.items()},
        {score: values.std().item() if len(values) > 1 else float("nan") for score, values in means.items()},
    )


def _means(score: str, runs: Sequence[Scored]) -> Tensor:
    """The mean over data of each run."""
    return torch.stack([run.values[score].double().mean() for run in runs])


def _contrasts(enough: Mapping[str, Sequence[Scored]], own: Group) -> Iterator[Contrast]:
    """Of all configurations with seeds enough against the baseline's own, or else the first of them."""
    baseline = own.name if own.name in enough else next(iter(enough), "")
    for name in enough:
        if name != baseline:
            first, second = enough[name], enough[baseline]
            scores = [score for score in SCORES if _comparable(score, *first, *second)]
            yield Contrast(
                name,
                baseline,
                {score: welch(_means(score, first), _means(score, second)) for score in scores},
                {score: _data_error(score, first, second) for score in scores},
            )


def _data_error(score: str, first: Sequence[Scored], second: Sequence[Scored]) -> float:
    one, other = (
        torch.stack([run.values[score].double() for run in runs]).mean(0) for runs in (first, second)
    )
    return mean(one - other, torch.zeros_like(one)).data_error


def _notes(comparison: Comparison, reference: Scored) -> Iterator[str]:
    """Cautions first, then what is seen of the runs, then what may be said of configurations."""
    yield from dict.fromkeys(caveat for run in comparison.runs for caveat in run.caveats)
    for run in comparison.runs:
        if run.measure != reference.measure:
            yield (
                f"log p(x), ELBO and distortion of {run.name} are those of {run.measure}, and of "
                f"{reference.name} of {reference.measure}: they are not comparable"
            )
    yield from _of_weights(comparison.runs, comparison.log_p)
    if comparison.score is None:
        yield f"{reference.name} has no log p(x), and so no run is said to be better than it, nor worse"
    else:
        yield from _of_runs(comparison, comparison.score, len(reference.values[comparison.score]))
        yield from _of_configurations(comparison, comparison.score)


def _of_weights(runs: Sequence[Scored], log_p: str) -> Iterator[str]:
    """What k-hat says of importance sampling."""
    shares = {run.name: run.quantities.get("pareto_k_above") for run in runs if "bound" in run.values}
    if bounds := [run.name for run in runs if run.name in shares and "log_likelihood" not in run.values]:
        why = (
            f"k-hat needs {FEWEST_DRAWS} draws of z to be known for"
            if shares[bounds[0]] is None
            else f"k-hat is too high for more than {TOLERATED_SHARE:.0%} of the data of"
        )
        yield (
            f"{why} {_listed(bounds)}, and {log_p} has no error that could be trusted: >= is its "
            "importance-sampled lower bound, and runs are compared by their bounds, which may be less tight "
            "for one than for another"
        )
    share = max((found.mean.value for found in shares.values() if found), default=0.0)
    if share > 0 and not bounds:
        yield (
            f"k-hat is too high for up to {share:.1%} of the data of a run: their part in the Monte-Carlo "
            f"errors of {log_p} may be too small"
        )


def _of_runs(comparison: Comparison, score: str, n: int) -> Iterator[str]:
    found = [difference for difference in comparison.differences if score in difference.intervals]
    if len(found) == 1:
        (difference,) = found
        said = _said(difference.intervals[score], comparison.scored, difference.run, difference.baseline)
        yield f"These two runs, over data like these {n:,}: {said}"
    elif found:
        yield (
            f"Differences between runs are paired over the same {n:,} data, and speak of these runs, not of "
            "their configurations"
        )


def _of_configurations(comparison: Comparison, score: str) -> Iterator[str]:
    groups = {group.name: group for group in comparison.groups}
    contrasts = [contrast for contrast in comparison.contrasts if score in contrast.intervals]
    for contrast in contrasts:
        interval = contrast.intervals[score]
        seeds = f"{len(groups[contrast.group].seeds)} and {len(groups[contrast.baseline].seeds)} seeds"
        degrees = f"Welch's t over {seeds}, {interval.degrees_of_freedom:.1f} degrees of freedom"
        said = _said(interval, comparison.scored, contrast.group, contrast.baseline, degrees)
        error = contrast.data_errors[score]
        yield f"Configurations, on these data: {said}. Over other data, its standard error is {error:.2g}"
    if len(contrasts) > 1:
        yield "Each of these intervals is a 95% one by itself; all of them hold at once less often"
    enough = [name for name, group in groups.items() if len(group.seeds) >= SEEDS_FOR_A_CLAIM]
    if not contrasts:
        counts = f"{len(enough)} of these {len(groups)} have as many"
        if len(groups) < 3:
            counts = "there are " + " and ".join(f"{len(g.seeds)} of {name}" for name, g in groups.items())
        yield (
            f"Nothing is claimed about configurations: that takes {SEEDS_FOR_A_CLAIM} seeds of each of two, "
            f"and {counts}"
        )
    elif few := [name for name in groups if name not in enough]:
        yield f"Nothing is claimed about {' and '.join(few)}: fewer than {SEEDS_FOR_A_CLAIM} seeds"
    if any(len(group.runs) > len(group.seeds) for group in comparison.groups):
        yield "Runs of one configuration and one seed are no further evidence, and count once"


def _said(interval: Interval, what: str, one: str, other: str, how: str = "paired") -> str:
    """What an interval says of a difference, one minus other."""
    difference, low, high, _ = interval
    if not interval.excludes_zero:
        return (
            f"{what} of {one} and of {other} cannot be told apart, the difference is {difference:+.2f} nats "
            f"per datum (95% interval {low:+.2f} to {high:+.2f}, {how})"
        )
    word = "higher" if difference > 0 else "lower"
    low, high = sorted((abs(low), abs(high)))
    return (
        f"{what} of {one} is {word} than that of {other} by {abs(difference):.2f} nats per datum "
        f"(95% interval {low:.2f} to {high:.2f}, {how})"
    )
