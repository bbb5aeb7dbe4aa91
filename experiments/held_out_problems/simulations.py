"""Simulations: energies of molecules, and a pole that is held upright."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, Rows, generator, supervised
from experiments.tasks.networks import Split

_LARGEST, _SMALLEST = 14, 8  # atoms of a molecule
_OF_ELEMENT = torch.tensor([-20.0, 0.0, 0.5, 1.0])  # energies of electrons: none, carbon, nitrogen, oxygen
_OF_BOND = torch.tensor([0.0, 1.0, 0.8])  # between two atoms: none, and two kinds
_HORIZON, _SPACING = 25, 0.05  # steps of a rollout, and seconds of a step
_DISCOUNT = 0.95
_CRITIC, _ENTROPY = 0.5, 0.001  # what their losses count


class MessagePassing(nn.Module):
    """Molecules (rows, atoms, atoms) to energies of an atom (rows, 1), by messages along bonds (Gilmer et al., 2017).

    Elements are on the diagonal, 0 where there is no atom, and the kinds of bonds beside it, 0 where there is none.
    """

    def __init__(self, width: int = 32, rounds: int = 4) -> None:
        super().__init__()
        self.rounds = rounds
        self.embedding = nn.Embedding(len(_OF_ELEMENT), width)
        self.sent = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in _OF_BOND[1:])
        self.update = nn.GRUCell(width, width)
        self.readout = perceptron(2 * width, width, 1)

    def forward(self, molecules: Tensor) -> Tensor:
        """Energies."""
        elements = molecules.diagonal(dim1=1, dim2=2)
        kinds = [(molecules - elements.diag_embed() == kind + 1).float() for kind in range(len(self.sent))]
        first = hidden = self.embedding(elements)
        for _ in range(self.rounds):
            messages = [kind @ sent(hidden) for kind, sent in zip(kinds, self.sent, strict=True)]
            received = torch.stack(messages).sum(0)
            hidden = self.update(received.flatten(0, 1), hidden.flatten(0, 1)).view_as(hidden)
        of_atom = self.readout(torch.cat([first, hidden], 2))[..., 0]
        present = (elements > 0).float()
        return ((of_atom * present).sum(1) / present.sum(1))[:, None]


def _energies(molecules: Tensor) -> Tensor:
    """Mean energy of the electrons of conjugated molecules, one an atom, by Hückel's method; shape (rows, 1)."""
    elements = molecules.diagonal(dim1=1, dim2=2)
    bonds = molecules - elements.diag_embed()
    levels = torch.linalg.eigvalsh(_OF_ELEMENT[elements].diag_embed() + _OF_BOND[bonds]).flip(1)
    electrons = (elements > 0).sum(1, keepdim=True)
    filled = (electrons - 2 * torch.arange(_LARGEST)).clamp(0, 2)
    return (filled * levels).sum(1, keepdim=True) / electrons


def _molecules(count: int, random: torch.Generator) -> Rows:
    """Chains with branches and at most two rings; molecules (count, atoms, atoms) and energies (count, 1)."""
    rows, atoms = torch.arange(count), torch.randint(_SMALLEST, _LARGEST + 1, (count, 1), generator=random)
    matrix = torch.zeros(count, _LARGEST, _LARGEST, dtype=torch.long)
    ends = [
        (place, torch.randint(max(0, place - 3), place, (count,), generator=random))
        for place in range(1, _LARGEST)
    ]
    rings = torch.randint(_SMALLEST, (2, 2, count), generator=random)
    for first, second in [*ends, *rings]:
        matrix[rows, first, second] = torch.randint(1, len(_OF_BOND), (count,), generator=random)
    matrix = torch.maximum(matrix, matrix.mT) * (1 - torch.eye(_LARGEST, dtype=torch.long))
    kinds = torch.tensor([0.7, 0.15, 0.15])
    elements = 1 + torch.multinomial(kinds, count * _LARGEST, replacement=True, generator=random).view(
        count, -1
    )
    present = torch.arange(_LARGEST) < atoms
    molecules = (matrix + elements.diag_embed()) * (present[:, None] & present[:, :, None])
    return molecules, _energies(molecules)


def molecules(seed: int) -> Problem:
    """Energies of molecules for each of their atoms, standardised, by passing messages."""
    (inputs, targets), (test_inputs, test_targets) = (
        _molecules(2000, generator(47)),
        _molecules(500, generator(48)),
    )
    mean, deviation = targets.mean(), targets.std()
    split = Split(inputs, (targets - mean) / deviation, test_inputs, (test_targets - mean) / deviation)
    return supervised(seed, MessagePassing(), split, F.mse_loss, 32)


class ActorCritic(nn.Module):
    """States (rows, 2) to the mean action (rows,) and to the state's worth (rows,), by a perceptron each."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.actor, self.critic = (perceptron(2, width, width, 1, activation=nn.Tanh) for _ in range(2))
        self.log_deviation = nn.Parameter(torch.tensor(-0.5))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean action, and worth."""
        return self.actor(states)[..., 0], self.critic(states)[..., 0]


def _moved(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """The next states of poles that tend to fall, by a bounded torque, and what they cost."""
    angle, speed = states.unbind(1)
    speed = speed + _SPACING * (9.8 * angle.sin() + 6 * actions.clamp(-1, 1) - 0.1 * speed)
    angle = angle + _SPACING * speed
    return torch.stack([angle, speed], 1), 1 - angle.cos() + 0.01 * actions**2


def actor_critic(seed: int) -> Problem:
    """A pole, to be held upright by an actor with a critic; what is reported is the cost of a step."""
    model = ActorCritic()

    @torch.no_grad()
    def rollout(states: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """All states (steps + 1, rows, 2), the actions taken in them and their costs, each (steps, rows)."""
        visited, actions, costs = [states], [], []
        for _ in range(steps):
            mean = model.actor(visited[-1])[:, 0]
            actions.append(mean + model.log_deviation.exp() * torch.randn(len(mean)))
            following, cost = _moved(visited[-1], actions[-1])
            visited.append(following)
            costs.append(cost)
        return torch.stack(visited), torch.stack(actions), torch.stack(costs)

    def draw() -> Tensor:
        states, actions, costs = rollout(0.2 * torch.randn(16, 2), _HORIZON)
        means, worth = model(states)
        returns = [worth[-1].detach()]
        for cost in costs.flip(0):
            returns.append(_DISCOUNT * returns[-1] - cost)
        target = torch.stack(returns[:0:-1])
        advantages = (target - worth[:-1]).detach()
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        distances = (actions - means[:-1]) * (-model.log_deviation).exp()
        log_density = -0.5 * distances**2 - model.log_deviation  # but for a constant
        policy = -(advantages * log_density).mean() - _ENTROPY * model.log_deviation
        return policy + _CRITIC * F.mse_loss(worth[:-1], target)

    starts, held_out = (0.2 * torch.randn(256, 2, generator=generator(number)) for number in (49, 50))
    return Problem(
        seed,
        model,
        draw,
        training=lambda: rollout(starts, 2 * _HORIZON)[2].mean(),
        held_out=lambda: rollout(held_out, 2 * _HORIZON)[2].mean(),
    )
