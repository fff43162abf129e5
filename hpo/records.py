"""What is known of a study and its trials, read from the storage and the trial folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.task import Grid, Metric
from hpo.spans import Span

if TYPE_CHECKING:
    import optuna

    from hpo.protocol import ProtocolLock

SCHEMA_VERSION = 1
"""Of run folders; raised when their files change meaning."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial as people see it."""

    number: int
    state: str
    """`complete`, `pruned`, `failed`, `running`, `paused`, or `interrupted`: running, but nobody
    owns the study."""
    value: float | None
    """The score at the last evaluation, for complete and pruned trials alike."""
    reason: str
    """Why it ended as it did; empty for a complete trial."""
    parameters: Mapping[str, Any]
    """Realised values under core's names: what was varied."""
    curve: Mapping[int, float]
    """Step on the whole curve -> score."""
    folder: Path
    started: datetime | None
    ended: datetime | None
    attempts: int
    health: Mapping[str, Any] = field(default_factory=dict)
    """`core.task.Health` as a mapping; empty before the first outcome."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """`core.task.Cost` as a mapping."""
    device: str = ""
    """What it was trained on; empty where that was not recorded."""
    is_from_prior: bool = False
    """Whether earlier studies proposed its point, rather than the sampler."""
    ending: str = ""
    """The outcome's name, or what broke, as `hpo.endings.Ending` has it: `completed`, `stopped`
    (by rank), `diverged`, `collapsed`, `memory`, `time`, ...; empty before the end."""
    spans: tuple[Span, ...] = ()
    """Its attempts, the first one first; of an old study the one from its start to its end."""

    @property
    def is_finished(self) -> bool:
        return self.state in ("complete", "pruned", "failed")


@dataclass(frozen=True)
class TestScore:
    """What one run scored on the sealed test set."""

    __test__: ClassVar[bool] = False
    """Not a test, for pytest, which collects what begins with Test."""

    trial: int
    seed: int | None
    """The fresh seed of a repeat, from 1; `None`: the run of the search."""
    value: float
    validation: float | None
    """The same run's validation score; `None` where an old ledger does not tell it."""


@dataclass(frozen=True)
class TestReading:
    """One opening of the sealed test set, for all finalists at once."""

    __test__: ClassVar[bool] = False

    when: str
    """UTC, ISO 8601."""
    selected: int
    """The trial whose configuration was chosen on validation, before anything was read."""
    runs: tuple[TestScore, ...]
    """In the order in which they were scored; at least one."""
    signature: str
    data_digest: str
    fresh: int | None = None
    """Repeats of the selected configuration that counted; `None` where an old ledger does not
    tell. With fewer in `runs`, their mean would depend on which were left out."""

    @property
    def unread(self) -> int:
        """How many repeats of the selected configuration counted and were not read."""
        read = sum(one.trial == self.selected and one.seed is not None for one in self.runs)
        return 0 if self.fresh is None else max(0, self.fresh - read)


@dataclass(frozen=True)
class Entrant:
    """A configuration that was run again on fresh seeds."""

    trial: int
    """The trial of the search that drew it."""
    values: tuple[float, ...]
    """Validation score of each repeat; the metric's floor for one that diverged or collapsed."""
    mean: float
    half_width: float | None
    """Of the mean's 95 percent interval; `None` with a single repeat."""
    ties_with_best: bool
    """Whether nothing tells it from the selected one, which ties with itself."""
    seeds: tuple[int, ...]
    """The fresh seed of each value, from 1."""
    before: tuple[float | None, ...]
    """The score as the last stage began, of each repeat; `None` where it was not reached."""
    p_value: float | None = None
    """Paired bootstrap over sentences against the selected one; `None` where nobody compared."""
    is_dropped: bool = False
    """Clearly behind, and so not repeated on all seeds."""
    is_finalist: bool = True
    """Among the best of the search; else the start configuration, there to be compared with."""


@dataclass(frozen=True)
class FinalsRecord:
    """How the finalists did on fresh seeds."""

    entrants: tuple[Entrant, ...]
    """Those with at least one repeat, in the order of the search's ranking."""
    selected: int
    """Trial of the finalist that does best on the seeds that it shares with the others."""
    top: int
    """Finalists asked for."""
    seeds: int
    """Fresh seeds asked for."""
    start: int | None = None
    """Trial of the start configuration; `None` where it was not repeated."""


@dataclass(frozen=True)
class StudyRecord:
    """One study as people see it, and the Optuna study under it."""

    name: str
    task: str
    metric: Metric
    grid: Grid
    folder: Path
    declaration: Mapping[str, Any]
    """The declared study as JSON: protocol, data, search_space, sampler, pruner, enqueue, ..."""
    facts: Mapping[str, Any]
    """`core.task.Facts` as a mapping: digests, counts, notes."""
    trials: tuple[TrialRecord, ...]
    readings: tuple[TestReading, ...]
    elapsed_s: float
    """Wall-clock over all runs of the study."""
    total: int
    """Trials asked for."""
    is_owned: bool
    """Whether a living driver owns it now."""
    final_line: str
    """Such as `FINAL_TEST_BLEU`."""
    optuna_study: optuna.Study
    finals: FinalsRecord | None = None
    """`None` before the first repeat has ended, and where the study declares none."""
    lock: ProtocolLock | None = None
    """The locked protocol; `None` before the data have been looked at."""
    warm_start: tuple[str, ...] = ()
    """Names of the studies that were a prior for its trials."""
    stopped: str = ""
    """Why its last run ended, as `hpo.driver.Stop`; empty where none ended or it was killed."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Device -> why it was given no more work in a run of the study."""
    unlisted: int = 0
    """Openings of the test set that the study remembers and its ledger does not: one under way,
    or of a ledger that was deleted."""
    repeat_spans: tuple[Span, ...] = ()
    """The attempts at repeats in the finals."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How its last run was asked for, as `RunOptions.as_json` has it."""
    storage: str | None = None
    """URL of its database, without a secret; `None` for `hpo.db` in its runs folder."""

    @property
    def openings(self) -> int:
        """How often the test set was opened."""
        return len(self.readings) + self.unlisted

    @property
    def finished(self) -> int:
        """How many trials count against the budget."""
        return sum(trial.is_finished for trial in self.trials)

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial with the best value, the earliest among equals, if any."""
        best: TrialRecord | None = None
        best_value: float | None = None
        for trial in self.trials:
            if trial.state != "complete" or trial.value is None:
                continue
            if best_value is None or self.metric.is_better(trial.value, best_value):
                best, best_value = trial, trial.value
        return best

    @property
    def is_out_of_time(self) -> bool:
        """Whether the last run came to its time limit, with its result there."""
        return self.stopped == "time" and bool(self.readings) and not self.is_owned

    @property
    def start(self) -> TrialRecord | None:
        """The trial that ran the start configuration, the first enqueued point; `None` without."""
        enqueue = self.declaration.get("enqueue")
        if not enqueue:
            return None
        point: Mapping[str, Any] = enqueue[0]
        for trial in self.trials:
            if all(trial.parameters.get(name) == value for name, value in point.items()):
                return trial
        return None
