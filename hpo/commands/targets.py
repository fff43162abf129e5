"""What a command is about: a study, a trial, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.commands.parsing import CommandError
from hpo.commands.shared_options import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    import argparse

    from hpo.declarations import Study
    from hpo.records import StudyRecord, TrialRecord


def declared_study(arguments: argparse.Namespace) -> Study:
    """The study that was asked for, with what the options change of it."""
    from hpo.declarations import load_study

    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
    limit_s = arguments.trial_time_limit
    limit = [] if limit_s is None else [f"trial_time_limit={limit_s:.0f}s"]
    return load_study(
        arguments.study,
        overrides=[*arguments.overrides, *seed, *limit],
        data=arguments.data,
        name=arguments.name,
    )


def read_record(arguments: argparse.Namespace) -> StudyRecord:
    """The study that was run and asked for. Raises: UnknownStudyError; StorageError."""
    from hpo.reading import read_study

    return read_study(arguments.storage, arguments.study, arguments.runs_dir)


def trial_of(record: StudyRecord, arguments: argparse.Namespace) -> TrialRecord:
    """The trial of it that was asked for. Raises: CommandError if there is none."""
    for trial in record.trials:
        if trial.number == arguments.trial:
            return trial
    raise CommandError(
        f"{record.name} has no trial {arguments.trial}",
        way_out=f"See `{arguments.prog} show {record.name}`.",
    )


def place_of(arguments: argparse.Namespace) -> list[str]:
    """The options that lead other commands to the same files, without a password."""
    place = []
    if arguments.runs_dir != DEFAULT_RUNS_DIR:
        place += ["--runs-dir", str(arguments.runs_dir)]
    if arguments.storage is not None:
        place += ["--storage", arguments.storage]
    return place
