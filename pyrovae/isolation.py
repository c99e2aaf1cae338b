"""What surrounds a call of ours changes no number of it, and is as it was after it; knows no program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock

import numpy as np
import torch
from torch import nn

from pyrovae.pyro_compat import no_handlers

LOCK = RLock()
"""Held by whoever uses what the process has only once: Pyro's handlers, torch's generators and defaults."""

DEVICE_TYPES = ("cpu", "cuda", "mps")


@contextmanager
def isolated() -> Iterator[None]:
    """Inside, nothing of the caller's surroundings changes a number; afterwards they are as before.

    Inside, Pyro has no handlers and no plates. Torch makes float32 numbers on the processor where nobody says
    otherwise, autocast rounds none of them, and inference mode is off, so that gradients can be computed.
    NumPy warns where it would by default. One thread at a time is inside. Whether gradients are recorded is
    left to whoever enters. To enter takes some microseconds: a call of a verb does it, and no step.

    Every function that runs a program or changes a setting of the process is decorated with it, or has it
    around what it does. Code of the caller's, as an iterator of batches or what follows a ``yield``, runs
    outside.

    Example:
        >>> with pyro.plate("theirs", 3), isolated():
        ...     pyro.sample("z", pyro.distributions.Normal(0.0, 1.0)).shape
        torch.Size([])
    """
    with LOCK, no_handlers(), ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in DEVICE_TYPES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def switched(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Every part of a module is in training or in evaluation mode inside, and in its own mode after it.

    Args:
        module: of any parts.
        training: whether in training mode.

    Example:
        >>> with switched(program, training=False):
        ...     program.training
        False
    """
    modes = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
