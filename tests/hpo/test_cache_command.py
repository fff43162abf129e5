"""The command `cache`: what it lists and removes, and what it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from core.sealed import write_sealed
from core.stage_entries import count_hit
from hpo.cli import main

Command = Callable[..., tuple[int, str, str]]
KEYS = {"old": "a1" * 32, "new": "b2" * 32, "taken": "c3" * 32}
ABOUT = {"stage": "pretrain", "steps": 80, "corpus": "pocket", "d_model": 64, "dropout": 0.1}
MADE = datetime(2026, 2, 3, 4, 5, 7, tzinfo=UTC)
"""Of `old`; `new` is a day younger, `taken` a minute older and taken since."""


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs `hpo cache`, as if into a pipe; returns exit code, standard output, standard error."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def go(*words: str) -> tuple[int, str, str]:
        code = main(["cache", *words, "--runs-dir", str(tmp_path / "runs")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


@pytest.fixture
def stages(tmp_path: Path) -> Path:
    """A cache of three entries of 1.5, 2.5 and 3.5 MiB; `taken` was taken twice."""
    root = tmp_path / "runs" / ".cache" / "stages"
    made = {"old": MADE, "new": MADE + timedelta(days=1), "taken": MADE - timedelta(minutes=1)}
    for number, (name, when) in enumerate(made.items()):
        folder = root / KEYS[name]
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes(int((number + 1.5) * 2**20)))
        meta = {"cost_s": 61.0 + number, "curve": []} | ({} if name == "old" else {"about": ABOUT})
        write_sealed(folder / "meta.json", {"schema_version": 2, "meta": meta})
        os.utime(folder / "meta.json", (when.timestamp(), when.timestamp()))
    for _ in range(2):
        count_hit(root / KEYS["taken"])
    return root


def left_in(root: Path) -> set[str]:
    return {name for name, key in KEYS.items() if (root / key / "meta.json").exists()}


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("prune", "--all")])
def test_without_a_cache_nothing_is_listed_removed_or_made(
    words: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    if "--json" in words:
        assert json.loads(out)["stages"] == []
    else:
        assert (
            out
            == {
                "list": "The stage A cache is empty.\n",
                "prune": "0 entries removed, 0.0 MiB freed\n"
                "In the cache now: 0 entries, 0.0 MiB\n",
            }[words[0]]
        )
    assert list(tmp_path.iterdir()) == []


def test_the_list_tells_each_entry_and_what_they_saved(command: Command, stages: Path) -> None:
    code, out, err = command("list")
    assert (code, err) == (0, "")
    head, old, new, taken, _, total, _ = out.split("\n")
    assert head.split()[:3] == ["key", "size", "made"]
    made = "2026-02-03 04:05 2026-02-03 04:05"
    assert old.split() == f"a1a1a1a1a1a1 1.5 MiB {made} 0 1 min 01 s 0.0 s".split()
    assert new.endswith("stage=pretrain steps=80 corpus=pocket d_model=64 dropout=0.1")
    assert " 2  1 min 03 s  2 min 06 s " in taken
    assert total == (
        "3 entries, 7.5 MiB of 20.0 GiB (HPO_CACHE_LIMIT), taken 2 times, which saved 2 min 06 s"
    )


def test_the_json_has_all_of_it(
    command: Command, stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_LIMIT", "3M")
    value = json.loads(command("list", "--json")[1])
    assert (value["schema_version"], value["limit_bytes"]) == (1, 3 * 2**20)
    assert value["size_bytes"] == sum(one["size_bytes"] for one in value["stages"])
    old, new, taken = value["stages"]
    assert (old["key"], old["about"], old["cost_s"]) == (KEYS["old"], {}, 61.0)
    assert new["made"] == new["used"] == "2026-02-04T04:05:07+00:00"
    assert (new["is_whole"], new["about"]) == (True, ABOUT)
    assert (taken["hits"], taken["saved_s"]) == (2, 126.0)
    assert taken["used"] > taken["made"]


def test_what_is_damaged_or_half_written_is_listed_all_the_same(
    command: Command, stages: Path
) -> None:
    (stages / KEYS["old"] / "meta.json").write_bytes(b"{}")
    (stages / KEYS["new"] / "meta.json").unlink()
    code, out, err = command("list")
    assert (code, err) == (0, "")
    assert "not whole" in next(line for line in out.split("\n") if line.startswith("b2b2"))
    assert "3 entries, 7.5 MiB" in out


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("--limit", "7M"), {"new", "taken"}),
        (("--limit", "6.5M"), {"new", "taken"}),
        (("--limit", "4m"), {"taken"}),
        (("--limit", "1T"), {"old", "new", "taken"}),
        (("--older-than", "24h"), {"taken"}),
        (("--older-than", "99999h"), {"old", "new", "taken"}),
        (("--all",), set()),
    ],
)
def test_what_is_pruned(
    words: tuple[str, ...], left: set[str], command: Command, stages: Path
) -> None:
    code, told, err = command("prune", "--dry-run", *words)
    assert (code, err, left_in(stages)) == (0, "", set(KEYS))
    code, out, err = command("prune", *words)
    assert (code, err, left_in(stages)) == (0, "", left)
    went = told.replace(" would be ", " ").split("\n")[:-2]
    assert went == out.split("\n")[:-2]
    assert len(went) == len(KEYS) - len(left) + 1


def test_what_went_and_what_it_freed_is_told(command: Command, stages: Path) -> None:
    assert command("prune", "--limit", "4M")[1] == (
        "a1a1a1a1a1a1 removed, 1.5 MiB, last used 2026-02-03 04:05 UTC\n"
        "b2b2b2b2b2b2 removed, 2.5 MiB, last used 2026-02-04 04:05 UTC\n"
        "2 entries removed, 4.0 MiB freed\n"
        "In the cache now: 1 entry, 3.5 MiB\n"
    )


def test_what_a_run_holds_stays(command: Command, stages: Path) -> None:
    with FileLock(stages / f"{KEYS['old']}.lock"):
        code, out, _ = command("prune", "--all")
    assert (code, left_in(stages)) == (0, {"old"})
    assert "a1a1a1a1a1a1 stays, a run holds it\n" in out
    assert "2 entries removed, 6.0 MiB freed\n" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lst",), "invalid choice: 'lst'"),
        (("list", "--jsn"), "cache list does not know '--jsn'. Did you mean '--json'?"),
        (("list", "extra"), "cache list does not know 'extra'"),
        (("prune",), "one of the arguments --limit --older-than --all is required"),
        (("prune", "--all", "--limit", "1G"), "not allowed with argument"),
        (("prune", "--limit", "0G"), "--limit must be a size above zero, got '0G'. Allowed: 500M"),
        (("prune", "--limit", "many"), "--limit must be a size above zero, got 'many'"),
        (("prune", "--limit", "-1G"), "expected one argument"),
        (("prune", "--older-than", "2 days"), "--older-than must be a time, got"),
        (("prune", "--all", "--storage", "x"), "cache prune does not know '--storage'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: tuple[str, ...], message: str, command: Command, stages: Path
) -> None:
    code, out, err = command(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert left_in(stages) == set(KEYS)


def test_a_limit_in_the_environment_that_is_none_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_LIMIT", "20")
    code, out, err = command("list")
    assert (code, out) == (2, "")
    assert err == (
        "hpo: HPO_CACHE_LIMIT: this must be a size above zero, got '20'. "
        "Allowed: 500M, 20G, 1.5T.\n"
    )
