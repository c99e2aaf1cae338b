"""At 60 and 80 columns nothing that matters is cut, and no word is broken that need not be."""

from __future__ import annotations

import pytest

from pyrovae import console, tables
from pyrovae.cli import main
from pyrovae.contrast import Comparison, Scored
from pyrovae.quantities import Mean, Quantity


@pytest.mark.parametrize("width", [60, 80])
def test_the_list_of_commands_says_all_of_each(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert "..." not in "".join(lines[lines.index("Commands:") :])
    assert "Corrupt data and restore them: the posterior predictive mean given" in " ".join(
        " ".join(lines).split()
    )


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_labels_break_between_words_and_numbers_do_not(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    label = "effective sample size of the importance weights, the smallest of all rows"
    table = console.table("mean over data", "value", "unit", console.heading("error over data"))
    table.add_row(label, "-12,345.678", "nats", "0.0012")
    lines = console.text(table).splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert words >= {*label.split(), "-12,345.678", "nats", "0.0012"}


@pytest.mark.parametrize("width", [80, 120])
def test_runs_are_compared_in_tables_without_broken_words(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    means = {"elbo": -29.8, "rate": 0.43, "distortion": 29.37, "log_likelihood": -29.32, "active_units": 1.0}
    counts = {"units": 8.0, "seconds": 12.3, "parameters": 61680.0}
    quantities = {key: Quantity(key, key, Mean(value, 0.01, 0.16)) for key, value in (means | counts).items()}
    run = Scored("mnist", {}, 0, {}, {}, quantities, "a probability", (), (), ())
    facts = {"checkpoint": "best", "rows": 9, "split": "test", "data": "digits", "particles": 5}
    tables.print_comparison(facts, Comparison([run], "mnist", "log p(x)", "elbo", [], [], []))
    _, *lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith(" ")]
    assert max(map(len, rows)) <= width
    words = {word for line in rows for word in line.split()}
    assert words >= {"mnist", "distortion", "parameters", "61,680", "-29.80", "29.37", "0.16"}
