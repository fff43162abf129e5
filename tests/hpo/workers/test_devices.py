"""Which slots there are, and that a slot's child sees its device only. No GPU is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_work import MakeWork

from core.errors import SettingsError
from core.task import Verdict
from hpo.options import RunOptions
from hpo.slots import WorkerError, is_on_gpu
from hpo.workers.devices import local_places
from hpo.workers.local import local_slots

GPUS = ("GPU-aaa", "GPU-bbb", "MIG-ccc")


@pytest.mark.parametrize(
    ("asked", "gpus", "expected"),
    [
        ({}, (), ["cpu on None"]),
        ({"jobs": 2}, (), ["cpu 0 on None", "cpu 1 on None"]),
        ({"jobs": 1}, GPUS, ["cpu on None"]),
        ({}, GPUS, ["gpu 0 on GPU-aaa", "gpu 1 on GPU-bbb", "gpu 2 on MIG-ccc"]),
        ({"gpus": "all"}, GPUS[:1], ["gpu 0 on GPU-aaa"]),
        ({"gpus": (2, 0)}, GPUS, ["gpu 2 on MIG-ccc", "gpu 0 on GPU-aaa"]),
        (
            {"gpus": (0, 1), "trials_per_gpu": 2},
            GPUS,
            ["gpu 0 on GPU-aaa", "gpu 1 on GPU-bbb", "gpu 0 #2 on GPU-aaa", "gpu 1 #2 on GPU-bbb"],
        ),
    ],
)
def test_the_slots_that_options_ask_for(
    asked: dict[str, Any], gpus: tuple[str, ...], expected: list[str]
) -> None:
    places = local_places(RunOptions(**asked), gpus)
    assert [f"{place.name} on {place.gpu}" for place in places] == expected
    assert all(place.name.startswith(place.device) for place in places)
    assert {is_on_gpu(place.device) for place in places} == {"gpu" in expected[0]}


@pytest.mark.parametrize(
    ("asked", "gpus", "line"),
    [
        ({"jobs": 0}, (), "--jobs: must be at least 1, got 0."),
        ({"trials_per_gpu": 0}, GPUS, "--trials-per-gpu: must be at least 1, got 0."),
        ({"gpus": "all"}, (), "--gpus: no GPU can be seen here"),
        ({"trials_per_gpu": 2}, (), "--trials-per-gpu: no GPU can be seen here"),
        ({"gpus": (0, 3)}, GPUS, "--gpus: there is no such GPU, got 3. Allowed: all, or 0 to 2"),
        ({"gpus": (-1,)}, GPUS, "--gpus: there is no such GPU, got -1."),
        ({"gpus": (1, 1)}, GPUS, "--gpus: each GPU is to be named once, got '1,1'."),
        ({"gpus": ()}, GPUS, "--gpus: each GPU is to be named once, got ''."),
        ({"jobs": 2, "gpus": "all"}, GPUS, "--jobs is for trials on the CPU and does not go with"),
        ({"jobs": 2, "trials_per_gpu": 2}, GPUS, "--jobs is for trials on the CPU and does not"),
    ],
)
def test_what_there_is_not_or_what_contradicts_is_refused(
    asked: dict[str, Any], gpus: tuple[str, ...], line: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        local_places(RunOptions(**asked), gpus)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_gpus_that_stay_idle_are_told() -> None:
    said: list[str] = []
    local_places(RunOptions(jobs=2), GPUS, say=said.append)
    assert said == ["jobs are for the CPU: 3 GPUs stay idle, which --gpus all would use"]
    local_places(RunOptions(), (), say=said.append)
    assert len(said) == 1


def test_a_child_sees_its_device_only_and_so_does_the_one_after_it(
    make_work: MakeWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaa,GPU-bbb")
    monkeypatch.setattr("hpo.workers.local.threads_per_slot", lambda slots: 10 * slots)
    slots = local_slots(RunOptions(gpus=(1, 0)), tmp_path / "cache", module="toy_troubles")
    assert [slot.name for slot in slots] == ["gpu 1", "gpu 0"]
    try:
        for number, (slot, gpu) in enumerate(zip(slots, ("GPU-bbb", "GPU-aaa"), strict=True)):
            with pytest.raises(WorkerError):
                slot.run(make_work("exit", number), lambda _: Verdict.CONTINUE)
            facts = slot.run(make_work("exit", number), lambda _: Verdict.CONTINUE).facts
            assert (facts["gpu"], facts["device"], facts["threads"]) == (gpu, "cuda", 20)
    finally:
        for slot in slots:
            slot.close()


def test_a_child_on_the_cpu_sees_no_gpu(
    make_work: MakeWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaa,GPU-bbb")
    (slot,) = local_slots(RunOptions(jobs=1), tmp_path / "cache", module="toy_troubles")
    facts = slot.run(make_work(), lambda _: Verdict.CONTINUE).facts
    slot.close()
    assert (facts["gpu"], facts["device"]) == ("", "cpu")
