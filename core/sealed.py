"""JSON under a digest of its own bytes: any change of them is found, white space included."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.atomic import json_text, replace_text
from core.errors import DamagedFileError

META = "meta.json"
"""The sealed file of a bundle (see `core.bundle`), which is there if all of the bundle is."""

_SEAL = re.compile(rb'\{"seal": "([0-9a-f]{64})",\n')
_UNSEALED = b'{\n "schema_version": '
"""How every file began before there were seals. No single flip makes it of a sealed one."""


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Puts `value`, as JSON behind its digest, in place of the file `path`.

    Raises: ValueError for NaN and infinity, DiskFullError.
    """
    assert value
    body = json_text(value)[2:]
    replace_text(path, f'{{"seal": "{_digest(body.encode())}",\n{body}')


def read_sealed(path: Path, *, way_out: str | None = None) -> dict[str, Any]:
    """What `write_sealed` wrote; a file from before there were seals is taken as it is.

    Raises: FileNotFoundError; DamagedFileError, ending in `way_out`, for any other content.
    """
    content = path.read_bytes()
    seal = _SEAL.match(content)
    if seal is None and not content.startswith(_UNSEALED):
        raise DamagedFileError("this is no sealed JSON", where=str(path), way_out=way_out)
    if seal is not None:
        body = content[seal.end() :]
        if _digest(body) != seal[1].decode():
            raise DamagedFileError(
                "digest does not fit the content: the file is damaged",
                where=str(path),
                way_out=way_out,
            )
        content = b"{" + body
    try:
        value = json.loads(content)
    except ValueError as error:
        raise DamagedFileError(
            f"this is no JSON ({error})", where=str(path), way_out=way_out
        ) from error
    assert isinstance(value, dict)  # it begins with a brace
    return value


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
