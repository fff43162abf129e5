"""Whole runs on SQLite, to their result and its test reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_bench import HALVING, SPACE, MakeStudy, ToySlot, toy_slots
from toy_runs import Watcher, run_study, told_of

from core.errors import SettingsError
from core.settings import RunConfig
from core.task import Scores
from hpo.events import (
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialStarted,
)
from hpo.options import RunOptions
from hpo.reading import read_study
from hpo.slots import WorkerError, WorkerMistakeError


def test_a_run_ends_with_a_result_and_a_later_one_prints_it(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    first = run_study(make_study(), runs, watch)
    assert watch.notes() == ["3 numbers"]
    assert not first.interrupted
    assert not first.already_finished
    assert first.failure is None
    best = first.record.best
    assert best is not None
    assert first.reading is not None
    assert (first.reading.selected, first.reading.signature) == (best.number, "toy|v1")
    assert first.record.readings == (first.reading,)

    class Untouchable(ToySlot):
        def run(self, *_: Any) -> Any:
            raise AssertionError("no worker is needed")

        score_test = run

    again = Watcher()
    second = run_study(make_study(), runs, again, make_slots=lambda _, cache: [Untouchable(cache)])
    assert second.already_finished
    assert second.reading == first.reading
    assert again.events == []
    assert (runs / ".cache" / "readings.txt").read_text().split() == [f"{best.number:04d}"]


def test_a_limit_of_the_cache_that_is_none_is_refused_before_anything_is_made(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_LIMIT", "twenty")
    with pytest.raises(SettingsError, match=r"^HPO_CACHE_LIMIT: .*got 'twenty'"):
        run_study(make_study(), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_asked_for_more_it_goes_on_where_it_stands(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    run_study(make_study(), runs)
    result = run_study(make_study(), runs, watch, trials=5)
    (started,) = watch.of(StudyStarted)
    assert (started.finished, started.total, started.resumed) == (3, 5, True)
    assert len(result.record.trials) == result.record.total == 5
    assert [event.number for event in watch.of(TrialStarted)] == [3, 4]
    assert len(run_study(make_study(), runs, trials=2).record.trials) == 5


def test_each_trial_names_the_slot_it_ran_in(make_study: MakeStudy, tmp_path: Path) -> None:
    watch = Watcher()
    result = run_study(make_study(), tmp_path / "runs", watch, jobs=2)
    told = {event.number: event.place for event in watch.of(TrialStarted)}
    assert {"cpu 0", "cpu 1"} >= set(told.values())
    stored = result.record.optuna_study.get_trials()
    assert {trial.number: trial.user_attrs["place"] for trial in stored} == told


def test_the_studys_own_number_holds_without_another(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    assert len(run_study(make_study(), tmp_path / "runs", trials=None).record.trials) == 7


@pytest.mark.parametrize(
    "methods",
    [
        HALVING,
        {"sampler.name": "gp", "sampler.n_startup_trials": 2},
        {"sampler.name": "qmc", "pruner.name": "percentile", "pruner.trust": "always"},
        {"pruner.name": "patient", "pruner.around.name": "median"},
    ],
    ids=["halving", "gp", "qmc", "patient"],
)
def test_killed_at_an_event_and_run_again_equals_uninterrupted(
    methods: dict[str, Any], make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides=methods)
    run_study(study, tmp_path / "whole", trials=6)
    cut = tmp_path / "cut"
    for number in (0, 2, 4):
        fall = Watcher(
            lambda event, at=number: isinstance(event, TrialEvaluated) and event.number == at
        )
        with pytest.raises(ZeroDivisionError):
            run_study(study, cut, fall, trials=6)
    watch = Watcher()
    result = run_study(study, cut, watch, trials=6)
    assert told_of(cut) == told_of(tmp_path / "whole")
    assert watch.of(TrialStarted)[0].attempt == 2
    assert result.record.elapsed_s > 0


def test_a_sampler_that_learns_nothing_from_pruned_trials_says_so(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    watch, quiet = Watcher(), Watcher()
    run_study(
        make_study(overrides={"sampler.name": "gp", "pruner.name": "median"}), tmp_path, watch
    )
    (note,) = (note for note in watch.notes() if "sampler gp" in note)
    assert "nothing from those that pruner median stops" in note
    assert "\n" not in note
    run_study(make_study("other", overrides={"sampler.name": "gp"}), tmp_path, quiet)
    assert quiet.notes() == ["3 numbers"]


def test_what_a_killed_driver_left_of_finished_trials_is_mended(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    study = make_study(overrides={"storage.keep": 1})
    run_study(study, runs)
    folders = [runs / "toy" / "trials" / f"{number:04d}" for number in range(3)]
    kept = [(folder / "weights").is_dir() for folder in folders]
    before = [(folder / "trial.json").read_text() for folder in folders]
    for folder in folders:
        (folder / "checkpoint").mkdir()
        (folder / "weights").mkdir(exist_ok=True)
    (folders[0] / "trial.json").write_text('{"state": "running"}')
    (folders[1] / "trial.json").unlink()
    assert run_study(study, runs).already_finished
    assert [(folder / "weights").is_dir() for folder in folders] == kept
    assert sum(kept) == 1
    assert not any((folder / "checkpoint").exists() for folder in folders)
    assert [(folder / "trial.json").read_text() for folder in folders] == before


@pytest.mark.parametrize("slots", [1, 2])
def test_no_driver_or_lock_is_left_behind(
    slots: int, make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    made: list[ToySlot] = []

    def make_slots(options: RunOptions, cache: Path) -> list[ToySlot]:
        made.extend(toy_slots(options, cache))
        return made

    fall = Watcher(lambda event: isinstance(event, TrialEnded))
    with pytest.raises(ZeroDivisionError):
        run_study(make_study(), runs, fall, jobs=slots, make_slots=make_slots)
    assert len(made) == slots
    assert all(slot.is_closed for slot in made)
    assert not read_study(None, "toy", runs).is_owned
    assert not list(runs.rglob("*.owner.json"))


def test_the_test_set_is_read_once_unless_asked_again(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    first = run_study(study, runs, trials=1)
    assert first.reading is not None
    watch = Watcher()
    more = run_study(study, runs, watch, trials=3)
    assert more.reading == first.reading
    assert more.record.best is not None
    assert more.record.best.number != 0
    told = f"the test set was read for trial 0; trial {more.record.best.number} is the best now"
    assert any(note.startswith(told) and "--again" in note for note in watch.notes())
    again = run_study(study, runs, trials=3, again=True)
    assert again.already_finished
    assert again.reading is not None
    assert again.reading.selected == more.record.best.number
    assert again.record.readings == (first.reading, again.reading)


def test_without_weights_the_result_says_so(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, study = tmp_path / "runs", make_study()

    class Amnesic(ToySlot):
        def run(self, *given: Any) -> Any:
            outcome = super().run(*given)
            for path in given[0].folder.glob("weights/*"):
                path.unlink()
            (given[0].folder / "weights").rmdir()
            return outcome

    result = run_study(study, runs, make_slots=lambda number, cache: [Amnesic(cache)])
    assert result.reading is None
    assert result.failure is not None
    assert result.failure.startswith("the test set cannot be read: the weights of the best trial")


class BadReader(ToySlot):
    def __init__(self, cache: Path, *errors: Exception) -> None:
        super().__init__(cache)
        self.errors = list(errors)

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        if self.errors:
            raise self.errors.pop(0)
        return super().score_test(config, folder)


@pytest.mark.parametrize(
    ("errors", "failure"),
    [
        ([WorkerError("died", "died")], None),
        ([WorkerError("died", "died")] * 2, "the test set could not be read: died"),
        (
            [WorkerMistakeError("no test set.", "DataError")],
            "the test set could not be read: no test",
        ),
    ],
)
def test_a_reading_that_breaks_down_is_tried_once_more(
    errors: list[Exception], failure: str | None, make_study: MakeStudy, tmp_path: Path
) -> None:
    result = run_study(
        make_study(),
        tmp_path / "runs",
        make_slots=lambda number, cache: [BadReader(cache, *errors)],
    )
    assert (result.failure or "").startswith(failure or "")
    assert (result.reading is None) is (failure is not None)
    # What failed is tried by the next run.
    assert run_study(make_study(), tmp_path / "runs").reading is not None


def test_without_a_complete_trial_nothing_is_read(make_study: MakeStudy, tmp_path: Path) -> None:
    space = SPACE + '"model.kind" = { type = "categorical", choices = ["diverge"] }\n'
    result = run_study(make_study(space=space), tmp_path / "runs", trials=2)
    assert result.record.best is None
    assert result.reading is None
    assert not (tmp_path / "runs" / "toy" / "ledger.json").exists()


def test_failures_end_the_run_with_their_cause(make_study: MakeStudy, tmp_path: Path) -> None:
    class Broken(ToySlot):
        def run(self, *_: Any) -> Any:
            raise WorkerError("ImportError: no torch", "error")

    result = run_study(
        make_study(), tmp_path / "runs", trials=20, make_slots=lambda _, cache: [Broken(cache)]
    )
    assert result.failure == "5 trials failed one after another: ImportError: no torch"
    assert [trial.state for trial in result.record.trials] == ["failed"] * 5
    assert not result.interrupted


def test_brute_force_is_finished_when_every_point_was_tried(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    space = 'task = "toy"\n[parameters]\n"model.width" = { type = "int", low = 5, high = 7 }\n'
    study = make_study(overrides={"sampler.name": "brute_force"}, space=space)
    watch = Watcher()
    result = run_study(study, tmp_path / "runs", watch, trials=20)
    assert len(result.record.trials) == 3
    assert "every point of the search space has been tried" in watch.notes()
    assert result.reading is not None
    assert run_study(study, tmp_path / "runs", trials=20).already_finished


def test_without_time_for_one_trial_the_run_fails_and_says_so(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"protocol.step_s": 0.3})
    result = run_study(study, tmp_path / "runs", time_limit_s=2.0)
    assert result.failure is not None
    assert "no trial came to its end within the time limit" in result.failure
    assert run_study(study, tmp_path / "runs", trials=1).failure is None


def test_at_the_time_limit_the_result_is_there(make_study: MakeStudy, tmp_path: Path) -> None:
    study, watch = make_study(overrides={"protocol.step_s": 0.02}), Watcher()
    result = run_study(study, tmp_path / "runs", watch, trials=200, time_limit_s=5.0)
    assert "the time for trials is used up" in watch.notes()
    assert not result.interrupted
    assert result.failure is None
    assert result.record.elapsed_s < 5.2
    assert result.reading is not None
    assert len(result.record.trials) < 200
