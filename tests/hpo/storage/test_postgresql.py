from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from toy_bench import MakeStudy
from toy_runs import Watcher, run_study, told_of

from benchmarks.postgres_server import PostgresServer
from hpo.events import Event, StudyStarted, TrialEnded
from hpo.lock import Owner, StudyOwnedError, StudyTakenOverError
from hpo.reading import list_studies, read_study
from hpo.storage import DatabaseAwayError, StorageError, close, locate, telling
from hpo.storage.postgresql import PostgreSQL

HERE = Path(__file__).parent


@pytest.fixture
def database(postgres: str) -> PostgreSQL:
    return PostgreSQL(postgres)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.storage.postgresql.PATIENCE_S", 0.1)


def _attributes(database: PostgreSQL, name: str = "x") -> dict[str, object]:
    storage = database.open_for_reading()
    try:
        return optuna.load_study(study_name=name, storage=storage).user_attrs
    finally:
        close(storage)


def test_a_study_runs_is_killed_and_goes_on_as_on_sqlite(
    postgres: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(), tmp_path / "runs"

    def is_second(event: Event) -> bool:
        return isinstance(event, TrialEnded) and event.number == 1

    with pytest.raises(ZeroDivisionError):
        run_study(study, runs, Watcher(is_second), storage=postgres)
    assert list_studies(postgres, runs)[0].state == "interrupted"
    watch = Watcher()
    result = run_study(study, runs, watch, storage=postgres)
    assert watch.of(StudyStarted)[0].resumed
    assert result.record.best is not None
    assert not (runs / "hpo.db").exists()
    run_study(study, tmp_path / "other")
    assert told_of(runs, storage=postgres) == told_of(tmp_path / "other")
    (summary,) = list_studies(postgres, runs)
    assert (summary.name, summary.state, summary.finished) == ("toy", "finished", 3)


def test_a_reader_creates_nothing_writes_nothing_and_needs_no_lock(database: PostgreSQL) -> None:
    assert not database.exists
    assert database.owner_of("x") is None
    with pytest.raises(StorageError, match=r"@127.*: no study has been run here"):
        database.open_for_reading()
    assert not database.exists
    with database.own("x"):
        storage = database.open_for_driver()
        optuna.create_study(storage=storage, study_name="x")
        reader = database.open_for_reading()
        assert optuna.get_all_study_names(reader) == ["x"]
        with pytest.raises(StorageError, match="read-only"), telling(database):
            reader.set_study_user_attr(1, "a", 1)
        close(reader)
        close(storage)


@pytest.mark.usefixtures("impatient")
def test_a_second_owner_is_refused_with_the_first_ones_name(
    database: PostgreSQL, postgres: str
) -> None:
    other = PostgreSQL(postgres)
    with database.own("x"):
        me = other.owner_of("x")
        assert me is not None
        assert (me.pid, me.boot, me.started) == (os.getpid(), *_of_myself())
        assert other.is_owned("x")
        assert not other.is_owned("y")
        said = rf"'x' is being run by process {os.getpid()} on .*, since 20"
        with pytest.raises(StudyOwnedError, match=said), other.own("x"):
            pass
        with other.own("y"):
            pass
    assert not database.is_owned("x")
    assert database.owner_of("x") is None
    with other.own("x"):
        pass


def _of_myself() -> tuple[str, int]:
    me = Owner.myself()
    return me.boot, me.started


def test_eight_drivers_at_once_on_an_empty_database(
    make_study: MakeStudy, postgres: str, tmp_path: Path
) -> None:
    # Each holds what it got until all have tried.
    study, all_have_tried = make_study(), threading.Event()
    refused: list[str] = []

    def watch(_event: Event) -> None:
        assert all_have_tried.wait(60)

    def drive(number: int) -> int:
        try:
            run_study(study, tmp_path / f"runs{number}", watch, storage=postgres)  # type: ignore[arg-type]
        except StudyOwnedError as error:
            refused.append(str(error))
            if len(refused) == 7:
                all_have_tried.set()
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(drive, range(8))) == 1
    assert len(refused) == 7
    assert all("'toy' is being run by " in line and "\n" not in line for line in refused)
    (one,) = list_studies(postgres, tmp_path)
    assert one.finished == 3


def test_the_lock_ends_with_its_process_however_it_ends(
    database: PostgreSQL, postgres: str
) -> None:
    program = (
        "import sys\n"
        "from hpo.storage.postgresql import PostgreSQL\n"
        "with PostgreSQL(sys.argv[1]).own('x'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, postgres],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = f"process {holder.pid} on"
        with pytest.raises(StudyOwnedError, match=said), database.own("x"):
            pass
        holder.kill()
    with database.own("x"):
        pass


def test_two_drivers_may_create_the_tables_at_the_same_moment(postgres: str) -> None:
    def create(name: str) -> None:
        database = PostgreSQL(postgres)
        with database.own(name):
            close(database.open_for_driver())

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(create, "abcdef"))
    assert PostgreSQL(postgres).exists


def test_a_lost_connection_is_seen_as_one_and_the_next_one_is_the_owners_again(
    database: PostgreSQL, postgres_server: PostgresServer
) -> None:
    with database.own("x"):
        storage = database.open_for_driver()
        study = optuna.create_study(storage=storage, study_name="x")
        for number in range(5):
            postgres_server.end_sessions()
            with pytest.raises(StorageInternalError) as caught:
                study.set_user_attr("a", number)
            assert isinstance(caught.value.__cause__, sqlalchemy.exc.OperationalError)
            assert caught.value.__cause__.connection_invalidated
            study.set_user_attr("a", number)
            assert database.owner_of("x") is not None
        close(storage)
    assert _attributes(database) == {"a": 4}
    assert not database.is_owned("x")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_was_away_is_gone_on_with(
    how: str, database: PostgreSQL, postgres_server: PostgresServer
) -> None:
    with database.own("x"):
        storage = database.open_for_driver()
        study = optuna.create_study(storage=storage, study_name="x")
        getattr(postgres_server, how)()
        for _ in range(2):
            with pytest.raises(StorageInternalError) as caught:
                study.set_user_attr("a", 1)
            assert isinstance(caught.value.__cause__, sqlalchemy.exc.OperationalError)
        postgres_server.start()
        study.set_user_attr("a", 2)
        assert database.is_owned("x")
        close(storage)
    assert _attributes(database) == {"a": 2}


@pytest.mark.parametrize("is_over", [False, True])
def test_a_driver_that_was_taken_over_writes_nothing(
    is_over: bool, database: PostgreSQL, postgres: str, postgres_server: PostgresServer
) -> None:
    other = PostgreSQL(postgres)
    with database.own("x"):
        storage = database.open_for_driver()
        study = optuna.create_study(storage=storage, study_name="x")
        study.set_user_attr("a", 1)
        postgres_server.end_sessions()
        with other.own("x"):
            with pytest.raises(StorageInternalError):  # where the loss is noticed
                study.set_user_attr("a", 2)
            if not is_over:
                _try_to_write(study)
        _try_to_write(study)
        close(storage)
    assert _attributes(database) == {"a": 1}


def _try_to_write(study: optuna.Study) -> None:
    for _ in range(3):
        with pytest.raises(StudyTakenOverError, match=r"'x' was taken over by .*stores nothing"):
            study.set_user_attr("a", 2)


def test_a_lost_session_that_the_server_still_holds_is_ended_first(
    database: PostgreSQL, postgres_server: PostgresServer
) -> None:
    """As when the network went and the server has not noticed: the lock is our own, and held."""
    with database.own("x"):
        ownership = database._ownership
        assert ownership is not None
        lost = ownership.connect()
        found = ownership.connect()
        with pytest.raises(psycopg.OperationalError):
            lost.execute("SELECT 1")
        assert found.execute("SELECT 1").fetchone() == (1,)
        lost.close()
        found.close()


def test_what_a_server_complains_of_is_one_line(
    postgres: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = PostgreSQL(postgres + "x")
    with (
        pytest.raises(StorageError, match=r"the database failed \(.*does not exist\)") as caught,
        missing.own("x"),
    ):
        pass
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", "mistaken")
    with pytest.raises(StorageError, match=r"authentication failed.*PGPASSFILE"):
        _ = PostgreSQL(postgres).exists
    monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(StorageError, match=r"no password supplied.*PGPASSWORD"):
        PostgreSQL(postgres).open_for_reading()
    away = postgres.replace(str(postgres_server.port), "1")
    with pytest.raises(DatabaseAwayError, match=r"Connection refused.*if that is mistyped"):
        PostgreSQL(away).is_owned("x")


def test_the_password_may_lie_in_a_file_or_in_a_service_file(
    postgres: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    words = tmp_path / "pgpass"
    words.write_text(f"127.0.0.1:*:*:hpo:{postgres_server.password}\n")
    words.chmod(0o600)
    with monkeypatch.context() as here:
        here.setenv("PGPASSFILE", str(words))
        assert not PostgreSQL(postgres).exists
    service = tmp_path / "services"
    service.write_text(
        f"[search]\nhost=127.0.0.1\nport={postgres_server.port}\nuser=hpo\n"
        f"dbname={postgres.rpartition('/')[2]}\npassword={postgres_server.password}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    assert not locate("postgresql:///?service=search", tmp_path).exists


def test_a_reader_tells_whether_a_study_is_running(
    database: PostgreSQL, make_study: MakeStudy, postgres: str, tmp_path: Path
) -> None:
    run_study(make_study(), tmp_path, storage=postgres, trials=1)
    with database.own("toy"):
        assert read_study(postgres, "toy", tmp_path).is_owned
        assert list_studies(postgres, tmp_path)[0].state == "running"
    assert not read_study(postgres, "toy", tmp_path).is_owned
