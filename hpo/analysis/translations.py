"""Sample texts: sources, references, and what the best trial and the runner-up made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd

from core.registry import find_task
from hpo.analysis.tables import text_table
from hpo.records import StudyRecord, TrialRecord

SAMPLES = 24
MOST_COMPARED = 2_000
"""Sentences of which differences are computed: the first ones of the validation set."""
COLUMNS = ["line", "source", "reference", "best", "runner_up", "beam", "difference"]
SOURCE, REFERENCE, HYPOTHESIS, BEAM = (
    f"validation.{name}" for name in ("src", "ref", "hyp", "beam")
)
_FILE = re.compile(r"step(\d+)\.(.+)")


def translations_table(record: StudyRecord) -> pd.DataFrame:
    """One row a sample: line (from 1), source, reference, best, runner_up, beam, difference.

    `difference` is by how many points of sentence chrF (0 to 100) the best trial's greedy output
    is better than the runner-up's; the largest difference either way comes first. Without a
    runner-up of the same sentences that differs anywhere, lines are evenly spaced and `difference`
    is None; `beam` is None where beam search did not translate the line. Empty where
    `translations_obstacle` gives a reason.
    """
    if translations_obstacle(record) is not None:
        return text_table((), COLUMNS)
    assert record.best is not None
    texts = read_texts(record.best.folder)
    sources, references, greedy = (texts[name] for name in (SOURCE, REFERENCE, HYPOTHESIS))
    beam = texts.get(BEAM, [])
    second = runner_up(record)
    others = [] if second is None else _text(second.folder, HYPOTHESIS)
    apart = chrf_differences(greedy, others, references) if others else {}
    chosen = sorted(apart, key=lambda line: (-abs(apart[line]), line))[:SAMPLES]
    if not chosen:
        count = min(SAMPLES, len(sources))
        chosen = [i * len(sources) // count for i in range(count)]
    rows = [
        (
            i + 1,
            sources[i],
            references[i],
            greedy[i],
            others[i] if others else None,
            beam[i] if i < len(beam) else None,
            apart.get(i),
        )
        for i in chosen
    ]
    return text_table(rows, COLUMNS)


def runner_up(record: StudyRecord) -> TrialRecord | None:
    """The best of the other complete trials whose outputs are of the best one's sentences."""
    best = record.best
    if best is None:
        return None
    sources = _text(best.folder, SOURCE)
    sign = -1.0 if record.metric.direction == "maximize" else 1.0
    others = [
        trial
        for trial in record.trials
        if trial.state == "complete" and trial.value is not None and trial.number != best.number
    ]
    for trial in sorted(others, key=lambda one: (sign * (one.value or 0.0), one.number)):
        is_whole = len(_text(trial.folder, HYPOTHESIS)) == len(sources)
        if sources and is_whole and _text(trial.folder, SOURCE) == sources:
            return trial
    return None


def told_apart(record: StudyRecord) -> tuple[int, float] | None:
    """The runner-up's number, and the p-value over sentences of its difference from the best.

    None where the task has no such test or there is nothing to compare.
    """
    best, second = record.best, runner_up(record)
    compare = find_task(record.task).compare
    if best is None or second is None or compare is None:
        return None
    p_value = compare(best.folder, second.folder)
    return None if p_value is None else (second.number, p_value)


def translations_obstacle(record: StudyRecord) -> str | None:
    """Why there are no samples to show; None where there are."""
    best = record.best
    if best is None:
        return "No trial is complete, so there is no best one to show texts of."
    texts = read_texts(best.folder)
    needed = (SOURCE, REFERENCE, HYPOTHESIS)
    missing = [name for name in needed if not texts.get(name)]
    if missing:
        return f"Trial {best.number} left no {' and no '.join(missing)} among its artifacts."
    lengths = [len(texts[name]) for name in needed]
    if len(set(lengths)) > 1:
        sizes = ", ".join(f"{name} {n}" for name, n in zip(needed, lengths, strict=True))
        return f"The files of trial {best.number} have unequal numbers of lines: {sizes}."
    return None


@dataclass(frozen=True)
class Words:
    """A stretch of an output, and whether the other output has something else there."""

    text: str
    differs: bool


def marked(text: str, other: str | None) -> list[Words]:
    """An output cut where it differs from the other one, by words."""
    if other is None:
        return [Words(text, differs=False)]
    ours, theirs = (re.findall(r"\s+|[^\s]+", one) for one in (text, other))
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    return [
        Words("".join(ours[begin:end]), differs=kind != "equal")
        for kind, begin, end, _, _ in matcher.get_opcodes()
        if end > begin
    ]


def read_texts(folder: Path) -> dict[str, list[str]]:
    """The lines of a trial's artifacts by name, of each name the file of the latest step."""
    return {name: _lines(path) for name, path in _latest(folder).items()}


def outputs_of(trial: TrialRecord, lines: list[int]) -> list[str] | None:
    """The trial's outputs for these lines (from 1); None without, or where there are fewer."""
    hypotheses = _text(trial.folder, HYPOTHESIS)
    if not lines or len(hypotheses) < max(lines):
        return None
    return [hypotheses[line - 1] for line in lines]


def chrf_differences(
    ours: list[str], theirs: list[str], references: list[str]
) -> dict[int, float]:
    """Index -> chrF of ours less that of theirs, of the sentences on which the two differ."""
    from sacrebleu import CHRF  # a quarter of a second that only this needs

    metric = CHRF()

    def score(text: str, reference: str) -> float:
        return float(metric.sentence_score(text, [reference]).score)

    return {
        i: score(our, reference) - score(their, reference)
        for i, (our, their, reference) in enumerate(_compared(ours, theirs, references))
        if our != their
    }


def _compared(
    ours: list[str], theirs: list[str], references: list[str]
) -> Iterator[tuple[str, str, str]]:
    some = slice(MOST_COMPARED)
    yield from zip(ours[some], theirs[some], references[some], strict=True)


def _text(folder: Path, name: str) -> list[str]:
    """The lines of a trial's artifact of that name, of the latest step; none without it."""
    path = _latest(folder).get(name)
    return [] if path is None else _lines(path)


def _latest(folder: Path) -> dict[str, Path]:
    latest: dict[str, tuple[int, Path]] = {}
    artifacts = folder / "artifacts"
    for path in sorted(artifacts.iterdir()) if artifacts.is_dir() else ():
        found = _FILE.fullmatch(path.name)
        if found and path.is_file():
            step, name = int(found[1]), found[2]
            if name not in latest or step > latest[name][0]:
                latest[name] = (step, path)
    return {name: path for name, (_, path) in latest.items()}


def _lines(path: Path) -> list[str]:
    """Lines split on newlines only: a sentence may hold U+2028 and its like."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    return text.removesuffix("\n").split("\n") if text else []
