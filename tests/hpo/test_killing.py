"""Drivers in processes of their own: interrupted, killed, and gone on from."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_bench import SPACE, MakeStudy
from toy_runs import Watcher, run_study, told_of

from hpo.events import (
    StudyStarted,
    TrialProgressed,
    TrialStarted,
)
from hpo.lock import StudyOwnedError
from hpo.reading import read_study

HERE = Path(__file__).parent


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
    run_study(study, runs, watch)
    assert {event.number for event in watch.of(TrialStarted) if event.attempt == 2} == {
        trial.number for trial in left
    }
    run_study(make_study(), tmp_path / "whole", trials=2)
    assert told_of(runs)[:2] == told_of(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_kills_at_once(
    number: signal.Signals, make_study: MakeStudy, tmp_path: Path
) -> None:
    make_study(space=SPACE + '"model.kind" = { type = "categorical", choices = ["silent"] }\n')
    with _start(tmp_path) as process:
        _read_until(process, "0 at 4")
        while not list((tmp_path / "runs").rglob("silent")):  # it may still ask what to do
            time.sleep(0.02)
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # the child hears nothing
        process.send_signal(number)
        rest = process.communicate(timeout=20)[0]
    assert process.returncode == 130, rest
    (trial,) = read_study(None, "toy", tmp_path / "runs").trials
    assert trial.state == "interrupted"


def _children_of(pid: int) -> list[int]:
    """The worker processes of a driver."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, parent = path.parent.name, path.read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and b"hpo.workers" in (path.parent / "cmdline").read_bytes():
                found.append(int(child))
    return found


def test_a_killed_worker_costs_its_trial_no_more_than_an_attempt(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(), tmp_path / "runs"
    with _start(tmp_path, *SLOW) as process:
        for text in ("0 at 4", "0 at 8", "2 at 6"):
            _read_until(process, text)
            process.send_signal(signal.SIGSTOP)  # lest it give the spare work between two kills
            for child in _children_of(process.pid):
                os.kill(child, signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert [trial.attempts for trial in read_study(None, "toy", runs).trials] == [3, 1, 2]
    run_study(study, tmp_path / "whole")
    assert told_of(runs) == told_of(tmp_path / "whole")


def test_a_trial_that_hangs_ends_with_its_time(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(space=SPACE + '"model.kind" = { type = "categorical", choices = ["silent"] }\n')
    with _start(tmp_path, "--trials", "1", "--set", "trial_time_limit=2s") as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    (trial,) = read_study(None, "toy", tmp_path / "runs").trials
    assert (trial.state, trial.attempts) == ("failed", 1)
    assert trial.reason.startswith("no sign of life for")


def test_a_second_driver_is_refused_and_after_kill_9_the_study_goes_on(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, runs = make_study(overrides=SLOWLY), tmp_path / "runs"
    with _start(tmp_path, *SLOW) as process:
        _read_until(process, "1 at 7")
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(StudyOwnedError, match=f"is being run by process {process.pid} on"):
            run_study(study, runs)
        process.kill()
    watch = Watcher()
    run_study(study, runs, watch)
    (started,) = watch.of(StudyStarted)
    assert (started.finished, started.resumed) == (1, True)
    first = watch.of(TrialStarted)[0]
    assert (first.number, first.attempt) == (1, 2)
    # Only what the last checkpoint lacks is done again.
    progressed = [event.progress.step for event in watch.of(TrialProgressed) if event.number == 1]
    assert min(progressed, default=99) >= 7
    run_study(study, tmp_path / "whole")
    assert told_of(runs) == told_of(tmp_path / "whole")


@pytest.mark.parametrize("after", [15, 22, 29])
def test_killed_between_any_two_transactions_equals_uninterrupted(
    after: int, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(overrides={"sampler.n_startup_trials": 1})
    options = ("--in-process", "--trials", "3", "--set", "sampler.n_startup_trials=1")
    with _start(tmp_path, *options, "--die-after", str(after)) as process:
        output = process.communicate()[0]
    assert process.returncode == 137, output
    run_study(study, tmp_path / "runs")
    run_study(study, tmp_path / "whole")
    assert told_of(tmp_path / "runs") == told_of(tmp_path / "whole")
