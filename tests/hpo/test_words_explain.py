"""`hpo explain`: what a trial's records tell of it, in words and for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from hpo.as_json import document
from hpo.explaining import Explanation, explain, explanation_page
from hpo.output import Printer
from hpo.records import StudyRecord, TrialRecord
from tests.hpo.analysis.made_study import made_study
from tests.hpo.made_records import record, trial

SOURCES = ["ein hund", "eine katze", "ein haus", "ein baum"]
REFERENCES = ["a dog", "a cat", "a house", "a tree"]


def left(folder: Path, number: int, hypotheses: list[str], **more: Any) -> TrialRecord:
    place = folder / f"{number:04d}" / "artifacts"
    place.mkdir(parents=True)
    for name, lines in (("src", SOURCES), ("ref", REFERENCES), ("hyp", hypotheses)):
        path = place / f"step000040.validation.{name}"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return trial(number, **({"folder": place.parent} | more))


def text_of(found: Explanation, width: int = 200) -> str:
    console = Printer()
    console.width = width
    console.file = io.StringIO()
    console.show(*explanation_page(found))
    return console.file.getvalue()


def test_a_loser_is_set_beside_the_best_where_they_differ_most(tmp_path: Path) -> None:
    best = left(tmp_path, 0, REFERENCES, value=30.0)
    lost = left(tmp_path, 1, ["a dog", "a cat ?", "nothing", "a tree"], value=20.0)
    found = explain(record(best, lost), lost)
    assert [(one.line, one.ours, one.best) for one in found.samples] == [
        (3, "nothing", "a house"),
        (2, "a cat ?", "a cat"),
    ]
    assert found.samples[0].ahead < found.samples[1].ahead < 0
    text = text_of(found)
    assert text.startswith("depth_sweep, trial 1: complete, 20.00 BLEU\n")
    assert "10.00 BLEU behind trial 0" in text or "A tie" in text
    for check in ("gradient norm under 10", "loss scale steady", "no loss spikes", "score rising"):
        assert check in text
    assert "chrF worse than trial 0" in text
    assert "best, trial 0" in text


def test_the_best_is_shown_alone(tmp_path: Path) -> None:
    best = left(tmp_path, 0, REFERENCES, value=30.0)
    found = explain(record(best, trial(1, value=20.0)), best)
    assert [one.best for one in found.samples] == [None] * 3
    text = text_of(found)
    assert "It has the best score of the search" in text
    assert "best, trial" not in text
    assert "chrF" not in text


def test_of_a_trial_that_left_nothing_the_rest_is_told(tmp_path: Path) -> None:
    gone = trial(3, "failed", None, reason="its worker was killed", folder=tmp_path / "gone")
    found = explain(record(trial(0), gone), gone)
    assert (found.stages, found.samples) == ((), ())
    text = text_of(found)
    assert "its worker was killed" in text
    assert "no telemetry" in text


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    """A study with telemetry, and trials of every outcome."""
    return made_study(tmp_path_factory.mktemp("explain"), trials=10)


def test_every_trial_can_be_explained_and_no_number_is_nan(study: StudyRecord) -> None:
    for one in study.trials:
        found = explain(study, one)
        assert found.reasons
        assert len(found.checks) == 4
        told = json.loads(document(found.as_json()), parse_constant=pytest.fail)
        assert told["number"] == one.number
        assert [check["name"] for check in told["checklist"]] == [c.name for c in found.checks]
        assert "nan" not in text_of(found).replace("finance", "")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_tables_keep_to_the_terminal(study: StudyRecord, width: int) -> None:
    for one in study.trials[4:7]:
        lines = text_of(explain(study, one), width).splitlines()
        tables = [line for line in lines if "  " in line]
        assert all(len(line) <= width for line in tables)


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    evil = "\x1b[31mred\x07 [bold]"
    best = left(tmp_path, 0, REFERENCES, value=30.0)
    lost = left(tmp_path, 1, [evil, *REFERENCES[1:]], value=20.0, reason=evil)
    text = text_of(explain(record(best, lost, name=evil), lost))
    assert "\x1b" not in text
    assert "\\x1b[31mred\\x07 [bold]" in text
