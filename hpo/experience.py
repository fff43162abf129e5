"""A cost model made of what this machine and the runs folder can tell before a study runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.run import read_outcome
from hpo.analysis.formats import count
from hpo.costs import CostModel
from hpo.declarations import Study
from hpo.identity import differences
from hpo.reading import read_studies
from hpo.records import StudyRecord

_SIDE, _ROUNDS, _MEASURED_S = 64, 25, 0.05
"""At this size BLAS takes one thread, as the runs of small models do."""
_GPU_FLOPS_PER_S = 2e13
"""What small Transformers get of a GPU; nothing is asked of it here, as that would take CUDA."""
_OTHERS = 5
"""Other studies that are read, those with the most trials first."""


@dataclass(frozen=True)
class Experience:
    """A cost model, and what it knows from where."""

    model: CostModel
    basis: tuple[str, ...]
    """For people, one source each."""
    elapsed_s: float = 0.0
    """Wall-clock seconds that earlier runs of the study have spent."""
    finished: int = 0
    """Trials that they have finished."""


def gather(
    study: Study, storage: str | None, runs_dir: Path, *, jobs: int, on_gpu: bool
) -> Experience:
    """What is known of a study's costs: the machine's speed, other studies, its own trials.

    `jobs` trials run at the same time, all on GPUs or all on the CPU.

    Only studies on the same kind of device count. Takes a tenth of a second and
    the reading of the database.
    """
    device = "cuda" if on_gpu else "cpu"
    flops_per_s = _GPU_FLOPS_PER_S if device == "cuda" else measure_flops_per_s()
    model = CostModel(study, flops_per_s=flops_per_s, jobs=jobs)
    own, others = _records(study, storage, runs_dir)
    basis = []
    for record in others:
        if _was_on(device, record) and (told := model.borrow(record)):
            basis.append(f"{count(told, 'trial')} of {record.name}")
    if own is not None and _was_on(device, own) and (told := model.relearn(own.trials)):
        basis.append(f"{count(told, 'trial')} of this study")
    if not basis:
        basis.append(
            "a guess at the GPU"
            if device == "cuda"
            else f"a measurement of this machine, {flops_per_s / 1e9:.0f} GFLOP/s"
        )
    if own is None:
        return Experience(model, tuple(basis))
    finished = sum(trial.is_finished for trial in own.trials)
    return Experience(model, tuple(basis), own.elapsed_s, finished)


def measure_flops_per_s() -> float:
    """Operations a second of one core in matrix products, single precision, at its best."""
    matrix = np.ones((_SIDE, _SIDE), dtype=np.float32)
    matrix @ matrix
    begun, best_s = time.perf_counter(), math.inf
    while (started := time.perf_counter()) - begun < _MEASURED_S:
        for _ in range(_ROUNDS):
            matrix @ matrix
        best_s = min(best_s, time.perf_counter() - started)
    return _ROUNDS * 2 * _SIDE**3 / best_s


def _records(
    study: Study, storage: str | None, runs_dir: Path
) -> tuple[StudyRecord | None, list[StudyRecord]]:
    """The study's own record, if its trials are still of the same kind, and the others'."""
    # Those that cannot be read were written by another version; nothing rests on them.
    records, _ = read_studies(storage, runs_dir)
    alike = [record for record in records if record.task == study.task]
    own = next((one for one in alike if one.name == study.name and _is_alike(one, study)), None)
    finished = {one.name: sum(trial.is_finished for trial in one.trials) for one in alike}
    others = [one for one in alike if one is not own and finished[one.name]]
    others = sorted(others, key=lambda one: (-finished[one.name], one.name))[:_OTHERS]
    return own, others


def _is_alike(record: StudyRecord, study: Study) -> bool:
    known = {key: record.declaration.get(key) for key in ("protocol", "data")}
    return not differences(known, {key: study.as_json()[key] for key in known})


def _was_on(device: str, record: StudyRecord) -> bool:
    """Whether the newest outcome is of such a device; so is one that does not say."""
    for trial in reversed(record.trials):
        if trial.is_finished:
            try:
                facts = read_outcome(trial.folder).facts
            except UserError:  # its folder is gone
                continue
            return str(facts.get("device", device)).startswith(device)
    return True
