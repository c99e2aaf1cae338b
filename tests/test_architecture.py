"""The house has real walls: which module may import which, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import pyrovae

ROOT = Path(pyrovae.__file__).parent
LONGEST = 500
"""Lines in a file that wants no second name."""


class Import(NamedTuple):
    """A module that is imported, and whether that happens when the importing module itself is."""

    name: str
    at_once: bool


def name_of(file: Path) -> str:
    return ".".join(("pyrovae", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}
FAMILIES = ("priors", "likelihoods", "posteriors", "networks")
EVERYONE = {
    *("pyrovae.component", "pyrovae.device", "pyrovae.errors", "pyrovae.isolation", "pyrovae.pyro_compat"),
    *("pyrovae.choices", "pyrovae.moments", "pyrovae.supports"),
} | {module for module in FILES if module.startswith("pyrovae.distributions")}

each_module = pytest.mark.parametrize("module", FILES)


@cache
def imports(module: str) -> list[Import]:
    """All imports of a module but those for the type checker alone."""
    return list(_imports(ast.parse(FILES[module].read_text(encoding="utf-8")), at_once=True))


def _imports(tree: ast.AST, *, at_once: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield Import(submodule if submodule in FILES else node.module, at_once)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(node, at_once=at_once and not inside)


def ours(module: str) -> set[str]:
    """The modules of this project that a module imports, now or later; its own package's do not count."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    own = () if package == "pyrovae" else (package,)
    found = {item.name for item in imports(module) if item.name.split(".")[0] == "pyrovae"}
    return {name for name in found if not within(name, *own)}


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def modules(*packages: str) -> list[str]:
    """The modules of the named parts of the package."""
    return [module for module in FILES if within(module, *(f"pyrovae.{package}" for package in packages))]


def parts(*packages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", modules(*packages))


def test_the_reader_of_imports_reads_all_of_them() -> None:
    assert len(FILES) > 25
    assert "pyrovae.component" in ours("pyrovae.config")
    assert Import("matplotlib.figure", True) in imports("pyrovae.plots.pictures")
    assert Import("torchvision", False) in imports("pyrovae.data._torchvision")
    assert all(modules(package) for package in (*FAMILIES, "programs", "data"))


@parts(
    "component",
    "errors",
    "supports",
    "distributions",
    "randomness",
    "plots",
    "progress",
    "moments",
    "sites",
    "console",
    "wording",
    "quantities",
    "intervals",
    "recording",
    "device",
    "isolation",
    "pyro_compat",
    "optimizers",
    "outcome",
    "choices",
    "places",
    "sources",
)
def test_what_all_stand_on_imports_nothing_of_ours(module: str) -> None:
    errors = {"pyrovae.errors"}
    allowed = {
        **dict.fromkeys(("pyrovae.component", "pyrovae.places"), errors),
        "pyrovae.progress": {"pyrovae.console"},
        "pyrovae.device": errors | {"pyrovae.choices"},
        "pyrovae.optimizers": {"pyrovae.choices"},
        "pyrovae.sources": errors | {"pyrovae.component"},
        "pyrovae.randomness": errors | {"pyrovae.isolation"},
        "pyrovae.quantities": {"pyrovae.console", "pyrovae.wording"},
        "pyrovae.isolation": {"pyrovae.pyro_compat"},
    }
    assert ours(module) <= allowed.get(module, {"pyrovae.supports"} - {module})


@parts(*FAMILIES)
def test_a_family_knows_only_what_all_stand_on(module: str) -> None:
    assert ours(module) - {"pyrovae"} <= EVERYONE


@parts("networks")
def test_networks_know_no_distribution(module: str) -> None:
    assert not [item.name for item in imports(module) if within(item.name, "pyro", "torch.distributions")]


@parts("programs")
def test_programs_know_families_and_nothing_above(module: str) -> None:
    above = {name for name in ours(module) if not within(name, *(f"pyrovae.{family}" for family in FAMILIES))}
    assert above <= EVERYONE | {"pyrovae.sites", "pyrovae.randomness"}


ARROWS = {
    "objectives": {"programs", "sites"},
    "pairing": {"objectives", "programs"},
    "capture": {"recording"},
    "threads": {"capture"},
    "engine": {"capture", "objectives", "optimizers", "randomness", "recording"},
    "importance": set(),
    "evaluate": {"capture", "importance", "programs", "quantities", "randomness", "units"},
    "density": {"diagnostics", "programs", "randomness", "sites"},
    "hmc": {"randomness"},
    "diagnostics": {
        *("data", "density", "evaluate", "hmc", "importance", "programs", "programs.single_layer"),
        *("quantities", "randomness", "sites"),
    },
    "generate": {"programs", "randomness", "evaluate", "sites"},
    "codes": {"evaluate", "generate", "programs", "randomness", "sites"},
    "paths": set(),
    "walks": {"codes", "data", "diagnostics", "diagnostics.active_units", "generate", "paths", "programs"},
    "embed": {"codes", "data", "evaluate", "generate", "programs", "randomness", "sites"},
    "contrast": {"config", "importance", "intervals", "quantities"},
    "compare": {"codes", "contrast", "data", "evaluate", "generate", "quantities", "run", "stretches"},
    "corruption": {"randomness"},
    "predict": {"corruption", "evaluate", "generate", "programs", "quantities", "randomness"},
    "score": {"data", "evaluate", "importance", "programs", "quantities", "randomness"},
    "train": {"data", "engine", "evaluate", "objectives", "outcome", "programs", "randomness"},
    "verdicts": {"importance", "quantities", "train"},
    "data": {"randomness", "sources", "units"},
}


@pytest.mark.parametrize("part", ARROWS)
def test_arrows_point_one_way(part: str) -> None:
    allowed = EVERYONE | {f"pyrovae.{name}" for name in ARROWS[part]}
    for module in modules(part):
        assert ours(module) <= allowed, module


@parts(*FAMILIES, "programs", "objectives", "engine", "train", "evaluate", "diagnostics", "generate", "data")
def test_no_configuration_reaches_what_is_configured(module: str) -> None:
    assert not {
        name for name in ours(module) if within(name, "pyrovae.config", "pyrovae.run", "pyrovae.folder")
    }


@each_module
def test_only_those_who_need_it_import_a_heavy_or_a_special_library(module: str) -> None:
    owners = {"typer": "pyrovae.cli", "matplotlib": "pyrovae.plots"}
    for library, owner in owners.items():
        assert within(module, owner) or not [item for item in imports(module) if within(item.name, library)]


@each_module
def test_sources_of_data_are_imported_only_when_they_are_asked_for(module: str) -> None:
    for library in ("torchvision", "sklearn.datasets", "PIL"):
        assert Import(library, True) not in imports(module)
        assert not [item for item in imports(module) if within(item.name, library) and item.at_once]


@each_module
def test_a_file_is_short_enough_for_one_name_and_says_what_it_is(module: str) -> None:
    text = FILES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text))


@each_module
def test_nobody_changes_what_torchs_functions_mean_in_other_peoples_code(module: str) -> None:
    assert not [item for item in imports(module) if within(item.name, "torch.overrides")]


def test_there_are_no_drawers_for_odds_and_ends() -> None:
    names = {part.stem for file in FILES.values() for part in [file, *file.relative_to(ROOT).parents]}
    assert not names & {"utils", "util", "base", "common", "losses", "callbacks", "helpers", "misc", "core"}


def loaded(statement: str) -> set[str]:
    """The top-level packages that are there after a statement in a fresh interpreter."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(finished.stdout.split())


@pytest.mark.parametrize("statement", ["import pyrovae", "import pyrovae.cli"])
def test_nothing_slow_is_imported_before_it_is_needed(statement: str) -> None:
    assert "pyrovae" in loaded(statement)
    assert not loaded(statement) & {"torch", "torchvision", "matplotlib", "pyro", "sklearn", "pydantic"}


def test_the_vae_imports_neither_torchvision_nor_matplotlib() -> None:
    packages = loaded("from pyrovae import VAE")
    assert "torch" in packages
    assert not packages & {"torchvision", "matplotlib"}
