"""What the commands take before they do what was asked, beside the bare import of torch and Pyro.

    python benchmarks/start_up.py --rounds 10

Each command and the bare import are started in turn, each in a process of its own; a pair of them gives a
difference of times, from start to end. ``train`` ends where its first step would begin: everything that
comes before is in the figure, data and weights among it, and what the step itself captures or compiles is
not. One start of each goes before: files are in memory, byte code on the disk and data in pyrovae's cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

IMPORT = "import torch, pyro"

COMMAND = "import sys; from pyrovae.cli import main; main(sys.argv[1:])"

UNTIL_THE_FIRST_STEP = """
import sys
from pyrovae.cli import main
from pyrovae.engine import Engine

Engine.step = lambda *_, **__: sys.exit()
main(sys.argv[1:])
"""


BYTE_CODE = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""The environment, where Python keeps what it has compiled, as it does of an installed package."""


class Spent(NamedTuple):
    """Seconds that a process took, from start to end."""

    wall: float
    cpu: float


def spent(program: str, *arguments: str, folder: str) -> Spent:
    """What a program takes in a process of its own."""
    before, start = os.times(), time.perf_counter()
    command = [sys.executable, "-c", program, *arguments]
    subprocess.run(command, cwd=folder, env=BYTE_CODE, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, os.times()
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return Spent(wall, user + system)


def pairs(program: str, arguments: Sequence[str], rounds: int) -> Iterator[tuple[Spent, Spent]]:
    """What a program and the bare import take, by turns."""
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            pair = spent(program, *arguments, folder=folder), spent(IMPORT, folder=folder)
        if number:
            yield pair


def described(values: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Print what each command takes, and by how much that exceeds the bare import."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--train", default="--data digits --epochs 1", help="arguments of train")
    options = parser.parse_args()
    commands = {
        "--help": COMMAND,
        "train --help": COMMAND,
        "components": COMMAND,
        "components --matrix": COMMAND,
        f"train {options.train}": UNTIL_THE_FIRST_STEP,
    }
    for command, program in commands.items():
        print(f"pyrovae {command}")
        taken = list(pairs(program, command.split(), options.rounds))
        for clock in Spent._fields:
            ours, bare = ([getattr(one, clock) for one in column] for column in zip(*taken, strict=True))
            beyond = [one - other for one, other in zip(ours, bare, strict=True)]
            print(f"    {clock:4} seconds {described(ours)}, beyond the bare import {described(beyond)}")


if __name__ == "__main__":
    main()
