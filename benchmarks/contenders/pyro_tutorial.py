"""The recipe of Pyro's VAE tutorial: SVI, Trace_ELBO and Pyro's Adam; torchvision, and a data loader.

The loader goes without the worker process that the tutorial gives it, which would have no core of its own.

Source: https://pyro.ai/examples/vae.html.
"""

from typing import Any

import contract
import pyro
import pyro.distributions as dist
import torch
from contract import BATCH, HIDDEN, LATENT, LEARNING_RATE, PIXELS
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms


class Encoder(nn.Module):
    """Images to mean and standard deviation of z."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(PIXELS, HIDDEN)
        self.mean = nn.Linear(HIDDEN, LATENT)
        self.log_scale = nn.Linear(HIDDEN, LATENT)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation."""
        hidden = self.relu(self.hidden(x.reshape(-1, PIXELS)))
        return self.mean(hidden), torch.exp(self.log_scale(hidden))


class Decoder(nn.Module):
    """Codes to probabilities of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(LATENT, HIDDEN)
        self.logits = nn.Linear(HIDDEN, PIXELS)
        self.relu = nn.ReLU()
        self.sigmoid = nn.Sigmoid()

    def forward(self, z: Tensor) -> Tensor:
        """Probabilities."""
        return self.sigmoid(self.logits(self.relu(self.hidden(z))))


class VAE(nn.Module):
    """Model and guide."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def model(self, x: Tensor) -> None:
        """p(z) and p(x|z)."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            prior = dist.Normal(x.new_zeros(len(x), LATENT), x.new_ones(len(x), LATENT))
            z = pyro.sample("z", prior.to_event(1))
            # Grey values lie outside the support of a Bernoulli distribution.
            pixels = dist.Bernoulli(self.decoder(z), validate_args=False)
            pyro.sample("x", pixels.to_event(1), obs=x.reshape(-1, PIXELS))

    def guide(self, x: Tensor) -> None:
        """q(z|x)."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*self.encoder(x)).to_event(1))


def fit(task: contract.Task, train_set: Dataset[Any], validation_set: Dataset[Any]) -> None:
    """Train, validate and save."""
    pyro.set_rng_seed(task.seed)
    train = DataLoader(train_set, batch_size=BATCH, shuffle=True)
    validation = DataLoader(validation_set, batch_size=BATCH, shuffle=False)
    vae = VAE()
    svi = SVI(vae.model, vae.guide, Adam({"lr": LEARNING_RATE}), loss=Trace_ELBO())
    for epoch in range(1, task.epochs + 1):
        total = sum(svi.step(x) for x, _ in train)
        held_out = sum(svi.evaluate_loss(x) for x, _ in validation)
        print(epoch, total / len(task.train), held_out / len(task.validation))

    contract.save(
        task.out,
        encoder=contract.layer(vae.encoder.hidden),
        mean=contract.layer(vae.encoder.mean),
        scale=contract.layer(vae.encoder.log_scale),
        scale_is="exp(s)",
        decoder=contract.layer(vae.decoder.hidden),
        logits=contract.layer(vae.decoder.logits),
    )


def main() -> None:
    """Images are converted as they are loaded."""
    task = contract.task()
    mnist = datasets.MNIST(str(task.data_dir), train=True, transform=transforms.ToTensor())
    fit(task, Subset(mnist, task.train.tolist()), Subset(mnist, task.validation.tolist()))


if __name__ == "__main__":
    main()
