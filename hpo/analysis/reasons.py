"""Why a trial lost, or won, in words with numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import median, variance

from hpo.analysis.finals import entrant
from hpo.analysis.formats import ScoreFormat, count, is_finite, value_text
from hpo.analysis.trials import outcome_of, parameter_called, score_before_last_stage
from hpo.finals.statistics import SENTENCES_AT
from hpo.records import StudyRecord, TrialRecord

_FEW = 4
"""Complete trials below which nothing is said of what is usual among them."""
_HIGH_SHARE = 0.75
"""A value above that of so many of the others counts as a high one."""
_STILL_SHARE = 0.25
"""Who moved by less than so much of what is usual has not moved; who was still gaining so much of
the gap in the last interval has not come to its end."""


@dataclass(frozen=True)
class Rivals:
    """What a study's trials are compared with; made once for all of them."""

    record: StudyRecord
    scores: ScoreFormat

    @classmethod
    def of(cls, record: StudyRecord) -> Rivals:
        return cls(record, ScoreFormat.of(record))

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """The complete trials, the best first, the earlier one among equals."""
        sign = -1.0 if self.record.metric.direction == "maximize" else 1.0
        done = [one for one in self.record.trials if one.state == "complete" and _has_score(one)]
        return sorted(done, key=lambda one: (sign * _value(one), one.number))

    @cached_property
    def ranks(self) -> dict[int, int]:
        """Number -> rank of each complete trial, from 1."""
        return {one.number: rank for rank, one in enumerate(self.complete, start=1)}

    def at(self, step: int, trial: TrialRecord) -> tuple[list[float], str]:
        """The others' scores at a step, and whose they are, in words.

        Those of the trials that were complete when this one ended; where there is none, of all.
        """
        found = self._at_step(step)
        ended = math.inf if trial.ended is None else trial.ended.timestamp()
        before = [
            value for when, number, value in found if when <= ended and number != trial.number
        ]
        if before:
            return before, f"the {count(len(before), 'trial')} that were complete by then"
        others = [
            one.curve[step]
            for one in self.record.trials
            if one.number != trial.number and is_finite(one.curve.get(step))
        ]
        return others, f"the {count(len(others), 'other trial')} with a score there"

    def _at_step(self, step: int) -> list[tuple[float, int, float]]:
        """(when it ended, number, score at the step) of each complete trial."""
        if step not in self._by_step:
            self._by_step[step] = [
                (one.ended.timestamp() if one.ended else 0.0, one.number, one.curve[step])
                for one in self.complete
                if is_finite(one.curve.get(step))
            ]
        return self._by_step[step]

    @cached_property
    def _by_step(self) -> dict[int, list[tuple[float, int, float]]]:
        return {}

    @cached_property
    def moves(self) -> list[float]:
        """By how much the last stage changed the score of each complete trial, whichever way."""
        found = ((one, score_before_last_stage(self.record, one)) for one in self.complete)
        return [abs(_value(one) - before) for one, before in found if before is not None]

    @cached_property
    def rates(self) -> list[float]:
        """Learning rates of the complete trials that were healthy."""
        well = (one for one in self.complete if one.health.get("verdict", "healthy") == "healthy")
        return [rate for one in well if (rate := self.rate_of(one)) is not None]

    def rate_of(self, trial: TrialRecord) -> float | None:
        """The trial's learning rate; `None` where the study does not vary it."""
        return None if self._rate is None else trial.parameters.get(self._rate)

    @cached_property
    def _rate(self) -> str | None:
        return parameter_called(self.record, "learning_rate")

    @cached_property
    def seed_noise(self) -> float | None:
        """Root mean square difference of two runs that differ by their seed alone; `None` where
        the finals have not measured it."""
        finals = self.record.finals
        spreads = [
            (len(one.values) - 1, variance(one.values))
            for one in (finals.entrants if finals else ())
            if len(one.values) > 1
        ]
        freedom = sum(degrees for degrees, _ in spreads)
        if not freedom:
            return None
        return math.sqrt(2 * sum(degrees * spread for degrees, spread in spreads) / freedom)


def reasons(trial: TrialRecord, rivals: Rivals, p_value: float | None = None) -> list[str]:
    """Why the trial lost, or won, the most telling sentence first; never empty.

    `p_value` is that of a paired bootstrap over sentences against the best trial, where somebody
    has computed it.
    """
    if trial.state == "complete" and _has_score(trial):
        is_first = rivals.ranks[trial.number] == 1
        return _won(trial, rivals) if is_first else _lost(trial, rivals, p_value)
    outcome = outcome_of(trial)
    if outcome in ("diverged", "collapsed"):
        said = trial.health.get("detail") or trial.reason.removeprefix(f"{outcome}: ")
        return [
            f"Unstable: it {outcome}{f', {said}' if said else ''}.",
            *_high_rate(trial, rivals),
        ]
    if trial.state == "pruned":
        return [_pruned(trial, rivals), *_unstable(trial, rivals)]
    if trial.state == "failed":
        said = trial.reason or "why is not known"
        return [f"It failed, which says nothing about its configuration: {said}."]
    if trial.state == "complete":
        return ["It is complete without a score, so there is nothing to compare."]
    return [f"It has not ended: {outcome} at step {_last(trial)}.", *_standing(trial, rivals)]


def _pruned(trial: TrialRecord, rivals: Rivals) -> str:
    step, grid = _last(trial), rivals.record.grid
    if trial.ending not in ("", "stopped") or step not in trial.curve:
        return f"Stopped at step {step}: {trial.reason or 'why is not known'}."
    begun = f"Pruned at step {step} of {grid.total_steps}"
    own = trial.curve[step]
    others, whose = rivals.at(step, trial)
    others = [value for value in others if is_finite(value)]
    if not is_finite(own) or not others:
        return f"{begun}: {trial.reason or 'nothing to compare it with is known'}."
    scores, metric = rivals.scores, rivals.record.metric
    middle = float(median(others))
    if metric.is_better(middle, own):
        return (
            f"{begun}, when it was {scores.gap(middle, own)} behind the median: "
            f"{scores.named(own)} against {scores.text(middle)} of {whose}."
        )
    rank = 1 + sum(metric.is_better(value, own) for value in others)
    top = _best_of(others, rivals)
    behind = f", {scores.gap(top, own)} behind the best there" if rank > 1 else ""
    return (
        f"{begun} with {scores.named(own)}, rank {rank} of {len(others) + 1} against "
        f"{whose}{behind}."
    )


def _won(trial: TrialRecord, rivals: Rivals) -> list[str]:
    scores, record = rivals.scores, rivals.record
    said = f"It has the best score of the search, {scores.named(trial.value)}"
    if len(rivals.complete) == 1:
        return [f"{said}, as the only complete trial.", *_unstable(trial, rivals)]
    second = rivals.complete[1]
    if second.value == trial.value:
        told = [f"{said}, and so has trial {second.number}: the earlier one counts."]
    else:
        ahead = scores.gap(_value(trial), _value(second))
        told = [f"{said}, {ahead} ahead of the runner-up, trial {second.number}."]
    finals = record.finals
    if finals is not None and finals.selected != trial.number:
        told.append(f"On fresh seeds trial {finals.selected} did better and was selected.")
    return [*told, *_unstable(trial, rivals)]


def _lost(trial: TrialRecord, rivals: Rivals, p_value: float | None) -> list[str]:
    scores, best = rivals.scores, rivals.complete[0]
    rank = f"rank {rivals.ranks[trial.number]} of {len(rivals.complete)} complete trials"
    tie = _tie(trial, rivals, p_value)
    if trial.value == best.value:
        return [f"A tie: its score equals that of trial {best.number}, which came first."]
    gap = f"{scores.gap(_value(best), _value(trial))} behind trial {best.number}"
    ended = f"It ended at {scores.named(trial.value)}, {gap}: {rank}."
    if tie is not None:
        return [tie, ended, *_unstable(trial, rivals)]
    return [
        ended,
        *_unstable(trial, rivals),
        *_where(trial, rivals),
        *_still_rising(trial, rivals),
    ]


def _tie(trial: TrialRecord, rivals: Rivals, p_value: float | None) -> str | None:
    """Why the trial cannot be told from the best; `None` where it can, or nobody knows."""
    finals, scores, best = rivals.record.finals, rivals.scores, rivals.complete[0]
    repeated = entrant(finals, trial.number) if finals is not None else None
    if finals is not None and repeated is not None:
        selected = entrant(finals, finals.selected)
        if repeated.trial == finals.selected:
            return (
                f"Selected after all: over {count(len(repeated.values), 'fresh seed')} its mean "
                f"is {scores.named(repeated.mean)}."
            )
        if not repeated.ties_with_best or selected is None:
            return None
        return (
            f"A tie: on fresh seeds its mean is {scores.named(repeated.mean)}, which nothing "
            f"tells from the {scores.text(selected.mean)} of trial {finals.selected}."
        )
    gap, noise = abs(_value(best) - _value(trial)), rivals.seed_noise
    if noise is not None and gap <= noise:
        return (
            f"A tie, as far as one run can tell: two runs of one configuration that differ by "
            f"their seed alone lay {scores.gap(noise, 0.0)} apart here."
        )
    if p_value is not None and p_value >= SENTENCES_AT:
        return (
            f"A tie on these sentences: a paired bootstrap does not tell its translations from "
            f"those of trial {best.number} (p = {p_value:.2f})."
        )
    return None


def _where(trial: TrialRecord, rivals: Rivals) -> list[str]:
    """Where the trial fell behind the best: before the last stage, or in it, and by what."""
    record, scores, best = rivals.record, rivals.scores, rivals.complete[0]
    if not _has_learned(trial, rivals) and _has_learned(best, rivals):
        known = [value for value in trial.curve.values() if is_finite(value)]
        top = _best_of(known or [_value(trial)], rivals)
        said = f"It never learned: {scores.named(top)} is the best it had"
        return [f"{said} in {_last(trial)} steps.", *_low_rate(trial, rivals)]
    own, others = score_before_last_stage(record, trial), score_before_last_stage(record, best)
    if own is None or others is None:
        return _high_rate(trial, rivals) + _low_rate(trial, rivals)
    sign = 1.0 if record.metric.direction == "maximize" else -1.0
    before = sign * (others - own)
    inside = sign * (_value(best) - _value(trial)) - before
    first, last = (stage for stage, _ in record.grid.stages[-2:])
    if before >= inside:
        return [
            f"It was behind before stage {last}: {scores.named(own)} after {first}, trial "
            f"{best.number} {scores.text(others)}."
        ]
    low = _low_rate(trial, rivals)
    if low:
        return low
    moved, best_moved = _value(trial) - own, _value(best) - others
    rate = rivals.rate_of(trial)
    at = f" at learning rate {value_text(rate)}" if rate is not None else ""
    return [
        f"It fell behind in stage {last}, which moved its score by {_signed(moved, rivals)}{at} "
        f"and that of trial {best.number} by {_signed(best_moved, rivals)}.",
        *_high_rate(trial, rivals),
    ]


def _low_rate(trial: TrialRecord, rivals: Rivals) -> list[str]:
    """Whether the trial stood still at a low learning rate; only where others moved."""
    rate, rates = rivals.rate_of(trial), rivals.rates
    before = score_before_last_stage(rivals.record, trial)
    if rate is None or len(rates) < _FEW or rate >= median(rates):
        return []
    last, steps = rivals.record.grid.stages[-1]
    low = f"Learning rate {value_text(rate)} is too low to move in {steps} steps"
    usual_rate = f"the median rate is {value_text(float(median(rates)))}"
    if before is None:
        # With one stage, whoever has not left the floor has not moved.
        return [] if _has_learned(trial, rivals) else [f"{low}: {usual_rate}."]
    moved, usual = _value(trial) - before, float(median(rivals.moves))
    if abs(moved) > _STILL_SHARE * usual:
        return []
    return [
        f"{low}: stage {last} moved the score by {_signed(moved, rivals)}, that of the median "
        f"trial by {rivals.scores.gap(usual, 0.0)}; {usual_rate}."
    ]


def _high_rate(trial: TrialRecord, rivals: Rivals) -> list[str]:
    """Whether its learning rate is among the highest, where that of the others is known."""
    rate, rates = rivals.rate_of(trial), rivals.rates
    if rate is None or len(rates) < _FEW:
        return []
    below = sum(other < rate for other in rates)
    if below < _HIGH_SHARE * len(rates):
        return []
    return [
        f"Its learning rate {value_text(rate)} is above that of {below} of {len(rates)} healthy "
        "complete trials."
    ]


def _unstable(trial: TrialRecord, rivals: Rivals) -> list[str]:
    if trial.health.get("verdict") != "unstable":
        return []
    said = trial.health.get("detail") or "see its gradient norms"
    return [f"Unstable: {said}.", *_high_rate(trial, rivals)]


def _still_rising(trial: TrialRecord, rivals: Rivals) -> list[str]:
    steps = [step for step, value in sorted(trial.curve.items()) if is_finite(value)]
    if len(steps) < 2:
        return []
    value, before = trial.curve[steps[-1]], trial.curve[steps[-2]]
    gap = abs(_value(rivals.complete[0]) - _value(trial))
    if not rivals.record.metric.is_better(value, before):
        return []
    if abs(value - before) < _STILL_SHARE * gap:
        return []
    gained = rivals.scores.gap(value, before)
    return [f"It was still gaining at the end: {gained} since step {steps[-2]}."]


def _standing(trial: TrialRecord, rivals: Rivals) -> list[str]:
    """How a trial that has not ended stands among the others."""
    step = _last(trial)
    own = trial.curve.get(step)
    others = [value for value in rivals.at(step, trial)[0] if is_finite(value)]
    if own is None or not is_finite(own) or not others:
        return []
    middle, scores = float(median(others)), rivals.scores
    place = "behind" if rivals.record.metric.is_better(middle, own) else "ahead of"
    return [
        f"There it is {scores.gap(middle, own)} {place} the median of "
        f"{count(len(others), 'other trial')}: {scores.named(own)} against {scores.text(middle)}."
    ]


def _has_learned(trial: TrialRecord, rivals: Rivals) -> bool:
    metric = rivals.record.metric
    sign = 1.0 if metric.direction == "maximize" else -1.0
    values = [*trial.curve.values(), *([] if trial.value is None else [trial.value])]
    known = (value for value in values if is_finite(value))
    return any(sign * (value - metric.floor) >= metric.clear_gain for value in known)


def _best_of(values: list[float], rivals: Rivals) -> float:
    return max(values) if rivals.record.metric.direction == "maximize" else min(values)


def _signed(change: float, rivals: Rivals) -> str:
    sign = "+" if change >= 0 else "-"
    return f"{sign}{rivals.scores.gap(change, 0.0)}"


def _last(trial: TrialRecord) -> int:
    return max(trial.curve, default=0)


def _has_score(trial: TrialRecord) -> bool:
    return is_finite(trial.value)


def _value(trial: TrialRecord) -> float:
    assert trial.value is not None
    return trial.value
