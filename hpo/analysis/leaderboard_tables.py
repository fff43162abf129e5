"""The leaderboard in words: a table for each kind of evidence, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.analysis.formats import MISSING, ScoreFormat, decimals_for, duration
from hpo.analysis.leaderboard import EVIDENCE, Entry, Evidence, Group, Score
from hpo.protocol import SHORT

_RANKED_BY = {
    "clean_test": "Ranked by the test {metric} of the configuration chosen on validation, "
    "its mean over fresh seeds ({better} is better)",
    "test": "Ranked by the test {metric} of the one run chosen on validation ({better} is better)",
    "validation": "Ranked by the best validation {metric}, which flatters whoever tried more "
    "({better} is better); without a test score",
}
_HEADS = {"clean_test": "clean test", "test": "test", "validation": "validation"}


@dataclass(frozen=True)
class RankTable:
    """A part of a group as people read it: the studies with one kind of evidence."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The second cell is the study's name."""
    numeric: frozenset[int]
    """Columns to set flush right."""


def tables_of(group: Group) -> list[RankTable]:
    """The group's tables, one for each kind of evidence that some study is ranked by."""
    scores = ScoreFormat(
        group.metric,
        decimals_for(one.value for entry in group.entries for one in entry.scores.values()),
    )
    kinds: tuple[Evidence | None, ...] = (*EVIDENCE, None)
    parts = [(kind, [one for one in group.entries if one.ranked_by == kind]) for kind in kinds]
    return [_table_of(group, kind, entries, scores) for kind, entries in parts if entries]


def _table_of(
    group: Group, kind: Evidence | None, entries: Sequence[Entry], scores: ScoreFormat
) -> RankTable:
    metric = group.metric
    better = "higher" if metric.direction == "maximize" else "lower"
    title = "Not ranked: no score yet"
    shown: list[Evidence] = []
    if kind is not None:
        title = _RANKED_BY[kind].format(metric=metric.name, better=better)
        shown = list(dict.fromkeys((kind, "validation")))
    has_test = kind in ("clean_test", "test")
    heads = ["rank", "study", *(f"{_HEADS[one]} {metric.name}" for one in shown)]
    heads += [group.final_line] if has_test else []
    heads += ["trials", "time of trials", "device"]
    rows = [
        (
            MISSING if entry.rank is None else str(entry.rank),
            entry.study,
            *(_score_text(entry.scores.get(one), scores) for one in shown),
            *([_final_text(entry, scores)] if has_test else []),
            f"{entry.finished}/{entry.total}",
            duration(entry.trials_s),
            _devices_text(entry.devices),
        )
        for entry in entries
    ]
    numbers = {heads.index("rank"), *range(2, len(heads) - 1)}
    return RankTable(title, tuple(heads), tuple(rows), frozenset(numbers))


def _score_text(score: Score | None, scores: ScoreFormat) -> str:
    if score is None:
        return MISSING
    if score.half_width is None:
        return scores.text(score.value)
    return f"{scores.number(score.value)} ± {scores.text(score.half_width)} (n={score.n})"


def _final_text(entry: Entry, scores: ScoreFormat) -> str:
    said = scores.text(None if entry.final is None else entry.final.value)
    return said if entry.openings < 2 else f"{said} (read {entry.openings} times)"


def _devices_text(devices: Mapping[str, int]) -> str:
    if len(devices) == 1:
        return next(iter(devices))
    return ", ".join(f"{name} ({number})" for name, number in devices.items()) or MISSING


def protocol_line(group: Group) -> str:
    """`Protocol 1a2b3c4d5e6f of translation: 3 studies`."""
    number = len(group.entries)
    studies = "1 study" if number == 1 else f"{number} studies"
    return f"Protocol {group.lock.short} of {group.lock.content['task']}: {studies}"


def differing_lines(group: Group) -> list[str]:
    """`protocol.max_len: 32, and 64 in the first`, one for each key that differs."""
    return [
        f"{change.key}: {_protocol_value(change.now)}, and "
        f"{_protocol_value(change.before)} in the first"
        for change in group.differing
    ]


def _protocol_value(value: Any) -> str:
    if value is None:
        return "unset"
    text = str(value)
    is_digest = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:SHORT] if is_digest else text
