from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from core.errors import DiskFullError
from core.task import Metric
from hpo.disk import (
    DiskError,
    Finished,
    best_first,
    check_room,
    estimate_bytes,
    telling_of_room,
    tidy,
)
from hpo.folders import FolderError, StudyFolder, finite, make_private, write_json

UP = Metric("BLEU", "", "maximize", 0.0)
DOWN = Metric("NMSE", "dB", "minimize", 0.0)


def _fill(folder: StudyFolder, number: int) -> None:
    for name, size in (("weights", 101), ("checkpoint", 307)):
        place = folder.trial(number) / name
        place.mkdir(parents=True)
        (place / "a.bin").write_bytes(b"x" * size)
    (folder.trial(number) / "trial.json").write_text("{}")


def _left(folder: StudyFolder) -> set[str]:
    return {
        f"{path.parent.name}/{path.name}" for path in folder.trials.glob("*/*") if path.is_dir()
    }


@pytest.mark.parametrize(("metric", "kept"), [(UP, (2, 5)), (DOWN, (0, 2))])
def test_weights_of_the_best_and_all_of_unfinished_trials_are_kept(
    metric: Metric, kept: tuple[int, int], tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path, "x")
    for number in range(7):
        _fill(folder, number)
    finished = [
        Finished(0, 3.0 if metric is UP else 1.0),
        Finished(1, None),  # pruned
        Finished(2, 5.0 if metric is UP else 1.0),
        Finished(3, None),
        Finished(5, 5.0),
    ]
    numbers, best = [trial.number for trial in finished], best_first(finished, metric)[:2]
    folders, freed = tidy(folder, numbers, best)
    unfinished = {
        f"{number:04d}/{name}" for number in (4, 6) for name in ("weights", "checkpoint")
    }
    assert _left(folder) == unfinished | {f"{number:04d}/weights" for number in kept}
    assert (folders, freed) == (5 + 3, 5 * 307 + 3 * 101)
    assert len(list(folder.trials.glob("*/trial.json"))) == 7
    assert tidy(folder, numbers, best) == (0, 0)


def test_the_earlier_is_better_among_equals() -> None:
    trials = [Finished(3, 2.0), Finished(1, 2.0), Finished(0, None), Finished(2, 7.0)]
    assert best_first(trials, UP) == [2, 1, 3]
    assert best_first(trials, DOWN) == [1, 3, 2]


def test_room_is_checked_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 3 * 2**30
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(7, 5, free))
    check_room(tmp_path, free)
    with pytest.raises(
        DiskError, match=r"3\.0 GiB needed, 3\.0 GiB free\. Make room, lower --jobs"
    ):
        check_room(tmp_path, free + 1)
    with pytest.raises(DiskError, match=r"4\.0 GiB needed"):
        check_room(tmp_path, 4 * 2**30)


def test_a_disk_that_becomes_full_is_told_in_one_line(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    said = r"disk full: a file in .*\. Make room and give the same command again"
    with pytest.raises(DiskFullError, match=said), telling_of_room(tmp_path):
        raise full
    with pytest.raises(PermissionError), telling_of_room(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_the_estimate_grows_with_slots_and_kept_weights() -> None:
    nothing = estimate_bytes(0, jobs=1, keep=1)
    assert nothing == 256 * 2**20
    # Two checkpoints of weights and two moments, the weights that end, and one that is kept.
    assert estimate_bytes(1000, jobs=1, keep=1) - nothing == 4000 * (2 * 3 + 1 + 1)
    assert estimate_bytes(1000, jobs=2, keep=5) - nothing == 4000 * (2 * 2 * 3 + 2 + 5)


def test_folders_are_private_and_files_whole(tmp_path: Path) -> None:
    folder = make_private(tmp_path / "a" / "b")
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="this folder cannot be written to"):
        make_private(tmp_path / "file" / "below")
    nan = float("nan")
    assert finite({"a": [1.5, nan, (float("inf"), "x")]}) == {"a": [1.5, None, [None, "x"]]}
    write_json(folder / "x.json", {"a": nan})
    assert (folder / "x.json").read_text() == '{\n "a": null\n}\n'
    with pytest.raises(TypeError):
        write_json(folder / "x.json", {"a": object()})
    assert [path.name for path in folder.iterdir()] == ["x.json"]
