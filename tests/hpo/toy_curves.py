"""A task that trains nothing: its curves are arithmetic, its troubles are declared.

Serves as a `TaskSpec`, and as the module whose `run` and `score_test` a slot calls, in this
process or in a spawned one. Its files are those of a real run: checkpoint, weights, outcome.json.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from core.errors import DataError
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
ALARM_STEP = 5
"""Where trouble starts."""
Kind = Literal["fine", "crash", "die_once", "memory", "diverge", "mistake", "silent"]


class Model(Settings):
    width: int = Field(default=8, ge=1, le=128)
    kind: Kind = "fine"


class Finetune(Settings):
    rate: float = Field(default=1e-3, gt=0, le=1)


class Protocol(Settings):
    first_steps: int = 0
    second_steps: int = 12
    eval_every: int = 3
    step_s: float = 0.0


class Data(Settings):
    source: str = "arithmetic"


class Version(str):
    """Text of a class of its own, such as torch's version is."""

    __slots__ = ()


DIGESTS = {"data": "d" * 64}


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
    prepare=lambda protocol, data, cache: Facts(dict(DIGESTS), {"numbers": 3}, ("3 numbers",)),
    build=lambda config, placement, cache: None,  # type: ignore[arg-type,return-value]  # never asked
    sources=("arithmetic",),
    signature=lambda protocol: SIGNATURE,
    is_fusable=True,
    final_line="FINAL_TEST_SCORE",
)


def value_at(config: RunConfig, step: int) -> float:
    """The curve: wider is better, a rate near 1e-2 is better, and the seed adds a little."""
    width, rate = config.groups["model"]["width"], config.groups["finetune"]["rate"]
    luck = derive_seed(config.seed, step) % 1000 / 1000
    return width * (1 - math.exp(-step / 5)) - 2 * abs(math.log10(rate) + 2) + luck


def run(
    config: RunConfig, placement: Placement, folder: Path, cache_dir: Path, on_event: OnEvent
) -> Outcome:
    """As `core.run.run`."""
    folder.mkdir(parents=True, exist_ok=True)
    cache_dir.mkdir(parents=True, exist_ok=True)
    final = _read(folder / "outcome.json")
    if final is not None:
        return _outcome(config, OutcomeState(final["state"]), final["step"])
    with (cache_dir / "attempts.txt").open("a") as log:
        log.write(f"{folder.name} {os.getpid()}\n")
    state, step = _train(config, folder, on_event)
    outcome = _outcome(config, state, step)
    if state is OutcomeState.COMPLETED:
        (folder / "weights").mkdir(exist_ok=True)
        (folder / "weights" / "model.bin").write_bytes(b"w" * 1009)
    if state is not OutcomeState.PAUSED:
        (folder / "outcome.json").write_text(json.dumps({"state": state.value, "step": step}))
        (folder / "checkpoint" / "state.json").unlink(missing_ok=True)
    return outcome


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
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "companies.txt").open("a") as log:
        log.write(f"{' '.join(sorted(folder.name for folder in folders))}\n")

    def go(index: int) -> None:
        def hear(event: Progress | Evaluation) -> Verdict:
            with turns:
                return on_events[index](event)

        outcome = run(configs[index], placement, folders[index], cache_dir, hear)
        with turns:
            on_outcome(index, outcome)

    with ThreadPoolExecutor(len(configs)) as pool:
        list(pool.map(go, range(len(configs))))


def fuse_size(config: RunConfig, placement: Placement, cache_dir: Path) -> int:
    """As `core.run.fuse_size`."""
    assert config.groups["model"]["width"] >= 2
    return 4


def score_test(config: RunConfig, placement: Placement, folder: Path, cache_dir: Path) -> Scores:
    """As `core.run.score_test`."""
    assert (folder / "weights").is_dir()
    with (cache_dir / "readings.txt").open("a") as log:
        log.write(f"{folder.name}\n")
    return Scores(value_at(config, 10**6), {}, SIGNATURE, {"hypotheses.txt": "one\ntwo\n"})


def _train(config: RunConfig, folder: Path, on_event: OnEvent) -> tuple[OutcomeState, int]:
    protocol = Protocol(**config.protocol)
    total = protocol.first_steps + protocol.second_steps
    start = (_read(folder / "checkpoint" / "state.json") or {"step": 0})["step"]
    (folder / "checkpoint").mkdir(exist_ok=True)
    for step in range(1, total + 1):
        if step > start:
            time.sleep(protocol.step_s)
            _trouble(config.groups["model"]["kind"], step, folder)
            if config.groups["model"]["kind"] == "diverge" and step == ALARM_STEP:
                return OutcomeState.DIVERGED, step
            fresh = folder / "checkpoint" / "state.new"
            fresh.write_text(json.dumps({"step": step}))
            fresh.replace(folder / "checkpoint" / "state.json")  # whole, whenever it is killed
            speed = 1 / max(protocol.step_s, 0.001)
            progress = Progress(_stage(protocol, step), step, total, 1.5, speed)
            if on_event(progress) is Verdict.PAUSE:
                return OutcomeState.PAUSED, step
        if step % protocol.eval_every == 0:
            verdict = on_event(_evaluation(config, step, replayed=step <= start))
            if step == total:
                break
            if verdict is Verdict.STOP:
                return OutcomeState.STOPPED, step
            if verdict is Verdict.PAUSE:
                return OutcomeState.PAUSED, step
    return OutcomeState.COMPLETED, total


def _trouble(kind: Kind, step: int, folder: Path) -> None:
    if step != ALARM_STEP:
        return
    if kind == "crash":
        raise ValueError("a crash\nin two lines")
    if kind == "memory":
        raise MemoryError
    if kind == "mistake":
        raise DataError("the numbers are gone", where="numbers.txt")
    if kind == "silent":
        (folder / "silent").touch()
        time.sleep(60)
    if kind == "die_once" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(7)


def _stage(protocol: Protocol, step: int) -> str:
    return "first" if step <= protocol.first_steps else "second"


def _evaluation(config: RunConfig, step: int, *, replayed: bool = False) -> Evaluation:
    stage = _stage(Protocol(**config.protocol), step)
    return Evaluation(stage, step, value_at(config, step), replayed=replayed)


def _outcome(config: RunConfig, state: OutcomeState, step: int) -> Outcome:
    protocol = Protocol(**config.protocol)
    every = protocol.eval_every
    curve = tuple(_evaluation(config, at) for at in range(every, step + 1, every))
    diverged = state is OutcomeState.DIVERGED
    return Outcome(
        state=state,
        step=step,
        value=curve[-1].value if curve else None,
        curve=curve,
        health=Health("diverged" if diverged else "healthy", grad_norm_max=math.inf),
        cost=Cost(prepare_s=0.01, finetune_s=max(step * protocol.step_s, 0.01)),
        reason=f"loss inf at step {step}" if diverged else "",
        facts={
            "version": Version("2.3"),
            "machine": {"threads": 3, "device": None},
            "device": "cpu toy",
        },
    )


def _read(path: Path) -> Mapping[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None
