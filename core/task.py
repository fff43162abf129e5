"""The seam between the loop, the tasks and whoever asks for a run.

A `TaskSpec` describes a task without importing torch; a `Task` is one run's data, model and
metric. The loop in `core.train` reports `Progress` and `Evaluation` through `OnEvent`, obeys the
`Verdict`, and returns an `Outcome`. Nothing else crosses.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from core.settings import Recipe, RunConfig, Settings


@dataclass(frozen=True)
class Metric:
    """What a task is judged by."""

    name: str
    unit: str
    """Unit for people, empty where the number has none."""
    direction: Literal["maximize", "minimize"]
    floor: float
    """The value of a model that has learned nothing; a metric back at it has collapsed."""
    clear_gain: float = 5.0
    """Distance from the floor that only a model which has learned reaches."""

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` beats `than`, strictly."""
        return value > than if self.direction == "maximize" else value < than


class Verdict(enum.Enum):
    """The answer to an event."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


@dataclass(frozen=True)
class Progress:
    """A sign of life, at most two a second. Answered CONTINUE; PAUSE when interrupted."""

    stage: str
    step: int
    """Optimizer updates done on the whole curve, stage A then stage B."""
    total_steps: int
    """0 while the run waits for a place to run on."""
    loss: float | None
    """Training loss of the last fetched step; `None` before the first."""
    steps_per_s: float
    note: str = ""
    """What the run is busy with when it is not stepping: `waiting for stage A`, `evaluating`."""
    warning: str = ""
    """What people should be told, once: that a damaged checkpoint was thrown away."""


@dataclass(frozen=True)
class Evaluation:
    """A score on the fixed grid; answered by a `Verdict`."""

    stage: str
    step: int
    """Position on the whole curve; a multiple of `eval_every`."""
    value: float
    """The task's metric on the validation set."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Other figures of the same evaluation, by name."""
    elapsed_s: float = 0.0
    """Seconds spent on this run so far, earlier attempts included."""
    replayed: bool = False
    """True when the score comes from the stage cache or an earlier attempt."""


OnEvent = Callable[[Progress | Evaluation], Verdict]


class OutcomeState(enum.Enum):
    """How a run ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    """Obeyed STOP."""
    PAUSED = "paused"
    """Obeyed PAUSE; the folder's checkpoint goes on from here."""
    DIVERGED = "diverged"
    """Loss or gradient norm became NaN or infinite."""
    COLLAPSED = "collapsed"
    """The metric had been learning, then fell to nothing."""


@dataclass(frozen=True)
class Health:
    """What the telemetry says of a run; `healthy` when nothing is wrong."""

    verdict: Literal["healthy", "unstable", "diverged", "collapsed"]
    grad_norm_median: float | None = None
    grad_norm_p95: float | None = None
    grad_norm_max: float | None = None
    """Quantiles of the global L2 norm before clipping; `None` before the first step."""
    steps_above_alarm: int = 0
    """Steps with a gradient norm above 10."""
    loss_spikes: int = 0
    nonfinite_steps: int = 0
    amp_scale_drops: int = 0
    detail: str = ""
    """The verdict in words, with the numbers and the step."""


@dataclass(frozen=True)
class Cost:
    """Seconds spent, by what they were spent on."""

    prepare_s: float = 0.0
    """Data, model, compilation: before the first step."""
    pretrain_s: float = 0.0
    finetune_s: float = 0.0
    evaluate_s: float = 0.0
    checkpoint_s: float = 0.0
    wait_s: float = 0.0
    """Waiting for another worker's stage A, or for the runs that are trained with this one."""
    report_s: float = 0.0
    """Telling evaluations and waiting for the verdicts."""
    cache_hit: bool = False
    """Stage A was read from the cache."""
    cache_saved_s: float = 0.0
    """What the cached stage A had cost when it was trained."""
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    state: OutcomeState
    step: int
    value: float | None
    """The metric at the last evaluation: the score the model has, never the best on the way."""
    curve: tuple[Evaluation, ...]
    health: Health
    cost: Cost
    reason: str = ""
    """One line for people; empty when the run completed."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Device, precision, threads, parameters counted, pairs truncated: plain JSON."""


@dataclass(frozen=True)
class Grid:
    """The fixed grid of a study's curves."""

    stages: tuple[tuple[str, int], ...]
    """(name, steps) in order; stages of no steps are left out."""
    eval_every: int

    @property
    def total_steps(self) -> int:
        return sum(steps for _, steps in self.stages)

    def stage_end(self, name: str) -> int:
        """The step at which the stage called `name` ends."""
        end = 0
        for stage, steps in self.stages:
            end += steps
            if stage == name:
                return end
        raise KeyError(name)


@dataclass(frozen=True)
class Baseline:
    """A classical model of the data, fitted without steps: what the trials are to beat."""

    name: str
    value: float
    """The task's metric on the validation set."""
    num_parameters: int
    """Real numbers that were fitted."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Other figures of the same prediction, by the names that evaluations have."""


@dataclass(frozen=True)
class Facts:
    """What preparing a task's data found."""

    digests: Mapping[str, str]
    """`data` always; for translation also `tokenizer`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """One line each for people: duplicates, overlaps, a cap that was not reached."""
    baselines: tuple[Baseline, ...] = ()
    """Classical references for the report; most tasks have none."""


@dataclass(frozen=True)
class Placement:
    """Where a run happens; decided by the slot, never part of the configuration."""

    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Stage:
    """One optimization over one corpus."""

    name: str
    first_step: int
    """Steps done on the whole curve before this stage."""
    steps: int
    recipe: Recipe
    seed: int
    """Seeds dropout and the order of batches."""
    eval_every: int
    grad_clip: float
    """Largest global L2 norm of the gradient."""
    cache_key: Mapping[str, Any] | None = None
    """What the stage's result depends on besides the machine; `None`: not to be cached."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Corpus and structure in short words, for people who look into the cache: plain JSON."""


@dataclass(frozen=True)
class Scores:
    """One reading of the metric on one set."""

    value: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    signature: str = ""
    """How the value was computed, for example SacreBLEU's signature."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Files to keep beside the run, by name: hypotheses, one a line."""


@dataclass(frozen=True)
class Resampled:
    """A run's score over draws of the validation examples, with replacement."""

    step: int
    """Of the evaluation whose texts were scored, on the whole curve."""
    value: float
    mean: float
    half_width: float
    """Of the 95 percent interval of the draws' scores."""
    p_value: float | None
    """Two-sided, of the difference from the first run's; 1 where the texts are the same, None for
    the first run."""


class Task(ABC):
    """One run's data, model and metric, bound to a `RunConfig` and a device."""

    metric: Metric

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; at least one."""

    @abstractmethod
    def build_model(self) -> torch.nn.Module:
        """A freshly initialized model on the CPU, drawn from torch's global generator."""

    @abstractmethod
    def batch(self, stage: Stage, step: int) -> Any:
        """The batch of a stage's update `step` (0-based), which `loss` moves to the device.

        A pure function of (stage, step): a resumed run needs no data position but its step.
        """

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Any, stage: Stage) -> torch.Tensor:
        """Mean training loss of a batch, a scalar with a gradient."""

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, *, final: bool) -> Scores:
        """The metric on the validation set; `final` adds what is only worth having at the end."""

    @abstractmethod
    def test(self, model: torch.nn.Module) -> Scores:
        """The metric on the test set, decoded as finalists are. Read through a ledger only."""

    def useful_threads(self, available: int) -> int:
        """CPU threads that make a step faster, at most `available`.

        A pure function of the configuration, because sums depend on it in their last bits.
        """
        return available

    def facts(self) -> Mapping[str, Any]:
        """Plain JSON worth recording with the outcome, such as pairs truncated."""
        return {}


class FusableTask(Task):
    """A task whose models can be trained K at once, stacked as `core.nn.stacked` has it.

    Its losses draw from torch's generator alone, by `core.nn.dropout.keep_mask`.
    """

    @abstractmethod
    def losses(
        self, stacked: torch.nn.Module, batches: Sequence[Any], stages: Sequence[Stage]
    ) -> Sequence[torch.Tensor]:
        """What `loss` gives for each member, of its own batch and stage."""

    @abstractmethod
    def evaluate_stacked(
        self, stacked: torch.nn.Module, models: Sequence[torch.nn.Module], *, final: bool
    ) -> list[Scores]:
        """What `evaluate` gives for each of `models`, which are stacked in `stacked`."""


@dataclass(frozen=True)
class Load:
    """About how much there is to compute; only the proportions between loads matter."""

    flops: float
    """Floating-point operations."""
    calls: float
    """Operations launched one after another: what small models wait for, whatever their width."""

    def __add__(self, other: Load) -> Load:
        return Load(self.flops + other.flops, self.calls + other.calls)


@dataclass(frozen=True)
class Effort:
    """What the parts of a run take, from its structure and protocol alone."""

    updates: Mapping[str, Load]
    """One optimizer update, by stage."""
    evaluation: Load
    """One evaluation on the validation set."""
    final: Load
    """The evaluation at the end of the curve, which may do more."""
    test: Load
    """One reading of the test set."""


@dataclass(frozen=True)
class TaskSpec:
    """A task described without importing torch."""

    name: str
    metric: Metric
    protocol: type[Settings]
    data: type[Settings]
    groups: Mapping[str, type[Settings]]
    """What may vary, by group: `model.d_model` is field `d_model` of group `model`."""
    structure_group: str
    """The group that decides the weights' shapes and so whose trials share a stage A."""
    grid: Callable[[Any], Grid]
    """Protocol -> the grid of its curves. Raises ValueError where the protocol has none."""
    check: Callable[[Mapping[str, Any], Any], None]
    """(groups, protocol) -> None; raises ValueError for a combination that cannot be built."""
    prepare: Callable[[Any, Any, Path], Facts]
    """(protocol, data, cache folder) -> Facts; checks the data, trains what is shared."""
    build: Callable[[RunConfig, Placement, Path], Task]
    """(config, placement, cache folder) -> Task."""
    warm: Callable[[], None] | None = None
    """Imports what `build` and its task need, for a worker that waits."""
    sources: tuple[str, ...] = ()
    """Values of `data.source` with a meaning of their own; any other is a folder."""
    count_weights: Callable[[Mapping[str, Any], Any], int] | None = None
    """(groups, protocol) -> about how many weights the model has, to estimate its room on disk."""
    effort: Callable[[Mapping[str, Any], Any], Effort] | None = None
    """(groups, protocol) -> what the parts of a run take, to foretell their seconds."""
    files: Callable[[Any], tuple[Path, tuple[Path, ...]]] | None = None
    """Data -> a folder and the files below it that a run reads, were it moved to another machine;
    none where the data come from elsewhere."""
    least_memory: Callable[[Mapping[str, Any], Any, Any], int] | None = None
    """(groups, protocol, data) -> bytes that a run holds at once on its device whatever happens: a
    bound from below, by which a configuration is refused before it is tried."""
    compare: Callable[[Path, Path], float | None] | None = None
    """(folder of one run, folder of another) -> p-value of their validation scores' difference,
    were it only by which examples the set happens to hold; None where a folder lacks the texts."""
    resample: Callable[[Sequence[Path], Sequence[Path]], Sequence[Resampled]] | None = None
    """(folders of runs, folders where what they were scored against may lie, too) -> the score of
    each over draws of the examples; raises IncomparableError where that makes no sense."""
    signature: Callable[[Any], str] | None = None
    """Protocol -> how a test score is computed, in the words of `Scores.signature`."""
    translate: Callable[[Task, torch.nn.Module, Sequence[str]], list[str]] | None = None
    """(a run's task, its trained model, texts) -> what the model makes of each, decoded as the
    test set is; None: a model of this task translates no text."""
    exports: Mapping[str, Callable[[Task, torch.nn.Module, Path], str]] = field(
        default_factory=dict
    )
    """By the name of a format: (a run's task, its trained model, an empty folder) -> how to load
    what it wrote there, as Markdown in which FOLDER stands for the folder."""
    is_fusable: bool = False
    """Whether `build` gives a `FusableTask`, whatever the structure."""
    final_line: str = "FINAL_TEST"
    """Name of the line that announces the test score, such as `FINAL_TEST_BLEU`."""
