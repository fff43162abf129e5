"""`--fuse auto`: how many trials to train as one, measured where they are to run."""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from pathlib import Path

from hpo.declarations import Study
from hpo.declarations.assembly import build_config, end_points
from hpo.events import Note, Observe
from hpo.options import RunOptions
from hpo.slots import threads_per_slot
from hpo.workers.devices import local_places
from hpo.workers.local import LocalSlot
from hpo.workers.messages import Hello
from hpo.workers.nursery import Nursery


def measure_fusion(
    study: Study,
    options: RunOptions,
    cache: Path,
    observe: Observe,
    *,
    module: str = "core.run",
) -> int:
    """The number for the study's start configuration on the first of the run's devices.

    1 without a measurement on the CPU, where it does not pay, and for a task that cannot be fused.
    """
    places = local_places(options)
    if places[0].gpu is None or not study.spec.is_fusable:
        why = "on the CPU it gains nothing" if study.spec.is_fusable else "this task cannot be"
        observe(Note(f"--fuse auto: trials are trained one by one, {why}"))
        return 1
    facts = study.spec.prepare(study.protocol, study.data, cache)
    point = study.start or next(end_points(study.space))
    config = build_config(study, point, facts, 0)
    nursery = Nursery(Hello(module, tuple(sys.path), threads_per_slot(len(places)), cache))
    with (
        tempfile.TemporaryDirectory(prefix="hpo-fuse-") as folder,
        closing(LocalSlot(nursery, places[0])) as slot,
    ):
        size = slot.fuse_size(config, Path(folder))
    observe(
        Note(f"--fuse auto: up to {size} trials are trained as one, as measured on {slot.device}")
    )
    return size
