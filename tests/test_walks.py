"""Codes decoded and walked through: on every support, for every prior, as tensors, figures and commands."""

from __future__ import annotations

import copy
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from accelerator import pretended
from conftest import Build
from members import MEMBERS, Case
from numpy.testing import assert_allclose
from PIL import Image
from test_cli import call, succeed
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.testing import assert_close

from pyrovae import codes, generate, pairing, paths, plots, supports, walks
from pyrovae.assembly import build
from pyrovae.config import resolve
from pyrovae.data import Split, load
from pyrovae.diagnostics import Subject
from pyrovae.diagnostics.active_units import ActiveUnits
from pyrovae.errors import DataError
from pyrovae.programs import Program

PRIORS = [case for case in MEMBERS if case.family == "prior"]
POSTERIORS = sorted(
    (case for case in MEMBERS if case.family == "posterior"), key=lambda case: case.name != "normal"
)
PAIRS = [
    (prior, next(other for other in POSTERIORS if pairing.misfit(prior.member, other.member) is None))
    for prior in PRIORS
] + [
    (prior, posterior)
    for prior in PRIORS
    for posterior in POSTERIORS
    if posterior.member.one_site_per_variable and pairing.misfit(prior.member, posterior.member) is None
]
FEW = 300


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantiles of few draws are quantiles, and take less time."""
    monkeypatch.setattr(walks, "PRIOR_DRAWS", FEW)


def made(prior: Case, posterior: Case, latent_dim: int = 3) -> Program:
    parts = {"prior": prior.name, "posterior": posterior.name, "likelihood": "bernoulli"}
    small = {"latent_dim": latent_dim, "network": {"name": "mlp", "hidden": [8]}, **parts}
    return shaken(build(resolve(small), Size([1, 4, 4])))


def shaken(program: Program) -> Program:
    """With weights that are far from where they start, so that codes differ."""
    with torch.no_grad():
        for parameter in program.parameters():
            parameter += torch.randn_like(parameter)
    return program


def data(n: int = 6) -> Tensor:
    return torch.rand(n, 1, 4, 4).round()


each_pair = pytest.mark.parametrize(
    ("prior", "posterior"), PAIRS, ids=[f"{prior.name}-{posterior.name}" for prior, posterior in PAIRS]
)


class TwoSites(Program):
    """A one-hot and a real variable, which the guide draws in the other order."""

    def __init__(self, event_shape: Size = Size([5])) -> None:
        super().__init__(event_shape)
        self.weight = nn.Parameter(torch.randn(5, 5))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            kind = pyro.sample("kind", dist.OneHotCategorical(torch.ones(3)))
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = torch.cat((*torch.broadcast_tensors(kind[..., :2], z), kind[..., 2:]), -1) @ self.weight
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(7 + x[:, :2], 0.1).to_event(1))
            pyro.sample("kind", dist.OneHotCategorical(logits=3 * x[:, 2:]))


# Codes -----------------------------------------------------------------------------------------------------


@each_pair
def test_codes_of_draws_decode_to_the_expected_data_of_these_draws(prior: Case, posterior: Case) -> None:
    program = made(prior, posterior)
    drawn = generate.sample(program, 5, seed=3)
    decoded = codes.decode(program, drawn.z)
    assert torch.equal(decoded.mean, drawn.mean)
    assert torch.equal(decoded.z, drawn.z)
    assert decoded.x.shape == drawn.x.shape
    assert torch.equal(codes.drawn(program, 5, seed=3), drawn.z)


@each_pair
def test_the_layout_says_what_the_numbers_of_a_code_are(prior: Case, posterior: Case) -> None:
    program = made(prior, posterior)
    z = generate.sample(program, 5).z
    latents = codes.layout(program)
    assert torch.equal(torch.cat([latent.parts(z).flatten(1) for latent in latents], 1), z)
    for latent in latents:
        value = z[:, latent.columns].reshape(5, *latent.event_shape)
        assert supports.contains(latent.support, value)
        assert supports.contains(
            latent.element, latent.parts(z).squeeze(-1) if latent.width == 1 else latent.parts(z)
        )
    named = [name for latent in latents for name in latent.units]
    assert named == [
        unit.key for unit in ActiveUnits(each=True)(Subject(program, Split(data()))).quantities[1:]
    ]


def test_draws_of_data_from_codes_are_a_function_of_the_seed_and_of_their_place(make: Build) -> None:
    program = make()
    z = torch.randn(9, 2)
    one, other = codes.decode(program, z), codes.decode(program, z, seed=1)
    assert torch.equal(one.x[:4], codes.decode(program, z[:4]).x)
    assert not torch.equal(one.x, other.x)
    assert torch.equal(one.mean, other.mean)


def test_many_codes_are_decoded_in_parts(make: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make()
    z = torch.randn(9, 2)
    whole = codes.decode(program, z)
    monkeypatch.setattr(codes, "CELLS_AT_ONCE", 4 * 6)
    parts = codes.decode(program, z)
    assert torch.equal(whole.x, parts.x)
    assert_allclose(whole.mean, parts.mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (2,), (0, 2), (4, 2, 1)])
def test_codes_of_another_width_are_refused_in_a_sentence(make: Build, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"it must be \(n, 2\), the numbers of a code being 2 of z$"):
        codes.decode(make(), torch.zeros(shape))


def test_means_of_codes_stand_in_the_order_of_the_model() -> None:
    program = TwoSites()
    x = torch.tensor([[1.0, 2.0, 0.0, 40.0, 0.0]])
    assert generate.order(program) == ["kind", "z"]
    assert_allclose(generate.encode(program, [x])[0], [0, 1, 0, 8, 9])
    assert_allclose(walks.located(program, x)[0], [0, 1, 0, 8, 9])


# Sets ------------------------------------------------------------------------------------------------------


CIRCLE = paths.of(supports.sphere)
SIMPLEX = paths.of(supports.simplex)


def test_great_circles_are_walked_through_at_a_steady_pace() -> None:
    start, end = nn.functional.normalize(torch.randn(2, 4), dim=-1)
    way = CIRCLE.between(start, end, torch.linspace(0, 1, 7)[:, None])
    angles = [math.acos(min(1.0, float(one @ other))) for one, other in pairwise(way)]
    assert_allclose(way.norm(dim=-1), 1, rtol=1e-6)
    assert_allclose(angles, math.acos(float(start @ end)) / 6, rtol=1e-3)
    assert_allclose(way[[0, -1]], torch.stack([start, end]), atol=1e-6)


@pytest.mark.parametrize("dimension", [2, 3, 20])
def test_opposite_points_are_joined_over_the_sphere(dimension: int) -> None:
    start = nn.functional.normalize(torch.randn(dimension), dim=-1)
    way = CIRCLE.between(start, -start, torch.linspace(0, 1, 5)[:, None])
    assert_allclose(way.norm(dim=-1), 1, rtol=1e-5)
    assert_allclose(way @ start, [1, 0.5**0.5, 0, -(0.5**0.5), -1], atol=2e-4)
    assert_allclose(CIRCLE.between(start, start, torch.tensor([0.5])), start, rtol=1e-6)


@pytest.mark.parametrize(("power", "found"), [(2, CIRCLE), (1, SIMPLEX)], ids=["sphere", "simplex"])
def test_a_walk_on_a_curved_set_moves_one_number_and_keeps_the_ratios_of_the_others(
    power: int, found: paths.Paths
) -> None:
    draws = nn.functional.normalize(torch.rand(500, 3), p=power, dim=-1)
    base = draws[0]
    for j, walk in enumerate(found.along(draws, base, [0.0, 0.5, 1.0])):
        assert_allclose(walk.points.abs().pow(power).sum(-1), 1, rtol=1e-5)
        assert_allclose(walk.points[:, j], draws[:, j].quantile(torch.tensor([0.0, 0.5, 1.0])), rtol=1e-6)
        others = [k for k in range(3) if k != j]
        assert_allclose(
            walk.points[:, others[0]] / walk.points[:, others[1]],
            base[others[0]] / base[others[1]],
            rtol=1e-4,
        )


def test_a_walk_that_starts_on_its_own_axis_goes_on_between_the_others() -> None:
    draws = nn.functional.normalize(torch.rand(500, 3), p=1, dim=-1)
    first, *_ = SIMPLEX.along(draws, torch.tensor([1.0, 0.0, 0.0]), [0.5])
    assert_allclose(first.points[0, 1:], (1 - first.values[0]).expand(2) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("support", "mean", "nearest"),
    [
        (constraints.real, [0.3], [0.3]),
        (constraints.boolean, [0.7], [1.0]),
        (constraints.nonnegative_integer, [3.2], [3.0]),
        (constraints.one_hot, [0.2, 0.5, 0.3], [0.0, 1.0, 0.0]),
        (supports.sphere, [0.3, 0.4], [0.6, 0.8]),
        (supports.simplex, [0.3, 0.6], [1 / 3, 2 / 3]),
    ],
    ids=str,
)
def test_a_mean_that_is_no_code_gives_way_to_the_nearest_one(
    support: Any, mean: list[float], nearest: list[float]
) -> None:
    assert_allclose(paths.of(support).nearest(torch.tensor(mean)), nearest, rtol=1e-6)


def test_a_set_without_paths_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match=r"codes on LowerCholesky.* cannot be walked through"):
        paths.of(constraints.lower_cholesky)


# Between two data ------------------------------------------------------------------------------------------


@each_pair
def test_every_step_is_a_code_that_the_prior_may_draw(prior: Case, posterior: Case) -> None:
    program, x = made(prior, posterior), data()
    way = walks.interpolate(program, x[0], x[1], 7)
    assert_allclose(way.z[[0, -1]], walks.located(program, x[:2]), atol=1e-6)
    assert_allclose(way.mean, codes.decode(program, way.z).mean)
    walked = walks.traverse(program, Split(x), at=x[0], steps=4)
    in_the_middle = walks.traverse(program, Split(x), steps=4)
    for latent in codes.layout(program):
        for z in (way.z, *(walk.z for walk in (*walked, *in_the_middle))):
            assert supports.contains(latent.support, z[:, latent.columns].reshape(-1, *latent.event_shape))


def test_real_codes_are_joined_by_a_straight_line(make: Build) -> None:
    program, x = make(), torch.randn(2, 6)
    way = walks.interpolate(program, *x, 5)
    one, other = generate.encode(program, [x])
    assert_allclose(way.z[1], 0.75 * one + 0.25 * other, rtol=1e-5)
    assert_allclose(way.share, [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("posterior", ["bernoulli", "relaxed-bernoulli"])
def test_discrete_variables_switch_one_after_another(posterior: str) -> None:
    program = made(Case("prior", "bernoulli", {}), Case("posterior", posterior, {}), latent_dim=6)
    x = data(20)
    ends = walks.located(program, x)
    last = max(range(20), key=lambda i: float((ends[i] != ends[0]).sum()))
    m = int((ends[last] != ends[0]).sum())
    assert m > 1
    way = walks.interpolate(program, x[0], x[last], 20 * m + 2)
    switched = (way.z != way.z[0]).sum(1)
    assert switched.tolist() == sorted(switched.tolist())
    assert torch.equal(switched, (way.share * m + 0.5).floor().long())  # each at the middle of its m-th part
    assert [j for j in range(6) if ends[0, j] != ends[last, j]] == list(
        dict.fromkeys(int((one != other).nonzero()) for one, other in pairwise(way.z) if (one != other).any())
    )


def test_discrete_variables_of_several_sites_switch_beside_others_that_move() -> None:
    program = TwoSites()
    x = torch.tensor([[0.0, 0, 40, 0, 0], [2.0, 2, 0, 0, 40]])
    way = walks.interpolate(program, *x, 4).z
    assert_allclose(way[:, :3], torch.eye(3)[[0, 0, 2, 2]])
    assert_allclose(way[:, 3], [7, 7 + 2 / 3, 7 + 4 / 3, 9], rtol=1e-6)


# One variable at a time ------------------------------------------------------------------------------------


def weighing(make: Build, *weights: float) -> Any:
    """A program of which E_q[z_j] is the sum of a datum's cells times the j-th weight."""
    program = make(network="linear", latent_dim=len(weights))
    with torch.no_grad():
        for parameter in program.network.encoder.parameters():
            parameter[: len(weights)] = 0
            if parameter.dim() > 1:
                parameter[: len(weights)] = torch.tensor(weights)[:, None]
    return program


def test_variables_stand_in_the_order_of_their_variance_and_dead_ones_are_marked(make: Build) -> None:
    program, rows = weighing(make, 0, 1), Split(torch.randn(50, 6))
    first, second = walks.traverse(program, rows, at=rows.rows(slice(1))[0])
    variances = generate.encode(program, rows.batches()).var(0)
    assert [(walk.name, walk.number, walk.active) for walk in (first, second)] == [
        ("z[1]", 1, True),
        ("z[0]", 0, False),
    ]
    assert_allclose([second.variance, first.variance], variances, rtol=1e-4, atol=1e-9)
    assert walks.traverse(program, rows, latents=1)[0].name == "z[1]"


def test_a_variable_goes_through_the_quantiles_of_the_prior_while_the_others_stay(make: Build) -> None:
    program, rows = make(), Split(torch.randn(9, 6))
    at = rows.rows(slice(1))[0]
    (base,) = generate.encode(program, [at[None]])
    for walk in walks.traverse(program, rows, at=at, steps=5):
        j = walk.number
        assert walk.labels == ["1%", "25%", "50%", "75%", "99%"]
        levels = torch.tensor([0.01, 0.25, 0.5, 0.75, 0.99])
        assert torch.equal(walk.value, codes.drawn(program, FEW)[:, j].quantile(levels))
        error = (levels * (1 - levels) / FEW).sqrt() / dist.Normal(0, 1).log_prob(
            torch.special.ndtri(levels)
        ).exp()
        assert ((walk.value - torch.special.ndtri(levels)).abs() < 4 * error).all()
        assert torch.equal(walk.z[:, j], walk.value)
        assert_allclose(walk.z[:, 1 - j], base[1 - j].expand(5), rtol=1e-5)
        assert_allclose(walk.mean, codes.decode(program, walk.z).mean)


def test_the_middle_of_the_prior_is_the_median_of_its_draws(make: Build) -> None:
    walk, *_ = walks.traverse(make(), Split(torch.randn(9, 6)))
    other = 1 - walk.number
    assert_allclose(walk.z[:, other], codes.drawn(make(), FEW)[:, other].median().expand(11))


def test_one_hot_variables_go_through_their_categories(make: Build) -> None:
    program = make(prior={"name": "categorical", "categories": 4}, posterior="gumbel-softmax", latent_dim=3)
    walked = walks.traverse(program, Split(torch.randn(9, 6)), at=torch.randn(6))
    assert sorted(walk.name for walk in walked) == ["z[0]", "z[1]", "z[2]"]
    for walk in walked:
        z = walk.z.reshape(4, 3, 4)
        assert (walk.labels, walk.unit) == (["0", "1", "2", "3"], "category")
        assert torch.equal(z[:, walk.number], torch.eye(4))
        others = [j for j in range(3) if j != walk.number]
        assert torch.equal(z[:, others], z[:1, others].expand(4, 2, 4))


def test_variables_of_several_sites_have_walks_of_their_own() -> None:
    walked = walks.traverse(TwoSites(), Split(torch.randn(9, 5)), steps=5)
    assert {walk.name: len(walk.labels) for walk in walked} == {"kind": 3, "z[0]": 5, "z[1]": 5}
    figure = plots.traversal([walk._replace(mean=torch.rand(len(walk.z), 4, 4)) for walk in walked])
    assert [axis.get_xlabel() for axis in figure.axes] in (
        ["category", "quantile of the prior"],
        ["quantile of the prior", "category"],
        ["quantile of the prior", "category", "quantile of the prior"],
    )


def test_a_single_row_has_no_variance(make: Build) -> None:
    with pytest.raises(DataError, match=r"which latent variables are used is not known: .* two rows"):
        walks.traverse(make(), Split(torch.randn(1, 6)))


# Planes ----------------------------------------------------------------------------------------------------


def test_a_plane_moves_the_first_variable_along_and_the_second_across(make: Build) -> None:
    program = make()
    found = walks.plane(program, Split(torch.randn(1, 6)), steps=4, limits=(-3, 3))
    assert found.names == ("z[0]", "z[1]")
    assert_allclose(found.first, [-3, -1, 1, 3])
    assert torch.equal(found.z[2, :, 0], found.first)
    assert torch.equal(found.z[:, 3, 1], found.second)
    assert_allclose(
        found.mean[2, 1], codes.decode(program, found.z[2, 1][None]).mean[0], rtol=1e-5, atol=1e-6
    )


def test_of_many_variables_the_two_most_active_ones_make_the_plane(make: Build) -> None:
    program, rows = weighing(make, 0.1, 1, 0, 2), Split(torch.randn(20, 6))
    at = rows.rows(slice(1))[0]
    found = walks.plane(program, rows, at=at, steps=3)
    assert found.names == ("z[1]", "z[3]")
    (base,) = generate.encode(program, [at[None]])
    assert_allclose(found.z[..., [0, 2]], base[[0, 2]].expand(3, 3, 2), rtol=1e-5)
    assert torch.equal(found.z[2, :, 1], found.first)
    assert torch.equal(found.z[:, 2, 3], found.second)


def test_categories_make_a_plane(make: Build) -> None:
    program = make(prior={"name": "categorical", "categories": 4}, posterior="categorical")
    found = walks.plane(program, Split(torch.randn(9, 6)))
    assert found.names == ("z_0", "z_1")
    assert found.units == ("category", "category")
    assert torch.equal(found.z[1, 2], torch.tensor([0.0, 0, 1, 0, 0, 1, 0, 0]))


@pytest.mark.parametrize(
    ("prior", "posterior", "latent_dim", "limits", "message"),
    [
        ("normal", "normal", 1, None, "there is one: 'pyrovae traverse' walks along it"),
        ("sphere", "power-sphere", 3, None, "two entries of one vector on the unit sphere, where one cannot"),
        ("dirichlet", "logistic-normal", 3, None, "two entries of one vector on the simplex"),
        ("bernoulli", "relaxed-bernoulli", 2, (0, 1), r"z\[0\] cannot go from 0 to 1: it lives on \{0, 1\}"),
        ("uniform", "logit-normal", 2, (-1, 1), r"z\[0\] cannot go from -1 to 1: it lives on \[0, 1\]"),
    ],
)
def test_what_is_no_plane_is_refused_with_the_reason(
    make: Build, prior: str, posterior: str, latent_dim: int, limits: Any, message: str
) -> None:
    program = make(prior=prior, posterior=posterior, latent_dim=latent_dim)
    with pytest.raises(DataError, match=message):
        walks.plane(program, Split(torch.randn(9, 6)), limits=limits)


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [
        ("normal", "normal"),
        ("sphere", "power-sphere"),
        ("dirichlet", "logistic-normal"),
        ("uniform", "logit-normal"),
        ("categorical", "categorical"),
        ("bernoulli", "relaxed-bernoulli"),
    ],
)
def test_walks_are_the_same_on_every_device(prior: str, posterior: str) -> None:
    program, x = made(Case("prior", prior, {}), Case("posterior", posterior, {})), data()
    with pretended(draws=True) as accelerator:
        there, far = copy.deepcopy(program).to(accelerator), x.to(accelerator)
        way = walks.interpolate(there, far[0], far[1], 3)
        walked = walks.traverse(there, Split(far), at=far[0], steps=3)
        in_the_middle = walks.traverse(there, Split(far), steps=3)
    assert_close(way, walks.interpolate(program, x[0], x[1], 3), rtol=1e-4, atol=1e-4)
    for one, at in ((walked, x[0]), (in_the_middle, None)):
        for found, expected in zip(one, walks.traverse(program, Split(x), at=at, steps=3), strict=True):
            assert found.name == expected.name
            assert_close(found.mean, expected.mean, rtol=1e-4, atol=1e-4)
            assert_close(found.value, expected.value, rtol=1e-4, atol=1e-4)


# Figures ---------------------------------------------------------------------------------------------------


PICTURES = np.random.default_rng(0).random((9, 3, 4))
TABLE = PICTURES.reshape(9, 12) * np.arange(1, 13)


def labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


def test_a_strip_has_the_data_at_its_ends_and_the_way_between() -> None:
    figure = plots.interpolation(PICTURES[:2], PICTURES[2:7], names=("one", "other"))
    start, way, end = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["one", "E[x|z]", "other"]
    assert_allclose(start.images[0].get_array(), PICTURES[0])
    assert_allclose(end.images[0].get_array(), PICTURES[1])
    assert_allclose(way.images[0].get_array()[:, 5:9], PICTURES[3])
    assert labels(way) == ["0", "25", "50", "75", "100"]


def test_a_strip_of_a_table_is_a_heat_map_of_cells_that_can_be_compared() -> None:
    figure = plots.interpolation(TABLE[:2], TABLE[2:], names=("one", "other"))
    start, way, end, bar = figure.axes
    shown = np.concatenate([axis.images[0].get_array() for axis in (start, way, end)], axis=1)
    assert_allclose(shown.mean(1), 0, atol=1e-9)
    assert_allclose(shown.std(1), 1)
    assert way.images[0].get_array().shape == (12, 7)
    assert "standard deviations" in bar.get_ylabel()


@pytest.mark.parametrize("values", [PICTURES, TABLE], ids=["pictures", "table"])
def test_a_film_goes_there_and_back(
    values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.plots.walks.RESTING", 1)
    file = tmp_path / "film.gif"
    plots.interpolation_film(values[:2], values[2:5], names=("one", "other")).save(
        file, writer="pillow", dpi=40
    )
    with Image.open(file) as film:
        frames = []
        for frame in range(film.n_frames):
            film.seek(frame)
            frames.append(np.asarray(film.convert("RGB"), dtype=float))
    assert len(frames) == 5  # Pillow joins frames that are alike
    assert_allclose(frames[1], frames[3])
    assert_allclose(frames[0], frames[4])
    assert not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[1], frames[2])


def walk(name: str, mean: np.ndarray, *, active: bool = True) -> walks.Traversal:
    steps = torch.arange(float(len(mean)))
    percent = [f"{10 * k}%" for k in range(len(mean))]
    return walks.Traversal(0, name, 0.123, active, percent, "quantile", steps, steps, torch.as_tensor(mean))


def test_a_traversal_has_a_labelled_row_for_each_variable() -> None:
    figure = plots.traversal([walk("z[4]", PICTURES[:4]), walk("z[0]", PICTURES[4:8], active=False)])
    (axis,) = figure.axes
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert rows == ["z[4]\n0.12", "z[0]\n0.12\ninactive"]
    assert labels(axis) == ["0%", "10%", "20%", "30%"]
    assert_allclose(axis.images[0].get_array()[4:7, 5:9], PICTURES[5])
    assert axis.get_yticks()[0] < axis.get_yticks()[1] < axis.images[0].get_array().shape[0]


def test_a_traversal_of_a_table_has_a_heat_map_for_each_variable() -> None:
    figure = plots.traversal([walk("z[4]", TABLE[:4]), walk("z[0]", TABLE[4:8], active=False)])
    first, second, _ = figure.axes
    assert first.get_title() == "z[4], variance 0.12"
    assert second.get_title() == "z[0], variance 0.12, inactive"
    assert first.images[0].get_array().shape == (12, 4)


def a_plane(mean: np.ndarray) -> walks.Plane:
    first, second = torch.tensor([-1.5, -1e-7, 1.5]), torch.tensor([-2.0, 2.0])
    names, units = ("z[0]", "z[1]"), ("value", "value")
    return walks.Plane(names, units, first, second, torch.zeros(2, 3, 2), torch.as_tensor(mean))


def test_a_plane_has_the_first_variable_to_the_right_and_the_second_upwards() -> None:
    mean = PICTURES[:6].reshape(2, 3, 3, 4)
    (axis,) = plots.plane(a_plane(mean)).axes
    shown = axis.images[0].get_array()
    assert_allclose(shown[:3, :4], mean[1, 0])
    assert_allclose(shown[-3:, -4:], mean[0, 2])
    assert labels(axis) == ["-1.50", "0.00", "1.50"]  # not -0.00
    assert [label.get_text() for label in axis.get_yticklabels()] == ["2", "-2"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("z[0]", "z[1]")


def test_a_plane_of_a_table_has_a_map_for_each_cell() -> None:
    figure = plots.plane(a_plane(TABLE[:6].reshape(2, 3, 12)))
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [f"E[x|z], cell {cell}" for cell in range(12)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2)])
def test_a_plane_without_extent_is_drawn(shape: tuple[int, int]) -> None:
    rows, columns = shape
    walked = walks.Plane(
        ("z[0]", "z[1]"),
        ("value", "value"),
        torch.full((columns,), 0.3),
        torch.full((rows,), -250.5),
        torch.zeros(*shape, 2),
        torch.rand(*shape, 3, 4),
    )
    (axis,) = plots.plane(walked).axes
    assert labels(axis) == ["0.300"] * columns
    assert {label.get_text() for label in axis.get_yticklabels()} == {"-250"}


def test_cells_of_different_size_are_shown_in_the_standard_deviations_of_each() -> None:
    table = TABLE * 10.0 ** np.arange(-4, 8)
    figure = plots.panels({"some": table[:4], "others": table[4:]})
    first, second, bar = figure.axes
    shown = np.concatenate([axis.images[0].get_array() for axis in (first, second)])
    assert_allclose(shown, (table - table.mean(0)) / table.std(0))
    assert first.images[0].get_clim() == second.images[0].get_clim() == (shown.min(), shown.max())
    assert "standard deviations\nof the cell" in bar.get_ylabel()


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        np.random.default_rng(0).poisson([0.5, 3.0, 9.0], (40, 3)),
        np.random.default_rng(0).poisson(0.3, (60, 3)),
        np.pad(TABLE, ((0, 0), (0, 1))),
        [[0, 1.0], [1, 1], [0, 0.999]],
        [[1e-3, 1e3], [2e-3, 2e3]],
    ],
    ids=["reals", "counts", "small counts", "a constant cell", "probabilities", "two values"],
)
def test_cells_that_can_be_told_on_one_scale_are_shown_as_they_are(table: Any) -> None:
    axis, bar = plots.grid(table).axes
    values = np.asarray(table)
    assert_allclose(axis.images[0].get_array(), values)
    low, high = axis.images[0].get_clim()
    assert low <= values.min() < values.max() <= high
    assert bar.get_ylabel() == "value"


@pytest.mark.parametrize("n", [1, 2, 9])
def test_rows_and_cells_have_whole_numbers(n: int) -> None:
    figure = plots.grid(TABLE[:n, :n])
    figure.draw_without_rendering()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        inside = [tick for tick in axis.get_ticklocs() if -0.5 < tick < n - 0.5]
        assert 0 in inside
        assert all(tick == round(tick) for tick in inside)


# Commands --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("walks") / "run"
    small = ("--set", "data.limit=60", "--set", "network.hidden=[8]", "--latent-dim", "3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", lambda figure, path: path.touch())
        succeed("train", *small, "--epochs", "1", "--run", path)
    return path


def archive(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return dict(arrays)


def test_interpolate_writes_a_strip_a_film_and_arrays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.cli.walking.FRAMES", 3)
    code, out, err = call("interpolate", run, "--from", "3", "--to", "row:17", "--steps", "4")
    assert code == 0, err
    files = [Path(line) for line in out.splitlines()]
    assert [file.suffix for file in files] == [".png", ".gif", ".npz"]
    first = load("digits").test.labels.tolist().index(3)
    assert {file.with_suffix("") for file in files} == {run / f"interpolation-{first}-17"}
    arrays = archive(files[2])
    assert {name: array.shape for name, array in arrays.items()} == {
        "share": (4,),
        "z": (4, 3),
        "mean": (4, 1, 8, 8),
    }


def test_traverse_and_plane_write_a_picture_and_arrays(run: Path, tmp_path: Path) -> None:
    code, out, err = call("traverse", run, "--steps", "3", "--latents", "2", "--at", "prior")
    assert code == 0, err
    arrays = archive(run / "traversal.npz")
    assert out.splitlines() == [str(run / "traversal.png"), str(run / "traversal.npz")]
    assert arrays["mean"].shape == (6, 1, 8, 8)
    assert len(set(arrays["latent"])) == 2
    assert (np.diff(arrays["variance"]) <= 0).all()
    code, out, err = call("traverse", run, "--steps", "2", "--json", "--out", tmp_path / "t")
    assert code == 0, err
    facts = json.loads(out)
    assert {latent["name"] for latent in facts["latents"]} == {"z[0]", "z[1]", "z[2]"}
    assert all(latent["active"] == (latent["variance"] > 0.01) for latent in facts["latents"])
    assert facts["files"] == [str(tmp_path / "t.png"), str(tmp_path / "t.npz")]
    at = ["--at", "8", "--split", "train", "--out", tmp_path / "p.png"]
    code, out, err = call("plane", run, "--range", "-4", "4", "--steps", "3", *at)
    assert code == 0, err
    assert out.splitlines() == [str(tmp_path / "p.png"), str(tmp_path / "p.npz")]
    assert_allclose(archive(tmp_path / "p.npz")["first"], [-4, 0, 4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--from", "12", "--to", "8"],
            "--from: no row has the label 12, but 0, 1, 2, .*, 9; row:N is row number N",
        ),
        (["--from", "3", "--to", "row:360"], "--to: there is no row:360: rows go from row:0 to row:359"),
        (["--from", "3", "--to", "row:x"], "--to: there is no row:x: .*"),
    ],
)
def test_a_datum_that_is_not_there_is_refused(run: Path, arguments: list[str], message: str) -> None:
    code, out, err = call("interpolate", run, *arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"error: {message}\n", err), err


def test_data_without_labels_are_told_by_their_row(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", np.random.default_rng(0).random((5, 1, 8, 8)).round())
    code, _, err = call("interpolate", run, "--data", tmp_path / "new.npy", "--from", "3", "--to", "row:1")
    assert code == 2
    assert err == "error: --from: the data have no labels: write row:N for row number N, from 0 on\n"


def test_a_range_goes_upwards(run: Path) -> None:
    code, _, err = call("plane", run, "--range", "4", "-4")
    assert (code, err) == (2, "error: --range: goes from a number LOW to a larger one, HIGH\n")
