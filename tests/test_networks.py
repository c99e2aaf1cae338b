"""What single networks promise beside the laws of all: sizes, gates, residuals, and what is shared."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Size, Tensor, nn
from torch.nn.functional import conv2d

from pyrovae import component
from pyrovae.errors import ConfigError
from pyrovae.networks import Network, Shapes
from pyrovae.networks._images import image_shape
from pyrovae.networks.gated_conv import GatedConv
from pyrovae.networks.gated_mlp import GatedMLP
from pyrovae.networks.mlp import MLP
from pyrovae.networks.resnet import ResNet, _groups, _Residual

# Smooth nonlinearities: no unit is switched off, so that every path can be seen in a gradient.
SMOOTH: dict[str, dict[str, Any]] = {
    "conv": {"activation": "tanh"},
    "gated-conv": {},
    "resnet": {"blocks": 1},
}
for_pictures = pytest.mark.parametrize("name", SMOOTH)


def network(name: str, event_shape: tuple[int, ...], **options: Any) -> Any:
    member: Any = component.find("network", name)
    return member(Shapes(Size(event_shape), 3, 4, 2), **{**SMOOTH.get(name, {}), **options})


def linear_maps(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, nn.Linear)]


@for_pictures
@torch.no_grad()
def test_pictures_of_every_small_size_come_back_exactly(name: str) -> None:
    for rows, columns in product(range(1, 10), repeat=2):
        made = network(name, (3, rows, columns), channels=[5, 6], hidden=7)
        assert made.encoder(torch.randn(1, 3, rows, columns)).shape == (1, 4)
        assert made.decoder(torch.randn(1, 3)).shape == (1, 2, 3, rows, columns)


@for_pictures
@torch.no_grad()
def test_a_picture_may_be_halved_more_often_than_it_has_pixels(name: str) -> None:
    made = network(name, (9, 1), channels=[4, 5, 6, 7, 8, 9], hidden=7)
    assert made.encoder(torch.randn(2, 9, 1)).isfinite().all()
    assert made.decoder(torch.randn(2, 3)).shape == (2, 2, 9, 1)


@for_pictures
@pytest.mark.parametrize("event_shape", [(1, 6, 6), (2, 7, 4), (5, 5)], ids=str)
def test_every_pixel_reaches_the_code_and_is_reached_by_it(name: str, event_shape: tuple[int, ...]) -> None:
    made = network(name, event_shape, channels=[4, 8]).double()
    x = torch.randn(1, *event_shape, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(made.encoder(x).sum(), x)
    assert (seen != 0).all()
    codes = torch.randn(20, 3, dtype=torch.float64)
    assert (made.decoder(codes).std(0) > 0).all()


@pytest.mark.parametrize("name", component.names("network"))
@pytest.mark.parametrize("event_shape", [(1, 8, 8), (3, 1, 1)], ids=str)
def test_gradients_reach_every_parameter_from_the_very_first_step(
    name: str, event_shape: tuple[int, ...]
) -> None:
    made: Network = network(name, event_shape)
    features, cells = made.encoder(torch.randn(16, *event_shape)), made.decoder(torch.randn(16, 3))
    (features.square().sum() + cells.square().sum()).backward()
    still = [key for key, parameter in made.named_parameters() if not parameter.grad.any()]  # type: ignore
    assert not still


@for_pictures
def test_a_network_for_pictures_refuses_vectors_and_names_those_that_take_them(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        network(name, (7,))
    (problem,) = caught.value.problems
    assert problem.place == "network.name"
    assert f"'{name}' needs images" in problem.message
    assert "shape (7,)" in problem.message
    named = [other for other in component.names("network") if f"'{other}'" in problem.message]
    assert set(named) - {name} == set(component.names("network")) - set(SMOOTH)
    for other in set(named) - {name}:
        assert network(other, (7,)).decoder(torch.randn(2, 3)).shape == (2, 2, 7)


def test_rows_and_columns_alone_are_a_picture_of_one_channel() -> None:
    assert image_shape(Size([4, 5]), "conv") == (1, 4, 5)
    assert image_shape(Size([3, 4, 5]), "conv") == (3, 4, 5)
    with pytest.raises(ConfigError):
        image_shape(Size([2, 3, 4, 5]), "conv")


# Gates


@pytest.mark.parametrize("hidden", [[], [5], [5, 6]], ids=str)
@torch.no_grad()
def test_a_gated_layer_is_a_linear_one_times_a_sigmoid(hidden: list[int]) -> None:
    made = GatedMLP(Shapes(Size([2, 3]), 3, 4, 2), hidden=hidden).double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    *gated, last = linear_maps(made.encoder)
    h = x.flatten(1).numpy()
    for layer, units in zip(gated, hidden, strict=True):
        weight, bias = layer.weight.numpy(), layer.bias.numpy()
        values, gates = h @ weight[:units].T + bias[:units], h @ weight[units:].T + bias[units:]
        h = values / (1 + (-torch.from_numpy(gates)).exp().numpy())
    expected = h @ last.weight.numpy().T + last.bias.numpy()
    torch.testing.assert_close(made.encoder(x), torch.from_numpy(expected))


@torch.no_grad()
def test_a_gated_convolution_is_a_linear_one_times_a_sigmoid() -> None:
    made = GatedConv(Shapes(Size([2, 5, 4]), 3, 4, 1), channels=[6], kernel=5, hidden=3).double()
    x = torch.randn(7, 2, 5, 4, dtype=torch.float64)
    (convolution,) = [part for part in made.encoder.modules() if isinstance(part, nn.Conv2d)]
    assert convolution.bias is not None

    def convolved(half: slice) -> Tensor:
        return conv2d(x, convolution.weight[half], convolution.bias[half], stride=2, padding=2)  # type: ignore

    h = (convolved(slice(6)) * torch.sigmoid(convolved(slice(6, 12)))).flatten(1)
    assert h.shape == (7, 6 * 3 * 2)
    dense, last = linear_maps(made.encoder)
    values, gates = dense(h)[:, :3], dense(h)[:, 3:]
    torch.testing.assert_close(made.encoder(x), last(values * torch.sigmoid(gates)))


@torch.no_grad()
def test_closed_gates_let_nothing_through() -> None:
    made = GatedMLP(Shapes(Size([4]), 3, 2, 1), hidden=[5])
    first, last = linear_maps(made.encoder)
    nn.init.constant_(first.bias[5:], -1e4)
    torch.testing.assert_close(made.encoder(torch.randn(6, 4)), last.bias.expand(6, 2))


@pytest.mark.parametrize(("member", "halves"), [(MLP, 1), (GatedMLP, 2)])
def test_the_decoder_has_the_layers_of_the_encoder_in_reverse(member: Any, halves: int) -> None:
    made = member(Shapes(Size([2, 3]), 3, 4, 2), hidden=[50, 40])
    sizes = [
        [(layer.in_features, layer.out_features) for layer in linear_maps(half)]
        for half in (made.encoder, made.decoder)
    ]
    assert sizes == [
        [(6, 50 * halves), (50, 40 * halves), (40, 4)],
        [(3, 40 * halves), (40, 50 * halves), (50, 12)],
    ]


def test_the_gated_net_of_the_papers_is_the_default() -> None:
    made = GatedMLP(Shapes(Size([1, 28, 28]), 40, 80, 1))
    weights = sum(parameter.numel() for parameter in made.parameters())
    encoder = 2 * (784 * 300 + 300) + 2 * (300 * 300 + 300) + 300 * 80 + 80
    decoder = 2 * (40 * 300 + 300) + 2 * (300 * 300 + 300) + 300 * 784 + 784
    assert weights == encoder + decoder


# Residual blocks


@torch.no_grad()
def test_a_residual_block_adds_to_what_it_is_given() -> None:
    made = ResNet(Shapes(Size([1, 8, 8]), 3, 4, 2), channels=[8, 12])
    blocks = [part for part in made.modules() if isinstance(part, _Residual)]
    assert len(blocks) == 2 * 2 * 2
    x = torch.randn(3, 8, 4, 4)
    assert not torch.equal(blocks[0](x), x)
    last: Any = blocks[0].branch[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 0.25)
    torch.testing.assert_close(blocks[0](x), x + 0.25)


def test_groups_divide_the_channels_and_none_is_of_a_single_number() -> None:
    for channels in range(2, 200):
        groups = _groups(channels)
        assert channels % groups == 0
        assert groups <= 8
        assert groups == 1 or channels // groups >= 4
    assert [_groups(channels) for channels in (2, 7, 8, 12, 16, 32, 64)] == [1, 1, 2, 1, 4, 8, 8]


@pytest.mark.parametrize("channels", [[2], [3, 5], [7, 8], [16, 6]], ids=str)
@pytest.mark.parametrize("event_shape", [(1, 1, 1), (5, 3, 2)], ids=str)
def test_a_residual_network_trains_on_single_data_with_any_channels(
    channels: list[int], event_shape: tuple[int, ...]
) -> None:
    made = network("resnet", event_shape, channels=channels)
    output = made.decoder(made.encoder(torch.randn(1, *event_shape))[:, :3])
    output.square().sum().backward()
    assert all(parameter.grad.any() for parameter in made.parameters())


def test_no_network_looks_at_other_data_unless_it_is_asked_to() -> None:
    for name in component.names("network"):
        made = network(name, (2, 5, 6)).double().train()
        x = torch.randn(4, 2, 5, 6, dtype=torch.float64)
        torch.testing.assert_close(made.encoder(x)[:1], made.encoder(x[:1]))
