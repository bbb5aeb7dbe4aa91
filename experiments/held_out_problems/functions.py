"""Functions, densities and one policy: losses that are no mean over a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, Rows, generator, self_supervised, supervised
from experiments.tasks.networks import Split

_END = 6.0  # of the oscillation
_DIFFUSION_STEPS = 100
_HALF_LOG_2_PI = 0.919


def fourier_mlp(seed: int) -> Problem:
    """A picture by Fourier features of its coordinates (Tancik et al., 2020)."""
    frequencies = 4 * torch.randn(2, 64, generator=generator(6))

    def rows(side: int) -> Rows:
        """Features and brightness of the points of a grid."""
        axis = (torch.arange(side) + 0.5) / side
        points = torch.cartesian_prod(axis, axis)
        x, y = points[:, 0], points[:, 1]
        radius = ((x - 0.5) ** 2 + (y - 0.4) ** 2).sqrt()
        corner = ((x > 0.3) & (y > 0.6)).float()
        brightness = (torch.sin(20 * radius) + corner + 0.3 * torch.sin(40 * x * y))[:, None]
        phases = 2 * math.pi * points @ frequencies
        return torch.cat([torch.sin(phases), torch.cos(phases)], 1), brightness

    return supervised(seed, perceptron(128, 64, 64, 64, 1), Split(*rows(48), *rows(37)), F.mse_loss, 256)


def pinn(seed: int) -> Problem:
    """A damped oscillation from its equation alone: u'' + 0.2 u' + u = 0, u(0) = 0, u'(0) = 1."""
    model = perceptron(1, 32, 32, 1, activation=nn.Tanh)

    def loss(times: Tensor) -> Tensor:
        """Squared residuals at the times after the first one, which is 0."""
        with torch.enable_grad():
            times = times.requires_grad_(True)
            u = model(times)
            (du,) = torch.autograd.grad(u.sum(), times, create_graph=True)
            (ddu,) = torch.autograd.grad(du.sum(), times, create_graph=True)
            residual = ddu + 0.2 * du + u
            return (residual[1:] ** 2).mean() + u[0, 0] ** 2 + (du[0, 0] - 1) ** 2

    grid = torch.linspace(0, _END, 257)[:, None]
    frequency = math.sqrt(1 - 0.1**2)
    solution = torch.exp(-0.1 * grid) * torch.sin(frequency * grid) / frequency
    return Problem(
        seed,
        model,
        draw=lambda: loss(torch.cat([torch.zeros(1, 1), _END * torch.rand(64, 1)])),
        training=lambda: loss(grid.clone()),
        held_out=lambda: F.mse_loss(model(grid), solution),
    )


def ddpm(seed: int) -> Problem:
    """Denoising diffusion (Ho et al., 2020) of a spiral in the plane."""

    def spiral(count: int, random: torch.Generator) -> Tensor:
        angle = 1.5 * math.pi * (1 + 2 * torch.rand(count, generator=random))
        points = torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / 7
        return points + 0.03 * torch.randn(count, 2, generator=random)

    kept = (1 - torch.linspace(1e-4, 0.08, _DIFFUSION_STEPS)).cumprod(0)
    times, network = nn.Embedding(_DIFFUSION_STEPS, 16), perceptron(18, 96, 96, 96, 2, activation=nn.SiLU)

    def loss(points: Tensor) -> Tensor:
        time, noise = torch.randint(_DIFFUSION_STEPS, (len(points),)), torch.randn(points.shape)
        share = kept[time][:, None]
        noisy = share.sqrt() * points + (1 - share).sqrt() * noise
        return F.mse_loss(network(torch.cat([noisy, times(time)], 1)), noise)

    rows, held_out = spiral(4000, generator(7)), spiral(1000, generator(8))
    return self_supervised(seed, nn.ModuleList([times, network]), rows, held_out, loss, 128)


def mdn(seed: int) -> Problem:
    """A mixture density network (Bishop, 1994) for a relation that is not a function."""

    def sample(count: int, random: torch.Generator) -> Rows:
        y = torch.rand(count, 1, generator=random)
        noise = 0.03 * torch.randn(count, 1, generator=random)
        return y + 0.3 * torch.sin(2 * math.pi * y) + noise, y

    def negative_log_likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        logits, mean, log_deviation = outputs.chunk(3, 1)
        distance = (targets - mean) * (-log_deviation).exp()
        parts = F.log_softmax(logits, 1) - 0.5 * distance**2 - log_deviation - _HALF_LOG_2_PI
        return -torch.logsumexp(parts, 1).mean()

    split = Split(*sample(3000, generator(22)), *sample(1000, generator(23)))
    model = perceptron(1, 64, 64, 15, activation=nn.Tanh)
    return supervised(seed, model, split, negative_log_likelihood, 128)


def rosenbrock(seed: int) -> Problem:
    """Rosenbrock's valley in 100 dimensions, with exact gradients; held out: the distance to its end."""
    start = torch.ones(100)
    start[::2] = -1.2
    point = nn.Parameter(start + 0.05 * torch.randn(100))

    def loss() -> Tensor:
        return (100 * (point[1:] - point[:-1] ** 2) ** 2 + (1 - point[:-1]) ** 2).sum()

    return Problem(seed, nn.ParameterList([point]), loss, loss, lambda: (point - 1).norm())


def reinforce(seed: int) -> Problem:
    """A bandit with contexts by policy gradients (Williams, 1992); what is reported is the regret."""
    worth = torch.randn(10, 8, generator=generator(17))
    policy = perceptron(10, 32, 8, activation=nn.Tanh)

    def draw() -> Tensor:
        contexts, uniform, noise = torch.randn(32, 10), torch.rand(32, 1), torch.randn(32)
        log_probabilities = F.log_softmax(policy(contexts), 1)
        below = log_probabilities.detach().exp().cumsum(1) < uniform
        actions = below.sum(1).clamp(max=7)[:, None]
        rewards = (contexts @ worth).gather(1, actions)[:, 0] + noise
        advantages = rewards - rewards.mean()
        return -(advantages * log_probabilities.gather(1, actions)[:, 0]).mean()

    def regret(contexts: Tensor) -> Tensor:
        rewards = contexts @ worth
        return (rewards.amax(1) - (F.softmax(policy(contexts), 1) * rewards).sum(1)).mean()

    rows, held_out = (torch.randn(4000, 10, generator=generator(number)) for number in (18, 19))
    return Problem(seed, policy, draw, lambda: regret(rows), lambda: regret(held_out))
