"""A server that restarts, dies, ends sessions or loses replies under a running study."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_bench import MakeStudy
from toy_runs import Watcher, run_study, told_of

from benchmarks.losing_proxy import LosingProxy
from benchmarks.postgres_server import PostgresServer
from hpo.declarations import Study
from hpo.events import Event, TrialEvaluated, TrialStarted
from hpo.lock import StudyTakenOverError
from hpo.storage.postgresql import PostgreSQL

Disturb = Callable[[PostgresServer, Callable[[], bool]], None]
SLOWLY = {"protocol.step_s": 0.02}


def _restart(server: PostgresServer, _is_over: Callable[[], bool]) -> None:
    server.stop()
    server.start()


def _crash_and_stay_away(server: PostgresServer, _is_over: Callable[[], bool]) -> None:
    server.kill()
    time.sleep(2.0)
    server.start()


def _end_sessions(server: PostgresServer, is_over: Callable[[], bool]) -> None:
    for _ in range(15):
        if not is_over():
            server.end_sessions()
            time.sleep(0.2)


@pytest.mark.parametrize("disturb", [_restart, _crash_and_stay_away, _end_sessions])
def test_a_study_is_the_same_whatever_happens_to_its_server(
    disturb: Disturb,
    postgres: str,
    postgres_server: PostgresServer,
    make_study: MakeStudy,
    tmp_path: Path,
) -> None:
    study = make_study(overrides=SLOWLY)
    is_over = threading.Event()
    trouble = threading.Thread(target=disturb, args=(postgres_server, is_over.is_set))

    def watch(event: Event) -> bool:
        if isinstance(event, TrialEvaluated) and trouble.ident is None:
            trouble.start()
        return False

    run_study(study, tmp_path / "runs", Watcher(watch), storage=postgres)
    is_over.set()
    trouble.join()
    assert told_of(tmp_path / "runs", storage=postgres) == _undisturbed(study, tmp_path)


def _undisturbed(study: Study, folder: Path) -> list[tuple[object, ...]]:
    run_study(study, folder / "undisturbed")
    return told_of(folder / "undisturbed")


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_lost_reply_to_a_commit_does_nothing_twice(
    every: int,
    postgres: str,
    postgres_server: PostgresServer,
    make_study: MakeStudy,
    tmp_path: Path,
) -> None:
    study, runs = make_study(), tmp_path / "runs"
    with LosingProxy(postgres_server.port, most=5) as proxy:

        def lose(event: Event) -> bool:
            # Until then the driver opens the database, where a lost reply ends the run.
            proxy.every = every if isinstance(event, TrialStarted) else proxy.every
            return False

        through = postgres.replace(str(postgres_server.port), str(proxy.port))
        run_study(study, runs, Watcher(lose), storage=through)
        assert proxy.lost >= 2
    assert told_of(runs, storage=postgres) == _undisturbed(study, tmp_path)


def test_a_driver_that_was_taken_over_stops_with_one_line_and_writes_nothing(
    postgres: str, postgres_server: PostgresServer, make_study: MakeStudy, tmp_path: Path
) -> None:
    study, other = make_study(overrides=SLOWLY), PostgreSQL(postgres)
    name = postgres.rpartition("/")[2]
    dumps = []

    def take_over(event: Event) -> bool:
        if isinstance(event, TrialEvaluated) and event.number == 1 and not dumps:
            postgres_server.end_sessions()
            taken.__enter__()
            dumps.append(postgres_server.contents(name))
        return False

    taken = other.own("toy")
    said = r"^while the database was out of reach, study 'toy' was taken over by process \d+ on "
    with pytest.raises(StudyTakenOverError, match=said):
        run_study(study, tmp_path / "runs", Watcher(take_over), storage=postgres)
    assert dumps == [postgres_server.contents(name)]
    taken.__exit__(None, None, None)
