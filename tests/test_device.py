"""Devices by name, precision, and the generators of accelerators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from conftest import Build
from members import each, objective_of
from test_programs import Combination, members, prepared
from torch import nn
from torch.testing import assert_close

from pyrovae import device
from pyrovae.capture import capture
from pyrovae.errors import ConfigError
from pyrovae.networks import Folded, rounding
from pyrovae.randomness import seeded

CUDA = torch.device("cuda", 0)


@contextmanager
def failing(context: AbstractContextManager[Any]) -> Iterator[None]:
    """Enters a context that is left by an error."""
    try:
        with context:
            yield
            raise KeyError
    except KeyError:
        pass


# ---------------------------------------------------------------------------------------------------------
# Names of devices.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets torch find the devices of another machine."""

    def has(*, cuda: int = 0, mps: bool = False, capability: tuple[int, int] = (8, 0)) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda which: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda which: "GeForce")

    return has


@pytest.mark.parametrize(
    ("name", "here", "found"),
    [
        ("auto", {}, "cpu"),
        ("auto", {"mps": True}, "cpu"),
        ("auto", {"cuda": 2, "mps": True}, "cuda:0"),
        ("cpu", {"cuda": 1}, "cpu"),
        ("cuda", {"cuda": 1}, "cuda:0"),
        ("cuda:1", {"cuda": 2}, "cuda:1"),
        ("mps", {"mps": True}, "mps"),
    ],
)
def test_a_name_is_a_device(machine: Any, name: str, here: dict[str, Any], found: str) -> None:
    machine(**here)
    assert device.find(name) == torch.device(found)


@pytest.mark.parametrize(("name", "here"), [("cuda", {}), ("cuda:2", {"cuda": 2}), ("mps", {"cuda": 1})])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    machine: Any, name: str, here: dict[str, int]
) -> None:
    machine(**here)
    there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(here.get("cuda", 0)))])
    with pytest.raises(
        ConfigError, match=f"^train.device: there is no device '{name}' here; there is {there}$"
    ):
        device.find(name)


def test_a_module_is_where_its_tensors_are() -> None:
    assert device.of(nn.Linear(2, 2, device="meta")).type == "meta"
    assert device.of(nn.BatchNorm1d(2, affine=False, device="meta")).type == "meta"
    assert device.of(nn.ReLU()).type == "cpu"


def test_what_mps_says_of_double_precision_is_said_in_words() -> None:
    def broken() -> None:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    for place, error in (("mps", ConfigError), ("cpu", TypeError)):
        with pytest.raises(error), device.explaining(torch.device(place)):
            broken()
    with pytest.raises(TypeError, match="other"), device.explaining(torch.device("mps")):
        raise TypeError("other")


# ---------------------------------------------------------------------------------------------------------
# Precision.


@pytest.mark.parametrize(
    ("precision", "name", "here", "reason"),
    [
        ("tf32", "cpu", {}, "'tf32' is of CUDA devices, and this is cpu; 'float32' and 'bf16' fit"),
        (
            "tf32",
            "cuda:0",
            {"capability": (7, 5)},
            "GeForce has the compute capability 7.5, and 'tf32' needs 8.0",
        ),
        (
            "bf16",
            "cuda:0",
            {"capability": (7, 5)},
            "GeForce has the compute capability 7.5, and 'bf16' needs 8.0",
        ),
    ],
)
def test_a_precision_that_a_device_lacks_is_refused(
    machine: Any, precision: Any, name: str, here: dict[str, Any], reason: str
) -> None:
    machine(cuda=1, **here)
    with (
        pytest.raises(ConfigError, match=f"train.precision: {reason}"),
        device.multiplying(precision, torch.device(name)),
    ):
        pass


def float32_settings() -> tuple[Any, ...]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize(
    ("precision", "inside"),
    [("float32", ("highest", False)), ("tf32", ("high", True)), ("bf16", ("highest", False))],
)
def test_products_are_as_precise_as_named_and_settings_are_as_before_afterwards(
    machine: Any, monkeypatch: pytest.MonkeyPatch, precision: Any, inside: tuple[Any, ...], allowed: bool
) -> None:
    machine(cuda=1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    before = float32_settings()
    with failing(device.multiplying(precision, CUDA)):
        assert float32_settings() == inside
    assert float32_settings() == before


NETWORKS = [Combination((case,)) for case in members("network")]


@each(NETWORKS, "combination")
def test_networks_round_to_bfloat16_and_nothing_else_does(combination: Combination) -> None:
    program, x = prepared(combination)
    exact = program.network.encoder(x)
    with rounding(program):
        features = program.network.encoder(x)
        q = program.encode(x)
        loss = objective_of(program)(x).loss
    assert features.dtype == q.mean.dtype == torch.float32
    assert 1e-5 < (features - exact).abs().max() / exact.abs().max() < 0.1
    assert_close(q.mean, features.chunk(2, -1)[0], rtol=0, atol=0)  # not rounded another time
    loss.backward()
    assert {parameter.grad.dtype for parameter in program.parameters() if parameter.grad is not None} == {
        torch.float32
    }
    assert torch.equal(program.network.encoder(x), exact)


def test_a_rounded_network_is_rounded_in_its_graph_too(make: Build) -> None:
    program, x = make(event_shape=(6,)), torch.randn(5, 6)
    exact = program.network.encoder(x)
    with rounding(program), torch.no_grad():
        rounded = program.network.encoder(x)
        graph = capture(lambda x: (program.network.encoder(x),), x, may_draw=False)
    assert not torch.equal(rounded, exact)
    assert torch.equal(graph(x)[0], rounded)  # outside as well: it is what was captured
    assert list(program.state_dict()) == list(make(event_shape=(6,)).state_dict())


def test_rounding_can_be_off_and_is_as_before_afterwards(make: Build) -> None:
    program, x = make(event_shape=(6,)), torch.randn(5, 6)
    exact = program.network.encoder(x)
    with failing(rounding(program)):
        with rounding(program, rounded=False):
            assert torch.equal(program.network.encoder(x), exact)
        assert not torch.equal(program.network.encoder(x), exact)
    assert not any(part.rounded for part in program.modules() if isinstance(part, Folded))


# ---------------------------------------------------------------------------------------------------------
# Generators of accelerators.


class Generators:
    """The generators of two CUDA devices, as torch's functions give access to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, started: bool) -> None:
        self.each = [torch.Generator().manual_seed(index) for index in range(2)]
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(self.each))
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda index: self.each[index].get_state())
        monkeypatch.setattr(
            torch.cuda, "set_rng_state", lambda state, index: self.each[index].set_state(state)
        )
        monkeypatch.setattr("pyrovae.randomness._seed_all", {"cuda": self.seed})

    def seed(self, seed: int) -> None:
        for generator in self.each:
            generator.manual_seed(seed)

    def draws(self) -> list[float]:
        return [torch.rand((), generator=generator).item() for generator in self.each]


def test_an_accelerator_in_use_is_seeded_too_and_goes_on_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    untouched, used = (Generators(monkeypatch, started=True) for _ in range(2))
    draws = []
    for key in (1, 2, 1):
        with seeded(key):
            draws.append(used.draws())
    assert draws[0] == draws[2] != draws[1]
    assert used.draws() == untouched.draws()


def test_an_accelerator_that_is_not_in_use_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = Generators(monkeypatch, started=False)
    states = [generator.get_state() for generator in generators.each]
    with seeded(1):
        assert all(map(torch.equal, states, (generator.get_state() for generator in generators.each)))
