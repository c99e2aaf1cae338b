"""Posterior predictive of test data: how far the model expects to be off, how far it is, and one figure.

python examples/posterior_predictive.py                            # digits, about a minute
python examples/posterior_predictive.py --data mnist --data-dir DIR --latent-dim 20 --epochs 10
"""

from pathlib import Path
from typing import Annotated

import typer

from pyrovae import plots
from pyrovae.config import resolve
from pyrovae.corruption import parse
from pyrovae.predict import denoise, predict, restoration
from pyrovae.run import Run


def main(
    data: Annotated[str, typer.Option(help="Source of the data, as of 'pyrovae train'.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Folder of downloaded data sets.")] = None,
    latent_dim: Annotated[int, typer.Option(help="Number of latent coordinates.")] = 8,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 60,
    noise: Annotated[
        str, typer.Option(help="What is done to the data, as of 'pyrovae denoise'.")
    ] = "salt:0.2",
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Where to write the figure.")] = Path("posterior_predictive.png"),
) -> None:
    """Train, draw data anew given each of 200 test rows, and restore the same rows from corrupted ones."""
    source = {"data": {"source": data} | ({"dir": data_dir} if data_dir else {})}
    run = Run.start(resolve({"latent_dim": latent_dim, "seed": seed, "train": {"epochs": epochs}}, source))
    list(run.train())
    rows, _ = run.evaluation_rows("test")
    x = rows.rows(slice(200))
    found = predict(run.program, [x], draws=100, seed=seed)
    restored = denoise(run.program, [x], parse(noise), extremes=rows.range(), draws=100, seed=seed)
    for name, mean, deviation in (
        ("as they are", found.mean, found.deviation),
        (f"after {noise}", restored.restored, restored.deviation),
    ):
        expected, actual = deviation.square().mean().sqrt(), (mean - x.cpu()).square().mean().sqrt()
        print(f"{name:<15} expected error of a cell {expected:.4f}, actual error {actual:.4f}")
    of_code = found.deviation_of_mean.square().mean() / found.deviation.square().mean()
    print(f"{'share of code':<15} {of_code:.1%} of the variance of x comes from not knowing z")
    for row in restoration(restored).quantities:
        print(f"{row.label}: {row.mean.value:.4f} +- {row.mean.data_error:.4f} {row.unit}")
    plots.save(plots.predictive(x.cpu(), found, title=f"{data}: posterior predictive of test data"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
