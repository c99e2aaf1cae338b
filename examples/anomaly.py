"""Train a VAE without one digit, and tell that digit from the others by three scores: AUROC, and one figure.

python examples/anomaly.py                                         # digits, about a minute
python examples/anomaly.py --data mnist --data-dir DIR --digit 4 --latent-dim 20 --epochs 15
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from sklearn.decomposition import PCA

from pyrovae import plots
from pyrovae.config import resolve
from pyrovae.generate import reconstruct
from pyrovae.run import Run
from pyrovae.score import auroc, score


def main(
    data: Annotated[str, typer.Option(help="Source of the data, as of 'pyrovae train'.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Folder of downloaded data sets.")] = None,
    digit: Annotated[int, typer.Option(help="Label that training never sees.")] = 4,
    latent_dim: Annotated[int, typer.Option(help="Latent coordinates, and principal components.")] = 8,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 60,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Where to write the figure.")] = Path("anomaly.png"),
) -> None:
    """Score test rows of the digit and of all others: each score should be higher for the digit."""
    source = {"source": data, "exclude_labels": [digit]} | ({"dir": data_dir} if data_dir else {})
    common = {"latent_dim": latent_dim, "seed": seed, "train": {"epochs": epochs}}
    run = Run.start(resolve(common, {"data": source}))
    list(run.train())
    every, _ = run.evaluation_rows(data=data)
    outlying = every.take(torch.from_numpy(np.flatnonzero(every.labels == digit)))
    both = [run.evaluation_rows("test")[0], outlying]
    x = [rows.rows(slice(None)).flatten(1).cpu() for rows in both]
    pca = PCA(latent_dim).fit(run.evaluation_rows("train")[0].rows(slice(None)).flatten(1).cpu())
    likely = [score(run.program, rows.batches(100), particles=50).surprise for rows in both]
    expected = [reconstruct(run.program, rows.batches()).mean.flatten(1).cpu() for rows in both]
    projected = [torch.from_numpy(pca.inverse_transform(pca.transform(part))) for part in x]
    scores = {"-log p(x), nats": likely}
    for name, restored in (("reconstruction error", expected), ("PCA reconstruction error", projected)):
        scores[name] = [(a - b).square().sum(1) for a, b in zip(x, restored, strict=True)]
    kinds = {}
    for name, (of_usual, of_outlying) in scores.items():
        area = auroc(of_usual, of_outlying)
        kinds[name] = plots.Detection(of_usual, of_outlying, f"{area.value:.3f} ± {area.data_error:.3f}")
        print(f"digit {digit}: {name:<25} AUROC {area.value:.3f} +- {area.data_error:.3f}")
    plots.save(plots.detection(kinds, title=f"{data}: {digit}, unseen in training, against the others"), out)
    print(out)


if __name__ == "__main__":
    typer.run(main)
