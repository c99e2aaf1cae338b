"""A training step of pyrovae's engines and of Pyro's SVI against the same step written by hand in PyTorch.

    python benchmarks/step.py --rounds 20 --only mlp conv

Every contender has its own weights, the same at the start, and one batch of 128 binary images in memory. Each
must have the loss and the gradients of the one by hand, from the same noise, before any is timed; Pyro's SVI,
which leaves no gradients behind, the loss. Contenders take turns, some steps each; every round gives a ratio
to those by hand. Nothing is read back from a step, but by Pyro's tutorials, whose step returns a number.

``vamp`` and ``iaf`` are cases of their own: pyrovae refuses the two together, since the one scores q(z|x)
where the other cannot.

On a CUDA device there is one contender more, by hand as a CUDA graph.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import by_hand
import pyro
import report
import torch
from pyro.infer import ELBO, SVI, RenyiELBO, Trace_ELBO
from pyro.optim import Adam  # type: ignore[attr-defined]
from torch import Size, Tensor, nn

from pyrovae.assembly import build, build_objective
from pyrovae.config import resolve
from pyrovae.engine import CapturedEngine, Engine, SVIEngine
from pyrovae.objectives import Objective
from pyrovae.programs.single_layer import SingleLayer

BATCH = 128
TOLERANCE = 1e-4
HAND, HAND_COMPILED, HAND_REPLAYED = "by hand", "by hand, compiled", "by hand, CUDA graph"
COMPILED, GRAPH, EAGER = "captured, compiled", "captured", "eager"
SVI_ENGINE, TUTORIAL = "SVI", "SVI as in Pyro's tutorials"
OURS = (COMPILED, GRAPH, EAGER)


class Case(NamedTuple):
    """What is trained."""

    title: str
    settings: Mapping[str, Any]
    """Of pyrovae, beside the size of a code."""
    by_hand: Callable[[], nn.Module]
    shape: Sequence[int] = (784,)
    elbo: Callable[[], ELBO] = Trace_ELBO
    """Of Pyro, for its tutorials' way."""


CASES = {
    "mlp": Case("MLP 784-400-20", {}, lambda: by_hand.VAE(by_hand.mlp())),
    "conv": Case("convolutions", {"network": "conv"}, lambda: by_hand.VAE(by_hand.conv()), shape=(1, 28, 28)),
    "vamp": Case("vamp prior, MLP", {"prior": "vamp"}, lambda: by_hand.Vamp(by_hand.mlp())),
    "iaf": Case(
        "iaf posterior, MLP",
        {"posterior": "iaf"},
        lambda: by_hand.IAF(by_hand.mlp(2 * by_hand.LATENT + 32)),
    ),
    "iwae": Case(
        "iwae, K=16, MLP",
        {"objective": {"name": "iwae", "particles": 16}},
        lambda: by_hand.IWAE(by_hand.mlp()),
        elbo=lambda: RenyiELBO(alpha=0, num_particles=16, vectorize_particles=True),
    ),
}


class Contender(NamedTuple):
    """A way to take a step."""

    step: Callable[[], Any]
    rehearsal: Callable[[], "Rehearsed"]
    """From the weights of the start; it may be a first step."""
    validated: bool = False
    """Whether Pyro and torch check arguments, as they do unasked."""


class Rehearsed(NamedTuple):
    """What must be the same for all."""

    loss: float
    """In nats per datum."""
    gradients: Sequence[Tensor | None] = ()
    """Of all parameters; none where they are gone after a step."""


class Times(NamedTuple):
    """Of one step, in seconds."""

    wall: float
    cpu: float


Results = Mapping[str, Sequence[Times]]


def contenders(case: Case, device: torch.device) -> Iterator[tuple[str, Contender]]:
    """All contenders by name, each with its own weights, all the same."""
    torch.manual_seed(0)
    x = (torch.rand(BATCH, *case.shape) < 0.2).float().to(device)
    hands = {HAND: by_hand.eager, HAND_COMPILED: by_hand.compiled}
    if device.type == "cuda":
        hands[HAND_REPLAYED] = by_hand.replayed
    for name, taking in hands.items():
        model = case.by_hand().to(device)
        load(model, objective(case, device).program)
        yield name, of_hand(model, taking(model, x))
    engines: dict[str, Callable[[Objective], Engine]] = {
        COMPILED: lambda objective: capturing(objective, x, compiled=True),
        GRAPH: lambda objective: capturing(objective, x, compiled=False),
        EAGER: lambda objective: Engine(objective, "adam"),
        SVI_ENGINE: lambda objective: SVIEngine(objective, "adam"),
    }
    for name, engine in engines.items():
        yield name, of_engine(engine(objective(case, device)), x)
    yield TUTORIAL, of_tutorial(objective(case, device).program, case.elbo(), x)


def objective(case: Case, device: torch.device) -> Any:
    """pyrovae's loss of a batch, with fresh weights."""
    config = resolve({"latent_dim": by_hand.LATENT, "network": "mlp", **case.settings})
    return build_objective(config, build(config, Size(case.shape)), BATCH).to(device)


@torch.no_grad()
def load(model: nn.Module, program: nn.Module) -> None:
    """Give a model by hand the weights of a program."""
    for mine, theirs in zip(model.parameters(), program.parameters(), strict=True):
        mine.copy_(theirs.view_as(mine))


def capturing(objective: Objective, x: Tensor, *, compiled: bool) -> Engine:
    """An engine that runs a graph."""
    engine = CapturedEngine(objective, "adam", example=x)
    if compiled:
        engine.compile(x)
    return engine


def of_hand(model: nn.Module, step: Callable[[], Tensor]) -> Contender:
    """One by hand, which leaves its gradients on its parameters."""
    return Contender(step, lambda: Rehearsed(float(step()), [each.grad for each in model.parameters()]))


def of_engine(engine: Engine, x: Tensor) -> Contender:
    """One of pyrovae's; that of Pyro's SVI only steps."""

    def step() -> Tensor:
        return engine.step(x, by_hand.LEARNING_RATE)

    def rehearsal() -> Rehearsed:
        sums, *gradients = [step()] if isinstance(engine, SVIEngine) else engine._gradients(x, 1.0)
        return Rehearsed(float(sums[0]) / BATCH, gradients)

    return Contender(step, rehearsal)


def of_tutorial(program: SingleLayer, elbo: ELBO, x: Tensor) -> Contender:
    """Pyro's own ``SVI`` and optimiser on a program's model and guide."""
    optimizer = Adam({"lr": by_hand.LEARNING_RATE})
    svi = SVI(program.model, program.registered_guide(), optimizer, loss=elbo)
    return Contender(lambda: svi.step(x), lambda: Rehearsed(svi.step(x) / BATCH), validated=True)


def rehearsed(contender: Contender) -> Rehearsed:
    """Its loss and gradients from the noise that all have."""
    torch.manual_seed(1)
    with pyro.validation_enabled(contender.validated):
        return contender.rehearsal()


def disagreements(all_of_them: Mapping[str, Contender]) -> Iterator[str]:
    """Where a loss or a gradient is not the one by hand, in words."""
    hand = rehearsed(all_of_them[HAND])
    for name, contender in all_of_them.items():
        if name == HAND:
            continue
        loss, gradients = rehearsed(contender)
        if not abs(loss - hand.loss) <= TOLERANCE * abs(hand.loss):
            yield f"{name}: the loss is {loss:.5f} nats, and {hand.loss:.5f} by hand"
        if not gradients and name in (SVI_ENGINE, TUTORIAL):
            continue
        for place, (own, its) in enumerate(zip(gradients, hand.gradients, strict=True)):
            error = float("nan") if own is None or its is None else distance(own, its.view_as(own))
            if not error <= TOLERANCE:
                yield f"{name}: the gradient of parameter {place} differs by {error:.1e} of its norm"


def distance(gradient: Tensor, reference: Tensor) -> float:
    """The norm of the difference, by that of the reference."""
    return float((gradient - reference).norm() / reference.norm())


def timed(contender: Contender, steps: int, device: torch.device) -> Times:
    """Seconds of a step, mean of several in a row."""
    with pyro.validation_enabled(contender.validated):
        wait_for(device)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            contender.step()
        wait_for(device)
        return Times((time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps)


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(all_of_them: Mapping[str, Contender], options: argparse.Namespace) -> Results:
    """Times of every round; the contenders take turns, and another one is first in every round."""
    results: dict[str, list[Times]] = {name: [] for name in all_of_them}
    turns = itertools.cycle(all_of_them)
    for round_number in range(options.rounds + 1):
        next(turns)
        for name in itertools.islice(turns, len(all_of_them)):
            times = timed(all_of_them[name], options.steps, options.device)
            if round_number:  # the first one warms up
                results[name].append(times)
    return results


def ratios(results: Results, what: str, above: str, below: str) -> list[float]:
    """One ratio for each round."""
    pairs = zip(results[above], results[below], strict=True)
    return [getattr(over, what) / getattr(under, what) for over, under in pairs]


def table(results: Results) -> str:
    """Medians over rounds as Markdown; beside a ratio, the smallest and the largest of a round."""
    header = ["step", "wall, ms", "CPU, ms", "images/s", "wall / by hand", "CPU / by hand"]
    header += ["wall / by hand, compiled", "CPU / by hand, compiled"]
    rows = []
    for name, times in results.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        row = [name, f"{1e3 * wall:.3f}", f"{1e3 * cpu:.3f}", f"{BATCH / wall:,.0f}"]
        pairs = itertools.product((HAND, HAND_COMPILED), ("wall", "cpu"))
        row += [report.spread(ratios(results, what, name, other)) for other, what in pairs]
        rows.append(row)
    return report.table(header, rows)


def write(options: argparse.Namespace, facts: Mapping[str, Any], results: Mapping[str, Results]) -> str:
    """The tables under a line that says what they are of; written to the folder."""
    title = f"A training step, batch {BATCH}, {options.device}, {report.counted(options.threads, 'thread')}"
    rounds = f"medians of {report.counted(options.rounds, 'round')} of {options.steps} steps"
    tables = [f"## {CASES[name].title}\n\n{table(found)}" for name, found in results.items()]
    text = "\n".join([f"{report.summary(title, facts)}; {rounds}\n", *tables])
    figure = report.blank(11, 2 * len(results) + 1, title)
    for axes, (name, found) in zip(
        figure.subplots(len(results), 1, sharex=True, squeeze=False).flat, results.items(), strict=True
    ):
        report.bars(axes, {other: ratios(found, "wall", other, HAND) for other in found}, OURS)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_title(CASES[name].title)
        axes.set_xlabel("wall time / by hand")
        axes.label_outer()
    file = f"step-{options.device.type}-{options.threads}-threads"
    report.write(options.out, file, text, {**facts, "seconds": results}, figure)
    return text


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = report.parser(__doc__, device=torch.device)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20, help="of a contender, in a round")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    return parser.parse_args()


def main() -> None:
    """Check that all do the same, time them, print and write the tables."""
    options = parsed()
    torch.set_num_threads(options.threads)
    facts = report.facts(options)
    results = {}
    for name in options.only:
        print(f"{name}: capturing, compiling and checking", file=sys.stderr)
        all_of_them = dict(contenders(CASES[name], options.device))
        if found := list(disagreements(all_of_them)):
            sys.exit("\n".join([f"{name}: not the same maths, so nothing is timed", *found]))
        results[name] = measured(all_of_them, options)
        print(table(results[name]), file=sys.stderr)
    print(write(options, facts, results))


if __name__ == "__main__":
    main()
