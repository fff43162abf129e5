"""Text kept in a cache folder beside its digest, so that damage is seen."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.atomic import make_folder, replace_text


def read_kept(path: Path) -> str | None:
    """What `write_kept` put there; `None` if it is not there, damaged or half written."""
    try:
        content = path.read_bytes()
        digest = _digest_path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return content.decode() if hashlib.sha256(content).hexdigest() == digest else None


def write_kept(path: Path, text: str) -> None:
    """Keep `text` at `path`, replacing what is there.

    Readers in other processes see the old text, the new one, or none: the two files are replaced
    one after the other, and in between their digests differ.
    """
    make_folder(path.parent)
    replace_text(path, text)
    replace_text(_digest_path(path), hashlib.sha256(text.encode()).hexdigest())


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
