"""Bytes that an optimizer keeps for every parameter, once it trains, and that gradients take at most on the way."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from benchmarks.optimizers import OURS, PLAIN, warmed_up
from benchmarks.timing import DEVICE, table
from benchmarks.training import Network, Residual, transformer
from pfopt.torch import ParameterFree, ParameterFreeSGD

SIZE = 2**16
STEPS = 16  # of which three quarters are the main run's
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


TRAINERS: dict[
    str, Callable[[list[Parameter]], Callable[[], object]]
] = {  # to what steps after a backward pass
    "AdamW": lambda params: AdamW(params).step,
    "AdamW, in backward": lambda params: in_hooks(params),
    "ParameterFreeSGD": lambda params: ParameterFreeSGD(params, STEPS).step,
    "ParameterFreeSGD, in backward": lambda params: in_backward(ParameterFreeSGD(params, STEPS)),
    "ParameterFree(AdamW)": lambda params: ParameterFree(AdamW(params), STEPS).step,
    "ParameterFree(AdamW), in backward": lambda params: in_backward(ParameterFree(AdamW(params), STEPS)),
}


def held(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor in what an optimizer keeps, once."""
    if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in seen:
        seen.add(value.untyped_storage().data_ptr())
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from held(each, seen)


def per_parameter(optimizer: Optimizer, param: Parameter) -> float:
    """Bytes, the parameter itself and its gradient left out."""
    seen = {param.data_ptr()}
    states: list[Any] = [dict(optimizer.state)]
    if hasattr(optimizer, "base"):
        states.append(dict(optimizer.base.state))  # pyright: ignore[reportAttributeAccessIssue]
    return sum(tensor.untyped_storage().nbytes() for state in states for tensor in held(state, seen)) / SIZE


def deep_mlp() -> Network:
    """24 layers of 66k parameters, batches of 32."""
    model = nn.Sequential(*(Residual(nn.Linear(256, 256), nn.ReLU()) for _ in range(24)))
    return Network(model, torch.randn(32, 256), torch.randint(256, (32,)))


def in_backward(optimizer: ParameterFreeSGD | ParameterFree) -> Callable[[], object]:
    """An optimizer of ours that steps so."""
    optimizer.step_in_backward()
    return optimizer.step


def in_hooks(params: list[Parameter]) -> Callable[[], object]:
    """An AdamW for each parameter, that steps in its hook; nothing is left to do after the backward pass."""
    for param in params:
        own = AdamW([param])

        def step(param: Tensor, own: AdamW = own) -> None:
            own.step()
            param.grad = None

        param.register_post_accumulate_grad_hook(step)
    return lambda: None


def most_of_gradients(network: Network, trainer: Callable[[list[Parameter]], Callable[[], object]]) -> float:
    """The bytes of all gradients together, over the number of parameters, where they were most in a short run."""
    model, inputs, targets = network.model.to(DEVICE), network.inputs.to(DEVICE), network.targets.to(DEVICE)
    params, found = list(model.parameters()), [0]

    def count(_: Tensor) -> None:
        found.append(sum(param.grad.nbytes for param in params if param.grad is not None))

    for param in params:
        param.register_post_accumulate_grad_hook(count)  # before the optimizer's own, which let go of it
    step = trainer(params)
    for _ in range(STEPS):
        model.zero_grad()
        F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten()).backward()
        step()
    return max(found) / sum(param.numel() for param in params)


def report() -> str:
    """Both tables."""
    return f"{of_states()}\n\n{of_gradients()}"


def of_gradients() -> str:
    """One column a network."""
    networks = {"MLP of 24 layers": deep_mlp, "transformer of 4 blocks": transformer}
    rows = [
        [name, *(f"{most_of_gradients(make(), trainer):.2f}" for make in networks.values())]
        for name, trainer in TRAINERS.items()
    ]
    return table(["bytes of gradients a parameter, at most", *networks], rows)


def of_states() -> str:
    """One column a dtype."""
    rows = []
    for name in [*PLAIN, *OURS]:
        row = [name]
        for dtype in DTYPES.values():
            param = Parameter(torch.randn(256, 256, device=DEVICE).to(dtype))

            def gradient(param: Parameter = param) -> None:
                param.grad = 0.1 * param.detach() + 1e-3

            gradient()
            if name in OURS:
                make, phase = OURS[name]
                optimizer = warmed_up(make([param]), phase, gradient)
            else:
                optimizer = PLAIN[name]([param])
                optimizer.step()
            row.append(f"{per_parameter(optimizer, param):.0f}")
        rows.append(row)
    return table(["bytes of state a parameter", *DTYPES], rows)
