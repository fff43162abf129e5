"""What a lower precision costs in score: the same runs in fp32 and in it, over seeds.

    python -m benchmarks.precision [--study quickstart] [--lower bf16] [--seeds 3] [--set K=V]

Trains the study's start configuration for all its steps, each seed in both precisions, with the
same weights and batches. A CPU without instructions for bf16 computes it all the same, rounded as
others round, but tens of times slower than fp32: give it small steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from core.run import run
from core.task import Evaluation, Placement, Progress, Verdict
from hpo.declarations import Study, load_study
from hpo.declarations.assembly import build_repeat, end_points


def main() -> int:
    """Trains, prints scores and what they say; returns 1 where more than seeds makes the gap."""
    arguments = _parse()
    names = ("fp32", arguments.lower)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, arguments.seeds + 1):
            for name in names:
                overrides = [*arguments.set, f"protocol.precision={name}"]
                study = load_study(arguments.study, data=arguments.data, overrides=overrides)
                placement = Placement(device, arguments.threads)
                scores[name].append(_score(study, seed, placement, Path(folder), name))
                print(f"seed {seed}, {name}: {scores[name][-1]:.3f}", flush=True)
    print(f"\n{'':8}{'mean':>9}{'sd':>8}   of {arguments.seeds} seeds")
    for name, found in scores.items():
        print(f"{name:8}{statistics.mean(found):9.3f}{statistics.stdev(found):8.3f}")
    gap, noise = gap_and_noise(scores["fp32"], scores[arguments.lower])
    is_within = abs(gap) <= noise
    print(
        f"{arguments.lower} - fp32: {gap:+.3f}, {'within' if is_within else 'beyond'} the noise "
        f"of a seed ({noise:.3f})"
    )
    return 0 if is_within else 1


def gap_and_noise(base: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The difference of the means, and the standard deviation over seeds, pooled of the two."""
    gap = statistics.mean(other) - statistics.mean(base)
    pooled = (statistics.variance(base) + statistics.variance(other)) / 2
    return gap, pooled**0.5


def _score(study: Study, seed: int, placement: Placement, folder: Path, name: str) -> float:
    """The metric at the end of a run of the study's start configuration."""
    cache = folder / "cache"
    facts = study.spec.prepare(study.protocol, study.data, cache)
    point = study.start or next(end_points(study.space))
    config = build_repeat(study, point, facts, seed)
    outcome = run(config, placement, folder / f"{seed}-{name}", cache, _go_on)
    if outcome.value is None:
        raise SystemExit(f"seed {seed} in {name} has no score: {outcome.reason}")
    return outcome.value


def _go_on(_event: Progress | Evaluation) -> Verdict:
    return Verdict.CONTINUE


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--lower", choices=("bf16", "fp16"), default="bf16")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    parser.add_argument("--data", help="corpora (default: the study's own)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: one seed shows no noise")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
