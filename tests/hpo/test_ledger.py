from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.task import Scores
from hpo.ledger import LedgerError, Opening, read_ledger
from hpo.records import TestScore

RUNS = [(3, None, 30.5), (3, 2, 29.0), (11, 1, 28.0)]


def begin(folder: Path, **more: object) -> Opening:
    return Opening.begin(folder, 3, "dd", RUNS, **more)  # type: ignore[arg-type]


def read(opening: Opening, *values: float) -> None:
    for run, value in zip(opening.left, values, strict=False):
        opening.enter(run, Scores(value, {}, "bleu|13a", {"test.hyp": "ein\nzwei\n"}))


def test_an_opening_is_one_entry_for_all_its_runs(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == ()
    opening = begin(tmp_path)
    read(opening, 31.5, 32.5, 27.0)
    assert read_ledger(tmp_path) == ()
    first = opening.close()
    assert first.runs == (
        TestScore(3, None, 31.5, 30.5),
        TestScore(3, 2, 32.5, 29.0),
        TestScore(11, 1, 27.0, 28.0),
    )
    assert (first.selected, first.signature, first.data_digest) == (3, "bleu|13a", "dd")
    assert first.when.endswith("+00:00")
    assert read_ledger(tmp_path) == (first,)
    assert Opening.under_way(tmp_path) is None
    again = begin(tmp_path, known=first.runs[:1], signature="bleu|13a")
    read(again, 1.0, 2.0, 3.0)
    second = again.close()
    assert read_ledger(tmp_path) == (first, second)
    assert (tmp_path / "test" / "trial0003.test.hyp").read_text() == "ein\nzwei\n"
    assert (tmp_path / "test" / "trial0003.seed2.test.hyp").is_file()


@pytest.mark.parametrize("scored", [1, 2, 3])
def test_killed_between_two_scores_it_goes_on_and_reads_nothing_twice(
    scored: int, tmp_path: Path
) -> None:
    read(begin(tmp_path), *[31.5, 32.5, 27.0][:scored])
    opening = Opening.under_way(tmp_path)
    assert opening is not None
    assert opening.left == tuple((trial, seed) for trial, seed, _ in RUNS[scored:])
    read(opening, *[31.5, 32.5, 27.0][scored:])
    reading = opening.close()
    assert [run.value for run in reading.runs] == [31.5, 32.5, 27.0]
    assert read_ledger(tmp_path) == (reading,)


def test_killed_after_the_entry_it_is_not_entered_twice(tmp_path: Path) -> None:
    opening = begin(tmp_path)
    read(opening, 1.0, 2.0, 3.0)
    left_behind = (tmp_path / "opening.json").read_text()
    opening.close()
    (tmp_path / "opening.json").write_text(left_behind)
    assert Opening.under_way(tmp_path) is None
    assert len(read_ledger(tmp_path)) == 1
    assert not (tmp_path / "opening.json").exists()


def test_an_opening_that_has_read_nothing_is_begun_afresh(tmp_path: Path) -> None:
    begin(tmp_path)
    assert Opening.under_way(tmp_path) is None
    # The floor of a repeat that diverged is known before anything is read.
    begin(tmp_path, known=[TestScore(3, 1, 0.0, 0.0)])
    assert Opening.under_way(tmp_path) is None
    read(begin(tmp_path, known=[TestScore(3, 1, 0.0, 0.0)]), 31.5)
    for _ in range(2):
        opening = Opening.under_way(tmp_path)
        assert opening is not None
        opening.leave_out(opening.left[0])


def test_a_run_that_cannot_be_scored_is_left_out(tmp_path: Path) -> None:
    opening = begin(tmp_path)
    read(opening, 31.5)
    opening.leave_out((3, 2))
    opening.leave_out((11, 1))
    assert [run.value for run in opening.close().runs] == [31.5]


def test_a_ledger_from_before_there_were_finals_is_read(tmp_path: Path) -> None:
    entry = {"when": "2025", "trial": 3, "value": 31.5, "signature": "s", "data_digest": "dd"}
    (tmp_path / "ledger.json").write_text(
        json.dumps({"schema_version": 1, "readings": [entry]}, indent=1)
    )
    (reading,) = read_ledger(tmp_path)
    assert reading.selected == 3
    assert reading.runs == (TestScore(3, None, 31.5, None),)
    opening = begin(tmp_path)
    read(opening, 1.0, 2.0, 3.0)
    opening.close()
    assert read_ledger(tmp_path)[0] == reading


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"readings": [{"trial": 3}]}', '{"readings": 7}']
)
def test_a_damaged_ledger_is_not_taken_for_an_empty_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(LedgerError, match=r"ledger\.json: the record of test readings is damaged"):
        read_ledger(tmp_path)


def test_a_damaged_opening_is_told(tmp_path: Path) -> None:
    (tmp_path / "opening.json").write_text("{}")
    with pytest.raises(LedgerError, match=r"opening\.json: the record of an opening"):
        Opening.under_way(tmp_path)
