"""How many damaged bundles and records are found: `python -m benchmarks.faults.damage CUTS FLIPS`.

A process of its own, as it loads torch. Prints JSON: kind -> [injected, found].
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from core.bundle import write_bundle
from core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from core.errors import CheckpointError
from core.sealed import read_sealed, write_sealed
from core.stage_cache import StageCache, StageResult
from core.task import Evaluation

Counts = dict[str, list[int]]


def main(cuts: int, flips: int, seed: int) -> Counts:
    """Counts over a checkpoint, a cached stage and a record, all their files alike."""
    draw = random.Random(seed)
    counts: Counts = {}
    logging.disable()  # each damaged entry of the cache is told
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        readers = _make(folder)
        files = [(path, read) for place, read in readers for path in sorted(place.iterdir())]
        sizes = [path.stat().st_size for path, _ in files]

        def injure(kind: str, change: Callable[[bytes], bytes | None], which: int) -> None:
            path, read = files[which]
            whole = path.read_bytes()
            content = change(whole)
            path.unlink() if content is None else path.write_bytes(content)
            counts.setdefault(kind, [0, 0])
            counts[kind][0] += 1
            counts[kind][1] += not read()
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(whole)

        for which in [draw.randrange(len(files)) for _ in range(cuts)]:
            injure("cut", lambda whole: whole[: draw.randrange(len(whole))], which)
        for which in draw.choices(range(len(files)), weights=sizes, k=flips):
            injure("flipped", lambda whole: _flipped(whole, draw), which)
        canary = folder / "canary"
        for which in range(len(files)):
            injure("emptied", lambda whole: b"", which)
            injure("missing", lambda whole: None, which)
            injure("pickle", lambda whole: pickle.dumps(_Canary(canary)), which)
        counts["canary silent"] = [1, int(not canary.exists())]
        counts["not finite"] = [1, int(not _reads_nan(folder / "nan"))]
    return counts


def _make(folder: Path) -> list[tuple[Path, Callable[[], bool]]]:
    """Folders of files, and whether what is in each is read as if it were whole."""
    checkpoint, stages, record = folder / "checkpoint", folder / "stages", folder / "record"
    evaluation = Evaluation("first", 3, 1.5, {"other": 0.25})
    weights = {"layer.weight": torch.rand(31, 37), "layer.bias": torch.rand(31)}
    save_checkpoint(
        checkpoint,
        Checkpoint(
            stage=0,
            stage_step=3,
            weights=weights,
            optimizer={"exp_avg.layer.bias": torch.rand(31)},
            scaler=None,
            generators={"torch": torch.get_rng_state()},
            telemetry=torch.rand(3, 4),
            curve=(evaluation,),
            seconds={"train": 2.5},
            cache_saved_s=None,
            machine={"threads": 1},
            changes=(),
        ),
        "mine",
    )
    cache, key = StageCache(stages), "k" * 64
    result = StageResult(weights, torch.rand(3, 4), (evaluation,), {"hyp": "ein\nzwei\n"}, 2.5)
    with cache.claim(key, on_wait=lambda: False) as claim:
        assert claim is not None
        claim.store(result)
    record.mkdir()
    write_sealed(
        record / "trial.json", {"schema_version": 1, "curve": {"3": 1.5}, "text": "zwölf"}
    )

    def reads_cache() -> bool:
        before = {path.name: path.read_bytes() for path in (stages / key).iterdir()}
        with cache.claim(key, on_wait=lambda: False) as claim:
            is_read = claim is not None and claim.result is not None
        (stages / key).mkdir(exist_ok=True)
        for name, content in before.items():  # a damaged entry is deleted
            (stages / key / name).write_bytes(content)
        return is_read

    return [
        (checkpoint, lambda: _reads(lambda: load_checkpoint(checkpoint, "mine"))),
        (stages / key, reads_cache),
        (record, lambda: _reads(lambda: read_sealed(record / "trial.json"))),
    ]


def _reads(read: Callable[[], object]) -> bool:
    try:
        return read() is not None
    except (CheckpointError, FileNotFoundError):
        return False


def _reads_nan(folder: Path) -> bool:
    write_bundle(folder, "x.safetensors", {"model.a": torch.tensor([float("nan")])}, {"n": 1})
    is_read = _reads(lambda: load_checkpoint(folder, "mine"))
    shutil.rmtree(folder)
    return is_read


def _flipped(whole: bytes, draw: random.Random) -> bytes:
    content = bytearray(whole)
    content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    return bytes(content)


class _Canary:
    """Whoever unpickles it makes a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._path),)


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
