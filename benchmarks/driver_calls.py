"""What a trial costs the driver at many finished trials: ask, a report and tell, beside Optuna's.

    python -m benchmarks.driver_calls [--finished 1000] [--trials 50] [--cpu] [--profile]

Both search the league's ten parameters by TPE in SQLite, with a median pruner, from the same
finished trials. Ours is the whole driver: what it reads, stores, writes to the trial's folder and
waits for between a trial's end and the next one's start. Medians in milliseconds of the clock,
with `--cpu` those of the calling thread, which neither the disk nor other processes disturb.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, create_trial

from benchmarks.simulated import Calls, fill, run_simulated, simulated_study, steps_of
from hpo.sampling import suggest
from hpo.storage import locate
from hpo.storage.database import close

_GOAL_MS, _AIM_MS = 75.0, 45.0


def main() -> None:
    """Measures both and prints a table."""
    arguments = _parse()
    clock = time.thread_time if arguments.cpu else time.perf_counter
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        runs = Path(folder)
        study = simulated_study("ours")
        run_simulated(study, runs, total=1)
        fill(study, runs, upto=arguments.finished)
        found = _stored(runs, study.name)
        stock = Calls(clock)
        _run_stock(stock, found, runs / "stock.db", arguments.trials)
        profile = cProfile.Profile()
        if arguments.profile:
            profile.enable()
        total = arguments.finished + arguments.trials
        ours, _ = run_simulated(study, runs, total=total, clock=clock)
        profile.disable()
    what = "thread's CPU" if arguments.cpu else "clock"
    print(f"{arguments.finished} finished trials, {arguments.trials} more; median ms, {what}")
    print(f"{'':8}{'ask':>8}{'report':>8}{'tell':>8}{'all three':>12}")
    for name, calls in (("stock", stock), ("ours", ours)):
        ask, report, tell = (1e3 * statistics.median(one) for one in _parts(calls))
        print(f"{name:8}{ask:8.1f}{report:8.1f}{tell:8.1f}{ask + report + tell:12.1f}")
    reached = sum(1e3 * statistics.median(one) for one in _parts(ours))
    print(f"goal {_GOAL_MS:.0f} ms, aim {_AIM_MS:.0f} ms: {_verdict(reached)}")
    if arguments.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


def _parts(calls: Calls) -> tuple[list[float], list[float], list[float]]:
    return calls.ask, calls.report, calls.tell


def _verdict(milliseconds: float) -> str:
    if milliseconds >= _GOAL_MS:
        return "missed"
    return "reached" if milliseconds < _AIM_MS else "goal reached, aim missed"


def _stored(runs: Path, name: str) -> list[FrozenTrial]:
    storage = locate(None, runs.resolve()).open_for_reading()
    try:
        return optuna.load_study(study_name=name, storage=storage).get_trials()
    finally:
        close(storage)


def _run_stock(calls: Calls, found: Sequence[FrozenTrial], path: Path, trials: int) -> None:
    """Asks, reports once and tells as Optuna's manual has it, in a study of the same trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{path}",
        sampler=optuna.samplers.TPESampler(seed=1),
        pruner=optuna.pruners.MedianPruner(),
        direction="maximize",
    )
    for one in found:
        study.add_trial(
            create_trial(
                value=one.value,
                params=one.params,
                distributions=one.distributions,
                intermediate_values=one.intermediate_values,
            )
        )
    declared = simulated_study("stock")
    first_step = steps_of(declared.grid)[0]

    for _ in range(trials):
        times = [calls.clock()]
        trial = study.ask()
        suggest(declared.space, trial)
        times.append(calls.clock())
        trial.report(20.0 + trial.number % 7, first_step)
        trial.should_prune()
        times.append(calls.clock())
        study.tell(trial, 20.0 + trial.number % 7)
        times.append(calls.clock())
        for part, (begun, ended) in zip(_parts(calls), pairwise(times), strict=True):
            part.append(ended - begun)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--finished", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--cpu", action="store_true", help="the thread's seconds, not the clock's")
    parser.add_argument("--profile", action="store_true", help="print where ours go")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; else temporary")
    return parser.parse_args()


if __name__ == "__main__":
    main()
