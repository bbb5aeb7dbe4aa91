"""What a person reads of a search: ``Status``, ``ProbeRecord``, and sentences."""

from typing import Any, NamedTuple

from pfopt.core import progress
from pfopt.core.records import Phase, Run, State
from pfopt.core.run import estimates
from pfopt.core.step import probe_step_size


class ProbeRecord(NamedTuple):
    """One finished probe."""

    k: int  # the range under test was 2^k doublings wide
    exponent: int  # step_size = initial_step * 2**exponent
    step_size: float  # of every gradient in it
    steps: int  # gradients
    lipschitz: float  # root mean square of the gradient norms
    distance: float  # largest displacement from the anchor
    accepted: bool  # the step size was certified
    mean_value: float | None  # mean loss over the probe, where losses were given


class Status(NamedTuple):
    """Where an optimizer stands; ``str(status)`` is one line, for a progress bar, ``metrics()`` is for a logger."""

    phase: str  # "search" | "main" | "done"
    probe: int  # probes finished
    step: int  # gradients spent
    steps_left: int | None  # None where the horizon is unknown
    step_size: float  # the last one taken
    lipschitz: float  # root mean square of the gradient norms of the current run
    distance: float  # largest displacement of the current run
    message: str  # a sentence or two for a person

    def __str__(self) -> str:
        total = "" if self.steps_left is None else f"/{self.step + self.steps_left}"
        measured = (
            f"step size {self.step_size:.2g}, lipschitz {self.lipschitz:.2g}, distance {self.distance:.2g}"
        )
        return f"{self.phase} {self.step}{total}, {self.probe} probes, {measured}"

    def metrics(self) -> dict[str, float]:
        """What a logger can draw over steps, under names that begin with ``pfopt/``.

        The phase is 0 in the search, 1 in the main run and 2 when it is done; the Lipschitz constant and the distance
        are those of the current run, so that in the search they begin again with every probe.
        """
        return {
            "pfopt/phase": float(Phase[self.phase.upper()]),
            "pfopt/probes": float(self.probe),
            "pfopt/step_size": self.step_size,
            "pfopt/lipschitz": self.lipschitz,
            "pfopt/distance": self.distance,
        }


def in_plain_units(told: Any, unit: float) -> Any:
    """What is told of gradients that were multiplied by ``unit``, as it is without."""
    return told._replace(step_size=told.step_size * unit, lipschitz=told.lipschitz / unit)


def probe_record(state: State, run: Run, accepted: bool) -> ProbeRecord:
    """The probe that has just ended; host numbers only, ``state`` as it was during the probe."""
    lipschitz, distance = estimates(run)
    return ProbeRecord(
        k=int(state.bracket.k),
        exponent=int(state.bracket.exponent),
        step_size=float(probe_step_size(state)),
        steps=int(state.run_length),
        lipschitz=lipschitz,
        distance=distance,
        accepted=bool(accepted),
        mean_value=float(run.loss_mean) if run.loss_count else None,
    )


def message(state: State, run: Run) -> str:
    """What happened, in a few sentences; host numbers only."""
    outcome, restarts = progress.outcome(state, run), run.restarts
    if not restarts:
        return outcome.message
    times = "once" if restarts == 1 else f"{restarts} times"
    return (
        f"{outcome.message} The main run exploded {times}: it went back to the anchor, with a smaller bound."
    )


def sentence(error: Exception) -> str:
    """The kind of an error and the first line of what it says, or two, where the first one announces the second."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {said}"
