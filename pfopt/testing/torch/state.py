"""What is saved, copied and hooked: a run that is interrupted must be the run that is not."""
# pyright: reportPrivateImportUsage=false

import copy
import pickle
import unittest

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from pfopt.testing.findings import STEPS, demand
from pfopt.testing.torch.problems import Make, Regression, deployed, on_disk, ready, same, train

CUTS = (1, 3, 10, 20, 40)  # after so many steps a run is interrupted


def resumes_bit_for_bit(make: Make) -> None:
    """A run that is saved and loaded after 1, 3, 10, 20 or 40 steps must end at the bits of the one that is not.

    ``state_dict`` goes through ``torch.save`` and ``torch.load(weights_only=True)``, torch's default, which reads
    tensors and plain values alone. Anything else that an optimizer remembers is lost there, and usually in silence.
    """
    whole = _whole(make)
    for cut in CUTS:
        problem = Regression()
        optimizer = ready(make, problem.params)
        train(problem, optimizer, range(cut))
        saved = on_disk({"model": problem.model.state_dict(), "optimizer": optimizer.state_dict()})
        again = Regression()
        optimizer = ready(make, again.params)
        again.model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        _demand_same(whole, again, optimizer, cut, "Loaded")


def survives_copying(make: Make) -> None:
    """A deep copy and a pickle of model and optimizer must go on with the same bits.

    Both go through ``__getstate__``, which keeps ``state``, ``param_groups`` and ``defaults``: attributes beside them
    are lost. Copies are how trainers keep the best model, and pickles how work moves to another process.
    """
    whole = _whole(make)
    for name, copied in (
        ("Copied", copy.deepcopy),
        ("Pickled", lambda value: pickle.loads(pickle.dumps(value))),  # noqa: S301 (its own)
    ):
        for cut in CUTS[::2]:
            problem = Regression()
            optimizer = ready(make, problem.params)
            train(problem, optimizer, range(cut))
            again = Regression()
            again.model, optimizer = copied((problem.model, optimizer))
            _demand_same(whole, again, optimizer, cut, name)


def distributed_checkpoints(make: Make) -> None:
    """``get_optimizer_state_dict`` and ``set_optimizer_state_dict`` must bring a run back bit for bit.

    They are what ``torch.distributed.checkpoint``, torchtitan and FSDP2 save by, flat or not, keyed by the names of
    parameters. Before each of them torch lets a fresh optimizer step once, at zero gradients and a rate of zero.
    """
    whole = _whole(make)
    for flat in (False, True):
        options = StateDictOptions(flatten_optimizer_state_dict=flat)
        for cut in CUTS[::2]:
            problem = Regression()
            optimizer = ready(make, problem.params)
            train(problem, optimizer, range(cut))
            for param in problem.params:
                param.grad = None
            weights = copy.deepcopy(problem.model.state_dict())
            saved = copy.deepcopy(get_optimizer_state_dict(problem.model, optimizer, options=options))
            again = Regression()
            again.model.load_state_dict(weights)
            optimizer = ready(make, again.params)
            set_optimizer_state_dict(again.model, optimizer, saved, options=options)
            _demand_same(whole, again, optimizer, cut, "Flat" if flat else "Nested")


def calls_hooks(make: Make) -> None:
    """Hooks before and after a step, a saving and a loading must each be called once for it.

    Profilers, loggers and sharded training hang on them; a ``step`` that calls another optimizer's, or a
    ``load_state_dict`` that does not call torch's, drops or doubles them.
    """
    problem = Regression()
    optimizer = ready(make, problem.params)
    called: list[str] = []

    def note(name: str) -> object:
        return lambda *_: called.append(name)

    for name in ("step_pre", "step_post", "state_dict_pre", "state_dict_post"):
        getattr(optimizer, f"register_{name}_hook")(_returning_none(note(name)))
    for name in ("load_state_dict_pre", "load_state_dict_post"):
        getattr(optimizer, f"register_{name}_hook")(_returning_none(note(name)))
    train(problem, optimizer, range(2))
    demand(called == ["step_pre", "step_post"] * 2, f"Two steps called {called}.")
    called.clear()
    saved = optimizer.state_dict()
    demand(called == ["state_dict_pre", "state_dict_post"], f"state_dict called {called}.")
    called.clear()
    optimizer.load_state_dict(saved)
    expected = ["load_state_dict_pre", "load_state_dict_post"]
    demand([name for name in called if name in expected] == expected, f"load_state_dict called {called}.")


def refuses_another_models_state(make: Make) -> None:
    """The state of another model must be refused by a ValueError that says what differs.

    One that is taken in trains on with averages of other weights, or fails later, where nobody looks for the reason.
    torch itself compares the number of parameters only, and not their shapes; a ``step`` that raises then is too late.
    """
    problem = Regression()
    optimizer = ready(make, problem.params)
    train(problem, optimizer, range(3))
    saved = on_disk(optimizer.state_dict())
    if not any(
        isinstance(value, torch.Tensor) for state in saved["state"].values() for value in state.values()
    ):
        raise unittest.SkipTest("It keeps no tensors.")
    fewer = ready(make, problem.params[:2])
    wider = ready(make, [torch.nn.Parameter(torch.ones(3, *param.shape)) for param in problem.params])
    for other, what in ((fewer, "fewer parameters"), (wider, "parameters of other shapes")):
        try:
            other.load_state_dict(saved)
        except ValueError:
            continue
        raise AssertionError(f"The state of a model with {what} was loaded without a word.")


def _returning_none(function: object) -> object:
    """A hook that returns something else replaces what it was called with."""

    def hook(*args: object) -> None:
        function(*args)  # type: ignore[operator]

    return hook


def _whole(make: Make) -> Regression:
    """The run that nothing interrupts."""
    problem = Regression()
    train(problem, optimizer := ready(make, problem.params))
    with deployed(optimizer):
        problem.model = copy.deepcopy(problem.model)
    return problem


def _demand_same(whole: Regression, again: Regression, optimizer: object, cut: int, how: str) -> None:
    """The rest of the run ends where the whole one did."""
    train(again, optimizer, range(cut, STEPS))
    with deployed(optimizer):
        equal = same(again.params, whole.params)
    demand(equal, f"{how} after {cut} of {STEPS} steps, the run ends at other parameters.")
