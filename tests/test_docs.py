"""The code blocks of README and docs run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pydantic import Field
from torch.distributions import constraints

from pyrovae.priors import Prior

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> Iterator[str]:
    return (match[1] for match in re.finditer(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S))


@pytest.fixture
def names() -> dict[str, Any]:
    """What a reader of the contributors' page has imported."""
    return {
        "Annotated": Annotated,
        "Field": Field,
        "Prior": Prior,
        "constraints": constraints,
        "dist": dist,
        "torch": torch,
        "__name__": "docs",
    }


WITH_PYTHON = [page for page in PAGES if list(blocks(page, "python"))]


def test_pages_with_python_are_found() -> None:
    assert {"README.md", "architecture.md"} <= {page.name for page in WITH_PYTHON}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_run(
    page: Path, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)
    pyro.clear_param_store()
    assert page.name != "README.md" or (
        names["codes"].shape == (1797, 8)
        and names["new"].shape == (16, 1, 8, 8)
        and names["ll"].shape == (1797,)
        and (tmp_path / "runs" / "digits" / "config.toml").exists()
        and names["loss"] > 0
    )
    assert page.name != "architecture.md" or names["Laplace"](3)(None).log_prob(torch.zeros(3)) < 0


def test_readme_has_the_two_commands() -> None:
    commands = "".join(blocks(ROOT / "README.md", "sh")).splitlines()
    assert "pip install . && pyrovae train" in commands
    assert "pip install '.[dev]' && pytest" in commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
