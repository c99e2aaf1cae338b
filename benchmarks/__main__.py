"""Every benchmark, one after the other on one machine, each a process of its own.

    python benchmarks --data-dir DIR --python-of pythae=PYTHON --python-of numpyro=PYTHON

``--data-dir`` holds MNIST/raw; without it, whole programs are left out. Each benchmark writes a table in
Markdown, a figure and all its numbers to ``--out``. ``--quick`` is for a look at whether all of it runs: its
figures mean little.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent


def commands(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """What to run: a script and its arguments."""
    quick = options.quick
    step_rounds, pairs, repeats, rounds = ("2", "2", "2", "1") if quick else ("30", "10", "3", "5")
    for device in ["cpu", "cuda"] if options.cuda else ["cpu"]:
        yield "step.py", "--device", device, "--rounds", step_rounds, "--steps", "5" if quick else "20"
        images = "100" if quick else "1000"
        yield "log_likelihood.py", "--device", device, "--pairs", pairs, "--images", images
    yield "scaling.py", "--repeats", repeats, "--most-rows", "32000" if quick else "1000000"
    if options.data_dir is not None:
        pythons = [word for pair in options.python_of for word in ("--python-of", pair)]
        for epochs in ["1"] if quick else ["3", "20"]:
            task = ["--data-dir", str(options.data_dir), "--epochs", epochs, "--rounds", rounds]
            yield "whole_program.py", *task, *pythons


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", type=Path, help="folder that holds MNIST/raw")
    parser.add_argument("--python-of", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for the results")
    parser.add_argument("--cuda", action="store_true", help="steps and evaluation on a CUDA device too")
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes")
    return parser.parse_args()


def main() -> None:
    """Run all; a benchmark that fails does not keep the others from running."""
    options = parsed()
    everywhere = ["--threads", str(options.threads), "--out", str(options.out)]
    failed = []
    for script, *arguments in commands(options):
        print(f"--- {script} {' '.join(arguments)}", file=sys.stderr)
        done = subprocess.run([sys.executable, str(HERE / script), *arguments, *everywhere])
        if done.returncode:
            failed.append(script)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
