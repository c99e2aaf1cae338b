"""Every unit of the data gives the same model, in the precision that they need; else a sentence says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.datasets import load_wine
from torch import Size

from pyrovae import VAE, component
from pyrovae.data import from_arrays
from pyrovae.errors import ConfigError, DataError
from pyrovae.likelihoods.log_normal import LogNormal
from pyrovae.moments import moments

STANDARDIZING = sorted(
    name
    for name in component.names("likelihood")
    if "standardize" in component.options(component.find("likelihood", name))
)
SMALL: dict[str, Any] = {
    "network": {"name": "mlp", "hidden": [16]},
    "latent_dim": 2,
    "data": {"validation": 0.0},
    "verbose": False,
}

Array = NDArray[Any]


def vae(likelihood: Any, **settings: Any) -> VAE:
    return VAE(likelihood=likelihood, **{**SMALL, "epochs": 3, **settings})


def time_stamps(rows: int = 200) -> Array:
    """Seconds since 1970, a second apart on average; float32 has steps of 128 there."""
    return 1.6e9 + np.random.default_rng(0).standard_normal((rows, 1))


# Values that float32 cannot tell apart


def test_values_that_float32_cannot_tell_apart_are_learned_scored_and_drawn(tmp_path: Path) -> None:
    X = time_stamps()
    assert len(np.unique(X.astype(np.float32))) == 1
    fitted = vae("gaussian", epochs=60, lr=1e-2).fit(X)
    scores = fitted.score_samples(X, particles=200)
    exact = stats.norm(X.mean(), X.std()).logpdf(X).squeeze(1)
    assert scores.mean() == pytest.approx(exact.mean(), abs=0.1)
    assert np.corrcoef(scores, exact)[0, 1] > 0.95
    for values in (fitted.sample(200), fitted.reconstruct(X)):
        assert values.dtype == np.float64
        assert len(np.unique(values)) > 150
        assert abs(values - X.mean()).max() < 6 * X.std()
    fitted.save(tmp_path / "run")
    loaded = VAE.load(tmp_path / "run", verbose=False)
    assert np.array_equal(loaded.score_samples(X, particles=200), scores)
    assert np.array_equal(loaded.sample(20), fitted.sample(20))
    assert loaded.score_samples(X[:1], particles=200) == pytest.approx(scores[:1])


@pytest.mark.parametrize("name", STANDARDIZING)
@pytest.mark.parametrize("X", [time_stamps(), 2**24 + np.arange(200).reshape(200, 1)], ids=["stamps", "ids"])
def test_what_float32_rounds_away_is_seen_by_the_networks(X: Array, name: str) -> None:
    run = vae(name, epochs=1).fit(X).run
    assert run.prepared is not None
    x = run.prepared.dataset.train.rows(slice(None))
    seen = run.program.scorer.seen(x)  # type: ignore[attr-defined]
    assert (x.dtype, seen.dtype) == (torch.float64, torch.float32)
    assert len(seen.unique()) > 0.9 * len(x.unique())
    assert seen.mean().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_of_a_file_keep_the_digits_that_are_needed(
    on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_disk:
        monkeypatch.setattr("pyrovae.data._arrays._IN_MEMORY", 0)
    X = time_stamps()
    np.save(tmp_path / "stamps.npy", X)
    mapped = np.load(tmp_path / "stamps.npy", mmap_mode="r")
    of_file, of_array = vae("gaussian").fit(mapped), vae("gaussian").fit(X)
    assert of_file.history[-1]["train_loss"] == of_array.history[-1]["train_loss"]
    assert np.array_equal(of_file.sample(5), of_array.sample(5))


def test_data_that_float32_holds_are_kept_and_drawn_in_float32() -> None:
    X = np.random.default_rng(0).standard_normal((50, 3))
    fitted = vae("gaussian").fit(X)
    assert fitted.run.prepared is not None
    assert fitted.run.prepared.dataset.train.raw.dtype == torch.float32
    assert fitted.sample(3).dtype == fitted.reconstruct(X).dtype == np.float32
    assert np.array_equal(fitted.score_samples(X), fitted.score_samples(X.astype(np.float32)))
    assert np.array_equal(fitted.sample(3), vae("gaussian").fit(X.astype(np.float32)).sample(3))


@pytest.mark.parametrize(
    "likelihood",
    ["beta", "poisson", *({"name": name, "standardize": False} for name in STANDARDIZING)],
    ids=str,
)
def test_what_needs_float32_refuses_what_float32_cannot_hold_and_names_the_column(likelihood: Any) -> None:
    X = np.concatenate([np.random.default_rng(0).random((200, 2)), time_stamps().round()], 1)
    with pytest.raises(
        ConfigError, match=r"column 2 \(counted from 0\) of X: .* 1\.6e\+09 .*standardize = true"
    ):
        vae(likelihood).fit(X)


def test_whole_numbers_that_float64_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(DataError, match=r"above 2\^53"):
        from_arrays(2**60 + np.arange(20).reshape(10, 2))
    assert from_arrays(2**60 + 2**40 * np.arange(20).reshape(10, 2)).train.raw.dtype == torch.float32


def test_whole_numbers_without_room_between_them_are_not_dequantised() -> None:
    with pytest.raises(DataError, match="cannot be dequantised, since float32 has too few numbers"):
        vae("gaussian", data={"dequantize": True}).fit(10**9 * np.arange(20).reshape(10, 2))


def test_a_run_notices_data_that_changed_in_a_digit_that_float32_rounds_away(tmp_path: Path) -> None:
    X = time_stamps()
    vae("gaussian", epochs=1).fit(X).save(tmp_path / "run")
    loaded = VAE.load(tmp_path / "run", verbose=False)
    loaded.resume(X, epochs=2)
    with pytest.raises(Exception, match="the data have changed"):
        loaded.resume(X + 1.0, epochs=3)


def test_moments_are_those_of_numpy_and_rounding_is_no_deviation() -> None:
    X = np.random.default_rng(0).standard_normal((100, 4)) * [1e-3, 1.0, 1e6, 0.0] + [1e9, 0.0, 5.0, 0.1]
    found = moments(torch.tensor(X).split(33))
    np.testing.assert_allclose(found.mean, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, [*X.std(0)[:3], 0.0], rtol=1e-5)
    np.testing.assert_allclose(found.largest, abs(X).max(0))
    apart = [64.0, 2**-22, 0.25] / found.deviation.numpy()[:3]
    np.testing.assert_allclose(found.spacing, [*apart, 0.0], rtol=1e-9)


# The same numbers in every unit


def table(name: str) -> Array:
    """Few digits, so that other units and origins lose none of them."""
    X = np.random.default_rng(1).standard_normal((120, 3)) @ np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0.5]])
    X = np.round(X * 2**8) / 2**8
    return np.round(np.exp(X) * 2**8 + 1) / 2**8 if name == "log-normal" else X


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", STANDARDIZING)
def test_the_unit_of_a_table_changes_nothing_but_the_log_determinant(name: str, kind: Any) -> None:
    X = table(name).astype(kind)
    unit = np.array([2.0**-20, 2.0**9, 0.25])
    origin = 0.0 if name == "log-normal" else unit * np.array([8.0, -4.0, 1.0])
    Y = (origin + unit * X).astype(kind)
    one, two = vae(name, epochs=5).fit(X), vae(name, epochs=5).fit(Y)
    log_det = np.log(unit).sum()
    for mine, other in zip(two.history, one.history, strict=True):
        assert mine["train_elbo"] == pytest.approx(other["train_elbo"] - log_det, abs=1e-4)
    scores = two.score_samples(Y, particles=20)
    assert scores == pytest.approx(one.score_samples(X, particles=20) - log_det, abs=1e-3)
    assert two.transform(Y) == pytest.approx(one.transform(X), abs=1e-4)
    for mine, other in ((two.sample(9), one.sample(9)), (two.reconstruct(Y), one.reconstruct(X))):
        assert (mine - origin) / unit == pytest.approx(other, rel=1e-3, abs=1e-3)


def test_small_numbers_are_learned_as_well_as_others() -> None:
    """All values in [0, 0.001]: the floor of the scale was ten times that."""
    X = np.random.default_rng(0).random((300, 4))
    one, small = (vae("gaussian", epochs=20).fit(values) for values in (X, X / 1024))
    assert small.score(X / 1024) == pytest.approx(one.score(X) + 4 * np.log(1024), abs=1e-3)
    assert small.sample(500).std(0) * 1024 == pytest.approx(one.sample(500).std(0), rel=1e-3)


def test_wine_as_it_comes_is_learned_as_wine_in_standard_deviations() -> None:
    X = load_wine().data
    settings: dict[str, Any] = {"epochs": 30, "batch_size": 32, "latent_dim": 3, "data": {"validation": 0.2}}
    raw = vae("gaussian", **settings).fit(X)
    standard = vae("gaussian", **settings).fit((X - X.mean(0)) / X.std(0))
    log_det = np.log(X.std(0)).sum()
    found, expected = (each.history[-1]["validation_elbo"] for each in (raw, standard))
    assert found == pytest.approx(expected - log_det, abs=0.1)
    assert found > -40


# By default


@pytest.mark.parametrize("name", STANDARDIZING)
@pytest.mark.parametrize(
    ("shape", "expected"), [((5,), True), ((1,), True), ((1, 5), False), ((1, 8, 8), False)]
)
def test_by_default_data_of_one_axis_are_standardised(name: str, shape: Any, expected: bool) -> None:
    member: Any = component.find("likelihood", name)
    assert member(Size(shape)).standardizes is expected
    for chosen in (False, True):
        assert member(Size(shape), standardize=chosen).standardizes is chosen


def test_one_line_says_that_columns_are_standardised(capsys: pytest.CaptureFixture[str]) -> None:
    X = np.random.default_rng(0).random((30, 4)) + 1
    for likelihood, said in {"gaussian": 1, "log-normal": 1, "poisson": 0}.items():
        vae(likelihood, verbose=True, epochs=1).fit(X.round())
        assert (
            capsys.readouterr().err.count("columns are standardised (likelihood.standardize = auto)") == said
        )
    vae("gaussian", verbose=True, epochs=1).fit(X.reshape(30, 2, 2))
    vae({"name": "gaussian", "standardize": True}, verbose=True, epochs=1).fit(X)
    assert "columns are standardised" not in capsys.readouterr().err


def test_weights_that_were_saved_without_mean_and_deviation_mean_what_they_did() -> None:
    """Log-normal had no such option."""
    then, now = LogNormal(Size([3]), standardize=False), LogNormal(Size([3]))
    now.initialize([torch.rand(5, 3) + 2])
    now.load_state_dict(then.state_dict())
    x, features = torch.rand(2, 3) + 1, torch.randn(2, 1, 3)
    assert torch.equal(now.seen(x), then.seen(x))
    torch.testing.assert_close(now(features).log_prob(x), then(features).log_prob(x))


# Images


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-6])
def test_images_in_a_small_unit_are_told_so(unit: float, capsys: pytest.CaptureFixture[str]) -> None:
    X = unit * np.random.default_rng(0).random((50, 4, 4))
    vae("gaussian", verbose=True, epochs=1).fit(X)
    assert ("standardize=true" in capsys.readouterr().err) == (unit < 1)


# Bounds


@pytest.mark.parametrize("rate", [8.0, 3e7, 1e9])
@pytest.mark.parametrize("name", ["poisson", "negative-binomial", "zero-inflated-negative-binomial"])
def test_counts_of_any_size_are_learned(name: str, rate: float, tmp_path: Path) -> None:
    """A rate stayed below exp(15), 3.27 million."""
    X = np.random.default_rng(0).poisson(rate, (100, 3))
    fitted = vae(name, epochs=20, lr=1e-2).fit(X)
    drawn = fitted.sample(200)
    assert np.array_equal(drawn, drawn.round())
    assert drawn.mean(0) == pytest.approx(X.mean(0), rel=0.6)
    likelihood: Any = fitted.program_.scorer
    less = np.log1p(X).mean() - likelihood.seen(torch.tensor(X)).mean().item()
    assert less == pytest.approx(0.0 if rate < 100 else np.log(rate), abs=0.01)
    fitted.save(tmp_path / "run")
    assert np.array_equal(VAE.load(tmp_path / "run", verbose=False).sample(200), drawn)


def test_rates_of_small_counts_have_no_unit_and_old_weights_are_read() -> None:
    likelihood: Any = component.find("likelihood", "poisson")(Size([3]))
    likelihood.initialize([torch.tensor([[0.0, 22_026.0, 1e5], [2.0, 5.0, 3e5]])])
    assert likelihood.unit.tolist() == [1.0, 1.0, 2e5]
    weights = likelihood.state_dict()
    del weights["unit"]
    likelihood.load_state_dict(weights)
    assert likelihood.unit.tolist() == [1.0, 1.0, 1.0]


def test_totals_are_sums_of_whole_numbers() -> None:
    likelihood: Any = component.find("likelihood", "multinomial")(Size([2]))
    x = torch.tensor([[2.0**24, 3.0]])
    p = likelihood.conditioned(torch.zeros(1, 1, 2), x)
    assert p.double.total.item() == 2**24 + 3


SAID: dict[str, tuple[Any, str]] = {
    "beta": (lambda X: X / 1e6, "likelihood.smallest = 0.5 and likelihood.largest = 10000 keep all means"),
    "continuous-bernoulli": (
        lambda X: X / 1e3,
        "likelihood.bound = 50 keeps all means between 0.02 and 0.98",
    ),
    "bernoulli": (lambda X: X / 1e3, "no value is above 0.000"),
    "negative-binomial": (
        lambda X: (1e9 + 1e5 * X).round(),
        "no standard deviation of counts is below",
    ),
    "log-normal": (lambda X: 1e-25 * X, "log-normal has medians from exp(-55)"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_bounds_keep_a_likelihood_from_is_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, said = SAID[name]
    X = (0.01 + 0.98 * np.random.default_rng(0).random((100, 4))).astype(np.float32)
    for values in (X, change(X)):
        usual = name == "negative-binomial" and values is X
        vae(name, verbose=True, epochs=1).fit((20 * values).round() if usual else values)
        assert (said in capsys.readouterr().err) == (values is not X)


def test_data_in_a_unit_that_float32_has_no_numbers_for_are_refused_with_a_factor() -> None:
    X = 1e-50 * np.random.default_rng(0).standard_normal((50, 2))
    with pytest.raises(ConfigError, match=r"multiply the data by 1e\+50"):
        vae("gaussian").fit(X)
