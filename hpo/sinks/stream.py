"""The scalars of each trial, from the driver's events and the trials' telemetry, to sinks."""

from __future__ import annotations

import importlib.util
import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import NamedTuple

from core.errors import DamagedFileError, MissingPackageError, SettingsError, did_you_mean
from core.task import Evaluation, Metric
from core.telemetry import read_telemetry
from hpo.declarations import Study
from hpo.events import Event, Note, Observe, TrialEnded, TrialEvaluated, TrialStarted
from hpo.folders import StudyFolder
from hpo.sinks.sink import Scalar, Sink

SINKS = ("tensorboard", "mlflow", "wandb")
"""Each a module here, a package and an extra of that name."""
_COLUMNS = ("loss", "grad_norm", "learning_rate")
_PATIENCE_S = 30.0
"""How long the end of a run waits for a sink."""
_Heard = TrialStarted | TrialEvaluated | TrialEnded


def check_sinks(names: Sequence[str]) -> None:
    """Raises: SettingsError for a name of no sink; MissingPackageError for one not installed."""
    for name in names:
        if name not in SINKS:
            raise SettingsError(
                "--log knows no such program",
                got=name,
                allowed=", ".join(SINKS),
                way_out=did_you_mean(name, SINKS),
            )
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(name, name)


@contextmanager
def streaming(
    names: Sequence[str], study: Study, folder: StudyFolder, observe: Observe
) -> Iterator[Observe]:
    """An observer that passes events on to `observe` and what they tell of to sinks.

    Each sink has a thread, so that none keeps a trial or another sink waiting. One that fails is
    told of once and hears no more.
    """
    streams = [_Stream(name, study, folder, observe) for name in names]

    def hear(event: Event) -> None:
        observe(event)
        if isinstance(event, _Heard):
            for stream in streams:
                stream.heard.put(event)

    try:
        yield hear
    finally:
        for stream in streams:
            stream.heard.put(None)
        give_up = time.monotonic() + _PATIENCE_S
        for stream in streams:
            stream.join(give_up - time.monotonic())


class _Open(NamedTuple):
    """A trial that a sink has begun."""

    sent: int
    """The last step whose telemetry is there."""
    written: float
    """When the telemetry that was read last was written."""


class _Stream:
    """One sink with its thread."""

    def __init__(self, name: str, study: Study, folder: StudyFolder, observe: Observe) -> None:
        self._name = name
        self._study = study
        self._folder = folder
        self._observe = observe
        self._open: dict[int, _Open] = {}
        self.heard: queue.SimpleQueue[_Heard | None] = queue.SimpleQueue()
        """Events; `None` ends."""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def join(self, patience_s: float) -> None:
        """Waits for the sink to have everything, but not for ever."""
        self._thread.join(max(0.0, patience_s))
        if self._thread.is_alive():
            self._complain(f"it has not taken everything within {_PATIENCE_S:.0f} s")

    def _work(self) -> None:
        try:
            sink: Sink = import_module(f"hpo.sinks.{self._name}").open_sink(
                self._study, self._folder
            )
            while (event := self.heard.get()) is not None:
                self._tell(sink, event)
            sink.close()
        except Exception as error:
            self._complain(" ".join(f"{type(error).__name__}: {error}".split()))

    def _complain(self, what: str) -> None:
        self._observe(Note(f"{self._name} is told no more of this run: {what}"))

    def _tell(self, sink: Sink, event: _Heard) -> None:
        number = event.number
        if isinstance(event, TrialStarted):
            if number not in self._open:
                sent = sink.begin(number, event.parameters, event.attempt)
                self._open[number] = _Open(sent, 0.0)
            return
        if number not in self._open:  # it was refused before it began
            return
        told = list(self._telemetry(number))
        if isinstance(event, TrialEvaluated) and not event.evaluation.replayed:
            told += _scores(event.evaluation, self._study.spec.metric)
        if told:
            sink.write(number, told)
        if isinstance(event, TrialEnded) and event.outcome not in ("paused", "interrupted"):
            sink.end(number, event.outcome, event.value, event.step)
            del self._open[number]

    def _telemetry(self, number: int) -> Iterator[Scalar]:
        """The steps that the trial's file has and the sink has not."""
        path = self._folder.trial(number) / "telemetry.parquet"
        known = self._open[number]
        try:
            written = path.stat().st_mtime
            if written == known.written:
                return
            table = read_telemetry(path, columns=["step", *_COLUMNS])
        except (OSError, DamagedFileError):  # none yet, or half of one: the next event tells more
            return
        fresh = table[table["step"] > known.sent]
        if len(fresh):
            self._open[number] = _Open(int(fresh["step"].iloc[-1]), written)
        for column in _COLUMNS:
            for step, value in zip(fresh["step"], fresh[column], strict=True):
                if math.isfinite(value):
                    yield Scalar(f"train/{column}", int(step), float(value))


def _scores(evaluation: Evaluation, metric: Metric) -> Iterator[Scalar]:
    figures = {metric.name: evaluation.value, **evaluation.metrics}
    for name, value in figures.items():
        if math.isfinite(value):
            yield Scalar(f"validation/{name}", evaluation.step, value)
