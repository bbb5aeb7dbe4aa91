"""DDP: nothing changes, since gradients are the same in all processes, and so are decisions that hang on nothing else.

Run as ``torchrun --nproc-per-node 2 -m examples.ddp_torchrun``; ``python -m examples.ddp_torchrun`` is one process.
"""

import os
import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import pfopt.torch
from examples import digits

STEPS = 300


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``torch.optim.SGD``, to compare with."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if "RANK" in os.environ:
            dist.init_process_group("gloo")
        else:
            dist.init_process_group("gloo", f"file://{folder}/store", rank=0, world_size=1)
        try:
            return train(rate, steps, dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()


def train(rate: float | None, steps: int, rank: int, world: int) -> float:
    """Every process takes its share of a batch."""
    data, (images, labels) = digits.load()
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    if rate is None:
        opt = pfopt.torch.ParameterFreeSGD(
            model.parameters(), steps
        )  # for torch.optim.SGD(…, lr, momentum=0.9)
    else:
        opt = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    for batch in digits.batches(data, steps):
        share, answers = (torch.from_numpy(each[rank::world]) for each in batch)
        opt.zero_grad()
        cross_entropy(model(share), answers.long()).backward()
        opt.step()
    return float((model(torch.from_numpy(images)).argmax(-1) == torch.from_numpy(labels)).float().mean())


if __name__ == "__main__":
    accuracy = main()
    print(f"test accuracy {accuracy:.3f}")
