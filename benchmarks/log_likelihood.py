"""The importance-sampled log p(x) of ``pyrovae.evaluate`` against the same computation by hand in PyTorch.

    python benchmarks/log_likelihood.py --pairs 10

One process, random weights, 1,000 binary images of 784 pixels, a 784-400-20 network, 1,000 draws for each
image. The two take turns; each pair of runs gives a ratio of their times, pyrovae / by hand. Both have the
same number of pixels in memory at a time. k-hat, which the code by hand does not give, is timed by itself.
"""

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import report
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.evaluate import CELLS_AT_ONCE, evaluate
from pyrovae.importance import pareto_k
from pyrovae.posteriors._scale import positive
from pyrovae.programs.single_layer import SingleLayer

PIXELS, BATCH, DRAWS = 784, 100, 1000
OURS, HAND = "pyrovae", "by hand"

Times = Sequence[Mapping[str, float]]
"""Seconds by contender, one for each pair."""


@torch.no_grad()
def by_hand(program: SingleLayer, x: Tensor) -> Tensor:
    """log p(x) of every image, without Pyro."""
    encoder, decoder = program.network.encoder, program.network.decoder
    return torch.cat([_of_batch(encoder, decoder, batch) for batch in x.split(BATCH)])


def _of_batch(encoder: torch.nn.Module, decoder: torch.nn.Module, x: Tensor) -> Tensor:
    mean, unbounded = encoder(x).chunk(2, -1)
    scale = positive(unbounded)
    log_weights = []
    at_once = max(1, CELLS_AT_ONCE // x.numel())
    for start in range(0, DRAWS, at_once):
        noise = torch.randn(min(at_once, DRAWS - start), *mean.shape, device=x.device)
        z = mean + scale * noise
        logits = decoder(z).squeeze(-2)
        log_px = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        log_pz = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
        log_qz = (-0.5 * (noise.square() + math.log(2 * math.pi)) - scale.log()).sum(-1)
        log_weights.append(log_px + log_pz - log_qz)
    return torch.cat(log_weights).logsumexp(0) - math.log(DRAWS)


def by_pyrovae(program: SingleLayer, x: Tensor) -> Tensor:
    """log p(x) of every image, by the evaluation that users call."""
    return evaluate(program, x.split(BATCH), particles=DRAWS, tails=False).log_likelihood


CONTENDERS = {OURS: by_pyrovae, HAND: by_hand}


def timed(name: str, program: SingleLayer, x: Tensor) -> tuple[float, Tensor]:
    """Seconds, and what was computed in them; the values are fetched, so that the device has finished."""
    start = time.perf_counter()
    values = CONTENDERS[name](program, x).cpu()
    return time.perf_counter() - start, values


def write(options: argparse.Namespace, facts: Mapping[str, Any], times: Times, notes: Sequence[str]) -> str:
    """The table under a line that says what it is of; written to the folder with a figure."""
    title = (
        f"log p(x) of {options.images} images from {DRAWS} draws, {options.device}, "
        f"{report.counted(options.threads, 'thread')}"
    )
    rows = []
    for name in CONTENDERS:
        seconds = [pair[name] for pair in times]
        median = statistics.median(seconds)
        ratios = report.spread([pair[name] / pair[HAND] for pair in times])
        rows.append([name, report.spread(seconds), f"{options.images / median:,.0f}", ratios])
    table = report.table(["evaluation", "wall, s", "images/s", "wall / by hand"], rows)
    pairs = f"medians of {report.counted(options.pairs, 'pair')}"
    listed = "".join(f"- {note}\n" for note in notes)
    text = f"{report.summary(title, facts)}; {pairs}\n\n{table}\n{listed}"
    figure = report.blank(8, 2, title)
    axes = figure.subplots()
    report.bars(axes, {name: [pair[name] for pair in times] for name in CONTENDERS}, [OURS])
    axes.set_xlabel("wall, s")
    file = f"log-likelihood-{options.device.type}-{options.threads}-threads"
    report.write(options.out, file, text, {**facts, "seconds": times, "notes": notes}, figure)
    return text


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = report.parser(__doc__, device=torch.device)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--images", type=int, default=1000)
    return parser.parse_args()


def main() -> None:
    """Compare the values, time the two in turn, print and write."""
    options = parsed()
    torch.set_num_threads(options.threads)
    facts = report.facts(options)
    torch.manual_seed(0)
    config = resolve({"latent_dim": 20, "network": {"name": "mlp", "hidden": [400]}})
    program = build(config, torch.Size([PIXELS])).to(options.device)
    x = (torch.rand(options.images, PIXELS) < 0.2).float().to(options.device)

    (_, ours), (_, theirs) = timed(OURS, program, x), timed(HAND, program, x)
    difference = (ours - theirs).mean().item()
    notes = [f"mean log p(x) {ours.mean():.3f} and {theirs.mean():.3f} nats, difference {difference:.4f}"]
    times = [{name: timed(name, program, x)[0] for name in CONTENDERS} for _ in range(options.pairs)]
    log_weights = torch.randn(DRAWS, options.images, dtype=torch.float64)
    start = time.perf_counter()
    pareto_k(log_weights)
    notes.append(f"k-hat besides: {time.perf_counter() - start:.2f} s")
    print(write(options, facts, times, notes))


if __name__ == "__main__":
    main()
