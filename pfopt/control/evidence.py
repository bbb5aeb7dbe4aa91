"""What the intervals of the streams say together, statement by statement."""

from typing import NamedTuple

from pfopt.control import noise, verdicts
from pfopt.control.stream import Stream
from pfopt.control.trend import ANYWHERE, Interval
from pfopt.control.verdicts import Verdict

WATCHED = ("validation", "training")  # in the order in which they are asked
HALF = 0.5  # of what the training loss had gained: less may well come back, as where a step size that is large decays


class Evidence(NamedTuple):
    """All that a verdict rests on; a statement is None where it is not certain."""

    streams: dict[str, Stream]
    step: int
    ahead: int  # steps that are left, or as many as were made
    known: bool  # the former
    min_gain: float
    best_step: int  # of the validation loss

    def rising(self) -> Verdict | None:
        """Divergence or overfitting."""
        training, held_out = (self.streams[name].direction for name in ("training", "validation"))
        if training > 0 and held_out >= 0 and self.streams["training"].lost > HALF:
            return verdicts.diverges(self._since("training"), finite=True)
        if held_out > 0:
            return verdicts.overfits(self._since("validation"), self.best_step, training)
        return None

    def plateau(self) -> Verdict | None:
        """Of the validation loss; of the training loss unless the other one still falls.

        A loss that has neither fallen nor risen yet has not begun, as while a learning rate warms up: it must be flat
        for half of the budget, and a validation loss not while the training loss falls.
        """
        late = self.known and self.ahead <= self.step
        for name in WATCHED:
            stream, gain = self.streams[name], self.gain(name)
            begun = stream.has_fallen or stream.direction > 0
            if not begun and (not late or self.streams["training"].direction < 0):
                continue
            worth = self.min_gain * self._worth(stream)
            if gain.high <= worth:
                enough = [each for each in stream.found if -each.interval.low * self.ahead <= worth]
                flat = [each for each in enough if each.interval.high >= 0.0]
                since = round((flat or enough)[0].since)
                return verdicts.plateau(since, name, gain, self.ahead, self.known)
            if stream.direction < 0:
                return None
        return None

    def falling(self) -> Verdict | None:
        """Improvement."""
        for name in WATCHED:
            if self.streams[name].direction < 0:
                return verdicts.improves(self._since(name), name)
        return None

    def noise(self) -> Verdict | None:
        """Gradients of which the mean is smaller than the noise of a batch."""
        certain = [each for each in self.streams["gradients"].found if noise.times(each.interval).low > 1.0]
        if not certain:
            return None
        tightest = min(certain, key=lambda each: each.interval.high - each.interval.low)
        return verdicts.mostly_noise(round(tightest.since), noise.times(tightest.interval))

    def undecided(self) -> Verdict:
        """What can be said where nothing is certain."""
        if not any(self.streams[name].found for name in WATCHED):
            return verdicts.EARLY
        return verdicts.undecided(self.remaining_gain(), self.ahead, self.known)

    def remaining_gain(self) -> Interval:
        """Of the validation loss once it was looked at, else of the training loss."""
        return self.gain("validation" if self.streams["validation"].found else "training")

    def gain(self, name: str) -> Interval:
        """By how much the stream falls in the steps ahead, if it does not fall faster than it did."""
        low, high = self.streams[name].slowest.interval
        if not self.streams[name].found:
            return ANYWHERE
        return Interval(min(-high * self.ahead, 0.0), -low * self.ahead) if self.ahead else Interval(0.0, 0.0)

    def _worth(self, stream: Stream) -> float:
        return max(stream.start - stream.level, 0.0) if stream.has_fallen else abs(stream.level)

    def _since(self, name: str) -> int:
        latest = self.streams[name].latest
        assert latest is not None
        return round(latest.since)
