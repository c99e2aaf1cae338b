"""The importance-sampled log p(x) of ``pyrovae.evaluate`` against the same computation by hand in PyTorch.

    python benchmarks/log_likelihood.py

One process, random weights, 200 binary images of 784 pixels, a 784-400-20 network, 1,000 draws for each
image. The two take turns; each pair of runs gives a ratio of their times, pyrovae / by hand. Both have the
same number of pixels in memory at a time. k-hat, which the code by hand does not give, is timed by itself.
"""

import argparse
import math
import statistics
import time

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pyrovae.config import resolve
from pyrovae.evaluate import CELLS_AT_ONCE, evaluate, pareto_k
from pyrovae.posteriors._scale import positive
from pyrovae.programs.single_layer import SingleLayer
from pyrovae.run import build

IMAGES, PIXELS, BATCH, DRAWS = 200, 784, 100, 1000


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
        noise = torch.randn(min(at_once, DRAWS - start), *mean.shape)
        z = mean + scale * noise
        logits = decoder(z).squeeze(-2)
        log_px = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        log_pz = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
        log_qz = (-0.5 * (noise.square() + math.log(2 * math.pi)) - scale.log()).sum(-1)
        log_weights.append(log_px + log_pz - log_qz)
    return torch.cat(log_weights).logsumexp(0) - math.log(DRAWS)


def main() -> None:
    """Print the ratio of times: median, smallest and largest over pairs of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    program = build(
        resolve({"latent_dim": 20, "network": {"name": "mlp", "hidden": [400]}}), torch.Size([PIXELS])
    )
    x = (torch.rand(IMAGES, PIXELS) < 0.2).float()

    def seconds(ours: bool) -> tuple[float, Tensor]:
        start = time.perf_counter()
        if ours:
            values = evaluate(program, x.split(BATCH), particles=DRAWS, tails=False).log_likelihood
        else:
            values = by_hand(program, x)
        return time.perf_counter() - start, values

    (_, ours), (_, theirs) = seconds(True), seconds(False)
    difference = (ours - theirs).mean().item()
    print(f"mean log p(x) {ours.mean():.3f} and {theirs.mean():.3f} nats, difference {difference:.4f}")
    times = [(seconds(True)[0], seconds(False)[0]) for _ in range(options.pairs)]
    ratios = [ours / theirs for ours, theirs in times]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"median seconds: pyrovae {ours:.2f}, by hand {theirs:.2f}")
    log_weights = torch.randn(DRAWS, IMAGES, dtype=torch.float64)
    start = time.perf_counter()
    pareto_k(log_weights)
    print(f"k-hat besides: {time.perf_counter() - start:.2f} s")
    print(f"ratio: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
