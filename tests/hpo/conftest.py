"""Studies of the toy task, on the bench or to be launched."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from toy_bench import SPACE, Bench, MakeStudy, write_study

from core import registry
from hpo.declarations import Study, load_study


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test here pulls the plug, and a study of seven trials waits for the disk 300 times."""

    def hurry(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr(os, "fsync", lambda _: None)
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)


@pytest.fixture
def make_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStudy:
    """Writes and loads a study of the toy task, without a pruner unless it is asked for."""
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")

    def make(
        name: str = "toy",
        overrides: Mapping[str, Any] | None = None,
        *,
        space: str = SPACE,
        rest: str = "",
    ) -> Study:
        folder = tmp_path / "declared"
        write_study(folder, space=space, rest=rest)
        changes = {"pruner.name": "none", **(overrides or {})}
        options = [f"{key}={value}" for key, value in changes.items()]
        return load_study(str(folder / "toy.toml"), overrides=options, name=name)

    return make


@pytest.fixture
def bench(make_study: MakeStudy, tmp_path: Path) -> Callable[..., Bench]:
    """Makes a bench of a study declared as `make_study` does."""

    def make(overrides: Mapping[str, Any] | None = None, **declared: Any) -> Bench:
        study = make_study(overrides=overrides, **declared)
        return Bench(study, tmp_path / f"runs{len(list(tmp_path.iterdir()))}")

    return make
