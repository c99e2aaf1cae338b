"""The command line: parses what was typed, calls functions, prints; no maths, and no torch until needed."""

# In the order in which help lists their commands.
from pyrovae.cli import training, evaluation, generation, configuration  # noqa: F401, I001
from pyrovae.cli._app import app, main

__all__ = ["app", "main"]
