"""The weights that ``pyrovae train`` saved, as all other contenders write them; no part of what is timed.

python benchmarks/contenders/pyrovae_weights.py RUN FOLDER
"""

import sys
from pathlib import Path

import contract
from torch import nn

from pyrovae.run import Run


def main(run: str, out: str) -> None:
    """Read the best checkpoint, which is what a user loads, and write its layers."""
    program = Run.load(Path(run)).program
    encoder, decoder = (_linear(part) for part in (program.network.encoder, program.network.decoder))
    mean, scale = contract.halves(encoder[1])
    contract.save(
        Path(out),
        encoder=contract.layer(encoder[0]),
        mean=mean,
        scale=scale,
        scale_is="1e-5 + softplus(s + log(e - 1))",
        decoder=contract.layer(decoder[0]),
        logits=contract.layer(decoder[1]),
    )


def _linear(network: nn.Module) -> list[nn.Linear]:
    return [part for part in network.modules() if isinstance(part, nn.Linear)]


if __name__ == "__main__":
    main(*sys.argv[1:])
