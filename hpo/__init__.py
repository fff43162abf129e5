"""Searches over what `core` trains; the only package that imports Optuna.

The Python API is as small as the command line:

    study = hpo.load_study("quickstart", overrides={"protocol.finetune_steps": 40})
    result = hpo.run(study, trials=3)
    print(result.record.best)

A program that calls `run` needs the `if __name__ == "__main__":` guard, because trials run in
spawned processes. Importing `hpo` imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hpo.declarations import Study
    from hpo.events import Event, Observe
    from hpo.launch import Result

__all__ = ["__version__", "load_study", "run"]
__version__ = "0.1.0"


def load_study(
    name_or_path: str | Path,
    *,
    overrides: Mapping[str, object] | None = None,
    data: str | Path | None = None,
    name: str | None = None,
    seed: int | None = None,
) -> Study:
    """The study declared under a name or in a TOML file, checked.

    Args:
        overrides: values that replace the file's, by dotted key: `{"sampler.name": "random"}`.
        data: `pocket`, `hub`, or a folder of corpora.
        name: what to call the study instead of its declared name.
        seed: of the sampler, weights and batches.

    Raises: UserError for a study that does not exist or does not make sense, in one line.
    """
    from hpo.declarations import load_study as load

    changes = dict(overrides or {}) | ({} if seed is None else {"seed": seed})
    return load(
        str(name_or_path),
        overrides=[
            f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in changes.items()
        ],
        data=None if data is None else str(data),
        name=name,
    )


def run(
    study: Study | str | Path,
    *,
    trials: int | None = None,
    time_limit_s: float | None = None,
    jobs: int | None = None,
    gpus: Literal["all"] | Sequence[int] | None = None,
    trials_per_gpu: int | None = None,
    fuse: int | Literal["auto"] = 1,
    cluster: str | None = None,
    runs_dir: str | Path = "runs",
    storage: str | None = None,
    again: bool = False,
    warm_start: Sequence[str] = (),
    log: Sequence[str] = (),
    observe: Observe | None = None,
) -> Result:
    """Runs a study, or goes on with it where it stands, and returns what came of it.

    Args:
        study: what `load_study` returned, or a name or file to load.
        trials: finished trials the study is to have at the end; the study's own number by default.
        time_limit_s: wall-clock over the study, earlier runs included.
        jobs: trials at the same time on the CPU; without it GPUs are used, or one job on the CPU.
        gpus: positions in the list of visible GPUs; all by default.
        trials_per_gpu: trials at the same time on each GPU; 1 by default.
        fuse: trials of one structure that are trained as one model in each process, at most; pays
            on a GPU.
        cluster: address of the Ray cluster on which they run, `auto`, `local` or `ray://HOST:PORT`;
            by default they run on this machine.
        runs_dir: folder of the trials' files and, by default, of the database.
        storage: URL of the database of all studies.
        again: reads the test set once more; without it a study reads it once.
        warm_start: names of studies in the same database to learn from, the less the more trials
            of its own the study has.
        log: `tensorboard`, `mlflow`, `wandb`: programs to stream the trials' scalars to.
        observe: called with every event of `hpo.events`, from the threads of the slots.

    Raises: UserError for what the caller can mend: a study that changed, is owned by another
        process, or has no room on disk.
    """
    from hpo.launch import launch
    from hpo.options import RunOptions

    options = RunOptions(
        trials=trials,
        time_limit_s=time_limit_s,
        jobs=jobs,
        gpus="all" if gpus == "all" else None if gpus is None else tuple(map(int, gpus)),
        trials_per_gpu=trials_per_gpu,
        fuse=fuse,
        cluster=cluster,
        runs_dir=Path(runs_dir),
        storage=storage,
        again=again,
        warm_start=tuple(warm_start),
        log=tuple(log),
    )
    loaded = load_study(study) if isinstance(study, str | Path) else study
    return launch(loaded, options, observe or _ignore, showcase=True)


def _ignore(event: Event) -> None:
    """Watches in silence."""
