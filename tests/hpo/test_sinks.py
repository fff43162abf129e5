"""Scalars of trials in TensorBoard, MLflow and Weights & Biases, read back from their files."""

from __future__ import annotations

import json
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from toy_bench import MakeStudy, ToySlot
from toy_runs import Watcher, run_study

from core.errors import MissingPackageError, SettingsError
from core.task import OnEvent, Outcome
from hpo.declarations import Study
from hpo.folders import StudyFolder
from hpo.options import RunOptions
from hpo.sinks import Scalar, check_sinks
from hpo.sinks import stream as streams
from hpo.slots import Work

STEPS = list(range(1, 13))
EVALUATED = [3, 6, 9, 12]
NAN_STEP = 5
PARAMETERS = {"model.width": 17, "model.kind": "fine", "finetune.rate": 1e-3, "flag": True}


class MeasuringSlot(ToySlot):
    """Leaves telemetry, as a task that trains does."""

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        write_telemetry(work.folder)
        return super().run(work, on_event)


def write_telemetry(folder: Path, last: int = 12) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    steps = STEPS[:last]
    table = pd.DataFrame(
        {
            "step": steps,
            "loss": [10.0 - step for step in steps],
            "grad_norm": [float("nan") if step == NAN_STEP else 2.0 for step in steps],
            "learning_rate": [1e-3 * step for step in steps],
        }
    )
    table.to_parquet(folder / "telemetry.parquet")


def measuring_slots(_: RunOptions, cache: Path) -> list[ToySlot]:
    return [MeasuringSlot(cache)]


def run(study: Study, runs: Path, *log: str, trials: int = 2) -> Watcher:
    watch = Watcher()
    options = {"log": log, "trials": trials, "make_slots": measuring_slots}
    result = run_study(study, runs, watch, **options)
    assert [one.state for one in result.record.trials] == ["complete"] * trials
    return watch


def said(watch: Watcher) -> list[str]:
    """The notes but the one on the data."""
    return [note for note in watch.notes() if note != "3 numbers"]


# TensorBoard


def events_of(folder: Path) -> Any:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def steps_of(events: Any, name: str) -> list[int]:
    return [point.step for point in events.Scalars(name)]


def test_tensorboard_has_curves_hyperparameters_and_score(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    runs = tmp_path / "runs"
    assert said(run(make_study(), runs, "tensorboard")) == []
    events = events_of(runs / "toy" / "tensorboard" / "trial0001")
    assert steps_of(events, "train/loss") == STEPS
    assert steps_of(events, "train/grad_norm") == [step for step in STEPS if step != NAN_STEP]
    rates = [point.value for point in events.Scalars("train/learning_rate")]
    assert rates == pytest.approx([1e-3 * step for step in STEPS])
    assert steps_of(events, "validation/score") == EVALUATED
    (score,) = events.Scalars("score")
    assert score.step == 12
    assert score.value == pytest.approx(events.Scalars("validation/score")[-1].value)
    assert set(hyperparameters(events)) == {"model.width", "finetune.rate"}
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    overview = events_of(runs / "toy" / "tensorboard").PluginTagToContent("hparams")
    (content,) = overview.values()
    experiment = HParamsPluginData.FromString(content).experiment
    assert [one.name for one in experiment.hparam_infos] == ["model.width", "finetune.rate"]
    assert [one.name.tag for one in experiment.metric_infos] == ["score"]


def hyperparameters(events: Any) -> Mapping[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    (content,) = events.PluginTagToContent("hparams").values()
    started = HParamsPluginData.FromString(content).session_start_info
    return dict(started.hparams)


def test_tensorboard_shows_the_steps_of_a_later_attempt_once(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from hpo.sinks.tensorboard import open_sink

    folder = StudyFolder(tmp_path, "toy")
    for attempt, last in ((1, 3), (2, 5)):
        sink = open_sink(make_study(), folder)
        assert sink.begin(0, PARAMETERS, attempt) == 0
        sink.write(0, [Scalar("train/loss", step, attempt) for step in range(1, last)])
        sink.close()
    events = events_of(tmp_path / "toy" / "tensorboard" / "trial0000")
    told = [(point.step, point.value) for point in events.Scalars("train/loss")]
    assert told == [(1, 2.0), (2, 2.0), (3, 2.0), (4, 2.0)]


# MLflow


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return mlflow.MlflowClient((tmp_path / "runs" / ".mlflow").as_uri())


def test_mlflow_has_a_run_a_trial(make_study: MakeStudy, tmp_path: Path, client: Any) -> None:
    assert said(run(make_study(), tmp_path / "runs", "mlflow")) == []
    experiment = client.get_experiment_by_name("toy")
    found = client.search_runs([experiment.experiment_id])
    by_trial = {one.data.tags["hpo.trial"]: one for one in found}
    assert set(by_trial) == {"0", "1"}
    told = by_trial["1"]
    assert (told.info.run_name, told.info.status) == ("trial 1", "FINISHED")
    assert told.data.tags["hpo.outcome"] == "complete"
    assert set(told.data.params) == {"model.width", "finetune.rate"}
    history = client.get_metric_history(told.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(n, 10.0 - n) for n in STEPS]
    scores = client.get_metric_history(told.info.run_id, "validation/score")
    assert [point.step for point in scores] == EVALUATED
    assert told.data.metrics["score"] == scores[-1].value


def test_mlflow_goes_on_with_a_trial_in_its_run(
    make_study: MakeStudy, tmp_path: Path, client: Any
) -> None:
    from hpo.sinks.mlflow import open_sink

    folder = StudyFolder(tmp_path / "runs", "toy")
    sink = open_sink(make_study(), folder)
    assert sink.begin(0, PARAMETERS, 1) == 0
    sink.write(0, [Scalar("train/loss", step, 1.0) for step in (1, 2, 3)])
    sink.write(0, [Scalar("validation/BLEU: A&B", 3, 1.0)])
    sink.close()
    sink = open_sink(make_study(), folder)
    assert sink.begin(0, PARAMETERS, 2) == 3
    sink.end(0, "pruned", None, 3)
    (told,) = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert told.info.status == "KILLED"
    assert set(told.data.metrics) == {"train/loss", "validation/BLEU_ A_B"}


# Weights & Biases


def test_wandb_writes_files_and_speaks_to_nobody(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    assert said(run(make_study(), tmp_path / "runs", "wandb", trials=1)) == []
    (file,) = (tmp_path / "runs" / "toy" / "wandb").glob("offline-run-*/*.wandb")
    rows = list(history_of(file))
    assert [row["step"] for row in rows if "train/loss" in row] == STEPS
    assert [row["step"] for row in rows if "validation/score" in row] == EVALUATED


def history_of(file: Path) -> Iterator[Mapping[str, float]]:
    """The rows that were logged, of a file in wandb's own format."""
    from wandb.proto.wandb_internal_pb2 import Record

    for content in records_of(file.read_bytes()):
        record = Record.FromString(content)
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }


def records_of(content: bytes) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it, behind wandb's seven bytes.

    Blocks of 32 KiB; in them parts behind a checksum, their length and whether the record is whole
    (1), begins (2), goes on (3) or ends (4) there.
    """
    block, at, begun = 32_768, 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        size, kind = struct.unpack_from("<HB", content, at + 4)
        begun += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield begun
            begun = b""


# Sinks that do not do what they should


class Broken:
    """A sink whose `write` is given."""

    def __init__(self, write: Any) -> None:
        self.write = write
        self.ended: list[int] = []

    def begin(self, trial: int, parameters: Mapping[str, Any], attempt: int) -> int:
        return 0

    def end(self, trial: int, outcome: str, score: float | None, step: int) -> None:
        self.ended.append(trial)

    def close(self) -> None:
        self.ended.append(-1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a sink `fake` of a function that stands for its `write`."""

    def make(write: Any) -> Broken:
        module, sink = ModuleType("hpo.sinks.fake"), Broken(write)
        module.open_sink = lambda study, folder: sink  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "hpo.sinks.fake", module)
        monkeypatch.setattr(streams, "check_sinks", lambda names: None)
        monkeypatch.setattr("hpo.launch.check_sinks", lambda names: None)
        return sink

    return make


def test_a_sink_that_fails_is_told_once_and_costs_no_trial(
    make_study: MakeStudy, tmp_path: Path, fake: Any
) -> None:
    def write(trial: int, scalars: Sequence[Scalar]) -> None:
        raise OSError("no route\nto host")

    sink = fake(write)
    watch = run(make_study(), tmp_path / "runs", "fake", trials=3)
    assert said(watch) == ["fake is told no more of this run: OSError: no route to host"]
    assert sink.ended == []


def test_a_sink_that_hangs_ends_no_run(
    make_study: MakeStudy, tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PATIENCE_S", 0.1)
    free = threading.Event()
    fake(lambda trial, scalars: free.wait(60))
    watch = run(make_study(), tmp_path / "runs", "fake")
    free.set()
    assert said(watch) == [
        "fake is told no more of this run: it has not taken everything within 0 s"
    ]


def test_what_ends_later_is_told_up_to_where_it_is(
    make_study: MakeStudy, tmp_path: Path, fake: Any
) -> None:
    told: list[Scalar] = []
    sink = fake(lambda trial, scalars: told.extend(scalars))
    run(make_study(), tmp_path / "runs", "fake", trials=2)
    losses = [one.step for one in told if one.name == "train/loss"]
    assert losses == [*STEPS, *STEPS]
    assert sink.ended == [0, 1, -1]


def test_no_such_program_and_one_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"got 'wandbb'. Allowed: .* Did you mean 'wandb'?"):
        check_sinks(["wandbb"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hpo-harness\[tensorboard\]'"):
        check_sinks(["tensorboard"])
