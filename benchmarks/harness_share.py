"""The harness's share of a trial's time: all that is neither a training step nor an evaluation.

    python -m benchmarks.harness_share [--study quickstart] [--trials 6] [--jobs 1] [--set K=V]

Runs a study on the built-in corpus and adds up, over its trials but the first of each slot, for
which a worker is started, what each part took: those that a run counts itself (its cost), what its
attempt took beside them, and the gap since the attempt before it in its slot ended. Also how soon
after its start each trial had its first score.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import hpo
from hpo.declarations import load_study
from hpo.events import Event, TrialEvaluated, TrialStarted
from hpo.records import StudyRecord, TrialRecord
from hpo.spans import Span

_USEFUL = {"steps": ("pretrain_s", "finetune_s"), "evaluations": ("evaluate_s",)}
_OWN = {
    "prepare": "prepare_s",
    "checkpoints, histories, weights": "checkpoint_s",
    "events and their answers": "report_s",
    "another's stage A": "wait_s",
}
_BESIDE, _GAP = "worker to driver and back", "gap before it"
_GOAL, _AIM = 0.05, 0.02
_FIRST_SCORE_GOAL_S = 3.0


@dataclass
class _Watch:
    """When trials started, and how long after that their first scores came."""

    started: dict[int, float] = field(default_factory=dict)
    first_score_s: dict[int, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, TrialStarted):
            self.started[event.number] = now
        elif isinstance(event, TrialEvaluated):
            self.first_score_s.setdefault(event.number, now - self.started[event.number])


def main() -> None:
    """Runs the study and prints the shares."""
    arguments = _parse()
    changes = [*arguments.set, "finals.top=1", "finals.seeds=0"]
    study = load_study(arguments.study, data="pocket", overrides=changes)
    watch = _Watch()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = hpo.run(
            study,
            trials=arguments.trials,
            jobs=arguments.jobs,
            runs_dir=Path(folder),
            observe=watch,
        )
    trials = warm_parts(result.record)
    total = sum(sum(parts.values()) for parts in trials.values())
    print(f"{arguments.study}: {len(trials)} warm trials, {total / len(trials):.2f} s each")
    own_s = 0.0
    for part in [*_USEFUL, *_OWN, _BESIDE, _GAP]:
        seconds = sum(parts[part] for parts in trials.values())
        own_s += 0.0 if part in _USEFUL else seconds
        print(f"  {part:32}{1e3 * seconds / len(trials):9.0f} ms{seconds / total:8.2%}")
    share = own_s / total
    verdict = "missed" if share >= _GOAL else "reached" if share < _AIM else "aim missed"
    print(f"the harness's own: {share:.2%} (goal {_GOAL:.0%}, aim {_AIM:.0%}: {verdict})")
    second = sorted(watch.started)[1]
    first_s = watch.first_score_s[second]
    verdict = "reached" if first_s < _FIRST_SCORE_GOAL_S else "missed"
    print(
        f"first score of the second trial after {first_s:.2f} s "
        f"(goal {_FIRST_SCORE_GOAL_S:.0f} s: {verdict}); of all: "
        + ", ".join(f"{seconds:.2f}" for _, seconds in sorted(watch.first_score_s.items()))
    )


def warm_parts(record: StudyRecord) -> Mapping[int, Mapping[str, float]]:
    """Trial -> part -> seconds, of trials that had one attempt, not the first of its slot."""
    places: dict[str, list[tuple[Span, TrialRecord]]] = {}
    for trial in record.trials:
        for span in trial.spans:
            places.setdefault(span.place, []).append((span, trial))
    found = {}
    for attempts in places.values():
        attempts.sort(key=lambda one: one[0].begun)
        for (before, _), (span, trial) in pairwise(attempts):
            if len(trial.spans) == 1 and trial.cost and span.ended and before.ended:
                gap_s = (span.begun - before.ended).total_seconds()
                found[trial.number] = _parts(trial, (span.ended - span.begun).total_seconds())
                found[trial.number][_GAP] = gap_s
    return found


def _parts(trial: TrialRecord, taken_s: float) -> dict[str, float]:
    cost = trial.cost
    parts = {name: _sum(cost, keys) for name, keys in _USEFUL.items()}
    parts |= {name: _sum(cost, [key]) for name, key in _OWN.items()}
    return parts | {_BESIDE: taken_s - sum(parts.values())}


def _sum(cost: Mapping[str, float | None], keys: Sequence[str]) -> float:
    return sum(cost.get(key) or 0.0 for key in keys)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="as of `hpo run`")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; else temporary")
    return parser.parse_args()


if __name__ == "__main__":
    main()
