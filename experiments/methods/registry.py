"""Every method by name: one row each. Methods that need a package of their own are imported when they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from experiments.common.names import check_names
from experiments.methods.run import Run

TORCH, JAX = ("torch",), ("jax", "optax")


@dataclass(frozen=True)
class Method:
    """One way to spend the budget.

    Attributes:
        label: Its name in tables.
        role: "ours", "grid" (a whole grid, or one lane of one), or "peer".
        module: Where ``function`` is; what it imports is part of a run's id.
        function: ``(task, seed, setting, *, num_records, **options) -> Run``.
        options: Arguments that make the row what it is.
        packages: Distributions whose versions are part of a run's id.
        needs: What a task must have: "lanes", "jax" or nothing.
    """

    label: str
    role: str
    module: str
    function: str
    options: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = TORCH
    needs: str = ""

    @property
    def framework(self) -> str:
        """torch, optax or numpy."""
        return {"optax_run": "optax", "numpy_oracle": "numpy"}.get(self.module, "torch")

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose code the method consists of; pfopt's own only where it is used."""
        name = f"experiments.methods.{self.module}"
        if self.module == "optax_run":  # shared with the peers, so that what ours imports is named here
            return (name, "pfopt.optax") if self.role == "ours" else (name,)
        return (name,)

    def __call__(self, *args: Any, **options: Any) -> Run:
        """Run it."""
        function: Callable[..., Run] = getattr(
            import_module(f"experiments.methods.{self.module}"), self.function
        )
        return function(*args, **{**self.options, **options})

    def versions(self) -> dict[str, str]:
        """Version of every package, "missing" where it is not installed."""
        return {package: _version(package) for package in self.packages}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _ours(label: str, **options: Any) -> Method:
    return Method(label, "ours", "parameter_free", "run_parameter_free", options)


def _ours_optax(label: str, **options: Any) -> Method:
    options = {"momentum": 0.0, **options}  # its default; the task's is for those that want one
    return Method(label, "ours", "optax_run", "run_optax_parameter_free", options, JAX, "jax")


def _peer(label: str, function: str, package: str, module: str = "peers") -> Method:
    return Method(label, "peer", module, function, {}, (*TORCH, package))


def _rate(label: str, role: str, function: str, **options: Any) -> Method:
    return Method(label, role, "rate", function, options)


def _optax(label: str, function: str, **options: Any) -> Method:
    return Method(label, "peer", "optax_run", function, options, JAX, "jax")


METHODS: dict[str, Method] = {
    "pfopt": _ours("ParameterFreeSGD"),
    "pfopt-adamw": Method("ParameterFree(AdamW)", "ours", "parameter_free", "run_parameter_free_adamw"),
    "pfopt-certified": _ours("Algorithm 1", plan="certified", output="average"),
    "pfopt-certified-linear": _ours("Algorithm 1, linear decay", plan="certified", output="last"),
    "pfopt-numpy": Method("pfopt.minimize", "ours", "numpy_oracle", "run_oracle", {}, ("numpy",), "lanes"),
    "pfopt-optax": _ours_optax("parameter_free_sgd (optax)"),
    "sgd-grid": Method("SGD grid", "grid", "grid_run", "run_grid", {}, TORCH, "lanes"),
    "sgd": Method("SGD, one learning rate", "grid", "lane", "run_sgd_lane"),
    "adamw": Method("AdamW, one learning rate", "grid", "lane", "run_adamw_lane"),
    "sgd-cosine": _rate("SGD, cosine, one learning rate", "grid", "run_sgd"),
    "adamw-warm-up": _rate("AdamW, warm-up, one learning rate", "grid", "run_adamw"),
    "muon": _rate("Muon with AdamW, one learning rate", "grid", "run_muon"),
    "adamw-1e-3": _rate("AdamW at 1e-3", "peer", "run_adamw", learning_rate=1e-3),
    "adamw-3e-4": _rate("AdamW at 3e-4", "peer", "run_adamw", learning_rate=3e-4),
    "nadamw": _rate("NAdamW, calibrated on AlgoPerf", "peer", "run_calibrated_nadamw"),
    "dog": _peer("DoG", "run_dog", "dog-optimizer", "dog"),
    "ldog": _peer("LDoG", "run_ldog", "dog-optimizer", "dog"),
    "dadapt-sgd": _peer("D-Adaptation SGD", "run_dadapt_sgd", "dadaptation"),
    "dadapt-adam": _peer("D-Adaptation Adam", "run_dadapt_adam", "dadaptation"),
    "prodigy": _peer("Prodigy", "run_prodigy", "prodigyopt"),
    "prodigy-plus": _peer(
        "Prodigy + Schedule-Free", "run_prodigy_plus", "prodigy-plus-schedule-free", "prodigy_plus"
    ),
    "schedule-free-sgd": _peer("Schedule-Free SGD", "run_schedule_free_sgd", "schedulefree"),
    "schedule-free-adamw": _peer("Schedule-Free AdamW", "run_schedule_free_adamw", "schedulefree"),
    "optax-sgd": Method(
        "SGD (optax), one learning rate", "grid", "optax_run", "run_optax_sgd", {}, JAX, "jax"
    ),
    "optax-dog": _optax("DoG (optax)", "run_contrib", name="dog"),
    "optax-dowg": _optax("DoWG (optax)", "run_contrib", name="dowg"),
    "optax-prodigy": _optax("Prodigy (optax)", "run_optax_prodigy"),
    "optax-mechanic": _optax("Mechanic (optax)", "run_mechanic"),
    "optax-momo": _optax("MoMo (optax)", "run_contrib", name="momo"),
    "optax-cocob": _optax("COCOB (optax)", "run_contrib", name="cocob"),
    "optax-schedule-free": _optax("Schedule-Free (optax)", "run_optax_schedule_free"),
}


def get_method(name: str) -> Method:
    """A method by name; an unknown name is an error that lists the nearest ones."""
    check_names([name], tuple(METHODS), "method")
    return METHODS[name]
