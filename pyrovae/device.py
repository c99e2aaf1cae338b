"""Where tensors are, and how precisely networks multiply; knows no program and no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from pyrovae.choices import PrecisionName
from pyrovae.errors import ConfigError, Problem

TENSOR_FLOAT = (8, 0)
"""The compute capability from which on a CUDA device has TF32, and bfloat16 in its hardware."""


class Products(NamedTuple):
    """How what is in float32 is multiplied."""

    matrices: str = "highest"
    """What torch calls the precision of products of matrices."""
    convolutions_in_tf32: bool = False
    networks_round: bool = False
    """Whether networks round what they multiply, rather than the device."""


PRECISIONS: Mapping[PrecisionName, Products] = {
    "float32": Products(),
    "tf32": Products("high", convolutions_in_tf32=True),
    "bf16": Products(networks_round=True),
}


def find(name: str, place: str = "train.device") -> torch.device:
    """The device of a name: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    ``auto`` is the first CUDA device, or else the processor. mps has no float64, and is taken by name only.

    Args:
        name: of the device.
        place: where the name stands in the configuration.

    Raises:
        ConfigError: there is no such device here.

    Example:
        >>> find("cpu")
        device(type='cpu')
    """
    here = available()
    if name == "auto":
        return torch.device(here[1] if here[1:] and here[1] != "mps" else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in here:
        raise ConfigError([Problem(place, f"there is no device {name!r} here; there is {', '.join(here)}")])
    return torch.device(wanted)


def available() -> list[str]:
    """The names of the devices of this machine, the processor first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def of(module: nn.Module) -> torch.device:
    """The device of a module: that of its first parameter or buffer; the processor, where it has none."""
    for tensors in (module.parameters(), module.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


def dtype_of(module: nn.Module) -> torch.dtype:
    """The precision of a module: that of its first parameter or buffer of real numbers; else float32."""
    for tensors in (module.parameters(), module.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.dtype
    return torch.float32


def widest(device: torch.device) -> torch.dtype:
    """The most precise floating-point numbers that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def explaining(device: torch.device) -> Iterator[None]:
    """What a device without double precision says of it is said in words.

    Raises:
        ConfigError: something inside needs numbers that the device does not have.
    """
    try:
        yield
    except TypeError as error:
        if device.type != "mps" or "float64" not in str(error):
            raise
        reason = f"a part of this program computes in double precision, which {device.type} lacks; 'cpu' fits"
        raise ConfigError([Problem("train.device", reason)]) from error


def refusal(precision: PrecisionName, device: torch.device) -> str | None:
    """Why a device does not multiply with a precision, in words; ``None`` where it does."""
    products = PRECISIONS[precision]
    if products == Products() or (products.networks_round and device.type == "cpu"):
        return None
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= TENSOR_FLOAT:
            return None
        has = f"{torch.cuda.get_device_name(device)} has the compute capability {_version(capability)}"
        return f"{has}, and {precision!r} needs {_version(TENSOR_FLOAT)}; 'float32' fits"
    if products.networks_round:
        return None if _has_bfloat16(device) else f"{device.type} has no bfloat16 here; 'float32' fits"
    fitting = [repr(name) for name in PRECISIONS if name != precision and refusal(name, device) is None]
    fit = f"{' and '.join(fitting)} {'fit' if fitting[1:] else 'fits'}"
    return f"{precision!r} is of CUDA devices, and this is {device.type}; {fit}"


@contextmanager
def multiplying(precision: PrecisionName, device: torch.device) -> Iterator[None]:
    """Products of float32 matrices and convolutions inside are as precise as named; after it, as before.

    ``float32`` is meant: by itself, torch lets convolutions on a CUDA device round to TF32. ``bf16`` is the
    networks' business (:func:`pyrovae.networks.rounding`); what is no network, as flows, stays in float32.

    Args:
        precision: of the products.
        device: which is to have it.

    Raises:
        ConfigError: the device lacks it.

    Example:
        >>> with multiplying("float32", find("cpu")):
        ...     torch.get_float32_matmul_precision()
        'highest'
    """
    if reason := refusal(precision, device):
        raise ConfigError([Problem("train.precision", reason)])
    wanted = PRECISIONS[precision]
    cudnn: Any = torch.backends.cudnn
    onednn: Any = torch.backends.mkldnn
    matrices: Any = torch.backends.cuda.matmul, onednn.matmul
    others = cudnn.conv, cudnn.rnn, onednn.conv, onednn.rnn
    before = [(each, each.fp32_precision) for each in (*matrices, *others)]
    products = _unless_mixed(torch.get_float32_matmul_precision)
    convolutions = _unless_mixed(lambda: torch.backends.cudnn.allow_tf32)
    try:
        if products is not None:
            torch.set_float32_matmul_precision(wanted.matrices)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = wanted.convolutions_in_tf32
        for each in () if products is not None else matrices:
            each.fp32_precision = "ieee" if wanted.matrices == "highest" else "tf32"
        for each in others:
            each.fp32_precision = "tf32" if wanted.convolutions_in_tf32 else "ieee"
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        for each, precise in before:
            each.fp32_precision = precise


def _unless_mixed(setting: Callable[[], Any]) -> Any:
    """A setting of torch; ``None`` where its parts were set one by one, and torch has no word for all."""
    try:
        return setting()
    except RuntimeError:
        return None


def _has_bfloat16(device: torch.device) -> bool:
    try:
        torch.zeros(1, device=device, dtype=torch.bfloat16)
    except (RuntimeError, TypeError):
        return False
    return True


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
