"""Score runs on grey values as continuous Bernoulli, whichever of the two likelihoods they were trained with.

    python benchmarks/score_as_continuous_bernoulli.py runs/grey-bernoulli runs/grey-continuous-bernoulli

Both likelihoods take one logit for each pixel, so the weights of one fit the other. Prints nats per image of
the test set, a log-density on [0, 1]^784, with the standard error over images.
"""

import sys
from pathlib import Path

from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.evaluate import evaluate
from pyrovae.run import Run

PARTICLES = 100


def main(paths: list[str]) -> None:
    """Print the ELBO and the importance-sampled log p(x) of each run."""
    for path in paths:
        run = Run.load(Path(path))
        rows, _ = run.evaluation_rows("test")
        config = resolve(run.config.model_dump(), {"likelihood": "continuous-bernoulli"})
        program = build(config, run.program.event_shape)
        program.load_state_dict(run.program.state_dict())
        estimates = evaluate(program, rows.batches(100), particles=PARTICLES)
        for name in ("elbo", "log_likelihood"):
            values = getattr(estimates, name)
            print(f"{path}: {name} {values.mean():.2f} +- {values.std() / len(values) ** 0.5:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
