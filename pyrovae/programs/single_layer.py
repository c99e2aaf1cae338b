"""The program with a single layer of latent variables: the variational autoencoder itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs import Program


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

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(self.encode).expand([len(x)]))
            pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z|x) for data of shape (..., \\*event_shape)."""
        return self.posterior(self.network.encoder(x))

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x|z) for codes of shape (..., \\*event shape of the prior)."""
        return self.likelihood(self.network.decoder(z.flatten(z.dim() - len(self.prior.event_shape))))

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        if self.likelihood.calibrates:
            self.likelihood.calibrate((self._given_code(x), x) for x in batches)

    def _given_code(self, x: Tensor) -> Any:
        """p(x|z) under a draw z ~ q(z|x)."""
        codes = poutine.trace(self.guide).get_trace(x)
        return poutine.trace(poutine.replay(self.model, codes)).get_trace(x).nodes["x"]["fn"]
