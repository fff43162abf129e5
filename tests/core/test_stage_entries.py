"""Which entries of the stage cache go, in what order, and what a kill on the way leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.stage_entries import (
    DEFAULT_LIMIT_BYTES,
    LIMIT_VARIABLE,
    CacheBusyError,
    cache_limit,
    count_hit,
    prune,
    read_entries,
)

ROOT = Path(__file__).parents[2]
NOW = time.time()


def make_entry(root: Path, key: str, size: int, *, age_s: float = 0.0) -> Path:
    """An entry of `size` bytes, stored `age_s` seconds ago."""
    folder = root / key
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * (size - 2))
    (folder / "meta.json").write_bytes(b"{}")
    os.utime(folder / "meta.json", (NOW - age_s, NOW - age_s))
    return folder


def keys(root: Path) -> list[str]:
    return [entry.key for entry in read_entries(root)]


def test_the_limit_is_the_environments_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    assert cache_limit() == DEFAULT_LIMIT_BYTES == 20 * 1024**3
    monkeypatch.setenv(LIMIT_VARIABLE, "1.5G")
    assert cache_limit() == 3 * 2**29


@pytest.mark.parametrize("text", ["", "0", "0G", "12", "-1G", "many", "1P", "1 G"])
def test_a_limit_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(SettingsError) as info:
        cache_limit()
    assert str(info.value) == (
        f"HPO_CACHE_LIMIT: this must be a size above zero, got {text!r}. Allowed: 500M, 20G, 1.5T."
    )


def test_an_empty_or_missing_cache_has_nothing_to_remove(tmp_path: Path) -> None:
    assert read_entries(tmp_path / "none") == []
    assert prune(tmp_path / "none", limit_bytes=0).removed == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "left"),
    [(23, "acb"), (22, "cb"), (18, "cb"), (17, "b"), (7, "b"), (6, ""), (0, "")],
)
def test_the_least_recently_used_go_until_the_rest_fits(
    limit: int, left: str, tmp_path: Path
) -> None:
    make_entry(tmp_path, "a", 5, age_s=20)
    make_entry(tmp_path, "b", 6, age_s=30)
    make_entry(tmp_path, "c", 11, age_s=10)
    count_hit(tmp_path / "b")  # the oldest, one byte more, and used last
    assert keys(tmp_path) == ["a", "c", "b"]
    pruned = prune(tmp_path, limit_bytes=limit)
    assert "".join(keys(tmp_path)) == left
    assert [entry.key for entry in pruned.removed] == list("acb"[: 3 - len(left)])


@pytest.mark.parametrize(("unused_s", "left"), [(9, ""), (15, "a"), (25, "ab"), (35, "abc")])
def test_what_was_long_not_used_goes(unused_s: float, left: str, tmp_path: Path) -> None:
    for key, age_s in (("a", 10), ("b", 20), ("c", 30)):
        make_entry(tmp_path, key, 5, age_s=age_s)
    prune(tmp_path, used_before=NOW - unused_s)
    assert sorted(keys(tmp_path)) == list(left)


def test_a_dry_run_tells_the_same_and_deletes_nothing(tmp_path: Path) -> None:
    for key in "abc":
        make_entry(tmp_path, key, 5, age_s=ord(key))
    told = prune(tmp_path, limit_bytes=7, dry_run=True)
    assert len(keys(tmp_path)) == 3
    assert prune(tmp_path, limit_bytes=7) == told
    assert keys(tmp_path) == ["a"]


def test_what_is_not_whole_goes_first_and_always(tmp_path: Path) -> None:
    make_entry(tmp_path, "a", 5, age_s=30)
    (make_entry(tmp_path, "half", 7) / "meta.json").unlink()
    assert [(one.key, one.is_whole) for one in read_entries(tmp_path)] == [
        ("half", False),
        ("a", True),
    ]
    assert [one.key for one in prune(tmp_path, limit_bytes=99).removed] == ["half"]
    assert keys(tmp_path) == ["a"]


def test_one_process_at_a_time_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.stage_entries._PATIENCE_S", 0.0)
    make_entry(tmp_path, "a", 5)
    holder = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "removing.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(CacheBusyError, match="another process is removing entries"):
            prune(tmp_path, limit_bytes=0)
        process.communicate()
    assert len(prune(tmp_path, limit_bytes=0).removed) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from core.stage_entries import prune

left = int(sys.argv[2])

def count(event, _arguments):
    global left
    if event in ("os.remove", "os.rmdir"):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(count)
prune(Path(sys.argv[1]), limit_bytes=6)
"""


@pytest.mark.parametrize("deletions", range(9))
def test_killed_while_it_removes_an_entry_is_whole_or_absent(
    deletions: int, tmp_path: Path
) -> None:
    """Two of three entries go, in four deletions each: files, then the folder."""
    for number, key in enumerate("abc"):
        make_entry(tmp_path, key, 5, age_s=30 - number)
        count_hit(tmp_path / key)
        os.utime(tmp_path / key / "hits", (NOW - 20 + number, NOW - 20 + number))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(deletions)], cwd=ROOT, check=False
    )
    assert done.returncode == (-signal.SIGKILL if deletions < 8 else 0)
    for entry in read_entries(tmp_path):
        if entry.is_whole:
            assert (entry.size_bytes, entry.hits) == (6, 1)
    assert keys(tmp_path)[-1] == "c"
    prune(tmp_path, limit_bytes=6)  # its locks went with the dead
    assert keys(tmp_path) == ["c"]
