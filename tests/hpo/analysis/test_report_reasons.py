"""Why a trial lost, in words with numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from made_records import record, trial

from core.task import Metric
from hpo.analysis.reasons import Rivals, reasons
from hpo.records import Entrant, FinalsRecord, StudyRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RATE = "finetune.learning_rate"


def one(number: int, at_20: float, at_60: float | None, rate: float = 3e-4, **more: Any) -> Any:
    """A trial of the grid 20 + 40 that ended so many minutes after noon."""
    curve = {20: at_20} | ({} if at_60 is None else {60: at_60})
    given: dict[str, Any] = {
        "curve": curve,
        "parameters": {"model.num_layers": 3, RATE: rate},
        "ended": NOON + timedelta(minutes=number),
    }
    value = at_20 if at_60 is None else at_60
    return trial(number, more.pop("state", "complete"), value, **given | more)


def said(study: StudyRecord, number: int, **more: Any) -> list[str]:
    return reasons(study.trials[number], Rivals.of(study), **more)


def test_a_pruned_trial_is_told_by_how_much_it_was_behind_the_median_then() -> None:
    study = record(
        one(0, 20.0, 25.0),
        one(1, 22.0, 26.0),
        one(2, 21.0, 27.0),
        one(3, 17.9, None, state="pruned", ending="stopped"),
        one(4, 30.0, 40.0),  # came later: it was nobody's median
    )
    assert said(study, 3) == [
        "Pruned at step 20 of 60, when it was 3.10 BLEU behind the median: 17.90 BLEU against "
        "21.00 of the 3 trials that were complete by then."
    ]


def test_a_pruned_trial_that_was_not_behind_the_median_is_told_its_rank() -> None:
    study = record(one(0, 20.0, 25.0), one(1, 24.0, 26.0), one(2, 23.0, None, state="pruned"))
    assert said(study, 2) == [
        "Pruned at step 20 of 60 with 23.00 BLEU, rank 2 of 3 against the 2 trials that were "
        "complete by then, 1.00 BLEU behind the best there."
    ]


def test_what_stopped_a_trial_but_its_rank_is_told_as_it_was_recorded() -> None:
    why = "over the trial time limit of 90 s at step 20"
    slow = one(1, 23.0, None, state="pruned", ending="time", reason=why)
    assert said(record(one(0, 20.0, 25.0), slow), 1) == [f"Stopped at step 20: {why}."]
    broken = one(1, 0.0, None, state="failed", reason="the worker was killed (signal 9)")
    assert said(record(one(0, 20.0, 25.0), broken), 1) == [
        "It failed, which says nothing about its configuration: the worker was killed (signal 9)."
    ]


def test_an_unstable_trial_is_told_its_numbers_and_its_rate_among_the_others() -> None:
    health = {"verdict": "diverged", "detail": "loss nan at step 13, at learning rate 0.01"}
    study = record(
        *(one(i, 20.0, 25.0 + i) for i in range(4)),
        one(4, 0.0, None, 0.01, state="pruned", health=health, ending="diverged"),
        one(5, 20.0, 21.0, health={"verdict": "unstable", "detail": "loss spikes: 3"}),
    )
    assert said(study, 4) == [
        "Unstable: it diverged, loss nan at step 13, at learning rate 0.01.",
        "Its learning rate 0.01 is above that of 4 of 4 healthy complete trials.",
    ]
    assert "Unstable: loss spikes: 3." in said(study, 5)


def test_a_rate_too_low_to_move_is_named_with_what_is_usual() -> None:
    study = record(
        *(one(i, 20.0, 25.0 + i, rate=3e-4) for i in range(5)),
        one(5, 20.0, 20.2, rate=1e-6),
    )
    assert said(study, 5) == [
        "It ended at 20.20 BLEU, 8.80 BLEU behind trial 4: rank 6 of 6 complete trials.",
        "Learning rate 1e-6 is too low to move in 40 steps: stage finetune moved the score by "
        "+0.20 BLEU, that of the median trial by 6.50 BLEU; the median rate is 0.0003.",
    ]


def test_a_low_rate_is_no_reason_where_moving_made_everybody_worse() -> None:
    study = record(
        *(one(i, 29.0, 25.0 + i / 10, rate=3e-4) for i in range(5)), one(5, 20.0, 20.2, rate=1e-6)
    )
    assert said(study, 5)[1] == (
        "It was behind before stage finetune: 20.00 BLEU after pretrain, trial 4 29.00."
    )


def test_the_stage_in_which_it_fell_behind_is_named() -> None:
    study = record(one(0, 20.0, 26.0), one(1, 20.5, 22.0, rate=5e-5))
    assert said(study, 1) == [
        "It ended at 22.00 BLEU, 4.00 BLEU behind trial 0: rank 2 of 2 complete trials.",
        "It fell behind in stage finetune, which moved its score by +1.50 BLEU at learning rate "
        "5e-5 and that of trial 0 by +6.00 BLEU.",
        "It was still gaining at the end: 1.50 BLEU since step 20.",
    ]


def test_who_never_learned_is_told_so() -> None:
    study = record(one(0, 20.0, 26.0), one(1, 0.4, 0.3))
    assert said(study, 1)[1] == "It never learned: 0.40 BLEU is the best it had in 60 steps."


def test_of_a_metric_of_which_less_is_better_the_lower_one_is_ahead() -> None:
    nmse = Metric("NMSE", "dB", "minimize", 0.0)
    study = record(one(0, -20.0, -31.0), one(1, -20.0, -30.0), metric=nmse)
    assert said(study, 0) == [
        "It has the best score of the search, NMSE -31.00 dB, 1.00 dB ahead of the runner-up, "
        "trial 1."
    ]
    assert said(study, 1)[0] == (
        "It ended at NMSE -30.00 dB, 1.00 dB behind trial 0: rank 2 of 2 complete trials."
    )


def test_ties_are_told_from_the_finals_the_seeds_and_the_sentences() -> None:
    def entrant(number: int, values: tuple[float, ...], *, ties: bool) -> Entrant:
        mean = sum(values) / len(values)
        return Entrant(number, values, mean, 1.0, ties, (1, 2), (None, None))

    entrants = (entrant(0, (26.0, 25.0), ties=True), entrant(1, (25.5, 25.0), ties=True))
    finals = FinalsRecord(entrants, 0, 2, 2)
    trials = (one(0, 20.0, 26.0), one(1, 20.0, 25.9), one(2, 20.0, 25.5), one(3, 20.0, 20.0))
    study = record(*trials, finals=finals)
    assert said(study, 1)[0] == (
        "A tie: on fresh seeds its mean is 25.25 BLEU, which nothing tells from the 25.50 of "
        "trial 0."
    )
    assert said(study, 2)[0] == (
        "A tie, as far as one run can tell: two runs of one configuration that differ by their "
        "seed alone lay 0.79 BLEU apart here."
    )
    assert not any("tie" in sentence for sentence in said(study, 3))
    without = record(*trials)
    assert said(without, 2, p_value=0.31)[0].endswith("those of trial 0 (p = 0.31).")
    assert not any("tie" in sentence for sentence in said(without, 2, p_value=0.01))
    equal = record(one(0, 20.0, 26.0), one(1, 20.0, 26.0))
    assert said(equal, 1) == ["A tie: its score equals that of trial 0, which came first."]


def test_a_trial_that_has_not_ended_is_told_where_it_stands() -> None:
    study = record(
        one(0, 20.0, 26.0), one(1, 24.0, 26.0), one(2, 23.0, None, state="paused", ended=None)
    )
    assert said(study, 2) == [
        "It has not ended: paused at step 20.",
        "There it is 1.00 BLEU ahead of the median of 2 other trials: 23.00 BLEU against 22.00.",
    ]
    fresh = trial(0, "running", None)
    assert said(record(fresh), 0) == ["It has not ended: running at step 0."]


def test_every_trial_of_any_kind_is_told_something() -> None:
    nan = float("nan")
    study = record(
        trial(0, "complete", nan),
        trial(1, "pruned", None),
        trial(2, "failed", None),
        trial(3, "pruned", nan, curve={20: nan}, health={"verdict": "collapsed"}),
        trial(4, "interrupted", None),
    )
    assert all(reasons(trial, Rivals.of(study)) for trial in study.trials)
