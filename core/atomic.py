"""Files that appear whole or not at all, also after `kill -9` or a power cut."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Puts what `write` writes in place of `path`; a reader sees the old file or the new one.

    `write` is given a temporary path of the same folder. File and folder are flushed to the disk,
    so that after a power cut the name does not stand for an empty file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        write(temporary)
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Puts `text`, in UTF-8, in place of the file `path`."""
    replace_file(path, lambda temporary: _write_text(temporary, text))


def replace_json(path: Path, value: Any) -> None:
    """Puts `value` as JSON in place of the file `path`. Raises ValueError for NaN and infinity."""
    replace_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
