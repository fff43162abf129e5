"""The numbers that stand for a study: its best run on the test set, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass

from core.task import Metric
from hpo.finals.statistics import Interval, interval
from hpo.records import TestReading, TestScore

_DECIMALS = 2


@dataclass(frozen=True)
class Headline:
    """One opening of the test set in three numbers."""

    final: TestScore
    """The best single run: the league's number, and chosen by the test set."""
    clean: Interval | None
    """Fresh seeds of the configuration selected on validation; `None` below two of them, and
    where not all that counted were read."""
    bias: float | None
    """By how much `final` looks better than `clean`, both as they are shown."""
    signature: str

    def lines(self, final_line: str) -> list[str]:
        """The lines for standard output; `final_line` is the task's, such as FINAL_TEST_BLEU."""
        signed = f" ({self.signature})" if self.signature else ""
        said = [f"{final_line} = {self.final.value:.{_DECIMALS}f}{signed}"]
        if self.clean is not None and self.bias is not None:
            name = final_line.replace("FINAL_", "CLEAN_", 1)
            half_width = f"{self.clean.half_width:.{_DECIMALS}f}"
            mean = f"{self.clean.mean:.{_DECIMALS}f}"
            said.append(f"{name} = {mean} +- {half_width} (n={self.clean.n})")
            said.append(f"SELECTION_BIAS = {self.bias:.{_DECIMALS}f}")
        return said


def headline(reading: TestReading, metric: Metric) -> Headline:
    """What an opening amounts to."""
    best = reading.runs[0]
    for run in reading.runs[1:]:
        if metric.is_better(run.value, best.value):
            best = run
    fresh = [
        run.value for run in reading.runs if run.trial == reading.selected and run.seed is not None
    ]
    if len(fresh) < 2 or reading.unread:
        return Headline(best, None, None, reading.signature)
    clean = interval(fresh)
    ahead = round(best.value, _DECIMALS) - round(clean.mean, _DECIMALS)
    bias = ahead if metric.direction == "maximize" else -ahead
    # Never below zero but by rounding: the best run is at least as good as the mean of some.
    return Headline(best, clean, max(0.0, bias), reading.signature)
