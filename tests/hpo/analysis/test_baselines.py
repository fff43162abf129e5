"""Classical references beside the trials: in words, as a table, as a section."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from made_study import made_study

from core.task import Baseline
from hpo.analysis.baselines import baseline_sentences
from hpo.analysis.baselines_section import baselines_table
from hpo.analysis.sections import build_sections
from hpo.records import StudyRecord

REFERENCE = Baseline("memory polynomial", 1.5, 238, {"evm_db": -33.0})


def with_reference(folder: Path) -> StudyRecord:
    record = made_study(folder)
    return dataclasses.replace(
        record, facts={**record.facts, "baselines": [dataclasses.asdict(REFERENCE)]}
    )


def test_the_best_trial_is_compared_with_the_reference(tmp_path: Path) -> None:
    record = with_reference(tmp_path)
    assert record.best is not None
    assert record.best.value is not None
    (line,) = baseline_sentences(record)
    assert line.startswith("memory polynomial: 1.50 BLEU, 238 parameters; the best trial is ")
    assert f"{record.best.value - 1.5:.2f} better." in line


def test_references_come_first_then_trials_from_the_best_on(tmp_path: Path) -> None:
    record = with_reference(tmp_path)
    table = baselines_table(record)
    assert list(table.columns) == ["name", "value", "num_parameters", "evm_db"]
    assert table.iloc[0].tolist() == ["memory polynomial", 1.5, 238, -33.0]
    assert record.best is not None
    assert table.iloc[1]["name"] == f"trial {record.best.number}"
    assert table["value"][1:].tolist() == sorted(table["value"][1:], reverse=True)


def test_the_section_stands_where_there_are_references(tmp_path: Path) -> None:
    titles = [one.title for one in build_sections(with_reference(tmp_path))]
    assert "Baselines" in titles
    assert "Baselines" not in [one.title for one in build_sections(made_study(tmp_path / "no"))]
