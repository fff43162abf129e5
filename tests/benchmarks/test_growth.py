"""What is fitted, drawn and added up of measurements; the measuring itself is not tested."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.growth.chart import draw
from benchmarks.growth.estimate import estimate
from benchmarks.growth.series import Series
from benchmarks.harness_share import warm_parts
from hpo.records import TrialRecord
from hpo.spans import Span
from tests.hpo.made_records import record, trial

BEGIN = datetime(2026, 11, 21, 9, tzinfo=UTC)


def _law(name: str, exponent: float) -> Series:
    sizes = (10, 100, 1_000)
    return Series("trials", name, "s", [(size, 0.003 * size**exponent) for size in sizes])


def test_a_power_law_is_found() -> None:
    assert _law("ask", 1.3).fit() == pytest.approx((1.3, 0.003))
    series = Series("trials", "resume", "s", [(1, 5.0), (10, 5.0), (100, 50.0)])
    assert series.fit(2)[0] == pytest.approx(1)
    assert 0 < series.fit()[0] < 1


def test_figures_of_nothing_have_no_law() -> None:
    assert not Series("pairs", "memory", "MiB", [(1, 0.0), (10, 2.0)]).is_fitted
    assert not Series("pairs", "memory", "MiB", [(1, 3.0)]).is_fitted


def test_a_chart_names_its_series_and_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "chart.svg"
    draw("Time & memory", [_law("ask", 0.9), _law("tell <s>", 0.1)], path)
    texts = [element.text for element in ElementTree.parse(path).iter() if element.text]
    assert {"Time & memory", "ask (s)", "tell <s> (s)", "exponent 0.90"} <= set(texts)
    assert path.stat().st_size < 20_000


def test_the_estimate_adds_up_a_trials_calls() -> None:
    points = [(1_000.0, 0.05)]
    calls = [Series("trials", name, "s", points) for name in ("ask", "report", "tell")]
    row = list(estimate({"trials": calls}))[-1]
    assert row == "| 1,000 | 500 ms | 35.6% | 180 |"


def _trial(number: int, place: str, begun_s: float, ended_s: float) -> TrialRecord:
    moments = (BEGIN + timedelta(seconds=second) for second in (begun_s, ended_s))
    cost = {"prepare_s": 0.5, "finetune_s": 4.0, "evaluate_s": 2.0, "checkpoint_s": 0.25}
    return trial(number, spans=(Span(number, place, *moments, "complete"),), cost=cost)


def test_parts_of_warm_trials_add_up_to_the_slots_time() -> None:
    trials = [_trial(0, "a", 0, 11), _trial(1, "b", 0, 13), _trial(2, "a", 11.5, 19)]
    parts = warm_parts(record(*trials))
    assert list(parts) == [2]
    assert parts[2]["steps"] == 4
    assert parts[2]["worker to driver and back"] == pytest.approx(0.75)
    assert parts[2]["gap before it"] == pytest.approx(0.5)
    assert sum(parts[2].values()) == pytest.approx(19 - 11)
