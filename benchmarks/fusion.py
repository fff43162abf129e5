"""Steps a second of trials that are fine-tuned as one stacked model, against one at a time.

    python -m benchmarks.fusion --d-model 128 256 512 --sizes 1 2 4 8 16 32

On the built-in corpus, or with --data on a folder laid out as docs/own-data.md says. Members'
batches differ, so that filling them up is in the figures. Seconds on the CPU are of this thread,
so that a busy machine disturbs less. Calls are the operations of a step that compute: what a GPU
that waits for launches has to wait for.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from core.fusing import measure_rate
from core.machine import describe, occupy
from core.optimizer import StageOptimizer
from core.precision import Precision, choose
from core.settings import RunConfig
from core.task import Placement
from core.translation.spec import SPEC
from core.translation.task import TranslationTask

Clock = Callable[[], float]


def build_task(args: argparse.Namespace, d_model: int, cache: Path) -> TranslationTask:
    """A fine-tuning of the corpus' captions."""
    protocol = SPEC.protocol.model_validate(
        {
            "vocab_size": args.vocab,
            "batch_size": args.batch,
            "pretrain_steps": 0,
            "finetune_steps": args.steps,
            "eval_every": args.steps,
            "finetune_corpus": "pretrain",
        }
    )
    data = SPEC.data.model_validate({"source": args.data})
    model = {
        "d_model": d_model,
        "d_ff": 4 * d_model,
        "num_layers": args.layers,
        "dropout": args.dropout,
    }
    config = RunConfig(
        task="translation",
        groups={
            "model": SPEC.groups["model"].model_validate(model).model_dump(mode="json"),
            "finetune": SPEC.groups["finetune"]().model_dump(mode="json"),
        },
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=SPEC.prepare(protocol, data, cache).digests["data"],
        structure_seed=1,
        seed=1,
    )
    return TranslationTask(config, Placement(args.device), cache)


class Calls(TorchDispatchMode):
    """Counts operations, those left out that only look at a tensor in another way."""

    count = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def count_calls(measure: Callable[[int], object]) -> int:
    """Calls of one step: those of two less those of one."""
    with Calls() as two:
        measure(2)
    with Calls() as one:
        measure(1)
    return two.count - one.count


def measure_alone(
    task: TranslationTask, device: torch.device, precision: Precision, steps: int, clock: Clock
) -> float:
    """Steps a second of one run, as `core.train` makes them."""
    stage = task.stages[-1]
    model = task.build_model().to(device)
    optimizer = StageOptimizer(model, stage, precision)
    seconds = []
    for step in range(steps):
        start = clock()
        with precision.autocast():
            loss = task.loss(model, task.batch(stage, step), stage)
        optimizer.update(loss)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - start)
    return 1 / statistics.median(seconds[3:] or seconds)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=13, help="the first three are not measured")
    parser.add_argument("--calls", action="store_true", help="count them instead, at one d_model")
    parser.add_argument("--data", default="pocket", help="a folder of corpora")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    return parser.parse_args()


def main() -> None:
    """Measures and prints a line for each width and size."""
    args = read_arguments()
    device = occupy(Placement(args.device))
    precision = choose("auto", device)
    # Of this thread where it computes itself, else of the world.
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    print(describe(device, precision))
    with tempfile.TemporaryDirectory() as cache:
        for d_model in args.d_model:
            torch.manual_seed(1)
            task = build_task(args, d_model, Path(cache))
            together = partial(measure_rate, task, device, precision, clock=clock)
            alone = partial(measure_alone, task, device, precision, clock=clock)
            if args.calls:
                calls = count_calls(alone)
                print(f"one at a time: {calls} calls a step")
                for size in args.sizes:
                    each = count_calls(partial(together, size)) / size
                    print(
                        f"K = {size}: {each:.0f} calls a member's step, {calls / each:.1f}x less"
                    )
                return
            rate = alone(args.steps)
            print(f"d_model {d_model}, one at a time: {rate:.2f} steps/s", flush=True)
            for size in args.sizes:
                try:
                    fused = together(size, args.steps)
                except torch.OutOfMemoryError:
                    print(f"d_model {d_model}, K = {size}: does not fit")
                    break
                print(
                    f"d_model {d_model}, K = {size}: {fused:.2f} steps/s together, "
                    f"{fused / rate:.2f}x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
