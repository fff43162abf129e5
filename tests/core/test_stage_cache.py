"""What makes stages equal, one trainer at a time, and entries that are damaged."""

import dataclasses
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from core.settings import Recipe
from core.stage_cache import StageCache, StageResult, stage_key
from core.task import Evaluation, Stage

KEY = "ab" * 32
STAGE = Stage("pretrain", 0, 14, Recipe(), 3, eval_every=7, grad_clip=1.0, cache_key={"width": 5})
MACHINE = {"device": "cpu", "precision": "fp32", "threads": 1, "torch": "2.13"}
RESULT = StageResult(
    weights={"layer.weight": torch.arange(6.0).view(2, 3)},
    telemetry=torch.rand(14, 4),
    curve=(Evaluation("pretrain", 7, 1 / 3), Evaluation("pretrain", 14, 0.5, {"other": 2.0})),
    texts={"hypotheses.txt": "ein Satz\n"},
    cost_s=12.5,
)


def wait() -> bool:
    return True


def refuse_to_wait() -> bool:
    return False


def fill(cache: StageCache, key: str = KEY) -> None:
    with cache.claim(key, on_wait=wait) as claim:
        assert claim is not None
        assert claim.result is None
        claim.store(RESULT)


@pytest.mark.parametrize(
    "change",
    [
        {"cache_key": {"width": 7}},
        {"recipe": Recipe(weight_decay=0.02)},
        {"seed": 4},
        {"steps": 21},
        {"eval_every": 14},
        {"grad_clip": 0.5},
        {"first_step": 7},
    ],
)
def test_a_key_depends_on_all_of_the_stage(change: dict[str, Any]) -> None:
    assert stage_key(dataclasses.replace(STAGE), MACHINE) == stage_key(STAGE, MACHINE)
    assert stage_key(dataclasses.replace(STAGE, **change), MACHINE) != stage_key(STAGE, MACHINE)


@pytest.mark.parametrize("name", list(MACHINE))
def test_a_key_depends_on_the_machine_and_the_version(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = stage_key(STAGE, MACHINE)
    assert stage_key(STAGE, {**MACHINE, name: "other"}) != key
    monkeypatch.setattr("core.stage_cache.RECIPE_VERSION", 0)
    assert stage_key(STAGE, MACHINE) != key


def test_a_stage_without_a_key_has_none() -> None:
    assert stage_key(dataclasses.replace(STAGE, cache_key=None), MACHINE) is None


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    fill(StageCache(tmp_path / "stages"))
    with StageCache(tmp_path / "stages").claim(KEY, on_wait=wait) as claim:
        assert claim is not None
        assert claim.result is not None
        for name, value in vars(RESULT).items():
            found = getattr(claim.result, name)
            if name == "weights":
                assert torch.equal(found["layer.weight"], value["layer.weight"])
            elif name == "telemetry":
                assert torch.equal(found, value)
            else:
                assert found == value
    with StageCache(tmp_path / "stages").claim("cd" * 32, on_wait=wait) as claim:
        assert claim is not None
        assert claim.result is None


def test_one_trains_and_the_others_wait(tmp_path: Path) -> None:
    """Three runs want one stage at once: it is trained once, and all get it."""
    cache = StageCache(tmp_path)
    may_finish, waited = threading.Event(), threading.Event()
    trained: list[int] = []
    found: list[float] = []

    def wait_seen() -> bool:
        waited.set()
        return True

    def work(number: int) -> None:
        with cache.claim(KEY, on_wait=wait_seen) as claim:
            assert claim is not None
            if claim.result is None:
                trained.append(number)
                assert may_finish.wait(30)
                claim.store(RESULT)
            else:
                found.append(claim.result.cost_s)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    assert waited.wait(30)
    may_finish.set()
    for thread in threads:
        thread.join(30)
    assert len(trained) == 1
    assert found == [12.5, 12.5]


def test_waiting_can_be_given_up_and_a_finished_stage_needs_none(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.claim(KEY, on_wait=wait) as first:
        assert first is not None
        with cache.claim(KEY, on_wait=refuse_to_wait) as second:
            assert second is None
        first.store(RESULT)
        with cache.claim(KEY, on_wait=refuse_to_wait) as third:
            assert third is not None
            assert third.result is not None


def test_a_stage_that_was_not_stored_is_for_the_next(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with (
        pytest.raises(ZeroDivisionError),
        cache.claim(KEY, on_wait=refuse_to_wait) as claim,
    ):
        assert claim is not None
        raise ZeroDivisionError
    with cache.claim(KEY, on_wait=refuse_to_wait) as claim:
        assert claim is not None
        assert claim.result is None


@pytest.mark.parametrize("name", ["model.safetensors", "meta.json"])
def test_a_damaged_entry_is_trained_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = StageCache(tmp_path)
    fill(cache)
    path = tmp_path / KEY / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING):
        fill(cache)
    assert f"{name}: " in caplog.text
    with cache.claim(KEY, on_wait=refuse_to_wait) as claim:
        assert claim is not None
        assert claim.result is not None
