"""`hpo stop`: from this machine by signal, from another by a word in the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_bench import SPACE, MakeStudy
from toy_runs import Watcher, run_study

from hpo import attributes, stopping
from hpo.cli import main
from hpo.events import Event, TrialEvaluated
from hpo.interrupts import terminating_as_ctrl_c
from hpo.launch import Result
from hpo.lock import Owner
from hpo.reading import read_study
from hpo.stopping import StopError, obeying, stop_study
from hpo.storage import DatabaseAwayError, locate
from hpo.storage.sqlite import SQLite

HERE = Path(__file__).parent
SILENT = SPACE + '"model.kind" = { type = "categorical", choices = ["silent"] }\n'


class Driver:
    """A driver of the toy study in a process of its own, which writes its words into a file."""

    def __init__(self, tmp_path: Path) -> None:
        self._words = tmp_path / "words"
        with self._words.open("w") as words:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(HERE / "toy_command.py")),
                    *(str(tmp_path / "declared"), str(tmp_path / "runs")),
                    *("--set", "protocol.step_s=0.5", "--trials", "3"),
                ],
                stdout=words,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            )

    def read_until(self, text: str) -> None:
        end = time.monotonic() + 60
        while text not in self._words.read_text():
            assert time.monotonic() < end, self._words.read_text()
            assert self.process.poll() is None, self._words.read_text()
            time.sleep(0.02)


@pytest.fixture
def driver(make_study: MakeStudy, tmp_path: Path) -> Iterator[Driver]:
    make_study(overrides={"protocol.step_s": 0.5})
    started = Driver(tmp_path)
    yield started
    started.process.send_signal(signal.SIGCONT)
    started.process.kill()
    started.process.wait()


@pytest.fixture
def silent(make_study: MakeStudy, tmp_path: Path) -> Iterator[Driver]:
    """Its trial never answers."""
    make_study(space=SILENT)
    started = Driver(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()


def test_a_running_study_stops_cleanly_and_can_go_on(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    driver.read_until(" at 1")
    assert main(["stop", "toy", "--runs-dir", str(runs)]) == 0
    assert driver.process.wait(20) == 130
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith(f"toy: asked process {driver.process.pid} on ")
    assert "of 3 trials finished" in lines[1]
    assert "1 interrupted" in lines[1]
    assert lines[2].startswith("Go on with: ")
    assert " run --study " in lines[2]
    assert f"--set protocol.step_s=0.5 --jobs 1 --runs-dir {runs}" in lines[2]
    (trial,) = read_study(None, "toy", runs).trials
    assert (trial.folder / "checkpoint").is_dir()
    assert trial.spans[-1].how == "interrupted"
    assert main(["stop", "toy", "--runs-dir", str(runs)]) == 0
    assert capsys.readouterr().out.endswith("toy is not running.\n")


def test_now_ends_a_trial_that_does_not_answer(silent: Driver, tmp_path: Path) -> None:
    silent.read_until("0 at 4")
    how = stop_study(None, "toy", tmp_path / "runs", now=True, say=lambda _: None)
    assert how == "stopped"
    assert silent.process.wait(20) == 130


def test_now_kills_a_driver_that_hangs(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "KILL_S", 0.5)
    driver.read_until(" at 1")
    driver.process.send_signal(signal.SIGSTOP)
    how = stop_study(None, "toy", tmp_path / "runs", now=True, say=lambda _: None)
    assert how == "killed"
    assert driver.process.wait(20) == -signal.SIGKILL


def test_what_waits_long_says_so(
    silent: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_TELL_S", 0.5)
    silent.read_until("0 at 4")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "--now" in line:
            raise KeyboardInterrupt  # the user has read it

    with pytest.raises(KeyboardInterrupt):
        stop_study(None, "toy", tmp_path / "runs", now=False, say=say)
    assert len(said) == 2
    assert silent.process.poll() is None


def test_an_unknown_study_is_a_mistake(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    assert main(["stop", "tyo", "--runs-dir", str(runs)]) == 2
    assert "no study 'tyo' has been run here" in capsys.readouterr().err


@pytest.mark.parametrize(("now", "calls"), [(False, 1), (True, 2)])
def test_a_driver_elsewhere_finds_a_word_meant_for_it(
    now: bool, calls: int, make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    database = locate(None, runs.resolve())
    monkeypatch.setattr(stopping, "LOOK_EVERY_S", 0.05)
    received: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with database.own("toy"), obeying(database, "toy", lambda: received.append(1)):
        owner = database.owner_of("toy")
        assert owner is not None
        for earlier in (Owner("elsewhere", 1, "then"), replace(owner, since="earlier")):
            stopping._leave_word(database, "toy", earlier, now=True)
            time.sleep(0.3)
            assert not received
        stopping._leave_word(database, "toy", owner, now=now)
        end = time.monotonic() + 20
        while len(received) < calls and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)
    assert len(received) == calls
    assert signal.getsignal(signal.SIGTERM) is before
    stored = read_study(None, "toy", runs).optuna_study.user_attrs
    assert stored[attributes.STOP_REQUEST] is None, "what was obeyed is taken away"


def test_a_look_that_fails_is_not_the_last_and_the_database_stays_open(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    database = locate(None, runs.resolve())
    monkeypatch.setattr(stopping, "LOOK_EVERY_S", 0.05)
    received: list[int] = []
    opened: list[int] = []
    real = type(database).open_for_reading

    def fall(self: Any) -> Any:
        opened.append(1)
        if len(opened) == 1:
            raise ZeroDivisionError
        return real(self)

    monkeypatch.setattr(type(database), "open_for_reading", fall)
    with database.own("toy"), obeying(database, "toy", lambda: received.append(1)):
        time.sleep(0.5)
        owner = database.owner_of("toy")
        assert owner is not None
        stopping._leave_word(database, "toy", owner, now=False)
        end = time.monotonic() + 20
        while not received and time.monotonic() < end:
            time.sleep(0.02)
    assert received == [1]
    assert len(opened) == 2


def test_a_driver_on_this_machine_is_stopped_without_its_database(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_away(*_: object) -> bool:
        raise DatabaseAwayError("away")

    driver.read_until(" at 1")
    with monkeypatch.context() as patch:
        for name in ("is_owned", "owner_of", "open_for_reading", "open_for_request"):
            patch.setattr(SQLite, name, be_away)
        said: list[str] = []
        assert stop_study(None, "toy", tmp_path / "runs", now=False, say=said.append) == "stopped"
    assert driver.process.wait(20) == 130


def test_a_driver_that_connects_again_is_not_taken_for_none(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    class Server:
        asked = 0

        def is_owned(self, study: str) -> bool:
            self.asked += 1
            return self.asked > 3

    assert stopping._is_owned(Server(), "toy")  # type: ignore[arg-type]


def test_a_driver_is_told_twice_to_stop_now_and_then_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[signal.Signals] = []

    class Process:
        has_ended = property(lambda self: signal.SIGKILL in sent)
        signal = staticmethod(sent.append)

    for name, value in (("_AGAIN_S", 0.05), ("KILL_S", 0.5), ("_WAIT_S", 0.02)):
        monkeypatch.setattr(stopping, name, value)
    me = Owner.myself()
    wait = stopping._Wait("toy", me, lambda: False, now=True, say=lambda _: None)
    assert wait.end(Process()) == "killed"  # type: ignore[arg-type]
    assert sent == [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]


def test_a_run_from_python_takes_sigterm_for_ctrl_c_from_its_beginning(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    def make_slots(*_: object) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_study(make_study(), tmp_path / "runs", make_slots=make_slots)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_run_in_a_thread_of_a_program_is_stopped_without_a_signal(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal would go to the whole program, here that of the tests."""
    monkeypatch.setattr(stopping, "LOOK_EVERY_S", 0.05)
    study, runs = make_study(overrides={"protocol.step_s": 0.5}), tmp_path / "runs"
    is_at_work = threading.Event()
    results: list[Result] = []

    def watch(event: Event) -> bool:
        if isinstance(event, TrialEvaluated):
            is_at_work.set()
        return False

    program = threading.Thread(
        target=lambda: results.append(run_study(study, runs, Watcher(watch)))
    )
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        program.start()
        assert is_at_work.wait(60)
        assert stop_study(None, "toy", runs, now=False, say=lambda _: None) == "stopped"
        program.join(60)
    finally:
        signal.signal(signal.SIGTERM, before)
    (result,) = results
    assert result.interrupted
    assert not heard


def test_only_the_very_process_is_signalled() -> None:
    me = Owner.myself()
    descriptor = stopping._open_process(me)
    assert descriptor is not None
    descriptor.close()
    another = Owner(me.host, me.pid, me.since, me.boot, me.started + 1)
    assert stopping._open_process(another) is None
    assert stopping._open_process(Owner("elsewhere", me.pid, me.since)) is None
    earlier = Owner(me.host, me.pid, me.since, "another boot", me.started)
    assert stopping._open_process(earlier) is None


def test_an_owner_without_a_name_is_told_of(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    monkeypatch.setattr(stopping, "_TELL_S", 0.3)
    database = locate(None, runs.resolve())
    with database.own("toy"):
        for name in runs.rglob("*.owner.json"):
            name.unlink()
        with pytest.raises(StopError, match="has not given its name"):
            stop_study(None, "toy", runs, now=False, say=lambda _: None)


def test_where_nobody_listens_sigterm_is_a_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminating_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    assert signal.getsignal(signal.SIGTERM) is before
