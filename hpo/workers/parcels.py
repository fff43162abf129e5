"""The files of a folder, packed for a machine that does not share it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from core.atomic import replace_file

_SPOKESMEN = ("meta.json", "outcome.json")
"""Each makes files valid that were written before it: of its checkpoint, of the whole run. The
clock of a file system may be too coarse to tell that."""


@dataclass(frozen=True)
class Parcel:
    """What has become of a folder's files since it was packed before."""

    files: tuple[tuple[str, bytes], ...]
    """Relative path and content, in the order in which they were written, but last those that
    speak for others."""
    gone: tuple[str, ...] = ()


class Packer:
    """Packs what has changed in a folder since it was packed before. Nobody writes meanwhile."""

    def __init__(self, folder: Path, is_wanted: Callable[[Path], bool] = lambda _: True) -> None:
        self._folder = folder
        self._is_wanted = is_wanted
        self._known: dict[str, tuple[int, int]] = {}

    def skip(self) -> None:
        """Takes what is there now as packed."""
        self._known = self._look()

    def pack(self) -> Parcel:
        """New and changed files, and the names of those that are gone."""
        before, self._known = self._known, self._look()
        changed = [name for name, stamp in self._known.items() if before.get(name) != stamp]
        changed.sort(key=lambda name: (_rank(name), self._known[name]))
        files = tuple((name, (self._folder / name).read_bytes()) for name in changed)
        return Parcel(files, tuple(name for name in before if name not in self._known))

    def _look(self) -> dict[str, tuple[int, int]]:
        """Time of the last change and size of each file, by relative path."""
        return {
            path.relative_to(self._folder).as_posix(): (stat.st_mtime_ns, stat.st_size)
            for path in self._folder.rglob("*")
            if path.is_file() and self._is_wanted(path)
            for stat in (path.stat(),)
        }


def unpack(parcel: Parcel, folder: Path) -> None:
    """Brings `folder` up to date, each file whole or not at all, those that are gone last."""
    for name, content in parcel.files:
        path = _inside(folder, name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, partial(_write, content))
    for name in parcel.gone:
        path = _inside(folder, name)
        path.unlink(missing_ok=True)
        if path.parent != folder and not any(path.parent.iterdir()):
            shutil.rmtree(path.parent)


def _rank(name: str) -> int:
    last = PurePosixPath(name).name
    return _SPOKESMEN.index(last) + 1 if last in _SPOKESMEN else 0


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leads out of {folder}")
    return path
