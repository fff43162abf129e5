"""The leaderboard: studies of one protocol, ranked by the strongest evidence that each has.

Evidence of different kinds is never put into one order: a best validation score flatters whoever
tried more, and one run's test score holds that run's luck. So each kind has ranks of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.errors import UserError, did_you_mean
from core.task import Metric
from hpo.analysis.trials import seconds_of
from hpo.finals.headline import headline
from hpo.folders import finite
from hpo.identity import Change, differences
from hpo.protocol import ProtocolLock
from hpo.records import StudyRecord, TestReading

SCHEMA_VERSION = 1
"""Of the JSON; raised when a key goes or changes meaning, not when one is added."""

Evidence = Literal["clean_test", "test", "validation"]
EVIDENCE: tuple[Evidence, ...] = ("clean_test", "test", "validation")
"""From the strongest to the weakest."""


class LeaderboardError(UserError):
    """A study was asked for that the leaderboard does not rank."""


@dataclass(frozen=True)
class Score:
    """A value and what it rests on."""

    value: float
    trial: int
    n: int = 1
    """Runs of which it is the mean."""
    half_width: float | None = None
    """Of the mean's 95 percent t-interval; `None` for a single run."""


@dataclass(frozen=True)
class Entry:
    """One study on the board."""

    study: str
    scores: Mapping[Evidence, Score]
    """What there is of each kind."""
    final: Score | None
    """The best run on the test set, as the line `FINAL_TEST_...` tells it."""
    bias: float | None
    """By how much `final` looks better than the clean score; `None` without one of the two."""
    openings: int
    """How often the test set was read."""
    finished: int
    complete: int
    total: int
    """Trials: ended in any way, complete, and asked for."""
    trials_s: float
    """Seconds of all trials together: training, evaluating, waiting. Repeats are not counted."""
    elapsed_s: float
    """Wall-clock over all runs of the study."""
    devices: Mapping[str, int]
    """Device -> trials that ended on it, where that was recorded."""
    rank: int | None = None
    """Among the studies with the same kind of evidence, from 1; equal values share it."""

    @property
    def ranked_by(self) -> Evidence | None:
        """The strongest kind of evidence that there is."""
        return next((kind for kind in EVIDENCE if kind in self.scores), None)


@dataclass(frozen=True)
class Group:
    """Studies whose protocols have the same hash."""

    lock: ProtocolLock
    metric: Metric
    final_line: str
    entries: tuple[Entry, ...]
    """By kind of evidence, the strongest first, then by rank; those without a score last."""
    differing: tuple[Change, ...] = ()
    """In what its protocol (`now`) differs from the first group's (`before`)."""


@dataclass(frozen=True)
class Apart:
    """A study that cannot be ranked."""

    study: str
    reason: str


@dataclass(frozen=True)
class Leaderboard:
    """All studies of a database."""

    groups: tuple[Group, ...]
    """The one asked for first, then the largest."""
    apart: tuple[Apart, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, as `docs/leaderboard.md` describes it."""
        told: dict[str, Any] = finite(
            {
                "schema_version": SCHEMA_VERSION,
                "groups": [_group_json(group) for group in self.groups],
                "apart": [{"study": one.study, "reason": one.reason} for one in self.apart],
            }
        )
        return told


def rank_studies(
    records: Iterable[StudyRecord], apart: Iterable[Apart] = (), *, first: str | None = None
) -> Leaderboard:
    """Ranks studies within their protocols; `apart` are those that could not be read.

    Args:
        first: the study whose protocol is to come first; the largest group by default.

    Raises: LeaderboardError if `first` is not among those ranked.
    """
    left_out = list(apart)
    groups: dict[str, list[StudyRecord]] = {}
    for record in records:
        obstacle = _obstacle(record)
        if record.lock is None or obstacle is not None:
            left_out.append(Apart(record.name, obstacle or ""))
        else:
            groups.setdefault(record.lock.hash, []).append(record)
    _check_first(first, groups.values(), left_out)

    def place(members: list[StudyRecord]) -> tuple[bool, int, str]:
        names = sorted(record.name for record in members)
        return first not in names, -len(names), names[0]

    ordered = [_group_of(members) for members in sorted(groups.values(), key=place)]
    return Leaderboard(
        tuple(
            replace(
                group,
                differing=tuple(differences(ordered[0].lock.content, group.lock.content)),
            )
            for group in ordered
        ),
        tuple(sorted(left_out, key=lambda one: one.study)),
    )


def _obstacle(record: StudyRecord) -> str | None:
    """Why a study cannot be ranked; `None` where it can."""
    if record.lock is None:
        if record.trials:
            return "begun before protocols were locked; run its command again to lock it"
        return "its data have not been looked at yet"
    if not record.readings:
        return None
    reading, locked = record.readings[-1], record.lock
    if locked.signature is not None and reading.signature != locked.signature:
        return (
            f"its test score was computed as {reading.signature}, and its protocol says "
            f"{locked.signature}"
        )
    if reading.data_digest != locked.content["digests"].get("data"):
        return "its test score was read on data other than its protocol's"
    return None


def _check_first(
    first: str | None, groups: Iterable[Sequence[StudyRecord]], apart: Sequence[Apart]
) -> None:
    ranked = sorted(record.name for members in groups for record in members)
    if first is None or first in ranked:
        return
    why = next((one.reason for one in apart if one.study == first), None)
    if why is not None:
        raise LeaderboardError(f"it is not ranked: {why}", where=f"study {first!r}")
    raise LeaderboardError(
        f"no study {first!r} has been run here",
        allowed=", ".join(ranked) or "none yet",
        way_out=did_you_mean(first, ranked),
    )


def _group_of(records: Sequence[StudyRecord]) -> Group:
    record = records[0]
    assert record.lock is not None
    entries = [_entry_of(one) for one in records]
    ranked = [entry for kind in EVIDENCE for entry in _rank(entries, kind, record.metric)]
    rest = sorted(
        (entry for entry in entries if entry.ranked_by is None), key=lambda entry: entry.study
    )
    return Group(record.lock, record.metric, record.final_line, (*ranked, *rest))


def _rank(entries: Iterable[Entry], kind: Evidence, metric: Metric) -> list[Entry]:
    """The entries whose strongest evidence is of a kind, best first."""
    sign = -1.0 if metric.direction == "maximize" else 1.0
    own = [
        (sign * entry.scores[kind].value, entry) for entry in entries if entry.ranked_by == kind
    ]
    own.sort(key=lambda one: (one[0], one[1].study))
    return [
        replace(entry, rank=1 + sum(other < value for other, _ in own)) for value, entry in own
    ]


def _entry_of(record: StudyRecord) -> Entry:
    best, final, bias = record.best, None, None
    scores: dict[Evidence, Score] = {}
    reading = record.readings[-1] if record.readings else None
    if reading is not None and all(math.isfinite(run.value) for run in reading.runs):
        head = headline(reading, record.metric)
        final = Score(head.final.value, head.final.trial)
        if head.clean is not None:
            clean = head.clean
            scores["clean_test"] = Score(clean.mean, reading.selected, clean.n, clean.half_width)
            bias = head.bias
        if (single := _single_of(reading)) is not None:
            scores["test"] = single
    if best is not None and best.value is not None and math.isfinite(best.value):
        scores["validation"] = Score(best.value, best.number)
    return Entry(
        study=record.name,
        scores=scores,
        final=final,
        bias=bias,
        openings=record.openings,
        finished=sum(trial.is_finished for trial in record.trials),
        complete=sum(trial.state == "complete" for trial in record.trials),
        total=record.total,
        trials_s=sum(seconds_of(trial) or 0.0 for trial in record.trials),
        elapsed_s=record.elapsed_s,
        devices=Counter(trial.device for trial in record.trials if trial.device),
    )


def _single_of(reading: TestReading) -> Score | None:
    """The run of the search that was chosen on validation: no choice was made on the test set."""
    for run in reading.runs:
        if run.trial == reading.selected and run.seed is None:
            return Score(run.value, run.trial)
    return None


def _group_json(group: Group) -> dict[str, Any]:
    metric = group.metric
    return {
        "protocol": group.lock.as_json(),
        "metric": {"name": metric.name, "unit": metric.unit, "direction": metric.direction},
        "final_line": group.final_line,
        "differs_from_first": [
            {"key": one.key, "first": one.before, "here": one.now} for one in group.differing
        ],
        "entries": [_entry_json(entry) for entry in group.entries],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "study": entry.study,
        "rank": entry.rank,
        "ranked_by": entry.ranked_by,
        **{kind: _score_json(entry.scores.get(kind)) for kind in EVIDENCE},
        "final_test": _score_json(entry.final),
        "selection_bias": entry.bias,
        "openings": entry.openings,
        "trials": {"finished": entry.finished, "complete": entry.complete, "total": entry.total},
        "trials_s": entry.trials_s,
        "elapsed_s": entry.elapsed_s,
        "devices": dict(entry.devices),
    }


def _score_json(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {
        "value": score.value,
        "half_width": score.half_width,
        "n": score.n,
        "trial": score.trial,
    }
