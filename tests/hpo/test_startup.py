"""What a command loads, for a command is as quick to answer as what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_bench import write_study
from toy_runs import run_study

from core import registry
from hpo.declarations import load_study

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
from core import registry
from hpo.__main__ import main
registry._MODULES["toy"] = "toy_curves"
try:
    code = main()
except SystemExit as end:
    code = end.code or 0
print("exit", code, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""

ALWAYS = {"torch", "datasets", "tokenizers", "sacrebleu", "plotly", "pandas", "pyarrow", "ray"}
"""What no command here needs."""
SCIENCE = {"scipy", "joblib", "optuna_dashboard"}
STORAGE = {"optuna", "sqlalchemy", "alembic", "numpy"}
"""What opening a study takes."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with the study `toy` in it."""
    folder = tmp_path_factory.mktemp("startup")
    write_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._MODULES, "toy", "toy_curves")
        study = load_study(str(folder / "toy.toml"), overrides=["pruner.name=none"])
        run_study(study, folder / "runs", trials=1)
    return folder / "runs"


@pytest.mark.parametrize(
    ("command", "code", "unwanted"),
    [
        ("--help", 0, {*STORAGE, *SCIENCE, "pydantic", "rich"}),
        ("--version", 0, {*STORAGE, *SCIENCE, "pydantic", "rich"}),
        ("run --help", 0, {*STORAGE, *SCIENCE, "pydantic", "rich"}),
        ("stdy", 2, {*STORAGE, *SCIENCE, "pydantic"}),
        ("validate", 0, {*STORAGE, *SCIENCE}),
        ("schema study", 0, {*STORAGE, *SCIENCE}),
        ("studies --runs-dir RUNS", 0, {*SCIENCE, "alembic"}),
        ("show toy --runs-dir RUNS", 0, {*SCIENCE, "alembic"}),
        ("translate toy Hallo --runs-dir RUNS", 2, SCIENCE),
        ("export none --format x y --runs-dir RUNS", 2, SCIENCE),
        ("status toy --runs-dir RUNS", 0, {*SCIENCE, "alembic"}),
        ("show toy --json --runs-dir RUNS", 0, {*SCIENCE, "alembic"}),
        ("completion bash", 0, {*STORAGE, *SCIENCE, "pydantic"}),
        ("new study league", 2, {*STORAGE, *SCIENCE}),
        ("stop toy --runs-dir RUNS", 0, {*SCIENCE, "alembic"}),
        ("leaderboard --runs-dir RUNS", 0, {*SCIENCE, "alembic"}),
    ],
)
def test_a_command_loads_no_more_than_it_needs(
    command: str, code: int, unwanted: set[str], runs: Path
) -> None:
    words = [str(runs) if word == "RUNS" else word for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    said, ended, *loaded = done.stderr.splitlines()[-1].split()
    assert (said, ended) == ("exit", str(code)), done.stderr
    assert not (unwanted | ALWAYS) & set(loaded)
