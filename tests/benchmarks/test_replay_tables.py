from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_tables import SPACE, config, make_table, write_table
from optuna.distributions import CategoricalDistribution, IntDistribution

from benchmarks.replay.rows import regret_of
from benchmarks.replay.tables import load_table, load_tables
from core.errors import DataError


def test_numbers_are_ordinal_and_texts_categorical(tmp_path: Path) -> None:
    table = make_table(tmp_path, config(30, [1.0], kind="b"), config(10, [2.0]))
    assert table.distributions == {
        "x": IntDistribution(0, 4),
        "kind": CategoricalDistribution(("a", "b")),
    }
    assert [run.drawn for run in table.runs] == [{"x": 2, "kind": "b"}, {"x": 0, "kind": "a"}]
    drawn = table.draw(np.random.default_rng(1), {"kind": "b"})
    assert drawn["kind"] == "b"
    assert drawn["x"] in range(5)


def test_a_category_weighs_as_much_as_an_ordinal_from_end_to_end(tmp_path: Path) -> None:
    table = make_table(tmp_path, config(50, [1.0]), config(10, [2.0], kind="b"), config(40, [3.0]))
    generator = np.random.default_rng(1)
    assert table.nearest({"x": 0, "kind": "a"}, [0, 1, 2], generator) == 2  # 0.75 against 1
    tied = {table.nearest({"x": 0, "kind": "a"}, [0, 1], generator) for _ in range(20)}
    assert tied == {0, 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.tuples(st.sampled_from(SPACE["x"]), st.sampled_from("ab")), min_size=3),
    st.integers(0, 99),
)
def test_a_free_configuration_is_nearest_to_itself(
    tmp_path: Path, chosen: set[tuple[int, str]], seed: int
) -> None:
    configs = [config(x, [float(n)], kind=kind) for n, (x, kind) in enumerate(sorted(chosen))]
    table = make_table(tmp_path, *configs)
    generator = np.random.default_rng(seed)
    for place, run in enumerate(table.runs):
        assert table.nearest(run.drawn, range(len(configs)), generator) == place


def test_regret_is_measured_from_the_median_to_the_best(tmp_path: Path) -> None:
    table = make_table(
        tmp_path, *(config(10 * n, [0.0, value]) for n, value in ((1, 1.0), (2, 5.0), (3, 9.0)))
    )
    assert [regret_of(table, value) for value in (9.0, 7.0, 5.0)] == [0.0, 0.5, 1.0]
    assert regret_of(table, None) == 2.0  # as of the worst
    assert regret_of(table, 0.0) == 2.25
    assert table.mean_cost == 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": 11}, "x = 11 of a configuration is not in its space"),
        ({"bleu": [1.0, 2.0]}, "bleu and ppl of a configuration are no two curves"),
        ({"bleu": [], "ppl": []}, "bleu and ppl of a configuration are no two curves"),
        ({"bleu": ["x"]}, "is no table"),
        ({"bleu": [float("nan")]}, "a curve holds a value that is not finite"),
        ({"ppl": [0.0]}, "a curve holds a value that is not finite"),
        ({"cost": 0}, "cost must be a number above 0, got 0.0"),
        ({"cost": [1.0]}, "is no table"),
    ],
)
def test_a_wrong_configuration_is_told(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_table(tmp_path / "made.json", [config(10, [3.0]) | changes])
    with pytest.raises(DataError, match=message) as caught:
        load_table(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"x": []}, "space.x is not a list of values"),
        ({"x": [10, "b"]}, "space.x holds neither numbers only nor texts only"),
        ({"x": [True, False]}, "space.x holds neither"),
        ({"x": [10], "y": [1]}, "lacks the field 'y'"),
        ({}, "no configurations or no space"),
        ([], "is no table"),
    ],
)
def test_a_wrong_space_is_told(space: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_table(write_table(tmp_path / "made.json", [config(10, [1.0])], space))


def test_equal_configurations_leave_no_regret(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no better than the median"):
        make_table(tmp_path, config(10, [1.0]), config(20, [1.0]))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"space": {}}', "\x00"])
def test_a_damaged_table_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text(text)
    with pytest.raises(DataError, match=r"made\.json: "):
        load_tables(tmp_path)


def test_the_real_tables(hpo_data: Path) -> None:
    found = {table.corpus: table for table in load_tables(hpo_data / "nmtlc")}
    assert {name: (len(one.runs), one.interval) for name, one in found.items()} == {
        "en-ja": (163, 9),
        "so-en": (604, 1),
        "zh-en": (113, 1),
    }
    assert found["en-ja"].grid.total_steps == 423
