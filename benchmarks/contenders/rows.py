"""Write which rows of MNIST ``pyrovae`` trains on and which it validates on, for all to take the same.

python benchmarks/contenders/rows.py rows.npz
"""

import sys
from typing import Any

import numpy as np

from pyrovae.data import from_arrays

ROWS = 60_000


def main(path: str) -> None:
    """Cut row numbers, as labels, and no images: which rows are held out depends on how many there are."""
    cut = from_arrays(np.zeros((ROWS, 1), dtype=np.uint8), np.arange(ROWS), validation=0.1, test=0.0)
    rows: dict[str, Any] = {"train": cut.train.labels, "validation": cut.validation.labels}
    np.savez(path, **rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
