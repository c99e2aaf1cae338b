"""The picture of an epoch: samples, and data beside their reconstructions; knows no run and no file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrovae import generate
from pyrovae.data import Dataset
from pyrovae.programs import Program
from pyrovae.randomness import seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURED = 25
"""How many samples and how many reconstructions a picture of training shows."""


def draw(program: Program, dataset: Dataset, *, epoch: int, seed: int) -> Figure:
    """A grid of data, their reconstructions and samples, of the same data and the same noise in every epoch.

    Args:
        program: model and guide.
        dataset: whose validation rows are reconstructed; training rows where there are no validation rows.
        epoch: for the title.
        seed: of the draws.
    """
    from pyrovae import plots  # matplotlib takes a second to import, and only pictures need it

    with seeded(seed, "picture"):
        split = dataset.validation if len(dataset.validation) else dataset.train
        rows, shown = split.rows(slice(PICTURED)), split.expected().rows(slice(PICTURED))
    samples = generate.sample(program, PICTURED, seed=seed)
    restored = generate.reconstruct(program, [rows], seed=seed)
    return plots.panels(
        {
            "validation data" if split is dataset.validation else "training data": shown.cpu(),
            "the same data through their codes: E[x|z], z ~ q(z|x)": restored.mean.cpu(),
            "new data: E[x|z], z ~ p(z)": samples.mean.cpu(),
        },
        title=f"epoch {epoch}",
    )
