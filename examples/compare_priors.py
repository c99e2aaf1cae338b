"""Train the same VAE under several priors: a table with error bars, and one figure.

python examples/compare_priors.py                                  # digits, about a minute
python examples/compare_priors.py --data mnist --epochs 20
"""

from pathlib import Path
from typing import Annotated

import typer

from pyrovae import plots
from pyrovae.config import resolve
from pyrovae.evaluate import evaluate
from pyrovae.generate import reconstruct, sample
from pyrovae.run import Run

PRIORS = {
    "normal": {},
    "mixture": {"prior": {"name": "mixture", "components": 10}},
    "vamp": {"prior": {"name": "vamp", "components": 50}},
    "flow": {"prior": "flow"},
    "sphere": {"prior": "sphere", "posterior": "power-sphere"},
}


def main(
    data: Annotated[str, typer.Option(help="Source of the data, as of 'pyrovae train'.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Folder of downloaded data sets.")] = None,
    latent_dim: Annotated[int, typer.Option(help="Number of latent coordinates.")] = 2,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 60,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Where to write the figure.")] = Path("compare_priors.png"),
) -> None:
    """Train under each prior, score the test data, and compare."""
    common = {"latent_dim": latent_dim, "seed": seed, "train": {"epochs": epochs}}
    source = {"data": {"source": data} | ({"dir": data_dir} if data_dir else {})}
    models, scores = {}, {}
    for name, choice in PRIORS.items():
        run = Run.start(resolve(common, source, choice))
        for _ in run.train():
            pass
        rows, _ = run.evaluation_rows("test")
        scores[name] = evaluate(run.program, rows.batches(100), particles=300).log_likelihood
        error = scores[name].std().item() / len(rows) ** 0.5
        drawn, codes = sample(run.program, 1000), reconstruct(run.program, rows.batches()).z[:1000]
        pictures = (each.cpu() for each in (drawn.mean[:36], drawn.z, codes))
        models[name] = plots.Compared(*pictures, scores[name].mean().item(), error)
        difference = scores[name] - scores["normal"]
        print(
            f"{name:<8} log p(x) = {models[name].log_likelihood:8.2f} +- {error:.2f} nats per datum; "
            f"against normal {difference.mean():+6.2f} +- {difference.std() / len(rows) ** 0.5:.2f}"
        )
    plots.save(plots.comparison(models, title=f"{data}: E[x|z], codes, and log p(x) of the test data"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
