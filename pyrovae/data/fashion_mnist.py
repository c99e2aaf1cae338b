"""Fashion-MNIST: 60,000 and 10,000 pieces of clothing of 28 by 28, downloaded on first use."""

from __future__ import annotations

from pathlib import Path

from pyrovae.data._cut import Parts
from pyrovae.data._torchvision import read_idx


def read(data_dir: Path | None) -> Parts:
    """Both parts, from ``data_dir/FashionMNIST/raw``."""
    return read_idx("FashionMNIST", data_dir)
