"""Files private and whole; a disk that becomes full at any file that a run writes."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from toy_task import toy_config

from core import atomic, registry
from core.atomic import remove_leftovers, replace_text, write_folder
from core.bundle import read_bundle, write_bundle
from core.checkpoint import load_checkpoint
from core.errors import DiskFullError, FolderTakenError
from core.run import run
from core.task import Evaluation, Outcome, Placement, Progress, Verdict
from core.telemetry import read_telemetry


@pytest.fixture(autouse=True)
def toy_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._MODULES, "toy", "toy_task")
    monkeypatch.setattr("core.checkpoint.CheckpointPace.is_due", lambda pace, now, company=1: True)


def go(folder: Path) -> Outcome:
    def go_on(event: Progress | Evaluation) -> Verdict:
        return Verdict.CONTINUE

    return run(toy_config(), Placement(), folder / "run", folder / "cache", go_on)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A limit on the size of files, as batch systems set it; writing then fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "state-",
        "meta.json",
        "model.safetensors",
        "telemetry.parquet",
        "evaluations.jsonl",
        "outcome.json",
    ],
)
def test_a_full_disk_stops_a_run_that_goes_on_later(
    name: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = go(tmp_path / "straight")
    left = nth

    def full(path: Path) -> None:
        nonlocal left
        left -= name in path.name
        if left <= 0 and name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "flush", full)
        try:
            go(tmp_path)
        except DiskFullError as error:
            assert name in str(error)
            assert str(error).startswith("disk full: ")
        else:
            assert left > 0, "a file that is written less often"
    assert not list(tmp_path.rglob("*.tmp"))
    load_checkpoint(folder / "checkpoint", toy_config().digest())
    if (folder / "telemetry.parquet").exists():
        read_telemetry(folder / "telemetry.parquet")
    again = go(tmp_path)
    assert (again.value, [one.value for one in again.curve]) == (
        straight.value,
        [one.value for one in straight.curve],
    )


def test_every_writer_s_own_error_is_understood(tmp_path: Path) -> None:
    whole = {"a": torch.arange(7.0)}
    write_bundle(tmp_path / "bundle", "x.safetensors", whole, {"n": 1})
    large = {"a": torch.zeros(70_000)}
    with no_file_above(100_000):
        with pytest.raises(DiskFullError, match=r"disk full: .*x\.safetensors"):
            write_bundle(tmp_path / "bundle", "x.safetensors", large, {"n": 2})
        with pytest.raises(DiskFullError, match=r"disk full: .*text"):
            replace_text(tmp_path / "text", "a" * 200_000)
    tensors, meta = read_bundle(tmp_path / "bundle", way_out="")
    assert meta == {"n": 1}
    assert torch.equal(tensors["a"], whole["a"])
    assert len(list((tmp_path / "bundle").iterdir())) == 2


def test_what_killed_writers_leave_is_deleted_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    gone, own = f".x.json.{2**22 - 1}.{'0' * 12}.tmp", ".x.json.1.000000000000.tmp"
    for name in (gone, own, "x.json", ".other.tmp"):
        (tmp_path / name).write_text("1234567")
    assert remove_leftovers(tmp_path) == 7
    assert {path.name for path in tmp_path.iterdir()} == {own, "x.json", ".other.tmp"}


def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    go(tmp_path / "new")
    modes = {
        path: path.stat().st_mode & 0o777
        for path in (tmp_path / "new").rglob("*")
        if path.suffix != ".lock"
    }
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items()), modes


def _write_two(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "one").write_text("1")
    (folder / "two").write_text("2")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_is_made_whole_where_there_is_nothing(is_there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "made"
    if is_there:
        folder.mkdir(parents=True)
    write_folder(folder, _write_two)
    assert (folder / "below" / "one").read_text() + (folder / "two").read_text() == "12"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_is_not_empty_is_refused_before_and_after(tmp_path: Path) -> None:
    folder = tmp_path / "made"

    def write_while_somebody_else_does(empty: Path) -> None:
        _write_two(empty)
        folder.mkdir()
        (folder / "theirs").write_text("t")

    for write in (write_while_somebody_else_does, _write_two):
        with pytest.raises(FolderTakenError, match="made: there is something here already"):
            write_folder(folder, write)
        assert [path.name for path in tmp_path.rglob("*")] == ["made", "theirs"]
    with pytest.raises(FolderTakenError):
        write_folder(folder / "theirs", _write_two)


def test_a_folder_for_which_there_is_no_room_is_not_made(tmp_path: Path) -> None:
    def write(empty: Path) -> None:
        _write_two(empty)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match=r"disk full: .*made"):
        write_folder(tmp_path / "made", write)
    assert list(tmp_path.iterdir()) == []
