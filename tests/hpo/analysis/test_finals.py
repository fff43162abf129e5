"""What the finals say, in the terminal and in the report."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import optuna
from rich.console import Console
from rich.text import Text

from core.task import Metric
from hpo.analysis.answer import gain_sentences, reading_sentences
from hpo.analysis.finals import finals_rows, finals_sentences, gain_on_fresh_seeds
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.report import render
from hpo.finals.standings import Comparison, Repeat, Standings
from hpo.output import study_result
from hpo.records import StudyRecord, TestReading, TestScore
from tests.hpo.made_records import BLEU, record, trial

NMSE = Metric("NMSE", "dB", "minimize", 0.0)
START = {"enqueue": [{"model.num_layers": 2}]}
VALUES = {2: (30.0, 31.0, 32.0), 1: (29.9, 31.5, 31.0), 3: (27.0, 28.2), 0: (20.0, 20.8, 22.1)}
"""By trial; trial 0 is the start and no finalist."""


def standings(values: dict[int, tuple[float, ...]] = VALUES, before: float = 25.0) -> Standings:
    repeats = tuple(
        Repeat(number, seed, "complete", value, before + seed)
        for number, scores in values.items()
        for seed, value in enumerate(scores, start=1)
    )
    return Standings(3, 3, (2, 1, 3), 0, repeats)


def made(
    given: Standings | None = None, metric: Metric = BLEU, sign: float = 1, **more: Any
) -> StudyRecord:
    trials = [trial(number, value=sign * value) for number, value in enumerate((20, 29, 30, 28))]
    found = (given or standings()).summary(metric, 0)
    return record(*trials, metric=metric, finals=found, declaration=START, **more)


def told(found: StudyRecord) -> str:
    return " ".join(finals_sentences(found, ScoreFormat.of(found)))


def opened(found: StudyRecord) -> StudyRecord:
    runs = [TestScore(2, None, 29.0, 30.0), TestScore(1, 2, 33.5, 31.5)]
    runs += [TestScore(2, seed, 28.0 + seed, 29.0 + seed) for seed in (1, 2, 3)]
    reading = TestReading("2026-01-02T03:04:05+00:00", 2, tuple(runs), "nrefs:1", "d")
    return replace(found, readings=(reading,))


def test_the_table_names_who_is_selected_ties_and_is_behind() -> None:
    rows = finals_rows(made())
    assert [(row.name, row.notes) for row in rows] == [
        ("trial 2", ("selected",)),
        ("trial 1", ("ties with the selected",)),
        ("trial 3", ("clearly behind, not repeated further",)),
        ("trial 0", ("behind", "the start configuration")),
    ]
    assert [row.score.n for row in rows] == [3, 3, 2, 3]
    assert [row.is_selected for row in rows] == [True, False, False, False]


def test_sentences_can_tie_what_seeds_tell_apart() -> None:
    given = replace(standings(), comparisons=(Comparison(2, 3, 2, 0.4),))
    rows = {row.name: row.notes for row in finals_rows(made(given))}
    assert rows["trial 3"] == ("ties with the selected",)
    stale = replace(standings(), comparisons=(Comparison(1, 3, 2, 0.4),))
    rows = {row.name: row.notes for row in finals_rows(made(stale))}
    assert rows["trial 3"] == ("clearly behind, not repeated further",)


def test_the_gain_over_the_start_has_an_interval() -> None:
    found = made()
    gained = gain_on_fresh_seeds(found)
    assert gained is not None
    assert round(gained.mean, 2) == 10.03
    assert gained.half_width is not None
    assert "Against the start configuration it is 10.03 ± 0.38 better on the same seeds." in told(
        found
    )
    assert "Trial 1 ties with it" in told(found)
    scores = ScoreFormat.of(found)
    assert not any("one seed" in said for said in gain_sentences(found, scores))


def test_what_cannot_be_told_from_the_start_is_said_plainly() -> None:
    found = made(standings({**VALUES, 0: (29.0, 32.5, 30.0)}))
    assert "It is not distinguishable from the start configuration: " in told(found)
    rows = {row.name: row.notes for row in finals_rows(found)}
    assert rows["trial 0"] == ("ties with the selected", "the start configuration")


def test_where_lower_is_better_the_gain_is_positive_too() -> None:
    mirrored = {number: tuple(-value for value in scores) for number, scores in VALUES.items()}
    found = made(standings(mirrored, before=-25.0), NMSE, sign=-1)
    gained = gain_on_fresh_seeds(found)
    assert gained is not None
    assert round(gained.mean, 2) == 10.03
    assert finals_rows(found)[0].name == "trial 2"


def test_fine_tuning_that_adds_nothing_gets_a_row_and_a_sentence() -> None:
    assert not any("without" in row.name for row in finals_rows(made()))
    found = made(standings(before=29.5))
    assert [row.name for row in finals_rows(found)][:2] == ["trial 2", "trial 2 without finetune"]
    assert (
        "Stage finetune adds nothing that matters beside the luck of a seed: after pretrain alone"
        in told(found)
    )


def test_a_gain_that_two_seeds_do_not_establish_is_not_called_nothing() -> None:
    given = standings({2: (30.0, 31.0)})
    before = dict(zip((1, 2), (28.0, 19.0), strict=True))
    repeats = tuple(replace(one, before=before[one.seed]) for one in given.repeats)
    found = made(replace(given, repeats=repeats, start=None))
    (row,) = (row for row in finals_rows(found) if row.name == "trial 2 without finetune")
    assert row.notes == ("not told apart",)
    assert "What stage finetune adds is not told from nothing: 7.00 ± 63.53; after" in told(found)


def test_a_gain_that_is_surely_less_than_the_luck_of_a_seed_does_as_well() -> None:
    given = standings({2: (28.0, 30.0, 32.0)})
    gains = {1: -0.2, 2: 0.4, 3: 0.0}
    repeats = tuple(
        replace(one, before=(one.value or 0) - gains[one.seed]) for one in given.repeats
    )
    found = made(replace(given, repeats=repeats, start=None))
    assert any(row.notes == ("does as well",) for row in finals_rows(found))


def test_the_start_may_be_selected_itself() -> None:
    given = replace(standings(), finalists=(0, 2), start=None)
    values = replace(given, repeats=tuple(one for one in given.repeats if one.trial == 0))
    assert "It is the start configuration itself." in told(made(values))


def printed(found: StudyRecord) -> str:
    console = Console(file=io.StringIO(), width=140, markup=False, highlight=False)
    for part in study_result(found):
        console.print(part, soft_wrap=isinstance(part, Text))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_the_finals_and_the_three_lines() -> None:
    text = printed(opened(made()))
    assert "ties with the selected" in text
    assert "\nFINAL_TEST_BLEU = 33.50 (nrefs:1)\n" in text
    assert "\nCLEAN_TEST_BLEU = 30.00 +- 2.48 (n=3)\nSELECTION_BIAS = 3.50\n" in text
    assert "The best of 5 runs is trial 1, fresh seed 2.\n" in text


def test_an_old_opening_says_whose_it_is() -> None:
    swapped = {1: (40.0, 41.0, 42.0), 2: (30.0, 31.0, 32.0)}
    found = opened(made(standings(swapped)))
    text = printed(found)
    assert "; they were read when trial 2 was the best." in text
    assert "selected, trial 1" in text  # its parameters stand beside those of the search's best


def test_the_report_has_the_finalists_and_every_run_that_was_read() -> None:
    page = render(opened(made(optuna_study=optuna.create_study())))
    assert ">Finalists<" in page
    assert "clearly behind, not repeated further" in page
    assert "trial 1, fresh seed 2" in page
    assert "the same, clean" in page
    assert page.count("<code>nrefs:1</code>") == 1
    said = reading_sentences(opened(made()))
    assert any("flatters itself" in one for one in said)
    assert ">Finalists<" not in render(record())
