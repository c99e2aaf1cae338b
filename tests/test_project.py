"""The files that every project has: version, licence, citation, hooks; they agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from test_cli import imported, succeed

import pyrovae

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_printed_and_is_that_of_the_package() -> None:
    assert succeed("--version").out == f"pyrovae {pyrovae.__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", pyrovae.__version__)
    assert "version" in PROJECT["dynamic"]


def test_the_version_is_printed_before_anything_slow_is_imported() -> None:
    assert not imported("--version") & {"numpy", "pydantic", "pyro", "torch"}


def test_the_licence_is_named_alike_everywhere() -> None:
    licence = text("LICENSE")
    assert re.search(r"Apache License\s+Version 2.0", licence)
    assert "Copyright the pyrovae authors" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "[name of copyright owner]" not in licence
    assert PROJECT["license"] == "Apache-2.0"
    assert "license: Apache-2.0\n" in text("CITATION.cff")


def test_the_citation_has_what_its_format_asks_for() -> None:
    yaml = pytest.importorskip("yaml", reason="the documentation's tools bring a reader of YAML")
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["authors"] == PROJECT["authors"] == [{"name": "the pyrovae authors"}]


def test_the_hooks_are_pinned_to_the_tools_that_developers_have() -> None:
    yaml = pytest.importorskip("yaml", reason="the documentation's tools bring a reader of YAML")
    repositories = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    hooks = [hook for each in repositories for hook in each["hooks"] if each["repo"] == "local"]
    assert {hook["id"] for hook in hooks} == {"mypy", "ruff-check", "ruff-format"}
    pinned = {tool for hook in hooks for tool in hook.get("additional_dependencies", [])}
    assert all("==" in tool for tool in pinned)
    assert pinned < set(PROJECT["optional-dependencies"]["dev"])


@pytest.mark.parametrize("library", ["torch", "torchvision", "pyro-ppl"])
def test_libraries_whose_private_parts_are_used_have_an_upper_bound(library: str) -> None:
    found = [each for each in PROJECT["dependencies"] if re.match(rf"{library}\b(?!-)", each)]
    assert [bool(re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", each)) for each in found] == [True]


@pytest.mark.parametrize("dependency", PROJECT["dependencies"])
def test_every_dependency_has_a_lowest_version(dependency: str) -> None:
    assert ">=" in dependency


def test_contributors_find_every_family_and_one_command_that_checks_everything() -> None:
    page = text("CONTRIBUTING.md")
    assert "bash .ci/run" in page
    families = [folder.parent.name for folder in (ROOT / "pyrovae").glob("*/__init__.py")]
    components = {"diagnostics", "likelihoods", "networks", "objectives", "posteriors", "priors", "programs"}
    assert components < set(families)
    assert all(f"`pyrovae/{family}/`" in page for family in components)
    for name in re.findall(r"`(test_\w+\.py)`", page):
        assert (ROOT / "tests" / name).exists(), name
