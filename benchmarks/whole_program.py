"""Whole trainings of MNIST, each a process from its start to its end: ``pyrovae train`` against six others.

    python benchmarks/whole_program.py --data-dir DIR --epochs 3 --rounds 5 \\
        --python-of pythae=PYTHON --python-of numpyro=PYTHON

``contenders/contract.py`` says what all of them do, on the rows that pyrovae takes by default. All train and
validate on grey pixels, as the recipes do, though pyrovae would binarise them. The ELBO is that of the saved
weights on the test images, by ``contenders/score.py`` for all.

The contenders take turns, round after round; a ratio is of two runs of one round. One run of one epoch goes
before, so that files and bytecode lie in the page cache and pyrovae has its own copy of the data, as in every
training but the first. What a compiler leaves behind is never kept: each process compiles anew.

One thread is the default: a network this small gains little from more, and the figures then do not depend on
how many cores a machine has or on how many of them a library takes unasked. Processes are also held to as
many cores as threads, where the system allows it: a library's helpers, compilers among them, get no others.

Peak memory is that of the largest process of a contender. Pictures that the recipes draw after every epoch
are left out; that of pyrovae after its last one is not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from report import counted, machine, spread
from report import table as markdown

HERE = Path(__file__).parent / "contenders"
REQUIREMENTS = HERE / "requirements.txt"
PYROVAE, TIGHT = "pyrovae", "tight-loop"
MIB = 2**20


class Contender(NamedTuple):
    """A program that trains."""

    title: str
    script: str | None
    """In ``contenders``; none for pyrovae, which is its own command line."""
    packages: Sequence[str]
    """Whose versions matter."""


CONTENDERS = {
    TIGHT: Contender("tight PyTorch loop", "tight_loop.py", ["torch"]),
    PYROVAE: Contender("pyrovae train", None, ["pyrovae", "pyro-ppl", "torch"]),
    "pytorch-examples": Contender("pytorch/examples", "pytorch_examples.py", ["torch", "torchvision"]),
    "pyro-tutorial": Contender("Pyro's tutorial", "pyro_tutorial.py", ["pyro-ppl", "torch"]),
    "pyro-example": Contender("Pyro's example", "pyro_example.py", ["pyro-ppl", "torch"]),
    "pythae": Contender("Pythae", "pythae_trainer.py", ["pythae", "torch"]),
    "numpyro": Contender("NumPyro", "numpyro_epochs.py", ["numpyro", "jax"]),
}

# The network and the training of contenders/contract.py, as pyrovae's settings.
SETTINGS = [
    *("--data", "mnist", "--prior", "normal", "--likelihood", "bernoulli", "--posterior", "normal"),
    *("--network", "mlp", "--latent-dim", "20", "--batch-size", "128", "--lr", "1e-3"),
    *("--set", "network.hidden=[400]", "--set", "data.binarize=none"),
]


@dataclass(frozen=True)
class Result:
    """What one run took and what it reached."""

    wall: float
    """Seconds from the start of the process to its end."""
    cpu: float
    """Seconds, user and system, of the process and of those that it waited for."""
    memory: float
    """Largest resident set, MiB."""
    elbo: float
    """Nats per test image."""
    standard_error: float
    """Over test images."""


Results = Mapping[str, Sequence[Result]]


class Broken(Exception):  # noqa: N818 - said in a sentence, to a person
    """A contender that did not end well."""


class Stage:
    """Where contenders are run.

    Args:
        options: of the command line.
        folder: for what they write.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.rows = folder / "rows.npz"
        self.pythons = dict.fromkeys(CONTENDERS, sys.executable) | dict(options.python_of)
        self.environment = os.environ | {
            **dict.fromkeys(
                ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], str(options.threads)
            ),
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(options.threads > 1).lower()}",
            "NPROC": str(options.threads),  # XLA's size of a pool of threads
            "XDG_CACHE_HOME": str(folder / "cache"),  # where pyrovae keeps its copy of the data
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
        }
        self._ask(sys.executable, HERE / "rows.py", self.rows)

    def run(self, name: str, *, epochs: int, seed: int) -> Result:
        """Train once, timed, and score the weights, untimed.

        Raises:
            Broken: with what the contender said last.
        """
        out = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        wall, usage = self._timed(self._command(name, out, epochs, seed), out)
        if name == PYROVAE:
            self._ask(sys.executable, HERE / "pyrovae_weights.py", out / "run", out)
        score = self._ask(
            sys.executable, HERE / "score.py", "--data-dir", self.options.data_dir, out / "weights.npz"
        )
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
        return Result(
            wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / MIB, **json.loads(score)
        )

    def versions(self, name: str) -> dict[str, str]:
        """Of Python and of the packages that matter."""
        code = (
            "import json, platform, sys; from importlib.metadata import version; print(json.dumps("
            "{'python': platform.python_version()} | {name: version(name) for name in sys.argv[1:]}))"
        )
        found: dict[str, str] = json.loads(
            self._ask(self.pythons[name], "-c", code, *CONTENDERS[name].packages)
        )
        return found

    def _command(self, name: str, out: Path, epochs: int, seed: int) -> list[str]:
        python, script = self.pythons[name], CONTENDERS[name].script
        task = ["--epochs", str(epochs), "--seed", str(seed), "--data-dir", str(self.options.data_dir)]
        if script is None:
            return [python, "-m", "pyrovae", "train", *SETTINGS, *task, "--run", str(out / "run")]
        return [python, str(HERE / script), *task, "--rows", str(self.rows), "--out", str(out)]

    def _timed(self, command: Sequence[str], out: Path) -> tuple[float, Any]:
        """Wall seconds and the resources of a process and its children.

        All caches of compilers are empty, or as the process before them left them.
        """
        place = self.folder if self.options.keep_compiled else out
        caches = {name: str(place / name) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
        with (out / "log").open("w+") as log:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, env=self.environment | caches, stdout=log, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                log.seek(0)
                raise Broken((log.read().strip() or f"exit status {process.returncode}").splitlines()[-1])
        return wall, usage

    def _ask(self, *command: object) -> str:
        """What an untimed process prints.

        Such work is never done here: the memory of this process would be counted as its children's, who are
        forked from it.
        """
        done = subprocess.run([*map(str, command)], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise Broken((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
        return done.stdout


def rehearsed(stage: Stage, names: Sequence[str]) -> Iterator[str]:
    """The contenders that can run here, once they have; of others it is said what they need."""
    for name in names:
        print(f"{name}: one epoch that does not count", file=sys.stderr)
        try:
            stage.run(name, epochs=1, seed=0)
        except Broken as error:
            advice = (
                f"; install what it needs, {stage.pythons[name]} -m pip install -r {REQUIREMENTS}, or name "
                f"an environment that has it, --python-of {name}=PYTHON"
            )
            missing = "ModuleNotFoundError" in str(error)
            print(f"{name} is left out: {error}{advice if missing else ''}", file=sys.stderr)
        else:
            yield name


def measured(stage: Stage, names: Sequence[str], rounds: int) -> Results:
    """The results of every round, by contender."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    for seed in range(1, rounds + 1):
        for name in names:
            result = stage.run(name, epochs=stage.options.epochs, seed=seed)
            results[name].append(result)
            print(
                f"round {seed}, {name}: {result.wall:.2f} s, CPU {result.cpu:.2f} s, "
                f"{result.memory:.0f} MiB, ELBO {result.elbo:.2f}",
                file=sys.stderr,
            )
    return results


def ratios(results: Results, what: str, above: str, below: str) -> list[float]:
    """One ratio for each round."""
    pairs = zip(results.get(above, []), results.get(below, []), strict=False)
    return [getattr(over, what) / getattr(under, what) for over, under in pairs]


def table(results: Results) -> str:
    """Medians over rounds as Markdown; beside a ratio, the smallest and the largest of a round."""
    header = [
        "program",
        "wall, s",
        "CPU, s",
        "memory, MiB",
        "test ELBO, nats",
        "wall / tight loop",
        "CPU / tight loop",
        "memory / tight loop",
        "pyrovae wall / this",
    ]
    rows = []
    for name, runs in results.items():
        wall, cpu, memory, elbo, error = (
            statistics.median(getattr(run, what) for run in runs) for what in asdict(runs[0])
        )
        rows.append(
            [
                CONTENDERS[name].title,
                f"{wall:.2f}",
                f"{cpu:.2f}",
                f"{memory:.0f}",
                f"{elbo:.2f} ± {error:.2f}",
                *(spread(ratios(results, what, name, TIGHT)) for what in ("wall", "cpu", "memory")),
                spread(ratios(results, "wall", PYROVAE, name)),
            ]
        )
    return markdown(header, rows)


def draw(results: Results, title: str, path: Path) -> None:
    """A point for each run and a bar for the median; of the ELBO, the median and its standard error."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    labels = {"wall": "wall, s", "memory": "peak memory, MiB", "elbo": "test ELBO, nats per image"}
    figure = Figure(figsize=(11, 0.5 * len(results) + 1.5), layout="constrained")
    figure.suptitle(title)
    for axes, (what, label) in zip(figure.subplots(1, len(labels), sharey=True), labels.items(), strict=True):
        for place, (name, runs) in enumerate(results.items()):
            values = [getattr(run, what) for run in runs]
            colour = "C1" if name == PYROVAE else "C0"
            if what == "elbo":
                error = statistics.median(run.standard_error for run in runs)
                axes.errorbar(statistics.median(values), place, xerr=error, color=colour, capsize=4)
            else:
                axes.barh(place, statistics.median(values), color=colour, alpha=0.4)
            axes.plot(values, [place] * len(values), ".", color=colour)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_yticks(range(len(results)), [CONTENDERS[name].title for name in results])
    axes.invert_yaxis()
    figure.savefig(path, dpi=150)


def hold_to(cores: int) -> bool:
    """Hold this process and its children to the last of its cores, which the system itself uses least."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])
    return True


def python_of(text: str) -> tuple[str, str]:
    """A contender and the interpreter to run it with."""
    name, _, python = text.partition("=")
    if name not in CONTENDERS or not python:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=PYTHON; names are {', '.join(CONTENDERS)}")
    return name, python


def write(options: argparse.Namespace, report: Mapping[str, Any], results: Results) -> str:
    """The table under a line that says what it is of; written to the folder with a figure and all numbers."""
    title = f"MNIST, {counted(options.epochs, 'epoch')}, {counted(options.threads, 'thread')}"
    where = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    summary = f"{title}; {report['date']}; {where}; medians of {counted(options.rounds, 'round')}"
    versions = [
        f"- {CONTENDERS[name].title}: {', '.join(' '.join(pair) for pair in found.items())}\n"
        for name, found in report["versions"].items()
    ]
    text = f"{summary}\n\n{table(results)}\n{''.join(versions)}"
    numbers = {**report, "rounds": {name: [*map(asdict, runs)] for name, runs in results.items()}}
    file = options.out / f"whole-program-{options.epochs}-epochs-{options.threads}-threads"
    options.out.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    draw(results, title, file.with_suffix(".png"))
    return text


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads, and cores, of each contender")
    parser.add_argument("--keep-compiled", action="store_true", help="compile in the first round only")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--python-of", type=python_of, action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for the results")
    options = parser.parse_args()
    if not (options.data_dir / "MNIST" / "raw").is_dir():
        parser.error(f"there is no MNIST/raw in {options.data_dir}")
    return options


def main() -> None:
    """Run the contenders; print the table, and write it with a figure and all numbers."""
    options = parsed()
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "epochs": options.epochs,
        "threads": options.threads,
        "held_to_cores": hold_to(options.threads),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            stage = Stage(options, Path(folder))
            names = list(rehearsed(stage, options.only))
            report["versions"] = {name: stage.versions(name) for name in names}
            results = measured(stage, names, options.rounds)
        except Broken as error:
            sys.exit(f"the benchmark cannot go on: {error}")
    print(write(options, report, results))


if __name__ == "__main__":
    main()
