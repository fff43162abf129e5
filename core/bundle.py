"""Tensors and JSON on disk under SHA-256, never pickle.

A *bundle* is a folder with one safetensors file and `meta.json`, which names that file, its digest
and its own digest. `meta.json` is replaced last, so that it vouches for a file which is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.atomic import replace_file, replace_json
from core.errors import CheckpointError
from core.settings import digest_of

SCHEMA_VERSION = 1
"""Of bundles; raised when their content changes meaning."""

META = "meta.json"


def has_bundle(folder: Path) -> bool:
    """Whether `folder` holds a bundle, whole or damaged."""
    return (folder / META).exists()


def write_bundle(
    folder: Path, name: str, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> None:
    """Writes `tensors` as file `name` of `folder`, then the `meta.json` that vouches for it."""
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = ""

    def write(path: Path) -> None:
        nonlocal sha256
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        sha256 = _sha256(path)

    replace_file(folder / name, write)
    sealed = {"schema_version": SCHEMA_VERSION, "file": name, "sha256": sha256, "meta": meta}
    # What is read back has been through JSON, which makes keys strings and tuples lists.
    sealed = json.loads(json.dumps(sealed))
    replace_json(folder / META, {**sealed, "digest": digest_of(sealed)})


def read_bundle(folder: Path, *, way_out: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors on the CPU, meta) of the bundle in `folder`; nothing is loaded before its digest
    fits.

    Raises: CheckpointError, ending in `way_out`, naming the file and the field that is wrong.
    """
    path = folder / META

    def refuse(what: str, file: Path, **parts: Any) -> CheckpointError:
        return CheckpointError(what, where=str(file), way_out=way_out, **parts)

    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        digest = sealed.pop("digest")
    except FileNotFoundError:
        raise refuse("there is no such file", path) from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise refuse(f"this is no sealed JSON ({type(error).__name__})", path) from error
    if digest != digest_of(sealed):
        raise refuse("digest does not fit the content: the file is damaged", path)
    if (version := sealed["schema_version"]) != SCHEMA_VERSION:
        allowed = str(SCHEMA_VERSION)
        raise refuse("unknown schema_version", path, got=version, allowed=allowed)
    data = folder / Path(sealed["file"]).name
    if not data.is_file():
        raise refuse("there is no such file", data)
    if _sha256(data) != sealed["sha256"]:
        raise refuse("sha256 does not fit the content: the file is damaged", data)
    try:
        return load_file(data), sealed["meta"]
    except SafetensorError as error:
        raise refuse(f"this is no safetensors file ({error})", data) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
