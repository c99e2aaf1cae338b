"""An accelerator that is none: tensors of a device of their own, whose operations the processor does.

It refuses what a real one refuses: operations on tensors of two devices, and arrays of NumPy over its memory.
What a real one would wait for, and types that one of them lacks, can be refused too. So what runs here runs
there, as far as devices go, and gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten

READS = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default}
"""Operations whose result the processor has to know before it goes on."""

OF_UNKNOWN_SIZE = {aten.nonzero.default, aten.masked_select.default, aten._unique2.default}
"""Operations whose result's size the processor has to know."""

COPIES = {aten.copy_.default, aten._to_copy.default, aten.set_.source_Tensor}
"""Operations that may take tensors from one device to the other."""


INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
"""Operations that take places from the processor too."""


# Before the first backward pass of the process: that is when torch counts the devices that have one.
_setup_privateuseone_for_python_backend("pretended")
ACCELERATOR = torch.device("pretended", 0)


class Waited(Exception):  # noqa: N818 - what a test is about
    """The processor would have waited for the accelerator, or copied something to it."""


class Lacking(Exception):  # noqa: N818 - what a test is about
    """The accelerator has no float64."""


class _Far(Tensor):
    """A tensor on the accelerator; its numbers are in another one, ``near``."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> _Far:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=ACCELERATOR,
        )

    def __init__(self, near: Tensor) -> None:
        self.near = near

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["near"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], *_: Any) -> _Far:
        return _Far(parts["near"])

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class Pretended(TorchDispatchMode):
    """Inside, tensors are made on the accelerator where they are asked for there.

    Args:
        waits: whether the processor may wait for the accelerator, and copy to it.
        has_float64: whether the accelerator has numbers of double precision.
        draws: whether it draws other numbers than the processor, as from a generator of its own.
    """

    def __init__(self, *, waits: bool = True, has_float64: bool = True, draws: bool = False) -> None:
        super().__init__()
        self.waits = waits
        self.has_float64 = has_float64
        self.draws = draws
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        far = _on_accelerator(args, kwargs)
        goes = far or _is_accelerator(kwargs.get("device"))
        if not self.waits and far and (func in READS | OF_UNKNOWN_SIZE or _chooses(func, args)):
            raise Waited(str(func))
        with self._generator(func, goes):
            result = _run(func, args, kwargs)
        arrives = [value for value in tree_leaves(result) if isinstance(value, _Far)]
        if not self.waits and func in COPIES and _places(args) | _places(result) == {True, False}:
            raise Waited(f"{func}: a copy between devices")
        if not self.has_float64 and any(value.dtype == torch.float64 for value in arrives):
            raise Lacking(str(func))
        return result

    @contextmanager
    def _generator(self, func: Any, goes: bool) -> Iterator[None]:
        """Random operations on the accelerator inside leave the processor's generator alone."""
        if not (self.draws and torch.Tag.nondeterministic_seeded in func.tags and goes):
            yield
            return
        self.calls += 1
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.calls)
            yield


def _on_accelerator(args: Any, kwargs: Any) -> bool:
    return any(isinstance(value, _Far) for value in tree_leaves((args, kwargs)))


def _places(values: Any) -> set[bool]:
    """Whether tensors are on the accelerator."""
    return {isinstance(value, _Far) for value in tree_leaves(values) if isinstance(value, Tensor)}


def _is_accelerator(device: Any) -> bool:
    return device is not None and torch.device(device).type == ACCELERATOR.type


def _chooses(func: Any, args: Any) -> bool:
    """Whether an operation takes entries at places that a mask chooses, or that the processor knows."""
    places = [place for place in args[1] if place is not None] if func in INDEXING else []
    return any(place.dtype == torch.bool or not isinstance(place, _Far) for place in places)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    far = [isinstance(value, _Far) for value in tensors]
    asked = kwargs.get("device")
    if any(far) and func not in COPIES:
        # Torch takes a single number from the processor, and no more.
        places = [] if func not in INDEXING else [place for place in args[1] if place is not None]
        strange = [value for value, is_far in zip(tensors, far, strict=True) if not is_far and value.dim()]
        if alien := [value for value in strange if all(value is not place for place in places)]:
            raise RuntimeError(f"{func}: tensors on two devices, one of them {tuple(alien[0].shape)}")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        goes = _is_accelerator(asked)
    else:
        goes = isinstance(tensors[0], _Far) if func in COPIES else any(far)
    result = func(*_near(args), **_near(kwargs))
    if func._schema.is_mutable:
        return _same_objects(func, result, args, kwargs)
    return tree_map_only(Tensor, _Far, result) if goes else result


def _near(values: Any) -> Any:
    return tree_map_only(_Far, lambda value: value.near, values)


def _same_objects(func: Any, result: Any, args: Any, kwargs: Any) -> Any:
    """The results of an operation in place, which are its arguments."""
    given = {id(_near(value)): value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
    return tree_map_only(Tensor, lambda value: given.get(id(value), value), result)


def _is_mask(places: Any) -> bool:
    return isinstance(places, Tensor) and places.dtype == torch.bool


class _Numbers(TorchFunctionMode):
    """Does with the numbers of Python what torch does out of sight, in C++, for a real accelerator.

    Tensors from numbers, and numbers from tensors, are copied. A number that is written where a mask says
    (``x[mask] = 0``) stays with the processor, and torch fills by the mask: nobody waits. For a device that
    torch does not know, it would make a tensor of the number there, and look up the places.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist:
            return func(args[0].cpu())
        if func is Tensor.__setitem__ and _is_mask(args[1]) and isinstance(args[2], (int, float)):
            args[0].masked_fill_(args[1], args[2])
            return None
        if func not in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        if func is Tensor.new_tensor:
            like, *args = args  # type: ignore[assignment]
            device, kwargs = device or like.device, {"dtype": like.dtype, **kwargs}
        made = args[0] if isinstance(args[0], Tensor) else torch.tensor(*args, **kwargs)
        return made.to(device) if device is not None else made


@contextmanager
def pretended(**limits: bool) -> Iterator[torch.device]:
    """An accelerator to work on inside."""
    with Pretended(**limits), _Numbers():
        yield ACCELERATOR
