"""Folders packed and unpacked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpo.workers.parcels import Packer, Parcel, unpack


def _write(folder: Path, name: str, content: bytes, at: int) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(at, at))


def test_what_changed_arrives_and_what_is_gone_goes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    _write(here, "checkpoint/state-1", b"one", 5)
    _write(here, "checkpoint/meta.json", b"state-1", 7)
    _write(here, "outcome.json", b"", 3)
    packer = Packer(here)
    first = packer.pack()
    # In the order in which they were written, but what makes others valid comes after them.
    assert [name for name, _ in first.files] == [
        "checkpoint/state-1",
        "checkpoint/meta.json",
        "outcome.json",
    ]
    unpack(first, there)
    assert packer.pack() == Parcel(())
    _write(here, "checkpoint/state-2", b"two", 11)
    _write(here, "checkpoint/meta.json", b"state-2", 13)
    (here / "checkpoint" / "state-1").unlink()
    second = packer.pack()
    assert len(second.files) == 2
    unpack(second, there)
    found = {path.name: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert found == {"state-2": b"two", "meta.json": b"state-2", "outcome.json": b""}
    for path in (here / "checkpoint").iterdir():
        path.unlink()
    unpack(packer.pack(), there)
    assert [path.name for path in there.iterdir()] == ["outcome.json"]


def test_a_coarse_clock_puts_no_meta_json_before_what_it_names(tmp_path: Path) -> None:
    for name, size in (("outcome.json", 1), ("a/meta.json", 2), ("a/weights", 99)):
        _write(tmp_path, name, b"x" * size, 5)
    names = [name for name, _ in Packer(tmp_path).pack().files]
    assert names == ["a/weights", "a/meta.json", "outcome.json"]


def test_what_is_skipped_or_not_wanted_is_not_packed(tmp_path: Path) -> None:
    _write(tmp_path, "old", b"1", 2)
    packer = Packer(tmp_path, lambda path: path.suffix != ".lock")
    packer.skip()
    _write(tmp_path, "new", b"2", 3)
    _write(tmp_path, "x.lock", b"", 5)
    assert packer.pack() == Parcel((("new", b"2"),))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(ValueError, match="leads out"):
        unpack(Parcel(((name, b"x"),)), folder)
    with pytest.raises(ValueError, match="leads out"):
        unpack(Parcel((), (name,)), folder)
    assert not (tmp_path / "x").exists()
