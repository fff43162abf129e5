"""Deletes what studies no longer need on disk."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from hpo.disk import Finished, size_of, tidy
from hpo.folders import StudyFolder
from hpo.lock import is_held, own
from hpo.reading import list_studies, read_study
from hpo.storage import locate


def clean(storage_url: str | None, name: str, runs_dir: Path) -> tuple[int, int]:
    """Deletes what the study called `name` no longer needs; returns folders and bytes freed.

    That is resumable state of finished trials and weights of all but the best `storage.keep`,
    which a killed run may have left; and, once no study of the runs folder has trials to run,
    the results of stage A that they shared. Trials that can go on keep all they have, and no trial
    loses its records.

    Raises: StudyOwnedError while a driver runs the study; UnknownStudyError.
    """
    runs = runs_dir.expanduser().resolve()
    record = read_study(storage_url, name, runs)
    folder = StudyFolder(runs, name)
    with ExitStack() as stack:
        stack.enter_context(own(locate(storage_url, runs).lock_of(name), name))
        stack.enter_context(own(folder.lock, name))
        record = read_study(storage_url, name, runs)  # a driver may have ended in between
        finished = [
            Finished(trial.number, trial.value if trial.state == "complete" else None)
            for trial in record.trials
            if trial.is_finished
        ]
        keep = int(record.declaration["storage"]["keep"])
        folders, freed = tidy(folder, finished, record.metric, keep)
    if _is_at_rest(storage_url, runs):
        stages = folder.cache / "stages"
        if stages.is_dir():
            folders += 1
            freed += size_of(stages)
            shutil.rmtree(stages)
    return folders, freed


def _is_at_rest(storage_url: str | None, runs: Path) -> bool:
    """Whether all studies are finished, and no driver of another database uses the runs folder."""
    if any(is_held(lock) for lock in runs.glob("*/driver.lock")):
        return False
    return all(one.state == "finished" for one in list_studies(storage_url, runs))
