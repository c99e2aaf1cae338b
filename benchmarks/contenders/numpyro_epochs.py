"""NumPyro's VAE example: SVI and Trace_ELBO over stax networks, every epoch one call of compiled code.

As there, an epoch leaves out the rows that fill no batch, 112 of 54,000. Unlike there, images and order are
arguments of the compiled functions and not constants in them, which would compile more slowly and shuffle
once; and weights begin as stax proposes, since with the example's normal ones of scale 0.01 the first epoch
ends 45 nats lower.

Source: https://num.pyro.ai, "Example: Variational Autoencoder".
"""

from collections.abc import Callable
from typing import Any

import contract
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from contract import BATCH, HIDDEN, LATENT, LEARNING_RATE, PIXELS
from jax import Array, jit, lax, random
from jax.example_libraries import stax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.svi import SVIState

VALIDATION_BATCH = 125
"""A divisor of 6,000: no row is left out."""


def encoder() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Images to mean and standard deviation of z."""
    scale = stax.serial(stax.Dense(LATENT), stax.Exp)
    return stax.serial(
        stax.Dense(HIDDEN),
        stax.Relu,
        stax.FanOut(2),
        stax.parallel(stax.Dense(LATENT), scale),
    )


def decoder() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Codes to probabilities of the pixels."""
    return stax.serial(
        stax.Dense(HIDDEN),
        stax.Relu,
        stax.Dense(PIXELS),
        stax.Sigmoid,
    )


def model(x: Array) -> None:
    """p(z) and p(x|z)."""
    decode = numpyro.module("decoder", decoder(), (len(x), LATENT))
    with numpyro.plate("data", len(x)):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), jnp.ones(LATENT)).to_event(1))
        # Grey values lie outside the support of a Bernoulli distribution; the example binarises them.
        numpyro.sample("x", dist.Bernoulli(decode(z), validate_args=False).to_event(1), obs=x)


def guide(x: Array) -> None:
    """q(z|x)."""
    encode = numpyro.module("encoder", encoder(), x.shape)
    with numpyro.plate("data", len(x)):
        numpyro.sample("z", dist.Normal(*encode(x)).to_event(1))


def main() -> None:
    """Train, validate and save."""
    task = contract.task()
    pixels = jnp.asarray(contract.images(task.data_dir, "train") / np.float32(255))
    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), Trace_ELBO())
    state = svi.init(random.PRNGKey(task.seed), pixels[:BATCH])

    def batch(pixels: Array, order: Array, i: int, size: int) -> Array:
        return jnp.take(pixels, lax.dynamic_slice_in_dim(order, i * size, size), axis=0)

    @jit
    def train(state: SVIState, pixels: Array, order: Array) -> tuple[SVIState, Array]:
        def step(i: int, carried: tuple[SVIState, Array]) -> tuple[SVIState, Array]:
            state, total = carried
            state, loss = svi.update(state, batch(pixels, order, i, BATCH))
            return state, total + loss

        return lax.fori_loop(0, len(order) // BATCH, step, (state, jnp.zeros(())))

    @jit
    def validate(state: SVIState, pixels: Array, order: Array) -> Array:
        def step(i: int, total: Array) -> Array:
            return total + svi.evaluate(state, batch(pixels, order, i, VALIDATION_BATCH))

        return lax.fori_loop(0, len(order) // VALIDATION_BATCH, step, jnp.zeros(()))

    shuffle = np.random.default_rng(task.seed)
    for epoch in range(1, task.epochs + 1):
        state, total = train(state, pixels, shuffle.permutation(task.train))
        held_out = validate(state, pixels, task.validation)
        print(epoch, total / (len(task.train) // BATCH * BATCH), held_out / len(task.validation))

    parameters = svi.get_params(state)
    hidden, _, _, (mean, (scale, _)) = parameters["encoder$params"]
    decoded, _, logits, _ = parameters["decoder$params"]
    contract.save(
        task.out,
        encoder=hidden,
        mean=mean,
        scale=scale,
        scale_is="exp(s)",
        decoder=decoded,
        logits=logits,
    )


if __name__ == "__main__":
    main()
