"""A driver in a process of its own: `toy_command.py DECLARED RUNS [--slots N] ...`.

Runs the toy study with real children, or with slots in this process, and prints an event a line.
`--die-after N` ends it, as `kill -9` would, after N transactions of its database.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import sqlalchemy
from toy_bench import toy_slots

from core import registry
from core.errors import UserError
from hpo.declarations import load_study
from hpo.events import Event, TrialProgressed
from hpo.launch import launch
from hpo.options import RunOptions
from hpo.phases import MakeSlots
from hpo.workers.local import local_slots
from hpo.workers.ray_slots import ray_slots

registry._MODULES["toy"] = "toy_curves"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("declared", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--storage")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--in-process", action="store_true")
    parser.add_argument("--cluster")
    parser.add_argument("--patience", type=float, default=60.0)
    arguments = parser.parse_args()
    study = load_study(str(arguments.declared / "toy.toml"), overrides=arguments.set)
    options = RunOptions(
        trials=arguments.trials,
        jobs=arguments.slots,
        cluster=arguments.cluster,
        runs_dir=arguments.runs,
        storage=arguments.storage,
    )
    if arguments.die_after is not None:
        _die_after(arguments.die_after)
    children: MakeSlots = partial(local_slots, module="toy_curves")
    if arguments.cluster is not None:
        children = partial(ray_slots, module="toy_curves", patience_s=arguments.patience)
    make_slots = toy_slots if arguments.in_process else children
    try:
        result = launch(study, options, _show, make_slots=make_slots)
    except UserError as error:
        print(error, flush=True)
        return 2
    reading = None if result.reading is None else result.reading.runs[0].value
    print(f"reading={reading} torch={'torch' in sys.modules}", flush=True)
    return 130 if result.interrupted else 0


def _show(event: Event) -> None:
    if isinstance(event, TrialProgressed):
        print(f"{event.number} at {event.progress.step}", flush=True)
    else:
        print(event, flush=True)


def _die_after(transactions: int) -> None:
    left = transactions

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "commit")
    def _count(_connection: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(137)


if __name__ == "__main__":
    sys.exit(main())
