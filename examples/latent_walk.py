"""Walk through the latent space: what each latent variable changes, the way between two data, and one figure.

python examples/latent_walk.py                                     # digits, about a minute
python examples/latent_walk.py --data mnist --data-dir DIR --latent-dim 20 --epochs 10
"""

from pathlib import Path
from typing import Annotated

import typer

from pyrovae import plots
from pyrovae.config import resolve
from pyrovae.run import Run
from pyrovae.walks import interpolate, traverse


def main(
    data: Annotated[str, typer.Option(help="Source of the data, as of 'pyrovae train'.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Folder of downloaded data sets.")] = None,
    latent_dim: Annotated[int, typer.Option(help="Number of latent coordinates.")] = 8,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 60,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Where to write the figure.")] = Path("latent_walk.png"),
) -> None:
    """Train, move one latent variable at a time around the code of a test datum, go on to another datum."""
    source = {"data": {"source": data} | ({"dir": data_dir} if data_dir else {})}
    run = Run.start(resolve({"latent_dim": latent_dim, "seed": seed, "train": {"epochs": epochs}}, source))
    list(run.train())
    rows, _ = run.evaluation_rows("test")
    first, last = rows.rows(slice(2))
    walks = traverse(run.program, rows, at=first, seed=seed)
    for walk in walks:
        change = (walk.mean[-1] - walk.mean[0]).abs().mean()
        print(
            f"{walk.name:<6} variance of E_q[z] {walk.variance:.3f}, "
            f"a cell changes by {change:.3f} on average{'' if walk.active else ', inactive'}"
        )
    way = interpolate(run.program, first, last, seed=seed).mean
    step = (way[1:] - way[:-1]).abs().flatten(1).mean(1)
    print(f"from row 0 to row 1 a cell changes by {step.min():.3f} to {step.max():.3f} in a tenth of the way")
    plots.save(plots.traversal(walks, title=f"{data}: E[x|z] around the code of test row 0"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
