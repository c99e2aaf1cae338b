"""A training on one thread, on all, and on as many as it finds to help; quiet, and beside one busy core.

    python benchmarks/threads.py --data-dir DIR --rounds 2

Each training is a process of its own, from the command line; they take turns, and another setting is first in
every round. Seconds are from the moment when the run's folder is made to the last checkpoint: imports and
data are not in them, and all that is measured, captured or compiled before the first step is. A ratio is that
of the seconds of ``auto`` to those of the better one of the other two in the same round. ``--data-dir`` holds
MNIST/raw; without it, digits alone are trained on. Two rounds take about eight minutes on two quiet cores.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import report

COMMAND = "import sys; from pyrovae.cli import main; main(sys.argv[1:])"

BUSY = "while True: pass"

CASES: Mapping[str, Sequence[str]] = {
    "digits": ("--data", "digits"),
    "mnist-mlp": (
        *("--data", "mnist", "--latent-dim", "20", "--batch-size", "128", "--epochs", "2"),
        *("--set", "network.hidden=[400]"),
    ),
    "mnist-conv": (
        *("--data", "mnist", "--network", "conv", "--batch-size", "128", "--epochs", "1"),
        *("--set", "data.limit=10000"),
    ),
}

MOST = min(len(os.sched_getaffinity(0)), 4) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

SETTINGS = {"one": "1", "all": str(MOST), "auto": "0"}

QUIET, BESIDE = "quiet", "beside one busy core"


@contextmanager
def busy_core() -> Iterator[None]:
    """One process that never waits."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


STATES = {QUIET: nullcontext, BESIDE: busy_core}


def trained(arguments: Sequence[str], threads: str) -> tuple[float, str]:
    """Seconds of a training, and what it says of its threads."""
    unset = ("OMP_", "GOMP_", "KMP_", "MKL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["train", *arguments, "--threads", threads, "--watch", "0", "--run", str(run)]
        command = [sys.executable, "-c", COMMAND, *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        begun, ended = (run / file for file in ("config.toml", "checkpoints/resume.pt"))
        said = [line for line in done.stderr.splitlines() if line.startswith("each step has")]
        return ended.stat().st_mtime - begun.stat().st_mtime, said[0]


def measured(arguments: Sequence[str], state: str, rounds: int) -> tuple[dict[str, list[float]], str]:
    """Seconds of each setting, round by round, and what ``auto`` says of its threads."""
    seconds: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
    turns, said = itertools.cycle(SETTINGS), ""
    for _ in range(rounds):
        next(turns)
        for setting in itertools.islice(turns, len(SETTINGS)):
            with STATES[state]():
                spent, note = trained(arguments, SETTINGS[setting])
            seconds[setting].append(spent)
            said = note if setting == "auto" else said
    return seconds, said


def main() -> None:
    """Print a line for each case, as soon as it is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="folder that holds MNIST/raw")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    print(f"{report.summary('Threads', report.facts(options))}; all: {MOST}; median (smallest to largest)")
    for name in options.only:
        arguments = list(CASES[name])
        if "mnist" in arguments:
            if options.data_dir is None:
                continue
            arguments += ["--data-dir", str(options.data_dir)]
        for state in STATES:
            seconds, said = measured(arguments, state, options.rounds)
            pairs = zip(seconds["auto"], map(min, seconds["one"], seconds["all"]), strict=True)
            ratios = [auto / better for auto, better in pairs]
            times = ", ".join(f"{setting} {report.spread(values)} s" for setting, values in seconds.items())
            verdict = "within" if statistics.median(ratios) <= 1.25 else "ABOVE"
            print(f"{name}, {state}: {times}")
            print(
                f"    auto / better one: {report.spread(ratios)}, {verdict} 1.25; auto says: {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
