"""How long after the death of a worker its trial's next attempt sends its first event.

    python -m benchmarks.dead_worker [--kills 20] [--out CSV]

A worker that trains on the built-in corpus with the real `core.run` is killed with SIGKILL, again
and again, each time when the spare has imported what runs need. Seconds are those from the kill to
the event: the slot notices, takes the spare, which reads the data, builds the model and loads the
checkpoint. Imports are left out, what the driver does between two attempts as well. The spare's
CPU seconds from the kill to the event are given too: what is left of the first figure where
nothing else wants the cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from core.registry import find_task
from core.settings import RunConfig
from core.task import Evaluation, OutcomeState, Progress, Verdict
from hpo.options import RunOptions
from hpo.slots import Work, WorkerError
from hpo.workers.local import LocalSlot, local_slots

MEDIAN_S, MOST_S = 1.0, 3.0
_PROTOCOL = {
    "pretrain_pairs": 2000,
    "finetune_pairs": 1000,
    "validation_pairs": 100,
    "test_pairs": 200,
    "vocab_size": 2000,
    "batch_size": 16,
    "pretrain_steps": 40,
    "finetune_steps": 8000,
    "eval_every": 40,
}
"""The study `quickstart`, but for a stage B that outlasts the kills."""


def main() -> int:
    """Prints the seconds; returns 1 where they are too many."""
    arguments = _parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = _configure(folder / "cache")
        (slot,) = local_slots(RunOptions(jobs=1), folder / "cache")
        assert isinstance(slot, LocalSlot)
        with closing(slot):
            _train_stage_a(slot, config, folder / "run")
            rows = [
                _kill(slot, Work(0, attempt, config, folder / "run"))
                for attempt in range(1, arguments.kills + 1)
            ]
    if arguments.out is not None:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("seconds", "CPU seconds"), *rows])
    seconds, cpu_seconds = zip(*rows, strict=True)
    median, most = statistics.median(seconds), max(seconds)
    print(
        f"{len(rows)} workers killed: first event of the next attempt after {median:.2f} s "
        f"(median), {most:.2f} s (most), of CPU time {statistics.median(cpu_seconds):.2f} s and "
        f"{max(cpu_seconds):.2f} s; load {os.getloadavg()[0]:.1f}"
    )
    return 0 if median <= MEDIAN_S and most <= MOST_S else 1


def _configure(cache: Path) -> RunConfig:
    spec = find_task("translation")
    protocol, data = spec.protocol(**_PROTOCOL), spec.data(source="pocket")
    groups = {name: group().model_dump(mode="json") for name, group in spec.groups.items()}
    groups["model"] |= {"d_model": 64, "num_heads": 4, "d_ff": 128, "num_layers": 2}
    return RunConfig(
        task=spec.name,
        groups=groups,
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=spec.prepare(protocol, data, cache).digests["data"],
        structure_seed=1,
        seed=1,
    )


def _train_stage_a(slot: LocalSlot, config: RunConfig, folder: Path) -> None:
    """Leaves a checkpoint in stage B, from which all attempts go on."""

    def pause(event: Progress | Evaluation) -> Verdict:
        return Verdict.PAUSE if event.stage == "finetune" else Verdict.CONTINUE

    outcome = slot.run(Work(0, 0, config, folder), pause)
    assert outcome.state is OutcomeState.PAUSED, outcome


def _kill(slot: LocalSlot, work: Work) -> tuple[float, float]:
    """Kills the worker of one attempt; returns the seconds, and the spare's CPU seconds, to the
    next one's first event."""
    at: dict[str, float] = {}
    cpu: dict[str, float] = {}

    def kill(_event: Progress | Evaluation) -> Verdict:
        if not at:
            spare, child = slot._nursery._spare, slot._child
            assert spare is not None, "no room for a spare worker"
            assert child is not None
            while not spare.has_spoken:
                time.sleep(0.01)
            time.sleep(0.2)
            at["kill"], cpu["kill"] = time.monotonic(), _cpu_s(spare.pid)
            os.kill(child.pid, signal.SIGKILL)
        return Verdict.CONTINUE

    def note(_event: Progress | Evaluation) -> Verdict:
        if "event" not in at:
            assert slot._child is not None
            at["event"], cpu["event"] = time.monotonic(), _cpu_s(slot._child.pid)
        return Verdict.PAUSE

    try:
        slot.run(work, kill)
    except WorkerError as fault:
        assert fault.kind == "killed", fault.reason
    else:
        raise AssertionError("the worker ended before it was killed")
    outcome = slot.run(work, note)
    assert outcome.state is OutcomeState.PAUSED, outcome
    return round(at["event"] - at["kill"], 3), round(cpu["event"] - cpu["kill"], 3)


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path, help="where the seconds are written too")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
