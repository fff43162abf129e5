"""TensorBoard: a folder of events for each trial, below `tensorboard` in the study's folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from hpo.declarations import Study
from hpo.folders import StudyFolder, make_private
from hpo.sinks.sink import Scalar

SCORE = "score"
"""Tag of the score that a trial ended with."""


def open_sink(study: Study, folder: StudyFolder) -> TensorBoard:
    """The sink of a study."""
    return TensorBoard(make_private(folder.path / "tensorboard"), list(study.space.parameters))


class TensorBoard:
    """Implements `Sink` by TensorBoard's own writer, which needs no torch."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """`names` are those of the parameters that the study varies."""
        self._folder = folder
        self._writers: dict[int, EventFileWriter] = {}
        overview = EventFileWriter(str(folder))
        columns = [hparams.HParam(name) for name in names]
        metrics = [hparams.Metric(SCORE)]
        overview.add_event(_event(hparams.hparams_config_pb(columns, metrics)))
        overview.close()

    def begin(self, trial: int, parameters: Mapping[str, Any], attempt: int) -> int:
        """See `Sink.begin`. An earlier attempt's events are replaced."""
        writer = EventFileWriter(str(self._folder / f"trial{trial:04d}"))
        self._writers[trial] = writer
        if attempt > 1:
            started = SessionLog(status=SessionLog.START)
            writer.add_event(Event(wall_time=time.time(), step=0, session_log=started))
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in parameters.items()
        }
        writer.add_event(_event(hparams.hparams_pb(plain, trial_id=f"trial{trial:04d}")))
        return 0

    def write(self, trial: int, scalars: Sequence[Scalar]) -> None:
        """See `Sink.write`."""
        writer = self._writers[trial]
        for name, step, value in scalars:
            writer.add_event(_event(_summary(name, value), step))
        writer.flush()

    def end(self, trial: int, outcome: str, score: float | None, step: int) -> None:
        """See `Sink.end`."""
        if score is not None:
            self._writers[trial].add_event(_event(_summary(SCORE, score), step))
        self._writers.pop(trial).close()

    def close(self) -> None:
        """See `Sink.close`."""
        for writer in self._writers.values():
            writer.close()


def _summary(name: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _event(summary: Summary, step: int = 0) -> Event:
    return Event(wall_time=time.time(), step=step, summary=summary)
