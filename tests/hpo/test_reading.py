from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from toy_bench import HALVING, MakeStudy, toy_slots
from toy_runs import run_study

from core.task import Grid
from hpo.cleaning import clean
from hpo.declarations import Study
from hpo.events import Event, TrialEvaluated, TrialStarted
from hpo.launch import launch
from hpo.lock import StudyOwnedError, own
from hpo.options import RunOptions
from hpo.output import standing
from hpo.reading import UnknownStudyError, list_studies, read_study
from hpo.records import StudyRecord
from hpo.storage import StorageError


def _ignore(event: Event) -> None:
    pass


def _run(
    study: Study, runs: Path, watch: Callable[[Event], None] = _ignore, trials: int = 7
) -> None:
    launch(study, RunOptions(trials=trials, runs_dir=runs), watch, make_slots=toy_slots)


def test_a_record_tells_all_that_was_stored(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    study = make_study(overrides=HALVING)
    _run(study, runs)
    record = read_study(None, "toy", runs)
    assert (record.name, record.task, record.metric) == ("toy", "toy", study.spec.metric)
    assert record.grid == study.grid == Grid((("second", 12),), 3)
    assert record.declaration == study.as_json()
    assert record.facts["counts"] == {"numbers": 3}
    assert (record.total, record.is_owned, record.final_line) == (7, False, "FINAL_TEST_SCORE")
    assert record.elapsed_s > 0
    assert record.folder == runs / "toy"
    assert [trial.number for trial in record.trials] == list(range(7))
    assert {trial.state for trial in record.trials} == {"complete", "pruned"}
    assert all(trial.is_finished and trial.attempts == 1 for trial in record.trials)
    best = record.best
    assert best is not None
    assert best.value == max(trial.value or 0 for trial in record.trials)
    assert list(best.parameters) == ["model.width", "finetune.rate"]
    assert list(best.curve) == [3, 6, 9, 12]
    assert (best.health["verdict"], best.cost["finetune_s"]) == ("healthy", 0.01)
    assert best.started is not None
    assert best.ended is not None
    assert best.started <= best.ended
    assert best.folder.is_dir()
    assert [reading.selected for reading in record.readings] == [best.number]
    pruned = next(trial for trial in record.trials if trial.state == "pruned")
    assert pruned.reason.startswith("behind other trials at step")
    assert pruned.value == pruned.curve[max(pruned.curve)]


def test_the_optuna_study_is_a_copy_that_nothing_keeps_open(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    _run(make_study(), runs)
    copy = read_study(None, "toy", runs).optuna_study
    assert isinstance(copy._storage, optuna.storages.InMemoryStorage)
    (runs / "hpo.db").unlink()
    assert copy.study_name == "toy"
    assert len(copy.trials) == 7
    assert copy.best_trial.user_attrs["outcome"] == "completed"


def test_trials_of_a_study_nobody_owns_are_interrupted(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    seen: list[StudyRecord] = []

    def fall(event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.number == 1:
            seen.append(read_study(None, "toy", runs))
            seen.append(seen[0])
            assert [one.state for one in list_studies(None, runs)] == ["running"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _run(make_study(), runs, fall)
    assert seen[0].is_owned
    assert [trial.state for trial in seen[0].trials] == ["complete", "running"]
    record = read_study(None, "toy", runs)
    assert not record.is_owned
    assert [trial.state for trial in record.trials] == ["complete", "interrupted"]
    assert [one.state for one in list_studies(None, runs)] == ["interrupted"]


def test_a_study_that_ended_by_itself_is_finished_whatever_waits(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    promote = make_study(overrides={"scheduler.name": "promote"})
    _run(promote, runs)
    (summary,) = list_studies(None, runs)
    assert (summary.state, summary.total) == ("finished", 7)
    assert summary.finished < 7
    assert clean(None, "toy", runs) == (0, 0)

    def fall(event: Event) -> None:
        if isinstance(event, TrialStarted):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _run(promote, runs, fall, trials=9)
    assert [one.state for one in list_studies(None, runs)] == ["interrupted"]
    _run(promote, runs, trials=9)
    assert [one.state for one in list_studies(None, runs)] == ["finished"]


def test_at_its_time_limit_a_study_with_a_result_is_finished(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    ended, in_vain = tmp_path / "ended", tmp_path / "in_vain"
    run_study(make_study(overrides={"protocol.step_s": 0.02}), ended, trials=200, time_limit_s=4)
    assert [one.state for one in list_studies(None, ended)] == ["finished"]
    assert standing(read_study(None, "toy", ended)).plain.endswith(", ended by its time limit")
    run_study(make_study(overrides={"protocol.step_s": 0.3}), in_vain, time_limit_s=1)
    assert [one.state for one in list_studies(None, in_vain)] == ["interrupted"]


def test_studies_of_one_database_are_listed(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert list_studies(None, runs) == []
    assert not runs.exists()
    _run(make_study("b"), runs, trials=2)
    _run(make_study("a"), runs, trials=3)
    optuna.create_study(storage=f"sqlite:///{runs}/hpo.db", study_name="not-ours")
    first, second = list_studies(None, runs)
    assert (first.name, first.state, first.finished, first.total) == ("a", "finished", 3, 3)
    assert (second.name, second.finished) == ("b", 2)
    record = read_study(None, "a", runs)
    assert record.best is not None
    assert (first.best, first.best_trial) == (record.best.value, record.best.number)
    with pytest.raises(UnknownStudyError, match="not made by this program"):
        read_study(None, "not-ours", runs)


def test_an_unknown_study_is_told_with_those_that_there_are(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(StorageError, match="no study has been run here"):
        read_study(None, "toy", runs)
    _run(make_study("depth"), runs, trials=1)
    said = r"no study 'dept' has been run here, .*|Allowed: depth\. Did you mean 'depth'\?"
    with pytest.raises(UnknownStudyError, match=said):
        read_study(None, "dept", runs)


def test_cleaning_frees_what_a_killed_run_left(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    _run(make_study(overrides={"storage.keep": 2}), runs)
    trials = runs / "toy" / "trials"
    kept = {path.parent.name for path in trials.glob("*/weights")}
    for number in range(7):
        (trials / f"{number:04d}" / "checkpoint").mkdir()
        (trials / f"{number:04d}" / "checkpoint" / "a").write_bytes(b"x" * 211)
        (trials / f"{number:04d}" / "weights").mkdir(exist_ok=True)
    stages = runs / ".cache" / "stages"
    stages.mkdir()
    (stages / "a").write_bytes(b"x" * 17)
    assert clean(None, "toy", runs) == (7 + 5, 7 * 211)
    assert {path.parent.name for path in trials.glob("*/weights")} == kept
    assert len(list(trials.glob("*/trial.json"))) == 7
    assert (stages / "a").exists(), "the cache is not one study's"
    assert clean(None, "toy", runs) == (0, 0)


def test_cleaning_leaves_the_temporary_files_of_other_studies(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    _run(make_study(), runs, trials=1)
    _run(make_study("other"), runs, trials=1)
    name = f".x.json.{2**22 - 1}.{'0' * 12}.tmp"
    mine, shared, others = (runs / folder / name for folder in ("toy", ".cache", "other"))
    for path in (mine, shared, others):
        path.write_text("1234567")
    with own(runs / "other" / "driver.lock", "other"):
        assert clean(None, "toy", runs) == (0, 7)
    assert (mine.exists(), shared.exists(), others.exists()) == (False, True, True)
    assert clean(None, "toy", runs) == (0, 7)
    assert (shared.exists(), others.exists()) == (False, True)


def test_cleaning_touches_no_study_that_is_run_or_can_go_on(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"

    def look(event: Event) -> None:
        if isinstance(event, TrialStarted) and event.number == 2:
            with pytest.raises(StudyOwnedError):
                clean(None, "toy", runs)
        if isinstance(event, TrialEvaluated) and event.number == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _run(make_study(), runs, look)
    assert clean(None, "toy", runs) == (0, 0)
    assert (runs / "toy" / "trials" / "0002" / "checkpoint").is_dir()
