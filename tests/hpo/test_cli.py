"""What the command prints after a run, and how it exits; the run is a fake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from hpo import cli
from hpo.declarations import Study
from hpo.events import Observe, StudyStarted
from hpo.launch import Result
from hpo.options import RunOptions
from hpo.records import StudyRecord
from tests.hpo.made_records import reading, record, trial

READING = reading(0, 12.5, "nrefs:1|version:2.6.0")


@dataclass
class FakeRun:
    """Stands for `launch`: remembers what it was asked, tells an event, returns a record."""

    record: StudyRecord
    interrupted: bool = False
    failure: str | None = None
    error: BaseException | None = None
    asked: list[tuple[Study, RunOptions]] = field(default_factory=list)

    def __call__(
        self, study: Study, options: RunOptions, observe: Observe, *, showcase: bool
    ) -> Result:
        self.asked.append((study, options))
        assert showcase
        if self.error is not None:
            raise self.error
        observe(StudyStarted("depth_sweep", 5, 14, 1, True))
        return Result(
            record=self.record,
            interrupted=self.interrupted,
            reading=None,
            already_finished=False,
            failure=self.failure,
        )


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `hpo run` with a fake; returns exit code, standard output, standard error."""

    def go(fake: FakeRun, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("hpo.launch.launch", fake)
        monkeypatch.setattr("hpo.analysis.report.write_report", lambda _: Path("runs/report.html"))
        monkeypatch.setattr("sys.argv", ["hpo"])
        code = cli.main(["run", "--study", "depth_sweep", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def test_a_run_prints_progress_result_report_and_what_comes_next(run: Run) -> None:
    code, out, err = run(FakeRun(record(trial(0, value=9.0), readings=(READING,))))
    assert (code, err) == (0, "")
    parts = [
        "depth_sweep: 5 of 14 trials done, going on",
        "best configuration",
        "Best score on validation: 9.00",
        "FINAL_TEST_BLEU = 12.50 (nrefs:1|version:2.6.0)",
        "Report: runs/report.html",
        "All trials: hpo show depth_sweep",
        "In a browser: hpo dashboard",
    ]
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
    assert "FINAL_TEST_BLEU = 12.50 (nrefs:1|version:2.6.0)" in out.split("\n")


def test_what_was_asked_reaches_the_run(run: Run, tmp_path: Path) -> None:
    fake = FakeRun(record(trial(0)))
    runs = tmp_path / "my runs"
    storage = f"sqlite:///{tmp_path}/x.db"
    _, out, _ = run(
        fake,
        *("--trials", "17", "--time-limit", "2m", "--jobs", "3", "--seed", "5", "--again"),
        *("--runs-dir", str(runs), "--storage", storage, "--name", "other"),
        *("--set", "sampler.name=random", "--set", "seed=4", "--data", "pocket"),
        *("--trial-time-limit", "1h30m"),
    )
    ((study, options),) = fake.asked
    assert options == RunOptions(
        trials=17, time_limit_s=120.0, jobs=3, runs_dir=runs, storage=storage, again=True
    )
    assert (study.name, study.seed, study.sampler.name) == ("other", 5, "random")
    assert study.trial_time_limit_s == 5400.0
    assert f"dashboard --runs-dir '{runs}' --storage {storage}\n" in out


def test_an_interrupted_run_exits_130_and_still_writes_its_report(run: Run) -> None:
    code, out, err = run(FakeRun(record(trial(0), trial(1, "running")), interrupted=True))
    assert code == 130
    assert err == "hpo: interrupted; the same command goes on from here\n"
    assert "Report: " in out


def test_without_a_finished_trial_there_is_no_report(run: Run) -> None:
    code, out, _ = run(FakeRun(record(trial(0, "interrupted", None)), interrupted=True))
    assert code == 130
    assert "Report: " not in out


@pytest.mark.parametrize(
    "trials", [(), (trial(0, "failed", None),), (trial(0, "pruned"), trial(1, "failed", None))]
)
def test_a_run_without_a_complete_trial_failed(run: Run, trials: Sequence[Any]) -> None:
    code, out, err = run(FakeRun(record(*trials)))
    assert code == 1
    assert "No trial is complete." in out
    assert err.startswith("hpo: the run failed: ")
    assert err.count("\n") == 1


def test_a_failure_is_told_beside_the_result(run: Run) -> None:
    code, out, err = run(FakeRun(record(trial(0)), failure="five trials failed in a row"))
    assert (code, err) == (1, "hpo: the run failed: five trials failed in a row\n")
    assert "best configuration" in out


def test_a_mistake_is_one_line_in_which_nothing_acts_on_the_terminal(run: Run) -> None:
    code, out, err = run(FakeRun(record(), error=UserError("no \x1b[2Jroom", where="runs")))
    assert (code, out) == (2, "")
    assert err == "hpo: runs: no \\x1b[2Jroom.\n"


def test_ctrl_c_before_the_study_runs_is_one_line(run: Run) -> None:
    assert run(FakeRun(record(), error=KeyboardInterrupt())) == (130, "", "hpo: interrupted\n")


def test_a_bug_keeps_its_traceback(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run(FakeRun(record(), error=ZeroDivisionError()))
