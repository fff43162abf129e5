from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from filelock import Timeout

from hpo.storage import StorageError, close, locate, telling
from hpo.storage.sqlite import SQLite, _file_system_of, begin


def test_the_default_database_lies_in_the_runs_folder(tmp_path: Path) -> None:
    database = locate(None, tmp_path)
    assert database.shown == f"{tmp_path}/hpo.db"
    assert database.url == f"sqlite:///{tmp_path}/hpo.db"
    assert not database.exists


def test_the_deepest_and_latest_mount_tells_the_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "disk / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "disk2 /home/me ext4 rw 0 0\n"
        "share /mnt/my\\040share cifs rw 0 0\n"
        "torn line\n"
    )
    assert _file_system_of(Path("/home/you/hpo.db"), mounts) == "nfs4"
    assert _file_system_of(Path("/home/me/hpo.db"), mounts) == "ext4"
    assert _file_system_of(Path("/mnt/my share/x"), mounts) == "cifs"
    assert _file_system_of(Path("/homes/x"), mounts) == "ext4"
    assert _file_system_of(Path("/x"), tmp_path / "none") is None


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.storage.sqlite._file_system_of", lambda path: "nfs4")
    with pytest.raises(StorageError, match=r"network file system \(nfs4\).*--storage"):
        locate(None, tmp_path)


def test_writers_begin_at_once_and_wait_for_each_other(tmp_path: Path) -> None:
    database = locate(None, tmp_path)
    storage = database.open_for_driver()
    study = optuna.create_study(storage=storage, study_name="x")
    with ThreadPoolExecutor(8) as threads:
        # Stock Optuna on SQLite loses or repeats numbers here.
        numbers = list(
            threads.map(
                lambda _: (
                    study._storage.get_trial(
                        study._storage.create_new_trial(study._study_id)
                    ).number
                ),
                range(40),
            )
        )
    assert sorted(numbers) == list(range(40))
    close(storage)
    connection = sqlite3.connect(tmp_path / "hpo.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_two_drivers_may_create_the_tables_at_the_same_moment(tmp_path: Path) -> None:
    database = locate(None, tmp_path)
    with ThreadPoolExecutor(4) as threads:
        for storage in threads.map(lambda _: database.open_for_driver(), range(4)):
            close(storage)
    assert database.exists


def test_a_studys_lock_is_no_other_lock(tmp_path: Path) -> None:
    database = SQLite(tmp_path / "hpo.db")
    other = SQLite(tmp_path / "hpo.db.a")
    with database.own("tables"), database.own("a.b"), other.own("b"):
        assert not database.is_owned("b")
        close(database.open_for_driver())


def test_a_damaged_file_is_put_aside_while_no_driver_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = SQLite(tmp_path / "hpo.db")
    close(database.open_for_driver())
    monkeypatch.setattr("hpo.storage.sqlite.PATIENCE_S", 0.1)
    with database._tables_lock(), ThreadPoolExecutor(1) as thread, pytest.raises(Timeout):
        thread.submit(database.put_aside, "x").result()
    assert database.path.exists()
    assert database.put_aside("x").exists()
    assert not database.path.exists()


def test_a_reader_creates_nothing_and_does_not_wait_for_the_writer(tmp_path: Path) -> None:
    database = locate(None, tmp_path)
    with pytest.raises(StorageError, match="no study has been run here"):
        database.open_for_reading()
    assert list(tmp_path.iterdir()) == []
    storage = database.open_for_driver()
    optuna.create_study(storage=storage, study_name="x")
    writer = sqlite3.connect(tmp_path / "hpo.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    reader = database.open_for_reading()
    assert optuna.get_all_study_names(reader) == ["x"]
    writer.close()
    close(reader)
    close(storage)


def test_a_busy_database_delays_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    mine = sqlite3.connect(path, isolation_level=None, timeout=0.01)
    started = time.monotonic()
    threading.Timer(0.3, other.rollback).start()
    begin(mine, "BEGIN IMMEDIATE")
    assert time.monotonic() - started >= 0.25
    mine.rollback()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        begin(mine, "BEGIN IMMEDIATE", patience_s=0.1)
    other.close()
    mine.close()


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "hpo.db").write_text("notes\n" * 100)
    database = locate(None, tmp_path)
    with pytest.raises(StorageError, match=r"hpo\.db: .*not a database"):
        database.open_for_reading()
    with pytest.raises(StorageError, match=r"hpo\.db: .*not a database"):
        database.open_for_driver()


def test_what_the_database_complains_of_is_told_in_one_line(tmp_path: Path) -> None:
    database = locate(None, tmp_path)
    storage = database.open_for_driver()
    study = optuna.create_study(storage=storage, study_name="x")
    storage.engine.dispose()
    (tmp_path / "hpo.db").write_bytes(b"torn" * 5000)
    said = r"hpo\.db: the database is damaged \(.*\)\..*`hpo repair STUDY`"
    with pytest.raises(StorageError, match=said), telling(database):
        study.set_user_attr("a", 1)
    close(storage)


def test_no_line_and_no_warning_of_optuna_leaks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = locate(None, tmp_path).open_for_driver()
    study = optuna.create_study(storage=storage, study_name="x")
    study.tell(study.ask().number, 1.0)
    close(storage)
    assert capfd.readouterr() == ("", "")


def test_tables_of_another_optuna_are_looked_at_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = SQLite(tmp_path / "a.db")
    optuna.create_study(storage=database.open_for_driver(), study_name="a")
    looked = []
    monkeypatch.setattr(
        "optuna.storages._rdb.storage._VersionManager.check_table_schema_compatibility",
        lambda _self: looked.append(True),
    )
    for version, looks in ((optuna.__version__, []), ("4.9.0", [True])):
        with closing(sqlite3.connect(database.path)) as connection, connection:
            connection.execute("UPDATE version_info SET library_version = ?", [version])
        storage = database.open_for_reading()
        assert optuna.get_all_study_names(storage) == ["a"]
        assert looked == looks
