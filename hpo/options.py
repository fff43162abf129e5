"""How a run of a study is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class RunOptions:
    """How a study is run; none of it changes what its trials compute."""

    trials: int | None = None
    """Finished trials the study is to have at the end; the study's own number by default."""
    time_limit_s: float | None = None
    """Wall-clock seconds over the study, earlier runs included."""
    jobs: int | None = None
    """Trials at the same time on the CPU; without it GPUs are used, or one job on the CPU."""
    gpus: Literal["all"] | tuple[int, ...] | None = None
    """Positions in the list of visible GPUs; all by default."""
    trials_per_gpu: int | None = None
    """Trials at the same time on each GPU; 1 by default."""
    fuse: int | Literal["auto"] = 1
    """Trials of one structure that are trained as one, at most, in each of these places; `auto`
    for as many as pay there, which is measured before the run."""
    cluster: str | None = None
    """Address of the Ray cluster on which trials run: `auto`, `local` or `ray://HOST:PORT`."""
    runs_dir: Path = Path("runs")
    storage: str | None = None
    """URL of the database; `hpo.db` in the runs folder by default."""
    again: bool = False
    """Read the test set once more."""
    warm_start: tuple[str, ...] = ()
    """Names of studies in the same database whose trials are a prior for this one's."""
    log: tuple[str, ...] = ()
    """Programs to which the scalars of trials are streamed, of `hpo.sinks.SINKS`."""
    begun: float | None = field(default=None, compare=False)
    """`time.monotonic()` when the time limit began to count for this run; now by default."""

    @property
    def seats(self) -> int:
        """The same, where it has been measured."""
        assert self.fuse != "auto"
        return self.fuse

    def as_json(self) -> dict[str, Any]:
        """What was given and is told nowhere else in a study, for a command that goes on."""
        gpus = list(self.gpus) if isinstance(self.gpus, tuple) else self.gpus
        options = {
            "time_limit_s": self.time_limit_s,
            "jobs": self.jobs,
            "gpus": gpus,
            "trials_per_gpu": self.trials_per_gpu,
            "fuse": self.fuse if self.fuse != 1 else None,
            "cluster": self.cluster,
            "log": list(self.log) or None,
            "again": self.again or None,
        }
        return {name: value for name, value in options.items() if value is not None}
