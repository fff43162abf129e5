"""What the commands print, from records made by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from core.task import Metric
from hpo.output import short_parameters, standing, study_page, study_result, trial_page, visible
from hpo.records import TrialRecord
from tests.hpo.made_records import reading, record, trial

NMSE = Metric("NMSE", "dB", "minimize", 0.0)
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
EVIL = "\x1b[31mred\x07 [bold]loud[/bold] :smile:\nnext\u202eline"


def printed(parts: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_result_shows_the_best_configuration_its_gain_and_the_test_score() -> None:
    found = record(
        trial(0, value=21.5),
        trial(1, "pruned", 30.0),
        trial(2, value=24.75),
        declaration={"enqueue": [{"model.num_layers": 2}]},
        readings=(reading(2, 23.456, SIGNATURE),),
    )
    text = printed(study_result(found))
    assert "model.num_layers" in text
    assert "0.0003" in text
    assert "trial 2" in text
    assert "start, trial 0" in text
    assert "Best score on validation: 24.75 BLEU (trial 2), 3.25 better than the start" in text
    assert f"\nFINAL_TEST_BLEU = 23.46 ({SIGNATURE})\n" in text


@pytest.mark.parametrize("width", [20, 80, 140])
def test_the_final_line_is_one_line_whatever_the_width(width: int) -> None:
    found = record(trial(0), readings=(reading(0, 1.0, SIGNATURE),))
    assert f"FINAL_TEST_BLEU = 1.00 ({SIGNATURE})" in printed(study_result(found), width).split(
        "\n"
    )


def test_a_reading_of_an_earlier_best_trial_names_it() -> None:
    found = record(
        trial(0, value=5.0),
        trial(1, value=6.0),
        readings=(reading(0, 4.0, SIGNATURE),),
    )
    text = printed(study_result(found))
    assert f"FINAL_TEST_BLEU = 4.00 ({SIGNATURE})\n" in text
    assert "That is trial 0's, read when it was the best." in text


def test_the_last_reading_counts() -> None:
    readings = tuple(reading(0, value, SIGNATURE) for value in (4.0, 7.0))
    text = printed(study_result(record(trial(0), readings=readings)))
    assert "FINAL_TEST_BLEU = 7.00" in text
    assert "4.00" not in text


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ((trial(0, value=5.0),), "(trial 0), the start configuration's own"),
        (
            (trial(0, "pruned", 5.0), trial(1, value=6.0)),
            "; the start configuration (trial 0) is pruned",
        ),
        ((trial(3, value=6.0),), "(trial 3)\n"),
    ],
)
def test_the_gain_is_told_only_where_there_is_one(
    trials: tuple[TrialRecord, ...], expected: str
) -> None:
    found = record(*trials, declaration={"enqueue": [{"model.num_layers": 2}]})
    assert expected in printed(study_result(found))


def test_the_gain_is_what_a_reader_subtracts() -> None:
    found = record(
        trial(0, value=0.096),
        trial(1, value=32.974),
        declaration={"enqueue": [{"model.num_layers": 2}]},
    )
    assert "32.97 BLEU (trial 1), 32.87 better than" in printed(study_result(found))


def test_where_lower_is_better_the_gain_is_still_positive() -> None:
    found = record(
        trial(0, value=-20.0),
        trial(1, value=-25.5),
        metric=NMSE,
        declaration={"enqueue": [{"model.num_layers": 2}]},
    )
    text = printed(study_result(found))
    assert "NMSE -25.50 dB (trial 1), 5.50 dB better than the start configuration (-20.00)" in text


def test_without_a_complete_trial_the_result_says_so() -> None:
    assert printed(study_result(record(trial(0, "failed", None)))) == "No trial is complete.\n"


def test_the_standing_counts_outcomes() -> None:
    trials = (trial(0), trial(1, "pruned"), trial(2, "failed", None), trial(3, "running"))
    assert standing(record(*trials, is_owned=True)).plain == (
        "depth_sweep: 3 of 5 trials finished (1 complete, 1 pruned, 1 failed, 1 running), "
        "1 min 23 s, running now"
    )


def test_the_study_page_lists_trials_by_number() -> None:
    trials = (trial(11, reason="late"), trial(2, "pruned", 0.5, reason="below the median"))
    text = printed(study_page(record(*trials, facts={"notes": ["3 duplicates"]})))
    assert "3 duplicates" in text
    assert "below the median" in text
    assert text.index("num_layers=4") < text.index("num_layers=13")


def test_the_study_page_tells_what_the_cache_saved() -> None:
    hit, miss = {"cache_hit": True, "cache_saved_s": 215.5}, {"cache_hit": False, "prepare_s": 1.0}
    trials = (trial(0, cost=miss), trial(1, cost=hit), trial(2, cost=hit), trial(3, "running"))
    text = printed(study_page(record(*trials)))
    assert "Stage pretrain: 2 of 3 trials took it from the cache, 7 min 11 s saved.\n" in text
    assert "cache" not in printed(study_page(record(trials[0])))


def test_the_trial_page_shows_curve_health_cost_and_files(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "step000040.samples").write_text("seventeen letters", "utf-8")
    one = trial(
        7,
        value=12.5,
        folder=tmp_path,
        attempts=2,
        health={"verdict": "healthy", "grad_norm_max": 3.0},
        cost={"finetune_s": 41.25},
    )
    page = trial_page(record(one), one)
    text = printed(page)
    for expected in (
        "trial 7: complete, 12.50 BLEU, 2 attempts",
        "model.num_layers",
        "healthy",
        "41.25",
        "step000040.samples",
        "17",
    ):
        assert expected in text
    rows = [line.split() for line in text.split("\n")]
    assert ["pretrain", "20", "6.25"] in rows
    assert ["finetune", "40", "12.50"] in rows


def test_names_are_short_unless_two_groups_share_one() -> None:
    parameters = {"model.dropout": 0.1, "finetune.dropout": 0.25, "model.d_model": 64}
    assert short_parameters(parameters) == "model.dropout=0.1 finetune.dropout=0.25 d_model=64"


def test_hostile_text_is_shown_as_text() -> None:
    assert visible(EVIL) == "\\x1b[31mred\\x07 [bold]loud[/bold] :smile:\\nnext\\u202eline"
    one = trial(0, reason=EVIL, parameters={EVIL: EVIL})
    found = record(
        one,
        name=EVIL,
        facts={"notes": [EVIL]},
        readings=(reading(0, 1.0, EVIL),),
    )
    page = trial_page(found, one)
    text = printed([*study_page(found), *page], width=400)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold]loud[/bold] :smile:" in text
