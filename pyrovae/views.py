"""What a trained VAE shows of itself, as arrays and as figures: the commands' pictures; trains nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrovae import codes, corruption, embed, generate, predict, walks
from pyrovae.data import Split, from_arrays
from pyrovae.preparation import Prepared
from pyrovae.programs import Program
from pyrovae.randomness import Seed, seed_of
from pyrovae.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float32]


class Trained(Protocol):
    """What has a trained program, and takes rows as that was trained on."""

    @property
    def run(self) -> Run: ...

    @property
    def program_(self) -> Program: ...

    def _prepared(self, X: Any) -> Prepared: ...

    def _rows(self, X: Any) -> Split: ...


class Views:
    """Verbs of a VAE that look at what it has learned; ``random_state`` is another name of the ``seed``."""

    def encode(
        self: Trained, X: Any, *, draws: int = 0, seed: Seed = 0, random_state: Seed | None = None
    ) -> Array:
        """Codes of the rows of X: posterior means, (n, code size), or draws of z ~ q(z|x).

        Args:
            X: (n, \\*event_shape).
            draws: where above 0, that many draws for each row are given instead, (n, draws, code size).
            seed: of the draws.
        """
        found = embed.embed(self.program_, self._rows(X), draws=draws, seed=seed_of(seed, random_state))
        return _array(found.mean if found.draws is None else found.draws)

    def decode(self: Trained, X: ArrayLike) -> Array:
        """The expected data E[x|z] at codes z, (n, \\*event_shape).

        Args:
            X: codes, (n, code size), as :meth:`encode` gives them.

        Raises:
            DataError: the codes are not of the program's size, or not finite.
        """
        given = from_arrays(X, name="codes", validation=0.0, test=0.0).train.rows(slice(None))
        return _data(self, codes.decode(self.program_, given.float()).mean)

    inverse_transform = decode

    def posterior_predictive(
        self: Trained, X: Any, draws: int = 100, *, seed: Seed = 0, random_state: Seed | None = None
    ) -> Array:
        """New data in the place of each row: z ~ q(z|x), x ~ p(x|z); (n, draws, \\*event_shape).

        Raises:
            ValueError: fewer draws than two.
        """
        rows = self._rows(X).batches()
        return _data(
            self,
            predict.predict(
                self.program_, rows, draws=draws, seed=seed_of(seed, random_state), quantiles=()
            ).x,
        )

    def denoise(
        self: Trained,
        X: Any,
        noise: str | None = None,
        *,
        draws: int = 100,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Array:
        """The rows of X restored: their posterior predictive means, in the shape of X.

        Args:
            X: (n, \\*event_shape).
            noise: what is done to the rows first, as ``salt:0.2``, ``gaussian:0.3``, ``mask:0.5`` or
                ``block:4``; if not given, they are noisy already.
            draws: of each row.
            seed: of noise and draws.

        Raises:
            ConfigError: there is no such noise.
            DataError: the noise would take the rows out of the likelihood's support.
        """
        if noise is None:
            rows = self._rows(X).batches()
            found = predict.predict(
                self.program_, rows, draws=draws, seed=seed_of(seed, random_state), quantiles=()
            )
            return _data(self, found.mean)
        return _data(self, _denoised(self, X, noise, draws, seed_of(seed, random_state)).restored)

    def interpolate(
        self: Trained,
        start: ArrayLike,
        end: ArrayLike,
        steps: int = 11,
        *,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Array:
        """Expected data on the way between the codes of two data, (steps, \\*event_shape).

        Args:
            start: a datum, event_shape.
            end: another one.
            steps: how many, both ends with them.
            seed: of the draws that are averaged where E_q[z] has no closed form.
        """
        return _data(self, _way(self, _ends(self, start, end), steps, seed_of(seed, random_state)).mean)

    def traverse(
        self: Trained,
        X: Any,
        *,
        at: ArrayLike | None = None,
        steps: int = 11,
        latents: int | None = None,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> dict[str, Array]:
        """Expected data while one latent variable moves through the prior's quantiles and the others stay.

        Args:
            X: rows, whose codes tell which variables are used: the most active one is the first.
            at: the datum at whose code the others stay, event_shape; if not given, the middle of the prior.
            steps: of each variable that is not discrete.
            latents: how many variables; all, if not given.
            seed: of the draws from the prior.

        Returns:
            By the name of the variable, (steps, \\*event_shape).
        """
        found = _walked(self, X, at, steps, latents, seed_of(seed, random_state))
        return {walk.name: _data(self, walk.mean) for walk in found}

    def plane(
        self: Trained,
        X: Any,
        *,
        at: ArrayLike | None = None,
        steps: int = 21,
        limits: tuple[float, float] | None = None,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Array:
        """Expected data over the plane of the two most active latent variables.

        Args:
            X: rows, whose codes tell which variables are used.
            at: the datum at whose code the others stay, event_shape; if not given, the middle of the prior.
            steps: along each of the two.
            limits: both go evenly from the one to the other; if not given, through the prior's quantiles.
            seed: of the draws from the prior.

        Returns:
            (steps of the second, steps of the first, \\*event_shape).
        """
        return _data(self, _planar(self, X, at, steps, limits, seed_of(seed, random_state)).mean)

    def map(
        self: Trained, X: Any, method: str | None = None, *, seed: Seed = 0, random_state: Seed | None = None
    ) -> NDArray[Any]:
        """The codes of the rows of X in two dimensions, (n, 2).

        Args:
            X: (n, \\*event_shape).
            method: ``pca``, ``tsne`` or ``umap``; if not given, two latent coordinates are left as they are,
                and more become their first two principal components.
            seed: of what is drawn.
        """
        return _array(_mapped(self, X, method, seed_of(seed, random_state)).points)

    def plot_samples(
        self: Trained, n: int = 64, *, seed: Seed = 0, random_state: Seed | None = None
    ) -> Figure:
        """A figure of n draws from the model: x ~ p(x|z) and E[x|z], z ~ p(z)."""
        from pyrovae import plots

        drawn = generate.sample(self.program_, n, seed=seed_of(seed, random_state))
        shown = {"x ~ p(x|z)": _array(drawn.x), "E[x|z]": _array(drawn.mean)}
        return plots.panels(shown, title=f"{n} codes from the prior")

    def plot_reconstructions(
        self: Trained, X: Any, *, seed: Seed = 0, random_state: Seed | None = None
    ) -> Figure:
        """A figure of the rows of X beside draws from the posterior predictive and their expectations."""
        from pyrovae import plots

        rows = self._rows(X)
        drawn = generate.reconstruct(self.program_, rows.batches(), seed=seed_of(seed, random_state))
        shown = {"data": rows.rows(slice(None)), "x ~ p(x|z), z ~ q(z|data)": drawn.x, "E[x|z]": drawn.mean}
        return plots.panels({name: _array(values) for name, values in shown.items()})

    def plot_predictive(
        self: Trained, X: Any, draws: int = 100, *, seed: Seed = 0, random_state: Seed | None = None
    ) -> Figure:
        """A figure of the first rows of X, and below each its posterior predictive."""
        from pyrovae import plots

        rows = self._rows(X).rows(slice(8))
        found = predict.predict(self.program_, [rows], draws=draws, seed=seed_of(seed, random_state))
        return plots.predictive(rows.cpu(), found, title=f"posterior predictive, {draws:,} draws each")

    def plot_denoised(
        self: Trained,
        X: Any,
        noise: str = "salt:0.2",
        *,
        draws: int = 100,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Figure:
        """A figure of the first rows of X: clean, corrupted and restored; see :meth:`denoise`."""
        from pyrovae import plots

        found = _denoised(self, X, noise, draws, seed_of(seed, random_state))
        return plots.denoised(found, title=f"{noise}, restored by the mean of {draws:,} draws")

    def plot_interpolation(
        self: Trained,
        start: ArrayLike,
        end: ArrayLike,
        steps: int = 11,
        *,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Figure:
        """A figure of the way between two data; see :meth:`interpolate`."""
        from pyrovae import plots

        ends = _ends(self, start, end)
        way = _way(self, ends, steps, seed_of(seed, random_state))
        return plots.interpolation(ends.cpu(), way.mean, names=("start", "end"))

    def plot_traversal(
        self: Trained,
        X: Any,
        *,
        at: ArrayLike | None = None,
        steps: int = 11,
        latents: int | None = 20,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Figure:
        """A figure of what each latent variable changes; see :meth:`traverse`."""
        from pyrovae import plots

        found = _walked(self, X, at, steps, latents, seed_of(seed, random_state))
        return plots.traversal(found, title="E[x|z], one latent variable at a time")

    def plot_plane(
        self: Trained,
        X: Any,
        *,
        at: ArrayLike | None = None,
        steps: int = 21,
        limits: tuple[float, float] | None = None,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Figure:
        """A figure of what two latent variables change together; see :meth:`plane`."""
        from pyrovae import plots

        return plots.plane(_planar(self, X, at, steps, limits, seed_of(seed, random_state)), title="E[x|z]")

    def plot_map(
        self: Trained,
        X: Any,
        y: ArrayLike | None = None,
        method: str | None = None,
        *,
        seed: Seed = 0,
        random_state: Seed | None = None,
    ) -> Figure:
        """A figure of the codes of X in two dimensions, coloured by the labels y; see :meth:`map`."""
        from pyrovae import plots

        found = _mapped(self, X, method, seed_of(seed, random_state))
        title = f"codes E_q[z] of {len(found.points):,} rows"
        return plots.code_map(found.points, y, axes=found.axes, behind=found.prior, title=title)


def _array(values: Tensor) -> NDArray[Any]:
    return values.numpy(force=True)


def _data(vae: Trained, values: Tensor) -> Array:
    """Data in the layout that the VAE was fitted on."""
    return vae.run.as_given(values).numpy(force=True)


def _datum(vae: Trained, x: Any) -> Tensor:
    """One datum; a row of a DataFrame is a series, whose index has the names of the columns; masks stay."""
    is_series = hasattr(x, "to_frame") and hasattr(x, "index")
    return vae._rows(x.to_frame().T if is_series else np.asanyarray(x)[None]).rows(slice(1))[0]


def _ends(vae: Trained, start: ArrayLike, end: ArrayLike) -> Tensor:
    return torch.stack([_datum(vae, start), _datum(vae, end)])


def _way(vae: Trained, ends: Tensor, steps: int, seed: int) -> walks.Interpolation:
    return walks.interpolate(vae.program_, ends[0], ends[1], steps, seed=seed)


def _walked(
    vae: Trained, X: Any, at: ArrayLike | None, steps: int, latents: int | None, seed: int
) -> list[walks.Traversal]:
    base = None if at is None else _datum(vae, at)
    return walks.traverse(vae.program_, vae._rows(X), at=base, steps=steps, latents=latents, seed=seed)


def _planar(
    vae: Trained, X: Any, at: ArrayLike | None, steps: int, limits: tuple[float, float] | None, seed: int
) -> walks.Plane:
    base = None if at is None else _datum(vae, at)
    return walks.plane(vae.program_, vae._rows(X), at=base, steps=steps, limits=limits, seed=seed)


def _mapped(vae: Trained, X: Any, method: str | None, seed: int) -> embed.Map:
    rows = vae._rows(X)
    return embed.mapped(vae.program_, rows, method, limit=len(rows), seed=seed)


def _denoised(vae: Trained, X: Any, noise: str, draws: int, seed: int) -> predict.Denoised:
    prepared = vae._prepared(X)
    rows = prepared.dataset.train.drawn()
    return predict.denoise(
        vae.program_,
        rows.batches(),
        corruption.parse(noise, "noise"),
        extremes=rows.range(),
        draws=draws,
        seed=seed,
        is_likelihood=prepared.is_likelihood,
    )
