"""The recipe of the ``vae`` folder of pytorch/examples: torchvision, a data loader, losses read every step.

Source: https://github.com/pytorch/examples/tree/main/vae; without its pictures after every epoch.
"""

import contract
import torch
from contract import BATCH, HIDDEN, LATENT, LEARNING_RATE, PIXELS
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

PRINT_EVERY = 10


class VAE(nn.Module):
    """Encoder, a draw of z, decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(PIXELS, HIDDEN)
        self.mean = nn.Linear(HIDDEN, LATENT)
        self.log_variance = nn.Linear(HIDDEN, LATENT)
        self.decoded = nn.Linear(LATENT, HIDDEN)
        self.logits = nn.Linear(HIDDEN, PIXELS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of the pixels, mean and log-variance of z."""
        hidden = functional.relu(self.hidden(x.view(-1, PIXELS)))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        deviation = torch.exp(0.5 * log_variance)
        z = mean + torch.randn_like(deviation) * deviation
        return torch.sigmoid(self.logits(functional.relu(self.decoded(z)))), mean, log_variance


def loss(x: Tensor, probabilities: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Cross-entropy and KL, sums over the batch."""
    cross_entropy = functional.binary_cross_entropy(probabilities, x.view(-1, PIXELS), reduction="sum")
    return cross_entropy - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())


def main() -> None:
    """Train, validate and save."""
    task = contract.task()
    torch.manual_seed(task.seed)
    mnist = datasets.MNIST(str(task.data_dir), train=True, transform=transforms.ToTensor())
    train = DataLoader(Subset(mnist, task.train.tolist()), batch_size=BATCH, shuffle=True)
    validation = DataLoader(Subset(mnist, task.validation.tolist()), batch_size=BATCH, shuffle=False)
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=LEARNING_RATE)
    for epoch in range(1, task.epochs + 1):
        vae.train()
        total = 0.0
        for i, (x, _) in enumerate(train):
            optimizer.zero_grad()
            step = loss(x, *vae(x))
            step.backward()
            total += step.item()
            optimizer.step()
            if i % PRINT_EVERY == 0:
                print(f"epoch {epoch}, batch {i} of {len(train)}: {step.item() / len(x):.4f}")
        vae.eval()
        held_out = 0.0
        with torch.no_grad():
            for x, _ in validation:
                held_out += loss(x, *vae(x)).item()
        print(epoch, total / len(task.train), held_out / len(task.validation))

    contract.save(
        task.out,
        encoder=contract.layer(vae.hidden),
        mean=contract.layer(vae.mean),
        scale=contract.layer(vae.log_variance),
        scale_is="exp(s / 2)",
        decoder=contract.layer(vae.decoded),
        logits=contract.layer(vae.logits),
    )


if __name__ == "__main__":
    main()
