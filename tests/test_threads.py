"""Threads of the processor: how many, found by whom, and what does not depend on it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pyrovae.cli import _app

SET_BY_USERS = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME"]


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of threads."""
    for name in [*os.environ]:
        if name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_")):
            monkeypatch.delenv(name)
    return monkeypatch


# ---------------------------------------------------------------------------------------------------------
# How threads wait.


def during_a_command(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that a command has."""
    seen: dict[str, str] = {}
    monkeypatch.setattr(_app, "app", lambda arguments: seen.update(os.environ))
    _app.main([])
    return seen


def test_threads_of_a_command_wait_briefly_and_no_variable_is_left(nothing_set: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    assert during_a_command(nothing_set) == before | {"GOMP_SPINCOUNT": _app.SPINS}
    assert dict(os.environ) == before


def test_a_command_that_fails_leaves_no_variable(nothing_set: pytest.MonkeyPatch) -> None:
    def fail(arguments: object) -> None:
        raise KeyError

    nothing_set.setattr(_app, "app", fail)
    with pytest.raises(KeyError):
        _app.main([])
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize("name", SET_BY_USERS)
def test_what_a_user_says_of_openmp_stands_alone(nothing_set: pytest.MonkeyPatch, name: str) -> None:
    nothing_set.setenv(name, "3")
    before = dict(os.environ)
    assert during_a_command(nothing_set) == before
    assert dict(os.environ) == before


def test_the_command_line_says_how_threads_wait_before_it_loads_torch(
    nothing_set: pytest.MonkeyPatch,
) -> None:
    watching = """
import builtins, os, sys
original = builtins.__import__
def watched(name, *rest, **named):
    if name == "torch" and "torch" not in sys.modules:
        print("waits", os.environ.get("GOMP_SPINCOUNT"))
    return original(name, *rest, **named)
builtins.__import__ = watched
from pyrovae.cli import main
main(["components"])
"""
    finished = subprocess.run([sys.executable, "-c", watching], capture_output=True, text=True, check=True)
    assert f"waits {_app.SPINS}\n" in finished.stdout
    assert "waits None" not in finished.stdout
