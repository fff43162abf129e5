"""Attempts as a driver records them and as they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial
from toy_bench import HALVING, Bench, MakeStudy, ToySlot
from toy_runs import Watcher, run_study

from core.task import OnEvent, Outcome, Progress
from hpo import spans
from hpo.driver import Driver
from hpo.events import Event, TrialEvaluated
from hpo.folders import StudyFolder
from hpo.reading import _spans_of
from hpo.slots import Work, WorkerError
from hpo.spans import ATTEMPTS, RepeatLog, read_repeats, read_spans


class OnceBroken(ToySlot):
    """Its first attempt breaks down."""

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        if not work.folder.joinpath("broken").exists() and work.number == 0:
            work.folder.joinpath("broken").touch()
            raise WorkerError("exit code 134", "died")
        return super().run(work, on_event)


def test_a_breakdown_an_interruption_and_the_ends_are_recorded(
    bench: Callable[..., Bench],
) -> None:
    toy = bench()

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.number == 1:
            driver.interrupt()

    toy.run(2, slots=[OnceBroken(toy.folder.cache)], on_event=interrupt)
    toy.run(2)
    stored = [one.user_attrs[ATTEMPTS] for one in toy.found.get_trials()]
    assert [[one["how"] for one in each] for each in stored] == [
        ["retried", "complete"],
        ["interrupted", "complete"],
    ]
    assert {one["place"] for each in stored for one in each} == {"cpu"}
    told = json.loads((toy.folder.trial(1) / "trial.json").read_text())
    assert told["attributes"][ATTEMPTS] == stored[1]
    for each in stored:
        times = [one[key] for one in each for key in ("begun", "ended")]
        assert times == sorted(times)
        assert all(datetime.fromisoformat(time).tzinfo is not None for time in times)


def test_a_pruned_and_a_diverged_trial_end_as_such(bench: Callable[..., Bench]) -> None:
    toy = bench({"sampler.name": "random", **HALVING})
    toy.run(7)
    for one in toy.found.get_trials():
        (attempt,) = one.user_attrs[ATTEMPTS]
        assert attempt["how"] == {"COMPLETE": "complete", "PRUNED": "pruned"}[one.state.name]


def test_an_attempt_found_open_was_killed_when_its_folder_was_last_written(
    tmp_path: Path,
) -> None:
    stored = spans.begin([], "cpu 1", tmp_path)
    assert stored[0]["ended"] is None
    log = tmp_path / "worker.log"
    log.touch()
    later = datetime.fromisoformat(stored[0]["begun"]).timestamp() + 100
    os.utime(log, (later, later))
    again = spans.begin(stored, "cpu 0", tmp_path)
    assert [(one["place"], one["how"]) for one in again] == [
        ("cpu 1", "killed"),
        ("cpu 0", "running"),
    ]
    (read,) = read_spans(stored, 3, tmp_path, is_owned=False)
    assert (read.how, read.ended) == ("killed", datetime.fromtimestamp(later, UTC))
    (runs,) = read_spans(stored, 3, tmp_path, is_owned=True)
    assert (runs.how, runs.ended) == ("running", None)


@pytest.mark.parametrize("stored", [None, "x", [3], [{"place": "cpu"}], [{"begun": "soon"}]])
def test_what_makes_no_sense_is_left_out(stored: object, tmp_path: Path) -> None:
    assert read_spans(stored, 0, tmp_path, is_owned=False) == ()


def test_repeats_have_theirs_in_a_file(tmp_path: Path) -> None:
    log = RepeatLog(tmp_path)
    log.begin(3, 1, "cpu", tmp_path / "run", is_again=False)
    log.begin(3, 1, "cpu", tmp_path / "run", is_again=True)
    log.end(3, 1, "complete")
    again = RepeatLog(tmp_path)
    again.begin(3, 2, "cpu", tmp_path / "run", is_again=False)
    found = read_repeats(tmp_path, is_owned=True)
    assert [(one.trial, one.seed, one.how) for one in found] == [
        (3, 1, "retried"),
        (3, 1, "complete"),
        (3, 2, "running"),
    ]
    (tmp_path / "attempts.json").write_text("[{")
    assert read_repeats(tmp_path, is_owned=True) == ()


def test_a_run_with_finals_tells_of_all_its_attempts(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"finals.top": 2, "finals.seeds": 1})
    record = run_study(study, tmp_path / "runs", Watcher()).record
    assert record.finals is not None
    assert {(one.trial, one.seed, one.how) for one in record.repeat_spans} == {
        (entrant.trial, 1, "complete") for entrant in record.finals.entrants
    }
    for trial in record.trials:
        (attempt,) = trial.spans
        assert (attempt.trial, attempt.how) == (trial.number, trial.state)
        assert attempt.ended is not None


def test_a_study_of_before_has_one_attempt_a_trial(tmp_path: Path) -> None:
    begun, ended = datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 13)
    old = create_trial(state=TrialState.PRUNED, user_attrs={"slot": 1, "outcome": "diverged"})
    old.datetime_start, old.datetime_complete = begun, ended
    (attempt,) = _spans_of(old, "pruned", StudyFolder(tmp_path, "x"), is_owned=False)
    assert (attempt.place, attempt.how) == ("slot 1", "diverged")
    assert attempt.begun == begun.astimezone(UTC)
    assert attempt.ended == ended.astimezone(UTC)


class Moving(ToySlot):
    """It is given another place than it had, as on a cluster whose node was lost."""

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        self.name = "cluster"
        on_event(Progress("", 0, 0, None, 0.0, note="waiting for a node"))
        self.name = "node 2 cpu"
        return super().run(work, on_event)


def test_the_place_of_an_attempt_is_where_it_really_ran(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"finals.top": 1, "finals.seeds": 1})
    found = run_study(
        study, tmp_path / "runs", trials=1, make_slots=lambda _options, cache: [Moving(cache)]
    )
    (one,) = found.record.trials
    assert [span.place for span in one.spans] == ["node 2 cpu"]
    assert [span.place for span in found.record.repeat_spans] == ["node 2 cpu"]
    stored = found.record.optuna_study.get_trials(deepcopy=False)[0].user_attrs
    assert stored["place"] == "node 2 cpu"
