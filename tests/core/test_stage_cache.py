"""What makes stages equal, one trainer at a time, and entries that are damaged."""

import dataclasses
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from core.bundle import read_bundle
from core.settings import Recipe
from core.stage_cache import StageCache, StageResult, stage_key
from core.stage_entries import Pruned, prune, read_entries, reading, remove_entry
from core.task import Evaluation, Stage

ROOT = Path(__file__).parents[2]

KEY = "ab" * 32
STAGE = Stage("pretrain", 0, 14, Recipe(), 3, eval_every=7, grad_clip=1.0, cache_key={"width": 5})
MACHINE = {"device": "cpu", "precision": "fp32", "threads": 1, "torch": "2.13"}
RESULT = StageResult(
    weights={"layer.weight": torch.arange(6.0).view(2, 3)},
    telemetry=torch.rand(14, 4),
    curve=(Evaluation("pretrain", 7, 1 / 3), Evaluation("pretrain", 14, 0.5, {"other": 2.0})),
    texts={"hypotheses.txt": "ein Satz\n"},
    cost_s=12.5,
    about={"stage": "pretrain", "corpus": "letters", "width": 5},
)


def wait() -> bool:
    return True


def refuse_to_wait() -> bool:
    return False


def age(root: Path, key: str, seconds: float) -> None:
    """Makes an entry look as if it had been stored that long ago."""
    then = time.time() - seconds
    os.utime(root / key / "meta.json", (then, then))


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


def test_what_people_are_told_of_a_stage_is_no_part_of_its_key() -> None:
    told = dataclasses.replace(STAGE, about={"corpus": "letters"})
    assert stage_key(told, MACHINE) == stage_key(STAGE, MACHINE)


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


def test_taking_an_entry_is_counted(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    fill(cache)
    (entry,) = read_entries(tmp_path)
    assert (entry.key, entry.hits, entry.used) == (KEY, 0, entry.made)
    for hits in (1, 2):
        with cache.claim(KEY, on_wait=refuse_to_wait) as claim:
            assert claim is not None
        (entry,) = read_entries(tmp_path)
        assert entry.hits == hits
        assert entry.used >= entry.made


def test_storing_makes_room_by_the_least_recently_used(tmp_path: Path) -> None:
    fill(StageCache(tmp_path))
    (first,) = read_entries(tmp_path)
    cache = StageCache(tmp_path, 3 * first.size_bytes + 99)
    keys = [letter * 64 for letter in "abcd"]
    age(tmp_path, KEY, 500)
    for number, key in enumerate(keys[:2]):
        fill(cache, key)
        age(tmp_path, key, 400 - number)
    with cache.claim(KEY, on_wait=refuse_to_wait) as claim:  # the oldest, but used just now
        assert claim is not None
    for key in keys[2:]:
        fill(cache, key)
    assert {entry.key for entry in read_entries(tmp_path)} == {KEY, *keys[2:]}


def test_an_entry_alone_too_large_stays_until_the_next(tmp_path: Path) -> None:
    cache = StageCache(tmp_path, 1)
    fill(cache, KEY)
    assert [entry.key for entry in read_entries(tmp_path)] == [KEY]
    fill(cache, "c" * 64)
    assert [entry.key for entry in read_entries(tmp_path)] == ["c" * 64]


def test_what_a_run_trains_writes_or_reads_is_not_removed(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.claim(KEY, on_wait=wait) as claim:
        assert claim is not None
        claim.store(RESULT)
        (entry,) = read_entries(tmp_path)
        assert prune(tmp_path, limit_bytes=0) == Pruned((), (entry,))
    with reading(tmp_path, KEY), reading(tmp_path, KEY):
        assert prune(tmp_path, limit_bytes=0) == Pruned((), (entry,))
    assert prune(tmp_path, limit_bytes=0) == Pruned((entry,), ())


def test_an_entry_that_goes_while_it_is_read_is_trained_again_without_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = StageCache(tmp_path)
    fill(cache)

    def remove_and_read(folder: Path, **how: Any) -> Any:
        remove_entry(folder)
        return read_bundle(folder, **how)

    monkeypatch.setattr("core.stage_cache.read_bundle", remove_and_read)
    with caplog.at_level(logging.WARNING), cache.claim(KEY, on_wait=wait) as claim:
        assert claim is not None
        assert claim.result is None
    assert caplog.text == ""


def test_a_stage_is_stored_though_no_room_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("core.stage_entries._PATIENCE_S", 0.0)
    lock = FileLock(tmp_path / "removing.lock")
    with caplog.at_level(logging.WARNING), lock:
        fill(StageCache(tmp_path, 1))
    assert "another process is removing entries" in caplog.text
    assert [entry.is_whole for entry in read_entries(tmp_path)] == [True]


STORE = """
import sys
from pathlib import Path
import torch
from core.stage_cache import StageCache, StageResult

root, name, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
cache = StageCache(root, limit)
result = StageResult({"w": torch.zeros(1009)}, torch.zeros(2, 4), (), {}, 1.0)
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    shared = number % 3 == 0
    key = f"{'shared' if shared else name}{number}"
    with cache.claim(key, on_wait=lambda: True) as claim:
        if claim.result is None:
            claim.store(result)
        else:
            assert torch.equal(claim.result.weights["w"], result.weights["w"])
"""


def test_two_processes_store_and_make_room_at_once(tmp_path: Path) -> None:
    limit = 40_000  # about eight of their entries
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STORE, str(tmp_path / "many"), name, str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = [process.communicate("go\n", timeout=300)[1] for process in processes]
    assert said == ["", ""]
    entries = read_entries(tmp_path / "many")
    size = max(entry.size_bytes for entry in entries)
    assert all(entry.is_whole for entry in entries)
    assert limit - 2 * size < sum(entry.size_bytes for entry in entries) <= limit
    for entry in entries:
        with StageCache(tmp_path / "many").claim(entry.key, on_wait=refuse_to_wait) as claim:
            assert claim is not None
            assert claim.result is not None
