"""The example of the Python API runs as its first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hpo
from core.errors import UserError
from tests.end_to_end.command import ROOT, environment

EXAMPLE = ROOT / "examples" / "search_from_python.py"


def run_example(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), "found"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_example_runs_and_run_again_only_prints_the_result(tmp_path: Path) -> None:
    first = run_example(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "trial 1 is complete" in first.stdout
    assert "model.num_layers = " in first.stdout
    assert "FINAL_TEST_BLEU = " in first.stdout
    assert (tmp_path / "found" / "from_python").is_dir()
    again = run_example(tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout[first.stdout.index("best configuration") :]


def test_importing_hpo_imports_nothing_heavy() -> None:
    program = "import hpo, sys; print({'torch', 'optuna', 'pandas', 'rich'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_overrides_are_python_values() -> None:
    study = hpo.load_study(
        "depth_sweep",
        overrides={"sampler.name": "random", "data.pocket.seed": 13, "description": "ä\n\"'\\"},
        data="pocket",
        name="mine",
        seed=17,
    )
    assert (study.sampler.name, study.name, study.seed) == ("random", "mine", 17)
    assert study.description == "ä\n\"'\\"
    assert study.data.model_dump()["pocket"]["seed"] == 13


def test_a_mistake_is_a_user_error() -> None:
    with pytest.raises(UserError, match="Did you mean 'depth_sweep'"):
        hpo.load_study("depth_swep")
