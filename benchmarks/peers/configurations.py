"""Configurations an hour on all cores: our `run` beside Optuna with Seq2SeqTrainer.

    HPO_DATA=FOLDER python -m benchmarks.peers.configurations [--points 16] [--peer-points 2]

Both take the points of `sweep.toml`, a shortened `finetune_sweep`, one after the other. The peer
pretrains for every point anew, so that each takes it as long: a few of them tell its rate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hpo
from benchmarks.peers.bounds import Bound, print_bounds
from benchmarks.peers.processes import (
    BenchError,
    all_cores,
    ask,
    find_data,
    find_peers,
    parser,
    run_command,
)
from hpo.analysis.trials import COSTS
from hpo.events import Event, TrialEnded

if TYPE_CHECKING:
    from hpo.declarations import Study
    from hpo.records import StudyRecord

STUDY = Path(__file__).with_name("sweep.toml")
BOUND = Bound("configurations/h to Optuna with Seq2SeqTrainer", 8, 20)


def main() -> None:
    arguments = _parse()
    data, peers = find_data(), find_peers(arguments.peers)
    study = _load(arguments, data)
    if not 1 <= arguments.peer_points <= arguments.points <= len(study.enqueue):
        raise BenchError(
            f"--peer-points {arguments.peer_points} --points {arguments.points}: the former must "
            f"not exceed the latter, nor that the {len(study.enqueue)} points of {STUDY.name}."
        )
    our_s, ours = _run_ours(study, arguments.points)
    _tell("ours", our_s, ours)
    their_s, theirs = _run_peer(study, arguments, peers)
    _tell("Optuna with Seq2SeqTrainer", their_s, theirs)
    print(f"\n{'point':>5} {'learning rate':>13} {'schedule':>12}   BLEU of ours, of the peer")
    for number, point in enumerate(study.enqueue[: arguments.points]):
        rate, schedule = point["finetune.learning_rate"], point["finetune.lr_scheduler_type"]
        peer = f"{theirs[number]:8.2f}" if number < len(theirs) else "       -"
        print(f"{number:5} {rate:13g} {schedule:>12}   {ours[number]:12.2f} {peer}")
    ratio = (len(ours) / our_s) / (len(theirs) / their_s)
    print_bounds(f"configurations, {len(all_cores())} cores", [(BOUND, ratio)])


def _tell(name: str, seconds: float, scores: Sequence[float]) -> None:
    rate = 3600 * len(scores) / seconds
    print(
        f"{name}: {len(scores)} points in {seconds:.0f} s, {rate:.1f} an hour; "
        f"validation BLEU at best {max(scores):.2f}",
        flush=True,
    )


def _run_ours(study: Study, points: int) -> tuple[float, list[float]]:
    """Seconds of a whole run, tokenizer and test set included, and the points' BLEU.

    Raises: BenchError where a trial has none.
    """
    scores: dict[int, float] = {}

    def watch(event: Event) -> None:
        if isinstance(event, TrialEnded) and event.outcome == "complete":
            assert event.value is not None
            scores[event.number] = event.value

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:
        result = hpo.run(study, trials=points, jobs=len(all_cores()), runs_dir=runs, observe=watch)
        seconds = time.perf_counter() - began
        _tell_parts(result.record, len(all_cores()) * seconds)
    if sorted(scores) != list(range(points)):
        raise BenchError(f"of {points} trials of ours only {len(scores)} are complete.")
    return seconds, [scores[number] for number in range(points)]


def _tell_parts(record: StudyRecord, slots_s: float) -> None:
    """What share of the slots' seconds each part of the trials took."""
    parts: Counter[str] = Counter()
    for trial in record.trials:
        parts.update({name: trial.cost.get(name, 0.0) for name in COSTS})
    shares = (f"{COSTS[name]} {spent / slots_s:.1%}" for name, spent in parts.most_common())
    rest = 1 - parts.total() / slots_s
    print(f"of the slots' time: {', '.join(shares)}, the test set and all else {rest:.1%}")


def _run_peer(
    study: Study, arguments: argparse.Namespace, peers: Path
) -> tuple[float, list[float]]:
    """Seconds of the search alone, imports and tokenizer not counted, and the points' BLEU."""
    request: dict[str, Any] = {
        "cache": str(arguments.cache),
        "protocol": study.protocol.model_dump(mode="json"),
        "data": study.data.model_dump(mode="json"),
        "model": {
            name.removeprefix("model."): value
            for name, value in study.space.fixed.items()
            if name.startswith("model.")
        },
        "points": [dict(point) for point in study.enqueue[: arguments.peer_points]],
    }
    found = ask(peers, "search_transformers", request, all_cores())
    return found["seconds"], found["bleu"]


def _load(arguments: argparse.Namespace, data: Path) -> Study:
    given = {
        "pretrain_steps": arguments.pretrain_steps,
        "finetune_steps": arguments.finetune_steps,
        "eval_every": arguments.finetune_steps,
        "validation_pairs": arguments.validation_pairs,
    }
    changes = {f"protocol.{name}": value for name, value in given.items() if value is not None}
    return hpo.load_study(STUDY, overrides=changes, data=data)


def _parse() -> argparse.Namespace:
    command = parser("configurations", __doc__)
    command.add_argument("--points", type=int, default=16)
    command.add_argument("--peer-points", type=int, default=2, help="those of them for the peer")
    command.add_argument("--pretrain-steps", type=int, help="a multiple of --finetune-steps")
    command.add_argument("--finetune-steps", type=int, help="also the updates between evaluations")
    command.add_argument("--validation-pairs", type=int, help="all by default")
    return command.parse_args()


# Our trials run in spawned processes, which import this file.
if __name__ == "__main__":
    run_command(main)
