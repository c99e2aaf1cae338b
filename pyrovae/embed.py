"""Trained program -> codes of data, and these in two dimensions; draws no figures and prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor

from pyrovae import codes, generate, sites
from pyrovae.data import Split
from pyrovae.errors import ConfigError, Problem
from pyrovae.evaluate import inspected, numbered
from pyrovae.isolation import isolated
from pyrovae.programs import Program, particle_plate
from pyrovae.randomness import DatumNoise, mix, seeded

AVERAGED = 100
"""How many draws a scale is estimated from where it has no closed form."""


class Embedding(NamedTuple):
    """The codes of data under q(z|x); several latent variables stand side by side."""

    names: list[str]
    """What each number of a code is called."""
    mean: Tensor
    """E_q[z], (n, code size)."""
    scale: Tensor | None = None
    """Standard deviations of z under q(z|x), (n, code size), where they were asked for."""
    draws: Tensor | None = None
    """Draws z ~ q(z|x), (n, number of draws, code size), where they were asked for."""


class Map(NamedTuple):
    """Codes of some data in two dimensions, and what they are shown beside."""

    points: Tensor
    """(n, 2)."""
    axes: tuple[str, str]
    """What the two are called."""
    rows: Tensor
    """Which of the data they are, in ascending order, (n,)."""
    labels: NDArray[Any] | None
    """The labels of these, (n,), where the data have them."""
    prior: Tensor | None
    """Draws from p(z), (m, 2), where the points are the codes themselves."""


class Flat(NamedTuple):
    """Codes in two dimensions."""

    points: Tensor
    """(n, 2)."""
    axes: tuple[str, str]
    """What the two are called."""


@isolated()
def embed(program: Program, rows: Split, *, scales: bool = False, draws: int = 0, seed: int = 0) -> Embedding:
    r"""Codes of data: :math:`\mathbb{E}_{q(z|x)}[z]`, and, where asked for, how z is spread around it.

    .. math:: s_j = \sqrt{\operatorname{Var}_{q(z|x)}[z_j]}

    Means and scales are in closed form where the posterior has one, else of 100 draws, which leave a scale
    with a relative error of about 7%.

    Args:
        program: model and guide.
        rows: the data, drawn once for all.
        scales: whether standard deviations are given.
        draws: how many draws of z for each datum are given.
        seed: of all draws; those of datum i are a function of the seed and i alone.

    Raises:
        ValueError: draws is less than zero.

    Example:
        >>> from pyrovae.data import Split
        >>> codes = embed(program, Split(x), scales=True, draws=3)
        >>> codes.mean.shape, codes.scale.shape, codes.draws.shape
        (torch.Size([16, 8]), torch.Size([16, 8]), torch.Size([16, 3, 8]))
    """
    if draws < 0:
        raise ValueError(f"draws must be at least 0, not {draws}")
    mean = generate.encode(program, rows.batches(), seed=seed, draws=AVERAGED)
    guided, scale, drawn = _Guided(program), None, None
    with inspected(program):
        if scales:
            parts = _few_at_a_time(rows, program, AVERAGED, (seed, "encode"))
            scale = torch.cat([guided.scales(*part) for part in parts])
        if draws:
            parts = _few_at_a_time(rows, program, draws, (seed, "embed"))
            drawn = torch.cat([guided.draws(*part, draws) for part in parts])
    return Embedding(codes.names(program), mean, scale, drawn)


def _few_at_a_time(
    rows: Split, program: Program, draws: int, key: tuple[int | str, ...]
) -> Iterator[tuple[Tensor, DatumNoise]]:
    """The data with their noise, so many at a time that all their draws fit into memory."""
    at_once = max(1, generate.CELLS_AT_ONCE // (draws * program.event_shape.numel()))
    return ((x, DatumNoise(key, data)) for x, data in numbered(program, rows.batches(), at_once))


class _Guided:
    """The guide of a program, run several times on each datum.

    Args:
        program: in evaluation mode.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = generate.order(program)

    def scales(self, x: Tensor, noise: DatumNoise) -> Tensor:
        """Standard deviations of z, (n, code size): exact, or else of the draws that the means are of."""
        with seeded(*noise.key):  # nothing of these draws is kept
            exact = [_exact_scale(site) for site in self._latent(x, sites.FEW_DRAWS)]
        known = [scale for scale in exact if scale is not None]
        if len(known) == len(exact):
            return torch.cat([scale.reshape(len(x), -1) for scale in known], dim=1)
        return self.draws(x, noise, AVERAGED).std(1)

    def draws(self, x: Tensor, noise: DatumNoise, count: int) -> Tensor:
        """Draws of z, (n, count, code size)."""
        with noise:
            return _flat(self._latent(x, count))

    def _latent(self, x: Tensor, draws: int) -> list[Any]:
        """The sites in the order of a code, in a plate of draws: values of shape (draws, n, ...)."""
        with particle_plate(draws):
            trace = poutine.trace(self.program.guide).get_trace(x)
        return [trace.nodes[name] for name in self.names]


def _exact_scale(site: Any) -> Tensor | None:
    """The standard deviation at a site in closed form, (n, \\*event_shape); ``None`` where there is none."""
    if sites.exact_mean(site) is None:
        return None  # a mean that moves with other draws spreads z as well
    try:
        scales = site["fn"].stddev
    except (NotImplementedError, AttributeError):
        return None
    return scales[0] if scales.isfinite().all() and sites.same_for_all_draws(scales) else None


def _flat(latent: list[Any]) -> Tensor:
    """The values at sites, (n, draws, code size)."""
    values = [sites.numbers(site["value"]) for site in latent]
    return torch.cat([value.reshape(*value.shape[:2], -1) for value in values], dim=2).transpose(0, 1)


@isolated()
def flatten(
    codes: Tensor, method: str | None = None, *, seed: int = 0, names: Sequence[str] | None = None
) -> Flat:
    """Codes in two dimensions: as they are where they have two, else by a method of :data:`METHODS`.

    Args:
        codes: (n, code size).
        method: one of :data:`METHODS`; by default ``pca``, and none for codes of two dimensions.
        seed: of the methods that draw.
        names: of the two dimensions, where there are no more.

    Raises:
        ConfigError: there is no such method, or it cannot be used on these codes.

    Example:
        >>> z = torch.randn(16, 8)
        >>> flatten(z).points.shape, flatten(z[:, :2]).axes
        (torch.Size([16, 2]), ('z[0]', 'z[1]'))
    """
    n, size = codes.shape
    if method is None and size == 2:
        first, second = names or ("z[0]", "z[1]")
        return Flat(codes.cpu(), (first, second))
    if size < 2:
        raise _unusable(method, "a map needs codes of two dimensions or more, and these have one")
    if (method := method or "pca") not in METHODS:
        raise _unusable(method, f"there is no such method: give {', '.join(METHODS)}")
    if n < FEWEST_ROWS:
        raise _unusable(method, f"it needs {FEWEST_ROWS} rows or more, and there are {n}")
    return METHODS[method](codes, seed)


@isolated()
def mapped(
    program: Program, rows: Split, method: str | None = None, *, limit: int = 2000, seed: int = 0
) -> Map:
    """The codes E_q[z] of data in two dimensions, their labels, and draws from the prior to compare with.

    Args:
        program: model and guide.
        rows: the data, drawn once for all.
        method: as for :func:`flatten`.
        limit: take at most so many of the rows, chosen at random; all of them are encoded.
        seed: of this choice and of all draws.

    Raises:
        ConfigError: the method cannot be used on these codes.

    Example:
        >>> from pyrovae.data import Split
        >>> mapped(program, Split(x), limit=10).points.shape
        torch.Size([10, 2])
    """
    chosen = rows.chosen(limit, seed, "map")
    embedding = embed(program, rows, seed=seed)
    means = embedding.mean.cpu()[chosen]
    points, axes = flatten(means, method, seed=seed, names=embedding.names)
    labels = None if rows.labels is None else rows.labels[chosen.numpy()]
    as_they_are = method is None and means.shape[1] == points.shape[1]
    prior = generate.sample(program, PRIOR_DRAWS, seed=seed).z.cpu() if as_they_are else None
    return Map(points, axes, chosen, labels, prior)


PRIOR_DRAWS = 1000
"""How many codes from the prior a map has."""

FEWEST_ROWS = 5
"""Of a method that looks for neighbours, or for directions."""


def _pca(codes: Tensor, seed: int) -> Flat:
    """The two orthogonal directions in which codes vary most, each with its largest entry above 0."""
    centred = codes.double().cpu() - codes.double().cpu().mean(0)
    _, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    points = centred @ (directions * largest.sign())[:2].T
    shares = lengths.square() / lengths.square().sum().clamp(min=torch.finfo(lengths.dtype).tiny)
    first, second = (
        f"principal component {number} ({share:.0%} of the variance)"
        for number, share in enumerate(shares[:2].tolist(), start=1)
    )
    return Flat(points, (first, second))


def _points(method: Any, codes: Tensor) -> Tensor:
    """What a method makes of codes, whatever containers scikit-learn is set to give."""
    from sklearn import config_context

    with config_context(transform_output="default"):
        return torch.from_numpy(method.fit_transform(codes.numpy(force=True)))


def _tsne(codes: Tensor, seed: int) -> Flat:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(codes) - 1) / 3)
    fitted = TSNE(2, perplexity=perplexity, init="pca", random_state=_seed(seed), n_jobs=1)
    return Flat(_points(fitted, codes), ("t-SNE 1", "t-SNE 2"))


def _umap(codes: Tensor, seed: int) -> Flat:
    try:
        from umap import UMAP
    except ImportError:
        message = "it needs umap-learn, which is not installed: pip install umap-learn, or choose pca or tsne"
        raise _unusable("umap", message) from None

    fitted = UMAP(n_components=2, n_neighbors=min(15, len(codes) - 1), random_state=_seed(seed), n_jobs=1)
    return Flat(_points(fitted, codes), ("UMAP 1", "UMAP 2"))


def _seed(seed: int) -> int:
    """A seed as numpy's generators take it, of 32 bits."""
    return mix(seed, "flatten") % 2**32


METHODS: Mapping[str, Callable[[Tensor, int], Flat]] = {"pca": _pca, "tsne": _tsne, "umap": _umap}
"""Ways from many dimensions to two, by the name that ``--method`` takes."""


def _unusable(method: str | None, message: str) -> ConfigError:
    return ConfigError([Problem(f"method {method}" if method else "map", message)])
