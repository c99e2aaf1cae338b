"""The recipe of Pyro's VAE example: that of its tutorial, but images are converted once and kept.

Source: https://github.com/pyro-ppl/pyro/tree/dev/examples/vae.
"""

import contract
import numpy as np
from contract import PIXELS
from numpy.typing import NDArray
from pyro_tutorial import fit
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import MNIST


class Kept(Dataset[tuple[Tensor, Tensor]]):
    """Images as floats, and their labels."""

    def __init__(self, mnist: MNIST, rows: NDArray[np.int64]) -> None:
        self.x = mnist.data[rows].float().mul_(1 / 255).view(-1, PIXELS)
        self.labels = mnist.targets[rows]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.x[row], self.labels[row]


def main() -> None:
    """Images are converted before they are loaded."""
    task = contract.task()
    mnist = MNIST(str(task.data_dir), train=True)
    fit(task, Kept(mnist, task.train), Kept(mnist, task.validation))


if __name__ == "__main__":
    main()
