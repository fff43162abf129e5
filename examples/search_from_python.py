"""A search from Python: load a declared study, change it a little, run it, use what it found.

    python examples/search_from_python.py [FOLDER]

It trains two small translators on the built-in corpus and takes some seconds. Run it again, and it
goes on where it stands: everything is done, so it only prints the result.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hpo
from hpo.events import Event, TrialEnded
from hpo.finals.headline import headline


def tell(event: Event) -> None:
    """Prints how each trial ended; what else happens is in `hpo.events`."""
    if isinstance(event, TrialEnded):
        print(f"trial {event.number} is {event.outcome} with {event.value} at step {event.step}")


def main(runs_dir: Path) -> None:
    study = hpo.load_study(
        "depth_sweep",
        overrides={
            "protocol.finetune_steps": 20,
            "protocol.eval_every": 10,
            "protocol.validation_pairs": 23,
            "protocol.test_pairs": 29,
            "sampler.name": "random",
        },
        name="from_python",
        seed=7,
    )
    result = hpo.run(study, trials=2, runs_dir=runs_dir, observe=tell)
    best = result.record.best
    if best is None:
        sys.exit("no trial is complete")
    print("best configuration:")
    for name, value in best.parameters.items():
        print(f"  {name} = {value}")
    for reading in result.record.readings:
        print(*headline(reading, result.record.metric).lines(result.record.final_line), sep="\n")


# Trials run in spawned processes, which import this file: only the first may start the search.
if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
