"""The leaderboard, from records made by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import Page

from core.task import Metric
from hpo.analysis.leaderboard import (
    EVIDENCE,
    Apart,
    Leaderboard,
    LeaderboardError,
    rank_studies,
)
from hpo.analysis.leaderboard_page import write_leaderboard
from hpo.analysis.leaderboard_tables import differing_lines, tables_of
from hpo.protocol import ProtocolLock
from hpo.records import StudyRecord, TestReading, TestScore
from tests.hpo.made_records import BLEU, record, trial

SIGNATURE = "nrefs:1|case:mixed"
NMSE = Metric("NMSE", "dB", "minimize", 0.0)


def lock(**protocol: Any) -> ProtocolLock:
    return ProtocolLock(
        {
            "task": "translation",
            "protocol": {"max_len": 64, "finetune_steps": 500, **protocol},
            "digests": {"data": "d" * 64},
            "steps": {"finetune": 500},
            "signature": SIGNATURE,
        }
    )


def reading(selected: int, *runs: TestScore, **more: Any) -> TestReading:
    given = {"when": "2026", "signature": SIGNATURE, "data_digest": "d" * 64} | more
    return TestReading(selected=selected, runs=runs, **given)


def run(value: float, number: int = 0, seed: int | None = None) -> TestScore:
    return TestScore(number, seed, value, None)


def study(name: str, *values: float, **more: Any) -> StudyRecord:
    trials = [trial(i, value=value, cost={"finetune_s": 7.0}) for i, value in enumerate(values)]
    return record(*trials, **({"name": name, "lock": lock()} | more))


def order(board: Leaderboard) -> list[tuple[str, int | None, str | None]]:
    """Every ranked study of all groups: name, rank, what it is ranked by."""
    return [(one.study, one.rank, one.ranked_by) for g in board.groups for one in g.entries]


def fresh(name: str, *values: float, selected: int = 0, **more: Any) -> StudyRecord:
    """A study whose finals were read: each value on a fresh seed, and the search's run at 99."""
    runs = [run(value, selected, seed) for seed, value in enumerate(values, 1)]
    return study(name, 50.0, readings=(reading(selected, run(99.0, selected), *runs),), **more)


def test_each_kind_of_evidence_has_ranks_of_its_own() -> None:
    board = rank_studies(
        [
            study("lucky", 60.0),
            study("luckier", 61.0),
            study("read", 20.0, readings=(reading(0, run(40.0)),)),
            fresh("fresh_b", 29.0, 31.0),
            fresh("fresh_a", 30.0, 33.0),
            study("empty"),
        ]
    )
    assert order(board) == [
        ("fresh_a", 1, "clean_test"),
        ("fresh_b", 2, "clean_test"),
        ("read", 1, "test"),
        ("luckier", 1, "validation"),
        ("lucky", 2, "validation"),
        ("empty", None, None),
    ]


def test_the_clean_score_is_the_mean_over_fresh_seeds_of_the_selected_alone() -> None:
    runs = (run(40.0, 3), run(30.0, 3, 1), run(31.0, 3, 2), run(35.0, 3, 3), run(45.0, 5, 1))
    board = rank_studies([study("one", 1.0, readings=(reading(3, *runs),))])
    (entry,) = board.groups[0].entries
    clean = entry.scores["clean_test"]
    assert (clean.value, clean.n, clean.trial) == (32.0, 3, 3)
    # t at 97.5 percent with 2 degrees of freedom is 4.30265; the standard deviation is sqrt(7).
    assert clean.half_width == pytest.approx(4.30265 * math.sqrt(7 / 3), abs=1e-4)
    assert entry.scores["test"].value == 40.0
    assert entry.final is not None
    assert (entry.final.value, entry.final.trial) == (45.0, 5)
    (table,) = tables_of(board.groups[0])
    assert dict(zip(table.heads, table.rows[0], strict=True)) == {
        "rank": "1",
        "study": "one",
        "clean test BLEU": "32.00 ± 6.57 (n=3)",
        "validation BLEU": "1.00",
        "FINAL_TEST_BLEU": "45.00",
        "trials": "1/5",
        "time of trials": "7.0 s",
        "device": "–",
    }


def test_a_single_fresh_seed_tells_no_spread_and_is_not_ranked_by() -> None:
    assert order(rank_studies([fresh("one", 30.0)])) == [("one", 1, "test")]


def test_lower_is_better_where_the_metric_says_so() -> None:
    board = rank_studies(
        [study("worse", -20.0, -25.0, metric=NMSE), study("better", -31.0, metric=NMSE)]
    )
    assert order(board) == [("better", 1, "validation"), ("worse", 2, "validation")]
    assert "lower is better" in tables_of(board.groups[0])[0].title


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.sampled_from([NMSE, BLEU]))
def test_ranks_count_who_is_better(values: list[int], metric: Metric) -> None:
    """A rank is one more than the number of better studies, whatever the order of reading."""
    records = [study(f"s{i}", float(v), metric=metric) for i, v in enumerate(values)]
    entries = rank_studies(reversed(records)).groups[0].entries
    assert [entry.rank for entry in entries] == sorted(entry.rank or 0 for entry in entries)
    for entry in entries:
        own = entry.scores["validation"].value
        better = sum(metric.is_better(float(value), own) for value in values)
        assert entry.rank == 1 + better


def test_protocols_stand_apart_with_the_keys_that_differ() -> None:
    other = lock(max_len=32, batch_size=128)
    records = [
        study("a", 9.0, lock=other),
        study("b", 1.0),
        study("c", 2.0),
        study("d", 3.0, lock=lock(finetune_steps=300)),
    ]
    board = rank_studies(records)
    assert [[e.study for e in group.entries] for group in board.groups] == [
        ["c", "b"],
        ["a"],
        ["d"],
    ]
    assert [entry.rank for group in board.groups for entry in group.entries] == [1, 2, 1, 1]
    assert board.groups[0].differing == ()
    assert differing_lines(board.groups[1]) == [
        "protocol.batch_size: 128, and unset in the first",
        "protocol.max_len: 32, and 64 in the first",
    ]
    asked = rank_studies(records, first="d")
    assert [group.entries[0].study for group in asked.groups] == ["d", "c", "a"]
    assert differing_lines(asked.groups[1]) == [
        "protocol.finetune_steps: 500, and 300 in the first"
    ]


def test_digests_are_told_short() -> None:
    other = ProtocolLock({**lock().content, "digests": {"data": "e" * 64}})
    board = rank_studies([study("a", 1.0), study("b", 2.0), study("c", 3.0, lock=other)])
    assert differing_lines(board.groups[1]) == [
        f"digests.data: {'e' * 12}, and {'d' * 12} in the first"
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lock": None}, "begun before protocols were locked"),
        (
            {"readings": (reading(0, run(1.0), signature="nrefs:2"),)},
            r"its test score was computed as nrefs:2, and its protocol says nrefs:1\|case:mixed",
        ),
        ({"readings": (reading(0, run(1.0), data_digest="e" * 64),)}, "on data other than"),
    ],
)
def test_what_is_not_comparable_is_left_out_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    board = rank_studies([study("odd", 1.0, **changes)], [Apart("damaged", "cannot be read")])
    assert board.groups == ()
    assert [one.study for one in board.apart] == ["damaged", "odd"]
    assert re.search(reason, board.apart[1].reason)
    with pytest.raises(LeaderboardError, match=f"study 'odd': it is not ranked: .*{reason}"):
        rank_studies([study("odd", 1.0, **changes)], first="odd")


def test_a_study_that_there_is_not_is_told_with_the_nearest() -> None:
    with pytest.raises(LeaderboardError, match=r"no study 'leage' .* Did you mean 'league'\?"):
        rank_studies([study("league", 1.0)], first="leage")


def test_scores_that_are_no_numbers_are_no_evidence() -> None:
    nan = float("nan")
    board = rank_studies(
        [study("a", readings=(reading(0, run(nan), run(nan, 0, 1), run(nan, 0, 2)),))]
    )
    assert order(board) == [("a", None, None)]
    json.dumps(board.as_json(), allow_nan=False)


def test_the_json_holds_what_is_documented() -> None:
    device = {"device": "cpu made"}
    one = record(
        trial(0, value=30.0, cost={"finetune_s": 7.0, "pretrain_s": 4.0}, **device),
        trial(1, "pruned", 3.0, cost={"finetune_s": 2.0}, **device),
        name="one",
        lock=lock(),
        readings=(reading(0, run(29.0)), reading(0, run(29.0), run(28.0, 0, 1), run(30.0, 0, 2))),
    )
    told = rank_studies([one, study("two", 1.0, lock=lock(max_len=32))]).as_json()
    assert told == json.loads(json.dumps(told))
    assert told["schema_version"] == 1
    first, second = told["groups"]
    assert first["protocol"] == lock().as_json()
    assert first["metric"] == {"name": "BLEU", "unit": "", "direction": "maximize"}
    assert second["differs_from_first"] == [{"key": "protocol.max_len", "first": 64, "here": 32}]
    (entry,) = first["entries"]
    half_width = entry["clean_test"].pop("half_width")
    assert half_width == pytest.approx(
        12.7062, abs=1e-3
    )  # t with one degree of freedom, s/sqrt(n)=1
    assert entry == {
        "study": "one",
        "rank": 1,
        "ranked_by": "clean_test",
        "clean_test": {"value": 29.0, "n": 2, "trial": 0},
        "test": {"value": 29.0, "half_width": None, "n": 1, "trial": 0},
        "validation": {"value": 30.0, "half_width": None, "n": 1, "trial": 0},
        "final_test": {"value": 30.0, "half_width": None, "n": 1, "trial": 0},
        "selection_bias": 1.0,
        "openings": 2,
        "trials": {"finished": 2, "complete": 1, "total": 5},
        "trials_s": 13.0,
        "elapsed_s": 83.0,
        "devices": {"cpu made": 2},
    }
    assert set(EVIDENCE) < set(entry)


def test_a_test_set_read_again_shows() -> None:
    twice = study("a", 1.0, readings=(reading(0, run(29.0)), reading(0, run(30.0))))
    (table,) = tables_of(rank_studies([twice]).groups[0])
    assert "30.00 (read 2 times)" in table.rows[0]


def test_the_page_leads_to_the_reports_and_escapes_what_it_shows(tmp_path: Path) -> None:
    evil = '</script><img src=x onerror="alert(1)">'
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "report.html").write_text("x")
    board = rank_studies(
        [study("a", 1.0), study(evil, 2.0), study("c", 1.0, lock=lock(max_len=32))],
        [Apart("bad", evil)],
    )
    assert write_leaderboard(board, tmp_path) == tmp_path / "leaderboard.html"
    source = (tmp_path / "leaderboard.html").read_text()
    page = Page(source)
    assert len(source) < 100_000, "no plotting library where there are no figures"
    assert not [name for name, _ in page.elements if name in ("img", "link")]
    anchors = [a["href"] for name, a in page.elements if name == "a"]
    assert "a/report.html" in anchors
    assert not [href for href in anchors if "http" in href]
    sections = [a["id"] for name, a in page.elements if name == "section"]
    assert sections == [*(f"protocol-{group.lock.short}" for group in board.groups), "apart"]
    assert "protocol.max_len: 32, and 64 in the first" in page.text()
    assert evil in page.text()
