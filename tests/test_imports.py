"""The arrows of imports: hpo -> core, a task folder -> the shared files of core, and no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLOTTING = {"plotly", "matplotlib", "seaborn", "bokeh", "altair"}
SEARCHING = {"optuna", "optuna_dashboard", "hpo"}

LIGHT = (
    "core.amplifier.settings",
    "core.amplifier.signals",
    "core.amplifier.spec",
    "core.errors",
    "core.registry",
    "core.settings",
    "core.speech.spec",
    "core.stage_entries",
    "core.task",
    "core.translation.corpus",
    "core.translation.settings",
    "core.translation.spec",
    "core.translation.tokenizer",
    "hpo",
    "hpo.cli",
    "hpo.costs",
    "hpo.declarations",
    "hpo.driver",
    "hpo.events",
    "hpo.experience",
    "hpo.records",
    "hpo.sampling",
    "hpo.showcase.contents",
    "hpo.showcase.observer",
    "hpo.sinks",
)
"""Modules that the driver and the quick commands live on: importing torch takes seconds."""


def _modules(package: str) -> dict[str, Path]:
    """The files of a package by dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert found, f"no module below {package}/"
    return found


def _imports(name: str, path: Path) -> Iterator[str]:
    """Every dotted name that a file imports, wherever in the file, also for type checking only."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]) if base else ".".join(above)
            # `from core import translation` names a module, `from core.task import Task` does not;
            # both forms are yielded and the rules look at prefixes.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


def _root(name: str) -> str:
    return name.partition(".")[0]


def _task_folder(name: str) -> str | None:
    """The task folder of core that a dotted name lies in; a task folder holds a `spec.py`."""
    parts = name.split(".")
    if parts[0] != "core" or len(parts) < 2:
        return None
    return parts[1] if (ROOT / "core" / parts[1] / "spec.py").is_file() else None


@pytest.mark.parametrize("name", _modules("core"))
def test_core_imports_neither_the_search_nor_plots(name: str) -> None:
    wrong = [
        imported
        for imported in _imports(name, _modules("core")[name])
        if _root(imported) in SEARCHING | PLOTTING
    ]
    assert not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize("name", _modules("core"))
def test_core_imports_no_task_folder_but_its_own(name: str) -> None:
    wrong = [
        imported
        for imported in _imports(name, _modules("core")[name])
        if _task_folder(imported) not in (None, _task_folder(name))
    ]
    assert not wrong, f"{name} imports {wrong}"


def test_the_rules_see_every_form_of_import(tmp_path: Path) -> None:
    source = tmp_path / "core" / "translation" / "model.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "import optuna.trial as t\n"
        "from core import translation\n"
        "from . import spec\n"
        "from ..speech.model import Model\n"
        "def late():\n"
        "    from hpo.driver import launch\n"
        "    import_module('plotly.graph_objects')\n",
        encoding="utf-8",
    )
    assert set(_imports("core.translation.model", source)) == {
        "optuna.trial",
        "core.translation",
        "core.translation.spec",
        "core.speech.model.Model",
        "hpo.driver.launch",
        "plotly.graph_objects",
    }
    assert _task_folder("core.translation.spec") == "translation"
    assert _task_folder("core.nn.attention") is None


def _loaded_by(modules: list[str], roots: set[str]) -> set[str]:
    """Which of `roots` are loaded once a fresh interpreter has imported `modules`."""
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(*sorted({roots!r} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_all_of_core_loads_neither_the_search_nor_plots() -> None:
    assert _loaded_by(list(_modules("core")), SEARCHING | PLOTTING) == set()


def test_light_modules_load_no_torch() -> None:
    assert _loaded_by(list(LIGHT), {"torch"}) == set()


def test_declarations_load_no_optuna() -> None:
    assert _loaded_by(["hpo", "hpo.declarations"], {"optuna", "torch"}) == set()
