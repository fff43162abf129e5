"""A task that trains nothing: 20 steps of 10 ms and a checkpoint every 4, arithmetic for scores.

Serves as a `TaskSpec`, and as the module whose `run` and `score_test` a worker calls. Core's own
checkpoint and stage cache load torch, seconds in every child; here are small ones of the same
make: `core.atomic` for files, one lock file an entry for the cache, one trial's checkpoint in
`checkpoint/`, `outcome.json` last. Each step that is really done is written to the journal.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field

from benchmarks.faults.journal import Journal
from core.atomic import replace_file, replace_json
from core.settings import RunConfig, Settings, derive_seed
from core.task import (
    Cost,
    Evaluation,
    Facts,
    Grid,
    Health,
    Metric,
    OnEvent,
    Outcome,
    OutcomeState,
    Placement,
    Progress,
    Scores,
    TaskSpec,
    Verdict,
)

SIGNATURE = "toy|v1"
_HOUR_S = 3600.0


class Model(Settings):
    width: int = Field(default=8, ge=1, le=128)


class Finetune(Settings):
    rate: float = Field(default=1e-3, gt=0, le=1)


class Protocol(Settings):
    first_steps: int = 0
    """Of a stage that trials of one width share through the cache."""
    second_steps: int = 20
    eval_every: int = 4
    """A checkpoint is written as often."""
    step_s: float = 0.01
    journal: str = ""
    """Folder of the journal: told here, as nodes of a cluster know nothing of the environment."""


class Data(Settings):
    source: str = "arithmetic"


def _grid(protocol: Protocol) -> Grid:
    stages = (("first", protocol.first_steps), ("second", protocol.second_steps))
    return Grid(tuple(stage for stage in stages if stage[1]), protocol.eval_every)


SPEC = TaskSpec(
    name="toy",
    metric=Metric(name="score", unit="", direction="maximize", floor=0.0),
    protocol=Protocol,
    data=Data,
    groups={"model": Model, "finetune": Finetune},
    structure_group="model",
    grid=_grid,
    check=lambda groups, protocol: None,
    prepare=lambda protocol, data, cache: Facts({"data": "d" * 64}),
    build=lambda config, placement, cache: None,  # type: ignore[arg-type,return-value]  # never asked
    sources=("arithmetic",),
    signature=lambda protocol: SIGNATURE,
    is_fusable=True,
    final_line="FINAL_TEST_SCORE",
)


def run(
    config: RunConfig, placement: Placement, folder: Path, cache_dir: Path, on_event: OnEvent
) -> Outcome:
    """As `core.run.run`."""
    trial = _Trial(config, folder, cache_dir, on_event)
    trial.journal.write(trial.name, "begin")
    written = _read(folder / "outcome.json")
    if written is not None:
        return trial.outcome(OutcomeState(written["state"]), written["step"])
    state, step = trial.train()
    if state is not OutcomeState.PAUSED:
        (folder / "weights").mkdir(exist_ok=True)
        replace_file(folder / "weights" / "model.bin", lambda path: _fill(path, b"w" * 1009))
        replace_json(folder / "outcome.json", {"state": state.value, "step": step})
        trial.journal.write(trial.name, "end", state.value)
        trial.meet("written")
        (folder / "checkpoint" / "state.json").unlink(missing_ok=True)
    return trial.outcome(state, step)


def run_fused(
    configs: Sequence[RunConfig],
    placement: Placement,
    folders: Sequence[Path],
    cache_dir: Path,
    on_events: Sequence[OnEvent],
    on_outcome: Callable[[int, Outcome], None],
) -> None:
    """As `core.run.run_fused`, a thread for each."""
    turns = threading.Lock()

    def go(index: int) -> None:
        def tell(event: Progress | Evaluation) -> Verdict:
            with turns:
                return on_events[index](event)

        outcome = run(configs[index], placement, folders[index], cache_dir, tell)
        with turns:
            on_outcome(index, outcome)

    with ThreadPoolExecutor(len(configs)) as threads:
        list(threads.map(go, range(len(configs))))


def score_test(config: RunConfig, placement: Placement, folder: Path, cache_dir: Path) -> Scores:
    """As `core.run.score_test`."""
    assert (folder / "weights").is_dir()
    Journal(Path(config.protocol["journal"])).write(folder.name, "test")
    return Scores(value_at(config, 10**6), {}, SIGNATURE, {"hypotheses.txt": "one\n"})


def value_at(config: RunConfig, step: int) -> float:
    """The curve: wider is better, a rate near 1e-2 is better, and the seed adds a little."""
    width, rate = config.groups["model"]["width"], config.groups["finetune"]["rate"]
    luck = derive_seed(config.seed, step) % 1000 / 1000
    return float(width * (1 - math.exp(-step / 5)) - 2 * abs(math.log10(rate) + 2) + luck)


class _Trial:
    """One attempt at a trial."""

    def __init__(
        self, config: RunConfig, folder: Path, cache_dir: Path, on_event: OnEvent
    ) -> None:
        self.name = folder.name
        self._config = config
        self._protocol = Protocol(**config.protocol)
        self.journal = Journal(Path(self._protocol.journal))
        self._folder = folder
        self._cache = cache_dir
        self._on_event = on_event
        self._troubles = self.journal.troubles(self.name)

    def train(self) -> tuple[OutcomeState, int]:
        """Goes on from the checkpoint to the end, or to where it is told to leave."""
        step = (_read(self._folder / "checkpoint" / "state.json") or {"step": 0})["step"]
        if step:
            self.meet("resume")
        protocol = self._protocol
        for done in range(protocol.eval_every, step + 1, protocol.eval_every):
            self._on_event(self._evaluation(done, replayed=True))
        if step < protocol.first_steps:
            verdict = self._share_first_stage()
            step = protocol.first_steps
            self._save(step)
            if verdict is Verdict.PAUSE:
                return OutcomeState.PAUSED, step
        total = protocol.first_steps + protocol.second_steps
        while step < total:
            step += 1
            self._work(self.name, step)
            if step % protocol.eval_every:
                continue
            self._save(step)
            verdict = self._tell(step, total)
            if verdict is Verdict.PAUSE and step < total:
                return OutcomeState.PAUSED, step
            if verdict is Verdict.STOP and step < total:
                return OutcomeState.STOPPED, step
        return OutcomeState.COMPLETED, total

    def meet(self, moment: str) -> None:
        """Lets happen what is planned for a moment."""
        for trouble in self._troubles:
            if trouble.at == moment:
                self.journal.write(self.name, "trouble", f"{trouble.at} {trouble.what}")
                TROUBLES[trouble.what]()

    def outcome(self, state: OutcomeState, step: int) -> Outcome:
        every = self._protocol.eval_every
        curve = tuple(self._evaluation(at) for at in range(every, step + 1, every))
        return Outcome(
            state=state,
            step=step,
            value=curve[-1].value if curve else None,
            curve=curve,
            health=Health("healthy"),
            cost=Cost(prepare_s=0.01, finetune_s=max(step * self._protocol.step_s, 0.01)),
        )

    def _work(self, name: str, step: int) -> None:
        time.sleep(self._protocol.step_s)
        if name == self.name:
            self.meet(f"step {step}")
        self.journal.write(name, "step", step)

    def _tell(self, step: int, total: int) -> Verdict:
        speed = 1 / max(self._protocol.step_s, 0.001)
        progress = Progress("second", step, total, 1.5, speed)
        if self._on_event(progress) is Verdict.PAUSE and step < total:
            return Verdict.PAUSE
        return self._on_event(self._evaluation(step))

    def _save(self, step: int) -> None:
        folder = self._folder / "checkpoint"
        folder.mkdir(exist_ok=True)
        content = json.dumps({"step": step})
        half = partial(self.meet, f"checkpoint {step}")
        replace_file(folder / "state.json", lambda path: _fill(path, content.encode(), half))
        self.journal.write(self.name, "checkpoint", step)

    def _share_first_stage(self) -> Verdict:
        """Takes the first stage from the cache, or trains it while others wait for it."""
        key = f"stage{self._config.groups['model']['width']}"
        entry, verdict = self._cache / "stages" / f"{key}.json", Verdict.CONTINUE
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(entry.with_suffix(".lock"))
        while not entry.exists():
            try:
                lock.acquire(timeout=0.05)
            except Timeout:
                self.journal.write(self.name, "wait")
                self._on_event(Progress("first", 0, 1, None, 0.0, "waiting for stage A"))
                continue
            try:
                if not entry.exists():
                    for step in range(1, self._protocol.first_steps + 1):
                        self._work(key, step)
                    self._keep_first_stage(entry)
            finally:
                lock.release()
        assert _read(entry) == {"is": "whole"}
        every = self._protocol.eval_every
        for step in range(every, self._protocol.first_steps + 1, every):
            verdict = self._on_event(self._evaluation(step))
        return verdict

    def _keep_first_stage(self, entry: Path) -> None:
        half = partial(self.meet, "cache")
        replace_file(entry, lambda path: _fill(path, b'{"is": "whole"}', half))

    def _evaluation(self, step: int, *, replayed: bool = False) -> Evaluation:
        stage = "first" if step <= self._protocol.first_steps else "second"
        return Evaluation(stage, step, value_at(self._config, step), replayed=replayed)


# Troubles


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


OutOfMemoryError.__module__ = "torch"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run_out_of_memory() -> None:
    used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    bytearray(2**30)


def _run_out_of_gpu_memory() -> None:
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def _assert_on_device() -> None:
    raise RuntimeError("CUDA error: device-side assert triggered")


def _raise() -> None:
    raise ValueError("a crash")


def _hang() -> None:
    time.sleep(_HOUR_S)


def _linger() -> None:
    time.sleep(0.5)


def _jump_back() -> None:
    _jump(-_HOUR_S)


def _jump(by: float = _HOUR_S) -> None:
    real = time.time
    time.time = lambda: real() + by


TROUBLES: Mapping[str, Callable[[], None]] = {
    "kill": _die,
    "abort": partial(os._exit, 134),
    "exit": partial(sys.exit, 3),
    "memory limit": _run_out_of_memory,
    "gpu memory": _run_out_of_gpu_memory,
    "device assert": _assert_on_device,
    "raise": _raise,
    "hang": _hang,
    "linger": _linger,
    "clock forward": _jump,
    "clock back": _jump_back,
}


def _fill(path: Path, content: bytes, in_the_middle: Callable[[], None] = lambda: None) -> None:
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        in_the_middle()
        file.write(content[len(content) // 2 :])


def _read(path: Path) -> Mapping[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None
