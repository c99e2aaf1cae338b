"""Posterior predictive and denoising: against the same numbers from other code, and as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import Build
from test_cli import arrays, fail, one_sentence, succeed
from torch import Tensor
from torch.distributions import constraints

from pyrovae import plots, predict, supports
from pyrovae.corruption import KINDS, corrupt, parse
from pyrovae.errors import ConfigError, DataError
from pyrovae.predict import Denoised, denoise, restoration

CELLS = 6
EXTREMES = (0.0, 1.0)
BITS = constraints.boolean


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, CELLS).round()


# Predicting ------------------------------------------------------------------------------------------------


def test_codes_are_drawn_from_the_guide_and_data_from_the_likelihood(make: Build, x: Tensor) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 0.3})
    draws = 2000
    found = predict.predict(program, [x], draws=draws)
    with torch.no_grad():
        posterior, given_code = program.encode(x), program.decode(found.z)
    error = posterior.stddev / draws**0.5
    assert ((found.z.mean(1) - posterior.mean).abs() < 5 * error).all()
    assert torch.allclose(found.z.std(1), posterior.stddev, rtol=0.1)
    residuals = (found.x - given_code.mean) / 0.3
    assert residuals.mean().item() == pytest.approx(0, abs=5 / residuals.numel() ** 0.5)
    assert residuals.std().item() == pytest.approx(1, abs=5 / residuals.numel() ** 0.5)


def test_a_mean_without_closed_form_is_that_of_the_draws_and_no_concern_of_other_data(
    make: Build, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 0.3})
    freedom = torch.full((len(x), 1), 5.0)

    def heavy(features: torch.Tensor) -> Any:
        return dist.StudentT(freedom, features.squeeze(-2), 1.0).to_event(1)

    monkeypatch.setattr(program.likelihood, "forward", heavy)
    alone = predict.predict(program, [x], draws=20)
    freedom[0] = 1.0  # where a Student-t distribution has no mean
    beside = predict.predict(program, [x], draws=20)
    for one, other in ((alone.mean, beside.mean), (alone.deviation_of_mean, beside.deviation_of_mean)):
        assert torch.equal(one[1:], other[1:])
    assert torch.allclose(beside.mean[0], beside.x[0].mean(0))
    assert beside.deviation_of_mean[0].isnan().all()


def test_summaries_are_those_of_the_draws(make: Build, x: Tensor) -> None:
    program = make(likelihood={"name": "gaussian", "scale": 0.3})
    found = predict.predict(program, [x], draws=40, quantiles=[0.0, 0.05, 0.5, 0.91, 1.0])
    with torch.no_grad():
        expected = program.decode(found.z).mean
    assert torch.allclose(found.mean, expected.mean(1), atol=1e-6)
    assert torch.allclose(found.deviation_of_mean, expected.std(1), atol=1e-6)
    assert torch.allclose(found.deviation, found.x.std(1), atol=1e-6)
    levels = np.quantile(found.x.numpy(), [0.0, 0.05, 0.5, 0.91, 1.0], axis=1, method="inverted_cdf")
    assert np.array_equal(found.quantiles.numpy(), levels.swapaxes(0, 1))


def test_quantiles_of_bits_are_bits(make: Build, x: Tensor) -> None:
    found = predict.predict(make(likelihood="bernoulli"), [x], draws=7)
    assert found.quantiles.shape == (5, 3, CELLS)
    assert supports.contains(BITS, found.quantiles)
    assert 0 < found.mean.min() < found.mean.max() < 1


def test_draws_of_a_datum_are_a_function_of_seed_and_number(make: Build, x: Tensor, untouched: None) -> None:
    program = make()
    found = predict.predict(program, [x], draws=10)
    in_parts = predict.predict(program, [x[:2], x[2:]], draws=10)
    of_few = predict.predict(program, [x[:3]], draws=10)
    for whole, parts, few in zip(found, in_parts, of_few, strict=True):
        assert torch.allclose(whole, parts, atol=1e-6)
        assert torch.allclose(whole[:3], few, atol=1e-6)
    assert not torch.allclose(found.z, predict.predict(program, [x], draws=10, seed=1).z)
    same = predict.predict(program, [x[:1].expand(2, -1)], draws=10)
    assert not torch.allclose(same.z[0], same.z[1])
    assert program.training


def test_few_cells_at_once_make_no_two_draws_the_same(
    make: Build, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "CELLS_AT_ONCE", 2 * CELLS)
    found = predict.predict(make(), [x], draws=7)
    assert found.x.shape == (5, 7, CELLS)
    assert len(found.z[0].unique(dim=0)) == 7


def test_several_latent_variables_stand_side_by_side(make: Build, x: Tensor) -> None:
    parts = {"prior": {"name": "categorical", "categories": 3}, "posterior": "categorical"}
    found = predict.predict(make(**parts), [x], draws=4)
    assert found.z.shape == (5, 4, 6)
    assert torch.equal(found.z.unflatten(-1, (2, 3)).sum(-1), torch.ones(5, 4, 2))


def test_what_a_likelihood_is_conditional_on_is_that_of_the_datum(make: Build) -> None:
    counts = torch.tensor([[3.0, 1.0, 0.0, 2.0, 0.0, 9.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    found = predict.predict(make(likelihood="multinomial"), [counts], draws=5)
    assert torch.equal(found.x.sum(-1), torch.tensor([[15.0], [1.0]]).expand(2, 5))


@pytest.mark.parametrize(
    "wrong", [{"draws": 1}, {"quantiles": [1.1]}, {"quantiles": [-0.1]}], ids=["draws", "above", "below"]
)
def test_wrong_numbers_are_refused(wrong: dict[str, Any], make: Build, x: Tensor) -> None:
    with pytest.raises(ValueError, match=str(*wrong)):
        predict.predict(make(), [x], **wrong)


# Corrupting ------------------------------------------------------------------------------------------------


def corrupted(x: Tensor, text: str, *, first: int = 0, seed: int = 0, **others: Any) -> Tensor:
    options = {"extremes": EXTREMES, "support": constraints.real, **others}
    return corrupt(x, parse(text), range(first, first + len(x)), seed=seed, **options)


def test_salt_sets_a_share_of_cells_to_either_extreme() -> None:
    grey = torch.full((40, 1, 10, 10), 0.5)
    noisy = corrupted(grey, "salt:0.2", extremes=(-1.0, 3.0))
    for value in (-1.0, 3.0):
        assert (noisy == value).float().mean().item() == pytest.approx(0.1, abs=5 * 0.3 / 4000**0.5)
    assert set(noisy.unique().tolist()) == {-1.0, 0.5, 3.0}


def test_a_mask_sets_a_share_of_cells_to_zero() -> None:
    noisy = corrupted(torch.ones(40, 100), "mask:0.3")
    assert noisy.mean().item() == pytest.approx(0.7, abs=5 * 0.46 / 4000**0.5)
    assert set(noisy.unique().tolist()) == {0.0, 1.0}


def test_gaussian_noise_has_its_standard_deviation() -> None:
    noisy = corrupted(torch.full((40, 100), 7.0), "gaussian:2")
    assert noisy.mean().item() == pytest.approx(7, abs=5 * 2 / 4000**0.5)
    assert noisy.std().item() == pytest.approx(2, rel=5 / 8000**0.5)


def test_a_block_is_a_square_of_zeros_anywhere_in_the_picture() -> None:
    noisy = corrupted(torch.ones(300, 3, 5, 6), "block:3")
    assert torch.equal(noisy, noisy[:, :1].expand_as(noisy))
    corners = set()
    for picture in noisy[:, 0]:
        rows, columns = (picture == 0).nonzero().T
        corners.add((int(rows.min()), int(columns.min())))
        assert len(rows) == 9
        assert rows.max() - rows.min() == columns.max() - columns.min() == 2
    assert corners == {(row, column) for row in range(3) for column in range(4)}


def test_a_block_in_a_row_of_a_table_is_a_run() -> None:
    noisy = corrupted(torch.ones(20, 5), "block:2")
    starts = {int((row == 0).nonzero().min()) for row in noisy}
    assert starts == {0, 1, 2, 3}
    assert all((row == 0).nonzero().flatten().diff().tolist() == [1] for row in noisy)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_a_datum_is_a_function_of_seed_and_number(kind: str, untouched: None) -> None:
    data, text = torch.full((6, 8, 8), 0.5), KINDS[kind].example
    noisy = corrupted(data, text)
    assert torch.equal(noisy[4:], corrupted(data[4:], text, first=4))
    assert not torch.equal(noisy, corrupted(data, text, seed=1))
    assert not torch.equal(noisy[0], noisy[1])


@pytest.mark.parametrize("text", ["salt:0", "mask:0"])
def test_no_noise_changes_nothing(text: str, x: Tensor) -> None:
    assert torch.equal(corrupted(x, text, support=BITS), x)


@pytest.mark.parametrize("text", ["salt:0.5", "mask:0.5", "block:2"])
def test_bits_stay_bits(text: str, x: Tensor) -> None:
    assert supports.contains(BITS, corrupted(x, text, support=BITS))


@pytest.mark.parametrize("support", [BITS, supports.Levels(5), constraints.nonnegative_integer])
def test_noise_that_takes_data_out_of_their_set_is_refused_with_what_fits(support: Any, x: Tensor) -> None:
    with pytest.raises(DataError, match=r"takes data out of .* what fits: salt:0.2, mask:0.5, block:4$"):
        corrupted(x, "gaussian:0.3", support=support)


def test_zero_is_the_smallest_value_where_the_likelihood_knows_no_zero() -> None:
    noisy = corrupted(torch.rand(4, 8) + 0.1, "mask:1", support=constraints.positive, extremes=(0.1, 1.1))
    assert torch.equal(noisy, torch.full((4, 8), 0.1))


def test_real_numbers_are_brought_back_to_the_extremes_of_the_data() -> None:
    data = torch.full((10, 50), 0.5)
    noisy = corrupted(data, "gaussian:1", support=constraints.unit_interval, extremes=(0.25, 1.0))
    plain = corrupted(data, "gaussian:1")
    assert torch.equal(noisy, plain.where((plain >= 0) & (plain <= 1), plain.clamp(0.25, 1)))
    assert (noisy == 0.25).any()


@pytest.mark.parametrize(
    "text",
    ["salt", "salt:", "salt:x", "salt:1.1", "mask:-1", "gaussian:0", "gaussian:inf", "block:1.5", "block:0"],
)
def test_a_wrong_amount_is_told_what_is_allowed(text: str) -> None:
    kind = KINDS[text.partition(":")[0]]
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert kind.amount in str(refused.value)
    assert kind.example in str(refused.value)


@pytest.mark.parametrize("text", ["pepper:0.2", "", ":1"])
def test_an_unknown_kind_is_told_all_of_them(text: str) -> None:
    with pytest.raises(ConfigError, match=", ".join(kind.example for kind in KINDS.values())):
        parse(text)


def test_a_block_that_does_not_fit_is_refused(x: Tensor) -> None:
    with pytest.raises(DataError, match="7 cells a side does not fit data of 6 cells"):
        corrupted(x, "block:7")


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_understood_and_written_back(kind: str) -> None:
    assert str(parse(KINDS[kind].example)) == KINDS[kind].example


# Restoring -------------------------------------------------------------------------------------------------


def test_what_is_restored_is_the_expected_datum_given_the_corrupted_one(make: Build, x: Tensor) -> None:
    program = make(likelihood="bernoulli", posterior="delta")
    noise = parse("salt:0.5")
    found = denoise(program, [x[:2], x[2:]], noise, extremes=EXTREMES, draws=3, seed=2)
    assert torch.equal(found.clean, x)
    assert torch.equal(found.corrupted, corrupted(x, "salt:0.5", seed=2))
    with torch.no_grad():
        expected = program.decode(program.encode(found.corrupted).mean).mean
    assert torch.allclose(found.restored, expected, atol=1e-6)


def test_the_spread_of_what_is_restored_is_that_of_the_predictive(make: Build, x: Tensor) -> None:
    program = make(likelihood="bernoulli")
    found = denoise(program, [x], parse("mask:0"), extremes=EXTREMES, draws=4000)
    assert torch.allclose(found.deviation, (found.restored * (1 - found.restored)).sqrt(), atol=0.03)


def test_noise_on_bits_that_is_no_bit_is_refused_by_denoise(make: Build, x: Tensor) -> None:
    with pytest.raises(DataError, match=r"takes data out of \{0, 1\}"):
        denoise(make(likelihood="bernoulli"), [x], parse("gaussian:1"), extremes=EXTREMES, draws=2)
    denoise(make(likelihood="gaussian"), [x], parse("gaussian:1"), extremes=EXTREMES, draws=2)


def test_grey_values_under_a_likelihood_of_bits_stay_between_their_extremes(make: Build) -> None:
    noisy = denoise(
        make(likelihood="bernoulli"),
        [torch.rand(10, CELLS)],
        parse("gaussian:1"),
        extremes=EXTREMES,
        draws=2,
        is_likelihood=False,
    ).corrupted
    assert ((noisy >= 0) & (noisy <= 1)).all()
    assert len(noisy.unique()) > 10


def test_errors_are_means_over_cells_with_errors_over_data() -> None:
    clean = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    noisy = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    restored = torch.tensor([[0.5, 0.9], [0.8, 0.2]])
    found = restoration(Denoised(clean, noisy, restored, restored))
    rows = {row.key: (row.mean.value, row.mean.data_error) for row in found.quantities}
    assert rows["corrupted.squared_error"] == pytest.approx((0.25, 0.25))
    assert rows["corrupted.wrong_bits"] == pytest.approx((0.25, 0.25))
    assert rows["restored.squared_error"] == pytest.approx(((0.13 + 0.34) / 2, 0.105), abs=1e-6)
    assert rows["restored.wrong_bits"] == pytest.approx((0.25, 0.25))
    assert {row.unit for row in found.quantities} == {"squared unit of the data", "share of cells"}


def test_errors_of_columns_are_in_their_standard_deviations() -> None:
    units = torch.tensor([1e-3, 1.0, 1e6, 0.0])
    clean, noise = torch.randn(50, 4), torch.randn(50, 4)
    found = [
        restoration(Denoised(clean * unit, (clean + noise) * unit, clean * unit, clean))
        for unit in (units, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    ]
    for one, other in zip(*(each.quantities for each in found), strict=True):
        assert one.unit == "squared standard deviation of the column"
        assert one.mean.value == pytest.approx(other.mean.value, rel=1e-4)
    pictures = [(torch.rand(3, 1, 2, 2) * 100) for _ in range(2)]
    (row, *_) = restoration(Denoised(*pictures, *pictures)).quantities
    assert row.unit == "squared unit of the data"
    assert row.mean.value == pytest.approx((pictures[0] - pictures[1]).square().mean().item(), rel=1e-5)


def test_only_bits_can_be_wrong() -> None:
    data = torch.rand(3, 4)
    assert [row.key for row in restoration(Denoised(data, data, data, data)).quantities] == [
        "corrupted.squared_error",
        "restored.squared_error",
    ]


@pytest.mark.parametrize("worse", [True, False])
def test_a_restoration_that_does_harm_says_so(worse: bool) -> None:
    clean, noisy, restored = torch.zeros(3, 4), torch.full((3, 4), 0.3), torch.full((3, 4), 0.3 + 0.1 * worse)
    assert bool(restoration(Denoised(clean, noisy, restored, restored)).notes) == worse


# Figures ---------------------------------------------------------------------------------------------------


def labels(figure: Any) -> list[str]:
    return [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]


def test_a_figure_shows_data_upright_below_each_other(make: Build) -> None:
    data = torch.rand(3, 1, 4, 5).round()
    found = predict.predict(make(event_shape=(1, 4, 5), likelihood="bernoulli"), [data], draws=3)
    figure = plots.predictive(data, found, title="a title")
    first = figure.axes[0].images[0]
    assert first.origin == "upper"
    assert np.array_equal(first.get_array()[:, :5], data[0, 0].numpy())
    assert np.array_equal(figure.axes[4].images[0].get_array()[5:9, :5], found.x[0, 1, 0].numpy())
    assert labels(figure) == [
        *("datum", "mean", "standard deviation\nof x", "standard deviation\nof E[x|z]", "draws of x"),
        *("value", "unit of x"),
    ]


@pytest.mark.parametrize("shape", [(6,), (3, 4, 4), (2, 4, 4)])
def test_data_of_every_shape_are_drawn(shape: tuple[int, ...], make: Build, tmp_path: Path) -> None:
    data = torch.rand(3, *shape)
    program = make(event_shape=shape)
    found = denoise(program, [data], parse("mask:0.5"), extremes=EXTREMES, draws=3)
    for figure in (plots.predictive(data, predict.predict(program, [data], draws=3)), plots.denoised(found)):
        plots.save(figure, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000


def test_cells_of_different_size_are_drawn_in_the_standard_deviations_of_each() -> None:
    x, noise = torch.randn(5, 6), torch.randn(5, 6)

    def drawn(unit: Tensor) -> Any:
        return plots.denoised(Denoised(x * unit, (x + noise) * unit, x * unit, x.abs() * unit))

    figure = drawn(torch.logspace(-4, 6, 6))
    restored, clean, corrupted = (line.get_ydata() for line in figure.axes[0].lines)
    spread = torch.cat([x, x + noise, x, x - x.abs(), x + x.abs()]).std(0, correction=0)
    assert corrupted - clean == pytest.approx((noise[0] / spread).numpy(), rel=1e-4)
    assert clean == pytest.approx(restored)
    assert figure.get_supylabel().startswith("value, in standard deviations")
    assert drawn(torch.ones(6)).get_supylabel() == "value"


# Commands --------------------------------------------------------------------------------------------------


def test_predict_writes_draws_and_their_summary_and_prints_where(
    run: Path, tmp_path: Path, empty_pictures: None
) -> None:
    end = succeed("predict", run, "-n", "6", "--rows", "4", "--quantile", "0.1", "--out", tmp_path / "p.png")
    assert end.out.split() == [str(tmp_path / "p.png"), str(tmp_path / "p.npz")]
    found = arrays(tmp_path / "p.npz")
    assert found["x"].shape == (4, 6, 1, 8, 8)
    assert found["quantiles"].shape == (4, 1, 1, 8, 8)
    assert found["levels"].tolist() == [pytest.approx(0.1)]
    assert found["z"].shape == (4, 6, 2)
    assert found.keys() == {"data", "levels", *predict.Predictive._fields}


def test_predict_takes_other_data(run: Path, tmp_path: Path, empty_pictures: None) -> None:
    np.save(tmp_path / "given.npy", np.eye(8, dtype=np.float32)[None, None].repeat(3, 0))
    succeed("predict", run, "--given", tmp_path / "given.npy", "-n", "2", "--out", tmp_path / "p")
    assert np.array_equal(arrays(tmp_path / "p.npz")["data"][2, 0], np.eye(8))


def test_denoise_prints_errors_with_units_and_writes_what_it_made(
    run: Path, tmp_path: Path, empty_pictures: None
) -> None:
    arguments = ("denoise", run, "--noise", "mask:0.5", "--rows", "5", "-n", "3", "--out", tmp_path / "d")
    end = succeed(*arguments, "--json")
    document = json.loads(end.out)
    found = arrays(tmp_path / "d.npz")
    assert found.keys() == set(Denoised._fields)
    mean_squared = np.square(found["restored"] - found["clean"]).mean()
    quantities = document["quantities"]
    assert quantities["restored.squared_error"]["value"] == pytest.approx(mean_squared, rel=1e-5)
    assert quantities["corrupted.wrong_bits"]["unit"] == "share of cells"
    assert document["noise"] == "mask:0.5"
    assert document["files"] == [str(tmp_path / "d.png"), str(tmp_path / "d.npz")]
    table = succeed(*arguments).out
    assert f"{quantities['restored.squared_error']['value']:.3f}" in table
    assert table.split()[-2:] == document["files"]


@pytest.mark.parametrize(
    ("noise", "code", "said"),
    [
        ("gaussian:0.3", 1, "{0, 1}"),
        ("pepper:1", 2, "salt:0.2"),
        ("salt:3", 2, "from 0 to 1"),
        ("block:9", 1, "8 x 8"),
    ],
)
def test_noise_that_does_not_fit_is_one_sentence(noise: str, code: int, said: str, run: Path) -> None:
    assert said in one_sentence(fail(code, "denoise", run, "--noise", noise, "--rows", "3", "-n", "2"))
