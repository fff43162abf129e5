"""Tasks by name: those that ship, and `package.module:Task` of anyone's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.registry import all_tasks, find_task

OWN = """
from dataclasses import replace
from core.registry import find_task
Task = replace(find_task("translation"), name="whatever")
Lame = replace(Task, structure_group="body")
number = 7
class Net: pass
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The search path and the modules are put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for name in sys.modules.keys() - known:
        if name.startswith("own"):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ownpack").mkdir()
    (tmp_path / "ownpack" / "__init__.py").touch()
    (tmp_path / "ownpack" / "task.py").write_text(OWN)
    (tmp_path / "ownbad.py").write_text("x = 1\nimport no_such_thing\n")
    (tmp_path / "ownwrong.py").write_text("def f(:\n")
    (tmp_path / "ownnone.py").write_text("1 / 0\n")
    (tmp_path / "ownempty.py").touch()
    return tmp_path


def test_every_task_that_ships_is_found_under_its_name() -> None:
    for spec in all_tasks():
        assert find_task(spec.name) == spec
        assert spec.structure_group in spec.groups


def test_a_task_of_ones_own_is_found_beside_and_goes_by_the_name_it_is_found_by(
    folder: Path,
) -> None:
    spec = find_task("ownpack.task:Task", beside=[folder])
    assert spec.name == "ownpack.task:Task"
    assert sys.path[-1] == str(folder)
    assert find_task("ownpack.task:Task") == spec  # as a worker does, which inherits the path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("translating", "unknown task, got 'translating'.*package.module:Task.*'translation'"),
        ("own-pack:Task", "names no task"),
        ("a:b:c", "names no task"),
        ("owngone:Task", "'owngone': there is no module 'owngone'.*PYTHONPATH"),
        ("ownpack.gone:Task", "there is no module 'ownpack.gone'"),
        ("ownbad:Task", r"ModuleNotFoundError: .*'no_such_thing' \(.*ownbad.py, line 2\)"),
        ("ownwrong:Task", r"SyntaxError: .*ownwrong.py, line 1\)"),
        ("ownnone:Task", r"ZeroDivisionError: .*ownnone.py, line 1\)"),
        ("ownpack.task:Tusk", r"\(.*task.py\) has no 'Tusk'.*Allowed: Task"),
        ("ownempty:Task", "Allowed: the name of a TaskSpec, and it has none"),
        ("ownpack.task:number", "is no TaskSpec, got 'int'"),
        ("ownpack.task:Net", "is no TaskSpec, got 'Net'"),
        ("ownpack.task:Lame", "none of its groups, got 'body'. Allowed: model, finetune"),
    ],
)
def test_mistakes_are_told_in_one_line(folder: Path, name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        find_task(name, beside=[folder])
    assert "\n" not in str(caught.value)
