"""A pole on a cart (Barto, Sutton & Anderson, 1983), held up by a policy that is trained by policy gradients."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks import texts
from experiments.tasks.data import DataDir
from experiments.tasks.networks import Split
from experiments.tasks.seeded import SeededTask
from experiments.tasks.vision import perceptron

GRAVITY, POLE_MASS, MASS, HALF_LENGTH, FORCE, TICK = 9.8, 0.1, 1.1, 0.5, 10.0, 0.02  # MASS: cart and pole
FALLEN, AWAY = 0.2095, 2.4  # radians and metres at which an episode is lost
STARTS = 1000
SPREAD = 0.1  # of the starts, in every coordinate


def tick(state: Tensor, push: Tensor) -> Tensor:
    """States (rows, 4: place, speed, angle, turning) after a tick of Euler's method; ``push`` is -1 or 1, (rows,)."""
    place, speed, angle, turning = state.unbind(1)
    pushed = (FORCE * push + POLE_MASS * HALF_LENGTH * turning.square() * angle.sin()) / MASS
    inertia = HALF_LENGTH * (4 / 3 - POLE_MASS * angle.cos().square() / MASS)
    faster = (GRAVITY * angle.sin() - angle.cos() * pushed) / inertia
    ahead = pushed - POLE_MASS * HALF_LENGTH * faster * angle.cos() / MASS
    moved = (place + TICK * speed, speed + TICK * ahead, angle + TICK * turning, turning + TICK * faster)
    return torch.stack(moved, 1)


def cost(state: Tensor) -> Tensor:
    """Of a state, (rows,): how far from the middle and upright it is, 1 at most; 1 where the episode is lost."""
    return ((state[:, 0] / AWAY).square() + (state[:, 2] / FALLEN).square()).clamp(max=1.0)


class Policy(nn.Module):
    """A perceptron that pushes left or right.

    In training its output is a surrogate whose gradient is that of the expected cost (Williams, 1992), with the costs
    that follow an action and their batch's mean as a baseline; in evaluation the mean cost of the likelier pushes.
    """

    def __init__(self, width: int, ticks: int) -> None:
        super().__init__()
        self.ticks = ticks
        self.network = perceptron(4, width, width, 2)

    def forward(self, start: Tensor) -> Tensor:
        """Starts (rows, 4) to surrogates or mean costs (rows,)."""
        with torch.no_grad():
            states, actions, costs = self._episodes(start)
        if not self.training:
            return costs.mean(0)
        following = costs.flip(0).cumsum(0).flip(0) / self.ticks
        advantages = following - following.mean(1, keepdim=True)
        chosen = -F.cross_entropy(self.network(states).flatten(0, 1), actions.flatten(), reduction="none")
        return (advantages * chosen.view_as(advantages)).sum(0)

    def _episodes(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States (ticks, rows, 4), actions and costs (ticks, rows); what is lost stays lost."""
        lost = torch.zeros(len(state), dtype=torch.bool, device=state.device)
        states, actions, costs = [], [], []
        for _ in range(self.ticks):
            logits = self.network(state)
            margin = logits[:, 1] - logits[:, 0]
            uniform = torch.rand_like(margin) if self.training else torch.full_like(margin, 0.5)
            action = (uniform < margin.sigmoid()).long()
            states.append(state)
            actions.append(action)
            state = torch.where(lost[:, None], state, tick(state, 2.0 * action - 1.0))
            lost = lost | (state[:, 0].abs() > AWAY) | (state[:, 2].abs() > FALLEN)
            costs.append(torch.where(lost, 1.0, cost(state)))
        return torch.stack(states), torch.stack(actions), torch.stack(costs)


def mean_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean of what the policy returns; there are no targets."""
    del targets
    return outputs.mean()


def starts() -> Split:
    """Random starts, shape (rows, 4), and no targets."""
    parts = [SPREAD * (2 * torch.rand(STARTS, 4, generator=texts.generator(seed)) - 1) for seed in (4, 5)]
    none = torch.zeros(STARTS)
    return Split(parts[0], none, parts[1], none)


def task(name: str, data_dir: DataDir, device: torch.device, *, width: int, ticks: int) -> SeededTask:
    """Mean costs of episodes; value and test metric are those of the likelier pushes."""
    del data_dir  # there are none
    return SeededTask(name, starts, partial(Policy, width, ticks), mean_output, "loss", 500, device)
