"""Opens the test set for all finalists at once: which runs are read, in which order, by whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.settings import RunConfig
from core.task import Metric
from hpo.disk import WEIGHTS, remove
from hpo.events import Note, Observe
from hpo.faults import Breakdowns
from hpo.finals.standings import Standings
from hpo.folders import StudyFolder
from hpo.ledger import Opening, Run
from hpo.records import TestReading, TestScore
from hpo.shift import LOOK_EVERY_S, Shift
from hpo.slots import Slot, WorkerError, WorkerMistakeError

ConfigOf = Callable[[Run], RunConfig]
LearnReading = Callable[[Mapping[str, Mapping[str, Any]], float], None]
"""(a configuration's groups, seconds that its reading took)."""


@dataclass(frozen=True)
class Candidate:
    """A run of a finalist that the test set could be read for."""

    trial: int
    seed: int | None
    """A fresh seed; `None`: the run of the search."""
    validation: float
    folder: Path
    is_broken: bool = False
    """It diverged or collapsed: it has no weights, and counts as having learned nothing."""


def candidates(
    standings: Standings, values: dict[int, float], folder: StudyFolder, metric: Metric
) -> list[Candidate]:
    """All runs of the finalists, and of the start configuration if it is the selected one.

    They come in the order in which to read them; `values` are the validation scores of the search,
    by trial. First the selected configuration's run of the search, then its repeats by seed: what
    time cuts off has nothing to do with how good it is. Then the other finalists' runs, the best
    first.
    """
    selected = selected_of(standings, metric)
    found = [
        Candidate(trial, None, values[trial], folder.trial(trial)) for trial in standings.finalists
    ]
    readable = set(standings.finalists)
    if selected is not None and selected == standings.start:
        readable.add(selected)
        # No finalist by the search, and so perhaps without its weights from there.
        if selected in values and (folder.trial(selected) / WEIGHTS).is_dir():
            found.append(Candidate(selected, None, values[selected], folder.trial(selected)))
    for one in standings.repeats:
        counted = one.counted(metric)
        if one.trial in readable and one.seed <= standings.seeds and counted is not None:
            place = folder.repeat(one.trial, one.seed)
            broken = one.state != "complete"
            found.append(Candidate(one.trial, one.seed, counted, place, broken))
    sign = -1.0 if metric.direction == "maximize" else 1.0

    def rank(one: Candidate) -> tuple[bool, bool, float, int, int]:
        is_other = one.trial != selected
        score = sign * one.validation if is_other else 0.0
        return (one.is_broken, is_other, score, one.trial, one.seed or 0)

    return sorted(found, key=rank)


def selected_of(standings: Standings, metric: Metric) -> int | None:
    """The configuration that stands for the study: the repeats select it, else the search."""
    selected = standings.selected(metric)
    if selected is None and standings.finalists:
        return standings.finalists[0]
    return selected


def begin_opening(
    folder: Path,
    selected: int,
    data_digest: str,
    runs: Sequence[Candidate],
    *,
    metric: Metric,
    earlier: Sequence[TestReading],
    observe: Observe,
) -> Opening | None:
    """An opening of the test set for `runs`; `None` where no run has weights to be scored.

    A run whose weights an earlier opening gave back has its score from there, if the data are
    still the same: the same weights would score the same. Other runs without weights are left out,
    and `observe` is told.
    """
    scored = {
        (one.trial, one.seed): (one, reading.signature)
        for reading in earlier
        if reading.data_digest == data_digest
        for one in reading.runs
    }
    known: list[TestScore] = []
    signature = ""
    left: list[tuple[int, int | None, float | None]] = []
    for run in runs:
        before = scored.get((run.trial, run.seed))
        if run.is_broken:
            known.append(TestScore(run.trial, run.seed, metric.floor, run.validation))
        elif (run.folder / WEIGHTS).is_dir():
            left.append((run.trial, run.seed, run.validation))
        elif before is not None:
            known.append(before[0])
            signature = before[1]
        else:
            name = name_of((run.trial, run.seed))
            observe(Note(f"test set: {name} is left out: its weights are gone"))
    if not left:
        return None
    fresh = sum(run.trial == selected and run.seed is not None for run in runs)
    return Opening.begin(
        folder, selected, data_digest, left, known=known, signature=signature, fresh=fresh
    )


class TestSetReader:
    """Scores what is left of an opening on all slots at once."""

    __test__ = False

    def __init__(
        self,
        opening: Opening,
        folder: StudyFolder,
        config_of: ConfigOf,
        observe: Observe,
        *,
        may_read: Callable[[RunConfig], bool] = lambda config: True,
        is_over: Callable[[], bool] = lambda: False,
        on_opened: Callable[[], None] = lambda: None,
        learn_reading: LearnReading = lambda groups, seconds: None,
    ) -> None:
        """Until a run has its score the next is read in any case; then `may_read` is asked,
        and once time `is_over` what is being read is killed and left out.

        `on_opened` is called as soon as there is a score, again when an earlier run's opening goes
        on; `learn_reading` with the groups and the seconds of each reading.
        """
        self._opening = opening
        self._folder = folder
        self._config_of = config_of
        self._observe = observe
        self._may_read = may_read
        self._is_over = is_over
        self._on_opened = on_opened
        self._learn_reading = learn_reading
        self._is_opened = False
        self._being_read = 0
        self._waiting: list[Run] = []
        self._breakdowns: dict[Run, Breakdowns] = {}
        self.failure: str | None = None
        """Why there is no reading; `None` where there is one, or an interrupt came before."""

    def read(self, shift: Shift) -> TestReading | None:
        """The entry in the ledger; `None` if it failed or was interrupted: the next run ends it.

        A run that cannot be scored twice over is left out, unless nothing else could be.
        """
        self._shift, self._changed = shift, shift.changed
        self._tell_opened()
        for run in self._opening.left:
            # Of an opening that was cut short, when more trials were run since.
            if not (folder_of(run, self._folder) / WEIGHTS).is_dir():
                self._observe(Note(f"test set: {name_of(run)} is left out: its weights are gone"))
                self._opening.leave_out(run)
        self._waiting = list(self._opening.left)
        shift.run(self._work_in)
        if shift.is_interrupted or self.failure is not None:
            return None
        return self._opening.close()

    def _work_in(self, index: int, slot: Slot) -> None:
        try:
            while (run := self._next_run(index)) is not None:
                self._score(run, index, slot)
        except WorkerMistakeError as error:
            self.failure = f"the test set could not be read: {error}"

    def _next_run(self, index: int) -> Run | None:
        """What a slot reads next, waited for while it may come back; `None` to end."""
        with self._changed:
            while not (self._shift.is_stopping or self.failure) and self._shift.serves(index):
                fitting = (one for one in self._waiting if self._shift.may_take(index, one))
                run = next(fitting, None)
                is_needed = not self._opening.has_read and not self._being_read
                if run is not None and (is_needed or self._may_read(self._config_of(run))):
                    self._being_read += 1
                    self._waiting.remove(run)
                    return run
                if run is not None and self._opening.has_read:
                    self._waiting.remove(run)
                    self._observe(Note(f"test set: {name_of(run)} is left out: no time is left"))
                    self._opening.leave_out(run)
                elif self._waiting or self._being_read:
                    # A run without time is needed if what is being read cannot be scored.
                    self._changed.wait(LOOK_EVERY_S)
                else:
                    break
            return None

    @property
    def _is_late(self) -> bool:
        return self._opening.has_read and self._is_over()

    def _score(self, run: Run, index: int, slot: Slot) -> None:
        config, begun = self._config_of(run), time.monotonic()
        try:
            with self._shift.attempt(index, run, lambda: self._is_late):
                scores = slot.score_test(config, folder_of(run, self._folder))
        except WorkerError as fault:
            self._recover(run, fault)
        else:
            with self._changed:
                self._learn_reading(config.groups, time.monotonic() - begun)
                self._opening.enter(run, scores)
                self._tell_opened()
        finally:
            with self._changed:
                self._being_read -= 1
                self._changed.notify_all()

    def _recover(self, run: Run, fault: WorkerError) -> None:
        """After a breakdown: back to the queue's front, or left out."""
        with self._changed:
            if self._shift.is_stopping:
                return
            before = self._breakdowns.get(run, Breakdowns())
            now = self._breakdowns[run] = before.after(fault.kind, 0)
            given_up = "no time is left" if self._is_late else now.verdict(fault)
            if given_up is None:
                self._observe(Note(f"test set: {fault.reason}; trying it again"))
                self._waiting.insert(0, run)
            elif self._opening.left == (run,) and not self._opening.has_read:
                self.failure = f"the test set could not be read: {given_up}"
            else:
                self._observe(Note(f"test set: {name_of(run)} is left out: {given_up}"))
                self._opening.leave_out(run)

    def _tell_opened(self) -> None:
        if self._opening.has_read and not self._is_opened:
            self._is_opened = True
            self._on_opened()


def folder_of(run: Run, folder: StudyFolder) -> Path:
    """Where a run lies."""
    trial, seed = run
    return folder.trial(trial) if seed is None else folder.repeat(trial, seed)


def name_of(run: Run) -> str:
    """A run in words: `trial 7`, `trial 7 on fresh seed 2`."""
    trial, seed = run
    return f"trial {trial}" if seed is None else f"trial {trial} on fresh seed {seed}"


def tidy_repeats(
    folder: StudyFolder, standings: Standings, reading: TestReading, metric: Metric, keep: int
) -> None:
    """Deletes the weights of repeats that were read, of all but the best `keep` by validation."""
    sign = -1.0 if metric.direction == "maximize" else 1.0
    read = {(run.trial, run.seed) for run in reading.runs}
    ranked = sorted(
        (sign * one.value, one.trial, one.seed)
        for one in standings.repeats
        if one.value is not None
    )
    for place, (_, trial, seed) in enumerate(ranked):
        is_needless = trial == standings.start and trial != reading.selected
        if is_needless or (place >= keep and (trial, seed) in read):
            remove(folder.repeat(trial, seed) / WEIGHTS)
