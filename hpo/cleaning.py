"""Deletes what studies no longer need on disk."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from core.atomic import remove_leftovers
from hpo.disk import CHECKPOINT, WEIGHTS, Finished, best_first, remove, tidy
from hpo.folders import StudyFolder
from hpo.lock import is_held, own
from hpo.reading import read_study
from hpo.storage import locate


def clean(storage_url: str | None, name: str, runs_dir: Path) -> tuple[int, int]:
    """Deletes what the study called `name` no longer needs; returns folders and bytes freed.

    That is resumable state of finished trials and weights of all but the best `storage.keep` or
    finalists, which a killed run may have left; both of repeats of former finalists; and what
    killed writers left half written in the study's folder and, while no driver runs, in what all
    share. Trials that can go on keep all they have, and no trial loses its records. The results of
    stage A, which studies share, are `hpo.cache`'s.

    Raises: StudyOwnedError while a driver runs the study; UnknownStudyError.
    """
    runs = runs_dir.expanduser().resolve()
    record = read_study(storage_url, name, runs)
    folder = StudyFolder(runs, name)
    with ExitStack() as stack:
        stack.enter_context(locate(storage_url, runs).own(name))
        stack.enter_context(own(folder.lock, name))
        record = read_study(storage_url, name, runs)  # a driver may have ended in between
        finished = [
            Finished(trial.number, trial.value if trial.state == "complete" else None)
            for trial in record.trials
            if trial.is_finished
        ]
        top = int(record.declaration.get("finals", {}).get("top", 1))
        keep = max(top, int(record.declaration["storage"]["keep"]))
        ranked = best_first(finished, record.metric)
        folders, freed = tidy(folder, [trial.number for trial in finished], ranked[:keep])
        entrants = set(ranked[:top])
        if record.start is not None:
            entrants.add(record.start.number)
        for place in _repeats_of_others(folder, entrants):
            folders += 1
            freed += remove(place)
        # Of other studies' files nobody here knows whether a writer elsewhere is at them: one on
        # another machine, or in another container, looks dead from here.
        freed += remove_leftovers(folder.path)
    if not _is_any_driven(runs):
        freed += remove_leftovers(folder.cache)
    return folders, freed


def _repeats_of_others(folder: StudyFolder, entrants: set[int]) -> list[Path]:
    """Weights and checkpoints of repeats that nobody will read or go on with."""
    kept = {folder.repeat(number, 1).parent for number in entrants}
    return [
        seed / name
        for seed in folder.finals.glob("trial*/seed*")
        if seed.parent not in kept
        for name in (CHECKPOINT, WEIGHTS)
        if (seed / name).is_dir()
    ]


def _is_any_driven(runs: Path) -> bool:
    return any(is_held(lock) for lock in runs.glob("*/driver.lock"))
