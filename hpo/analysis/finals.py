"""The finals in words and rows: who was repeated, who ties, and what the search gained."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import stdev

from hpo.analysis.formats import ScoreFormat, count
from hpo.finals.statistics import BEHIND_AT, Interval, chance_of, interval, lead
from hpo.records import Entrant, FinalsRecord, StudyRecord, TestScore


@dataclass(frozen=True)
class FinalsRow:
    """One line of the table of finalists."""

    name: str
    """`trial 7`, or what else is compared."""
    score: Interval
    notes: tuple[str, ...]
    is_selected: bool = False


def finals_rows(record: StudyRecord) -> list[FinalsRow]:
    """A row an entrant, the best mean first; under the selected one what it had before the last
    stage, unless that clearly helped. Empty without finals."""
    finals = record.finals
    if finals is None:
        return []
    sign = -1.0 if record.metric.direction == "maximize" else 1.0
    rows = []
    ranked = sorted(
        finals.entrants, key=lambda one: (one.trial != finals.selected, sign * one.mean)
    )
    for one in ranked:
        is_selected = one.trial == finals.selected
        found = Interval(one.mean, one.half_width, len(one.values))
        rows.append(FinalsRow(f"trial {one.trial}", found, _notes(one, finals), is_selected))
        before = before_last_stage(record, one) if is_selected else None
        if before is not None:
            stage = record.grid.stages[-1][0]
            note = "does as well" if before.does_as_well else "not told apart"
            rows.append(FinalsRow(f"trial {one.trial} without {stage}", before.score, (note,)))
    return rows


def _notes(one: Entrant, finals: FinalsRecord) -> tuple[str, ...]:
    notes = []
    if one.trial == finals.selected:
        notes.append("selected")
    elif one.ties_with_best:
        notes.append("ties with the selected")
    else:
        notes.append("clearly behind, not repeated further" if one.is_dropped else "behind")
    if one.trial == finals.start:
        notes.append("the start configuration")
    return tuple(notes)


def entrant(finals: FinalsRecord, trial: int) -> Entrant | None:
    """The entrant of a trial; None if it took no part."""
    return next((one for one in finals.entrants if one.trial == trial), None)


def gain_on_fresh_seeds(record: StudyRecord) -> Interval | None:
    """By how much the selected configuration beats the start, paired by seed; positive is better.

    None where the start took no part, or is the selected one itself.
    """
    finals = record.finals
    if finals is None or finals.start is None or finals.start == finals.selected:
        return None
    start, selected = entrant(finals, finals.start), entrant(finals, finals.selected)
    assert start is not None
    assert selected is not None
    gained = lead(_by_seed(selected), _by_seed(start), record.metric)
    return interval(gained) if gained else None


@dataclass(frozen=True)
class BeforeLastStage:
    """What repeats had before a last stage that cannot be shown to have helped them."""

    score: Interval
    gain: Interval
    """By how much the last stage improved them, paired by seed."""
    does_as_well: bool
    """Whether the gain is nothing, or at most as much as scores differ between seeds."""


def before_last_stage(record: StudyRecord, one: Entrant) -> BeforeLastStage | None:
    """What the repeats scored before the last stage; None where that stage clearly helped them."""
    if len(record.grid.stages) < 2:
        return None
    known = zip(one.seeds, one.before, strict=True)
    before = {seed: score for seed, score in known if score is not None}
    helped = lead(_by_seed(one), before, record.metric)
    if not helped or chance_of(helped) < BEHIND_AT or (len(helped) == 1 and helped[0] > 0):
        return None
    gain = interval(helped)
    is_small = gain.half_width is not None and gain.mean + gain.half_width < stdev(one.values)
    return BeforeLastStage(interval(list(before.values())), gain, gain.mean <= 0 or is_small)


def finals_sentences(record: StudyRecord, scores: ScoreFormat) -> list[str]:
    """What the finals found, said plainly; nothing without finals."""
    finals = record.finals
    if finals is None:
        return []
    selected = entrant(finals, finals.selected)
    assert selected is not None
    found = Interval(selected.mean, selected.half_width, len(selected.values))
    said = [
        f"On fresh seeds trial {finals.selected}'s configuration is the best: "
        f"{interval_text(found, scores)} {record.metric.name} over "
        f"{count(found.n, 'seed')}.",
        _tie_sentence(finals),
        *_gain_sentences(record, finals, scores),
    ]
    before = before_last_stage(record, selected)
    if before is not None:
        first, last = (stage for stage, _ in record.grid.stages[-2:])
        alone = f"after {first} alone it has {interval_text(before.score, scores)}"
        said.append(
            f"Stage {last} adds nothing that matters beside the luck of a seed: {alone}."
            if before.does_as_well
            else f"What stage {last} adds is not told from nothing: "
            f"{interval_text(before.gain, scores)}; {alone}."
        )
    return said


def _tie_sentence(finals: FinalsRecord) -> str:
    tied = [
        str(one.trial)
        for one in finals.entrants
        if one.ties_with_best and one.is_finalist and one.trial != finals.selected
    ]
    if not tied:
        others = any(one.is_finalist and one.trial != finals.selected for one in finals.entrants)
        return "No other finalist ties with it." if others else "No other finalist was repeated."
    if len(tied) == 1:
        return f"Trial {tied[0]} ties with it: nothing tells the two apart."
    return f"Trials {', '.join(tied)} tie with it: nothing tells them apart."


def _gain_sentences(record: StudyRecord, finals: FinalsRecord, scores: ScoreFormat) -> list[str]:
    if finals.start == finals.selected:
        return ["It is the start configuration itself."]
    gained = gain_on_fresh_seeds(record)
    if gained is None:
        return []
    told = f"{interval_text(gained, scores)} better on the same seeds"
    if gained.half_width is None:
        return [f"Against the start configuration it is {told}; one seed tells no spread."]
    if abs(gained.mean) <= gained.half_width:
        return [f"It is not distinguishable from the start configuration: {told}."]
    return [f"Against the start configuration it is {told}."]


def interval_text(found: Interval, scores: ScoreFormat) -> str:
    """`34.10 ± 0.42`, or the mean alone where there is no spread to tell."""
    if found.half_width is None:
        return scores.number(found.mean)
    return f"{scores.number(found.mean)} ± {scores.number(found.half_width)}"


def run_name(run: TestScore) -> str:
    """A run in words: `trial 7`, `trial 7, fresh seed 2`."""
    return (
        f"trial {run.trial}" if run.seed is None else f"trial {run.trial}, fresh seed {run.seed}"
    )


def leader_of(record: StudyRecord) -> int | None:
    """The trial whose configuration stands for the study now; None without a complete trial."""
    if record.finals is not None:
        return record.finals.selected
    return None if record.best is None else record.best.number


def _by_seed(one: Entrant) -> dict[int, float]:
    return dict(zip(one.seeds, one.values, strict=True))
