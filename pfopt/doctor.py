"""``pfopt doctor``: what is installed, what a step will be computed by, and what is slow here.

It works where torch or jax is missing or broken, and imports them only when it is asked.
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

from pfopt import __version__
from pfopt.status import sentence

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report() -> Iterator[str]:
    """The lines of the report, each as soon as it is known."""
    yield f"pfopt {__version__}, Python {platform.python_version()}, {platform.platform()}, {CPUS} CPUs"
    yield f"numpy {np.__version__}: pfopt.minimize"
    yield from _section("torch", ("torch",), _torch)
    yield from _section("optax", ("jax", "optax"), _jax)
    yield from _section("plot", ("matplotlib",), lambda _: iter(["pfopt.plot draws"]))


def _section(extra: str, names: tuple[str, ...], tell: Callable[[Any], Iterator[str]]) -> Iterator[str]:
    """What is to be said of an extra, or why there is nothing."""
    modules = []
    for name in names:
        try:
            modules.append(import_module(name))
        except ModuleNotFoundError:
            yield f"{name} is not installed: pip install 'pfopt[{extra}]'"
            return
        except Exception as error:
            yield f"{name} is installed and cannot be imported: {sentence(error)}"
            return
    yield ", ".join(f"{name} {module.__version__}" for name, module in zip(names, modules, strict=True)) + ":"
    for line in tell(modules[0]):
        yield f"  {line}"


def _torch(torch: Any) -> Iterator[str]:
    from pfopt.torch import compilers

    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices += [torch.device("cuda", place) for place in range(torch.cuda.device_count())]
    elif shutil.which("nvidia-smi"):
        yield f"slow: a GPU seems to be here, and this build of torch ({torch.__version__}) cannot use it"
    threads = torch.get_num_threads()
    if threads < CPUS:
        yield f"slow: torch computes with {threads} of {CPUS} CPUs; OMP_NUM_THREADS or torch.set_num_threads"
    yield "by default (fused=None) moves are eager, many tensors at once; one by one with foreach=False"
    for device in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} threads"
        try:
            compilers.check(device)
        except Exception as error:
            compiler = compilers.on(device)
            yield f"{device} ({name}): fused=True is refused, {compiler} does not work: {sentence(error)}"
            yield "  slow: large models, whose eager moves are several passes over memory"
        else:
            yield f"{device} ({name}): fused=True works, by {compilers.on(device)}; {_gain(device)}"
    yield "around a base its own kernels step: give it fused=True or foreach=True itself"


def _gain(device: Any) -> str:
    from pfopt.torch.bundles import LARGE

    if device.type == "cpu":
        return (
            f"tensors of {LARGE['cpu']} entries and more move in a pass or two, after seconds of compilation"
        )
    return "all tensors of a group are measured and moved by a launch each"


def _jax(jax: Any) -> Iterator[str]:
    kinds = sorted({device.platform for device in jax.devices()})
    yield f"one program of XLA on {', '.join(kinds)}; it takes seconds to compile, once"
    if kinds == ["cpu"] and shutil.which("nvidia-smi"):
        yield "slow: a GPU seems to be here, and this build of jax cannot use it"
    if not jax.config.jax_compilation_cache_dir:
        yield "slow: every process compiles anew; set JAX_COMPILATION_CACHE_DIR to a folder that keeps programs"
