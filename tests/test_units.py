"""What a log-likelihood is of: per which unit, given what; against changes of variables that are known."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import succeed

from pyrovae import VAE
from pyrovae.data import Split
from pyrovae.evaluate import Evaluation
from pyrovae.units import STORED, Unit

WHOLE = torch.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize("margin", [0.0, 0.01])
@pytest.mark.parametrize("divisor", [1.0, 255.0])
@pytest.mark.parametrize("dequantized", [True, False])
def test_the_slope_is_that_of_the_values_that_a_model_sees(
    margin: float, divisor: float, dequantized: bool
) -> None:
    split = Split(WHOLE, divisor=divisor, margin=margin)
    if dequantized:
        split = replace(split, noise="dequantized", draws="middle")
    x = split.rows(slice(None)).double()
    slope = ((x[-1, -1] - x[0, 0]) / 11).item()
    assert split.unit.log_slope == pytest.approx(math.log(slope), abs=1e-5)
    assert split.unit.is_dequantized == dequantized
    values = {"value": WHOLE.double(), "u": 0.5}
    if split.unit != STORED:
        formula = split.unit.words.replace(f"{1 - 2 * margin:g} (", f"{1 - 2 * margin:g} * (")
        formula = formula.replace(f"{1 - 2 * margin:g} value", f"{1 - 2 * margin:g} * value")
        torch.testing.assert_close(eval(formula, values), x, atol=1e-5, rtol=1e-5)
    assert (split.unit == STORED) == (divisor == 1 and not margin and not dequantized)


def test_bits_have_a_unit_of_their_own() -> None:
    split = Split(WHOLE, divisor=11.0, noise="binarized", draws="own")
    assert split.unit == Unit("the bits")
    assert split.unit.of_stored(3) == ""


def vae_of(x: np.ndarray, likelihood: str, **data: object) -> VAE:
    network = {"name": "mlp", "hidden": [4]}
    data = {"validation": 0.0, **data}
    return VAE(latent_dim=2, likelihood=likelihood, network=network, data=data, epochs=1, verbose=False).fit(
        x
    )


def found_of(x: np.ndarray, likelihood: str, **data: object) -> Evaluation:
    return vae_of(x, likelihood, **data).evaluate(x, particles=30)


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (40, 6)).astype(np.float32)


def test_a_density_says_per_what_it_is_and_how_to_come_to_that_of_stored_values(grey: np.ndarray) -> None:
    cases = {
        "the stored values": ({}, 0.0),
        "value / 255": ({"divisor": 255}, -6 * math.log(255)),
        "(value + u) / 256": ({"divisor": 255, "dequantize": True}, -6 * math.log(256)),
        "0.01 + 0.98 value / 255": ({"divisor": 255, "squeeze": 0.01}, 6 * math.log(0.98 / 255)),
    }
    for words, (data, change) in cases.items():
        found = found_of(grey, "gaussian", **data)
        assert found.unit == f"nats per datum; densities are per unit of {words}"
        assert f"densities are per unit of {words}" in repr(found)
        assert f"densities are per unit of {words}" in found._repr_html_()
        assert found.to_stored == pytest.approx(change)
        said = [note for note in found.notes if f"add {change:+,.3f} nats per datum" in note]
        assert len(said) == (words != "the stored values")
        assert (found["elbo"].bits_per_dimension is not None) == ("dequantize" in data)


def test_a_probability_has_no_unit_to_convert(grey: np.ndarray) -> None:
    found = found_of((grey > 99).astype(np.float32), "bernoulli")
    assert (found.unit, found.to_stored, found.title) == ("nats per datum", None, "mean over data")


def test_bits_of_dequantised_data_are_those_of_the_whole_numbers() -> None:
    # A density of 1 on [0, 1] is a probability of 1 / 256 for each of 256 whole numbers: 8 bits.
    unit = Split(WHOLE, divisor=255.0, noise="dequantized").unit
    assert unit.bits_per_dimension(0.0, cells=6) == pytest.approx(8)
    squeezed = Split(WHOLE, divisor=255.0, margin=0.25, noise="dequantized").unit
    assert squeezed.bits_per_dimension(6 * math.log(2), cells=6) == pytest.approx(8)
    assert STORED.bits_per_dimension(0.0, cells=6) is None


def test_bits_of_dequantised_data_bound_those_of_a_likelihood_of_whole_numbers() -> None:
    x = np.random.RandomState(0).randint(0, 4, (400, 2)).astype(np.float32)
    vae = vae_of(x, "beta", divisor=3, dequantize=True)
    bits = vae.evaluate(x, particles=30)["log_likelihood"].bits_per_dimension
    assert bits is not None
    assert bits > 1.9  # the entropy of four equal values is 2 bits; of 400 draws of them a little less


def test_a_conditional_likelihood_says_what_it_is_given_wherever_it_is_printed(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.random.RandomState(0).poisson(3, (40, 5)).astype(np.float32))
    run = tmp_path / "run"
    small = ("--set", "network.hidden=[4]", "--latent-dim", "2", "--epochs", "1", "--run", run)
    caveat = "log p(x) is log p(x | its total): the likelihood is conditional on its total"
    assert (
        caveat
        in succeed("train", "--data", tmp_path / "counts.npy", "--likelihood", "multinomial", *small).err
    )
    printed = succeed("evaluate", run, "--split", "train", "--particles", "30").out
    assert "log p(x | its total), importance-sampled bound" in printed
    assert "E_q[log p(x|z, its total)]" in printed
    assert caveat in printed
    found = json.loads(succeed("evaluate", run, "--split", "train", "--particles", "30", "--json").out)
    assert "p(x | its total)" in found["quantities"]["log_likelihood"]["label"]
    said = succeed("score", run, "--split", "train", "--particles", "30", "--top", "0")
    assert caveat in said.out + said.err
    shutil.copytree(run, tmp_path / "other")
    assert caveat in succeed("compare", run, tmp_path / "other", "--split", "train", "--particles", "30").out


def test_scores_of_densities_say_their_unit(grey: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", grey)
    run = tmp_path / "run"
    small = ("--set", "network.hidden=[4]", "--latent-dim", "2", "--epochs", "1", "--run", run)
    succeed(
        "train",
        "--data",
        tmp_path / "grey.npy",
        "--likelihood",
        "gaussian",
        "--set",
        "data.divisor=255",
        *small,
    )
    end = succeed("score", run, "--split", "train", "--particles", "30", "--top", "0")
    said = end.out + end.err
    assert "scores are in nats: densities are per unit of value / 255" in said
    assert f"add {6 * math.log(255):+,.3f} nats per datum to each score" in said
    shutil.copytree(run, tmp_path / "other")
    compared = succeed("compare", run, tmp_path / "other", "--split", "train", "--particles", "30").out
    assert "nats per datum; densities are per unit of value / 255" in compared
    found = json.loads(succeed("evaluate", run, "--split", "train", "--particles", "30", "--json").out)
    assert found["unit"] == "nats per datum; densities are per unit of value / 255"
    assert found["nats_to_stored_values"] == pytest.approx(-6 * math.log(255))
