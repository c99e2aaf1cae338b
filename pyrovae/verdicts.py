"""What the numbers of a run mean, and which are warning signs by which rule, in words; knows no page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor

from pyrovae.importance import FEWEST_DRAWS, TOLERATED_SHARE, highest_k
from pyrovae.quantities import NEAR_CEILING, Findings, Mean
from pyrovae.train import best_epoch

Level: TypeAlias = Literal["good", "look", "warning", "open"]
LEVELS: Mapping[Level, str] = {
    "good": "good",
    "look": "worth a look",
    "warning": "warning sign",
    "open": "cannot be told",
}
"""The levels of a verdict, in words."""

FEWEST_EPOCHS = 10
"""Of a history whose end is told from its beginning."""

LATE = 0.1
"""The last part of all epochs."""

STILL_RISING = 0.01
"""Share of the whole rise of the objective that is too much for the last part of the epochs."""

FALLEN = 0.05
"""Share of the whole rise by which it may fall again."""

LARGE_GAP = 0.2
"""Standard deviations between data that are a large difference of two means: Cohen calls 0.2 small."""

CERTAIN = 2.0
"""Standard errors from which on a difference is taken for one."""

FAR_FROM_PRIOR = 1.0
"""Nats from which on the codes of data are far from the prior."""


class Verdict(NamedTuple):
    """An answer to a question that a reader of a run should ask."""

    level: Level
    question: str
    answer: str
    """What was found, with its numbers."""
    meaning: str
    """What follows, and what to do."""
    rule: str
    """How the level was chosen."""


MEANINGS: Mapping[str, str] = {
    "elbo": "The lower bound of log p(x), reconstruction minus KL. Higher is better, between models of the "
    "same data.",
    "reconstruction": "How probable a datum is given a code of its own. Higher: more detail is restored.",
    "kl": "How many nats a code tells of its datum, beyond what the prior says of all codes (divide by 0.693 "
    "for bits). Near 0, codes tell nothing; the larger it is, the more detail goes through the code.",
    "penalty": "Minus the log-density of the prior at the code. It has no bound and is no KL.",
    "log_likelihood": "How probable data are under the whole model, averaged over codes: the number to "
    "compare models by. This estimate is too low on average, and less so with more draws.",
    "log_likelihood_corrected": "The same, raised by the estimate of how much it is too low.",
    "effective_sample_size": "How many draws of z the estimate of log p(x) really rests on, for the datum in "
    "the middle.",
    "smallest_effective_sample_size": "The same for the worst datum. Near 1, a single draw decides.",
    "pareto_k": "How heavy the tail of the importance weights is. Below 0.5 their variance is finite.",
    "pareto_k_above": "For how many data the estimate of log p(x) has an error that cannot be trusted.",
    "active_units": "Latent variables whose code differs from datum to datum.",
    "mutual_information": "What codes tell of which datum they belong to. It cannot exceed log N.",
    "aggregate_kl": "How far the codes of all data together are from the prior that samples are drawn from. "
    "Smaller is better for samples.",
    "log_n": "The logarithm of the number of rows.",
}
"""What a quantity means, by its key."""


def training(history: Sequence[Mapping[str, Any]], untrained: Mapping[str, Any] | None = None) -> Verdict:
    """Whether the validation objective was still rising in the end, or has fallen since its best epoch.

    Args:
        history: the metrics of every epoch.
        untrained: those before the first step, if they were measured.

    Example:
        >>> losses = [100, 50, 30, 25, 22, 21, 20.5, 20.2, 20.1, 20.0, 20.0]
        >>> lines = [{"epoch": e, "validation_loss": loss} for e, loss in enumerate(losses, start=1)]
        >>> training(lines).level
        'good'
    """
    question = "Was training long enough?"
    rule = (
        f"Still rising: the last {LATE:.0%} of the epochs brought more than {STILL_RISING:.0%} of the whole "
        f"rise. Falling: since the best epoch, more than {FALLEN:.0%} of the whole rise was lost. Both are "
        "of the objective on validation rows."
    )
    values = [-line["validation_loss"] for line in history if "validation_loss" in line]
    start = -(untrained or {}).get("validation_loss", math.inf)
    if values and values[-1] < start:
        return Verdict(
            "warning",
            question,
            f"The objective on validation rows was {start:.4g} before the first step and is {values[-1]:.4g} "
            f"after the last; at best it was {max(values):.4g}.",
            "Training made the model worse: the first thing to try is a smaller train.lr, in a new run.",
            f"Warning sign: the objective ends below what it was before the first step. {rule}",
        )
    if len(values) < FEWEST_EPOCHS:
        missing = (
            f"{len(values)} epochs with validation rows are too few to tell"
            if values
            else ("no rows were held out for validation (data.validation = 0)")
        )
        return Verdict("open", question, f"It is not known: {missing}.", "", rule)
    best, first, last = max(values), values[0], values[-1]
    rise, late = best - first, best - max(values[: math.floor((1 - LATE) * len(values))])
    epoch = best_epoch(history)  # type: ignore[arg-type]
    if rise <= 0:
        return Verdict(
            "warning",
            question,
            "The objective on validation rows was never better than after the first epoch.",
            "The model did not learn what carries over to new data: try a smaller train.lr, a smaller "
            "network or more data.",
            rule,
        )
    facts = (
        f"The objective rose by {rise:.4g} nats per datum on validation rows, its best in epoch {epoch} of "
        f"{len(values)}"
    )
    if best - last > FALLEN * rise:
        return Verdict(
            "look",
            question,
            f"{facts}, and has fallen by {best - last:.3g} nats since.",
            "Later epochs learned what is special to the training rows: overfitting. The checkpoint 'best' "
            f"has the weights of epoch {epoch}, so this page is not harmed by it; train.patience stops such "
            "a run sooner.",
            rule,
        )
    if late > STILL_RISING * rise:
        return Verdict(
            "look",
            question,
            f"{facts}, {late:.3g} nats of it in the last {LATE:.0%} of the epochs.",
            "It had not stopped rising: more epochs would help (pyrovae train --resume RUN --epochs N).",
            rule,
        )
    return Verdict("good", question, f"{facts}, and hardly at all in the end.", "It has levelled off.", rule)


def generalisation(train: Tensor | None, new: Tensor, *, reason: str = "") -> Verdict:
    """Whether the ELBO is as high on new rows as on those that the model was trained on.

    Args:
        train: ELBO of each of some training rows, (m,), in nats; ``None`` where there are none.
        new: of the rows that are looked at, (n,).
        reason: why there are none.

    Example:
        >>> generalisation(torch.arange(100.0), torch.arange(100.0) - 20).level
        'warning'
    """
    question = "Does it do as well on new data as on the training data?"
    rule = (
        f"Warning sign: the ELBO is lower on new data by more than {CERTAIN:g} standard errors and by more "
        f"than {LARGE_GAP:g} standard deviations between data."
    )
    if train is None or min(len(train), len(new)) < 2:
        answer = f"It is not known: {reason or 'two rows of both are needed'}."
        return Verdict("open", question, answer, "", rule)
    gap = (train.mean() - new.mean()).item()
    error = math.sqrt((train.var() / len(train) + new.var() / len(new)).item())
    spread = new.std().item()
    answer = (
        f"The ELBO is {train.mean():.2f} on {len(train):,} training rows and {new.mean():.2f} on these "
        f"{len(new):,}: a gap of {gap:.2f} ± {error:.2g} nats, where data differ by {spread:.2f} (their "
        "standard deviation)."
    )
    if gap < CERTAIN * error:
        meaning = "No gap can be seen beyond chance: the model has not learned its training rows by heart."
        return Verdict("good", question, answer, meaning, rule)
    if gap < LARGE_GAP * spread:
        meaning = "There is a gap, and it is small beside the differences between data."
        return Verdict("good", question, answer, meaning, rule)
    meaning = (
        "The model knows its training rows better than data that it has not seen: overfitting, or data of "
        "another kind. More data, a smaller network, network.dropout or fewer epochs (train.patience) help "
        "against the first."
    )
    return Verdict("warning", question, answer, meaning, rule)


def collapse(found: Findings) -> Verdict:
    """Whether codes depend on the data: posterior collapse is when they do not.

    Args:
        found: by the diagnostic ``active-units``.
    """
    question = "Are the latent variables used?"
    rule = (
        "A variable is active if its mean E_q[z_j] varies between data by more than the threshold. Warning "
        "sign: none is active. Worth a look: fewer than half are."
    )
    if found.unavailable or not found.histograms:
        return Verdict("open", question, f"It is not known: {found.unavailable}.", "", rule)
    variances, threshold = found.histograms[0].values, found.histograms[0].marked or 0.0
    active, units = int((variances > threshold).sum()), len(variances)
    answer = f"{active} of {units} are active: the variance of their mean is above {threshold:g}."
    if active == 0:
        return Verdict(
            "warning",
            question,
            answer,
            "Posterior collapse: the code is the same whatever the datum is, and the decoder does without "
            "it. A warm-up (objective.warm_up), objective.free_bits or a weaker decoder help.",
            rule,
        )
    if active < units / 2:
        meaning = (
            "The others have fallen back to the prior and carry nothing. This costs nothing, but a smaller "
            "latent_dim would do as well; if reconstructions are poor, it is partial posterior collapse "
            "(objective.warm_up and objective.free_bits help)."
        )
        return Verdict("look", question, answer, meaning, rule)
    meaning = (
        "Codes tell data apart. All variables are in use, so a larger latent_dim may tell more."
        if active == units
        else "Codes tell data apart; the variables that are not active carry nothing and do no harm."
    )
    return Verdict("good", question, answer, meaning, rule)


def weights(quantities: Mapping[str, Mean], draws: int) -> Verdict:
    """Whether the importance-sampled log p(x) has errors that can be trusted: k-hat.

    Args:
        quantities: of an evaluation, by their keys.
        draws: of z for each datum.
    """
    question = "Can the estimate of log p(x) be trusted?"
    rule = (
        "k-hat of a datum above min(1 - 1 / log10(draws), 0.7): the weights of its draws have a tail so "
        "heavy that no error of log p(x) can be trusted. Warning sign: more than "
        f"{TOLERATED_SHARE:.0%} of the data, and then there is no error at all. Worth a look: any."
    )
    if "pareto_k_above" not in quantities:
        missing = f"k-hat needs importance weights of {FEWEST_DRAWS} draws or more for each datum"
        return Verdict("open", question, f"It is not known: {missing}.", "", rule)
    share = quantities["pareto_k_above"].value
    answer = (
        f"k-hat is above {highest_k(draws):.2g} for {share:.1%} of the data, with {draws:,} draws of z each."
    )
    if share > TOLERATED_SHARE:
        meaning = (
            "Take log p(x) for a lower bound: a few lucky draws decide it, and more of them would raise it. "
            "A posterior nearer to p(z|x) (a flow, say) or more --particles make it tighter. The ELBO is not "
            "concerned."
        )
        return Verdict("warning", question, answer, meaning, rule)
    if share > 0:
        meaning = "For these few data the estimate may be too low; the mean over all data hardly feels it."
        return Verdict("look", question, answer, meaning, rule)
    return Verdict("good", question, answer, "The posterior covers p(z|x) well enough for every datum.", rule)


def coverage(found: Findings) -> Verdict:
    """Whether samples come from where the codes of data are.

    Args:
        found: by the diagnostic ``aggregate``.
    """
    question = "Do samples come from where the codes of data are?"
    rule = (
        f"Worth a look: KL(q(z) || p(z)) above {FAR_FROM_PRIOR:g} nat, q(z) being the codes of all rows "
        "together: such a code is then e times as dense among data as under the prior, in the mean of "
        f"logarithms. Not told where I(x; z) is within {NEAR_CEILING:g} nat of log N: so few rows do not "
        "show what q(z) is like."
    )
    if found.unavailable:
        return Verdict("open", question, f"It is not known: {found.unavailable}.", "", rule)
    means = {row.key: row.mean for row in found.quantities}
    distance, ceiling = means["aggregate_kl"], means["log_n"].value
    answer = (
        f"KL(q(z) || p(z)) = {distance.value:.2f} ± {distance.monte_carlo_error:.2g} nats for "
        f"{round(math.exp(ceiling)):,} rows."
    )
    if means["mutual_information"].value > ceiling - NEAR_CEILING:
        meaning = (
            "But codes tell these rows apart almost perfectly, so that their posteriors do not overlap and "
            "the number says more of how few they are than of the prior. Look at samples."
        )
        return Verdict("open", question, answer, meaning, rule)
    if distance.value > FAR_FROM_PRIOR:
        meaning = (
            "The prior has mass where data have no codes, so some samples look like no datum. A prior that "
            "is learned (mixture, vamp, flow) comes nearer."
        )
        return Verdict("look", question, answer, meaning, rule)
    return Verdict("good", question, answer, "Together, the codes of data are not far from the prior.", rule)
