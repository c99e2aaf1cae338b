"""scikit-learn's handwritten digits: 1,797 images of 8 by 8 that need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pyrovae.data._cut import Parts, hold_out
from pyrovae.data._dataset import Split

_TEST_ROWS = 360


def read(data_dir: Path | None) -> Parts:
    """All digits; the set has no test rows of its own, so the same fifth of it is always held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.uint8)).unsqueeze(1)
    train, test = hold_out(Split(images, digits.target, divisor=16.0), _TEST_ROWS)
    return Parts(train=train, test=test)
