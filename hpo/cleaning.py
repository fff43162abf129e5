"""Frees the disk of what a study no longer needs, when no driver is there to do it."""

from __future__ import annotations

from pathlib import Path

from hpo.disk import Finished, tidy
from hpo.folders import StudyFolder
from hpo.lock import own
from hpo.reading import read_study
from hpo.storage import locate


def clean(storage_url: str | None, name: str, runs_dir: Path) -> tuple[int, int]:
    """Deletes a study's leftovers; returns how many folders and how many bytes that freed.

    What goes is the resumable state of finished trials and the weights of all but the best
    `[storage] keep`. What is still to be gone on with stays, as do all records and histories.

    Raises: UnknownStudyError; StudyOwnedError while a driver has the study.
    """
    runs = runs_dir.expanduser().resolve()
    read_study(storage_url, name, runs)  # a lock is made only for a study that there is
    with own(locate(storage_url, runs).lock_of(name), name):
        record = read_study(storage_url, name, runs)
        finished = [
            Finished(trial.number, trial.value if trial.state == "complete" else None)
            for trial in record.trials
            if trial.is_finished
        ]
        keep = int(record.declaration["storage"]["keep"])
        return tidy(StudyFolder(runs, name), finished, record.metric, keep)
