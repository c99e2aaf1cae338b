"""What a VAE shows of itself, as methods; and seeds as those who use scikit-learn type them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pyrovae import VAE
from pyrovae.errors import ConfigError, DataError

SMALL: dict[str, Any] = {
    "latent_dim": 3,
    "network": {"name": "mlp", "hidden": [16]},
    "epochs": 1,
    "verbose": False,
}
X = (load_digits().images[:60] > 8).astype(np.float32)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return VAE(**SMALL).fit(X)


def weights(vae: VAE) -> np.ndarray:
    return np.concatenate([values.numpy().ravel() for values in vae.program_.state_dict().values()])


# Codes -----------------------------------------------------------------------------------------------------


def test_codes_are_encoded_and_decoded(vae: VAE) -> None:
    codes = vae.encode(X)
    assert np.array_equal(codes, vae.transform(X))
    decoded = vae.decode(codes[:5])
    assert decoded.shape == (5, 8, 8)
    assert 0 < decoded.min() < decoded.max() < 1
    assert np.array_equal(vae.inverse_transform(codes[:5].tolist()), decoded)


def test_draws_of_codes_scatter_around_their_means(vae: VAE) -> None:
    drawn = vae.encode(X[:9], draws=400)
    assert drawn.shape == (9, 400, 3)
    error = drawn.std(1) / 20
    assert (np.abs(drawn.mean(1) - vae.encode(X[:9])) < 5 * error).all()


def test_a_pipeline_goes_back_to_data() -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda x: x, lambda x: x), VAE(**SMALL)).fit(X)
    assert pipeline.inverse_transform(pipeline.transform(X[:4])).shape == (4, 8, 8)


def test_codes_of_another_size_are_refused(vae: VAE) -> None:
    with pytest.raises(DataError, match=r"must be \(n, 3\)"):
        vae.decode(np.zeros((2, 4)))


def test_scikit_learn_asks_for_no_more_than_codes() -> None:
    assert not [name for name in dir(VAE) if name.endswith("_request") and name.startswith("set_")]


# Walks -----------------------------------------------------------------------------------------------------


def test_a_way_leads_from_one_datum_to_another(vae: VAE) -> None:
    way = vae.interpolate(X[0], X[1], 5)
    assert way.shape == (5, 8, 8)
    assert_allclose(way[[0, -1]], vae.decode(vae.encode(X[:2])), atol=1e-5)


def test_every_latent_variable_is_walked_along(vae: VAE) -> None:
    walks = vae.traverse(X, at=X[0], steps=4)
    assert set(walks) == {"z[0]", "z[1]", "z[2]"}
    assert {walk.shape for walk in walks.values()} == {(4, 8, 8)}
    spread = vae.encode(X).var(0)
    assert next(iter(walks)) == f"z[{spread.argmax()}]"
    assert len(vae.traverse(X, latents=1)) == 1


def test_a_plane_has_a_datum_for_each_of_its_points(vae: VAE) -> None:
    assert vae.plane(X, steps=3, limits=(-2.0, 2.0)).shape == (3, 3, 8, 8)


def test_a_map_has_a_point_for_each_row(vae: VAE) -> None:
    assert vae.map(X).shape == (60, 2)


# Predictions -----------------------------------------------------------------------------------------------


def test_new_data_are_drawn_in_the_place_of_each_row(vae: VAE) -> None:
    drawn = vae.posterior_predictive(X[:7], 5)
    assert drawn.shape == (7, 5, 8, 8)
    assert set(np.unique(drawn)) == {0.0, 1.0}


def test_rows_are_restored(vae: VAE) -> None:
    restored = vae.denoise(X[:7], draws=10)
    assert restored.shape == (7, 8, 8)
    noisier = vae.denoise(X[:7], "mask:1", draws=10)
    assert_allclose(noisier, vae.denoise(np.zeros_like(X[:7]), draws=10), atol=0.2)
    assert np.abs(noisier - restored).max() > 0
    with pytest.raises(ConfigError, match="noise: there is no noise 'pepper'"):
        vae.denoise(X, "pepper:1")


# Figures ---------------------------------------------------------------------------------------------------

FIGURES: dict[str, Any] = {
    "plot_samples": lambda vae: vae.plot_samples(4),
    "plot_reconstructions": lambda vae: vae.plot_reconstructions(X[:4]),
    "plot_predictive": lambda vae: vae.plot_predictive(X[:2], 4),
    "plot_denoised": lambda vae: vae.plot_denoised(X[:2], draws=4),
    "plot_interpolation": lambda vae: vae.plot_interpolation(X[0], X[1], 3),
    "plot_traversal": lambda vae: vae.plot_traversal(X, steps=3),
    "plot_plane": lambda vae: vae.plot_plane(X, steps=3),
    "plot_map": lambda vae: vae.plot_map(X, np.arange(60) % 3),
}


def test_every_figure_is_tried_here() -> None:
    assert set(FIGURES) == {name for name in dir(VAE) if name.startswith("plot_")}


@pytest.mark.parametrize("name", FIGURES)
def test_pictures_are_figures(name: str, vae: VAE) -> None:
    figure = FIGURES[name](vae)
    assert isinstance(figure, Figure)
    assert figure.axes


# Seeds -----------------------------------------------------------------------------------------------------


def test_random_state_is_another_name_of_the_seed(vae: VAE) -> None:
    assert np.array_equal(weights(VAE(**SMALL, random_state=0).fit(X)), weights(vae))
    assert np.array_equal(weights(VAE(**SMALL, random_state=1).fit(X)), weights(VAE(**SMALL, seed=1).fit(X)))
    assert not np.array_equal(weights(VAE(**SMALL, random_state=1).fit(X)), weights(vae))
    assert np.array_equal(vae.sample(3, random_state=5), vae.sample(3, seed=5))
    few = {"particles": 5}
    assert np.array_equal(vae.score_samples(X, random_state=5, **few), vae.score_samples(X, seed=5, **few))
    one, other = (vae.evaluate(X, **few, **seed) for seed in ({"random_state": 5}, {"seed": 5}))
    assert one["elbo"] == other["elbo"]


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_a_generator_gives_one_seed_after_another(make: Any, vae: VAE) -> None:
    one, same = VAE(**SMALL, random_state=make(3)), VAE(**SMALL, random_state=make(3))
    first = weights(one.fit(X))
    assert np.array_equal(first, weights(same.fit(X)))
    assert not np.array_equal(first, weights(one.fit(X)))
    generator = make(3)
    drawn = vae.sample(4, random_state=generator)
    assert not np.array_equal(drawn, vae.sample(4, random_state=generator))
    assert np.array_equal(drawn, vae.sample(4, seed=make(3)))


def test_a_run_keeps_the_seed_that_was_drawn() -> None:
    fitted = VAE(**SMALL, random_state=np.random.RandomState(3)).fit(X)
    assert np.array_equal(weights(VAE(**SMALL, seed=fitted.run.config.seed).fit(X)), weights(fitted))


@pytest.mark.parametrize("name", ["seed", "random_state"])
@pytest.mark.parametrize("wrong", [-1, 0.5, "one", True])
def test_what_is_no_seed_is_refused(name: str, wrong: Any, vae: VAE) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {wrong!r} is not allowed; it must be an integer >= 0"):
        VAE(**SMALL, **{name: wrong}).fit(X)
    with pytest.raises(ConfigError, match=name):
        vae.sample(1, **{name: wrong})


def test_scikit_learn_clones_sets_and_searches_it() -> None:
    given = VAE(**SMALL, random_state=np.random.RandomState(3))
    assert clone(given).get_params()["random_state"].randint(9) == np.random.RandomState(3).randint(9)
    assert clone(given).set_params(random_state=7).random_state == 7
    search = GridSearchCV(VAE(**SMALL, random_state=0), {"latent_dim": [1, 2]}, cv=2).fit(X)
    assert search.best_params_["latent_dim"] in (1, 2)


def test_what_is_masked_is_missing_in_single_data_and_in_codes_too(vae: VAE) -> None:
    hidden = np.ma.masked_array(X[0], np.eye(8))
    with pytest.raises(DataError, match="missing or not finite"):
        vae.interpolate(hidden, X[1])
    with pytest.raises(DataError, match="missing or not finite"):
        vae.traverse(X, at=hidden)
    with pytest.raises(DataError, match="codes: 1 of 2 rows hold values that are missing"):
        vae.decode(np.ma.masked_array(np.zeros((2, 3)), [[0, 0, 0], [0, 1, 0]]))
