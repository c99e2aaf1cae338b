"""What a person sees of a long piece of work: in terminals of any width, in notebooks, in files."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from pyrovae import progress
from pyrovae.config import resolve
from pyrovae.progress import BELOW_ZERO, epoch_line, reporting
from pyrovae.run import Run
from pyrovae.tables import print_history

MESSAGE = "epoch 100/100: ELBO -1234.56, validation -1234.56, KL 12.34 nats, 123,456/s [all of it]"


def work(console: Console, steps: int = 3) -> None:
    with reporting(console, steps) as report:
        report.note("a sentence that stays")
        for _ in range(steps):
            report.step()
            report.say(MESSAGE)


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, _environ={})


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_nothing_is_cut_in_a_terminal(width: int) -> None:
    console = terminal(width)
    work(console)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written(console)).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= width
    assert MESSAGE.replace(" ", "") in "".join(lines).replace(" ", "")
    assert "0:00:00" in lines[-1]


@pytest.mark.parametrize("dumb", [True, False])
def test_where_no_bar_can_be_drawn_there_are_lines(dumb: bool) -> None:
    environment = {"TERM": "dumb"} if dumb else {}
    console = Console(file=io.StringIO(), force_terminal=dumb, width=200, _environ=environment)
    work(console)
    said = " ".join(written(console).split())  # rich takes a dumb terminal for one of 80 columns
    assert said == " ".join(["a sentence that stays", *[MESSAGE] * 3])


def test_a_quiet_console_stays_empty() -> None:
    for force_jupyter in (True, False):
        console = Console(file=io.StringIO(), force_terminal=True, force_jupyter=force_jupyter, quiet=True)
        work(console)
        assert written(console) == ""


class Notebook(ModuleType):
    """What IPython shows: objects, and how often each was shown anew."""

    def __init__(self) -> None:
        super().__init__("IPython.display")
        self.shown: list[Any] = []
        self.updates = 0

    def display(self, shown: Any, display_id: bool = False) -> Notebook:
        self.shown.append(shown)
        return self

    def update(self, shown: Any) -> None:
        assert shown in self.shown
        self.updates += 1


def test_a_notebook_has_one_bar_and_not_a_line_for_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    monkeypatch.setattr(progress, "BETWEEN", 1e9)
    console = Console(file=io.StringIO(), force_jupyter=True)
    with reporting(console, 100) as report:
        for _ in range(100):
            report.step()
            report.say(MESSAGE)
    (bar,) = notebook.shown
    assert notebook.updates == 1  # in the end
    assert 'max="100" value="100"' in bar._repr_html_()
    assert MESSAGE in bar._repr_html_()
    assert repr(bar) == f"{MESSAGE} (100%)"


IN_A_NOTEBOOK = """
import sys
from types import ModuleType, SimpleNamespace
sys.modules["ipykernel"] = ModuleType("ipykernel")
sys.modules["IPython"] = ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})
"""


@pytest.mark.parametrize(("before", "setting"), [(IN_A_NOTEBOOK, "default"), ("", "error")])
def test_nothing_warns_when_it_is_imported(before: str, setting: str) -> None:
    program = f"{before}\nfrom pyrovae import VAE\nfrom pyrovae.priors import Normal"
    end = subprocess.run([sys.executable, "-W", setting, "-c", program], capture_output=True, text=True)
    assert (end.returncode, end.stderr) == (0, "")


METRICS = {"epoch": 1, "train_elbo": -3.0, "train_kl": -0.1, "examples_per_second": 10.0}


def test_a_kl_below_0_is_said_to_be_an_estimate_at_the_line() -> None:
    terms = {"elbo": "ELBO", "kl": "KL"}
    assert f"KL -0.10 nats ({BELOW_ZERO})" in epoch_line(METRICS, 2, terms)
    assert BELOW_ZERO not in epoch_line({**METRICS, "train_kl": 0.1}, 2, terms)
    assert BELOW_ZERO not in epoch_line(METRICS, 2, terms, is_kl=False)  # a penalty may well be below 0


@pytest.mark.parametrize("posterior", ["normal", "delta"])
def test_the_table_of_a_training_says_it_of_a_kl_below_0_and_of_no_penalty(
    posterior: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.start(resolve({"posterior": posterior, "data": {"limit": 60}, "train": {"epochs": 1}}))
    for _ in run.train():
        pass
    for kl in (-0.1, 0.1):
        run.history[-1]["validation_kl"] = kl
        print_history(run, Path("run"))
        assert (BELOW_ZERO in capsys.readouterr().out) == (kl < 0 and posterior == "normal")
