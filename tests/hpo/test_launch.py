"""Whole runs on SQLite: owner, identity, test reading; and drivers in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import toy_curves
from conftest import SPACE, ToySlot, toy_slots

from core.errors import SettingsError
from core.settings import RunConfig
from core.task import Scores
from hpo.declarations import Study
from hpo.disk import DiskError
from hpo.events import (
    Event,
    Note,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.identity import StudyConflictError
from hpo.launch import Result, RunOptions, launch
from hpo.lock import StudyOwnedError
from hpo.reading import read_study
from hpo.slots import WorkerError, WorkerMistakeError
from hpo.storage import StorageError

MakeStudy = Callable[..., Study]
HERE = Path(__file__).parent
HALVING = {"pruner.name": "successive_halving", "pruner.reduction_factor": 2}


class Watcher:
    """Remembers events; raises at one, if told to."""

    def __init__(self, fall: Callable[[Event], bool] | None = None) -> None:
        self.events: list[Event] = []
        self._fall = fall

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._fall is not None and self._fall(event):
            raise ZeroDivisionError

    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def _run(study: Study, runs: Path, watch: Watcher | None = None, **options: Any) -> Result:
    options.setdefault("trials", 3)
    slots = options.pop("make_slots", toy_slots)
    return launch(
        study, RunOptions(runs_dir=runs, **options), watch or Watcher(), make_slots=slots
    )


def _told(runs: Path, name: str = "toy") -> list[tuple[Any, ...]]:
    trials = read_study(None, name, runs).optuna_study.get_trials()
    return [
        (one.number, one.state.name, one.params, one.value, one.intermediate_values)
        for one in trials
    ]


# Going on


def test_a_run_ends_with_a_result_and_a_later_one_prints_it(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    first = _run(make_study(), runs, watch)
    assert watch.notes() == ["3 numbers"]
    assert not first.interrupted
    assert not first.already_finished
    assert first.failure is None
    best = first.record.best
    assert best is not None
    assert first.reading is not None
    assert (first.reading.trial, first.reading.signature) == (best.number, "toy|v1")
    assert first.record.readings == (first.reading,)

    class Untouchable(ToySlot):
        def run(self, *_: Any) -> Any:
            raise AssertionError("no worker is needed")

        score_test = run

    again = Watcher()
    second = _run(make_study(), runs, again, make_slots=lambda _, cache: [Untouchable(cache)])
    assert second.already_finished
    assert second.reading == first.reading
    assert again.events == []
    assert (runs / ".cache" / "readings.txt").read_text().split() == [f"{best.number:04d}"]


def test_asked_for_more_it_goes_on_where_it_stands(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    _run(make_study(), runs)
    result = _run(make_study(), runs, watch, trials=5)
    (started,) = watch.of(StudyStarted)
    assert (started.finished, started.total, started.resumed) == (3, 5, True)
    assert len(result.record.trials) == result.record.total == 5
    assert [event.number for event in watch.of(TrialStarted)] == [3, 4]
    assert len(_run(make_study(), runs, trials=2).record.trials) == 5


def test_the_studys_own_number_holds_without_another(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    assert len(_run(make_study(), tmp_path / "runs", trials=None).record.trials) == 7


def test_killed_at_an_event_and_run_again_equals_uninterrupted(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides=HALVING)
    _run(study, tmp_path / "whole", trials=6)
    cut = tmp_path / "cut"
    for number in (0, 2, 4):
        fall = Watcher(
            lambda event, at=number: isinstance(event, TrialEvaluated) and event.number == at
        )
        with pytest.raises(ZeroDivisionError):
            _run(study, cut, fall, trials=6)
    watch = Watcher()
    result = _run(study, cut, watch, trials=6)
    assert _told(cut) == _told(tmp_path / "whole")
    assert watch.of(TrialStarted)[0].attempt == 2
    assert result.record.elapsed_s > 0


def test_what_a_killed_driver_left_of_finished_trials_is_mended(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    study = make_study(overrides={"storage.keep": 1})
    _run(study, runs)
    folders = [runs / "toy" / "trials" / f"{number:04d}" for number in range(3)]
    kept = [(folder / "weights").is_dir() for folder in folders]
    before = [(folder / "trial.json").read_text() for folder in folders]
    for folder in folders:
        (folder / "checkpoint").mkdir()
        (folder / "weights").mkdir(exist_ok=True)
    (folders[0] / "trial.json").write_text('{"state": "running"}')
    (folders[1] / "trial.json").unlink()
    assert _run(study, runs).already_finished
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

    def make_slots(number: int, cache: Path) -> list[ToySlot]:
        made.extend(toy_slots(number, cache))
        return made

    fall = Watcher(lambda event: isinstance(event, TrialEnded))
    with pytest.raises(ZeroDivisionError):
        _run(make_study(), runs, fall, jobs=slots, make_slots=make_slots)
    assert len(made) == slots
    assert all(slot.is_closed for slot in made)
    assert not read_study(None, "toy", runs).is_owned
    assert not list(runs.rglob("*.owner.json"))


# Refusals


def test_a_second_driver_is_refused_whatever_folder_it_names(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.lock.PATIENCE_S", 0.1)
    runs, study = tmp_path / "runs", make_study()
    url = f"sqlite:///{runs}/hpo.db"

    def look(event: Event) -> bool:
        if isinstance(event, TrialEnded):
            for folder, storage in (
                (runs, None),
                (tmp_path / "other", url),
                (runs, f"sqlite:///{tmp_path}/other.db"),
            ):
                with pytest.raises(StudyOwnedError, match="'toy' is being run by process"):
                    _run(study, folder, storage=storage)
        return False

    _run(study, runs, Watcher(look), trials=1)
    _run(make_study("toy2"), runs, trials=1)


@pytest.mark.parametrize(
    ("overrides", "space", "keys", "words"),
    [
        (
            {"protocol.second_steps": 18, "protocol.eval_every": 6},
            SPACE,
            ("protocol.eval_every", "protocol.second_steps"),
            "protocol.eval_every was 3, is 6; protocol.second_steps was 12, is 18",
        ),
        ({"seed": 5}, SPACE, ("seed",), "seed was 3, is 5"),
        (
            {},
            SPACE.replace("97", "101"),
            ("search_space.parameters.model.width.high",),
            "model.width.high was 97, is 101",
        ),
        (
            {},
            SPACE + '"model.kind" = { type = "categorical", choices = ["fine"] }\n',
            (
                "search_space.parameters.model.kind.choices",
                "search_space.parameters.model.kind.type",
            ),
            'choices was absent, is ["fine"]',
        ),
        ({"data.source": "{tmp}"}, SPACE, ("data.source",), 'was "arithmetic", is "folder"'),
    ],
)
def test_another_study_under_the_same_name_is_refused_with_the_ways_out(
    overrides: dict[str, Any],
    space: str,
    keys: tuple[str, ...],
    words: str,
    make_study: MakeStudy,
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    overrides = {
        key: value.format(tmp=tmp_path) if isinstance(value, str) else value
        for key, value in overrides.items()
    }
    _run(make_study(), runs, trials=1)
    before = _told(runs)
    changed = make_study(overrides=overrides, space=space)
    said = rf"study 'toy': it was begun with other settings: .*{re.escape(words)}.*--name NEW"
    with pytest.raises(StudyConflictError, match=said) as caught:
        _run(changed, runs)
    assert caught.value.keys == keys
    assert "\n" not in str(caught.value)
    assert _told(runs) == before
    assert len(_run(make_study("new", overrides, space=space), runs, trials=1).record.trials) == 1


def test_other_data_under_the_same_declaration_is_refused(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, study = tmp_path / "runs", make_study()
    _run(study, runs, trials=1)
    monkeypatch.setitem(toy_curves.DIGESTS, "data", "e" * 64)
    assert _run(study, runs, trials=1).already_finished  # which looks at no data
    with pytest.raises(
        StudyConflictError, match=r"digests\.data was .*Restore the data"
    ) as caught:
        _run(study, runs, trials=2)
    assert caught.value.keys == ("digests.data",)


def test_sampler_and_pruner_may_change_and_it_is_recorded(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    _run(make_study(), runs)
    changed = make_study(overrides={"sampler.name": "random", **HALVING})
    _run(changed, runs, watch, trials=4)
    notes = watch.notes()
    assert 'from now on: sampler.name was "tpe", is "random"' in notes
    assert 'from now on: pruner.name was "none", is "successive_halving"' in notes
    written = json.loads((runs / "toy" / "study.json").read_text())
    changes = {change["key"]: (change["before"], change["now"]) for change in written["changes"]}
    assert changes["sampler.name"] == ("tpe", "random")
    assert changes["trials"] == (3, 4)
    assert written["declaration"]["sampler"] == {"name": "random"}
    assert read_study(None, "toy", runs).declaration["sampler"] == {"name": "random"}


def test_folders_and_database_must_belong_together(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, study = tmp_path / "runs", make_study()
    url = f"sqlite:///{runs}/hpo.db"
    _run(study, runs, trials=1)
    with pytest.raises(
        StudyConflictError, match=rf"its trials lie in {runs}/toy.*--runs-dir {runs}"
    ):
        _run(study, tmp_path / "other", storage=url)
    with pytest.raises(StudyConflictError, match="trials of a study that is not in this database"):
        _run(study, runs, storage=f"sqlite:///{tmp_path}/other.db")
    # Both may move together.
    moved = tmp_path / "moved"
    runs.rename(moved)
    assert len(_run(study, moved, trials=2).record.trials) == 2
    # And what is lost is told.
    (moved / "toy").rename(tmp_path / "lost")
    watch = Watcher()
    result = _run(study, moved, watch, trials=3)
    assert any("the files of earlier trials are gone" in note for note in watch.notes())
    assert len(result.record.trials) == 3


def test_a_study_that_somebody_else_made_is_left_alone(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    foreign = optuna.create_study(storage=f"sqlite:///{runs}/hpo.db", study_name="toy")
    foreign.tell(foreign.ask().number, 1.0)
    with pytest.raises(StudyConflictError, match="not made by this program"):
        _run(make_study(), runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"time_limit_s": 0.0}, "the time limit must be positive"),
        ({"time_limit_s": float("nan")}, "the time limit must be positive"),
    ],
)
def test_options_are_checked_first(
    options: dict[str, Any], message: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        _run(make_study(), tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_a_postgresql_url_is_refused_before_anything_is_written(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="sqlite:///FILE"):
        _run(make_study(), tmp_path / "runs", storage="postgresql://h/db")
    assert not (tmp_path / "runs").exists()


def test_room_on_the_disk_is_checked_for_the_largest_model(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    asked: list[int] = []

    def count(groups: Any, protocol: Any) -> int:
        asked.append(groups["model"].width)
        return groups["model"].width * 10**12

    study = make_study()
    wide = replace(study, spec=replace(study.spec, count_weights=count))
    with pytest.raises(DiskError, match="not enough room on the disk"):
        _run(wide, tmp_path / "runs")
    assert max(asked) == 97
    assert _run(study, tmp_path / "runs", trials=1).failure is None


# The test set


def test_the_test_set_is_read_once_unless_asked_again(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    first = _run(study, runs, trials=1)
    assert first.reading is not None
    watch = Watcher()
    more = _run(study, runs, watch, trials=3)
    assert more.reading == first.reading
    assert more.record.best is not None
    assert more.record.best.number != 0
    told = f"the test set was read for trial 0; trial {more.record.best.number} is the best now"
    assert any(note.startswith(told) and "--again" in note for note in watch.notes())
    again = _run(study, runs, trials=3, again=True)
    assert again.already_finished
    assert again.reading is not None
    assert again.reading.trial == more.record.best.number
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

    result = _run(study, runs, make_slots=lambda number, cache: [Amnesic(cache)])
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
    result = _run(
        make_study(),
        tmp_path / "runs",
        make_slots=lambda number, cache: [BadReader(cache, *errors)],
    )
    assert (result.failure or "").startswith(failure or "")
    assert (result.reading is None) is (failure is not None)
    # What failed is tried by the next run.
    assert _run(make_study(), tmp_path / "runs").reading is not None


def test_without_a_complete_trial_nothing_is_read(make_study: MakeStudy, tmp_path: Path) -> None:
    space = SPACE + '"model.kind" = { type = "categorical", choices = ["diverge"] }\n'
    result = _run(make_study(space=space), tmp_path / "runs", trials=2)
    assert result.record.best is None
    assert result.reading is None
    assert not (tmp_path / "runs" / "toy" / "ledger.json").exists()


def test_failures_end_the_run_with_their_cause(make_study: MakeStudy, tmp_path: Path) -> None:
    class Broken(ToySlot):
        def run(self, *_: Any) -> Any:
            raise WorkerError("ImportError: no torch", "error")

    result = _run(
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
    result = _run(study, tmp_path / "runs", watch, trials=20)
    assert len(result.record.trials) == 3
    assert "every point of the search space has been tried" in watch.notes()
    assert result.reading is not None
    assert _run(study, tmp_path / "runs", trials=20).already_finished


def test_at_the_time_limit_the_result_is_there(make_study: MakeStudy, tmp_path: Path) -> None:
    study, watch = make_study(overrides={"protocol.step_s": 0.02}), Watcher()
    result = _run(study, tmp_path / "runs", watch, trials=200, time_limit_s=2.0)
    assert "the time limit is reached" in watch.notes()
    assert not result.interrupted
    assert result.failure is None
    assert 2.0 <= result.record.elapsed_s < 30
    assert result.reading is not None
    assert len(result.record.trials) < 200


# Drivers in processes of their own


def _start(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    folders = [str(tmp_path / "declared"), str(tmp_path / "runs")]
    return subprocess.Popen(
        [sys.executable, str(HERE / "toy_command.py"), *folders, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(seen)


SLOWLY = {"protocol.step_s": 0.05}
SLOW = ("--set", "protocol.step_s=0.05", "--trials", "3")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_the_same_study_goes_on(
    number: signal.Signals, make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides=SLOWLY), tmp_path / "runs"
    with _start(tmp_path, *SLOW, "--slots", "2") as process:
        _read_until(process, " at 4")
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert "reading=None torch=False" in rest
    record = read_study(None, "toy", runs)
    left = [trial for trial in record.trials if trial.state == "interrupted"]
    assert left
    assert len(record.trials) == 2
    assert rest.count("outcome='interrupted'") == len(left)
    assert all((trial.folder / "checkpoint").is_dir() for trial in left)
    watch = Watcher()
    _run(study, runs, watch)
    assert {event.number for event in watch.of(TrialStarted) if event.attempt == 2} == {
        trial.number for trial in left
    }
    _run(make_study(), tmp_path / "whole", trials=2)
    assert [one[3:] for one in _told(runs)[:2]] == [one[3:] for one in _told(tmp_path / "whole")]


def test_a_second_ctrl_c_kills_at_once(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(space=SPACE + '"model.kind" = { type = "categorical", choices = ["silent"] }\n')
    with _start(tmp_path) as process:
        _read_until(process, "0 at 4")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # the child hears nothing
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=20)[0]
    assert process.returncode == 130, rest
    (trial,) = read_study(None, "toy", tmp_path / "runs").trials
    assert trial.state == "interrupted"


def test_a_second_driver_is_refused_and_after_kill_9_the_study_goes_on(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides=SLOWLY), tmp_path / "runs"
    with _start(tmp_path, *SLOW) as process:
        _read_until(process, "1 at 7")
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(StudyOwnedError, match=f"is being run by process {process.pid} on"):
            _run(study, runs)
        process.kill()
    watch = Watcher()
    _run(study, runs, watch)
    (started,) = watch.of(StudyStarted)
    assert (started.finished, started.resumed) == (1, True)
    first = watch.of(TrialStarted)[0]
    assert (first.number, first.attempt) == (1, 2)
    # Only what the last checkpoint lacks is done again.
    progressed = [event.progress.step for event in watch.of(TrialProgressed) if event.number == 1]
    assert min(progressed, default=99) >= 7
    _run(study, tmp_path / "whole")
    assert _told(runs) == _told(tmp_path / "whole")


@pytest.mark.parametrize("after", [29, 44, 63])
def test_killed_between_any_two_transactions_equals_uninterrupted(
    after: int, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"sampler.n_startup_trials": 1})
    options = ("--in-process", "--trials", "3", "--set", "sampler.n_startup_trials=1")
    with _start(tmp_path, *options, "--die-after", str(after)) as process:
        output = process.communicate()[0]
    assert process.returncode == 137, output
    _run(study, tmp_path / "runs")
    _run(study, tmp_path / "whole")
    assert _told(tmp_path / "runs") == _told(tmp_path / "whole")
