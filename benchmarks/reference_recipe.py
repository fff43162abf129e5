"""Trains one fixed configuration on Multi30k, then fine-tunes it on TED talks.

The question: does the core reach the BLEU that this structure and recipe are known to reach, and
at how many steps a second?

    python -m benchmarks.reference_recipe --data FOLDER [--pretrain-steps 1000] [--threads 1]

FOLDER holds `multi30k/{train,val,test_2016_flickr}.{de,en}` and `iwslt2017/{train,val}.{de,en}`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from core.registry import find_task
from core.run import run
from core.settings import RunConfig
from core.task import Cost, Evaluation, Placement, Progress, Verdict

STRUCTURE = {"d_model": 128, "num_heads": 4, "num_layers": 3, "d_ff": 512, "dropout": 0.1}
EVAL_EVERY = 100
SAMPLES = 10


def main() -> None:
    arguments = _parse()
    spec = find_task("translation")
    protocol = spec.protocol(
        pretrain_steps=arguments.pretrain_steps,
        finetune_steps=arguments.finetune_steps,
        eval_every=EVAL_EVERY,
    )
    data = spec.data(source=str(arguments.data.resolve()))
    finetune = {
        "learning_rate": arguments.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_ratio": 0.1,
    }
    groups = {
        "model": spec.groups["model"].model_validate(STRUCTURE).model_dump(mode="json"),
        "finetune": spec.groups["finetune"].model_validate(finetune).model_dump(mode="json"),
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        facts = spec.prepare(protocol, data, cache)
        for note in facts.notes:
            print(note)
        config = RunConfig(
            task=spec.name,
            groups=groups,
            protocol=protocol.model_dump(mode="json"),
            data=data.model_dump(mode="json"),
            data_digest=facts.digests["data"],
            structure_seed=arguments.seed,
            seed=arguments.seed,
        )
        started = time.perf_counter()
        placement = Placement("cpu", arguments.threads)
        outcome = run(config, placement, Path(folder) / "run", cache, _print_event)
        _print_outcome(outcome.cost, protocol, time.perf_counter() - started)
        print(f"{outcome.state.value} {outcome.reason}\n{outcome.facts}")
        _print_samples(Path(folder) / "run" / "artifacts")


def _print_event(event: Progress | Evaluation) -> Verdict:
    if isinstance(event, Evaluation):
        others = " ".join(f"{name}={value:.2f}" for name, value in event.metrics.items())
        print(
            f"{event.elapsed_s:7.0f} s  {event.stage:8} step {event.step:5}  "
            f"{event.value:.2f} {others}",
            flush=True,
        )
    return Verdict.CONTINUE


def _print_outcome(cost: Cost, protocol: Any, wall_s: float) -> None:
    a_rate = protocol.pretrain_steps / cost.pretrain_s
    b_rate = protocol.finetune_steps / cost.finetune_s
    print(f"stage A: {a_rate:.2f} steps/s, stage B: {b_rate:.2f} steps/s")
    print(f"{wall_s:.0f} s in all; {cost}")


def _print_samples(folder: Path) -> None:
    names = ("validation.src", "validation.ref", "validation.beam")
    columns = []
    for name in names:
        (path,) = sorted(folder.glob(f"step*.{name}"))[-1:]
        columns.append(path.read_text(encoding="utf-8").split("\n")[:SAMPLES])
    for sentence in zip(*columns, strict=False):
        print("\n".join(("", *sentence)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pretrain-steps", type=int, default=1000)
    parser.add_argument("--finetune-steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=3e-5, help="of the fine-tuning")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
