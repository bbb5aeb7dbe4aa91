"""Problems on which a run may end far off."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Adam

from pfopt.torch import ParameterFree


def game() -> str:
    """Row 15."""
    ends = []
    for seed in range(3):
        torch.manual_seed(seed)
        maker = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        critic = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
        of_critic, of_maker = (ParameterFree(Adam(m.parameters()), 1000) for m in (critic, maker))
        for _ in range(1000):
            real, fake = torch.randn(64, 2) + 2, maker(torch.randn(64, 4))
            of_critic.zero_grad()
            (critic(fake.detach()).mean() - critic(real).mean()).backward()
            of_critic.step()
            with torch.no_grad():
                for param in critic.parameters():
                    param.clamp_(-0.1, 0.1)
            of_maker.zero_grad()
            (-critic(maker(torch.randn(64, 4))).mean()).backward()
            of_maker.step()
        ends.append(max(float(param.detach().abs().max()) for param in maker.parameters()))
    return (
        f"clipped critic, around Adam, three seeds: largest weight {', '.join(f'{end:.2g}' for end in ends)}"
    )


def citations() -> str:
    """Row 16."""
    from experiments.held_out_problems.run import Job, run  # its data is read only here

    found = [run(Job("citations", name, None, 0, 300)) for name in ("pfopt", "pfopt-adamw")]
    told = ", ".join(f"{row['training']:.1g}" for row in found)
    return f"training loss from {found[0]['initial']:.2g} to {told} (ours, around AdamW)"
