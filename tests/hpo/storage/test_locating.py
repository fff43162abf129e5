from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpo.storage import StorageError, locate
from hpo.storage.postgresql import OPTIONS, PostgreSQL


def test_the_default_database_lies_in_the_runs_folder(tmp_path: Path) -> None:
    database = locate(None, tmp_path)
    assert database.shown == f"{tmp_path}/hpo.db"
    assert database.url == f"sqlite:///{tmp_path}/hpo.db"
    assert not database.exists


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql+pymysql://me:secret@host/db", r"got 'mysql\+pymysql://\*\*\*'.*sqlite:///FILE"),
        ("postgresql+psycopg2://me:secret@host/db", r"unknown kind.*postgresql\+psycopg://USER@"),
        ("me:secret@host", r"unknown kind of storage, got '\*\*\*'"),
        ("oracle://secret", r"got 'oracle://\*\*\*'"),
        (
            "mysql+pymysql://me:secret@host/db",
            r"cannot be kept in MySQL, got 'mysql\+pymysql://\*\*\*'",
        ),
        ("sqlite://", "unknown kind of storage"),
        ("sqlite:///:memory:", "unknown kind of storage"),
        ("sqlite:////a/b.db?mode=ro", "unknown kind of storage"),
        ("runs/hpo.db", "unknown kind of storage.*Leave --storage out"),
        ("sqlite:////tmp", "the database is a folder"),
        ("sqlite:///a\0b.db", r"no file can be there: embedded null byte, got 'a\\x00b.db'"),
        (f"sqlite:///{'a' * 300}.db", "no file can be there: File name too long"),
        ("sqlite:///~no-such-user/a.db", "no file can be there: Could not determine home"),
    ],
)
def test_other_storages_are_refused_with_the_way_out(
    url: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        locate(url, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret@host/db", "a password in a URL.*PGPASSWORD.*service file"),
        ("postgresql+psycopg://me:se/cr@et@host/db", "a password in a URL"),
        ("postgresql://me:@host/db", "a password in a URL"),
        ("postgresql://me@host/db?password=secret", "a password in a URL"),
        ("postgresql://me@host/db?sslpassword=secret", "a password in a URL"),
        ("postgresql://me@host/db?sslmode=on;password=secret", "cannot be read"),
        ("postgresql://me@host/password=secret", "cannot be read"),
        ("postgresql://me:secret", "cannot be read"),
        ("postgresql://host:secret/db", "cannot be read"),
        ("postgresql://me@host/db?options=-csecret", f"got 'options'.*{', '.join(OPTIONS)}"),
        ("postgresql://me@host/db?conninfo=secret", "unknown option"),
        ("postgresql://me@host/{secret}", "cannot be read"),
        ("postgresql://me@host/db?host=a&host=secret", "cannot be read"),
        ("postgresql://me@host/d\0b", "cannot be read"),
    ],
)
def test_a_server_is_refused_a_password_and_what_could_hide_one(
    url: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        locate(url, tmp_path)
    error: BaseException | None = caught.value
    assert "secret" not in str(error)
    assert "se/cr" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@host:5433/db", "postgresql+psycopg://me@host:5433/db"),
        ("postgresql+psycopg://host/my-db", "postgresql+psycopg://host/my-db"),
        ("postgresql://me@[::1]/db", "postgresql+psycopg://me@[::1]/db"),
        ("postgresql:///?service=hpo", "postgresql+psycopg:///?service=hpo"),
        (
            "postgresql:///db?host=/run/postgresql",
            "postgresql+psycopg:///db?host=%2Frun%2Fpostgresql",
        ),
    ],
)
def test_the_ways_to_name_a_server(url: str, shown: str, tmp_path: Path) -> None:
    database = locate(url, tmp_path)
    assert isinstance(database, PostgreSQL)
    assert database.shown == shown


def test_without_its_driver_a_server_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "hpo.storage.postgresql")
    said = r"PostgreSQL needs the package psycopg .*pip install 'hpo-harness\[postgres\]'"
    with pytest.raises(StorageError, match=said):
        locate("postgresql://host/db", tmp_path)
    assert not locate(None, tmp_path).exists
