"""Configurations that cannot fit in memory are refused before they are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy_curves
from toy_bench import MakeStudy
from toy_runs import Watcher, run_study

from core.errors import SettingsError
from core.registry import find_task
from core.translation.settings import ModelSettings
from hpo import memory
from hpo.cli import main
from hpo.declarations import load_study
from hpo.events import TrialEnded, TrialStarted
from hpo.memory import MemoryCheck, parse_memory, slot_memory
from hpo.workers.memory import total_bytes

GIB = 2**30


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy task that needs as many GiB as it is wide, on slots that have 50."""

    def least(groups: Mapping[str, Any], protocol: Any, data: Any) -> int:
        return int(groups["model"].width) * GIB

    monkeypatch.setattr(toy_curves, "SPEC", replace(toy_curves.SPEC, least_memory=least))
    monkeypatch.setattr("hpo.phases.slot_memory", lambda devices: 50 * GIB)


def test_what_cannot_fit_is_pruned_with_a_constraint_and_no_worker_is_asked(
    heavy: None, make_study: MakeStudy, tmp_path: Path
) -> None:
    watch = Watcher()
    record = run_study(make_study(), tmp_path / "runs", watch, trials=7).record
    wide = [trial for trial in record.trials if trial.parameters["model.width"] > 50]
    slim = [trial for trial in record.trials if trial.parameters["model.width"] <= 50]
    assert wide
    assert {trial.state for trial in slim} == {"complete"}
    for trial in wide:
        width = trial.parameters["model.width"]
        assert trial.state == "pruned"
        assert (
            trial.reason == f"needs at least {width} GiB, a trial's share of the memory is 50 GiB"
        )
        stored = record.optuna_study.get_trials()[trial.number]
        assert stored.constraints == {"memory": 1.0}
        assert stored.user_attrs["outcome"] == "memory"
    assert {event.number for event in watch.of(TrialStarted)} == {one.number for one in slim}
    assert len(watch.of(TrialEnded)) == 7


def test_a_start_that_cannot_fit_is_told_before_anything_is_tried(
    heavy: None, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(rest='[[enqueue]]\n"model.width" = 97\n"finetune.rate" = 0.01\n')
    with pytest.raises(SettingsError, match="the start configuration needs at least 97 GiB"):
        run_study(study, tmp_path / "runs")


@pytest.mark.usefixtures("heavy")
def test_plan_and_validate_say_what_of_the_space_cannot_fit(
    make_study: MakeStudy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_study()
    monkeypatch.setattr(memory, "slot_memory", lambda devices: 50 * GIB)
    path = str(tmp_path / "declared" / "toy.toml")
    assert main(["validate", path]) == 0
    said = capsys.readouterr().out
    assert "of the search space cannot fit in memory: the largest needs at least 97 GiB" in said
    assert main(["plan", path, "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "Such trials will be refused." in capsys.readouterr().out
    monkeypatch.setattr(memory, "slot_memory", lambda devices: 97 * GIB)
    assert main(["validate", path]) == 0
    assert "memory" not in capsys.readouterr().out


def test_where_the_memory_is_not_known_nothing_is_refused(
    heavy: None, make_study: MakeStudy
) -> None:
    check = MemoryCheck(make_study(), None)
    assert check.misfit({"model.width": 97, "finetune.rate": 1e-3}) is None
    assert check.warning() is None


def test_amounts_are_told_apart(heavy: None, make_study: MakeStudy) -> None:
    check = MemoryCheck(make_study(), int(31.96 * GIB))
    refusal = check.refusal({"model.width": 32, "finetune.rate": 1e-3})
    assert refusal == "needs at least 32.00 GiB, a trial's share of the memory is 31.96 GiB"


def test_the_machines_memory_is_shared_by_its_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo, own = tmp_path / "proc/meminfo", tmp_path / "proc/self/cgroup"
    groups = tmp_path / "sys/fs/cgroup"
    own.parent.mkdir(parents=True)
    meminfo.write_text("MemTotal:       8388608 kB\nMemFree:   1 kB\n")
    own.write_text("0::/a/b\n")
    (groups / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(memory, "total_bytes", partial(total_bytes, tmp_path))
    assert slot_memory(["cpu"] * 3) == 8 * GIB // 3
    (groups / "a" / "b" / "memory.max").write_text("max\n")
    assert slot_memory(["cpu"]) == 8 * GIB
    (groups / "a" / "memory.max").write_text(f"{2 * GIB}\n")
    assert slot_memory(["cpu", "cpu"]) == GIB
    meminfo.unlink()
    own.unlink()
    assert slot_memory(["cpu"]) is None


def test_the_largest_gpu_counts_and_is_shared_by_the_trials_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_ask_nvidia", lambda: "8192\n81920\n")
    assert slot_memory(["gpu 0", "gpu 1"]) == 80 * GIB
    assert slot_memory(["gpu 0", "gpu 0", "gpu 1", "gpu 1"]) == 40 * GIB
    assert slot_memory(["gpu 0", "node-3 gpu 0"]) is None
    monkeypatch.setattr(memory, "_ask_nvidia", lambda: "[N/A]\n")
    assert slot_memory(["gpu 0"]) is None
    assert parse_memory("") == []


def test_translations_bound_holds_for_a_model_that_is_counted_by_hand() -> None:
    spec = find_task("translation")
    assert spec.least_memory is not None
    groups = {"model": ModelSettings(d_model=8, num_heads=2, num_layers=3, d_ff=16)}
    protocol = spec.protocol(vocab_size=101, batch_size=7, precision="fp32")
    weights = 101 * 8 + 3 * (12 * 64 + 4 * 8 * 16)
    activations = 7 * 8 * 3 * (22 * 8 + 2 * 16) * 4
    assert spec.least_memory(groups, protocol, spec.data()) == 12 * weights + max(
        activations, 4 * weights
    )
    # Of a folder's corpus neither the sentences' length nor the number of pairs is known.
    elsewhere = spec.least_memory(groups, protocol, spec.data(source="./corpora"))
    assert elsewhere == 16 * weights


@pytest.mark.parametrize("name", ["quickstart", "depth_sweep", "league", "finetune_sweep"])
def test_no_shipped_study_is_refused_anything_on_a_laptop(name: str) -> None:
    assert MemoryCheck(load_study(name), 8 * GIB).warning() is None
