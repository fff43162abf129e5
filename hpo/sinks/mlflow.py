"""MLflow: an experiment a study, a run a trial, in a file or where MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from hpo.declarations import Study
from hpo.folders import StudyFolder, make_private
from hpo.sinks.sink import Scalar

_AT_ONCE = 1000
"""Of metrics in one call: MLflow's own limit."""
_TRIAL = "hpo.trial"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_NO_NAME = re.compile(r"[^\w.\- /]")
"""What a metric's name may not hold."""


def open_sink(study: Study, folder: StudyFolder) -> MLflow:
    """The sink of a study."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        # Files, not SQLite: MLflow would share SQLAlchemy with the driver's storage.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = make_private(folder.runs / ".mlflow").as_uri()
    return MLflow(MlflowClient(uri), study.name)


class MLflow:
    """Implements `Sink` by MLflow's client."""

    def __init__(self, client: MlflowClient, study: str) -> None:
        self._client = client
        found = client.get_experiment_by_name(study)
        self._experiment = (
            client.create_experiment(study) if found is None else found.experiment_id
        )
        self._runs: dict[int, str] = {}

    def begin(self, trial: int, parameters: Mapping[str, Any], attempt: int) -> int:
        """See `Sink.begin`. A trial that goes on goes on in its run."""
        chosen = f"tags.`{_TRIAL}` = '{trial}'"
        earlier = self._client.search_runs([self._experiment], chosen) if attempt > 1 else []
        if earlier:
            run = self._runs[trial] = earlier[0].info.run_id
            self._client.update_run(run, status="RUNNING")
            history = self._client.get_metric_history(run, "train/loss")
            return max((point.step for point in history), default=0)
        tags = {_TRIAL: str(trial), "mlflow.runName": f"trial {trial}"}
        run = self._client.create_run(self._experiment, tags=tags).info.run_id
        self._runs[trial] = run
        params = [Param(name, str(value)) for name, value in parameters.items()]
        self._client.log_batch(run, params=params)
        return 0

    def write(self, trial: int, scalars: Sequence[Scalar]) -> None:
        """See `Sink.write`."""
        now_ms = int(1000 * time.time())
        metrics = [
            Metric(_NO_NAME.sub("_", name), value, now_ms, step) for name, step, value in scalars
        ]
        for first in range(0, len(metrics), _AT_ONCE):
            some = metrics[first : first + _AT_ONCE]
            self._client.log_batch(self._runs[trial], metrics=some)

    def end(self, trial: int, outcome: str, score: float | None, step: int) -> None:
        """See `Sink.end`."""
        run = self._runs.pop(trial)
        scores = [] if score is None else [Metric("score", score, int(1000 * time.time()), step)]
        self._client.log_batch(run, metrics=scores, tags=[RunTag("hpo.outcome", outcome)])
        self._client.set_terminated(run, status=_STATUS[outcome])

    def close(self) -> None:
        """See `Sink.close`."""
        for run in self._runs.values():
            self._client.update_run(run, status="SCHEDULED")
