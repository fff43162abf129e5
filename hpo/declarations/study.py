"""A study: what is run, over which search space, proposed and pruned by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from core.settings import Settings
from core.task import Grid, TaskSpec
from hpo.declarations.space import SearchSpace


class TpeSettings(Settings):
    """Optuna's `TPESampler`; conditional parameters are grouped."""

    name: Literal["tpe"] = "tpe"
    n_startup_trials: int = Field(default=10, ge=0, le=100_000)
    """Trials drawn at random before the sampler proposes; enqueued ones count."""
    n_ei_candidates: int = Field(default=24, ge=1, le=10_000)
    """Candidates among which each proposal is the best."""
    multivariate: bool = True
    """Model the parameters together rather than one by one, as Optuna 5 does unless told."""


class RandomSettings(Settings):
    """Optuna's `RandomSampler`."""

    name: Literal["random"] = "random"


class GpSettings(Settings):
    """Optuna's `GPSampler`, a Gaussian process over complete trials.

    It learns nothing from pruned ones; parameters that some trials lack are drawn at random.
    """

    name: Literal["gp"] = "gp"
    n_startup_trials: int = Field(default=10, ge=0, le=100_000)
    """Trials to complete before the sampler proposes; until then points are drawn at random."""


class QmcSettings(Settings):
    """Optuna's `QMCSampler`: a scrambled sequence that fills the space evenly.

    Trial 0 and parameters that it does not draw are drawn at random.
    """

    name: Literal["qmc"] = "qmc"
    qmc_type: Literal["sobol", "halton"] = "sobol"
    """Sobol is the more even at powers of two, Halton at other numbers of trials."""


class BruteForceSettings(Settings):
    """Optuna's `BruteForceSampler`: every point once; the study ends when none is left."""

    name: Literal["brute_force"] = "brute_force"


class _RankSettings(Settings):
    """What all pruners share that compare trials with one another."""

    name: str
    trust: Literal["measured", "always"] = "measured"
    """`measured`: stop only at steps whose ranks are known to predict the final ranks."""


class SuccessiveHalvingSettings(_RankSettings):
    """Optuna's `SuccessiveHalvingPruner`; its rungs count within a stage."""

    name: Literal["successive_halving"] = "successive_halving"
    min_resource: int | None = Field(default=None, ge=1, le=10**9)
    """Step of the first rung; `eval_every` by default."""
    reduction_factor: int = Field(default=4, ge=2, le=1_000)
    """One in so many goes on at a rung, and the next rung is so many times further."""
    min_early_stopping_rate: int = Field(default=0, ge=0, le=30)
    """Rungs left out at the start."""
    bootstrap_count: int = Field(default=0, ge=0, le=100_000)
    """Trials that must reach a rung before one may go on from it; Optuna stops those before."""


class HyperbandSettings(_RankSettings):
    """Optuna's `HyperbandPruner`."""

    name: Literal["hyperband"] = "hyperband"
    min_resource: int | None = Field(default=None, ge=1, le=10**9)
    """Step of the first rung; `eval_every` by default."""
    max_resource: int | None = Field(default=None, ge=1, le=10**9)
    """Step at which the last rung ends; the whole curve by default."""
    reduction_factor: int = Field(default=3, ge=2, le=1_000)
    """One in so many goes on at a rung, and the next rung is so many times further."""
    bootstrap_count: int = Field(default=0, ge=0, le=100_000)
    """Trials that must reach a rung before one may go on from it; Optuna stops those before."""


class _CurrentValueSettings(_RankSettings):
    """When a current value is compared with those of complete trials."""

    n_startup_trials: int = Field(default=5, ge=0, le=100_000)
    """Trials to complete before any is stopped."""
    n_warmup_steps: int = Field(default=0, ge=0, le=10**9)
    """Steps that every trial is given."""
    interval_steps: int = Field(default=1, ge=1, le=10**9)
    """Steps between two judgements."""
    n_min_trials: int = Field(default=1, ge=1, le=100_000)
    """Trials that must have a value at the step."""


class MedianSettings(_CurrentValueSettings):
    """Stops a trial whose current value is below the median of the others at the same step."""

    name: Literal["median"] = "median"


class PercentileSettings(_CurrentValueSettings):
    """Stops a trial whose current value is not among the best so many percent at the same step."""

    name: Literal["percentile"] = "percentile"
    percentile: float = Field(default=25.0, ge=0, le=100)
    """Percent of the complete trials' values that are good enough; 50 is the median."""


RankPrunerSettings = (
    SuccessiveHalvingSettings | HyperbandSettings | MedianSettings | PercentileSettings
)


class PatientSettings(Settings):
    """Another pruner that is asked only about trials that stopped improving within their stage."""

    name: Literal["patient"] = "patient"
    patience: int = Field(default=1, ge=1, le=100_000)
    """Evaluations without improvement after which the other pruner is asked."""
    min_delta: float = Field(default=0.0, ge=0)
    """In the metric's unit: a rise of no more than this is no improvement."""
    around: RankPrunerSettings
    """The pruner that is asked."""


class NoPrunerSettings(Settings):
    """Every trial runs to its end."""

    name: Literal["none"] = "none"


class _SchedulerSettings(Settings):
    """What all schedulers share."""

    trials_per_structure: int = Field(default=1, ge=1, le=100_000)
    """At most so many trials share a structure, and so its stage A, where that is worth more by
    the second than a new structure. 1: the sampler proposes the structure of every trial."""


class PlainSettings(_SchedulerSettings):
    """Sampler and pruner as they are: every free slot starts a new trial, the pruner stops it."""

    name: Literal["optuna"] = "optuna"


class PromoteSettings(_SchedulerSettings):
    """Asynchronous successive halving that pauses and promotes; the pruner is not asked."""

    name: Literal["promote"] = "promote"
    min_resource: int | None = Field(default=None, ge=1, le=10**9)
    """Step of the first rung; `eval_every` by default."""
    reduction_factor: int = Field(default=3, ge=2, le=1_000)
    """One in so many is promoted, and the next rung is so many times further."""


class ThawSettings(_SchedulerSettings):
    """Freeze-thaw Bayesian search: pauses what promises less than other work, goes on with it when
    it promises most; the pruner is not asked."""

    name: Literal["thaw"] = "thaw"
    trials_per_structure: int = Field(default=8, ge=1, le=100_000)
    """At most so many trials share a structure, and so its stage A."""


SamplerSettings = TpeSettings | RandomSettings | BruteForceSettings | GpSettings | QmcSettings
PrunerSettings = RankPrunerSettings | PatientSettings | NoPrunerSettings
SchedulerSettings = PlainSettings | PromoteSettings | ThawSettings

SAMPLERS: dict[str, type[SamplerSettings]] = {
    "tpe": TpeSettings,
    "random": RandomSettings,
    "brute_force": BruteForceSettings,
    "gp": GpSettings,
    "qmc": QmcSettings,
}
RANK_PRUNERS: dict[str, type[RankPrunerSettings]] = {
    "successive_halving": SuccessiveHalvingSettings,
    "hyperband": HyperbandSettings,
    "median": MedianSettings,
    "percentile": PercentileSettings,
}
"""Those that compare trials with one another."""
PRUNERS: dict[str, type[PrunerSettings]] = {
    **RANK_PRUNERS,
    "patient": PatientSettings,
    "none": NoPrunerSettings,
}
SCHEDULERS: dict[str, type[SchedulerSettings]] = {
    "optuna": PlainSettings,
    "promote": PromoteSettings,
    "thaw": ThawSettings,
}
DEFAULT_NAMES = {"sampler": "tpe", "pruner": "median", "scheduler": "optuna"}
"""What a study has that does not say. `create_study` has the same sampler and pruner, but this
median is over current values, not over the best so far."""


class StorageSettings(Settings):
    """What a study keeps on disk."""

    keep: int = Field(default=3, ge=1, le=100_000)
    """Best trials whose weights are kept; those of all finalists are, whatever it says."""


class FinalsSettings(Settings):
    """The best configurations run once more before the test set is opened."""

    top: int = Field(default=3, ge=1, le=100)
    """Finalists: the best complete trials, all of which the test set is opened for."""
    seeds: int = Field(default=3, ge=0, le=100)
    """Fresh seeds on which each is repeated; 0 to leave it at the runs of the search."""


NO_FINALS = FinalsSettings(top=1, seeds=0)
"""Of a study without the section: the best trial's own run is scored, and nothing is repeated."""


@dataclass(frozen=True, eq=False)
class Study:
    """A declared study, checked. Made by `load_study`."""

    name: str
    description: str
    task: str
    spec: TaskSpec
    space: SearchSpace
    trials: int
    """Finished trials the study is to have at its end."""
    seed: int
    """Of the sampler, weights and batches."""
    protocol: Settings
    data: Settings
    sampler: SamplerSettings
    pruner: PrunerSettings
    scheduler: SchedulerSettings
    storage: StorageSettings
    finals: FinalsSettings
    enqueue: tuple[Mapping[str, Any], ...]
    """Points to try first, in realised values under core's names."""
    path: Path
    """The file that declares it."""
    trial_time_limit_s: float | None = None
    """Seconds of one trial, over all its attempts."""

    @property
    def grid(self) -> Grid:
        """Stages and evaluations of its curves."""
        return self.spec.grid(self.protocol)

    @property
    def start(self) -> Mapping[str, Any] | None:
        """The start configuration, the first point to try; `None` if none is declared."""
        return self.enqueue[0] if self.enqueue else None

    @property
    def kept(self) -> int:
        """Of how many of the best trials the weights are kept: all finalists are to be read."""
        return max(self.storage.keep, self.finals.top)

    def identity(self) -> dict[str, Any]:
        """What may not change between runs of the study, as JSON.

        The location of a data folder is no part of it: the same corpora elsewhere are the same,
        and the driver compares their digest.
        """
        data = self.data.model_dump(mode="json")
        if data.get("source") not in (None, *self.spec.sources):
            data["source"] = "folder"
        return {
            "task": self.task,
            "protocol": self.protocol.model_dump(mode="json"),
            "data": data,
            "search_space": self.space.identity(),
        }

    def as_json(self) -> dict[str, Any]:
        """All that was declared, overrides included."""
        return {
            "name": self.name,
            "description": self.description,
            "task": self.task,
            "trials": self.trials,
            "seed": self.seed,
            "trial_time_limit_s": self.trial_time_limit_s,
            "protocol": self.protocol.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "search_space": self.space.as_json(),
            "sampler": self.sampler.model_dump(mode="json"),
            "pruner": self.pruner.model_dump(mode="json"),
            "scheduler": self.scheduler.model_dump(mode="json"),
            "storage": self.storage.model_dump(mode="json"),
            "finals": self.finals.model_dump(mode="json"),
            "enqueue": [dict(point) for point in self.enqueue],
            "path": str(self.path.absolute()),
        }
