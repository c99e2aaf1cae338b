"""Variational autoencoders as Pyro programs: priors, likelihoods, posteriors by name, no loss to write."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrovae.vae import VAE

__all__ = ["VAE", "__version__"]

__version__ = "0.1.0"

if "ipykernel" in sys.modules:
    # Pyro imports a bar that warns in red, once, where a notebook has no widgets; it is not used here.
    with warnings.catch_warnings(action="ignore"):
        import_module("tqdm.auto")


def __getattr__(name: str) -> Any:
    """``pyrovae.VAE`` when it is asked for: the command line's help shall not wait for torch."""
    if name == "VAE":
        from pyrovae.vae import VAE

        return VAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
