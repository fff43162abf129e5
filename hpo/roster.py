"""The trials of a running study, created, taken up, reported and told, in storage and folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState

from core.atomic import remove_leftovers
from core.settings import RunConfig, canonical_json
from core.task import Evaluation, Facts, Outcome
from hpo import spans, trials
from hpo.attributes import FROM_PRIOR, PAUSED_STEP, PROTOCOL
from hpo.declarations import Study
from hpo.disk import Finished, best_first, tidy
from hpo.endings import Ending
from hpo.faults import Breakdowns
from hpo.folders import StudyFolder, finite, make_private
from hpo.protocol import refuse_other_run, stored_lock
from hpo.samplers import build_sampler, count_points
from hpo.sampling import build_config, drawn_values, suggest
from hpo.slots import BreakdownKind
from hpo.spans import ATTEMPTS
from hpo.trial_file import is_written, write_trial

if TYPE_CHECKING:
    from hpo.warm_start import Prior

ENQUEUED = "enqueued"
"""The point that a trial was created for, as canonical JSON."""
SPENT_S = "spent_s"
"""Seconds that a trial has taken, over all its attempts."""


@dataclass
class Entry:
    """A trial that is being run."""

    trial: Trial
    realised: Mapping[str, Any]
    attempt: int
    config: RunConfig
    folder: Path
    is_declared: bool
    """It is a point that the study declares to be tried."""
    settled_step: int
    """Up to here every evaluation has been judged and the verdict obeyed."""
    spent_s: float
    """Seconds that earlier attempts took."""

    @property
    def number(self) -> int:
        return self.trial.number


class Roster:
    """The one writer of a study's trials. Not thread-safe: the driver's lock guards it."""

    def __init__(
        self,
        study: Study,
        facts: Facts,
        optuna_study: optuna.Study,
        folder: StudyFolder,
        pruner: BasePruner,
        *,
        prior: Prior | None = None,
    ) -> None:
        self._study = study
        self._facts = facts
        self._optuna = optuna_study
        self._folder = folder
        self._pruner = pruner
        self._lock = stored_lock(optuna_study.user_attrs.get(PROTOCOL))
        self._prior = prior
        self._finished = {
            trial.number: _as_finished(trial) for trial in trials.finished(optuna_study)
        }
        self._holding = self._best_of(self._finished.values())
        """The finished trials of which more than the record is on disk, by number."""
        tried = {trial.user_attrs.get(ENQUEUED) for trial in self.stored()}
        self._points = [
            point for point in study.enqueue if canonical_json(dict(point)) not in tried
        ]
        self.is_exhausted = False
        """Whether the sampler has said that no point is left."""

    # What there is

    @property
    def finished(self) -> int:
        """How many trials count against the budget."""
        return len(self._finished)

    @property
    def best(self) -> tuple[int, float] | None:
        """Number and value of the best complete trial; `None` without one."""
        leader = next(iter(self._holding.values()), None)
        return None if leader is None or leader.value is None else (leader.number, leader.value)

    def ranking(self) -> list[int]:
        """Numbers of the complete trials, the best first."""
        return best_first(self._finished.values(), self._study.spec.metric)

    def orphans(self) -> list[int]:
        """Trials whose driver ended: with the owner's lock in hand, all that are RUNNING."""
        return [one.number for one in self.stored() if one.state == TrialState.RUNNING]

    def paused(self) -> dict[int, int]:
        """Number -> step of the paused trials."""
        return trials.paused(self.stored())

    def stored(self) -> list[FrozenTrial]:
        """All trials by number, as they are stored. Not to be changed."""
        return self._optuna.get_trials(deepcopy=False)

    def step_of(self, number: int) -> int:
        """The last step at which a trial has reported; 0 before."""
        return self._frozen(number).last_step or 0

    def realised(self, number: int) -> dict[str, Any]:
        """A trial's realised values, by core's names, as `take_up` stored them; none before."""
        stored = self._frozen(number).user_attrs
        return {name: stored[name] for name in self._study.space.parameters if name in stored}

    def can_propose(self) -> bool:
        """Whether there are points left to try."""
        if self._points:
            return True
        if self._study.sampler.name == "brute_force" and not self.is_exhausted:
            tried = {tuple(sorted(trial.params.items())) for trial in self.stored()}
            self.is_exhausted = count_points(self._study.space, len(tried) + 1) <= len(tried)
        return not self.is_exhausted

    # A trial's way

    def create(self, drawn: Mapping[str, Any]) -> int:
        """A new RUNNING trial: the next enqueued point, else one with the values in `drawn`.

        What is not in it is for earlier studies or the sampler to propose. On their share of the
        trials earlier studies' points also go before a whole point.
        """
        if not self._points:
            point = self._from_prior(drawn)
            if point is None:
                return trials.create(self._optuna, drawn, {})
            return trials.create(self._optuna, point, {FROM_PRIOR: True})
        enqueued = self._points[0]
        fixed = drawn_values(self._study.space, enqueued)
        number = trials.create(self._optuna, fixed, {ENQUEUED: canonical_json(dict(enqueued))})
        self._points.pop(0)
        return number

    def take_up(self, number: int, slot: int, place: str) -> Entry:
        """A RUNNING trial made ready for its next attempt: parameters, configuration, folder.

        `slot` and `place` are the slot's index and name.
        Raises: StudyConflictError if it, or what its folder holds, is not under the protocol.
        """
        trial = trials.take_up(self._with_sampler(number), number)
        realised = suggest(self._study.space, trial)
        config = build_config(self._study, realised, self._facts, number)
        folder = self._folder.trial(number)
        refuse_other_run(self._study.name, self._lock, f"trial {number}", config, folder)
        attributes = trial.user_attrs
        attempt = int(attributes.get("attempt", 0)) + 1
        changed = {**realised, "attempt": attempt, "slot": slot, "place": place}
        changed[ATTEMPTS] = spans.begin(attributes.get(ATTEMPTS, []), place, folder)
        trials.set_attributes(self._optuna, number, changed)
        make_private(folder)
        self.write(number)
        return Entry(
            trial=trial,
            realised=realised,
            attempt=attempt,
            config=config,
            folder=folder,
            is_declared=ENQUEUED in attributes,
            settled_step=int(attributes.get(PAUSED_STEP, 0)),
            spent_s=float(attributes.get(SPENT_S, 0.0)),
        )

    def move(self, number: int, place: str) -> None:
        """Records that a trial's attempt runs at this place, where it was to run at another."""
        stored = self._frozen(number).user_attrs
        if stored["place"] != place:
            changed = {"place": place, ATTEMPTS: spans.move(stored[ATTEMPTS], place)}
            trials.set_attributes(self._optuna, number, changed)
            self.write(number)

    def report(self, entry: Entry, evaluation: Evaluation) -> bool:
        """Stores an evaluation; false if its step was stored before, by an earlier attempt."""
        if evaluation.step in self.reported(entry):
            return False
        entry.trial.report(evaluation.value, evaluation.step)
        self.write(entry.number)
        return True

    def reported(self, entry: Entry) -> Mapping[int, float]:
        """Step -> value of what is stored of a trial's curve."""
        return trials.curve_of(entry.trial)

    def pause(self, number: int, step: int) -> None:
        """Puts a trial away until it is thawed."""
        trials.set_attributes(self._optuna, number, self._ended(number, "paused"))
        trials.pause(self._optuna, number, step)
        self.write(number)

    def thaw(self, number: int) -> None:
        """Makes a paused trial RUNNING again."""
        trials.thaw(self._optuna, number)

    def spend(self, number: int, spent_s: float) -> None:
        """Stores what a trial has taken so far, over all its attempts."""
        trials.set_attributes(self._optuna, number, {SPENT_S: round(spent_s, 3)})

    def count_breakdown(self, entry: Entry, kind: BreakdownKind) -> Breakdowns:
        """Stores one more breakdown of a trial; returns all it has had, over all runs."""
        before = Breakdowns.stored(self._frozen(entry.number).user_attrs)
        breakdowns = before.after(kind, max(self.reported(entry), default=0))
        changed = {**breakdowns.attributes, **self._ended(entry.number, "retried")}
        trials.set_attributes(self._optuna, entry.number, changed)
        return breakdowns

    def leave(self, number: int) -> None:
        """Records that a trial's attempt has ended, by an interruption unless it broke down."""
        stored = self._frozen(number).user_attrs.get(ATTEMPTS, [])
        if stored and stored[-1]["ended"] is None:
            changed = {ATTEMPTS: spans.end(stored, "interrupted")}
            trials.set_attributes(self._optuna, number, changed)
        self.write(number)

    def tell(self, entry: Entry, ending: Ending, outcome: Outcome | None) -> None:
        """Records a trial's end, and frees what it no longer needs on disk.

        Can be done again after a crash between any two of its steps.
        """
        how = ending.outcome if ending.outcome in ("diverged", "collapsed") else ending.state
        attributes = {"outcome": ending.outcome, "reason": ending.reason}
        attributes |= self._ended(entry.number, how)
        if outcome is not None:
            attributes |= {
                "health": finite(asdict(outcome.health)),
                "cost": finite(asdict(outcome.cost)),
                "device": str(outcome.facts.get("device") or ""),
            }
        with trials.transaction(self._optuna):
            trials.set_attributes(self._optuna, entry.number, attributes)
            if ending.constraint is not None and ending.constraint not in entry.trial.constraints:
                entry.trial.set_constraint(ending.constraint, 1.0)
            self._tell_optuna(entry, ending)
        self._finished[entry.number] = Finished(
            entry.number, ending.value if ending.state == "complete" else None
        )
        self.write(entry.number)
        # The files of all others were deleted when they were told, or by `mend_folders`. Looking
        # at all at each end would make a million paths in a thousand trials, and pathlib puts the
        # parts of each into Python's table of strings, which keeps the room of what has gone.
        held = [*self._holding.values(), self._finished[entry.number]]
        self._holding = self._best_of(held)
        tidy(self._folder, [one.number for one in held], list(self._holding))

    def write(self, number: int) -> None:
        """Writes `trial.json`, from which the trial can be rebuilt without the database."""
        write_trial(self._folder, self._frozen(number), list(self._study.space.parameters))

    # The database, which may be slow or away

    def sync(self, is_over: Callable[[], bool]) -> bool:
        """Waits until all that was changed is in the database; false if `is_over` before.

        Safe without the driver's lock, which others need meanwhile.
        Raises: StorageError if the database was away for too long.
        """
        return trials.sync(self._optuna, is_over)

    @property
    def failure(self) -> BaseException | None:
        """Why no change is stored any more; `None` while they are."""
        return trials.failure(self._optuna)

    def _tell_optuna(self, entry: Entry, ending: Ending) -> None:
        study, number = entry.trial.study, entry.number
        try:
            if ending.state == "complete":
                study.tell(number, ending.value, skip_if_finished=True)
            else:
                state = TrialState.PRUNED if ending.state == "pruned" else TrialState.FAIL
                study.tell(number, state=state, skip_if_finished=True)
        except RuntimeError:
            # Brute force, when no point is left, asks the study to stop, which only `optimize` can
            # do; the trial is recorded all the same.
            if not self._frozen(number).state.is_finished():
                raise
            self.is_exhausted = True

    def _from_prior(self, fixed: Mapping[str, Any]) -> dict[str, Any] | None:
        """What earlier studies would have the next trial draw beside what is fixed, or in
        place of a whole point; `None` leaves it to the scheduler and the sampler."""
        if self._prior is None:
            return None
        names = self._study.space.parameters
        return self._prior.propose(
            seed=self._study.seed,
            number=len(self.stored()),
            own=[
                (
                    {name: trial.user_attrs[name] for name in names if name in trial.user_attrs},
                    trial.value,
                )
                for trial in self.stored()
                if trial.state == TrialState.COMPLETE and trial.value is not None
            ],
            tried=[trial.params for trial in self.stored()],
            fixed=fixed,
        )

    def _with_sampler(self, number: int) -> optuna.Study:
        """The study with the sampler of one trial, which remembers nothing of the others'."""
        sampler = build_sampler(
            self._study.sampler,
            seed=self._study.seed,
            number=number,
            conditional=self._study.space.is_conditional,
        )
        return trials.with_methods(self._optuna, sampler, self._pruner)

    def _best_of(self, finished: Iterable[Finished]) -> dict[int, Finished]:
        """Those of them whose weights are kept, the best first."""
        by_number = {one.number: one for one in finished}
        ranked = best_first(by_number.values(), self._study.spec.metric)
        return {number: by_number[number] for number in ranked[: self._study.kept]}

    def _ended(self, number: int, how: str) -> dict[str, Any]:
        """The attribute that records how a trial's last attempt has ended."""
        return {ATTEMPTS: spans.end(self._frozen(number).user_attrs.get(ATTEMPTS, []), how)}

    def _frozen(self, number: int) -> FrozenTrial:
        return trials.frozen(self._optuna, number)


def mend_folders(study: Study, optuna_study: optuna.Study, folder: StudyFolder) -> None:
    """Does for finished trials what a driver that was killed after telling them left undone.

    Records that are damaged or missing are written again, half-written files deleted.
    """
    remove_leftovers(folder.path)
    finished = trials.finished(optuna_study)
    for trial in finished:
        has_folder = folder.trial(trial.number).is_dir()
        if has_folder and not is_written(folder, trial, list(study.space.parameters)):
            write_trial(folder, trial, list(study.space.parameters))
    ranked = best_first(map(_as_finished, finished), study.spec.metric)
    tidy(folder, [trial.number for trial in finished], ranked[: study.kept])


def _as_finished(trial: FrozenTrial) -> Finished:
    return Finished(trial.number, trial.value if trial.state == TrialState.COMPLETE else None)
