"""``Monitor``: watches the losses of a run, and says what they show."""

import math
from typing import Any, Protocol, runtime_checkable

from pfopt.control import noise, trend, validation, verdicts
from pfopt.control.evidence import Evidence
from pfopt.control.stream import Stream
from pfopt.control.trend import Interval
from pfopt.control.verdicts import Kind, Verdict
from pfopt.status import Status


@runtime_checkable
class Tells(Protocol):
    """An optimizer of ``pfopt``, as far as a callback must know it."""

    def status(self) -> Status:
        """Where it stands."""
        ...


STREAMS = ("training", "validation", "gradients")
LARGEST = 1e150
LEAST_AHEAD = 10  # a plateau would last a tenth of the run: just before the end nothing gains much
STOPPING = (Kind.PLATEAU, Kind.OVERFITS, Kind.DIVERGES)


class Monitor:
    """Watches a run by its losses: it improves, has reached a plateau, overfits, diverges, or is mostly noise.

    Every stream, of training losses, of validation losses, and of how alike the gradients of two halves of a batch are,
    is tested by the same interval for its slope, or for its level, (``trend``) at looks that grow rarer (``stream``).
    All that is said follows from those intervals, so the chance that any of them makes it say something false, in a
    whole run of any length, is at most ``false_alarm``. What that rests on is in ``trend``; docs/watch.md has what was
    measured.

    improves      the slope is below 0, in the newest window in which its sign is certain
    plateau       even at the steepest slope that an interval allows, what is left of the budget (as many steps
                  again where that is unknown) gains less than ``min_gain`` of what was gained; a loss that falls faster
                  later on, as where a learning rate decays, is not foreseen, but one that has not fallen at all is
                  waited for until half of the budget
    overfits      the slope of the validation loss is above 0, and the training loss does not diverge
    diverges      the slope of the training loss is above 0, half of what it had gained is lost again, and the
                  validation loss does not fall; or the newest loss is not finite, or beyond 1e150
    mostly noise  the noise of a batch's gradient is larger than its mean, and the loss does not fall for certain;
                  only where ``update`` is given ``halves``

    Losses are better where they are lower: pass an accuracy with a minus sign. Where pfopt's ``status`` is given, what
    comes during its search is left out, since probes start over again and again.
    """

    def __init__(
        self, *, false_alarm: float = 0.05, min_gain: float = 0.01, total_steps: int | None = None
    ) -> None:
        """Nothing has been seen yet.

        Args:
            false_alarm: the chance of a false statement in the whole run that is put up with, in (0, 1).
            min_gain: below this share of what the loss has gained so far, or of the loss itself where it has not fallen
                for certain yet, what is left is not worth it; in (0, 1).
            total_steps: at which the run ends, in the unit of ``step``; ``status`` knows it, too.
        """
        self.false_alarm = validation.share("false_alarm", false_alarm)
        self.min_gain = validation.share("min_gain", min_gain)
        self.total_steps = None if total_steps is None else validation.steps("total_steps", total_steps, 1)
        self.reset()

    def reset(self) -> None:
        """Forget what was seen, for another run."""
        rate = self.false_alarm / len(STREAMS)
        self._streams = {
            name: Stream(trend.center if name == "gradients" else trend.slope, rate) for name in STREAMS
        }
        self._step = self._looked = 0
        self._searching = self._nonfinite = False
        self._best: tuple[float, int] | None = None  # validation loss and step
        self._known: Verdict | None = None  # the verdict, until something changes it

    def update(
        self,
        step: int,
        *,
        loss: Any = None,
        validation: Any = None,
        halves: Any = None,
        status: Status | None = None,
    ) -> Verdict:
        """Take what was measured at a step, any part of it, and return the verdict.

        Args:
            step: of the run, not before that of the last call.
            loss: the training loss, of a batch or a mean of some; a number, or an array or tensor of one.
            validation: the loss on data that is held out.
            halves: norms of the gradients of two disjoint halves of a batch, and of the mean of the two.
            status: ``opt.status()`` of pfopt.

        Raises:
            TypeError, ValueError: something is not a number, the step goes back, or nothing was given.
        """
        checked = self._checked(step, loss, validation, halves, status)
        self._step, before = checked.pop("step"), (self._searching, self._nonfinite)
        if status is not None:
            self._searching = status.phase == "search"
            self.total_steps = None if status.steps_left is None else self._step + status.steps_left
        losses = [value for name, value in checked.items() if name != "gradients"]
        if losses:
            self._nonfinite = not self._searching and not all(map(_finite, losses))
        if "validation" in checked and _finite(checked["validation"]):
            self._best = min(self._best or (math.inf, self._step), (checked["validation"], self._step))
        for name, value in checked.items():
            if _finite(value) and not self._searching:
                self._take(name, value)
        if before != (self._searching, self._nonfinite) or self._nonfinite:
            self._known = None
        return self.verdict

    @property
    def step(self) -> int:
        """The last one that was seen."""
        return self._step

    @property
    def verdict(self) -> Verdict:
        """What is known since the last look."""
        if self._known is None:
            self._known = self._judged()
        return self._known

    @property
    def should_stop(self) -> bool:
        """Whether going on is not worth it: a plateau, of noise or not, overfitting, or divergence."""
        verdict = self.verdict
        return verdict.kind in STOPPING or (
            verdict.kind == Kind.MOSTLY_NOISE
            and self._evidence(self._looked, self._looked // LEAST_AHEAD).plateau() is not None
        )

    @property
    def best_step(self) -> int | None:
        """The step of the lowest validation loss; without one, that in the middle of the block of lowest training loss.

        None before the first loss. Blocks are a 128th of the run or shorter.
        """
        return self._streams["training"].lowest_step if self._best is None else self._best[1]

    def remaining_gain(self) -> Interval:
        """By how much the loss will yet fall, in what is left of the budget, or in as many steps again.

        Of the validation loss once it was looked at, else of the training loss. The upper end holds where the loss does
        not fall faster than in the window that bounds its fall best; the lower end is 0, as it may stop falling at any
        time, or below 0 where it may rise as far as is known. Infinite before the first look.
        """
        return self._evidence(self._step, least=0).remaining_gain()

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, in numbers, lists and dictionaries; the constructor's arguments are not among it."""
        streams = {name: stream.state_dict() for name, stream in self._streams.items()}
        flags = {"searching": self._searching, "nonfinite": self._nonfinite}
        best = None if self._best is None else list(self._best)
        steps = {"step": self._step, "looked": self._looked, "total_steps": self.total_steps}
        return {**steps, "best": best, **flags, "streams": streams}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """The inverse of ``state_dict``.

        Raises:
            ValueError: it is not what ``state_dict`` returns.
        """
        if not isinstance(saved, dict) or set(saved) != set(self.state_dict()):
            raise ValueError(f"the state must be what Monitor.state_dict() returns, got {saved!r:.80}")
        self._step, self._looked, self.total_steps = saved["step"], saved["looked"], saved["total_steps"]
        self._searching, self._nonfinite = saved["searching"], saved["nonfinite"]
        self._best = None if saved["best"] is None else (saved["best"][0], saved["best"][1])
        for name, stream in self._streams.items():
            stream.load_state_dict(saved["streams"][name])
        self._known = None

    # ---------------------------------------------------------------- inside

    def _checked(self, step: Any, loss: Any, held_out: Any, halves: Any, status: Any) -> dict[str, Any]:
        """The numbers by the name of their stream, and the step."""
        given: dict[str, Any] = {"step": validation.steps("step", step, self._step)}
        if loss is not None:
            given["training"] = validation.real("loss", loss)
        if held_out is not None:
            given["validation"] = validation.real("validation", held_out)
        if halves is not None:
            given["gradients"] = noise.likeness(*validation.halves(halves))
        if status is not None:
            validation.status(status)
        elif len(given) == 1:
            raise ValueError("update needs one of loss, validation, halves and status")
        return given

    def _take(self, name: str, value: float) -> None:
        if self._streams[name].add(self._step, value):
            self._looked, self._known = self._step, None

    def _judged(self) -> Verdict:
        if self._searching:
            return verdicts.SEARCHING
        if self._nonfinite:
            return verdicts.diverges(self._step, finite=False)
        evidence = self._evidence(self._looked, self._looked // LEAST_AHEAD)
        plateau, falling = evidence.plateau(), evidence.falling()
        noise = None if falling and not plateau else evidence.noise()
        return evidence.rising() or noise or plateau or falling or evidence.undecided()

    def _evidence(self, step: int, least: int) -> Evidence:
        """What is known at the step, and of at least so many steps ahead."""
        left = None if self.total_steps is None else max(self.total_steps - step, 0)
        ahead = step if left is None else max(left, least)
        return Evidence(
            streams=self._streams,
            step=step,
            ahead=ahead,
            known=ahead == left,
            min_gain=self.min_gain,
            best_step=self._best[1] if self._best else step,
        )


def _finite(value: float) -> bool:
    """Whether sums of such values and of their squares are finite, too; False for NaN."""
    return abs(value) < LARGEST
