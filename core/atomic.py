"""Files that appear whole or not at all, also after `kill -9` or a power cut, and are private.

The one way to write: a temporary file of a name of its own, flushed and renamed. What a killed
writer leaves is told by that name and never mistaken for content.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import DiskFullError, FolderTakenError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No room, a quota, and the limit on a file's size that a batch system may set."""
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_TEMPORARY = re.compile(r"\..+\.(\d{1,9})\.[0-9a-f]{12}\.tmp", re.DOTALL)


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Puts what `write` writes in place of `path`; a reader sees the old file or the new one.

    `write` is given a temporary path of the same folder. File and folder are flushed to the disk,
    so that after a power cut the name does not stand for an empty file.

    Raises: DiskFullError, naming `path`, if there is no room; what was there is then untouched.
    """
    name = f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp"
    temporary = path.with_name(name)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        write(temporary)
        temporary.chmod(0o600)  # `write` may have put a file of its own there
        flush(temporary)
        temporary.replace(path)
    except Exception as error:
        if is_full(error):
            raise DiskFullError(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Makes `folder` of what `write` writes into an empty folder, all of it or nothing.

    Raises: FolderTakenError if there is something, unless an empty folder; DiskFullError.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FolderTakenError(folder)
    make_folder(folder.absolute().parent)
    name = f".{folder.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp"
    temporary = folder.absolute().with_name(name)
    try:
        temporary.mkdir(mode=0o700)
        write(temporary)
        for path in temporary.rglob("*"):
            flush(path)
        flush(temporary)
        temporary.replace(folder)
    except Exception as error:
        if is_full(error):
            raise DiskFullError(folder) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FolderTakenError(folder) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush(folder.absolute().parent)


def replace_text(path: Path, text: str) -> None:
    """Puts `text`, in UTF-8, in place of the file `path`. Raises as `replace_file` does."""
    replace_file(path, lambda temporary: _write_text(temporary, text))


def replace_json(path: Path, value: Any) -> None:
    """Puts `value` as JSON in place of the file `path`. Raises ValueError for NaN and infinity."""
    replace_text(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as the JSON of a file that people may read: two levels of keys have a line each.

    Raises as `replace_json` does.
    """
    return _json_lines(value, levels=2) + "\n"


def _json_lines(value: Any, levels: int, indent: str = "\n ") -> str:
    # The library indents in Python, an order of magnitude slower than it writes without.
    if not levels or not value or not isinstance(value, Mapping):
        return _encode(value)
    lines = (
        f"{_encode(str(key))}: {_json_lines(one, levels - 1, indent + ' ')}"
        for key, one in value.items()
    )
    return f"{{{indent}{f',{indent}'.join(lines)}{indent[:-1]}}}"


def make_folder(folder: Path) -> Path:
    """Creates `folder`, and what is missing above it, for its owner only; returns it.

    Raises: DiskFullError.
    """
    if folder.is_dir():
        return folder
    make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise DiskFullError(folder) from error
        raise
    flush(folder.parent)
    return folder


def flush(path: Path) -> None:
    """Has the disk keep a file's content, or which names a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Deletes temporary files below `folder` whose writers are dead; returns the bytes freed."""
    freed = 0
    for path in folder.rglob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            try:
                freed += path.lstat().st_size
                path.unlink()
            except FileNotFoundError:  # another cleaner was faster
                continue
    return freed


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or a file's largest size is used up."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    # safetensors tells the system's error in words only.
    code = _RUST_ERROR.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return code is not None and int(code[1]) in _FULL


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
