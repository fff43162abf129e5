"""Every way in which a worker can break down, in real children, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_work import MakeWork

from core.task import Verdict
from hpo.options import RunOptions
from hpo.slots import WorkerError
from hpo.workers.breakdowns import kind_of
from hpo.workers.local import local_slots

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    ("trouble", "kind", "reason"),
    [
        ("exit", "error", r"the trial called sys\.exit\(3\)"),
        ("interrupt", "error", "KeyboardInterrupt"),
        ("exit at once", "died", "the worker exited with code 134"),
        ("signal", "died", "the worker died of SIGABRT"),
        ("kill", "killed", "the worker was killed"),
        ("limit", "memory", "MemoryError"),
        ("torch memory", "memory", "OutOfMemoryError: CUDA out of memory"),
        ("raise CUDA error: device-side assert triggered", "device", "RuntimeError: CUDA error"),
    ],
)
def test_a_breakdown_is_called_by_its_kind_and_the_next_attempt_is_fine(
    trouble: str, kind: str, reason: str, make_work: MakeWork, tmp_path: Path
) -> None:
    (slot,) = local_slots(RunOptions(jobs=1), tmp_path / "cache", module="toy_troubles")
    try:
        with pytest.raises(WorkerError, match=f"^{reason}") as caught:
            slot.run(make_work(trouble), lambda _: Verdict.CONTINUE)
        assert caught.value.kind == kind
        assert slot.run(make_work(trouble), lambda _: Verdict.CONTINUE).value == 1.0
    finally:
        slot.close()


class AcceleratorError(RuntimeError):
    """Of the name that torch's has."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("std::bad_alloc"), "memory"),
        (RuntimeError(ALLOCATOR), "memory"),
        (OSError(12, "Cannot allocate memory"), "memory"),
        (ImportError("libx.so: failed to map segment: Cannot allocate memory"), "memory"),
        (RuntimeError("CUDA error: out of memory"), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "memory"),
        (AcceleratorError("an illegal memory access was encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (ValueError("CUDA error is a word here"), "error"),
        (RuntimeError("shapes differ"), "error"),
    ],
)
def test_what_an_exception_says(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind
