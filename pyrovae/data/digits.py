"""scikit-learn's handwritten digits: 1,797 images of 8 by 8 that need no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.data._cut import Parts, hold_out
from pyrovae.data._dataset import Split

_TEST_ROWS = 360


def read(data_dir: Path | None) -> Parts:
    """All digits; the set has no test rows of its own, so the same fifth of it is always held out."""
    table = _table()
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).reshape(-1, 1, 8, 8)
    train, test = hold_out(Split(images, table[:, -1].astype(np.int64), divisor=16.0), _TEST_ROWS)
    return Parts(train=train, test=test)


def _table() -> NDArray[Any]:
    """A row a digit: 64 values and the label."""
    package = find_spec("sklearn")
    file = Path(package.origin if package and package.origin else "").parent / "datasets/data/digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, np.uint8, delimiter=",")
    # Importing this takes longer than to read and cut the digits.
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
