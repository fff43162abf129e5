"""A study rebuilt from its folder equals the one that its damaged database held."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from toy_bench import GRID, HALVING, MakeStudy, enqueue
from toy_runs import Watcher, run_study

from core.errors import UserError
from core.sealed import read_sealed, write_sealed
from hpo import attributes
from hpo.cli import main
from hpo.events import TrialEvaluated
from hpo.folders import StudyFolder, make_private
from hpo.lock import StudyOwnedError, own
from hpo.repair import RepairError, repair
from hpo.storage import StorageError, locate
from hpo.trial_file import read_trial, write_trial


def state_of(runs: Path, name: str = "toy") -> dict[str, Any]:
    """Every field of a study and its trials, but the ids of the database."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{runs / 'hpo.db'}")
    study = optuna.load_study(study_name=name, storage=storage)
    trials = [
        {key.lstrip("_"): value for key, value in vars(trial).items() if key != "_trial_id"}
        for trial in study.get_trials()
    ]
    found = {
        "directions": study.directions,
        "user": study.user_attrs,
        "system": storage.get_study_system_attrs(study._study_id),
        "trials": trials,
    }
    storage.remove_session()
    storage.engine.dispose()
    return found


def overwrite(path: Path, page: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[4096 * page : 4096 * (page + 1)] = bytes(range(256)) * 16
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 7])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "page": lambda path: overwrite(path, 5),
    "header": lambda path: overwrite(path, 0),
    "cut": truncate,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_rebuilt_study_is_the_one_that_was(
    damage: str, make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    study = make_study(
        overrides=HALVING, space=GRID, rest=enqueue(4) + enqueue(2, "diverge") + enqueue(3)
    )
    run_study(study, runs, trials=7)
    run_study(make_study("other"), runs, trials=1)
    before, result = state_of(runs), run_study(study, runs, trials=7)
    assert {trial["state"].name for trial in before["trials"]} >= {"COMPLETE", "PRUNED"}
    assert any(trial["system_attrs"] for trial in before["trials"])
    DAMAGES[damage](runs / "hpo.db")
    place = ["--runs-dir", str(runs)]
    for command in ("show", "report"):
        assert main([command, "toy", *place]) == 2
    with pytest.raises(StorageError, match=r"database is damaged.*`hpo repair STUDY`"):
        run_study(study, runs, trials=8)
    assert "`hpo repair STUDY`" in capsys.readouterr().err

    assert main(["repair", "toy", *place]) == 0
    said = capsys.readouterr().out
    assert "toy: rebuilt from its folder, 7 trials" in said
    assert "kept as" in said
    assert "Not in the database: other. To rebuild it:" in said
    assert state_of(runs) == before
    assert main(["repair", "toy", *place]) == 0, "it can be repeated"
    assert "nothing to repair" in capsys.readouterr().out
    assert main(["repair", "other", *place]) == 0
    assert main(["show", "other", *place]) == 0
    assert run_study(study, runs, trials=7).record.best == result.record.best
    assert len(run_study(study, runs, trials=8).record.trials) == 8


def test_a_trial_under_way_goes_on_after_a_repair(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, study = tmp_path / "runs", make_study()
    whole = run_study(study, tmp_path / "undisturbed", trials=2)

    def fall(event: object) -> bool:
        return isinstance(event, TrialEvaluated) and event.number == 1

    with pytest.raises(ZeroDivisionError):
        run_study(study, runs, Watcher(fall), trials=2)
    before = state_of(runs)
    assert before["trials"][1]["state"].name == "RUNNING"
    assert before["trials"][1]["intermediate_values"]
    (runs / "hpo.db").unlink()
    repair(None, "toy", runs)
    after = state_of(runs)
    # The clock of a study is in its folder every ten seconds.
    for one in (before, after):
        del one["user"][attributes.ELAPSED_S]
    assert after == before
    record = run_study(study, runs, trials=2).record
    assert [(one.state, one.value) for one in record.trials] == [
        (one.state, one.value) for one in whole.record.trials
    ]


def test_lost_records_are_failed_trials(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs)
    (runs / "hpo.db").unlink()
    path = runs / "toy" / "trials" / "0001" / "trial.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert repair(None, "toy", runs).lost == (1,)
    assert [one["state"].name for one in state_of(runs)["trials"]] == [
        "COMPLETE",
        "FAIL",
        "COMPLETE",
    ]
    run_study(study, runs)


def test_a_folder_without_a_record_is_a_failed_trial_also_where_it_is_the_last(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs)
    (runs / "hpo.db").unlink()
    (runs / "toy" / "trials" / "0002" / "trial.json").unlink()
    assert repair(None, "toy", runs).lost == (2,)
    assert [one["state"].name for one in state_of(runs)["trials"]] == [
        "COMPLETE",
        "COMPLETE",
        "FAIL",
    ]


def test_a_curve_keeps_what_json_has_no_number_for(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "toy")
    make_private(folder.trial(0))
    curve = {1: 2.5, 2: math.inf, 3: -math.inf, 4: math.nan}
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=curve)
    trial.number = 0
    write_trial(folder, trial, [])
    assert repr(read_trial(folder, 0).intermediate_values) == repr(curve)
    path = folder.trial(0) / "trial.json"
    write_sealed(path, {**read_sealed(path), "curve": {"1": 2.5, "2": None}})
    assert read_trial(folder, 0).intermediate_values == {1: 2.5}, "as it was written once"


@pytest.mark.parametrize("at", ["create_new_trial", "set_study_user_attr"])
def test_a_repair_that_was_killed_is_done_again(
    at: str, make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs)
    before = state_of(runs)
    (runs / "hpo.db").unlink()
    real = getattr(RDBStorage, at)
    for failing in (1, 2, 3):
        calls = 0

        def fall(*arguments: Any, failing: int = failing) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise ZeroDivisionError
            return real(*arguments)

        monkeypatch.setattr(RDBStorage, at, fall)
        with pytest.raises(ZeroDivisionError):
            repair(None, "toy", runs)
    monkeypatch.setattr(RDBStorage, at, real)
    assert repair(None, "toy", runs).is_rebuilt
    assert state_of(runs) == before


def test_a_study_of_another_program_is_left_alone(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    (runs / "hpo.db").unlink()
    theirs = optuna.create_study(
        study_name="toy", storage=optuna.storages.RDBStorage(f"sqlite:///{runs / 'hpo.db'}")
    )
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(RepairError, match="'toy': the database has a study of that name that was"):
        repair(None, "toy", runs)
    assert len(state_of(runs)["trials"]) == 2


def test_who_owns_a_study_is_not_disturbed(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    run_study(make_study("other"), runs, trials=1)
    truncate(runs / "hpo.db")
    damaged = (runs / "hpo.db").read_bytes()
    database = locate(None, runs)
    for name in ("toy", "other"):
        with database.own(name), pytest.raises(StudyOwnedError, match=f"'{name}'.*process"):
            repair(None, "toy", runs)
    with own(runs / "toy" / "driver.lock", "toy"), pytest.raises(StudyOwnedError):
        repair(None, "toy", runs)
    assert (runs / "hpo.db").read_bytes() == damaged


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "there is no folder of a study"),
        ("../toy", "not a name"),
        ("toy", r"study.json: the study cannot be rebuilt without this file: digest"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(
    name: str, message: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    path = runs / "toy" / "study.json"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=message):
        repair(None, name, runs)


def test_a_damaged_declaration_is_written_again_from_the_database(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    run_study(make_study(), runs, trials=1)
    path = runs / "toy" / "study.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    run_study(make_study(), runs, watch, trials=1)
    assert any("study.json was damaged: written again" in note for note in watch.notes())
    assert repair(None, "toy", runs).is_rebuilt is False


def test_a_study_of_a_server_is_not_put_into_a_file(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("toy", "other"):
        run_study(make_study(name), runs, trials=1)
    path = runs / "other" / "study.json"
    stored = read_sealed(path)
    stored["attributes"][attributes.STORAGE] = "postgresql+psycopg://me@host/db"
    write_sealed(path, stored)
    for file in runs.glob("hpo.db*"):
        file.unlink()
    assert repair(None, "toy", runs).others == ()
    with pytest.raises(RepairError, match=r"kept in another database.*postgresql.*--storage"):
        repair(None, "other", runs)


def test_what_ran_when_all_was_killed_is_told_as_interrupted(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"

    def is_under_way(event: Any) -> bool:
        return isinstance(event, TrialEvaluated) and event.number == 1

    with pytest.raises(ZeroDivisionError):
        run_study(make_study(), runs, Watcher(is_under_way))
    for path in runs.glob("hpo.db*"):
        path.unlink()
    assert main(["repair", "toy", "--runs-dir", str(runs)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "toy: rebuilt from its folder, 2 trials (1 complete, 1 interrupted)",
        "Interrupted trials were cut off; the next run goes on with them.",
    ]
