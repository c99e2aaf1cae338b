"""``python -m pyrovae``: the command line."""

from pyrovae.cli import main

main()
