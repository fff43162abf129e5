"""`hpo compare`: trials side by side, and what a paired bootstrap over sentences tells of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from core.sealed import write_sealed
from hpo.as_json import document
from hpo.comparing import Comparison, ComparisonError, compare, comparison_page
from hpo.output import Printer
from hpo.protocol import ProtocolLock
from hpo.records import StudyRecord, TrialRecord
from tests.hpo.made_records import record, trial

SENTENCE = "ein kleiner hund läuft schnell über die grüne wiese am see"
WORDS = SENTENCE.split()
REFERENCES = [" ".join(WORDS[i % 7 :] + WORDS[: i % 5]) for i in range(53)]
WORSE = [" ".join([*line.split()[:4], "nichts"]) for line in REFERENCES]


def left(
    folder: Path, number: int, hypotheses: list[str], step: int = 40, **more: Any
) -> TrialRecord:
    """A trial that left these translations, and the references where it came to its end."""
    place = folder / f"{number:04d}"
    (place / "artifacts").mkdir(parents=True)
    for name, lines in (("hyp", hypotheses), ("ref", more.pop("references", REFERENCES))):
        if name == "hyp" or step == 40:
            path = place / "artifacts" / f"step{step:06d}.validation.{name}"
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    state = "complete" if step == 40 else "pruned"
    curve = {one: 1.0 for one in (20, 40) if one <= step}
    return trial(number, state, **({"folder": place, "curve": curve} | more))


def never(name: str) -> StudyRecord:
    raise AssertionError(name)


def text_of(comparison: Comparison, width: int = 100) -> str:
    console = Printer()
    console.width = width
    console.file = io.StringIO()
    console.show(*comparison_page(comparison))
    return console.file.getvalue()


def test_trials_are_drawn_against_the_first(tmp_path: Path) -> None:
    study = record(
        left(tmp_path, 0, REFERENCES, value=100.0),
        left(tmp_path, 1, WORSE, value=20.0),
        left(tmp_path, 2, REFERENCES, value=100.0),
    )
    found = compare(study, ["2", "1", "0"], never)
    assert [one.trial.number for one in found.contenders] == [2, 1, 0]
    p_values = [one.drawn.p_value for one in found.contenders if one.drawn]
    assert p_values[0] is None
    assert p_values[1] is not None and p_values[1] < 0.01
    assert p_values[2] == 1.0
    text = text_of(found)
    assert "below trial 2: more than the luck of the sentences (p < 0.001)." in text
    assert "trial 0 and trial 2 translate all sentences alike." in text
    assert "another seed would score otherwise" in text
    assert found.differing["model.num_layers"] == (4, 3, 2)
    assert "The same in all: 1 setting." in text


def test_a_pruned_trial_is_drawn_with_the_references_of_others(tmp_path: Path) -> None:
    study = record(left(tmp_path, 0, REFERENCES), left(tmp_path, 1, WORSE, step=20))
    found = compare(study, ["1", "0"], never)
    assert not found.obstacle
    assert "trial 1 is pruned: its score is of step 20 of 60." in text_of(found)


def test_other_sentences_are_not_compared(tmp_path: Path) -> None:
    mine = record(left(tmp_path / "a", 0, REFERENCES), name="mine")
    theirs = record(left(tmp_path / "b", 0, WORSE, references=REFERENCES[::-1]), name="theirs")
    found = compare(mine, ["theirs"], {"theirs": theirs}.__getitem__)
    text = text_of(found)
    assert [one.name for one in found.contenders] == ["mine, trial 0", "theirs, trial 0"]
    assert "No sentences were drawn: their validation sets are not the same sentences." in text
    assert "against mine" not in text
    assert "no locked protocol" in text


def test_studies_of_other_protocols_say_in_what(tmp_path: Path) -> None:
    def lock(size: int) -> ProtocolLock:
        digests = {"data": "d"}
        content = {"task": "translation", "protocol": {"batch_size": size}, "digests": digests}
        return ProtocolLock({**content, "steps": {}, "signature": "s"})

    mine = record(left(tmp_path / "a", 0, REFERENCES), name="mine", lock=lock(16))
    theirs = record(left(tmp_path / "b", 0, WORSE), name="theirs", lock=lock(32))
    text = text_of(compare(mine, ["theirs"], {"theirs": theirs}.__getitem__))
    assert "not of their configurations alone: protocol.batch_size 16 and 32." in text
    assert "more than the luck of the sentences" in text


def test_without_translations_the_rest_is_shown(tmp_path: Path) -> None:
    study = record(trial(0, folder=tmp_path / "0"), trial(1, folder=tmp_path / "1"))
    text = text_of(compare(study, ["0", "1"], never))
    assert "No sentences were drawn: 0 left no translations of the validation set." in text
    assert "finetune.learning_rate" not in text
    assert "model.num_layers" in text


def test_whole_configurations_are_compared_where_they_are_kept(tmp_path: Path) -> None:
    for number in range(2):
        groups = {"model": {"num_layers": number, "d_ff": 64}}
        (tmp_path / str(number)).mkdir()
        write_sealed(tmp_path / str(number) / "config.json", {"config": {"groups": groups}})
    study = record(*(trial(number, folder=tmp_path / str(number)) for number in range(2)))
    found = compare(study, ["0", "1"], never)
    assert found.settings == {"model.num_layers": (0, 1), "model.d_ff": (64, 64)}
    assert found.differing == {"model.num_layers": (0, 1)}


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_is_wider_than_the_terminal_but_sentences(tmp_path: Path, width: int) -> None:
    study = record(*(left(tmp_path, number, WORSE) for number in range(4)))
    lines = text_of(compare(study, ["0", "1", "2", "3"], never), width).splitlines()
    assert all(len(line) <= width for line in lines if not line.endswith("."))


def test_as_json_nothing_is_nan(tmp_path: Path) -> None:
    bad = trial(1, "pruned", float("nan"), folder=tmp_path / "x", health={"grad_norm_max": 1e999})
    study = record(left(tmp_path, 0, REFERENCES), bad)
    told = json.loads(document(compare(study, ["0", "1"], never).as_json()))
    assert told["schema_version"] == 1
    assert [one["value"] for one in told["contenders"]] == [1.0, None]
    assert told["contenders"][1]["health"]["grad_norm_max"] is None
    assert told["obstacle"]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["0"], "there is nothing to compare it with, got 'trial 0'"),
        (["0", "0"], "there is nothing to compare it with"),
        (["0", "wide"], "either trials of one study are compared, or studies, got '0 wide'"),
        (["0", "7"], "depth_sweep: there is no trial 7. See `hpo show depth_sweep`."),
        (["depth_sweep"], "there is nothing to compare it with"),
        (["empty"], "empty: no trial is complete, so none can stand for the study"),
    ],
)
def test_mistakes_are_one_line(others: list[str], message: str) -> None:
    empty = record(trial(0, "pruned"), name="empty")
    with pytest.raises(ComparisonError, match=message) as info:
        compare(record(trial(0), trial(1)), others, {"empty": empty}.__getitem__)
    assert "\n" not in str(info.value)
