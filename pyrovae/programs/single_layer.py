"""The program with a single layer of latent variables: the variational autoencoder itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions.constraints import Constraint

from pyrovae import device
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs import Codes, Program


class SingleLayer(Program):
    r"""One code z for each datum x.

    .. math:: p(x, z) = p(z)\, p(x|z), \qquad q(z|x)

    Args:
        prior: p(z).
        likelihood: p(x|z) from the decoder's features.
        posterior: q(z|x) from the encoder's features.
        network: encoder and decoder.

    Source: Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014, section 2.

    Example:
        >>> pyro.poutine.trace(program.model).get_trace(x).nodes["z"]["value"].shape
        torch.Size([16, 8])
    """

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior, network: Network) -> None:
        super().__init__(likelihood.event_shape)
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.network = network

    @property
    def support(self) -> Constraint:
        return self.likelihood.support

    @property
    def codes(self) -> Codes:
        return Codes.declared(self.posterior, self.prior, self._values())

    @property
    def scorer(self) -> Likelihood:
        return self.likelihood

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = self._sample_code(self.prior(self._posterior_of_seen).expand([len(x)]))
            pyro.sample("x", self.likelihood.conditioned(self._cells(z), x), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            self._sample_code(self.encode(x))

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z|x) for data of shape (..., \\*event_shape)."""
        return self._posterior_of_seen(self.likelihood.seen(x))

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x|z) for codes of shape (..., \\*event shape of the prior)."""
        return self.likelihood(self._cells(z))

    def initialize(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        self.likelihood.initialize(batches())
        self.prior.initialize(self.likelihood.seen(x) for x in batches())

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        if self.likelihood.calibrates:
            self.likelihood.calibrate((self._given_code(x), x) for x in batches)

    def _posterior_of_seen(self, seen: Tensor) -> TorchDistribution:
        return self.posterior(self.network.encoder(seen))

    def _cells(self, z: Tensor) -> Tensor:
        """The decoder's features for each cell of a datum."""
        return self.network.decoder(z.flatten(z.dim() - len(self.prior.event_shape)))

    def _sample_code(self, p: TorchDistribution) -> Tensor:
        """z ~ p: one site ``z``, or one for each latent variable, where an objective may sum them out."""
        if not self.posterior.one_site_per_variable:
            return pyro.sample("z", p)
        variables = _variables(p)
        values = [pyro.sample(f"z_{j}", variable) for j, variable in enumerate(variables)]
        # Summed out, each variable has its values in a dimension of its own.
        return torch.stack(torch.broadcast_tensors(*values), dim=-1 - len(variables[0].event_shape))

    def _values(self) -> tuple[int, ...]:
        """How many values each latent variable has, where each is a site of its own."""
        if not self.posterior.one_site_per_variable:
            return ()
        nothing = torch.zeros(self.posterior.features, device=device.of(self.posterior))
        return tuple(
            len(each.enumerate_support(expand=False)) for each in _variables(self.posterior(nothing))
        )

    def _given_code(self, x: Tensor) -> Any:
        """p(x|z) under a draw z ~ q(z|x)."""
        codes = poutine.trace(self.guide).get_trace(x)
        return poutine.trace(poutine.replay(self.model, codes)).get_trace(x).nodes["x"]["fn"]


def _variables(p: TorchDistribution) -> list[TorchDistribution]:
    """The independent discrete variables that a distribution of codes consists of."""
    base = p.base_dist
    return [type(base)(logits=logits) for logits in base.logits.unbind(len(base.batch_shape) - 1)]
