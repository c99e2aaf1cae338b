"""Every test starts from the same seed and must leave the process as it found it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

# Before torch is loaded, and for the processes that tests start: several tests run at a time, and the models
# here are too small to share among threads, which would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

import pyro
import pytest
import torch
from pyro.infer.util import is_validation_enabled
from torch import Size

from pyrovae import plots
from pyrovae.assembly import build
from pyrovae.cli import main
from pyrovae.config import resolve
from pyrovae.programs.single_layer import SingleLayer

Build: TypeAlias = Callable[..., SingleLayer]


def global_settings() -> dict[str, Any]:
    """What belongs to the whole process, and to no test and no model."""
    return {
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "Pyro's validation": is_validation_enabled(),
        "torch's validation": torch.distributions.Distribution._validate_args,
        "names in Pyro's store": sorted(pyro.get_param_store().keys()),
    }


@pytest.fixture(autouse=True)
def _same_process_before_and_after() -> Iterator[None]:
    before, noise = global_settings(), torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(noise)
    after = global_settings()
    pyro.clear_param_store()
    assert after == before, "the test changed a setting of the whole process"


@pytest.fixture(autouse=True, scope="session")
def _no_terminal() -> Iterator[None]:
    """Tables are as wide as in a pipe; pytest-xdist tells its workers how wide its own terminal is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture
def untouched() -> Iterator[None]:
    """The test must leave torch's global generator exactly as it finds it."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "torch's global generator was used"


@pytest.fixture
def pyro_store() -> Iterator[None]:
    """The test may fill Pyro's global store of parameters, which is emptied for it and after it."""
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.fixture
def make() -> Build:
    """Builds a small program from a configuration: components by name, or as tables of name and options."""

    def program(*, event_shape: tuple[int, ...] = (6,), **choices: Any) -> SingleLayer:
        small = {"latent_dim": 2, "network": {"name": "mlp", "hidden": [16]}, "likelihood": "gaussian"}
        return cast(SingleLayer, build(resolve(small, choices), Size(event_shape)))

    return program


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run, trained from the command line."""
    path = tmp_path_factory.mktemp("work") / "run"
    small = ["--set", "data.limit=60", "--set", "network.hidden=[16]", "--latent-dim", "2"]
    with pytest.raises(SystemExit) as ended:
        main(["train", *small, "--epochs", "1", "--run", str(path)])
    assert not ended.value.code
    return path


@pytest.fixture
def empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, and files of them are empty."""
    monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())
