"""Pictures of data: what training shows of them, and how small ones are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from pyrovae import plots
from pyrovae.config import resolve
from pyrovae.data import load
from pyrovae.plots.pictures import enlarged
from pyrovae.run import Run

SMALL = {"latent_dim": 2, "network": {"name": "mlp", "hidden": [4]}, "train": {"epochs": 1}}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, empty_pictures: None) -> list[dict[str, Any]]:
    """The panels of all figures, by their titles."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(plots, "panels", lambda panels, **_: found.append(dict(panels)))
    return found


def is_grey(values: Any) -> bool:
    return bool(((values > 0) & (values < 1)).any())


def test_the_picture_of_an_epoch_shows_the_grey_data_that_were_binarised(
    drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    run = Run.start(resolve(SMALL), path=tmp_path / "run")
    list(run.train())
    data, restored, new = drawn[-1].values()
    assert next(iter(drawn[-1])) == "validation data"
    assert data.shape == restored.shape == new.shape == (25, 1, 8, 8)
    assert run.prepared is not None
    held_out = run.prepared.dataset.validation
    assert_array_equal(data, held_out.raw[:25].float() / held_out.divisor)
    assert is_grey(data)


@pytest.mark.parametrize(
    ("mode", "grey"), [("dynamic", True), ("static", False), ("threshold", False), ("none", True)]
)
def test_the_expected_data_are_grey_where_bits_are_drawn_from_grey_values(mode: Any, grey: bool) -> None:
    dataset = load("digits", limit=50)
    test = (dataset if mode == "none" else dataset.binarized(mode)).test
    assert is_grey(test.expected().rows(slice(20))) == grey
    if not grey:
        assert torch.equal(test.expected().rows(slice(20)), test.rows(slice(20)))


def test_dequantised_data_are_expected_as_they_are() -> None:
    test = load("digits", limit=50).dequantized().test
    assert torch.equal(test.expected().rows(slice(20)), test.rows(slice(20)))


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 1, 8, 8), (3, 3, 8, 8), (2, 5, 7)])
def test_small_grey_pictures_are_drawn_with_more_pixels_and_the_same_extremes(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).uniform(size=shape)
    larger = enlarged(values)
    height, width = values.shape[-2:]
    times = larger.shape[-1] // width
    assert larger.shape == (*shape[:-2], times * height, times * width)
    assert times * max(height, width) >= 64
    assert values.min() <= larger.min() < larger.max() <= values.max()
    # A square's mean is about its pixel: the picture is not shifted.
    squares = larger.reshape(*shape[:-2], height, times, width, times).mean((-3, -1))
    assert np.corrcoef(squares.ravel(), values.ravel())[0, 1] > 0.97


def test_bits_are_drawn_as_squares() -> None:
    bits = np.eye(8)[None]
    assert_array_equal(enlarged(bits), np.kron(bits, np.ones((8, 8))))


def test_pictures_of_many_pixels_are_drawn_as_they_are() -> None:
    values = np.random.default_rng(0).uniform(size=(2, 12, 28))
    assert enlarged(values) is values
