"""Data meet likelihoods: what is changed, what is refused, and that what is said to fit does."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Size, Tensor
from torch.distributions import constraints

from pyrovae import VAE, component, preparation, supports
from pyrovae.assembly import load_data
from pyrovae.config import Data, parse_assignment, resolve
from pyrovae.data import Dataset, from_arrays, load
from pyrovae.errors import ConfigError, DataError, PyrovaeError
from pyrovae.likelihoods import Likelihood
from pyrovae.likelihoods.gaussian import Gaussian
from pyrovae.preparation import Prepared, prepare
from pyrovae.run import Run

LIKELIHOODS = component.names("likelihood")


def whole(highest: int) -> Any:
    """Rows of all whole numbers up to the highest."""
    return np.resize(np.arange(highest + 1), (max(24, (highest + 1) // 4), 4))


def between(low: float, high: float) -> Any:
    return np.linspace(low, high, 120).reshape(30, 4)


DATA: Mapping[str, Dataset] = {
    "digits": from_arrays(load("digits").train.raw[:60], name="digits", divisor=16.0),
    "bytes": from_arrays(whole(255).astype(np.uint8)),
    "grey values": from_arrays(whole(255), divisor=255.0),
    "grey fractions": from_arrays((whole(255) / 255).astype(np.float32)),
    "counts": from_arrays(whole(19)),
    "large counts": from_arrays(whole(5000)),
    "bits": from_arrays(whole(1)),
    "fractions": from_arrays(between(0.1, 0.9)),
    "positive numbers": from_arrays(between(0.1, 5.75)),
    "real numbers": from_arrays(between(-0.5, 0.5)),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"binarize": "none"},
    {"binarize": "dynamic"},
    {"dequantize": True},
    {"squeeze": 0.01},
    {"dequantize": True, "squeeze": 0.01},
]
each_data = pytest.mark.parametrize("data", DATA)


def likelihood(name: str, dataset: Dataset, **options: Any) -> Likelihood:
    member: Any = component.find("likelihood", name)
    return member(Size(dataset.event_shape), **options)


def prepared(data: str, name: str, options: Mapping[str, Any] | None = None, **chosen: Any) -> Prepared:
    dataset = DATA[data]
    return prepare(dataset, Data(**(options or {})), likelihood(name, dataset, **chosen))


@cache
def outcomes(data: str) -> list[tuple[str, dict[str, Any], Prepared | PyrovaeError]]:
    """For every likelihood and all options: its name, the options, and the data or the refusal."""
    found: list[tuple[str, dict[str, Any], Prepared | PyrovaeError]] = []
    for name, options in product(LIKELIHOODS, OPTIONS):
        try:
            found.append((name, options, prepared(data, name, options)))
        except PyrovaeError as error:
            found.append((name, options, error))
    return found


def reads(dataset: Dataset, times: int = 3) -> Tensor:
    everything = [split.rows(slice(None)) for split in dataset.splits.values() for _ in range(times)]
    return torch.cat(everything)


def refusal(data: str, name: str, options: Mapping[str, Any] | None = None, **chosen: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        prepared(data, name, options, **chosen)
    (problem,) = caught.value.problems
    assert problem.place == "likelihood.name"
    return problem.message


# Laws of every likelihood on data of every kind


@each_data
def test_a_likelihood_sees_values_of_its_support_or_none(data: str) -> None:
    for name, options, taken in outcomes(data):
        if isinstance(taken, Prepared):
            values, module = reads(taken.dataset), likelihood(name, DATA[data])
            assert values.isfinite().all()
            assert supports.contains(module.support, values) == taken.is_likelihood
            if not taken.is_likelihood:
                assert options["binarize"] == "none"
                assert module.tolerated is not None
                assert supports.contains(module.tolerated, values)


@each_data
def test_what_is_said_to_fit_does(data: str) -> None:
    fitting = [
        (name, options)
        for name, options, taken in outcomes(data)
        if isinstance(taken, Prepared) and taken.is_likelihood
    ]
    tried = 0
    for name, options, refused in outcomes(data):
        if isinstance(refused, ConfigError):
            (problem,) = refused.problems
            likelihoods, remedies = choices(problem.message)
            assert set(likelihoods) == {other for other, same in fitting if same == options}
            assert all(with_settings(settings, data, name, options).is_likelihood for settings in remedies)
            tried += len(remedies)
    assert tried or data in ("real numbers", "fractions")


@each_data
def test_rows_to_evaluate_on_are_never_drawn_again(data: str) -> None:
    for name, options, taken in outcomes(data):
        if isinstance(taken, Prepared):
            train, *held_out = taken.dataset.splits.values()
            again = prepared(data, name, options).dataset
            for one, other in zip([train.drawn(), *held_out], again.drawn().splits.values(), strict=True):
                assert torch.equal(one.rows(slice(None)), one.rows(slice(None)))
                assert torch.equal(one.rows(slice(None)), other.rows(slice(None)))


@each_data
def test_a_refusal_is_one_sentence_or_a_list(data: str) -> None:
    for _, _, taken in outcomes(data):
        assert isinstance(taken, Prepared) or "\n" not in str(taken)


@pytest.mark.parametrize("name", ["bernoulli", "beta", "poisson"])
def test_preparing_draws_nothing_from_the_global_generator(name: str, untouched: None) -> None:
    for options in OPTIONS:
        with contextlib.suppress(PyrovaeError):
            prepared("digits", name, options).dataset.describe()


def choices(message: str) -> tuple[list[str], list[dict[str, dict[str, Any]]]]:
    """The likelihoods that a refusal names, and the settings, each as a layer of the configuration."""
    _, _, listed = message.partition("What fits: ")
    likelihoods: list[str] = []
    remedies = []
    for choice in listed.split("; "):
        if found := re.fullmatch("likelihood = (.*)", choice):
            likelihoods += found[1].split(", ")
        elif choice != "nothing":
            layers = [parse_assignment(setting) for setting in choice.split(" with ")]
            merged = {
                section: {key: value for layer in layers for key, value in layer.get(section, {}).items()}
                for section in ("data", "likelihood")
            }
            remedies.append(merged)
    return likelihoods, remedies


def with_settings(
    settings: dict[str, dict[str, Any]], data: str, name: str, options: Mapping[str, Any]
) -> Prepared:
    """What a user gets who follows the advice: through the whole configuration, with its bounds."""
    layer = {"data": {**options, **settings["data"]}, "likelihood": {"name": name, **settings["likelihood"]}}
    config = resolve(layer)
    dataset = DATA[data].divided(config.data.divisor or DATA[data].train.divisor)
    return prepare(dataset, config.data, likelihood(name, dataset, **config.likelihood.options))


# What is done, and what is said of it


BINARISED = "grey values are binarised ({}): data.binarize = none, or another likelihood, keeps them"


def test_only_a_likelihood_of_bits_has_grey_values_binarised_unless_all_shall_be() -> None:
    binarised = set()
    for name in LIKELIHOODS:
        try:
            notes = prepared("digits", name).notes
        except ConfigError:
            continue
        if BINARISED.format("dynamic") in notes:
            binarised.add(name)
    assert binarised == {"bernoulli"}
    assert prepared("digits", "gaussian", {"binarize": "static"}).notes == (BINARISED.format("static"),)


def test_bits_stay_as_they_are() -> None:
    taken = prepared("bits", "bernoulli", {"binarize": "dynamic"})
    assert taken == Prepared(DATA["bits"])


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ({}, []),
        ({"dequantize": True}, ["whole numbers are dequantised: (value + u) / 17, 0 < u < 1"]),
        ({"squeeze": 0.01}, ["values are squeezed into [0.01, 0.99]"]),
        (
            {"squeeze": 0.01, "dequantize": True},
            [
                "whole numbers are dequantised: (value + u) / 17, 0 < u < 1",
                "values are squeezed into [0.01, 0.99]",
            ],
        ),
    ],
    ids=str,
)
def test_notes_say_what_was_done_in_its_order(options: dict[str, Any], notes: list[str]) -> None:
    assert list(prepared("digits", "gaussian", options).notes) == notes


def test_values_are_dequantised_before_they_are_squeezed() -> None:
    data = prepared("digits", "beta", {"dequantize": True, "squeeze": 0.125}).dataset
    torch.manual_seed(0)
    rows = data.train.rows(slice(50))
    torch.manual_seed(0)
    noise = torch.rand(rows.shape)
    stored = DATA["digits"].train.raw[:50]
    torch.testing.assert_close(rows, 0.125 + 0.75 * (stored + noise) / 17)


def test_grey_values_under_bernoulli_are_no_likelihood_where_they_shall_stay() -> None:
    for changed in ({}, {"dequantize": True}):
        options = {"binarize": "none", **changed}
        taken = prepared("digits", "bernoulli", options)
        assert not taken.is_likelihood
        assert taken.notes[-1].startswith("bernoulli on grey values is no likelihood")
        assert len(taken.notes) == 1 + len(changed)


def test_a_wider_set_is_tolerated_only_where_the_values_shall_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component.find("likelihood", "beta"), "tolerated", constraints.unit_interval)
    assert not prepared("digits", "beta", {"binarize": "none"}).is_likelihood
    assert "takes values in (0, 1)" in refusal("digits", "beta")


# Data far from unit scale

REAL = {"gaussian", "laplace", "logistic", "student-t"}
STANDARDIZING = [
    name for name in LIKELIHOODS if "standardize" in component.options(component.find("likelihood", name))
]


def columns(means: Any, deviations: Any, rows: int = 400) -> Dataset:
    """Normal columns with exactly these means and standard deviations, up to rounding."""
    noise = np.random.default_rng(0).standard_normal((rows, len(np.atleast_1d(means))))
    noise = (noise - noise.mean(0)) / noise.std(0)
    return from_arrays(np.asarray(means) + np.asarray(deviations) * noise, validation=0, test=0)


def advice(
    dataset: Dataset, name: str = "gaussian", options: Mapping[str, Any] | None = None, **chosen: Any
) -> Any:
    """The note about standardising, if there is one; it must be the last."""
    if name in STANDARDIZING:
        chosen.setdefault("standardize", False)
    notes = prepare(dataset, Data(**(options or {})), likelihood(name, dataset, **chosen)).notes
    found = [note for note in notes if "standardize" in note]
    assert found in ([], list(notes[-1:]))
    return found[0] if found else None


FAR_OFF = {
    "a thousand": columns([1000.0] * 8, 300.0),
    "other units": columns(np.linspace(-1e4, 1e4, 12), np.logspace(-2, 3, 12)),
    "an offset": columns([20.0] * 8, 1.0),
    "two years among others": columns([2020.0] * 2 + [0.0] * 10, 1.0),
    "tiny": columns([0.0] * 8, 1e-4),
    "huge": columns([0.0] * 8, 1e6),
    "bytes": DATA["bytes"],
}
NEAR = {
    "standard normal": columns([0.0] * 8, 1.0),
    "up to 9 deviations from 0": columns(np.linspace(-9, 9, 8), 1.0),
    "units of 0.04 to 25": columns([0.0] * 12, np.logspace(np.log10(0.04), np.log10(25), 12)),
    "a year among others": columns([2020.0] + [0.0] * 11, 1.0),
    "constant cells": columns([1e6, 1e6, 1e6, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0]),
    "constant": columns([1e6] * 4, 0.0),
    "white pictures, seldom anything on them": columns([0.95] * 6 + [0.0] * 6, [1e-3] * 4 + [0.5] * 8),
    "one row": from_arrays(np.full((1, 4), 1e6), validation=0, test=0),
}


@pytest.mark.parametrize("name", sorted(REAL))
@pytest.mark.parametrize("data", FAR_OFF)
def test_data_far_from_unit_scale_are_told_of_the_option_where_there_is_one(data: str, name: str) -> None:
    assert "--set likelihood.standardize=true" in advice(FAR_OFF[data], name)
    assert advice(FAR_OFF[data], name, standardize=True) is None
    (layer,) = re.findall(r"--set (\S+)", advice(FAR_OFF[data], name))
    assert resolve({"likelihood": name}, parse_assignment(layer)).likelihood.options["standardize"] is True


def test_those_with_a_location_can_standardise() -> None:
    assert set(STANDARDIZING) == REAL | {"log-normal"}


@pytest.mark.parametrize("data", NEAR)
def test_data_near_unit_scale_are_told_of_nothing(data: str) -> None:
    assert advice(NEAR[data]) is None


@pytest.mark.parametrize("margin", [0.0, 1e-6])
def test_grey_values_are_told_of_nothing_however_little_they_vary(margin: float) -> None:
    grey = columns([0.5] * 8, 1e-3)
    outside = Dataset(
        grey.name, replace(grey.train, raw=grey.train.raw * 2 + margin), *list(grey.splits.values())[1:]
    )
    assert advice(grey) is None
    assert advice(outside) is not None


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_grey_data_are_told_of_anything_whatever_is_done_with_them(
    data: str, options: dict[str, Any]
) -> None:
    with contextlib.suppress(PyrovaeError):
        taken = prepared(data, "gaussian", options, standardize=False)
        low, high = taken.dataset.range()
        told = any("standardize" in note for note in taken.notes)
        assert told == (data in ("bytes", "large counts"))
        assert not (told and 0 <= low <= high <= 1)


def test_a_likelihood_without_the_option_says_nothing() -> None:
    positive = columns([1e4] * 8, 1.0)
    assert advice(positive, "log-normal") is None
    assert advice(positive, "gaussian") is not None


def test_what_is_said_is_what_was_seen() -> None:
    far = columns([20.0] * 3 + [0.0] * 7, [1.0] * 10)
    assert "deviation of a cell is 1, and 3 of 10 cells that vary have means of more than 10" in advice(far)
    with_constants = columns([20.0] * 3 + [0.0] * 7 + [7.0] * 5, [1.0] * 10 + [0.0] * 5)
    assert advice(with_constants) == advice(far)


def test_many_rows_are_judged_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = advice(FAR_OFF["a thousand"])
    monkeypatch.setattr(preparation, "CELLS_TO_JUDGE", 800)
    some = advice(FAR_OFF["a thousand"])
    assert "8 of 8 cells" not in everything
    assert some is not None
    assert some != everything
    assert advice(NEAR["standard normal"]) is None


def test_judging_noisy_data_draws_nothing_from_the_global_generator(untouched: None) -> None:
    assert advice(DATA["large counts"], "gaussian", {"dequantize": True}) == advice(
        DATA["large counts"], "gaussian", {"dequantize": True}
    )
    assert advice(DATA["large counts"], "gaussian", {"dequantize": True}) is not None


class Mine(Gaussian):
    """A likelihood of the user's own, which has the option."""


def test_a_likelihood_of_the_users_own_is_asked_for_the_option_too() -> None:
    dataset = FAR_OFF["a thousand"]
    shape = Size(dataset.event_shape)
    assert "standardize=true" in prepare(dataset, Data(), Mine(shape, standardize=False)).notes[-1]
    assert prepare(dataset, Data(), Mine(shape, standardize=True)).notes == ()


# What is refused


@pytest.mark.parametrize("data", ["digits", "bits"])
@pytest.mark.parametrize("options", [{"dequantize": True}, {"squeeze": 0.1}], ids=str)
def test_bits_are_not_dequantised_or_squeezed_for_bernoulli(data: str, options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"leave out data\.dequantize and data\.squeeze"):
        prepared(data, "bernoulli", options)


def test_fractions_are_not_dequantised() -> None:
    with pytest.raises(
        DataError, match=r"Only whole numbers .* holds fractions from 0 to 1: .*data\.divisor"
    ):
        prepared("grey fractions", "gaussian", {"dequantize": True})


def test_values_outside_the_unit_interval_are_not_squeezed() -> None:
    with pytest.raises(DataError, match=r"between 0 and 1 can be squeezed, .* set data\.divisor"):
        prepared("counts", "beta", {"squeeze": 0.1})


GREY = {"bernoulli", "continuous-bernoulli"}
COUNTS = {"poisson", "multinomial", "negative-binomial", "zero-inflated-negative-binomial"}
LEVELS = {"categorical", "discretized-logistic", "discretized-logistic-mixture"}
INSIDE = {"beta", "continuous-bernoulli", "log-normal"}


@pytest.mark.parametrize(
    ("data", "name", "options", "range_", "likelihoods", "remedies"),
    [
        ("digits", "beta", {}, "0 to 1", GREY | REAL, "; data.squeeze = 0.001; data.dequantize = true"),
        ("digits", "categorical", {}, "0 to 1", GREY | REAL, "; likelihood.categories = 17"),
        ("digits", "poisson", {}, "0 to 1", GREY | REAL, "; data.divisor = 1"),
        (
            "bytes",
            "bernoulli",
            {"binarize": "none"},
            "0 to 255",
            REAL | COUNTS,
            "; data.divisor = 255 with data.binarize = auto",
        ),
        (
            "counts",
            "discretized-logistic",
            {},
            "0 to 19",
            REAL | COUNTS,
            "; data.divisor = 19 with likelihood.levels = 20",
        ),
        (
            "positive numbers",
            "continuous-bernoulli",
            {},
            "0.1 to 5.75",
            REAL | {"log-normal"},
            "; data.divisor = 6",
        ),
        (
            "digits",
            "poisson",
            {"dequantize": True},
            "0 to 1",
            REAL | INSIDE,
            "; data.divisor = 1 with data.dequantize = false",
        ),
        ("real numbers", "poisson", {}, "-0.5 to 0.5", REAL, ""),
        ("digits", "poisson", {"dequantize": True, "squeeze": 0.25}, "0.25 to 0.75", REAL | INSIDE, ""),
        (
            "grey values",
            "log-normal",
            {"binarize": "static"},
            "0 to 1",
            GREY | REAL | COUNTS | LEVELS,
            "; data.binarize = auto with data.squeeze = 0.001; "
            "data.binarize = auto with data.dequantize = true",
        ),
    ],
)
def test_a_refusal_names_set_range_and_what_fits(
    data: str, name: str, options: dict[str, Any], range_: str, likelihoods: set[str], remedies: str
) -> None:
    message = refusal(data, name, options)
    support = supports.in_words(likelihood(name, DATA[data]).support)
    takes = f"{name!r} takes values in {support}; {DATA[data].name} has values from {range_}. "
    assert message.startswith(f"{takes}What fits: likelihood = ")
    listed, semicolon, rest = message.removeprefix(f"{takes}What fits: likelihood = ").partition("; ")
    assert set(listed.split(", ")) >= likelihoods
    assert semicolon + rest == remedies


def test_the_levels_of_a_likelihood_are_those_that_it_was_made_with() -> None:
    assert prepared("digits", "categorical", categories=17).is_likelihood
    assert "the 16 levels" in refusal("digits", "categorical", categories=16)
    message = refusal("grey values", "categorical", categories=17)
    assert message.endswith("; likelihood.categories = 256")
    assert "categorical," not in message


@pytest.mark.parametrize(
    ("data", "chosen", "remedies"),
    [
        ("counts", {}, ["likelihood.grid = integers"]),
        ("counts", {"categories": 12, "grid": "integers"}, ["likelihood.categories = 20"]),
        ("counts", {"categories": 12}, ["data.divisor = 19 with likelihood.categories = 20"]),
        ("large counts", {}, []),  # more than can be chosen
    ],
)
def test_categories_are_said_to_fit_as_integers_and_in_numbers_that_can_be_chosen(
    data: str, chosen: dict[str, Any], remedies: list[str]
) -> None:
    listed = refusal(data, "categorical", **chosen).partition("What fits: ")[2].split("; ")
    assert listed[1:] == remedies


def test_the_ends_of_noise_are_refused_however_rare_they_are() -> None:
    dataset = from_arrays(np.array([[0, 1], [1, 0]]), validation=0, test=0)
    three = likelihood("categorical", dataset, categories=3)
    with pytest.raises(ConfigError):  # 0, 1/2 and 1 are the ends of what a bit becomes
        prepare(dataset, Data(dequantize=True), three)
    assert prepare(dataset, Data(dequantize=True), likelihood("beta", dataset)).is_likelihood


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_single_value_in_any_split_is_refused(split: str) -> None:
    data = DATA["bits"]
    one = data.splits[split].raw.clone()
    one[-1, -1] = 2
    splits = {**data.splits, split: replace(data.splits[split], raw=one)}
    with pytest.raises(ConfigError, match=r"'bernoulli' takes values in \{0, 1\}; array .* from 0 to 2"):
        prepare(Dataset("array", *splits.values()), Data(), likelihood("bernoulli", data))


# The options themselves, and the ways to them


@pytest.mark.parametrize("value", [0.0, 1e-7, 0.5, -0.1, True, "much"])
def test_a_squeeze_that_leaves_nothing_or_changes_nothing_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.squeeze: .* a number >= 1e-06 and < 0\.5"):
        resolve({"data": {"squeeze": value}})


def test_data_stay_as_they_are_unless_told_otherwise() -> None:
    options = resolve().data
    assert (options.dequantize, options.squeeze) == (False, None)


def test_a_run_trains_on_new_noise_and_evaluates_on_noise_drawn_once(tmp_path: Path) -> None:
    config = resolve(
        {"likelihood": "beta", "network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2},
        {"data": {"dequantize": True, "squeeze": 0.01, "limit": 100}, "train": {"epochs": 1}},
    )
    run = Run.start(config, path=tmp_path / "run")
    assert run.prepared is not None
    train = run.prepared.dataset.train
    assert not torch.equal(train.rows(slice(None)), train.rows(slice(None)))
    assert all(np.isfinite(metrics["train_elbo"]) for metrics in run.train())
    for split in ("train", "validation", "test"):
        rows, is_likelihood = Run.load(tmp_path / "run").evaluation_rows(split)
        assert is_likelihood
        assert torch.equal(rows.rows(slice(None)), rows.rows(slice(None)))
        stored = load_data(config.data).splits[split].raw
        unsqueezed = (rows.rows(slice(None)).double() - 0.01) / 0.98
        assert torch.equal((17 * unsqueezed).floor(), stored.double())


def in_units(X: Any) -> Any:
    """The same columns in units and from origins of their own; powers of 2, which lose few digits."""
    size = X[0].size
    unit = 2.0 ** (np.arange(size) % 9 - 4)
    return (
        ((X.reshape(len(X), size) + 100 * (np.arange(size) % 3)) * unit).reshape(X.shape).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        *((name, {}) for name in sorted(REAL)),
        ("gaussian", {"prior": "vamp"}),
        ("gaussian", {"network": "conv"}),
    ],
    ids=str,
)
def test_standardised_training_is_the_same_in_all_units_and_kept_with_the_weights(
    name: str, parts: dict[str, Any], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((60, 1, 8, 8)) + 2 * random.standard_normal((60, 1, 1, 1))
    X = X.astype(np.float32)
    settings = {"network": {"name": "mlp", "hidden": [16]}, "latent_dim": 2, "verbose": False, **parts}
    with_option = {"name": name, "standardize": True}
    one = VAE(likelihood=with_option, epochs=2, **settings).fit(X)
    two = VAE(likelihood=with_option, epochs=2, **settings).fit(in_units(X))
    jacobian = np.log(2.0 ** (np.arange(64) % 9 - 4)).sum()
    assert abs(jacobian) > 1
    assert two.history[-1]["train_elbo"] == pytest.approx(one.history[-1]["train_elbo"] - jacobian, abs=0.02)
    scores = two.score_samples(in_units(X), particles=10)
    assert scores == pytest.approx(one.score_samples(X, particles=10) - jacobian, abs=0.05)
    assert two.transform(in_units(X)) == pytest.approx(one.transform(X), abs=1e-3)
    for mine, other in (
        (two.reconstruct(in_units(X)), one.reconstruct(X)),
        (two.sample(20), one.sample(20)),
    ):
        assert mine == pytest.approx(in_units(other), abs=0.05)

    two.save(tmp_path / "run")
    loaded = VAE.load(tmp_path / "run", verbose=False)
    assert np.array_equal(loaded.score_samples(in_units(X), particles=10), scores)
    assert np.array_equal(loaded.sample(5), two.sample(5))
    longer = VAE(likelihood=with_option, epochs=3, **settings).fit(in_units(X))
    assert loaded.resume(in_units(X), epochs=3).history[-1]["train_loss"] == longer.history[-1]["train_loss"]


def test_data_are_divided_before_they_are_standardised() -> None:
    X = 1000 + 300 * np.random.default_rng(0).standard_normal((50, 4))
    likelihood = {"name": "gaussian", "standardize": True}
    vae = VAE(likelihood=likelihood, latent_dim=2, epochs=1, data={"divisor": 100.0}, verbose=False).fit(X)
    kept: Any = vae.program_.likelihood
    train = vae.run.prepared.dataset.train.raw.numpy() / 100  # type: ignore[union-attr]
    assert kept.cell_mean.numpy() == pytest.approx(train.mean(0), rel=1e-5)
    assert kept.cell_deviation.numpy() == pytest.approx(train.std(0), rel=1e-5)
    assert vae.reconstruct(X).mean() == pytest.approx(10, abs=3)


def test_a_vae_in_python_dequantises_and_squeezes_arrays() -> None:
    X = whole(16)
    vae = VAE(
        likelihood="beta",
        latent_dim=2,
        epochs=20,
        data={"validation": 0.0, "divisor": 16.0, "dequantize": True, "squeeze": 0.01},
        verbose=False,
    ).fit(X)
    assert np.array_equal(vae.transform(X), vae.transform(X))
    assert vae.transform(X[:3]) == pytest.approx(vae.transform(X)[:3], abs=1e-5)
    assert np.isfinite(vae.score_samples(X, particles=5)).all()
