"""Tensors and JSON on disk under SHA-256, never pickle.

A *bundle* is a folder with one safetensors file and `meta.json`, which is sealed and names that
file and its digest. `meta.json` is replaced last, so that it vouches for a file which is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.atomic import make_folder, replace_file
from core.errors import CheckpointError, DamagedFileError
from core.sealed import META, read_sealed, write_sealed

SCHEMA_VERSION = 2
"""Of bundles; raised when their content changes meaning."""


def has_bundle(folder: Path) -> bool:
    """Whether `folder` holds a bundle, whole or damaged."""
    return (folder / META).exists()


def write_bundle(
    folder: Path, name: str, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> None:
    """Writes `tensors` as file `name` of `folder`, then the `meta.json` that vouches for it.

    Raises: DiskFullError; a file that was not there before is then not left behind.
    """
    make_folder(folder)
    path, sha256 = folder / name, ""

    def write(temporary: Path) -> None:
        nonlocal sha256
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
        sha256 = _sha256(temporary)

    is_new = not path.exists()
    replace_file(path, write)
    described = {"schema_version": SCHEMA_VERSION, "file": name, "sha256": sha256, "meta": meta}
    try:
        write_sealed(folder / META, described)
    except Exception:
        if is_new:
            path.unlink()
        raise


def read_bundle(
    folder: Path, *, way_out: str, may_be_nan: tuple[str, ...] = ()
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors on the CPU, meta) of the bundle in `folder`; nothing is loaded before its digest
    fits.

    Only tensors whose names begin with one of `may_be_nan` may hold NaN or infinity.

    Raises: CheckpointError, ending in `way_out`, naming the file and the field that is wrong; as
        DamagedFileError where the bundle is not what was written.
    """
    path = folder / META
    try:
        sealed = read_sealed(path, way_out=way_out)
    except FileNotFoundError:
        raise _damaged("there is no such file", path, way_out) from None
    if (version := sealed.get("schema_version")) != SCHEMA_VERSION:
        raise CheckpointError(
            "unknown schema_version",
            where=str(path),
            got=version,
            allowed=str(SCHEMA_VERSION),
            way_out=way_out,
        )
    data = folder / Path(sealed["file"]).name
    if not data.is_file():
        raise _damaged("there is no such file", data, way_out)
    if _sha256(data) != sealed["sha256"]:
        raise _damaged("sha256 does not fit the content: the file is damaged", data, way_out)
    try:
        tensors = load_file(data)
    except SafetensorError as error:
        raise _damaged(f"this is no safetensors file ({error})", data, way_out) from error
    for name, tensor in tensors.items():
        is_judged = tensor.is_floating_point() and not name.startswith(may_be_nan)
        if is_judged and not bool(tensor.isfinite().all()):
            raise _damaged(f"tensor {name!r} is not finite", data, way_out)
    return tensors, sealed["meta"]


def _damaged(what: str, path: Path, way_out: str) -> DamagedFileError:
    return DamagedFileError(what, where=str(path), way_out=way_out)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
