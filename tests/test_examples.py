"""The example scripts run as their first lines say, and write what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_an_example_is_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.slow
def test_compare_priors_prints_a_row_for_each_prior_and_saves_a_figure(tmp_path: Path) -> None:
    *rows, path = run("compare_priors.py", tmp_path, "--epochs", "2").splitlines()
    assert [row.split()[0] for row in rows] == ["normal", "mixture", "vamp", "flow", "sphere"]
    number = r"[+-]?\d+\.\d\d"
    for row in rows:
        assert re.search(rf"log p\(x\) = +{number} \+- {number} nats .* normal +{number} \+- {number}$", row)
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_rate_distortion_prints_a_row_for_each_beta_and_saves_a_figure(tmp_path: Path) -> None:
    arguments = ("--epochs", "3", "--sweep-beta", "0.1,4", "--out", "curve.png")
    *rows, path = run("rate_distortion.py", tmp_path, *arguments).splitlines()
    assert [row.split()[:2] for row in rows] == [["beta", "0.1"], ["beta", "4"]]
    number = r" *([+-]?\d+\.\d\d) \+- \d+\.\d+"
    numbers = [re.search(rf"rate{number}  distortion{number}  -ELBO{number}  nats", row) for row in rows]
    rates, distortions, bounds = zip(*(map(float, found.groups()) for found in numbers if found), strict=True)
    assert rates[0] > rates[1]
    assert distortions[0] < distortions[1]
    for rate, distortion, bound in zip(rates, distortions, bounds, strict=True):
        assert rate + distortion == pytest.approx(bound, abs=0.02)
    assert path == "curve.png"
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_custom_prior_prints_a_row_for_both_priors_and_saves_a_figure(tmp_path: Path) -> None:
    *rows, path = run("custom_prior.py", tmp_path, "--epochs", "2").splitlines()
    assert [row.split()[0] for row in rows] == ["normal", "ring"]
    assert all(re.search(r"log p\(x\) = -\d+\.\d\d \+- \d\.\d\d nats per datum$", row) for row in rows)
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_custom_program_prints_its_bound_below_its_likelihood_and_saves_a_figure(tmp_path: Path) -> None:
    *rows, path = run("custom_program.py", tmp_path, "--epochs", "2").splitlines()
    found = [re.search(r"^(.*): ([+-]?\d+\.\d\d) \+- \d+\.\d\d nats per datum$", row) for row in rows]
    values = {match[1]: float(match[2]) for match in found if match}
    assert len(values) == len(rows) == 4
    bound, reconstruction, kl, likelihood = values.values()
    assert reconstruction - kl == pytest.approx(bound, abs=0.02)
    assert bound <= likelihood
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_posterior_predictive_prints_expected_and_actual_errors_and_saves_a_figure(tmp_path: Path) -> None:
    *rows, path = run("posterior_predictive.py", tmp_path, "--epochs", "2").splitlines()
    assert [row.split()[0] for row in rows] == [
        "as",
        "after",
        "share",
        *["corrupted:"] * 2,
        *["restored:"] * 2,
    ]
    errors = [
        re.search(r"expected error of a cell (0\.\d+), actual error (0\.\d+)$", row) for row in rows[:2]
    ]
    assert all(found and 0 < float(found[2]) < 0.5 for found in errors)
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_anomaly_prints_the_area_of_every_score_and_saves_a_figure(tmp_path: Path) -> None:
    *rows, path = run("anomaly.py", tmp_path, "--epochs", "2", "--digit", "0").splitlines()
    found = [re.fullmatch(r"digit 0: (.+?) +AUROC (\d\.\d{3}) \+- (\d\.\d{3})", row) for row in rows]
    names = ["-log p(x), nats", "reconstruction error", "PCA reconstruction error"]
    assert [match and match[1] for match in found] == names
    assert all(match and 0 < float(match[2]) < 1 and 0 < float(match[3]) < 0.2 for match in found)
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_latent_walk_prints_a_row_for_each_variable_and_saves_a_figure(tmp_path: Path) -> None:
    *rows, way, path = run("latent_walk.py", tmp_path, "--epochs", "2", "--latent-dim", "3").splitlines()
    found = [
        re.search(r"^(z\[\d\]) +variance of E_q\[z\] (\d+\.\d{3}), a cell changes by", row) for row in rows
    ]
    variances = [float(match[2]) for match in found if match]
    assert sorted(match[1] for match in found if match) == ["z[0]", "z[1]", "z[2]"]
    assert variances == sorted(variances, reverse=True)
    assert re.search(r"changes by \d\.\d{3} to \d\.\d{3} in a tenth of the way$", way)
    assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")
