"""Laws of every network: as it is on data of every shape it takes, and with every option on a picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from members import MEMBERS, Case, cases, each, shaken, untrained
from torch import Size, Tensor

from pyrovae.errors import ConfigError
from pyrovae.networks import Network, Shapes
from pyrovae.randomness import seeded

EVENT_SHAPES = [Size([7]), Size([5, 6]), Size([1, 8, 8]), Size([2, 7, 5]), Size([3, 1, 1])]


class Wired(NamedTuple):
    """A network between data of a shape, codes of 3 numbers, 4 features of a code and 2 of a cell."""

    case: Case
    event_shape: Size

    def __str__(self) -> str:
        return f"{self.case}-{'x'.join(map(str, self.event_shape))}"

    def make(self) -> Network:
        return shaken(self.case.make(shapes=Shapes(self.event_shape, 3, 4, 2)))  # type: ignore[no-any-return]

    def data(self, *leading: int) -> tuple[Tensor, Tensor]:
        """Data and codes."""
        dtype = torch.float64
        return torch.randn(*leading, *self.event_shape, dtype=dtype), torch.randn(*leading, 3, dtype=dtype)

    def refused(self) -> bool:
        with seeded(0):
            try:
                self.make()
            except ConfigError:
                return True
        return False


SHAPED = [Wired(case, shape) for case in MEMBERS if case.family == "network" for shape in EVENT_SHAPES]
WIRED = [wired for wired in SHAPED if not wired.refused()]
WIRED += [Wired(case, EVENT_SHAPES[3]) for case in cases("network") if case.options]


def trained(network: Network, wired: Wired) -> Network:
    """The network in evaluation mode, after it has seen data, which batch normalisation remembers."""
    x, z = wired.data(20)
    network.encoder(x), network.decoder(z)
    return network.eval()


def test_only_networks_for_pictures_refuse_a_shape_and_they_refuse_vectors_only() -> None:
    assert {(wired.case.name, tuple(wired.event_shape)) for wired in SHAPED if wired.refused()} == {
        (name, (7,)) for name in ("conv", "gated-conv", "resnet")
    }


@each(WIRED, "wired")
def test_a_network_keeps_leading_dimensions_and_takes_float64(wired: Wired) -> None:
    network = trained(wired.make(), wired)
    for leading in [(), (3,), (2, 3), (2, 1, 3)]:
        x, z = wired.data(*leading)
        features, cells = network.encoder(x), network.decoder(z)
        assert (features.shape, cells.shape) == ((*leading, 4), (*leading, 2, *wired.event_shape))
        assert features.dtype == cells.dtype == torch.float64


@each(WIRED, "wired")
@torch.no_grad()
def test_folding_particles_into_the_batch_equals_a_loop_over_them(wired: Wired) -> None:
    network = trained(wired.make(), wired)
    for half, values in zip([network.encoder, network.decoder], wired.data(3, 5), strict=True):
        torch.testing.assert_close(half(values), torch.stack([half(part) for part in values]))


@each(WIRED, "wired")
@torch.no_grad()
def test_particles_are_one_large_batch_in_training(wired: Wired) -> None:
    network = wired.make()
    for half, values in zip([network.encoder, network.decoder], wired.data(3, 5), strict=True):
        with seeded(1):
            together = half(values)
        with seeded(1):
            torch.testing.assert_close(together.flatten(0, 1), half(values.flatten(0, 1)))


@each(WIRED, "wired")
def test_data_do_not_mix_outside_training(wired: Wired) -> None:
    network = trained(wired.make(), wired)
    for half, values in zip([network.encoder, network.decoder], wired.data(4), strict=True):
        values.requires_grad_()
        (gradient,) = torch.autograd.grad(half(values)[1].square().sum(), values)
        assert not gradient[[0, 2, 3]].any()


@each(WIRED, "wired")
def test_gradients_reach_every_parameter_of_a_network(wired: Wired) -> None:
    network = wired.make()
    x, z = wired.data(16)
    (network.encoder(x).square().sum() + network.decoder(z).square().sum()).backward()
    assert not untrained(network)


@each(WIRED, "wired")
@torch.no_grad()
def test_the_state_dict_of_a_network_is_all_that_it_is(wired: Wired) -> None:
    network, other = trained(wired.make(), wired), wired.make().eval()
    x, z = wired.data(6)
    assert not torch.equal(network.encoder(x), other.encoder(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.encoder(x), other.encoder(x))
    assert torch.equal(network.decoder(z), other.decoder(z))


@each([case for case in cases("network") if "dropout" in case.options])
def test_dropout_acts_in_training_and_nowhere_else(case: Case) -> None:
    wired = Wired(case, EVENT_SHAPES[3])
    network, (x, _) = wired.make(), wired.data(6)
    assert not torch.equal(network.encoder(x), network.encoder(x))
    network.eval()
    assert torch.equal(network.encoder(x), network.encoder(x))
