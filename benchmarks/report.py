"""How a benchmark writes down what it measured: machine, versions, a table, a figure; measures nothing."""

import json
import os
import platform
import statistics
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUT = Path("build/benchmarks")
PACKAGES = ("pyrovae", "torch", "pyro-ppl", "numpy")


def parser(description: str | None, *, device: Callable[[str], Any] | None = None) -> ArgumentParser:
    """A command line with the options that every benchmark has, and a device where its type is given."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    if device is not None:
        parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the results")
    return parser


def facts(options: Namespace, packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """When, on what and with what a benchmark is run; asked for before it loads the machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "options": {name: str(value) for name, value in vars(options).items()},
    }


def machine() -> dict[str, Any]:
    """What the figures are measured on, and how busy it is."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_GiB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def summary(title: str, facts: Mapping[str, Any]) -> str:
    """One paragraph that says of what, when, where and with which versions a table is."""
    pairs = {**facts["machine"], **facts["versions"]}
    return f"{title}; {facts['date']}; {', '.join(f'{key} {value}' for key, value in pairs.items())}"


def counted(number: int, what: str) -> str:
    """A number of things in words."""
    return f"{number} {what}{'s' * (number != 1)}"


def spread(values: Sequence[float]) -> str:
    """The median, and the smallest and largest in brackets."""
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, whose first column is words and whose others are numbers."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ruler, *rows))


def blank(width: float, height: float, title: str) -> "Figure":
    """A figure in inches, drawn without a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure


def bars(axes: "Axes", values: Mapping[str, Sequence[float]], ours: Iterable[str]) -> None:
    """A bar for each median and a point for each value, from top to bottom."""
    for place, (name, points) in enumerate(values.items()):
        colour = "C1" if name in ours else "C0"
        axes.barh(place, statistics.median(points), color=colour, alpha=0.4)
        axes.plot(points, [place] * len(points), ".", color=colour)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()


def write(folder: Path, name: str, text: str, numbers: Mapping[str, Any], figure: "Figure") -> None:
    """A benchmark's text, its figure and all its numbers, in files of one name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    figure.savefig(folder / f"{name}.png", dpi=150)
