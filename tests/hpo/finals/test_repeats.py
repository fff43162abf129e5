"""Whole runs of the toy study with finals: repeats, racing, resuming, and the one opening."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_bench import KINDS, MakeStudy, ToySlot, enqueue
from toy_runs import Watcher, run_study

from core.settings import RunConfig
from core.task import Evaluation, Facts, OnEvent, Outcome, Scores, Verdict
from hpo import clock
from hpo.analysis.answer import reading_sentences
from hpo.cleaning import clean
from hpo.events import RepeatEnded, RepeatProgressed, RepeatStarted, StudyStarted, TrialStarted
from hpo.finals.repeats import Finals
from hpo.folders import StudyFolder
from hpo.forecast import Forecast
from hpo.reading import read_study
from hpo.shift import Shift
from hpo.slots import Work, WorkerError

FINALS = {"finals.top": 2, "finals.seeds": 2}
START = '[[enqueue]]\n"model.width" = 3\n"finetune.rate" = 1e-5\n'


class Bad(ToySlot):
    """A slot whose run is in a test's hands; `spoil` raises, or returns the value to pretend."""

    def __init__(self, cache: Path, spoil: Callable[[Work], float | None]) -> None:
        super().__init__(cache)
        self.spoil = spoil

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        value = self.spoil(work)
        outcome = super().run(work, on_event)
        return outcome if value is None else dataclasses.replace(outcome, value=value)


def seed_of(work: Work) -> int | None:
    """The fresh seed of a repeat; None for a trial of the search."""
    name = work.folder.name
    return int(name.removeprefix("seed")) if name.startswith("seed") else None


def jobs(watch: Watcher) -> list[tuple[int, int]]:
    return [(event.number, event.seed) for event in watch.of(RepeatStarted)]


def test_the_best_are_repeated_seed_by_seed_and_the_start_last(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    watch, runs = Watcher(), tmp_path / "runs"
    result = run_study(make_study(overrides=FINALS, rest=START), runs, watch, trials=5)
    ranked = sorted(result.record.trials, key=lambda one: -(one.value or 0))
    first, second = ranked[0].number, ranked[1].number
    assert 0 not in (first, second)
    expected = [(first, 1), (second, 1), (first, 2), (second, 2), (0, 1), (0, 2)]
    assert [job for job in jobs(watch) if job != (second, 2)] == [
        job for job in expected if job != (second, 2)
    ]
    assert (runs / "toy" / "finals" / f"trial{first:04d}" / "seed2" / "outcome.json").is_file()
    finals = result.record.finals
    assert finals is not None
    assert [one.trial for one in finals.entrants] == [first, second, 0]
    assert [one.is_finalist for one in finals.entrants] == [True, True, False]
    assert (finals.top, finals.seeds, finals.start) == (2, 2, 0)
    assert finals.selected in (first, second)
    # They are no trials: no sampler learns from them, and no budget counts them.
    assert len(result.record.optuna_study.get_trials()) == 5
    assert len(watch.of(TrialStarted)) == 5


def test_finalists_have_equal_seeds_and_fresh_ones(make_study: MakeStudy, tmp_path: Path) -> None:
    seen: dict[tuple[int, int | None], RunConfig] = {}

    class Noting(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            seen[work.number, seed_of(work)] = work.config
            return super().run(work, on_event)

    run_study(
        make_study(overrides={**FINALS, "finals.seeds": 1}),
        tmp_path / "runs",
        trials=4,
        make_slots=lambda _, cache: [Noting(cache)],
    )
    repeats = {trial: config for (trial, seed), config in seen.items() if seed == 1}
    assert len(repeats) == 2
    assert len({config.seed for config in repeats.values()}) == 1
    for trial, config in repeats.items():
        assert config.groups == seen[trial, None].groups
        assert config.seed not in {one.seed for (_, seed), one in seen.items() if seed is None}
        assert config.structure_seed != seen[trial, None].structure_seed


def test_one_opening_reads_all_runs_of_the_finalists(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    result = run_study(make_study(overrides={**FINALS, "storage.keep": 2}, rest=START), runs)
    (reading,) = result.record.readings
    finals = result.record.finals
    assert finals is not None
    assert reading.selected == finals.selected
    read = [(run.trial, run.seed) for run in reading.runs]
    repeated = [
        (one.trial, seed) for one in finals.entrants if one.is_finalist for seed in one.seeds
    ]
    assert len(read) == len(set(read))
    assert set(read) == set(repeated) | {(one.trial, None) for one in finals.entrants[:2]}
    # First the selected configuration's runs: that of the search, then by seed.
    own = [run.seed for run in reading.runs if run.trial == reading.selected]
    assert own == [None, 1, 2]
    assert [run.trial for run in reading.runs[:3]] == [reading.selected] * 3
    assert (reading.fresh, reading.unread) == (2, 0)
    by_seed = {(run.trial, run.seed): run.validation for run in reading.runs}
    for one in finals.entrants[:2]:
        for seed, value in zip(one.seeds, one.values, strict=True):
            assert by_seed[one.trial, seed] == value
    # Weights are kept of the best few repeats, and of none that only the start needed.
    kept = [path.parent.parent.name for path in runs.glob("toy/finals/*/*/weights")]
    assert len(kept) == 2
    assert "trial0000" not in kept or 0 in {one.trial for one in finals.entrants[:2]}
    assert not (runs / "toy" / "opening.json").exists()


def test_a_finished_study_with_its_finals_needs_no_worker(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study(overrides=FINALS)
    first = run_study(study, runs)

    class Untouchable(ToySlot):
        def run(self, *_: Any) -> Any:
            raise AssertionError("no worker is needed")

        score_test = run

    watch = Watcher()
    second = run_study(study, runs, watch, make_slots=lambda _, cache: [Untouchable(cache)])
    assert second.already_finished
    assert second.reading == first.reading
    assert second.record.finals == first.record.finals
    assert watch.events == []


def test_without_the_section_nothing_is_repeated(make_study: MakeStudy, tmp_path: Path) -> None:
    watch = Watcher()
    result = run_study(make_study(), tmp_path / "runs", watch)
    assert result.record.finals is None
    assert not watch.of(RepeatStarted)
    assert result.reading is not None
    assert len(result.reading.runs) == 1
    assert not (tmp_path / "runs" / "toy" / "finals").exists()


def test_without_seeds_the_test_set_is_read_for_the_best_of_the_search(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"finals.top": 3, "finals.seeds": 0})
    result = run_study(study, tmp_path / "runs", trials=5)
    assert result.record.finals is None
    assert result.reading is not None
    assert [run.seed for run in result.reading.runs] == [None] * 3
    assert result.record.best is not None
    assert result.reading.runs[0].trial == result.record.best.number


def race(values: dict[tuple[int, int | None], float]) -> Callable[[Work], float | None]:
    return lambda work: values.get((work.number, seed_of(work)))


def test_who_is_clearly_behind_is_not_repeated_further(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    told = {
        **{(trial, None): value for trial, value in enumerate((9.0, 8.0, 7.0))},
        **{(0, seed): value for seed, value in ((1, 5.0), (2, 5.2), (3, 5.1))},
        **{(1, seed): value for seed, value in ((1, 8.0), (2, 8.3), (3, 8.1))},
        **{(2, seed): value for seed, value in ((1, 7.0), (2, 8.9), (3, 7.2))},
    }
    watch = Watcher()
    result = run_study(
        make_study(overrides={"finals.top": 3, "finals.seeds": 3}),
        tmp_path / "runs",
        watch,
        make_slots=lambda _, cache: [Bad(cache, race(told))],
    )
    assert (0, 3) not in jobs(watch)
    assert {(1, 3), (2, 3)} <= set(jobs(watch))
    finals = result.record.finals
    assert finals is not None
    assert finals.selected == 1  # not the winner of the search
    assert [one.is_dropped for one in finals.entrants] == [True, False, False]
    assert [one.ties_with_best for one in finals.entrants] == [False, True, True]
    assert [len(one.values) for one in finals.entrants] == [2, 3, 3]
    assert result.reading is not None
    assert result.reading.selected == 1


def test_a_repeat_that_diverges_counts_as_nothing_learned(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    def spoil(work: Work) -> float | None:
        return float("nan") if seed_of(work) == 2 and work.number == 0 else None

    result = run_study(
        make_study(overrides={"finals.top": 1, "finals.seeds": 2}),
        tmp_path / "runs",
        trials=1,
        make_slots=lambda _, cache: [Bad(cache, spoil)],
    )
    finals = result.record.finals
    assert finals is not None
    (one,) = finals.entrants
    assert one.values[1] == 0.0
    assert one.mean == one.values[0] / 2
    assert result.reading is not None
    assert {run.seed: run.value for run in result.reading.runs}[2] == 0.0


@pytest.mark.parametrize("breakdowns", [1, 2])
def test_a_breakdown_is_tried_once_more_and_then_given_up(
    breakdowns: int, make_study: MakeStudy, tmp_path: Path
) -> None:
    left = breakdowns

    def spoil(work: Work) -> None:
        nonlocal left
        if seed_of(work) == 1 and left:
            left -= 1
            raise WorkerError("it died", "died")

    watch, runs = Watcher(), tmp_path / "runs"
    study = make_study(overrides={"finals.top": 1, "finals.seeds": 2})
    result = run_study(
        study, runs, watch, trials=1, make_slots=lambda _, cache: [Bad(cache, spoil)]
    )
    assert "finals: trial 0, seed 1: it died; trying it again" in watch.notes()
    assert [event.attempt for event in watch.of(RepeatStarted)] == [1, 2, 1]
    finals = result.record.finals
    assert finals is not None
    assert finals.entrants[0].seeds == ((1, 2) if breakdowns == 1 else (2,))
    assert result.failure is None
    # What was given up is not tried for ever.
    assert run_study(study, runs, trials=1).already_finished


def test_a_repeat_that_breaks_down_on_one_device_goes_on_on_another(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides={"finals.top": 1, "finals.seeds": 4}), tmp_path / "runs"
    run_study(study, runs, trials=2)
    for path in (runs / "toy").glob("finals/**/*.json"):
        path.unlink()
    told: list[str] = []

    class Broken(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            raise WorkerError("no CUDA", "device")

    class Patient(ToySlot):
        """Leaves the other slot what it can take."""

        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            with crew.changed:
                crew.changed.wait_for(lambda: told, 20)
            return super().run(work, on_event)

    folder, watch = StudyFolder(runs, "toy"), Watcher()
    crew = Shift(
        [Broken(folder.cache, "gpu 0", "gpu 0"), Patient(folder.cache, "gpu 1", "gpu 1")],
        lambda device, reason: told.append(device),
    )
    found = read_study(None, "toy", runs).optuna_study
    finals = Finals(study, found, folder, observe=watch)
    assert finals.run(crew, Facts({"data": "d" * 64}))
    assert told == ["gpu 0"]
    assert [event.outcome for event in watch.of(RepeatEnded)] == ["complete"] * 4
    places = [event.place for event in watch.of(RepeatStarted)]
    assert sorted(places) == ["gpu 0"] * 3 + ["gpu 1"] * 4


def test_a_repeat_has_as_long_as_a_trial_may_have(make_study: MakeStudy, tmp_path: Path) -> None:
    def dawdle(work: Work) -> None:
        if seed_of(work) == 1:
            time.sleep(0.6)

    class Slow(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            def ask(event: Any) -> Verdict:
                dawdle(work)
                return on_event(event)

            return super().run(work, ask)

    watch = Watcher()
    overrides = {**FINALS, "finals.top": 1, "trial_time_limit": "1s"}
    study = make_study(overrides=overrides)
    result = run_study(
        study, tmp_path / "runs", watch, trials=3, make_slots=lambda _, cache: [Slow(cache)]
    )
    ended = {(event.seed, event.outcome): event.reason for event in watch.of(RepeatEnded)}
    assert set(ended) == {(1, "failed"), (2, "complete")}
    assert "over the trial time limit of 1.0 s at step" in ended[1, "failed"]
    assert result.reading is not None


def test_ctrl_c_pauses_the_finals_and_the_same_command_goes_on(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides=FINALS)
    whole = run_study(study, tmp_path / "whole")
    cut, pressed = tmp_path / "cut", []

    class Pressing(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            def answer(event: Any) -> Any:
                if seed_of(work) == 2 and isinstance(event, Evaluation) and not pressed:
                    pressed.append(event.step)
                    os.kill(os.getpid(), signal.SIGINT)
                return on_event(event)

            return super().run(work, answer)

    watch = Watcher()
    first = run_study(study, cut, watch, make_slots=lambda _, cache: [Pressing(cache)])
    assert first.interrupted
    assert first.reading is None
    assert watch.of(RepeatEnded)[-1].outcome == "interrupted"
    again = Watcher()
    second = run_study(study, cut, again)
    (started,) = again.of(StudyStarted)
    assert (started.finished, started.total, started.resumed) == (3, 3, True)
    assert not second.interrupted
    assert not second.already_finished
    assert second.record.finals == whole.record.finals
    assert second.reading is not None
    assert whole.reading is not None
    assert set(second.reading.runs) == set(whole.reading.runs)


def test_killed_in_the_finals_and_run_again_equals_uninterrupted(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides=FINALS)
    whole = run_study(study, tmp_path / "whole")
    cut = tmp_path / "cut"
    for kind in (RepeatStarted, RepeatEnded):
        with pytest.raises(ZeroDivisionError):
            run_study(study, cut, Watcher(lambda event, kind=kind: isinstance(event, kind)))
    assert run_study(study, cut).record.finals == whole.record.finals


def test_killed_between_two_readings_nothing_is_read_twice(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides=FINALS), tmp_path / "runs"

    class Dying(ToySlot):
        scored = 0

        def score_test(self, config: RunConfig, folder: Path) -> Scores:
            self.scored += 1
            if self.scored == 3:
                raise ZeroDivisionError
            return super().score_test(config, folder)

    with pytest.raises(ZeroDivisionError):
        run_study(study, runs, make_slots=lambda _, cache: [Dying(cache)])
    assert read_study(None, "toy", runs).readings == ()
    result = run_study(study, runs)
    assert result.reading is not None
    assert result.record.readings == (result.reading,)
    read = (runs / ".cache" / "readings.txt").read_text().split()
    assert len(read) == len(result.reading.runs)


def test_a_run_that_cannot_be_scored_is_left_out(make_study: MakeStudy, tmp_path: Path) -> None:
    class Blind(ToySlot):
        def score_test(self, config: RunConfig, folder: Path) -> Scores:
            if folder.name == "seed2":
                raise WorkerError("too dark", "error")
            return super().score_test(config, folder)

    watch = Watcher()
    result = run_study(
        make_study(overrides={"finals.top": 1, "finals.seeds": 2}),
        tmp_path / "runs",
        watch,
        make_slots=lambda _, cache: [Blind(cache)],
    )
    assert result.failure is None
    assert result.reading is not None
    assert [run.seed for run in result.reading.runs if run.seed] == [1]
    assert any("fresh seed 2 is left out: too dark" in note for note in watch.notes())
    told = "no CLEAN_TEST_SCORE: 1 of the 2 repeats of trial"
    assert any(note.startswith(told) for note in watch.notes())
    assert result.record.readings[0].unread == 1


def test_a_later_opening_is_asked_for_and_takes_old_scores_where_weights_are_gone(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study(overrides={**FINALS, "storage.keep": 2})
    first = run_study(study, runs, trials=2)
    more = run_study(study, runs, trials=6)
    assert more.reading == first.reading
    assert more.record.finals is not None
    again = run_study(study, runs, trials=6, again=True)
    assert again.reading is not None
    assert again.record.readings == (first.reading, again.reading)
    expected = {
        (one.trial, seed) for one in more.record.finals.entrants for seed in (None, *one.seeds)
    }
    assert {(run.trial, run.seed) for run in again.reading.runs} == expected
    third = run_study(study, runs, trials=6, again=True)
    assert third.reading is not None
    assert set(third.reading.runs) == set(again.reading.runs)


@pytest.mark.parametrize("more", [1, 2])
def test_a_deleted_ledger_does_not_renew_the_seal(
    more: int, make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    first = run_study(study, runs)
    assert first.record.openings == 1
    (runs / "toy" / "ledger.json").unlink()
    for _ in range(2):
        refused = run_study(study, runs, trials=2 + more)
        assert refused.reading is None
        assert refused.failure == (
            "the ledger lacks 1 of 1 openings of the test set, which is not read again without "
            "--again"
        )
        assert (refused.record.openings, refused.record.readings) == (1, ())
    again = run_study(study, runs, trials=2 + more, again=True)
    assert again.failure is None
    assert again.record.readings == (again.reading,)
    assert again.record.openings == 2
    assert any("read 2 times" in said for said in reading_sentences(again.record))
    watch = Watcher()
    assert run_study(study, runs, watch, trials=2 + more).reading == again.reading
    assert watch.notes() == ["the ledger lacks 1 of 2 openings of the test set"]


def test_a_deleted_record_of_an_opening_under_way_does_not_renew_the_seal(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides=FINALS), tmp_path / "runs"

    class Dying(ToySlot):
        scored = 0

        def score_test(self, config: RunConfig, folder: Path) -> Scores:
            self.scored += 1
            if self.scored == 2:
                raise ZeroDivisionError
            return super().score_test(config, folder)

    with pytest.raises(ZeroDivisionError):
        run_study(study, runs, make_slots=lambda _, cache: [Dying(cache)])
    (runs / "toy" / "opening.json").unlink()
    assert "not read again without --again" in (run_study(study, runs).failure or "")


def test_the_time_is_stored_while_finals_and_readings_go_on(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_SAVE_EVERY_S", 0.0)
    runs, stored = tmp_path / "runs", []

    def look(*_: object) -> bool:
        stored.append(read_study(None, "toy", runs).elapsed_s)
        return False

    class Looking(ToySlot):
        def score_test(self, config: RunConfig, folder: Path) -> Scores:
            look()
            return super().score_test(config, folder)

    run_study(
        make_study(overrides={"finals.top": 1, "finals.seeds": 2}),
        runs,
        Watcher(lambda event: isinstance(event, RepeatEnded) and look()),
        make_slots=lambda _, cache: [Looking(cache)],
    )
    assert len(stored) == 5
    assert stored == sorted(set(stored))


def test_more_finalists_than_kept_trials_are_all_read(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"finals.top": 3, "finals.seeds": 0, "storage.keep": 1})
    runs, watch = tmp_path / "runs", Watcher()
    reading = run_study(study, runs, watch).reading
    assert reading is not None
    assert len(reading.runs) == 3
    last = reading.runs[-1].trial
    shutil.rmtree(runs / "toy" / "trials" / f"{last:04d}" / "weights")
    (runs / "toy" / "ledger.json").unlink()
    fewer = run_study(study, runs, watch, again=True).reading
    assert fewer is not None
    assert len(fewer.runs) == 2
    assert f"test set: trial {last} is left out: its weights are gone" in watch.notes()


def test_clean_frees_the_repeats_of_former_finalists(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(overrides={**FINALS, "storage.keep": 4}), runs)
    before = {path.parent.parent.name for path in runs.glob("toy/finals/*/*/weights")}
    assert len(before) == 2
    result = run_study(make_study(overrides={**FINALS, "finals.top": 1, "storage.keep": 4}), runs)
    assert result.record.best is not None
    assert clean(None, "toy", runs)[0] >= 2
    after = {path.parent.parent.name for path in runs.glob("toy/finals/*/*/weights")}
    assert after == {f"trial{result.record.best.number:04d}"}
    assert list(runs.glob("toy/finals/*/*/outcome.json"))


def test_the_forecast_learns_of_repeats_and_readings(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[str] = []
    monkeypatch.setattr(Forecast, "learn_repeat", lambda *_: learned.append("repeat"))
    monkeypatch.setattr(Forecast, "learn_test", lambda *_: learned.append("test"))
    run_study(make_study(overrides={"finals.top": 1, "finals.seeds": 2}), tmp_path / "runs")
    assert learned == ["repeat"] * 2 + ["test"] * 3


@pytest.mark.parametrize("slots", [2, 3])
def test_all_slots_take_part(slots: int, make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(overrides={**FINALS, "protocol.step_s": 0.005})
    watch = Watcher()
    result = run_study(study, tmp_path / "runs", watch, jobs=slots, trials=4)
    assert {event.slot for event in watch.of(RepeatStarted)} == set(range(slots))
    assert result.record.finals is not None
    assert result.reading is not None


def test_what_may_not_start_waits_for_another_run(make_study: MakeStudy, tmp_path: Path) -> None:
    study, runs = make_study(overrides=FINALS), tmp_path / "runs"
    run_study(study, runs)
    for path in (runs / "toy").glob("finals/**/*.json"):
        path.unlink()
    asked: list[RunConfig] = []

    def may_start(config: RunConfig) -> bool:
        asked.append(config)
        return len(asked) <= 3

    watch, found = Watcher(), read_study(None, "toy", runs).optuna_study
    folder = StudyFolder(runs, "toy")
    finals = Finals(study, found, folder, observe=watch, may_start=may_start)
    assert not finals.is_done
    assert finals.run(Shift([ToySlot(folder.cache)]), Facts({"data": "d" * 64}))
    assert len(asked) == 4
    assert len(jobs(watch)) == 3
    assert "finals: no time is left for 1 of the repeats" in watch.notes()
    record = read_study(None, "toy", runs).finals
    assert record is not None
    assert [one.seeds for one in record.entrants] == [(1, 2), (1,)]
    told: list[tuple[RunConfig, Outcome]] = []
    later = Finals(
        study,
        found,
        folder,
        observe=watch,
        learn_repeat=lambda config, outcome: told.append((config, outcome)),
    )
    assert later.run(Shift([ToySlot(folder.cache)]), Facts({"data": "d" * 64}))
    assert later.is_done
    assert [config for config, _ in told] == [asked[-1]]
    assert told[0][1].curve


def test_where_the_leader_has_no_time_nobody_else_is_repeated_on_that_seed(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides={"finals.top": 2, "finals.seeds": 3}, rest=START), tmp_path
    ranked = sorted(run_study(study, runs).record.trials, key=lambda one: -(one.value or 0))
    leader, second = ranked[0], ranked[1]
    assert 0 not in (leader.number, second.number)
    for path in (runs / "toy").glob("finals/**/*.json"):
        path.unlink()
    asked: list[int] = []

    def may_start(config: RunConfig) -> bool:
        width = config.groups["model"]["width"]
        asked.append(width)
        return width != leader.parameters["model.width"] or asked.count(width) == 1

    watch, found = Watcher(), read_study(None, "toy", runs).optuna_study
    folder = StudyFolder(runs, "toy")
    finals = Finals(study, found, folder, observe=watch, may_start=may_start)
    assert finals.run(Shift([ToySlot(folder.cache)]), Facts({"data": "d" * 64}))
    # The start, which comes last, has the seed that both finalists have.
    assert jobs(watch) == [(leader.number, 1), (second.number, 1), (0, 1)]
    assert finals.standings.selected(study.spec.metric) == leader.number


def test_when_time_is_over_what_runs_is_paused(make_study: MakeStudy, tmp_path: Path) -> None:
    study, runs = make_study(overrides=FINALS), tmp_path / "runs"
    whole = run_study(study, runs).record.finals
    for path in (runs / "toy").glob("finals/**/*.json"):
        path.unlink()
    watch, found = Watcher(), read_study(None, "toy", runs).optuna_study
    folder, facts = StudyFolder(runs, "toy"), Facts({"data": "d" * 64})

    def is_over() -> bool:
        return any(event.progress.step == 7 for event in watch.of(RepeatProgressed))

    finals = Finals(study, found, folder, observe=watch, is_over=is_over)
    assert finals.run(Shift([ToySlot(folder.cache)]), facts)
    assert [event.outcome for event in watch.of(RepeatEnded)] == ["interrupted"]
    assert watch.notes()[-1] == "finals: no time is left for 4 of the repeats"
    assert read_study(None, "toy", runs).finals is None
    later = Finals(study, found, folder, observe=watch)
    assert later.run(Shift([ToySlot(folder.cache)]), facts)
    assert read_study(None, "toy", runs).finals == whole


def test_the_score_before_the_last_stage_is_kept(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(overrides={"finals.top": 1, "finals.seeds": 2, "protocol.first_steps": 6})
    finals = run_study(study, tmp_path / "runs").record.finals
    assert finals is not None
    (one,) = finals.entrants
    assert all(before is not None for before in one.before)
    assert one.before != one.values


def test_a_start_that_was_pruned_takes_part(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(
        space=KINDS,
        rest=enqueue(5, "diverge") + enqueue(50) + enqueue(60),
        overrides={"finals.top": 1, "finals.seeds": 1},
    )
    finals = run_study(study, tmp_path / "runs", trials=3).record.finals
    assert finals is not None
    assert finals.start == 0
    assert {one.trial: one.values for one in finals.entrants}[0] == (0.0,)


def test_what_a_task_can_compare_is_compared_seed_by_seed_once(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    asked: list[tuple[str, str]] = []

    def compare(one: Path, other: Path) -> float:
        asked.append((f"{one.parent.name}/{one.name}", f"{other.parent.name}/{other.name}"))
        return 0.01

    study, runs = make_study(overrides=FINALS), tmp_path / "runs"
    study = dataclasses.replace(study, spec=dataclasses.replace(study.spec, compare=compare))
    finals = run_study(study, runs).record.finals
    assert finals is not None
    (other,) = (one for one in finals.entrants if one.trial != finals.selected)
    assert other.p_value == 0.01
    assert asked == [
        (f"trial{finals.selected:04d}/seed{seed}", f"trial{other.trial:04d}/seed{seed}")
        for seed in (1, 2)
    ]
    assert run_study(study, runs).already_finished
    assert len(asked) == 2


def test_repeats_that_came_after_the_opening_are_told(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    first = run_study(make_study(overrides={**FINALS, "finals.top": 1}), runs)
    more = make_study(overrides={"finals.top": 1, "finals.seeds": 3})
    assert run_study(more, runs, watch).reading == first.reading
    assert jobs(watch) == [(first.record.best.number if first.record.best else -1, 3)]
    told = "the test set was not read for 1 of the finals' repeats. Read it again with --again."
    assert told in watch.notes()
    again = run_study(more, runs, again=True)
    assert again.reading is not None
    assert {run.seed for run in again.reading.runs} == {None, 1, 2, 3}


def test_fewer_finalists_than_before_show_at_once(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(overrides=FINALS), runs)
    found = run_study(make_study(overrides={**FINALS, "finals.top": 1}), runs).record.finals
    assert found is not None
    assert (found.top, len(found.entrants)) == (1, 1)


def test_a_damaged_record_of_the_finals_is_told(make_study: MakeStudy, tmp_path: Path) -> None:
    study, runs = make_study(overrides=FINALS), tmp_path / "runs"
    run_study(study, runs)
    path = runs / "toy" / "finals" / "finals.json"
    assert json.loads(path.read_text())["schema_version"] == 1
    path.write_text("{}")
    from hpo.finals.standings import FinalsError

    with pytest.raises(FinalsError, match=r"finals\.json: the record of the finals is damaged"):
        read_study(None, "toy", runs)
