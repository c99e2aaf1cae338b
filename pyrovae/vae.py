"""VAE: the object that a user holds, with the verbs of scikit-learn; all work is done by ``run``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pyrovae import component, device, generate
from pyrovae.assembly import cutting
from pyrovae.component import Component
from pyrovae.config import DEFAULT_COMPONENTS, Config, resolve
from pyrovae.console import say
from pyrovae.data import Dataset, Split, from_arrays
from pyrovae.errors import ConfigError, Problem, RunError
from pyrovae.evaluate import Evaluation, evaluate
from pyrovae.folder import Checkpoint
from pyrovae.preparation import Prepared, prepare
from pyrovae.programs import Program
from pyrovae.progress import epoch_line, reporting
from pyrovae.quantities import Findings
from pyrovae.randomness import Seed, seed_of
from pyrovae.run import Run
from pyrovae.sources import PYTHON_ARRAY
from pyrovae.views import Array, Views

ROWS_AT_ONCE = 100  # for importance sampling, which has many draws of every row in memory


class VAE(Views, TransformerMixin, BaseEstimator):
    r"""A variational autoencoder: p(x, z) and q(z|x), trained by stochastic variational inference.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z|x)}[\log p(x|z)] - KL\bigl(q(z|x)\,\|\,p(z)\bigr)

    Every argument but ``verbose`` is an entry of the one configuration that TOML and the command line have
    too (``pyrovae config`` prints it all). Components are names, tables of a name and options
    (``{"name": "gaussian", "scale": 0.1}``), or objects, which are copied.

    Args:
        latent_dim: number of latent coordinates.
        program: model and guide. One of your own, as ``my_programs.py:TwoLayers``, leaves those of the next
            four arguments that it does not ask for as they are.
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x).
        network: encoder and decoder.
        objective: the bound of log p(x) that is maximised, or what is made of one; a name or a table only.
        epochs: passes over the training data.
        batch_size: data in a step.
        lr: learning rate.
        seed: of weights, noise and shuffling: a whole number, or a generator of NumPy's (``RandomState`` or
            ``Generator``), from which each :meth:`fit` draws one. Methods take the same.
        random_state: scikit-learn's name for the seed, which is in force where it is not ``None``.
        data: further entries of the section ``data``: ``{"validation": 0.2, "binarize": "none"}``.
        train: further entries of the section ``train``: ``{"patience": 10, "optimizer": "adamw"}``.
        verbose: whether to show the data's range and the progress, on standard error.

    Raises:
        ConfigError: by :meth:`fit`, with every mistake in the arguments.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014.

    Example:
        >>> vae = VAE(latent_dim=2, epochs=1, verbose=False).fit(X)
        >>> vae.transform(X).shape, vae.sample(16).shape
        ((1797, 2), (16, 8, 8))
    """

    def __init__(
        self,
        *,
        latent_dim: int = 8,
        program: str | Mapping[str, Any] | Component = "single-layer",
        prior: str | Mapping[str, Any] | Component = "normal",
        likelihood: str | Mapping[str, Any] | Component = "bernoulli",
        posterior: str | Mapping[str, Any] | Component = "normal",
        network: str | Mapping[str, Any] | Component = "mlp",
        objective: str | Mapping[str, Any] = "elbo",
        epochs: int = 100,
        batch_size: int = 64,
        lr: float = 1e-3,
        seed: Seed = 0,
        random_state: Seed | None = None,
        data: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        verbose: bool = True,
    ) -> None:
        self.latent_dim = latent_dim
        self.program = program
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.network = network
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.seed = seed
        self.random_state = random_state
        self.data = data
        self.train = train
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on the rows of X, from fresh weights.

        Args:
            X: (n, \\*event_shape), in the unit that the likelihood takes; only ``data`` rescales them. Values
                in [0, 1] are binarised for ``bernoulli``, unless ``data`` has ``binarize="none"``. An
                array, a tensor, a DataFrame, a data set of PyTorch or another container that
                :func:`pyrovae.data.from_arrays` names.
            y: labels, which only ``data["exclude_labels"]`` looks at; without it, anything.

        Raises:
            ConfigError: a wrong argument, or X outside the support of the likelihood.
            DataError: X is no array of finite numbers.
            TrainingError: the loss is no longer finite, or training has not made the model better. The epochs
                that were finished are kept: ``run_`` is there, with the best weights.
        """
        objects = {
            family: value
            for family in DEFAULT_COMPONENTS
            if isinstance(value := getattr(self, family), Component)
        }
        config = resolve(self._layer())
        dataset = self._dataset(config.data, X, y)
        self._train(Run.start(config, dataset=dataset, objects=objects))
        return self

    def resume(self, X: Any, y: Any = None, *, epochs: int | None = None) -> Self:
        """Go on where a saved run stopped, on the same rows.

        Args:
            X: the rows that it was trained on.
            y: their labels.
            epochs: how many there shall be in all, if not as many as were configured.

        Raises:
            RunError: the VAE is not saved, or X are other rows.
        """
        folder = self.run.folder
        if folder is None:
            raise RunError("only a saved VAE can go on: call save(PATH) first")
        dataset = self._dataset(self.run.config.data, X, y)
        self._train(Run.resume(folder.path, epochs=epochs, dataset=dataset))
        return self

    def transform(self, X: Any) -> Array:
        """Posterior means E_q[z] of the rows of X, (n, latent_dim)."""
        return generate.encode(self.program_, self._rows(X).batches()).numpy(force=True)

    def reconstruct(self, X: Any) -> Array:
        """The expected data E[x|z] under one draw z ~ q(z|x) for each row of X, in the shape of X."""
        restored = generate.reconstruct(self.program_, self._rows(X).batches()).mean
        return self.run.as_given(restored).numpy(force=True)

    def sample(self, n: int = 1, *, seed: Seed = 0, random_state: Seed | None = None) -> Array:
        """Run the model n times without observations: x ~ p(x|z), z ~ p(z); n rows of the shape of X's."""
        drawn = generate.sample(self.program_, n, seed=seed_of(seed, random_state)).x
        return self.run.as_given(drawn).numpy(force=True)

    def score_samples(
        self, X: Any, *, particles: int = 1000, seed: Seed = 0, random_state: Seed | None = None
    ) -> NDArray[np.float64]:
        """Importance-sampled log p(x) of every row of X, in nats: a lower bound in expectation.

        A density is per unit of the values that the model sees; :meth:`evaluate` says which these are, and
        whether log p(x) is conditional on something of the row.

        Args:
            X: (n, \\*event_shape).
            particles: draws of z for each row; the bound is tight as they grow.
            seed: of the draws.
        """
        batches = self._rows(X).batches(ROWS_AT_ONCE)
        estimates = evaluate(
            self.program_, batches, particles=particles, seed=seed_of(seed, random_state), tails=False
        )
        return estimates.log_likelihood.numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of :meth:`score_samples`, in nats per row."""
        return float(self.score_samples(X).mean())

    def evaluate(
        self, X: Any, *, particles: int = 1000, seed: Seed = 0, random_state: Seed | None = None
    ) -> Evaluation:
        """ELBO, its terms and log p(x) on the rows of X: means with their errors, and estimates of every row.

        Args:
            X: (n, \\*event_shape).
            particles: draws of z for each row.
            seed: of the draws.
        """
        rows = self._prepared(X)
        drawn = rows.dataset.train.drawn()
        return self.run.evaluate(
            drawn.batches(ROWS_AT_ONCE),
            particles=particles,
            seed=seed_of(seed, random_state),
            is_likelihood=rows.is_likelihood,
            unit=drawn.unit,
        )

    def diagnose(
        self, X: Any, name: str, *, seed: Seed = 0, random_state: Seed | None = None, **options: Any
    ) -> Findings:
        """What a diagnostic finds in the rows of X, or why it has nothing to say.

        Args:
            X: (n, \\*event_shape).
            name: of the diagnostic; ``pyrovae components`` lists all of them with their options.
            seed: of its noise.
            options: its options.

        Raises:
            ConfigError: there is no such diagnostic, or it has no such options.
        """
        return self.run.diagnose(name, self._rows(X), options=options, seed=seed_of(seed, random_state))

    def save(self, path: str | Path) -> None:
        """Write the run folder that the command line writes too.

        Raises:
            RunError: the folder exists.
        """
        self.run.save(Path(path))

    @classmethod
    def load(
        cls, path: str | Path, *, checkpoint: Checkpoint = "best", verbose: bool = True, trust: bool = False
    ) -> Self:
        """The VAE of a run folder, from Python or from the command line.

        Args:
            path: the run's folder.
            checkpoint: which weights.
            verbose: as for the constructor.
            trust: whether components of your own, which the run names, may be imported: it runs their code.
        """
        run = Run.load(Path(path), checkpoint, trust=trust)
        entries = run.config.model_dump()
        train = {name: entries["train"].pop(name) for name in ("epochs", "batch_size", "lr")}
        del entries["data"]["source"]
        vae = cls(**{**entries, **train}, verbose=verbose)
        vae.run_ = run
        return vae

    @property
    def run(self) -> Run:
        """The trained run: configuration, history, folder.

        Raises:
            NotFittedError: before :meth:`fit`.
        """
        check_is_fitted(self, "run_")
        return self.run_

    @property
    def program_(self) -> Program:
        """The trained program: ``program_.model`` and ``program_.guide`` work with any Pyro inference."""
        return self.run.program

    @property
    def n_features_in_(self) -> int:
        """How many numbers a row has."""
        return self.program_.event_shape.numel()

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """The names of the columns that :meth:`fit` saw.

        Raises:
            AttributeError: they had no names.
        """
        if self.run.columns is None:
            raise AttributeError("the columns that this VAE was fitted on have no names")
        return np.array(self.run.columns, dtype=object)

    @property
    def history(self) -> list[Any]:
        """Metrics of every epoch, in nats per datum; ``run_.untrained`` are those before the first step."""
        return self.run.history

    def _layer(self) -> dict[str, Any]:
        """The arguments as a layer of the configuration."""
        if "source" in (self.data or {}):
            raise ConfigError([Problem("data.source", "the data are what fit is given")])
        layer: dict[str, Any] = {"seed": seed_of(self.seed, self.random_state)}
        defaults = {"latent_dim": Config.model_fields["latent_dim"].default, **DEFAULT_COMPONENTS}
        chosen = {name: _selection(getattr(self, name)) for name in defaults}
        # Not all programs have a use for all of them.
        layer |= {name: value for name, value in chosen.items() if value != defaults[name]}
        layer["data"] = {"test": 0.0, **(self.data or {}), "source": PYTHON_ARRAY}
        layer["train"] = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            **(self.train or {}),
        }
        return _plain(layer)

    def _dataset(self, options: Any, X: Any, y: Any) -> Dataset:
        return from_arrays(X, y, name="X", **cutting(options))

    def _rows(self, X: Any) -> Split:
        """The rows of X as evaluation takes them: divided as in training, and binarised once if at all."""
        return self._prepared(X).dataset.train.drawn()

    def _prepared(self, X: Any) -> Prepared:
        """The rows of X as the likelihood takes them."""
        options = self.run.config.data
        dataset = from_arrays(
            X, name="X", validation=0.0, test=0.0, divisor=options.divisor, layout=options.layout
        )
        self.run.check(dataset)
        prepared = prepare(dataset, options, self.program_.scorer)
        return replace(prepared, dataset=prepared.dataset.to(device.of(self.program_)))

    def _train(self, run: Run) -> None:
        assert run.prepared is not None
        self.run_ = run
        epochs, steps = run.config.train.epochs, run.steps_per_epoch
        console = Console(stderr=True, quiet=not self.verbose)
        for line in (run.prepared.dataset.describe(), *run.prepared.notes, *run.caveats):
            say(console, line)
        with reporting(console, epochs * steps, len(run.history) * steps) as report:
            for metrics in run.train(report.step, report.note):
                report.say(epoch_line(metrics, epochs, run.terms, is_kl=run.program.codes.is_density))


def _plain(value: Any) -> Any:
    """NumPy's numbers, as searches over parameters give them, as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _selection(chosen: Any) -> Any:
    """A component object as its name and options; names and tables as they are."""
    if isinstance(chosen, Component):
        return {"name": component.name_of(type(chosen)), **chosen.options}
    return chosen
