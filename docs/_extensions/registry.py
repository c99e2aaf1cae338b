"""Pages made from the registry of components while the site is built; names no component.

Directives: ``components`` (all members of a family), ``pairs`` and ``objectives`` (what fits what). A
component whose docstring lacks its formula, source or example stops the build.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from commands import PARTNERS, command, fitting
from docstrings import Docstring, incomplete, read
from docutils.nodes import Node
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger
from sphinx.util.parsing import nested_parse_to_nodes
from sphinx.util.rst import escape
from sphinx.util.typing import ExtensionMetadata

from pyrovae import pairing, supports
from pyrovae.component import FAMILIES, find, names, support_of
from pyrovae.config import DEFAULT_COMPONENTS, literal, schema
from pyrovae.wording import describe

logger = getLogger(__name__)

FITS = "✓"
OTHER_SET = "\N{EN DASH}"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives and the check."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("builder-inited", check)
    app.connect("autodoc-process-docstring", translate)
    app.add_directive("components", Components)
    app.add_directive("pairs", Pairs)
    app.add_directive("objectives", Objectives)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def check(app: Sphinx) -> None:
    """Stop the build where a component's docstring is not complete."""
    if sentences := incomplete():
        raise ExtensionError("; ".join(sentences))


def translate(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Translate the sections of a docstring for autodoc.

    Napoleon as an extension would take what stands before a colon in a property's sentence for its type.
    """
    lines[:] = _as_rest("\n".join(lines))


class Generated(SphinxDirective):
    """A directive that stands for reST made from the registry."""

    @abstractmethod
    def parts(self) -> Iterator[StringList]:
        """The reST, part by part, each with the name of what it comes from, for warnings."""

    def run(self) -> list[Node]:
        self.env.note_reread()  # a new component changes the page, which Sphinx cannot see
        content = StringList()
        for part in self.parts():
            content.extend(part)
        return nested_parse_to_nodes(self.state, content)


class Components(Generated):
    """All that there is to say of the members of a family, first in a table and then one by one."""

    required_arguments = 1

    def parts(self) -> Iterator[StringList]:
        (family,) = self.arguments
        rows = [
            [_link(family, name), read(find(family, name)).sentence, _values(family, name)]
            for name in names(family)
        ]
        yield StringList(_table(["name", family, "values"], rows, classes="overview"), source=family)
        for name in names(family):
            member = find(family, name)
            yield StringList(_section(family, name), source=f"{member.__module__}.{member.__name__}")


class Pairs(Generated):
    """Every prior with every posterior: fits, or why not."""

    def parts(self) -> Iterator[StringList]:
        priors, notes = _by_set("prior"), Notes()
        rows = [["", "", *(_values("prior", prior) for prior in priors)]]
        for posterior in _by_set("posterior"):
            cells = [
                self._cell(find("prior", prior), find("posterior", posterior), notes) for prior in priors
            ]
            rows.append([_link("posterior", posterior), _values("posterior", posterior), *cells])
        heading = ["", "", *(_link("prior", prior) for prior in priors)]
        lines = _table(heading, rows, classes="pairs", header_rows=2, stub_columns=2)
        yield StringList(lines + notes.lines(), source="pairs")

    def _cell(self, prior: Any, posterior: Any, notes: Notes) -> str:
        reason = pairing.misfit(prior, posterior)
        if reason is None or supports.same(prior.support, posterior.support):
            return notes.cell(reason)
        return _with_tooltip(OTHER_SET, reason)


class Objectives(Generated):
    """Every objective with every posterior: fits, or why not."""

    def parts(self) -> Iterator[StringList]:
        notes = Notes()
        rows = []
        for name in _by_set("posterior"):
            reasons = [_untrained(objective, name) for objective in names("objective")]
            rows.append([_link("posterior", name), *map(notes.cell, reasons)])
        heading = ["", *(_link("objective", name) for name in names("objective"))]
        lines = _table(heading, rows, classes="pairs", stub_columns=1)
        yield StringList(lines + notes.lines(), source="objectives")


class Notes:
    """Reasons below a table, which its cells point at."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def cell(self, reason: str | None) -> str:
        """The cell of what fits, or fails to for a reason."""
        if reason is None:
            return FITS
        self.reasons.append(reason)
        return _with_tooltip(str(len(self.reasons)), reason)

    def lines(self) -> list[str]:
        """The reasons, numbered."""
        return [f"{number}. {escape(reason)}" for number, reason in enumerate(self.reasons, start=1)] + [""]


def _section(family: str, name: str) -> list[str]:
    """The section of one component."""
    docstring = read(find(family, name))
    return [
        f".. _{family}-{name}:",
        "",
        name,
        "-" * len(name),
        "",
        docstring.sentence,
        "",
        *docstring.explanation.splitlines(),
        "",
        *(f":{heading}: {text}" for heading, text in _facts(family, name, docstring)),
        "",
        *_command(family, name),
        *_options(family, name),
        *_class(family, name),
        *(f"   {line}".rstrip() for line in _arguments_and_example(docstring)),
        "",
    ]


def _facts(family: str, name: str, docstring: Docstring) -> Iterator[tuple[str, str]]:
    """What is to be known of a component at a glance."""
    if values := _values(family, name):
        yield "Values", values
    if partner := PARTNERS.get(family):
        yield f"Fitting {partner}s", ", ".join(_link(partner, other) for other in fitting(family, name))
    if family == "posterior":
        trained_by = [objective for objective in names("objective") if not _untrained(objective, name)]
        yield "Objectives", ", ".join(_link("objective", objective) for objective in trained_by)
    if family == "objective":
        trained = [posterior for posterior in names("posterior") if not _untrained(name, posterior)]
        yield "Fitting posteriors", ", ".join(_link("posterior", posterior) for posterior in trained)
    yield "Source", " ".join(docstring.sections["Source"].split())


def _untrained(objective: str, posterior: str) -> str | None:
    """Why an objective cannot train a posterior."""
    return pairing.objective_misfit(find("objective", objective), find("posterior", posterior))


def _command(family: str, name: str) -> list[str]:
    """The block with a command that trains with a component, or asks for it."""
    try:
        return [".. code-block:: sh", "", f"   {command(family, name)}", ""]
    except LookupError as error:
        logger.warning("%s", error)
        return []


def _options(family: str, name: str) -> list[str]:
    """The table of a component's options; nothing where it has none."""
    section = family if family in DEFAULT_COMPONENTS else name  # of a run, or of an evaluation
    rows = [
        [
            f"``{section}.{option}``",
            escape(field.description or ""),
            escape(describe(field)),
            "not set" if field.default is None else f"``{literal(field.default)}``",
        ]
        for option, field in schema(find(family, name)).model_fields.items()
        if option != "name"
    ]
    return _table(["option", "meaning", "allowed", "default"], rows, classes="options") if rows else []


def _class(family: str, name: str) -> list[str]:
    """The directive for a component's class, without annotations: the table of options has them in words."""
    member = find(family, name)
    signature = inspect.signature(member)
    parameters = [part.replace(annotation=part.empty) for part in signature.parameters.values()]
    plain = signature.replace(parameters=parameters, return_annotation=signature.empty)
    return [f".. py:class:: {FAMILIES[family]}.{member.__name__}{plain}", ""]


def _arguments_and_example(docstring: Docstring) -> list[str]:
    """What a docstring says to those who write Python, as reST."""
    sections = [
        f"{heading}:\n    {docstring.sections[heading]}\n"
        for heading in ("Args", "Raises", "Example")
        if heading in docstring.sections
    ]
    return _as_rest("\n".join(sections))


def _as_rest(docstring: str) -> list[str]:
    """A docstring with sections like ``Args:`` as reST."""
    return GoogleDocstring(docstring).lines()


def _by_set(family: str) -> list[str]:
    """The names of a family's members, those on the same set side by side."""
    order = [escape(words) for _, words in supports.WORDS]

    def place(name: str) -> tuple[int, str]:
        values = _values(family, name)
        return order.index(values) if values in order else len(order), values

    return sorted(names(family), key=place)


def _values(family: str, name: str) -> str:
    """The set of a component's values, in words; nothing where it has none."""
    support = support_of(family, name)
    return escape(supports.in_words(support)) if support is not None else ""


def _link(family: str, name: str) -> str:
    return f":ref:`{name} <{family}-{name}>`"


def _with_tooltip(text: str, explanation: str) -> str:
    return f":abbr:`{text}({escape(explanation)})`"


def _table(
    heading: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    classes: str,
    header_rows: int = 1,
    stub_columns: int = 0,
) -> list[str]:
    """A table, without the columns that are empty."""
    lines = [
        ".. list-table::",
        f"   :header-rows: {header_rows}",
        f"   :stub-columns: {stub_columns}",
        f"   :class: {classes}",
        "",
    ]
    rows = [heading, *rows]
    filled = [i for i in range(len(heading)) if any(row[i] for row in rows[1:])]
    for row in rows:
        lines += [f"   {' ' if i else '*'} - {row[i]}".rstrip() for i in filled]
    return [*lines, ""]
