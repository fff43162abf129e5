"""One loop for every task: step, record, evaluate, obey the verdict, checkpoint.

A run is its position (stage, updates done in it), weights, optimizer, random generators and
history. All of it is in a checkpoint, and batches are pure functions of the position, so that a
run may be left after any step and goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import torch

from core.atomic import make_folder
from core.checkpoint import (
    Checkpoint,
    CheckpointPace,
    load_checkpoint,
    put_weights,
    read_weights,
    remove_checkpoint,
    save_checkpoint,
    save_weights,
)
from core.errors import DamagedFileError
from core.history import History
from core.machine import describe, describe_changes, occupy, peak_memory_bytes
from core.optimizer import StageOptimizer, Update
from core.plateau import reduction
from core.precision import choose
from core.reporting import End, Reporter, obey
from core.seeding import put_generators, read_generators, seed_everything
from core.settings import RunConfig
from core.stage_cache import StageCache, StageResult, gather_result, stage_key
from core.stopwatch import Stopwatch, evaluating, sum_up, training
from core.task import (
    Evaluation,
    OnEvent,
    Outcome,
    OutcomeState,
    Placement,
    Scores,
    Stage,
    Task,
    Verdict,
)

FETCH_EVERY = 50
"""Steps whose figures stay on the device, at most: a divergence is found no later than that."""
_STATE_COPIES = 3
"""A weight and its two moments, of which a checkpoint consists."""


def train(  # noqa: PLR0917  # the seam has them in this order
    task: Task,
    config: RunConfig,
    placement: Placement,
    folder: Path,
    cache: StageCache | None,
    on_event: OnEvent,
    *,
    started: float | None = None,
) -> Outcome:
    """Trains through all stages, or goes on from the folder's checkpoint, until done or told to
    end.

    Writes telemetry, evaluations, texts and checkpoints to `folder`, and the weights when the run
    completes. Evaluations of the stage cache and of earlier attempts are sent again, as replayed.
    The verdict on the very last evaluation changes nothing, as nothing is left to stop. `started`
    is the reading of `time.monotonic()` from which the run's time counts; now by default.

    A damaged checkpoint is thrown away, which is said, and the run begins again.

    Raises: CheckpointError if the folder's checkpoint is of another configuration; DiskFullError.
    """
    run = Run(task, config, placement, folder, cache, on_event, started)
    end = run.resume()
    while end is None and run.has_stage_left:
        end = run.do_stage()
    return run.conclude(end)


class Run:
    """A run under way."""

    company = 1
    """Runs that wait while this one is looked after, itself included."""

    def __init__(  # noqa: PLR0917  # `train`'s own
        self,
        task: Task,
        config: RunConfig,
        placement: Placement,
        folder: Path,
        cache: StageCache | None,
        on_event: OnEvent,
        started: float | None = None,
    ) -> None:
        self._clock = Stopwatch("prepare", started=started)
        self._task, self._folder, self._cache = task, folder, cache
        self._config_digest = config.digest()
        threads = task.useful_threads(placement.threads)
        self._device = occupy(replace(placement, threads=threads))
        self.precision = choose(config.protocol.get("precision", "auto"), self._device)
        self._machine = describe(self._device, self.precision)
        self._changes: tuple[str, ...] = ()
        self._stages = task.stages
        assert all(stage.steps % stage.eval_every == 0 for stage in self._stages)
        self._total_steps = sum(stage.steps for stage in self._stages)
        self._index, self._done = 0, 0
        self._reporter = Reporter(on_event, self._total_steps)
        self._history = History(folder, self._stages, task.metric)
        seed_everything(config.structure_seed)
        self.model = task.build_model().to(self._device)
        self._optimizer: StageOptimizer | None = None
        self._restored: Checkpoint | None = None  # while the run has not moved on from it
        self._saved_s: float | None = None
        sizes = (weight.nbytes for weight in self.model.parameters())
        self._pace = CheckpointPace(_STATE_COPIES * sum(sizes), time.monotonic())
        self._entered = (0, 0.0)  # the stage in this attempt: updates and seconds before it

    # The way of a run

    def resume(self) -> End | None:
        """Takes up the folder's checkpoint, if there is one, and replays its evaluations."""
        make_folder(self._folder)
        folder = self._folder / "checkpoint"
        try:
            checkpoint = load_checkpoint(folder, self._config_digest)
        except DamagedFileError as error:
            remove_checkpoint(folder)
            return self._reporter.warn(
                self.stage.name, 0, f"its checkpoint is damaged, so it begins again ({error})"
            )
        if checkpoint is None:
            return self._say("preparing")
        put_weights(self.model, checkpoint.weights, where=str(folder))
        self._restored = checkpoint
        self._index, self._done = checkpoint.stage, checkpoint.stage_step
        self._saved_s = checkpoint.cache_saved_s
        self._clock.add(checkpoint.seconds)
        self._changes = checkpoint.changes
        self._changes += describe_changes(checkpoint.machine, self._machine, self._step)
        self._history.put_rows(checkpoint.telemetry)
        for evaluation in checkpoint.curve:
            end = self._tell(evaluation, replace(evaluation, replayed=True))
            if end is not None and end.state is OutcomeState.PAUSED:
                self._history.curve = checkpoint.curve  # it stands where its checkpoint does
                return replace(end, step=self._step)
            if end is not None:
                self._history.cut(end.step)
                return end
        return self._say("preparing")

    @property
    def has_stage_left(self) -> bool:
        return self._index < len(self._stages)

    def do_stage(self) -> End | None:
        """Brings the stage under way to its end, from the cache or by training."""
        key = stage_key(self.stage, self._machine)
        if self._cache is None or key is None:
            end = self._train_stage()
        else:
            end = self._claim_stage(self._cache, key)
        if end is None:
            self._index, self._done, self._optimizer = self._index + 1, 0, None
            self._entered = (0, 0.0)
        return end

    def conclude(self, end: End | None) -> Outcome:
        """Writes what is to stay and sums the run up."""
        if end is not None and end.state is OutcomeState.PAUSED and self._restored is None:
            end = self._save_checkpoint() or end
        if end is None:
            end = End(OutcomeState.COMPLETED, self._total_steps, "")
            with self._clock.charging("checkpoint"):
                weights, machine = self._folder / "weights", self._machine
                save_weights(weights, self.model, config_digest=self._config_digest, facts=machine)
        self._write_history()
        health = self._history.examine()
        if end.state is OutcomeState.DIVERGED and health.verdict != "diverged":
            health = replace(health, verdict="diverged", detail=end.reason)  # in the metric alone
        curve = self._history.curve
        peak = peak_memory_bytes(self._device)
        return Outcome(
            state=end.state,
            step=end.step,
            value=curve[-1].value if curve else None,
            curve=curve,
            health=health,
            cost=sum_up(
                self._clock.read(), self._stages, saved_s=self._saved_s, peak_memory_bytes=peak
            ),
            reason=end.reason,
            facts={
                **self._machine,
                "num_parameters": sum(weight.numel() for weight in self.model.parameters()),
                "changes": list(self._changes),
                **self._task.facts(),
            },
        )

    # One stage

    @property
    def stage(self) -> Stage:
        """The stage under way."""
        return self._stages[self._index]

    @property
    def _step(self) -> int:
        """Updates done on the whole curve."""
        return self.stage.first_step + self._done

    def _claim_stage(self, cache: StageCache, key: str) -> End | None:
        waiting = f"waiting for another run's {self.stage.name}"
        self._clock.charge("wait")
        with cache.claim(key, on_wait=lambda: self._say(waiting) is None) as claim:
            self._clock.charge("prepare")
            if claim is None:
                return obey(Verdict.PAUSE, self._step)
            if claim.result is not None:
                return self._adopt(claim.result)
            end = self._train_stage()
            # A verdict at its last evaluation does not make a stage less finished.
            is_finished = self._history.last_step == self.stage.first_step + self.stage.steps
            if is_finished and (end is None or end.state is not OutcomeState.COLLAPSED):
                with self._clock.charging("checkpoint"):
                    weights = read_weights(self.model)
                    claim.store(gather_result(self.stage, weights, self._history, self._clock))
            return end

    def _adopt(self, result: StageResult) -> End | None:
        """Takes a finished stage over from the cache, its evaluations first."""
        stage, told = self.stage, self._history.last_step
        self._history.put_rows(result.telemetry, after=stage.first_step)
        for kept in result.curve:
            if kept.step > told:
                evaluation = replace(kept, elapsed_s=self._clock.elapsed_s, replayed=True)
                end = self._tell(evaluation, evaluation)
                if end is not None:
                    self._history.cut(end.step)
                    return end
        put_weights(self.model, result.weights, where="stage cache")
        self._history.keep_texts(stage, self._history.last_step, result.texts)
        self._write_history()
        self._done, self._restored, self._saved_s = stage.steps, None, result.cost_s
        return None

    def _train_stage(self) -> End | None:
        self._begin_stage()
        with self._clock.charging(training(self.stage)):
            end = self._evaluate() if self.is_evaluation_due else None
            while end is None and self._done < self.stage.steps:
                self._make_update()
                end = self._look_around()
        return end

    def _begin_stage(self, *, is_flat: bool | None = None) -> None:
        stage, restored = self.stage, self._restored
        self._restored = None
        self._optimizer = StageOptimizer(self.model, stage, self.precision, is_flat=is_flat)
        self.model.train()
        if restored is None or not self._done:
            # The generators as the stage before left them would differ had it come from the cache.
            seed_everything(stage.seed)
        else:
            self._optimizer.put_state(restored.optimizer)
            self._optimizer.put_scaler(restored.scaler)
            put_generators(restored.generators, self._device)
        self._heed_evaluations()
        self._entered = (self._done, self._clock.spent_on(training(stage)))
        self._pace.begin_stage(time.monotonic())

    # One step

    def _make_update(self) -> None:
        assert self._optimizer is not None
        batch = self._task.batch(self.stage, self._done)
        with self.precision.autocast():
            loss = self._task.loss(self.model, batch, self.stage)
        self.record(loss, self._optimizer.update(loss))

    def record(self, loss: torch.Tensor, update: Update) -> None:
        """Keeps what an update was like."""
        self._history.record(loss, update)
        self._done += 1

    def _look_around(self) -> End | None:
        """Does what is due after an update: an evaluation, a sign of life, a checkpoint."""
        end = self._evaluate() if self.is_evaluation_due else self.show()
        return end or self.keep()

    def show(self) -> End | None:
        """Gives a sign of life, and looks at the telemetry, where either is due."""
        if self._reporter.is_progress_due(time.monotonic()):
            return self._fetch() or self._say()
        return self._fetch() if self._history.pending >= FETCH_EVERY else None

    def keep(self) -> End | None:
        """Writes a checkpoint, if one is due."""
        if self._pace.is_due(time.monotonic(), company=self.company):
            return self._save_checkpoint()
        return None

    @property
    def is_evaluation_due(self) -> bool:
        """Whether the position, on the grid, has no evaluation; a pause may have come first."""
        is_on_grid = self._done > 0 and self._done % self.stage.eval_every == 0
        return is_on_grid and self._history.last_step < self._step

    def _evaluate(self) -> End | None:
        return self.announce_evaluation() or self.take(self.score())

    def announce_evaluation(self) -> End | None:
        """Looks at the telemetry and says that an evaluation comes."""
        return self._fetch() or self._say("evaluating")

    def score(self) -> Scores:
        """Evaluates the model."""
        with self._clock.charging(evaluating(self.stage)):
            self.model.eval()
            with torch.no_grad(), self.precision.autocast():
                scores = self._task.evaluate(self.model, final=self.is_final)
            self.model.train()
        return scores

    @property
    def is_final(self) -> bool:
        """Whether this is the last step of the curve."""
        return self._step == self._total_steps

    def take(self, scores: Scores) -> End | None:
        """Keeps the scores at this step and tells them."""
        stage, step, metric = self.stage, self._step, self._task.metric
        if not math.isfinite(scores.value):
            reason = f"{metric.name} {scores.value} at step {step}"
            return End(OutcomeState.DIVERGED, step, reason)
        with self._clock.charging("checkpoint"):
            self._history.keep_texts(stage, step, scores.texts)
        figures = {
            **self._history.grad_norms(self._history.last_step, step),
            **{name: value for name, value in scores.metrics.items() if math.isfinite(value)},
        }
        evaluation = Evaluation(stage.name, step, scores.value, figures, self._clock.elapsed_s)
        end = self._tell(evaluation, evaluation)
        self._heed_evaluations()
        self._write_history()
        return end

    def _heed_evaluations(self) -> None:
        """Lets the learning rate follow the stage's evaluations, where its schedule does."""
        assert self._optimizer is not None
        values = self._history.values_of(self.stage)
        self._optimizer.reduce(reduction(values, self.stage.recipe, self._task.metric))

    # Telling and keeping

    def _tell(self, evaluation: Evaluation, event: Evaluation) -> End | None:
        """Adds `evaluation` to the curve and sends it as `event`."""
        self._history.add(evaluation)
        with self._clock.charging("report"):
            end = self._reporter.tell(event)
        collapse = self._history.describe_collapse()
        if collapse is not None:
            return End(OutcomeState.COLLAPSED, evaluation.step, collapse)
        return end

    def _say(self, note: str = "") -> End | None:
        """Sends a sign of life, if one is due."""
        stage = self.stage
        done, spent_s = self._entered
        seconds = self._clock.spent_on(training(stage)) - spent_s
        return self._reporter.say(
            stage.name,
            self._step,
            loss=self._history.last_loss,
            steps_per_s=(self._done - done) / seconds if seconds > 0 else 0.0,
            note=note,
        )

    def _fetch(self) -> End | None:
        """Brings the telemetry to the host; ends the run at its first bad step, if any."""
        bad = self._history.fetch()
        return None if bad is None else End(OutcomeState.DIVERGED, bad.step, bad.words)

    def _write_history(self) -> None:
        with self._clock.charging("checkpoint"):
            self._history.write()

    def _save_checkpoint(self) -> End | None:
        end = self._fetch()
        if end is not None:
            return end
        begun = time.monotonic()
        optimizer = self._optimizer if self._done else None
        step = self._step
        with self._clock.charging("checkpoint"):
            checkpoint = Checkpoint(
                stage=self._index,
                stage_step=self._done,
                weights=read_weights(self.model),
                optimizer={} if optimizer is None else optimizer.read_state(),
                scaler=None if optimizer is None else optimizer.read_scaler(),
                generators=read_generators(self._device),
                telemetry=self._history.read_rows(0, step),
                curve=tuple(item for item in self._history.curve if item.step <= step),
                seconds=self._clock.read(),
                cache_saved_s=self._saved_s,
                machine=self._machine,
                changes=self._changes,
            )
            save_checkpoint(self._folder / "checkpoint", checkpoint, self._config_digest)
        self._pace.note(begun, time.monotonic())
        return None
