"""A run's folder: taken, left, found again; foreign, killed, finished; and the test score."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_task import toy_config

from core import registry
from core.errors import CheckpointError
from core.history import read_curve
from core.run import read_outcome, run, score_test
from core.settings import RunConfig
from core.task import Evaluation, Outcome, OutcomeState, Placement, Progress, Verdict
from core.telemetry import read_telemetry

Event = Progress | Evaluation


@pytest.fixture(autouse=True)
def toy_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._MODULES, "toy", "toy_task")


def go_on(event: Event) -> Verdict:
    return Verdict.CONTINUE


def pause(event: Event) -> Verdict:
    return Verdict.PAUSE if isinstance(event, Evaluation) else Verdict.CONTINUE


def stop(event: Event) -> Verdict:
    return Verdict.STOP if isinstance(event, Evaluation) else Verdict.CONTINUE


def go(folder: Path, config: RunConfig | None = None, on_event=go_on) -> Outcome:
    return run(config or toy_config(), Placement(), folder, folder.parent / "cache", on_event)


def test_a_run_leaves_what_people_need(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    outcome = go(folder)
    assert outcome.state is OutcomeState.COMPLETED
    assert read_outcome(folder) == outcome
    assert {path.name for path in folder.iterdir()} == {
        "artifacts",
        "config.json",
        "evaluations.jsonl",
        "outcome.json",
        "telemetry.parquet",
        "weights",
    }
    written = json.loads((folder / "config.json").read_text())
    assert RunConfig.model_validate(written["config"]) == toy_config()
    assert written["digest"] == toy_config().digest()
    assert written["schema_version"] == 1
    assert read_curve(folder / "evaluations.jsonl") == outcome.curve


def test_a_finished_folder_answers_at_once(tmp_path: Path) -> None:
    for name, answer in (("completed", go_on), ("stopped", stop)):
        outcome = go(tmp_path / name, on_event=answer)
        (tmp_path / name / "checkpoint").mkdir()  # as if killed before it was removed
        events: list[Event] = []
        assert go(tmp_path / name, on_event=events.append) == outcome
        assert events == []
        assert not (tmp_path / name / "checkpoint").exists()


def test_a_paused_folder_goes_on(tmp_path: Path) -> None:
    paused = go(tmp_path / "run", on_event=pause)
    assert read_outcome(tmp_path / "run") == paused
    assert (paused.state, paused.step) == (OutcomeState.PAUSED, 7)
    assert (tmp_path / "run" / "checkpoint").exists()
    assert not (tmp_path / "run" / "weights").exists()
    outcome = go(tmp_path / "run")
    assert outcome.state is OutcomeState.COMPLETED
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert outcome.value == go(tmp_path / "straight").value


@pytest.mark.parametrize("answer", [go_on, stop, pause])
def test_a_folder_of_another_configuration_is_refused(answer, tmp_path: Path) -> None:
    go(tmp_path / "run", on_event=answer)
    with pytest.raises(
        CheckpointError, match=r"config.json: the folder holds a run of another configuration, got"
    ):
        go(tmp_path / "run", toy_config(seed=4))


def test_a_folder_that_was_only_begun_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"torn')
    assert go(tmp_path / "run").state is OutcomeState.COMPLETED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "outcome.json: there is no such file"),
        ("{", "outcome.json: this is no sealed JSON"),
        ('{\n "schema_version": 1,', "outcome.json: this is no JSON"),
        (
            '{\n "schema_version": 1, "outcome": {"state": "odd"}}',
            "outcome.json: this is no outcome .*'odd'",
        ),
    ],
)
def test_an_outcome_that_cannot_be_read_is_named(
    content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "outcome.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_outcome(tmp_path)


def test_the_test_score_is_that_of_the_weights(tmp_path: Path) -> None:
    outcome = go(tmp_path / "run")
    scores = score_test(toy_config(), Placement(), tmp_path / "run", tmp_path / "cache")
    assert scores.value == outcome.value  # the toy's test set is its validation set
    assert scores.signature == "toy"
    with pytest.raises(CheckpointError, match="config_digest is that of another configuration"):
        score_test(toy_config(seed=4), Placement(), tmp_path / "run", tmp_path / "cache")
    with pytest.raises(CheckpointError, match=r"meta\.json: there is no such file"):
        score_test(toy_config(), Placement(), tmp_path / "none", tmp_path / "cache")


CHILD = """
import sys, time
from pathlib import Path
from core import checkpoint, registry, reporting
from core.run import run
from core.task import Placement, Verdict
from toy_task import toy_config

registry._MODULES["toy"] = "toy_task"
reporting.PROGRESS_EVERY_S = 0.0
checkpoint.CheckpointPace.is_due = lambda pace, now, company=1: True

def hang(event):
    if event.step == 11:
        print("here", flush=True)
        time.sleep(300)
    return Verdict.CONTINUE

folder = Path(sys.argv[1])
run(toy_config(), Placement(), folder, folder.parent / "cache", hang)
"""


def test_killed_in_earnest_the_next_run_goes_on(tmp_path: Path) -> None:
    """SIGKILL in stage A, while the process holds the right to train it for all."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "here\n"
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    assert not (tmp_path / "run" / "outcome.json").exists()
    replayed: list[int] = []

    def listen(event: Event) -> Verdict:
        if isinstance(event, Evaluation) and event.replayed:
            replayed.append(event.step)
        return Verdict.CONTINUE

    outcome = go(tmp_path / "run", on_event=listen)
    assert outcome.state is OutcomeState.COMPLETED
    assert replayed == [7]
    straight = go(tmp_path / "other" / "straight")
    assert [item.value for item in outcome.curve] == [item.value for item in straight.curve]
    telemetry = [
        read_telemetry(folder / "telemetry.parquet")
        for folder in (tmp_path / "run", tmp_path / "other" / "straight")
    ]
    assert telemetry[0].equals(telemetry[1])
    weights = [
        (folder / "weights" / "model.safetensors").read_bytes()
        for folder in (tmp_path / "run", tmp_path / "other" / "straight")
    ]
    assert weights[0] == weights[1]


def test_reading_an_outcome_takes_no_torch() -> None:
    code = "import core.run, core.history, core.health, sys; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"
