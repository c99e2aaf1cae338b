"""The code blocks of README and docs run as they stand; their commands are understood."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Size

from pyrovae import places, sources
from pyrovae.assembly import build
from pyrovae.cli import main
from pyrovae.cli._given import GivenData, GivenRun
from pyrovae.config import Config
from pyrovae.folder import Folder
from pyrovae.run import Run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> Iterator[str]:
    return (match[1] for match in re.finditer(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S))


def outputs(page: Path) -> list[tuple[str, str | None]]:
    """The page's Python blocks, each with what the page says that it prints."""
    pattern = r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?"
    return [(match[1], match[2]) for match in re.finditer(pattern, page.read_text(), re.M | re.S)]


NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(NUMBER, text)]


WITH_PYTHON = [page for page in PAGES if list(blocks(page, "python"))]


def test_pages_with_python_are_found() -> None:
    assert {"README.md", "architecture.md"} <= {page.name for page in WITH_PYTHON}


def tolerance(page: Path) -> float:
    """How far off the page says that its numbers may be with another version of torch."""
    said = re.search(r"your numbers are within (\d\.\d) nats of these", page.read_text())
    assert said, f"{page.name} has numbers, and does not say how exact they are"
    return float(said[1])


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MNIST's files are looked for, there are some of the embedded digits in their form."""
    folder = tmp_path / "cache" / "pyrovae" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    digits = load_digits()
    images = np.pad(np.kron(digits.images, np.ones((3, 3))), ((0, 0), (2, 2), (2, 2))) * 15
    for part, rows in {"train": slice(600), "t10k": slice(600, 800)}.items():
        for kind, values in {"images-idx3": images[rows], "labels-idx1": digits.target[rows]}.items():
            header = np.array([0x800 + values.ndim, *values.shape], ">u4")
            file = folder / f"{part}-{kind}-ubyte"
            file.write_bytes(header.tobytes() + values.astype(np.uint8).tobytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_run(
    page: Path,
    mnist: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "docs"}
    for block, printed in outputs(page):
        exec(compile(block, str(page), "exec"), names)
        out = capsys.readouterr().out
        if printed is not None:
            assert re.sub(rf" *{NUMBER}", "#", out) == re.sub(rf" *{NUMBER}", "#", printed)
            assert numbers(out) == pytest.approx(numbers(printed), abs=tolerance(page))
    pyro.clear_param_store()
    assert page.name != "README.md" or (
        names["codes"].shape == (1797, 8)
        and names["new"].shape == (16, 1, 8, 8)
        and names["ll"].shape == (1797,)
        and (tmp_path / "runs" / "from-python" / "config.toml").exists()
        and names["loss"] > 0
    )
    assert page.name != "architecture.md" or names["Laplace"](3)(None).log_prob(torch.zeros(3)) < 0


AS_PASTED = """
set -e
pip() { return 0; }
contenders/bin/pip() { return 0; }
pytest() { return 0; }
sphinx-build() { return 0; }
python() {
    case "$1" in benchmarks/*|-m) return 0;; esac
    "$INTERPRETER" "$@"
}
pyrovae() { "$INTERPRETER" -m pyrovae "$@"; }
"""
"""What installs and builds is done elsewhere in the tests, and benchmarks take hours; all else is run."""


class Terminal:
    """A shell that blocks are pasted into, one after the other; a command that fails ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "INTERPRETER": sys.executable},
        )
        self.paste(AS_PASTED)

    def paste(self, block: str) -> None:
        """Run a block, to its end."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        file = self.folder / "pasted.sh"
        file.write_text(block)
        self.shell.stdin.write(". ./pasted.sh < /dev/null; echo pasted\n")
        self.shell.stdin.flush()
        said = []
        for line in self.shell.stdout:
            if line == "pasted\n":
                return
            said.append(line)
        pytest.fail(f"{block}\nended with:\n{''.join(said[-20:])}")

    def close(self) -> None:
        self.shell.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```sh\n" in page.read_text()], ids=lambda p: p.name
)
def test_a_page_runs_as_pasted_from_top_to_bottom_in_an_empty_folder(
    page: Path, mnist: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in ("benchmarks", "examples"):  # the reader is in the folder of the project
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "docs"}
    with closing(Terminal(folder)) as terminal:
        for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(), re.M | re.S):
            if language == "sh":
                terminal.paste(block)
            else:
                exec(compile(block, str(page), "exec"), names)
    pyro.clear_param_store()


RECORDING = """
command_not_found_handle() { return 0; }
pyrovae() { printf '%q ' "$@" >> commands; echo >> commands; }
"""
"""No program is found but ``pyrovae``, which notes down what it is called with."""
WITH_COMMANDS = [page for page in PAGES if "pyrovae " in "".join(blocks(page, "sh"))]


def test_pages_with_commands_are_found() -> None:
    assert {"README.md", "benchmarks.md"} <= {page.name for page in WITH_COMMANDS}


class Begins(Exception):  # noqa: N818 - no error
    """A command begins its work."""


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_commands_are_understood_and_their_parts_fit(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(config: Config, **_: Any) -> None:
        build(config, Size([1, 28, 28]))
        raise Begins

    def read(path: Path, *_: Any, **__: Any) -> None:
        raise Begins

    for name, method in {"start": start, "resume": read, "load": read}.items():
        monkeypatch.setattr(Run, name, method)
    monkeypatch.setattr(Folder, "open", read)
    for owner in (GivenRun, GivenData, places, sources):  # neither runs nor data are here
        monkeypatch.setattr(owner, "check", lambda _: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    script = RECORDING + "".join(blocks(page, "sh"))
    subprocess.run([shutil.which("bash") or "bash", "-c", script], check=True, env={"PATH": "/nowhere"})
    for command in (tmp_path / "commands").read_text().splitlines():
        with pytest.raises((Begins, SystemExit)) as ended:
            main(shlex.split(command))
        assert ended.type is Begins or ended.value.code in (None, 0), command


def test_readme_has_the_two_commands() -> None:
    commands = "".join(blocks(ROOT / "README.md", "sh")).splitlines()
    assert "pip install . && pyrovae train" in commands
    assert "pip install '.[dev]' && pytest" in commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


CODE_LINKS = [
    (page.name, name, page.parent / file)
    for page in PAGES
    for name, file in re.findall(r"\[`([\w.]+)`\]\(([^)]+\.py)\)", page.read_text())
]


def test_the_page_on_the_elbo_links_its_terms_to_code() -> None:
    assert len({name for page, name, _ in CODE_LINKS if page == "elbo.md"}) >= 10


@pytest.mark.parametrize(("page", "name", "file"), CODE_LINKS)
def test_what_is_linked_is_defined_there(page: str, name: str, file: Path) -> None:
    thing: ast.AST = ast.parse(file.read_text())
    for part in name.split("."):
        found = [node for node in ast.iter_child_nodes(thing) if getattr(node, "name", None) == part]
        assert found, f"{file} defines no {name}"
        thing = found[0]


def test_the_terms_on_the_page_on_the_elbo_are_those_of_the_trace_that_it_prints() -> None:
    text = (ROOT / "docs" / "elbo.md").read_text()
    trace = next(printed for _, printed in outputs(ROOT / "docs" / "elbo.md") if printed)
    log_q, log_p, log_likelihood = (numbers(trace.splitlines()[row])[-1] for row in (1, 3, 4))
    terms = {
        row.split("|")[1].strip(): row.split("|")[-2].strip() for row in text.splitlines() if row[:1] == "|"
    }
    kl = log_q - log_p
    for formula, value in {
        r"$\log p_\theta(z)$": log_p,
        r"$\log p_\theta(x\vert z)$": log_likelihood,
        r"$\log q_\phi(z\vert x)$": log_q,
        r"$\mathbb{E}_q[\log p_\theta(x\vert z)]$": log_likelihood,
        r"$\text{KL}(q_\phi(z\vert x) \,\Vert\, p_\theta(z))$": kl,
        r"$-\text{ELBO}$": kl - log_likelihood,
    }.items():
        assert numbers(terms[formula]) == [pytest.approx(value, abs=1e-3)], formula
