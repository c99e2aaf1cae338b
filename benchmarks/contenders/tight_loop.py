"""As little as PyTorch needs: bytes in memory, one permutation an epoch, one gather a batch, fused Adam.

No Pyro, no data loader, nothing read back from a step, the KL in closed form.
"""

import contract
import torch
from contract import BATCH, HIDDEN, LATENT, LEARNING_RATE, PIXELS
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

ROWS_AT_ONCE = 1000
"""In validation, which needs no gradients."""


def main() -> None:
    """Train, validate and save."""
    task = contract.task()
    torch.manual_seed(task.seed)
    pixels = torch.from_numpy(contract.images(task.data_dir, "train"))
    train, validation = torch.from_numpy(task.train), torch.from_numpy(task.validation)
    encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def loss(x: Tensor) -> Tensor:
        mean, log_variance = encoder(x).chunk(2, -1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        cross_entropy = binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        return cross_entropy + 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()

    for epoch in range(1, task.epochs + 1):
        total, held_out = torch.zeros(()), torch.zeros(())
        for rows in train[torch.randperm(len(train))].split(BATCH):
            optimizer.zero_grad()
            step = loss(pixels[rows].float().div_(255))
            step.backward()
            optimizer.step()
            total += step.detach()
        with torch.no_grad():
            for rows in validation.split(ROWS_AT_ONCE):
                held_out += loss(pixels[rows].float().div_(255))
        print(epoch, total.item() / len(train), held_out.item() / len(validation))

    mean, scale = contract.halves(encoder[2])
    contract.save(
        task.out,
        encoder=contract.layer(encoder[0]),
        mean=mean,
        scale=scale,
        scale_is="exp(s / 2)",
        decoder=contract.layer(decoder[0]),
        logits=contract.layer(decoder[2]),
    )


if __name__ == "__main__":
    main()
