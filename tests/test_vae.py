"""The object of Python: the verbs of scikit-learn on the same runs that the command line makes."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from numpy.testing import assert_allclose
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import Size

from pyrovae import VAE, plots
from pyrovae.cli import main
from pyrovae.config import resolve
from pyrovae.errors import ConfigError, DataError, RunError
from pyrovae.evaluate import evaluate
from pyrovae.likelihoods import Bernoulli, Gaussian
from pyrovae.networks import MLP, Shapes
from pyrovae.posteriors import Normal as NormalPosterior
from pyrovae.priors import Normal

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [16]},
    "epochs": 2,
    "batch_size": 16,
    "verbose": False,
}
X: np.ndarray = load_digits().images[:120].astype(np.float32) / 16
BITS = (X > 0.5).astype(np.float32)


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time, and is tested with the command line."""
    monkeypatch.setattr(plots, "save", lambda figure, path: path.touch())


def small(**arguments: Any) -> VAE:
    return VAE(**{**SMALL, **arguments})


@pytest.fixture(scope="module")
def vae() -> VAE:
    return small().fit(X)


def losses(vae: VAE) -> list[float]:
    return [metrics["train_elbo"] for metrics in vae.history]


def numbers(vae: VAE) -> list[dict[str, float]]:
    timed = ("seconds", "examples_per_second")
    return [{key: value for key, value in line.items() if key not in timed} for line in vae.history]


def same_weights(one: VAE, other: VAE) -> bool:
    weights, others = one.program_.state_dict(), other.program_.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


# The block of the README -----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_lines_of_the_readme(tmp_path: Path) -> None:
    vae = VAE(latent_dim=8, likelihood="bernoulli", prior="normal", epochs=1, verbose=False).fit(X)
    codes = vae.transform(X)
    new = vae.sample(16)
    ll = vae.score_samples(X, particles=10)
    vae.save(tmp_path / "runs" / "digits")
    assert codes.shape == (120, 8)
    assert new.shape == (16, 8, 8)
    assert ll.shape == (120,)
    assert (tmp_path / "runs" / "digits" / "config.toml").is_file()
    assert callable(vae.program_.model)
    assert callable(vae.program_.guide)


def test_samples_are_data_and_repeat_under_their_seed(vae: VAE) -> None:
    drawn = vae.sample(5, seed=1)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert np.array_equal(drawn, vae.sample(5, seed=1))
    assert not np.array_equal(drawn, vae.sample(5, seed=2))


def test_reconstructions_have_the_shape_of_the_data(vae: VAE) -> None:
    restored = vae.reconstruct(X[:7])
    assert restored.shape == (7, 8, 8)
    assert 0 < restored.min() < restored.max() < 1


def test_codes_are_the_means_of_the_guide(vae: VAE) -> None:
    with torch.no_grad():
        mean = vae.program_.encode(torch.from_numpy(BITS)).mean
    assert_allclose(vae.transform(BITS), mean.numpy(), rtol=1e-5, atol=1e-6)


def test_the_code_of_a_row_does_not_depend_on_the_other_rows(vae: VAE) -> None:
    codes = vae.transform(BITS)
    assert_allclose(vae.transform(BITS[40:50]), codes[40:50], rtol=1e-5, atol=1e-6)
    assert_allclose(vae.transform(BITS[::-1]), codes[::-1], rtol=1e-5, atol=1e-6)


def test_the_code_of_a_grey_row_does_not_depend_on_the_other_rows(vae: VAE) -> None:
    assert_allclose(vae.transform(X[10:20]), vae.transform(X)[10:20], rtol=1e-5, atol=1e-6)


def test_scores_are_nats_of_every_row_and_repeat(vae: VAE) -> None:
    scores = vae.score_samples(BITS, particles=50)
    assert scores.shape == (120,)
    assert scores.dtype == np.float64
    assert (-64 * math.log(2) * 2 < scores).all()
    assert (scores < 0).all()
    assert np.array_equal(scores, vae.score_samples(BITS, particles=50))
    assert not np.array_equal(scores, vae.score_samples(BITS, particles=50, seed=1))
    assert_allclose(vae.score_samples(BITS[:10], particles=50), scores[:10], atol=1e-4)


def test_scores_lie_above_the_elbo_and_are_those_of_evaluation(vae: VAE) -> None:
    estimates = evaluate(vae.program_, [torch.from_numpy(BITS)], particles=200)
    scores = vae.score_samples(BITS, particles=200)
    assert_allclose(scores, estimates.log_likelihood.numpy(), atol=1e-4)
    assert scores.mean() > estimates.elbo.mean().item()


def test_the_score_is_the_mean_over_rows(vae: VAE) -> None:
    assert vae.score(BITS[:20]) == pytest.approx(vae.score_samples(BITS[:20]).mean())


# Components as names, tables and objects -------------------------------------------------------------------


def test_names_tables_and_objects_give_the_same_result(vae: VAE) -> None:
    names = small(prior="normal", likelihood="bernoulli", posterior="normal").fit(X)
    tables = small(
        prior={"name": "normal"}, likelihood={"name": "bernoulli"}, posterior={"name": "normal"}
    ).fit(X)
    objects = small(
        prior=Normal(2), likelihood=Bernoulli(Size([8, 8])), posterior=NormalPosterior(Size([2]))
    ).fit(X)
    for other in (names, tables, objects):
        assert numbers(other) == numbers(vae)
        assert same_weights(other, vae)


def test_options_of_objects_are_kept_in_the_configuration(tmp_path: Path) -> None:
    fitted = small(likelihood=Gaussian(Size([8, 8]), scale=0.25, floor=0.125)).fit(X)
    table = small(likelihood={"name": "gaussian", "scale": 0.25, "floor": 0.125}).fit(X)
    assert numbers(fitted) == numbers(table)
    fitted.save(tmp_path / "run")
    loaded = VAE.load(tmp_path / "run")
    assert loaded.likelihood == {"name": "gaussian", "scale": 0.25, "floor": 0.125, "standardize": "auto"}


def test_objects_are_copied_and_not_trained_in_place() -> None:
    network = MLP(Shapes(Size([8, 8]), 2, 4, 1), hidden=[16])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one = small(network=network).fit(X)
    other = small(network=network).fit(X)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert one.program_.network is not network
    assert same_weights(one, other)
    assert not torch.equal(next(iter(one.program_.network.parameters())), next(iter(network.parameters())))


def test_an_object_that_was_made_for_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"prior: the object was made for 3, and is needed for 2"):
        small(prior=Normal(3)).fit(X)


def test_an_object_of_another_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="prior: the object is a likelihood, and a prior is needed"):
        small(prior=Bernoulli(Size([8, 8]))).fit(X)


# Inputs ----------------------------------------------------------------------------------------------------


def test_the_data_are_not_changed() -> None:
    given = X.copy()
    fitted = small(epochs=1).fit(given)
    fitted.transform(given)
    fitted.score_samples(given, particles=2)
    assert np.array_equal(given, X)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda x: x.astype(np.float64), id="float64"),
        pytest.param(lambda x: x.astype(np.uint8), id="uint8"),
        pytest.param(lambda x: x.astype(bool), id="bool"),
        pytest.param(torch.from_numpy, id="tensor"),
        pytest.param(lambda x: torch.from_numpy(x).double(), id="double tensor"),
        pytest.param(lambda x: x.tolist(), id="list"),
        pytest.param(np.asfortranarray, id="Fortran order"),
    ],
)
def test_the_type_of_the_data_does_not_matter(convert: Any) -> None:
    expected = small(epochs=1).fit(BITS)
    fitted = small(epochs=1).fit(convert(BITS))
    assert numbers(fitted) == numbers(expected)
    assert np.array_equal(fitted.transform(convert(BITS)), expected.transform(BITS))


def test_tables_are_rows_of_numbers() -> None:
    fitted = small(likelihood="gaussian").fit(X.reshape(120, 64))
    assert fitted.transform(X.reshape(120, 64)).shape == (120, 2)
    assert fitted.sample(3).shape == (3, 64)


def test_bytes_are_never_rescaled_silently() -> None:
    with pytest.raises(ConfigError, match=r"0 to 255.*data\.divisor = 255"):
        small().fit((X * 255).astype(np.uint8))
    divided = small(epochs=1, data={"divisor": 255.0}).fit((X * 255).astype(np.uint8))
    assert divided.transform((X * 255).astype(np.uint8)).shape == (120, 2)


def test_rows_of_another_shape_are_refused(vae: VAE) -> None:
    for method in (vae.transform, vae.score_samples, vae.reconstruct):
        with pytest.raises(DataError, match=r"\(64,\).*\(8, 8\)"):
            method(X.reshape(120, 64))


def test_rows_outside_the_support_are_refused(vae: VAE) -> None:
    with pytest.raises(ConfigError, match=r"'bernoulli' takes values in \{0, 1\}; X has values from 0 to 16"):
        vae.transform(X * 16)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(wrong: float) -> None:
    broken = X.copy()
    broken[3, 2, 1] = wrong
    with pytest.raises(DataError, match="X"):
        small().fit(broken)


def test_labels_are_only_for_leaving_rows_out() -> None:
    y = load_digits().target[:120]
    given = {"data": {"exclude_labels": [3]}, "epochs": 1}
    without = small(**given).fit(X, y)
    with_all = small(epochs=1).fit(X, y)
    assert without.run_.prepared is not None
    assert with_all.run_.prepared is not None
    left = sum(len(split) for split in without.run_.prepared.dataset.splits.values())
    assert left == int((y != 3).sum())
    assert sum(len(split) for split in with_all.run_.prepared.dataset.splits.values()) == 120


# Arguments -------------------------------------------------------------------------------------------------


def test_arguments_are_read_and_set_as_scikit_learn_does() -> None:
    vae = small(seed=4)
    assert vae.get_params()["seed"] == 4
    assert vae.set_params(seed=5, lr=0.5) is vae
    assert (vae.seed, vae.lr) == (5, 0.5)
    with pytest.raises(ValueError, match="nonsense"):
        vae.set_params(nonsense=1)


@pytest.mark.smoke
def test_a_clone_is_unfitted_and_fits_to_the_same(vae: VAE) -> None:
    other = clone(vae)
    with pytest.raises(NotFittedError):
        other.transform(X)
    assert numbers(other.fit(X)) == numbers(vae)


def test_fitting_again_starts_afresh() -> None:
    vae = small().fit(X)
    first = numbers(vae)
    assert numbers(vae.fit(X)) == first


@pytest.mark.smoke
def test_in_a_pipeline(vae: VAE) -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda x: x / 16), clone(vae))
    assert pipeline.fit_transform(X * 16).shape == (120, 2)
    assert_allclose(pipeline.transform(X * 16), vae.transform(X), atol=1e-6)


@pytest.mark.parametrize("method", ["transform", "reconstruct", "score_samples", "score", "resume"])
def test_before_it_is_fitted_a_sentence_says_so(method: str) -> None:
    with pytest.raises(NotFittedError, match="fit"):
        getattr(VAE(), method)(X)


@pytest.mark.parametrize("use", [lambda v: v.sample(2), lambda v: v.save("x"), lambda v: v.program_])
def test_what_needs_no_rows_is_not_fitted_either(
    use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError, match="fit"):
        use(VAE())
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_arguments_are_told_at_once() -> None:
    vae = VAE(latent_dim=0, prior="norml", lr=-1.0, data={"limt": 3}, train={"patience": 0})
    with pytest.raises(ConfigError) as caught:
        vae.fit(X)
    places = {problem.place for problem in caught.value.problems}
    assert places == {"latent_dim", "prior.name", "train.lr", "data.limt", "train.patience"}
    assert "did you mean 'normal'?" in str(caught.value)


def test_a_wrong_argument_of_python_is_told_by_its_name() -> None:
    with pytest.raises(TypeError, match="latent_dims"):
        VAE(latent_dims=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("number", [np.int64(3), np.float32(1e-3)])
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    name = "latent_dim" if isinstance(number, np.integer) else "lr"
    assert small(**{name: number, "epochs": 1}).fit(X).transform(X).shape[0] == 120


def test_entries_of_data_and_train_are_the_same_as_in_toml() -> None:
    fitted = small(data={"validation": 0.5, "binarize": "none"}, train={"optimizer": "sgd", "watch": 0}).fit(
        X
    )
    config = fitted.run_.config
    assert (config.data.validation, config.data.binarize, config.train.optimizer) == (0.5, "none", "sgd")
    assert (config.train.epochs, config.train.batch_size) == (2, 16)


def test_without_validation_all_rows_train() -> None:
    fitted = small(data={"validation": 0.0}).fit(X)
    assert "validation_elbo" not in fitted.history[0]
    assert fitted.run_.prepared is not None
    assert len(fitted.run_.prepared.dataset.train) == 120


# What fit shows and touches --------------------------------------------------------------------------------


def test_silent_where_it_is_asked_to_be(capfd: pytest.CaptureFixture[str]) -> None:
    small(epochs=1).fit(X)
    assert capfd.readouterr() == ("", "")


def test_the_range_of_the_data_is_stated(capsys: pytest.CaptureFixture[str]) -> None:
    small(verbose=True).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert "X: 108 train, 12 validation, 0 test rows of (8, 8), values 0 to 1" in err
    assert "binarised (dynamic)" in err
    assert "epoch 2/2" in err


def test_a_cross_entropy_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    small(verbose=True, data={"binarize": "none"}).fit(X)
    assert capsys.readouterr().err.count("no likelihood") == 1


def test_nothing_global_is_touched(untouched: None) -> None:
    pyro.get_param_store().clear()
    state = np.random.get_state()[1].copy()
    validation = pyro.distributions.torch_distribution.TorchDistributionMixin, pyro.infer.util
    fitted = small(network={"name": "mlp", "hidden": [8], "dropout": 0.5}).fit(X)
    fitted.transform(X)
    fitted.sample(2)
    fitted.score_samples(X, particles=2)
    assert np.array_equal(np.random.get_state()[1], state)
    assert list(pyro.get_param_store().keys()) == []
    assert validation[1].is_validation_enabled()
    assert torch.distributions.Distribution._validate_args
    assert torch.is_grad_enabled()


def test_the_global_seed_does_not_matter(vae: VAE) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    assert numbers(small().fit(X)) == numbers(vae)


def test_another_seed_gives_another_model(vae: VAE) -> None:
    assert losses(small(seed=1).fit(X)) != losses(vae)


# Runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small().fit(X).save(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.smoke
def test_save_writes_the_files_of_the_command_line(saved: Path) -> None:
    files = {str(file.relative_to(saved)) for file in saved.rglob("*") if file.is_file()}
    named = {"best.safetensors", "last.safetensors", "resume.pt"}
    assert files >= {"config.toml", "metrics.jsonl", *(f"checkpoints/{name}" for name in named)}
    lines = (saved / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]


def test_an_existing_folder_is_refused(vae: VAE, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="exists"):
        clone(vae).fit(X).save(tmp_path)


def test_a_loaded_vae_gives_the_same_numbers(vae: VAE, saved: Path) -> None:
    loaded = VAE.load(saved, verbose=False)
    assert same_weights(loaded, vae)
    assert np.array_equal(loaded.transform(X), vae.transform(X))
    assert np.array_equal(loaded.score_samples(X, particles=5), vae.score_samples(X, particles=5))
    assert np.array_equal(loaded.sample(3), vae.sample(3))
    assert loaded.history == VAE.load(saved).history
    assert numbers(loaded) == numbers(vae)
    assert loaded.latent_dim == 2


def test_a_loaded_vae_fits_again_as_it_was_configured(vae: VAE, saved: Path) -> None:
    assert numbers(VAE.load(saved, verbose=False).fit(X)) == numbers(vae)


def test_the_last_checkpoint_is_loaded_where_it_is_asked_for(tmp_path: Path) -> None:
    fitted = small(epochs=6, lr=0.5, seed=3).fit(X)
    best = max(fitted.history, key=lambda metrics: metrics["validation_elbo"])["epoch"]
    assert best < 6
    fitted.save(tmp_path / "run")
    assert same_weights(VAE.load(tmp_path / "run"), fitted)
    assert not same_weights(VAE.load(tmp_path / "run", checkpoint="last"), fitted)


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return (ended.value.code or 0, *capsys.readouterr())  # type: ignore[return-value]


@pytest.mark.smoke
def test_the_command_line_evaluates_a_saved_vae(
    vae: VAE, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "X.npy", BITS)
    given = ["--data", tmp_path / "X.npy", "--json", "--particles", "20"]
    code, out, err = command(capsys, "evaluate", saved, *given)
    assert code == 0, err
    value = json.loads(out)["quantities"]["log_likelihood"]["value"]
    assert value == pytest.approx(vae.score_samples(BITS, particles=20).mean(), abs=1e-4)


@pytest.mark.smoke
def test_the_command_line_samples_from_a_saved_vae(
    vae: VAE, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = command(capsys, "sample", saved, "-n", "3")
    assert code == 0, err
    with np.load(saved / "samples.npz") as archive:
        assert np.array_equal(archive["x"], vae.sample(3))


def test_the_command_line_says_that_a_run_on_an_array_goes_on_from_python(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["train", "--resume", saved], ["evaluate", saved]):
        code, out, err = command(capsys, *arguments)
        assert (code, out) == (1, "")
        assert "array from Python" in err
        assert "resume" in err


def test_python_reads_a_run_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "X.npy", BITS)
    given = ["--data", tmp_path / "X.npy", "--set", "network.hidden=[16]", "--latent-dim", "2"]
    code, _, err = command(capsys, "train", *given, "--epochs", "1", "--run", tmp_path / "run")
    assert code == 0, err
    loaded = VAE.load(tmp_path / "run", verbose=False)
    assert loaded.transform(BITS).shape == (120, 2)
    assert loaded.fit(BITS).sample(2).shape == (2, 8, 8)


@pytest.mark.parametrize(
    "options",
    [
        {"network": {"name": "mlp", "hidden": [16], "dropout": 0.5, "normalization": "batch"}},
        {"network": "linear", "likelihood": {"name": "gaussian", "scale": "optimal"}},
    ],
)
def test_a_resumed_vae_equals_an_uninterrupted_one(options: dict[str, Any], tmp_path: Path) -> None:
    whole = small(**options, epochs=4).fit(X)
    parts = small(**options, epochs=1).fit(X)
    parts.save(tmp_path / "run")
    parts.resume(X, epochs=2)
    loaded = VAE.load(tmp_path / "run", verbose=False).resume(X, epochs=4)
    assert numbers(loaded) == numbers(whole)
    assert same_weights(loaded, whole)


def test_going_on_with_other_rows_is_refused(saved: Path) -> None:
    with pytest.raises(RunError, match="have changed"):
        VAE.load(saved).resume(X[::-1].copy(), epochs=3)


def test_going_on_needs_a_saved_vae(vae: VAE) -> None:
    with pytest.raises(RunError, match="save"):
        clone(vae).fit(X).resume(X, epochs=3)


def test_going_on_to_no_epochs_is_refused(saved: Path) -> None:
    with pytest.raises((ConfigError, RunError), match="epochs"):
        VAE.load(saved, verbose=False).resume(X, epochs=-1)
    VAE.load(saved)


def test_what_was_fitted_with_objects_is_saved_and_loaded(tmp_path: Path) -> None:
    fitted = small(network=MLP(Shapes(Size([8, 8]), 2, 4, 1), hidden=[8])).fit(X)
    fitted.save(tmp_path / "run")
    assert same_weights(VAE.load(tmp_path / "run"), fitted)


# Any Pyro inference ----------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_model_and_guide_train_with_pyros_svi(vae: VAE, pyro_store: None) -> None:
    program = small(epochs=1).fit(X).program_
    x = torch.from_numpy(BITS)
    program.train()
    before = {name: value.clone() for name, value in program.named_parameters()}
    svi = SVI(program.model, program.registered_guide(), Adam({"lr": 1e-2}), Trace_ELBO())
    falling = [svi.step(x) / len(x) for _ in range(20)]
    assert falling[-1] < falling[0] - 1
    assert all(not torch.equal(value, before[name]) for name, value in program.named_parameters())


def test_two_models_in_pyros_store_share_no_weights(pyro_store: None) -> None:
    first, second = (small(epochs=1, seed=seed).fit(X).program_ for seed in (0, 1))
    x = torch.from_numpy(BITS)
    SVI(first.model, first.registered_guide(), Adam({"lr": 1e-2}), Trace_ELBO()).step(x)
    kept = {name: value.clone() for name, value in first.state_dict().items()}
    own = {name: value.clone() for name, value in second.named_parameters()}
    SVI(second.model, second.registered_guide(), Adam({"lr": 1e-2}), Trace_ELBO()).step(x)
    assert all(torch.equal(value, kept[name]) for name, value in first.state_dict().items())
    assert all(not torch.equal(value, own[name]) for name, value in second.named_parameters())
    assert all(torch.allclose(value, own[name], atol=0.011) for name, value in second.named_parameters())


def test_a_fitted_vae_can_be_pickled_and_leaves_its_data_behind(vae: VAE) -> None:
    again = pickle.loads(pickle.dumps(vae))
    assert np.array_equal(again.transform(BITS), vae.transform(BITS))
    assert again.run.prepared is None


def test_a_loaded_vae_is_saved_whole(vae: VAE, tmp_path: Path) -> None:
    vae.save(tmp_path / "one")
    VAE.load(tmp_path / "one").save(tmp_path / "two")
    assert np.array_equal(VAE.load(tmp_path / "two").transform(BITS), vae.transform(BITS))


def test_defaults_are_those_of_the_configuration() -> None:
    config, chosen = resolve(), VAE().get_params()
    sections = {"epochs": config.train, "batch_size": config.train, "lr": config.train}
    for name in ("seed", "latent_dim", "epochs", "batch_size", "lr"):
        assert chosen[name] == getattr(sections.get(name, config), name)
    for name in ("prior", "likelihood", "posterior", "network", "objective"):
        assert chosen[name] == getattr(config, name).name


def test_a_source_beside_the_data_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.source"):
        small(data={"source": "mnist"}).fit(BITS)


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(vae: VAE, n: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        vae.sample(n)


def test_a_pipeline_may_have_targets_that_are_no_labels() -> None:
    targets = X.reshape(120, -1).sum(1)
    pipeline = make_pipeline(small(epochs=1), Ridge()).fit(X, targets)
    assert pipeline.predict(X).shape == (120,)
    assert numbers(pipeline[0]) == numbers(small(epochs=1).fit(X))


def test_a_resumed_run_checks_no_labels_that_nobody_reads(tmp_path: Path) -> None:
    fitted = small(epochs=1).fit(X, X)
    fitted.save(tmp_path / "run")
    assert len(fitted.resume(X, np.full(120, np.nan), epochs=2).history) == 2
