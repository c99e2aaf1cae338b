"""Training steps of the same maths as pyrovae's, as they are written in PyTorch; knows no Pyro.

Every model has its parameters in the order of pyrovae's program: what stands before the networks, encoder,
decoder. Its forward is the loss of a batch, minus the bound of log p(x) in nats per datum.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import binary_cross_entropy_with_logits, linear, softplus

LATENT, HIDDEN = 20, 400
LEARNING_RATE = 1e-3

SMALLEST_SCALE, UNIT_SCALE = 1e-5, math.log(math.e - 1)
LOG_2_PI = math.log(2 * math.pi)


def mlp(features: int = 2 * LATENT) -> list[nn.Module]:
    """Encoder and decoder, 784-400-20."""
    return [
        nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, features)),
        nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784)),
    ]


def conv(features: int = 2 * LATENT) -> list[nn.Module]:
    """Encoder and decoder of two strided convolutions and a dense layer each, for (1, 28, 28)."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.ReLU(),
        nn.Linear(256, features),
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, 256),
        nn.ReLU(),
        nn.Linear(256, 64 * 7 * 7),
        nn.ReLU(),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1),
    )
    return [encoder, decoder]


class VAE(nn.Module):
    """Normal prior, normal posterior, Bernoulli likelihood.

    Args:
        networks: encoder and decoder.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoder, self.decoder = networks

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch, nats per datum."""
        z, kl = self.draw(self.encoder(x))
        cross_entropy = binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return (cross_entropy + kl.sum()) / len(x)

    def draw(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z ~ q(z|x), and log q(z|x) - log p(z) there."""
        mean, scale = posterior(features)
        noise = torch.randn_like(mean)
        z = mean + scale * noise
        return z, (0.5 * (z.square() - noise.square()) - scale.log()).sum(-1)


class IWAE(VAE):
    """The same with the importance-weighted bound of K draws.

    Args:
        networks: encoder and decoder.
        particles: K.
    """

    def __init__(self, networks: Sequence[nn.Module], particles: int = 16) -> None:
        super().__init__(networks)
        self.particles = particles

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch, nats per datum."""
        features = self.encoder(x)
        z, kl = self.draw(features.expand(self.particles, *features.shape))
        logits = self.decoder(z)
        log_px = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return math.log(self.particles) - (log_px - kl).logsumexp(0).mean()


class Vamp(VAE):
    """The prior is a mixture of posteriors at learned pseudo-inputs, scored by two products of matrices.

    Args:
        networks: encoder and decoder.
        components: number of pseudo-inputs.
    """

    def __init__(self, networks: Sequence[nn.Module], components: int = 500) -> None:
        super().__init__(networks)
        self.pseudo_inputs = nn.Parameter(torch.rand(components, 784))

    def draw(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z ~ q(z|x), and log q(z|x) - log p(z) there."""
        mean, scale = posterior(features)
        noise = torch.randn_like(mean)
        z = mean + scale * noise
        log_q = (-0.5 * noise.square() - scale.log()).sum(-1)
        return z, log_q - self.log_prior(z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), but for the constant of a normal density, which log q(z|x) is without too."""
        mean, scale = posterior(self.encoder(self.pseudo_inputs))
        precision = scale.square().reciprocal()
        of_component = 0.5 * (mean.square() * precision).sum(-1) + scale.log().sum(-1)
        exponents = z @ (mean * precision).T - 0.5 * z.square() @ precision.T - of_component
        return exponents.logsumexp(-1) - math.log(len(self.pseudo_inputs))


class MaskedLinear(nn.Linear):
    """A layer in which some units see no others.

    Args:
        seen: degrees of the inputs.
        seeing: degrees of the outputs: each sees inputs of its own degree and below.
    """

    mask: Tensor

    def __init__(self, seen: Tensor, seeing: Tensor) -> None:
        super().__init__(len(seen), len(seeing))
        self.register_buffer("mask", (seeing.unsqueeze(-1) >= seen).float())

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return linear(x, self.weight * self.mask, self.bias)


class Autoregressive(nn.Sequential):
    """The masked network of one transform: shift and log-scale of a coordinate from those before it.

    Args:
        size: number of coordinates.
        context: features that all of them see.
        hidden: units of the two hidden layers.
    """

    def __init__(self, size: int, context: int, hidden: Sequence[int]) -> None:
        coordinates = torch.arange(1, size + 1)
        degrees = [torch.cat([torch.zeros(context), coordinates])]
        degrees += [torch.linspace(1, size, units).round() - 1 for units in hidden]
        first, second = (MaskedLinear(seen, seeing) for seen, seeing in pairwise(degrees))
        last = MaskedLinear(degrees[-1], (coordinates - 1).repeat(2))
        super().__init__(first, nn.Tanh(), second, nn.Tanh(), last)


class IAF(VAE):
    """The posterior is a normal under inverse autoregressive transforms.

    Args:
        networks: encoder and decoder.
        flows: number of transforms.
        context: features that all of them see.
        hidden: units of each hidden layer of a transform.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        flows: int = 4,
        context: int = 32,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        nn.Module.__init__(self)
        self.flows = nn.ModuleList(Autoregressive(LATENT, context, hidden) for _ in range(flows))
        self.encoder, self.decoder = networks

    def draw(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z ~ q(z|x), and log q(z|x) - log p(z) there."""
        mean, scale = posterior(features[:, : 2 * LATENT])
        context = features[:, 2 * LATENT :]
        noise = torch.randn_like(mean)
        z = mean + scale * noise
        log_scales = scale.log()
        for flow in self.flows:
            shift, log_scale = flow(torch.cat([context, z], -1)).chunk(2, -1)
            log_scale = log_scale / (1 + (log_scale / 3).square()).sqrt()
            z = (shift + log_scale.exp() * z).flip(-1)
            log_scales = log_scales + log_scale
        return z, (0.5 * (z.square() - noise.square()) - log_scales).sum(-1)


def posterior(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale."""
    mean, unbounded = features.chunk(2, -1)
    return mean, SMALLEST_SCALE + softplus(unbounded + UNIT_SCALE)


def eager(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """A step as in any tutorial of PyTorch, but for the fused optimiser."""
    return _stepping(model, x, torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True))


def _stepping(model: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    def step() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(x)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def compiled(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """A step whose loss and gradients are one graph, captured together and compiled."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    names, parameters = zip(*model.named_parameters(), strict=True)
    detached = [parameter.detach() for parameter in parameters]

    def loss_and_gradients(values: list[Tensor], x: Tensor) -> tuple[Tensor, ...]:
        values = [value.detach().requires_grad_() for value in values]
        loss = functional_call(model, dict(zip(names, values, strict=True)), (x,))
        return loss.detach(), *torch.autograd.grad(loss, values)

    graph = make_fx(loss_and_gradients)(detached, x)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    # With torch's own generator, so that it draws what the others draw.
    run = torch.compile(graph, fullgraph=True, dynamic=False, options={"fallback_random": True})

    def step() -> Tensor:
        loss: Tensor
        loss, *gradients = run(detached, x)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return loss

    return step


def replayed(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """A step that is one CUDA graph, the optimiser included; not tried yet on a machine that has CUDA."""
    rate = torch.zeros((), device=x.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True, capturable=True)
    step = _stepping(model, x, optimizer)
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):  # allocates what a recorded step finds allocated
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad()
    with torch.cuda.graph(graph):
        loss = step()
    rate.fill_(LEARNING_RATE)

    def replay() -> Tensor:
        graph.replay()
        return loss

    return replay
