"""Private parts of Pyro 1.9, each behind a name of ours; knows nothing of this project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyro.poutine.runtime import _DIM_ALLOCATOR, _ENUM_ALLOCATOR, _PYRO_STACK


@contextmanager
def no_handlers() -> Iterator[None]:
    """Inside, Pyro knows no handler, no plate and no enumerated dimension; afterwards, all as before.

    Pyro keeps them in three lists of the process.

    Example:
        >>> with pyro.plate("data", 3), no_handlers():
        ...     pyro.sample("z", dist.Normal(0.0, 1.0)).shape
        torch.Size([])
    """
    handlers, plates = [*_PYRO_STACK], [*_DIM_ALLOCATOR._stack]
    enumerated = dict(vars(_ENUM_ALLOCATOR))
    _PYRO_STACK.clear()
    _DIM_ALLOCATOR._stack.clear()
    try:
        yield
    finally:
        _PYRO_STACK[:] = handlers
        _DIM_ALLOCATOR._stack[:] = plates
        vars(_ENUM_ALLOCATOR).clear()
        vars(_ENUM_ALLOCATOR).update(enumerated)
