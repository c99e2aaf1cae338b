"""The documentation's site: built whole and without a warning, and no page needs a network."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from members import MEMBERS, Case, each

from pyrovae import cli, pairing
from pyrovae.cli._given import GivenData
from pyrovae.component import FAMILIES, find, names, options
from pyrovae.config import DEFAULT_COMPONENTS, literal
from pyrovae.errors import RunError
from pyrovae.evaluate import LABELS
from pyrovae.run import Run

pytest.importorskip("sphinx", reason="the site is built with pip install '.[docs]'")

DOCS = Path(__file__).parents[1] / "docs"
CHROMIUM = shutil.which("chromium")
EQUATION = re.compile(r'<(span|div) class="math notranslate nohighlight">.*?</\1>', re.DOTALL)


class Site(NamedTuple):
    """What a build has left."""

    code: int
    warnings: str
    new_sources: set[Path]
    pages: dict[str, str]
    folder: Path

    def section(self, family: str, name: str) -> str:
        """The part of a page that is about one component."""
        (page,) = [text for text in self.pages.values() if f'<span id="{family}-{name}">' in text]
        _, _, rest = page.partition(f'<span id="{family}-{name}">')
        return re.split(r'<span id="\w+-[\w-]+">', rest)[0]

    def command(self, family: str, name: str) -> str:
        """The command that a component's section shows."""
        (command,) = re.findall("^pyrovae [a-z]+ .*$", _text(self.section(family, name)), re.MULTILINE)
        return command


def _text(markup: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", markup))


def _sphinx(*arguments: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Sphinx in a process of its own: it would leave its traces in this one."""
    program = f"import sys\n{before}\nfrom sphinx.cmd.build import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "-q", "-W", "--keep-going", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _sources() -> set[Path]:
    return {file for file in DOCS.rglob("*") if not {"_build", "__pycache__"} & set(file.parts)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder, before = tmp_path_factory.mktemp("site"), _sources()
    end = _sphinx("-d", folder / "doctrees", DOCS, folder / "html")
    pages = {file.stem: file.read_text() for file in (folder / "html").glob("*.html")}
    return Site(end.returncode, end.stderr, _sources() - before, pages, folder / "html")


def test_the_site_is_built_without_a_warning(site: Site) -> None:
    assert site.warnings == ""
    assert site.code == 0


def test_building_leaves_no_file_among_the_sources(site: Site) -> None:
    assert site.new_sources == set()


@each(MEMBERS)
def test_every_component_has_its_formula_source_options_and_example(case: Case, site: Site) -> None:
    section = site.section(case.family, case.name)
    assert EQUATION.search(section)
    text = _text(section)
    section_of_options = case.family if case.family in DEFAULT_COMPONENTS else case.name
    assert re.search(r"^Source:\s+\w", text, re.MULTILINE)
    assert re.search(r"^>>> ", text, re.MULTILINE)
    for option, (_, default) in options(case.member).items():
        assert f"{section_of_options}.{option}" in text
        assert (literal(default) if default is not None else "not set") in text


PARTS = [case for case in MEMBERS if case.family in DEFAULT_COMPONENTS]
"""What a run has."""


@each(PARTS)
def test_the_command_of_every_component_starts_a_training_with_it(
    case: Case, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Run] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.training, "_train", lambda run, console: started.append(run))
    monkeypatch.setattr(cli.training.tables, "print_history", lambda *_: None)
    program, *arguments = shlex.split(site.command(case.family, case.name))
    assert program == "pyrovae"
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code in (None, 0)
    assert getattr(started[0].config, case.family).name == case.name


@each([case for case in MEMBERS if case not in PARTS])
def test_the_command_of_every_other_one_asks_for_it(
    case: Case, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(path: Path, *_: Any, **__: Any) -> None:
        asked.append(str(path))
        raise RunError("there is no run")

    selected = cli.evaluation._diagnostics
    monkeypatch.setattr(cli.evaluation, "_diagnostics", lambda *names: asked.extend(selected(*names)))
    monkeypatch.setattr(Run, "load", load)
    monkeypatch.setattr(GivenData, "check", lambda _: None)
    program, *arguments = shlex.split(site.command(case.family, case.name))
    assert program == "pyrovae"
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert case.name in asked
    assert asked[-1] == "RUN"


def test_there_are_components_of_every_family() -> None:
    assert {case.family for case in MEMBERS} == set(FAMILIES)


def _rows(table: str) -> Iterator[list[str]]:
    for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL):
        yield [_text(cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]


def _table(site: Site, number: int) -> dict[str, dict[str, str]]:
    """A table of what fits: its cells by row and column."""
    tables = re.findall(r"<table.*?</table>", site.pages["pairs"], re.DOTALL)
    heading, *rows = _rows(tables[number])
    return {row[0]: dict(zip(heading, row, strict=True)) for row in rows if row[0]}


def test_every_prior_and_posterior_fit_or_the_reason_stands_there(site: Site) -> None:
    table = _table(site, 0)
    page = html.unescape(site.pages["pairs"])
    for posterior in names("posterior"):
        for prior in names("prior"):
            reason = pairing.misfit(find("prior", prior), find("posterior", posterior))
            assert (table[posterior][prior] == "✓") == (reason is None), (prior, posterior)
            assert reason is None or reason in page


def test_every_objective_and_posterior_fit_or_the_reason_stands_there(site: Site) -> None:
    table = _table(site, 1)
    page = html.unescape(site.pages["pairs"])
    for posterior in names("posterior"):
        for objective in names("objective"):
            reason = pairing.objective_misfit(find("objective", objective), find("posterior", posterior))
            assert (table[posterior][objective] == "✓") == (reason is None), (objective, posterior)
            assert reason is None or reason in page


def test_the_page_on_the_elbo_explains_what_evaluation_prints(site: Site) -> None:
    for quantity in LABELS:
        assert f">{quantity}</span></code>" in site.pages["elbo"]


class Loaded(HTMLParser):
    """The addresses that a browser loads to show a page; those that a reader may follow are none."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        follows = tag == "a" or (tag == "link" and found.get("rel") in ("next", "prev", "index", "search"))
        self.addresses += [
            value
            for name in ("src", "srcset", "href", "data", "poster")
            if (value := found.get(name)) and not follows
        ]


def test_no_page_loads_anything_from_elsewhere(site: Site) -> None:
    assert "index" in site.pages
    for page in site.pages.values():
        loaded = Loaded(page).addresses
        assert len(loaded) > 3
        for address in loaded:
            assert not re.match(r"\w+:|//", address), address
            assert (site.folder / re.split("[?#]", address)[0]).exists(), address


def test_no_style_loads_anything_from_elsewhere(site: Site) -> None:
    styles = list(site.folder.rglob("*.css"))
    assert styles
    for style in styles:
        loaded = re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", style.read_text())
        assert not [address for address in loaded if re.match(r"(?!data:)\w+:|//", address)], style


def test_pages_with_equations_load_the_one_script_that_draws_them(site: Site) -> None:
    assert EQUATION.search(site.pages["elbo"])
    for page in site.pages.values():
        scripts = [address for address in Loaded(page).addresses if "tex-svg-full.js" in address]
        assert len(scripts) == bool(EQUATION.search(page))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the pages with")
def test_a_browser_without_a_network_draws_every_equation(site: Site, tmp_path: Path) -> None:
    equations = [match[0] for page in site.pages.values() for match in EQUATION.finditer(page)]
    scripts = re.findall(r"<script[^>]*>window\.MathJax.*?</script>", site.pages["priors"])
    scripts += re.findall(r"<script[^>]*tex-svg-full[^>]*></script>", site.pages["priors"])
    all_on_one = tmp_path / "equations.html"
    all_on_one.write_text(
        f"<!doctype html><base href='{site.folder.as_uri()}/'>{''.join(scripts + equations)}"
    )
    drawn = _drawn(all_on_one, profile=tmp_path / "profile")
    assert len(equations) > len(MEMBERS)
    assert drawn.count("<mjx-container") == len(equations)
    assert "data-mjx-error" not in drawn
    assert 'fill="red"' not in drawn  # MathJax's colour for commands that it does not know


def _drawn(page: Path, profile: Path) -> str:
    """A page after its scripts have run, in a browser that can look up no host."""
    command: list[Any] = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=60000", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_component_without_a_formula_stops_the_build(tmp_path: Path) -> None:
    without = "from pyrovae.component import find\nfind('prior', 'normal').__doc__ = 'A prior.'"
    end = _sphinx("-b", "dummy", "-d", tmp_path, DOCS, tmp_path, before=without)
    assert end.returncode != 0
    assert "the docstring of the prior 'normal' has no formula" in end.stderr


@pytest.mark.parametrize(
    ("docstring", "lacks"),
    [
        (None, ["formula", "source", "example"]),
        ("One.\n\n.. math:: x\n\nSource: Gauss.\n\nExample:\n    >>> 1\n    1", []),
        ("One.\n\n.. math::\n\n   x\n\nSource: Gauss.\n\nExample:\n    >>> 1\n    1", []),
        ("One.\n\n.. math::\n\nSource: Gauss.\n\nExample:\n    >>> 1\n    1", ["formula"]),
        ("One.\n\nMath: x\n\nSource: Gauss.\n\nExample:\n    >>> 1\n    1", ["formula"]),
        ("One.\n\nArgs:\n    a: b\n\n    .. math:: x\n\nSource: Gauss.", ["formula", "example"]),
    ],
)
def test_what_a_docstring_lacks_is_found(
    docstring: str | None, lacks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    from docstrings import read

    assert read(type("Thrown", (), {"__doc__": docstring})).lacks == lacks
