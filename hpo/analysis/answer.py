"""The answer: the best configuration, what it gained over the start, and the test readings."""

from __future__ import annotations

import pandas as pd

from hpo.analysis.finals import gain_on_fresh_seeds, leader_of, run_name
from hpo.analysis.formats import ScoreFormat, is_finite
from hpo.analysis.tables import text_table
from hpo.analysis.trials import outcome_of
from hpo.finals.headline import headline
from hpo.records import StudyRecord, TrialRecord


def answer_table(record: StudyRecord) -> pd.DataFrame:
    """One row a parameter of the best trial: parameter, start, best, differs.

    `start` is None where the start configuration does not name it. Empty without a best trial.
    """
    best = record.best
    rows = []
    if best is not None:
        enqueue = record.declaration.get("enqueue") or [{}]
        point = record.start.parameters if record.start is not None else enqueue[0]
        for name in dict.fromkeys([*best.parameters, *point]):
            start, found = point.get(name), best.parameters.get(name)
            rows.append((name, start, found, bool(point) and start != found))
    return text_table(rows, ["parameter", "start", "best", "differs"])


def gain(record: StudyRecord) -> float | None:
    """By how much the best score beats the start configuration's, positive when it is better.

    None without a best trial, or without a score of the start configuration at the end of its run.
    """
    best, start = record.best, record.start
    if best is None or best.value is None or start is None or start.value is None:
        return None
    if start.state != "complete" or not is_finite(start.value):
        return None
    difference = best.value - start.value
    return difference if record.metric.direction == "maximize" else -difference


def gain_sentences(record: StudyRecord, scores: ScoreFormat) -> list[str]:
    """What the search gained over the start configuration, and what that is worth."""
    best, start = record.best, record.start
    if best is None or best.value is None:
        return [no_best_sentence(record)]
    if start is None:
        declared = bool(record.declaration.get("enqueue"))
        why = "has not been run" if declared else "is not declared"
        return [f"A start configuration {why}, so there is no gain to state."]
    if gain(record) is None or start.value is None:
        return [_unfinished_start(start, scores)]
    if best.number == start.number:
        return [_start_is_best(record)]
    if best.value == start.value:
        return [f"The best score equals the start configuration's (trial {start.number})."]
    high, low = max(best.value, start.value), min(best.value, start.value)
    said = [
        f"That is {scores.difference(high, low)} {'higher' if high == best.value else 'lower'} "
        f"than the start configuration's {scores.named(start.value)} (trial {start.number}).",
    ]
    if gain_on_fresh_seeds(record) is None:
        said.append(
            "Each configuration was trained with one seed, so how much of the difference is noise "
            "is not known."
        )
    return said


def _unfinished_start(start: TrialRecord, scores: ScoreFormat) -> str:
    ended = f"{outcome_of(start)} ({start.reason})" if start.reason else outcome_of(start)
    said = f"The start configuration (trial {start.number}) has no final score to compare with"
    if not is_finite(start.value):
        return f"{said}: it is {ended}."
    return f"{said}: it is {ended}, and stood at {scores.named(start.value)}."


def _start_is_best(record: StudyRecord) -> str:
    others = sum(trial.state == "complete" for trial in record.trials) - 1
    if not others:
        return "Only the start configuration is complete: there is nothing to compare it with."
    said = "The start configuration is still the best"
    if others == 1:
        return f"{said}: the only other complete trial did not beat it."
    return f"{said}: none of {others} other complete trials beat it."


def no_best_sentence(record: StudyRecord) -> str:
    """Why there is no best configuration."""
    finished = sum(trial.is_finished for trial in record.trials)
    if not finished:
        return "No trial has finished yet."
    return f"No trial is complete: all {finished} that finished were pruned or failed."


def readings_table(record: StudyRecord) -> pd.DataFrame:
    """One row a run that an opening of the test set read.

    Columns: opening (from 1), when, run, value, validation, is_final, signature, data_digest.
    """
    rows = [
        (
            number,
            reading.when,
            run_name(run),
            run.value,
            run.validation,
            run == headline(reading, record.metric).final,
            reading.signature,
            reading.data_digest,
        )
        for number, reading in enumerate(record.readings, start=1)
        for run in reading.runs
    ]
    columns = ["opening", "when", "run", "value", "validation", "is_final", "signature"]
    return text_table(rows, [*columns, "data_digest"])


def reading_sentences(record: StudyRecord) -> list[str]:
    """How much the test readings are worth."""
    if not record.openings:
        return [
            "The test set has not been read. A study that ends opens it once, for its best trial, "
            "or for all runs of its finalists."
        ]
    said = []
    if record.openings > 1:
        said.append(
            f"The test set was read {record.openings} times: whoever chooses among readings "
            "chooses on the test set."
        )
    if record.unlisted:
        said.append(
            f"The ledger has {len(record.readings)} of {record.openings} openings: the rest is "
            "under way, or was deleted."
        )
    if not record.readings:
        return said
    last, leader = record.readings[-1], leader_of(record)
    if leader is not None and last.selected != leader:
        said.append(
            f"The last reading is of trial {last.selected}; the best is now trial {leader}."
        )
    complete = sum(trial.state == "complete" for trial in record.trials)
    if len(last.runs) > 1:
        said.append(
            f"The best of {len(last.runs)} runs on the test set flatters itself; the mean over "
            "fresh seeds of what validation selected does not."
        )
    elif complete > 1 and record.openings == 1:
        said.append(
            f"The validation score was the best of {complete} and can flatter the winner; the "
            "test score cannot, because nothing was chosen by it."
        )
    return said
