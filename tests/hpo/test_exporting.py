"""What an export leaves: a folder with a card, or one line and nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_curves

from core import registry
from core.errors import FolderTakenError, UserError
from core.sealed import write_sealed
from core.settings import RunConfig
from core.task import Placement
from hpo import exporting
from hpo.exporting import ExportError, export
from hpo.kept import KeptRun
from tests.hpo.made_records import reading, record

SIGNATURE = "nrefs:1|tok:13a"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KeptRun:
    """A kept run of the toy task, which exports to the form `plain`."""

    def write(task: Any, model: Any, folder: Path) -> str:
        (folder / "model.txt").write_text(f"{task} {model}")
        return 'load("FOLDER")\n'

    @contextmanager
    def opened(_run: KeptRun, _placement: Placement) -> Iterator[tuple[str, str]]:
        yield "task", "model"

    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")
    monkeypatch.setattr(toy_curves, "SPEC", replace(toy_curves.SPEC, exports={"plain": write}))
    monkeypatch.setattr(exporting, "opened", opened)
    folder = tmp_path / "run"
    folder.mkdir()
    config = RunConfig(
        task="toy",
        groups={"model": {"width": 3, "kind": "a|b"}},
        protocol={"eval_every": 2},
        data={"source": "/home/somebody/numbers"},
        data_digest="d",
        structure_seed=5,
        seed=7,
    )
    write_sealed(folder / "config.json", {"config": config.model_dump(mode="json")})
    outcome = {
        "state": "completed", "step": 4, "value": 2.5, "reason": "", "curve": [], "cost": {},
        "health": {"verdict": "healthy"}, "facts": {"device": "cpu toy"},
    }  # fmt: skip
    write_sealed(folder / "outcome.json", {"outcome": outcome})
    study = record(
        task="toy",
        name="curves",
        facts={"digests": {"data": "d1"}},
        readings=(reading(3, 12.345, SIGNATURE),),
    )
    return KeptRun(study, 3, None, 2.5, folder)


def test_a_card_says_what_the_model_is(run: KeptRun, tmp_path: Path) -> None:
    folder = export(run, "plain", tmp_path / "models" / "winner")
    assert (folder / "model.txt").read_text() == "task model"
    card = (folder / "README.md").read_text("utf-8")
    for said in (
        "# curves, trial 3\n",
        'load("winner")\n',
        "- validation: 2.50\n",
        f"- test: 12.35 (`{SIGNATURE}`)\n",
        "| `model.width` | 3 |\n",
        '| `model.kind` | "a\\|b" |\n',
        '| `source` | "numbers" |\n',
        '| `digest.data` | "d1" |\n',
        "| `seed` | 7 |\n",
        '| `trained.device` | "cpu toy" |\n',
    ):
        assert said in card, said
    assert "somebody" not in card


def test_the_test_score_of_another_run_is_not_told(run: KeptRun, tmp_path: Path) -> None:
    folder = export(replace(run, seed=2), "plain", tmp_path / "out")
    card = (folder / "README.md").read_text("utf-8")
    assert "# curves, trial 3, fresh seed 2\n" in card
    assert "- test" not in card


def test_an_unknown_form_is_refused_by_name(run: KeptRun, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"got 'plian'. Allowed: plain. Did you mean 'plain'\?"):
        export(run, "plian", tmp_path / "out")


def test_a_folder_with_something_in_it_is_left_as_it_is(run: KeptRun, tmp_path: Path) -> None:
    with pytest.raises(FolderTakenError, match="there is something here already"):
        export(run, "plain", run.folder)
    assert not (run.folder / "model.txt").exists()


@pytest.mark.parametrize("error", [UserError("a mistake"), OSError(13, "Permission denied")])
def test_what_fails_leaves_nothing(
    error: Exception, run: KeptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: Any, model: Any, folder: Path) -> str:
        (folder / "half").write_text("written")
        raise error

    monkeypatch.setattr(toy_curves, "SPEC", replace(toy_curves.SPEC, exports={"plain": fail}))
    with pytest.raises(UserError, match=r"a mistake|out: cannot be written .*denied"):
        export(run, "plain", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
