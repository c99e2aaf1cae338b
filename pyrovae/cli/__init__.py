"""The command line: parses what was typed, calls functions, prints; no maths, and no torch until needed."""

# ruff: noqa: F401, I001 - they stand in the order in which help lists their commands
from pyrovae.cli import (
    training,
    evaluation,
    generation,
    predicting,
    walking,
    embedding,
    scoring,
    comparing,
    reporting,
    animating,
    configuration,
)
from pyrovae.cli._app import app, main

__all__ = ["app", "main"]
