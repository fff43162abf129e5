"""One measurement in a process of its own, whose memory is then its own: prints it as JSON.

python -m benchmarks.growth.probe NAME JSON
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Figures = dict[str, float]


def measure(probe: str, **settings: Any) -> Figures:
    """What the probe finds, run in a child; also printed, for whoever waits.

    Raises: CalledProcessError.
    """
    command = [sys.executable, "-m", "benchmarks.growth.probe", probe, json.dumps(settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    told = {key: value for key, value in settings.items() if not isinstance(value, str)}
    print(f"{probe} {told}: {found}", file=sys.stderr, flush=True)
    return found


def training(*, d_model: int, layers: int, batch: int, steps: int) -> Figures:
    """Seconds of a training step on one thread, and the memory beyond what torch takes."""
    import torch

    from benchmarks.training_step import Training
    from core.precision import choose
    from core.translation.settings import ModelSettings

    torch.set_num_threads(1)
    torch.manual_seed(1)
    settings = ModelSettings(
        d_model=d_model, num_heads=4, num_layers=layers, d_ff=4 * d_model, dropout=0.1
    )
    before = _peak_bytes()
    cpu = torch.device("cpu")
    trained = Training(settings, cpu, choose("fp32", cpu), vocab=8000, batch=batch, length=15)
    trained.step()
    seconds = [_timed(trained.step, time.thread_time) for _ in range(steps)]
    return {"seconds": statistics.median(seconds), "bytes": _peak_bytes() - before}


def prepare(*, folder: str, cache: str, pairs: int) -> Figures:
    """What the driver does with a corpus once, and again when it finds it prepared."""
    from core.translation.corpus import prepare as prepare_corpora

    settings = _settings(folder, pairs)
    first = _timed(lambda: prepare_corpora(*settings, Path(cache)), time.process_time)
    again = _timed(lambda: prepare_corpora(*settings, Path(cache)), time.process_time)
    return {"seconds": first, "again_s": again, "bytes": _peak_bytes()}


def worker(*, folder: str, cache: str, pairs: int, digest: str, batches: int) -> Figures:
    """What a worker does with a prepared corpus: opens it, plans an epoch, makes batches.

    Of its memory, what is its own and what it shares with the system's page cache.
    """

    from core.kernels import CPU
    from core.translation.batching import BatchPlan
    from core.translation.prepared import load_prepared

    before = _status("RssAnon"), _status("RssFile")
    settings = _settings(folder, pairs)
    begun = time.process_time()
    data = load_prepared(*settings, digest, Path(cache))
    assert data.digest == digest
    train = data.train["pretrain"]
    plan = BatchPlan(
        train.src,
        train.tgt,
        batch_size=128,
        max_len=64,
        seed=1,
        block_rows=CPU.block_rows,
    )
    plan.batch(0)
    opened = time.process_time()
    for step in range(batches):
        plan.batch(step)
    batch_s = (time.process_time() - opened) / batches
    return {
        "seconds": opened - begun,
        "batch_s": batch_s,
        "bytes": _status("RssAnon") - before[0],
        "mapped_bytes": _status("RssFile") - before[1],
    }


def study(*, runs: str, trials: int, more: int) -> Figures:
    """A study of so many finished trials: resume, ask, report, tell, the report page."""
    from benchmarks.simulated import fill, run_simulated, simulated_study
    from hpo.analysis.report import write_report

    declared, folder = simulated_study("grown"), Path(runs)
    run_simulated(declared, folder, total=1)
    fill(declared, folder, upto=trials)
    begun = time.perf_counter()
    calls, result = run_simulated(declared, folder, total=trials + more)
    found = {
        "resume_s": calls.begun - begun,
        "ask_s": statistics.median(calls.ask),
        "report_s": statistics.median(calls.report),
        "tell_s": statistics.median(calls.tell),
        "bytes": _peak_bytes(),
    }
    return found | {"page_s": _timed(lambda: write_report(result.record), time.perf_counter)}


def slots(*, runs: str, slots: int, trials: int, pace_s: float) -> Figures:
    """One driver and so many slots, each with a report every `pace_s` seconds."""
    from benchmarks.simulated import run_simulated, simulated_study

    declared = simulated_study(f"slots{slots}")
    calls, _ = run_simulated(
        declared, Path(runs), total=slots * trials, slots=slots, pace_s=pace_s
    )
    return {
        "reports_per_s": len(calls.report) / calls.wall_s,
        "cpu_share": calls.cpu_s / calls.wall_s,
        "report_s": statistics.median(calls.report),
        "slowest_report_s": max(calls.report),
        "ask_s": statistics.median(calls.ask),
        "bytes": _peak_bytes(),
    }


def _settings(folder: str, pairs: int) -> tuple[Any, Any]:
    from core.translation.settings import TranslationData, TranslationProtocol

    protocol = TranslationProtocol(
        pretrain_pairs=pairs, finetune_corpus="pretrain", vocab_size=2000
    )
    return protocol, TranslationData(source=folder)


def _timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    call()
    return clock() - begun


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


_PROBES: Mapping[str, Callable[..., Figures]] = {
    "training": training,
    "prepare": prepare,
    "worker": worker,
    "study": study,
    "slots": slots,
}


if __name__ == "__main__":
    print(json.dumps(_PROBES[sys.argv[1]](**json.loads(sys.argv[2]))))
