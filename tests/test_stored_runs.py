"""Runs that an earlier pyrovae wrote load, evaluate and resume: see ``tests/stored_runs/README.md``."""

import json
import shutil
from pathlib import Path

import pytest

from pyrovae.run import Run

pytestmark = pytest.mark.smoke

STORED = Path(__file__).parent / "stored_runs"
EXPECTED = json.loads((STORED / "expected.json").read_text(encoding="utf-8"))

# Another torch adds up in another order; a wrong weight or another draw is off by far more.
CLOSE = {"rel": 1e-4, "abs": 1e-3}


@pytest.fixture
def stored(tmp_path):
    """A copy of a stored run, whose own program is found where it lies now."""

    def copied(name):
        run = shutil.copytree(STORED / name, tmp_path / name)
        config = run / "config.toml"
        text = config.read_text(encoding="utf-8")
        # A literal string of TOML, since a path of Windows has backslashes.
        own = f"'{STORED / 'two_layers.py'}:TwoLayers'"
        config.write_text(text.replace('"/project/two_layers.py:TwoLayers"', own), encoding="utf-8")
        return run

    return copied


@pytest.mark.parametrize("name", ["plain", "standardized", "own_program"])
def test_a_stored_run_evaluates_to_the_numbers_it_had(stored, name):
    run = Run.load(stored(name), trust=True)
    rows, _ = run.evaluation_rows("test")
    found = {q.key: q.mean.value for q in run.evaluate(rows.batches(100), particles=20).quantities}
    assert {key: found[key] for key in EXPECTED[name]} == pytest.approx(EXPECTED[name], **CLOSE)


def test_a_stored_run_that_was_stopped_goes_on_as_if_it_had_not_been(stored):
    run = Run.resume(stored("resumable"))
    assert [metrics["epoch"] for metrics in run.train()] == [3, 4]
    for found, expected in zip(run.history, EXPECTED["resumable"], strict=True):
        assert {key: found[key] for key in expected} == pytest.approx(expected, **CLOSE)
    assert Run.load(run.folder.path).history == run.history
