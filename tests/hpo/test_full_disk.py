"""A disk that becomes full under a study: one line, exit code 2, and the same command goes on."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toy_bench import MakeStudy
from toy_runs import Watcher, run_study, told_of

from core.errors import DiskFullError
from core.settings import RunConfig
from hpo.cli import main
from hpo.workers.child import _failure_of
from hpo.workers.messages import Job


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1000, 20_000, 120_000, 180_000])
def test_a_study_stops_in_one_line_and_goes_on(
    size: int, make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, tmp_path / "undisturbed", trials=7)
    with no_file_above(size), pytest.raises(DiskFullError, match=r"^disk full: .*Make room"):
        run_study(study, runs, trials=7)
    run_study(study, runs, trials=7)
    assert told_of(runs) == told_of(tmp_path / "undisturbed")


def test_a_report_that_does_not_fit_is_named(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    with no_file_above(200_000):
        assert main(["report", "toy", "--runs-dir", str(runs)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hpo: disk full: ")
    assert "report.html" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EFBIG, "File too large"),
        OSError(errno.ENOSPC, "No space left on device"),
        DiskFullError("x/checkpoint/state.safetensors"),
    ],
)
def test_a_worker_tells_it_as_a_mistake_and_not_as_a_trial_s_failure(
    error: Exception, tmp_path: Path
) -> None:
    config = RunConfig(
        task="toy", groups={}, protocol={}, data={}, data_digest="d", structure_seed=1, seed=1
    )
    failed = _failure_of(error, Job("run", (0, 1), config, tmp_path))
    assert (failed.kind, failed.name) == ("mistake", "DiskFullError")
    assert failed.line.startswith("disk full: ")


def test_leftovers_of_a_killed_writer_go_at_the_next_start(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    left = runs / "toy" / "trials" / "0000" / f".outcome.json.{2**22 - 1}.0123456789ab.tmp"
    left.write_text("{")
    run_study(make_study(), runs, Watcher(), trials=1)
    assert not left.exists()
