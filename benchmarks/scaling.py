"""How time and memory of training grow with data, width, size of a code and number of particles.

    python benchmarks/scaling.py --repeats 3 --only rows latent

Data: an epoch of pyrovae's own training on bytes from a .npy file, after one that does not count; the rest: a
step on a batch of 128 rows in memory. Steps are not compiled: those of an epoch run
eagerly, the others as a graph. Every measurement is a process of
its own, forked from one that has imported everything, so that its peak memory is its own; they take turns,
size after size, repeat after repeat. An exponent is the slope of the logarithm of time over that of size,
fitted for each repeat; its error is the standard error over repeats. Where fixed costs are a part of a time
the exponent is below the one of large sizes, and never above it.

Memory beyond the data is what is resident at the peak and backed by no file, as Linux tells, less the bytes
of the rows where pyrovae keeps them in memory.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np
import report

PIXELS, BATCH = 784, 128
MIB = 2**20
IMPORTED = ["pyro", "torch", "pyrovae.run", "pyrovae.engine", "pyrovae.objectives.iwae", "torch.fx"]
BETWEEN_LOOKS = 0.005
"""Seconds from one look at the memory to the next."""
CONSTANT = 0.05
"""Bytes beyond the data, for each byte of them, that still count as none."""


class Point(NamedTuple):
    """One measurement."""

    seconds: float
    """Of an epoch, or of a step."""
    peak: float
    """Largest resident memory, MiB."""
    beyond: float
    """Of that, what is neither a file nor the rows, MiB."""


class Kind(NamedTuple):
    """What grows."""

    title: str
    sizes: Sequence[int]
    most: float
    """The largest exponent of time that it should have."""
    measure: Callable[[int, Path], float]
    """Seconds at a size."""
    unit: str = "step"


Measurements = Mapping[int, Sequence[Point]]
"""By size, one for each repeat."""


def epoch(rows: int, folder: Path) -> float:
    """Seconds of the second epoch on that many rows of a file."""
    from pyrovae.config import resolve
    from pyrovae.run import Run

    settings = {
        "data": {"source": str(written(rows, folder)), "divisor": 255.0, "binarize": "dynamic"},
        "latent_dim": 8,
        "network": {"name": "mlp", "hidden": [64]},
        "train": {"epochs": 2, "batch_size": 500, "engine": "eager"},
    }
    return [metrics["seconds"] for metrics in Run.start(resolve(settings)).train()][1]


def written(rows: int, folder: Path) -> Path:
    """A file of grey images, noise under a mask, that is written once."""
    path = folder / f"{rows}.npy"
    if not path.exists():
        generator = np.random.default_rng(0)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(rows, PIXELS))
        for start in range(0, rows, 10_000):
            part = array[start : start + 10_000]
            part[:] = generator.integers(0, 256, part.shape, dtype=np.uint8)
            part[:, ::2] = 0
        array.flush()
    return path


def step(settings: Mapping[str, Any]) -> float:
    """Seconds of a step, the median of ten after three that do not count."""
    import pyro
    import torch
    from torch import Size

    from pyrovae.assembly import build, build_objective
    from pyrovae.config import resolve
    from pyrovae.engine import CapturedEngine

    config = resolve({"latent_dim": 20, **settings})
    objective = build_objective(config, build(config, Size([PIXELS])), BATCH)
    x = (torch.rand(BATCH, PIXELS) < 0.2).float()
    engine = CapturedEngine(objective, "adam", example=x)
    times = []
    with pyro.validation_enabled(False):
        for _ in range(13):
            start = time.perf_counter()
            engine.step(x, 1e-3)
            times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def of_width(width: int, _: Path) -> float:
    """One hidden layer: the matrices are 784 by the width."""
    return step({"network": {"name": "mlp", "hidden": [width]}})


def of_two_widths(width: int, _: Path) -> float:
    """Two hidden layers: a matrix is the width squared."""
    return step({"network": {"name": "mlp", "hidden": [width, width]}})


def of_latent(size: int, _: Path) -> float:
    """Coordinates of a code."""
    return step({"latent_dim": size})


def of_particles(particles: int, _: Path) -> float:
    """Draws for each datum, under the importance-weighted bound."""
    return step({"objective": {"name": "iwae", "particles": particles}})


KINDS = {
    "rows": Kind("rows of data", [10**4, 31_623, 10**5, 316_228, 10**6], 1, epoch, "epoch"),
    "width": Kind("width of one hidden layer", [128, 256, 512, 1024, 2048], 1, of_width),
    "widths": Kind("width of two hidden layers", [128, 256, 512, 1024, 2048], 2, of_two_widths),
    "latent": Kind("coordinates of a code", [2, 8, 32, 128, 512], 1, of_latent),
    "particles": Kind("particles of iwae", [1, 4, 16, 64], 1, of_particles),
}


class Watch(Thread):
    """Looks, as long as it runs, how much of this process is resident and backed by no file."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0.0
        self.finished = Event()

    def run(self) -> None:
        """Look again and again."""
        while not self.finished.wait(BETWEEN_LOOKS):
            self.most = max(self.most, resident("RssAnon"))

    def stop(self) -> float:
        """The most that was seen, MiB."""
        self.finished.set()
        self.join()
        return self.most


def resident(what: str) -> float:
    """Resident memory of this process, of a kind, MiB; not a number where the system is no Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[what].split()[0]) / 1024


def measured(kind: str, size: int, threads: int, folder: Path) -> Point:
    """One measurement, in this process."""
    import torch

    from pyrovae.data._arrays import _IN_MEMORY

    torch.set_num_threads(threads)
    watch = Watch()
    watch.start()
    seconds = KINDS[kind].measure(size, folder)
    beyond = watch.stop()
    kept = size * PIXELS if kind == "rows" and size * PIXELS <= _IN_MEMORY else 0
    return Point(seconds, resident("VmHWM"), beyond - kept / MIB)


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Of logarithm over logarithm, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def exponent(points: Measurements) -> tuple[float, float]:
    """Of time: the mean of the repeats' slopes, and its standard error."""
    repeats = zip(*points.values(), strict=True)
    return averaged([slope([*points], [point.seconds for point in repeat]) for repeat in repeats])


def added(points: Measurements) -> tuple[float, float]:
    """Bytes beyond the data for each byte of them: the mean of the repeats' slopes, and its error."""
    data = [size * PIXELS / MIB for size in points]
    repeats = zip(*points.values(), strict=True)
    return averaged([float(np.polyfit(data, [point.beyond for point in repeat], 1)[0]) for repeat in repeats])


def averaged(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.mean(values), error


def verdict(kind: Kind, points: Measurements) -> str:
    """The exponent of time in words, what rows add to the memory, and whether these are as they should be."""
    mean, error = exponent(points)
    time = f"time: exponent {mean:.2f} ± {error:.2f}, at most {kind.most:g}: {kept(mean, error, kind.most)}"
    if kind.unit != "epoch":
        return time
    mean, error = added(points)
    constant = kept(mean, error, CONSTANT)
    memory = f"{mean:.3f} ± {error:.3f} bytes for each of them, constant: {constant}"
    return f"{time}; memory beyond the data: {memory}"


def kept(mean: float, error: float, most: float) -> str:
    """Whether a number is no larger than it may be, but for two standard errors."""
    return "yes" if mean - 2 * (0 if math.isnan(error) else error) <= most else "NO"


def table(kind: Kind, points: Measurements) -> str:
    """Medians over repeats as Markdown."""
    rows = []
    for size, repeats in points.items():
        seconds, peak, beyond = (statistics.median(column) for column in zip(*repeats, strict=True))
        per_row = seconds / (size if kind.unit == "epoch" else BATCH)
        times = [f"{1e3 * seconds:.2f}", f"{1e6 * per_row:.2f}"]
        rows.append([f"{size:,}", *times, f"{peak:.0f}", f"{beyond:.0f}"])
    header = [
        kind.title,
        f"{kind.unit}, ms",
        "a row, microseconds",
        "memory, MiB",
        "beyond the data, MiB",
    ]
    return f"{verdict(kind, points)}\n\n{report.table(header, rows)}"


def swept(names: Sequence[str], options: argparse.Namespace, folder: Path) -> Mapping[str, Measurements]:
    """All sizes of all kinds, repeat after repeat, each measurement in a process of its own."""
    found: dict[str, dict[int, list[Point]]] = {
        name: {size: [] for size in sizes(name, options)} for name in names
    }
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        for repeat in range(1, options.repeats + 1):
            for name, points in found.items():
                for size, repeats in points.items():
                    repeats.append(pool.submit(measured, name, size, options.threads, folder).result())
                    point = repeats[-1]
                    print(
                        f"repeat {repeat}, {name} {size:,}: {1e3 * point.seconds:.2f} ms, "
                        f"{point.peak:.0f} MiB, beyond the data {point.beyond:.0f} MiB",
                        file=sys.stderr,
                    )
    return found


def sizes(name: str, options: argparse.Namespace) -> list[int]:
    """The sizes of a kind; of rows, those that are not too many."""
    return [size for size in KINDS[name].sizes if name != "rows" or size <= options.most_rows]


def write(options: argparse.Namespace, facts: Mapping[str, Any], found: Mapping[str, Measurements]) -> str:
    """The tables under a line that says what they are of; written to the folder with a figure."""
    title = f"Growth of time and memory, {report.counted(options.threads, 'thread')}"
    tables = [f"## {KINDS[name].title}\n\n{table(KINDS[name], points)}" for name, points in found.items()]
    repeats = f"medians of {report.counted(options.repeats, 'repeat')}"
    text = "\n".join([f"{report.summary(title, facts)}; {repeats}\n", *tables])
    figure = report.blank(4 * len(found), 3.5, title)
    for axes, (name, points) in zip(
        figure.subplots(1, len(found), squeeze=False).flat, found.items(), strict=True
    ):
        for size, repeats_of_it in points.items():
            axes.loglog([size] * len(repeats_of_it), [point.seconds for point in repeats_of_it], "C1.")
        mean, error = exponent(points)
        axes.set_title(f"exponent {mean:.2f} ± {error:.2f}")
        axes.set_xlabel(KINDS[name].title)
        axes.set_ylabel(f"seconds of one {KINDS[name].unit}")
        axes.set_xticks([*points], [f"{size:,}" for size in points], rotation=30)
        axes.xaxis.minorticks_off()
    report.write(options.out, f"scaling-{options.threads}-threads", text, {**facts, "points": found}, figure)
    return text


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = report.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--most-rows", type=int, default=10**6, help="a million are 0.8 GB on disk")
    return parser.parse_args()


def main() -> None:
    """Measure, fit, print and write."""
    options = parsed()
    facts = report.facts(options)
    with tempfile.TemporaryDirectory() as folder:
        if "rows" in options.only:
            for rows in sizes("rows", options):
                written(rows, Path(folder))
        found = swept(options.only, options, Path(folder))
    print(write(options, facts, found))


if __name__ == "__main__":
    main()
