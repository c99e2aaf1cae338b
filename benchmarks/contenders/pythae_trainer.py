"""Pythae's VAE and BaseTrainer, with an encoder and a decoder of one's own as its documentation shows.

Source: https://pythae.readthedocs.io, "Custom Autoencoder Architectures" and "Trainers".
"""

import contract
import numpy as np
import torch
from contract import BATCH, HIDDEN, LATENT, LEARNING_RATE, PIXELS
from numpy.typing import NDArray
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn


class Encoder(BaseEncoder):
    """Images to mean and log-variance of z."""

    def __init__(self) -> None:
        BaseEncoder.__init__(self)
        self.hidden = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU())
        self.mean = nn.Linear(HIDDEN, LATENT)
        self.log_variance = nn.Linear(HIDDEN, LATENT)

    def forward(self, x: Tensor) -> ModelOutput:
        """The entries that Pythae's VAE looks for."""
        hidden = self.hidden(x)
        return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_variance(hidden))


class Decoder(BaseDecoder):
    """Codes to probabilities of the pixels."""

    def __init__(self) -> None:
        BaseDecoder.__init__(self)
        self.hidden = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU())
        self.logits = nn.Linear(HIDDEN, PIXELS)

    def forward(self, z: Tensor) -> ModelOutput:
        """The entry that Pythae's VAE looks for."""
        return ModelOutput(reconstruction=torch.sigmoid(self.logits(self.hidden(z))))


def main() -> None:
    """Train, validate and save; the trainer itself saves the model of the best epoch too."""
    task = contract.task()
    pixels = contract.images(task.data_dir, "train")
    config = BaseTrainerConfig(
        output_dir=str(task.out),
        num_epochs=task.epochs,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        seed=task.seed,
    )
    torch.manual_seed(task.seed)
    vae = VAE(
        VAEConfig(input_dim=(PIXELS,), latent_dim=LATENT, reconstruction_loss="bce"), Encoder(), Decoder()
    )
    trainer = BaseTrainer(
        model=vae,
        train_dataset=_dataset(pixels[task.train]),
        eval_dataset=_dataset(pixels[task.validation]),
        training_config=config,
    )
    trainer.train()

    contract.save(
        task.out,
        encoder=contract.layer(vae.encoder.hidden[0]),
        mean=contract.layer(vae.encoder.mean),
        scale=contract.layer(vae.encoder.log_variance),
        scale_is="exp(s / 2)",
        decoder=contract.layer(vae.decoder.hidden[0]),
        logits=contract.layer(vae.decoder.logits),
    )


def _dataset(pixels: NDArray[np.uint8]) -> BaseDataset:
    return BaseDataset(torch.from_numpy(pixels).float().div_(255), torch.ones(len(pixels)))


if __name__ == "__main__":
    main()
