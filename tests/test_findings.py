"""What is found reads as a table, and is used by name."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pyrovae import VAE
from pyrovae.quantities import Findings, Histogram, Mean, Quantity

SMALL: dict[str, Any] = {"latent_dim": 2, "network": {"name": "mlp", "hidden": [16]}, "verbose": False}
X = (load_digits().images[:60] > 8).astype(np.float32)

FOUND = Findings(
    "mean over data",
    [
        Quantity("elbo", "ELBO, <a bound>", Mean(-20.25, 0.125, 0.5), bits_per_dimension=0.45),
        Quantity("share", "share", Mean(math.nan), unit=""),
    ],
    ["k-hat is above 0.7 for 3 of 60 data"],
    [Histogram("ranks", "rank", torch.tensor([1.0, math.inf]))],
)
MISSING = Findings("active units", unavailable="two rows are needed")


@pytest.fixture(scope="module")
def vae() -> VAE:
    return VAE(**SMALL, epochs=1).fit(X)


class Cells(HTMLParser):
    """The texts of a page's cells, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and self.lasttag in ("th", "td"):
            self.rows[-1][-1] += data


def test_quantities_are_used_by_name() -> None:
    elbo = FOUND["elbo"]
    assert (elbo.value, elbo.monte_carlo_error, elbo.data_error) == (-20.25, 0.125, 0.5)
    assert list(FOUND) == list(FOUND.keys()) == ["elbo", "share"]
    assert [quantity.key for quantity in FOUND.values()] == ["elbo", "share"]
    assert len(FOUND) == 2
    assert "elbo" in FOUND
    assert "kl" not in FOUND


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(
        KeyError, match=r"'elb0' is unknown \(did you mean 'elbo'\?\); choose from elbo, share"
    ):
        FOUND["elb0"]
    with pytest.raises(KeyError, match="active units: not available: two rows are needed"):
        MISSING["z[0]"]


def test_findings_read_as_their_table() -> None:
    lines = str(FOUND).splitlines()
    assert repr(FOUND) == str(FOUND)
    assert lines[0].strip().startswith("mean over data")
    assert re.search(r"ELBO, <a bound> +-20\.250 +nats +0\.12 +0\.5 +0\.4500", str(FOUND))
    assert lines[-1] == "k-hat is above 0.7 for 3 of 60 data"
    assert str(MISSING) == "active units: not available: two rows are needed"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_their_table_is_as_wide_as_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, str(FOUND).splitlines())) <= width
    for words in ("ELBO, <a bound>", "-20.250", "0.4500"):
        assert words in str(FOUND)


def test_in_a_notebook_they_are_a_table_of_html() -> None:
    page = FOUND._repr_html_()
    head, elbo, _ = Cells(page).rows
    assert head == ["", "value", "unit", "Monte-Carlo error", "error over data", "bits/dim"]
    assert elbo == ["ELBO, <a bound>", "-20.250", "nats", "0.12", "0.5", "0.4500"]
    assert "<p>k-hat is above 0.7 for 3 of 60 data</p>" in page
    assert MISSING._repr_html_() == "<p>active units: not available: two rows are needed</p>"


def test_a_dictionary_of_them_is_json() -> None:
    found = json.loads(json.dumps(FOUND.to_dict(), allow_nan=False))
    assert found["title"] == "mean over data"
    assert found["quantities"]["elbo"]["value"] == -20.25
    assert found["quantities"]["share"]["value"] is None
    assert found["notes"] == list(FOUND.notes)
    assert found["histograms"][0]["values"] == [1.0, None]
    assert MISSING.to_dict() == {"title": "active units", "unavailable": "two rows are needed"}


def test_what_a_vae_finds_reads_so_too(vae: VAE) -> None:
    evaluation = vae.evaluate(X, particles=30)
    assert evaluation["elbo"].value <= evaluation["log_likelihood"].value
    assert evaluation["elbo"].value == evaluation.to_dict()["quantities"]["elbo"]["value"]
    assert re.search(r"^ +ELBO +-\d+\.\d{3} +nats", str(evaluation), re.MULTILINE)
    assert "tensor" not in repr(evaluation)
    units = vae.diagnose(X, "active-units")
    assert units["active_units"].value == units.quantities[0].mean.value
    assert repr(units).startswith(" ")
