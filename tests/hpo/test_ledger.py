from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.task import Scores
from hpo.ledger import LedgerError, read_ledger, read_test_set


def test_every_reading_is_remembered(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == ()
    first = read_test_set(tmp_path, 3, "dd", lambda: Scores(31.5, {}, "bleu|13a"))
    second = read_test_set(
        tmp_path, 11, "dd", lambda: Scores(32.5, {}, "bleu|13a", {"hypotheses.txt": "ein\nzwei\n"})
    )
    assert (first.trial, first.value, first.signature, first.data_digest) == (
        3,
        31.5,
        "bleu|13a",
        "dd",
    )
    assert first.when.endswith("+00:00")
    assert read_ledger(tmp_path) == (first, second)
    assert json.loads((tmp_path / "ledger.json").read_text())["schema_version"] == 1
    assert (tmp_path / "test" / "trial0011.hypotheses.txt").read_text() == "ein\nzwei\n"


def test_a_failed_reading_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        read_test_set(tmp_path, 3, "dd", lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    assert read_ledger(tmp_path) == ()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"readings": [{"trial": 3}]}', '{"readings": 7}']
)
def test_a_damaged_ledger_is_not_taken_for_an_empty_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(LedgerError, match=r"ledger\.json: the record of test readings is damaged"):
        read_ledger(tmp_path)
    with pytest.raises(LedgerError):
        read_test_set(tmp_path, 3, "dd", lambda: Scores(1.0))
