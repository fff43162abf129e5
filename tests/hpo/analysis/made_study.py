"""Makes a study that never ran: records, an Optuna study and trial folders, the same each time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from core.sealed import write_sealed
from core.task import Cost, Grid, Health, Metric
from hpo.records import StudyRecord, TestReading, TestScore, TrialRecord
from hpo.spans import Span

BLEU = Metric(name="BLEU", unit="", direction="maximize", floor=0.0)
NMSE = Metric(name="NMSE", unit="dB", direction="minimize", floor=0.0)
TWO_STAGES = Grid((("pretrain", 120), ("finetune", 80)), 20)
ONE_STAGE = Grid((("finetune", 200),), 20)

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "interrupted": TrialState.RUNNING,
    "paused": TrialState.WAITING,
}
WIDTH = 128
FACTORS = (2, 3, 4)
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "model.num_layers": IntDistribution(1, 12),
    "model.d_ff.index": IntDistribution(0, 2),
    "model.norm": CategoricalDistribution(["pre", "post"]),
    "finetune.learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "finetune.weight_decay": FloatDistribution(0.01, 0.01),
    "finetune.warmup_steps": IntDistribution(0, 40),
}
"""`d_ff` a position in `FACTORS`, `weight_decay` constant, `warmup_steps` only for post-norm."""
START = {
    "model.num_layers": 3,
    "model.d_ff.index": 0,
    "model.norm": "pre",
    "finetune.learning_rate": 1e-4,
    "finetune.weight_decay": 0.01,
}
SENTENCES = (
    ("Drei Kinder spielen.", "Three children play.", "Three kids are playing."),
    ("Weil es regnet, bleibt er da.", "Because it rains he stay.", "He stays because it rains."),
    ("Eine Frau macht das Fenster auf.", "A woman opens a window.", "A woman opens the window."),
)
"""Source, hypothesis, reference."""


def made_study(folder: Path, **plan: Any) -> StudyRecord:
    """The study that a `Plan` of these fields describes; writes its trial folders."""
    return Plan(folder, **plan).build()


@dataclass(frozen=True)
class Plan:
    """What the study is to be like."""

    folder: Path
    trials: int = 17
    seed: int = 3
    metric: Metric = BLEU
    grid: Grid = TWO_STAGES
    name: str = "made"
    states: Mapping[int, str] = field(default_factory=dict)
    """State by trial number; the others follow a pattern: number 6 diverges, 9 fails, every fifth
    is pruned."""
    gain: float = 4.0
    """Points that the last stage adds to a trial; negative where it hurts."""
    enqueue_start: bool = True
    with_texts: bool = True
    with_telemetry: bool = True
    telemetry_steps: int | None = None
    """Rows of a trial's telemetry; as many as the grid has steps by default."""
    same_score: bool = False
    hostile: str = ""
    """A text for every place to which a user's or a corpus' text comes."""

    def build(self) -> StudyRecord:
        self.folder.mkdir(parents=True, exist_ok=True)
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction=self.metric.direction)
        optuna.logging.set_verbosity(before)
        made = [MadeTrial(self, number) for number in range(self.trials)]
        study.add_trials([trial.frozen() for trial in made])
        record = StudyRecord(
            name=f"{self.name}{self.hostile}",
            task="translation",
            metric=self.metric,
            grid=self.grid,
            folder=self.folder,
            declaration=self._declaration(),
            facts={
                "digests": {"data": "5d1c" * 16, "tokenizer": "77ab" * 16},
                "counts": {"train_pairs": 4001, "validation_pairs": 397},
                "notes": [
                    f"captions: 13 pairs stand twice in the training set{self.hostile}",
                    "captions: 2 pairs of the validation set stand in the training set",
                ],
            },
            trials=tuple(trial.written() for trial in made),
            readings=(),
            elapsed_s=1234.5,
            total=self.trials + 3,
            is_owned=False,
            final_line="FINAL_TEST",
            optuna_study=study,
        )
        if record.best is None:
            return record
        return StudyRecord(**{**vars(record), "readings": (self._reading(record.best),)})

    def _declaration(self) -> dict[str, Any]:
        return {
            "name": f"{self.name}{self.hostile}",
            "description": f"Depth, width and rate of a small model{self.hostile}",
            "task": "translation",
            "trials": self.trials,
            "seed": self.seed,
            "protocol": {
                "pretrain_steps": 120,
                "finetune_steps": 80,
                "eval_every": 20,
                "grad_clip": 1.0,
                "validation_pairs": None,
                "pretrain": {"learning_rate": 0.002, "lr_scheduler_type": "inverse_sqrt"},
            },
            "data": {"source": f"pocket{self.hostile}"},
            "search_space": {"name": "made", "settings": {"model.d_model": WIDTH}},
            "sampler": {"name": "tpe", "n_startup_trials": 10},
            "pruner": {"name": "median"},
            "storage": {"keep": 3},
            "enqueue": [realised(START)] if self.enqueue_start else [],
            "path": f"studies/{self.name}.toml",
        }

    def _reading(self, best: TrialRecord) -> TestReading:
        assert best.value is not None
        return TestReading(
            when="2026-03-01T12:34:56+00:00",
            selected=best.number,
            runs=(TestScore(best.number, None, best.value - 0.73, best.value),),
            signature=f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0{self.hostile}",
            data_digest="5d1c" * 16,
        )


@dataclass(frozen=True)
class MadeTrial:
    """One trial of a plan."""

    plan: Plan
    number: int

    @cached_property
    def state(self) -> str:
        pattern = "pruned" if self.number == 6 or self.number % 5 == 4 else "complete"
        return self.plan.states.get(self.number, "failed" if self.number == 9 else pattern)

    @property
    def diverges(self) -> bool:
        return self.number == 6 and self.state == "pruned"

    @cached_property
    def drawn(self) -> dict[str, Any]:
        """Parameters as Optuna has them."""
        if self.number == 0 and self.plan.enqueue_start:
            return dict(START)
        generator = self._generator(1)
        drawn = {
            "model.num_layers": int(generator.integers(1, 13)),
            "model.d_ff.index": int(generator.integers(0, 3)),
            "model.norm": "post" if self.diverges or generator.random() < 0.4 else "pre",
            "finetune.learning_rate": float(f"{10 ** generator.uniform(-5, -2):.6g}"),
            "finetune.weight_decay": 0.01,
        }
        if drawn["model.norm"] == "post":
            drawn["finetune.warmup_steps"] = int(generator.integers(0, 41))
        return drawn

    @cached_property
    def curve(self) -> dict[int, float]:
        """Best at about five layers and a rate of 2e-3; below zero on a minimized metric."""
        rate, depth = (
            math.log10(self.drawn["finetune.learning_rate"]),
            self.drawn["model.num_layers"],
        )
        broken = 11.0 if self.drawn["model.norm"] == "post" and depth > 5 else 0.0
        peak = max(0.5, 33 - 4 * (rate + 2.7) ** 2 - 0.7 * abs(depth - 5) - broken)
        noise = self._generator(2)
        first = self.plan.grid.stages[0][1] if len(self.plan.grid.stages) > 1 else 0
        curve = {}
        for step in range(20, self.last_step + 1, 20):
            score = peak * (1 - math.exp(-step / 45)) + float(noise.normal(0, 0.35))
            if first and step > first:
                score += self.plan.gain * (step - first) / (self.plan.grid.total_steps - first)
            score = max(score, 0.1)
            curve[step] = 17.0 if self.plan.same_score else round(score, 4)
        sign = 1 if self.plan.metric.direction == "maximize" else -1
        return {step: sign * score for step, score in curve.items()}

    @property
    def last_step(self) -> int:
        if self.state == "failed":
            return 0
        if self.state == "complete":
            return self.plan.grid.total_steps
        return 140 if self.number % 2 else 80

    @property
    def value(self) -> float | None:
        return self.curve[self.last_step] if self.state in ("complete", "pruned") else None

    def frozen(self) -> FrozenTrial:
        """The trial in Optuna's study."""
        return create_trial(
            state=STATES[self.state],
            value=self.value,
            params=self.drawn,
            distributions={name: DISTRIBUTIONS[name] for name in self.drawn},
            intermediate_values=dict(self.curve),
        )

    def written(self) -> TrialRecord:
        """Writes the trial's folder and returns its record."""
        folder = self.plan.folder / "trials" / f"{self.number:04d}"
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        health = self._write_telemetry(folder)
        self._write_evaluations(folder)
        if self.plan.with_texts and self.state == "complete":
            self._write_texts(folder / "artifacts")
        cost = Cost(
            prepare_s=0.4,
            pretrain_s=7.5,
            finetune_s=self.last_step / 17,
            evaluate_s=2.25,
            cache_hit=self.number % 3 == 2,
            cache_saved_s=7.0 if self.number % 3 == 2 else 0.0,
            peak_memory_bytes=(500 + self.number) << 20,
        )
        facts = {"device": "cpu made", "precision": "fp32", "truncated_pairs": {"pretrain": 5}}
        write_sealed(folder / "outcome.json", {"outcome": {"facts": facts}})
        started = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=30 * self.number)
        hostile = self.plan.hostile
        return TrialRecord(
            number=self.number,
            state=self.state,
            value=self.value,
            reason=self._reason(),
            parameters=realised(self.drawn) | ({f"model.x{hostile}": hostile} if hostile else {}),
            curve=self.curve,
            folder=folder,
            started=started,
            ended=started + timedelta(seconds=23),
            attempts=2 if self.number == 3 else 1,
            health=asdict(health),
            cost=asdict(cost),
            spans=tuple(self._spans(started)),
        )

    def _spans(self, started: datetime) -> Iterator[Span]:
        """Two slots in turn; trial 3 broke down once, and 10 seconds lie before the second try."""
        place = f"gpu {self.number % 2}"
        end = started + timedelta(seconds=23)
        if self.number == 3:
            yield Span(3, place, started, started + timedelta(seconds=7), "retried")
            started += timedelta(seconds=17)
        yield Span(self.number, place, started, end, "diverged" if self.diverges else self.state)

    def _reason(self) -> str:
        reasons = {
            "pruned": f"below the median of the others at step {self.last_step}",
            "failed": "the worker was killed (signal 9) three times",
        }
        if self.diverges:
            return "loss became NaN at step 83"
        return reasons.get(self.state, "") + (self.plan.hostile if self.state == "pruned" else "")

    def _write_telemetry(self, folder: Path) -> Health:
        if not self.plan.with_telemetry or not self.last_step:
            return Health("healthy")
        length = self.plan.telemetry_steps or self.last_step
        step = np.arange(1, length + 1)
        depth = self.drawn["model.num_layers"]
        wild = self._generator(3).lognormal(0, 0.25, length)
        norms = (0.25 + 0.12 * depth) * wild * (1 + 9 * np.exp(-step / (0.06 * length)))
        if self.diverges:
            norms = norms * np.exp(4 * step / length)
            norms[-1] = np.nan
        table = pd.DataFrame(
            {
                "stage": np.where(step <= 120, "pretrain", "finetune"),
                "step": step,
                "loss": 7 * np.exp(-step / length) * wild,
                "learning_rate": np.where(
                    step <= 120,
                    2e-3 * np.minimum(1, step / 12),
                    self.drawn["finetune.learning_rate"] * (1 - (step - 121) / 80),
                ),
                "grad_norm": norms.astype(np.float32),
                "clipped": norms > 1,
                "amp_scale": np.nan,
            }
        )
        table.to_parquet(folder / "telemetry.parquet")
        known = norms[np.isfinite(norms)]
        return Health(
            "diverged" if self.diverges else "healthy",
            grad_norm_median=float(np.median(known)),
            grad_norm_p95=float(np.quantile(known, 0.95)),
            grad_norm_max=float(known.max()),
            steps_above_alarm=int((known > 10).sum()),
            nonfinite_steps=length - len(known),
        )

    def _write_evaluations(self, folder: Path) -> None:
        lines = [json.dumps({"step": step, "value": value}) for step, value in self.curve.items()]
        (folder / "evaluations.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def _write_texts(self, folder: Path) -> None:
        lines = [SENTENCES[i % len(SENTENCES)] for i in range(29)]
        source, hypothesis, reference = (
            [f"{text}{self.plan.hostile}" for text in texts] for texts in zip(*lines, strict=True)
        )
        hypothesis[4] = ""
        if self.number % 2:
            hypothesis[self.number % 29] = reference[self.number % 29]
            hypothesis[3] = f"{hypothesis[3]} Really."
        last = self.plan.grid.total_steps
        for step, name, texts in (
            (last - 20, "hyp", ["an older output"] * 29),
            (last, "hyp", hypothesis),
            (last, "src", source),
            (last, "ref", reference),
            (last, "beam", reference[:7]),
        ):
            text = "".join(f"{line}\n" for line in texts)
            (folder / f"step{step:06d}.validation.{name}").write_bytes(
                text.encode(errors="replace")
            )

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, self.number, purpose])


def realised(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The drawn parameters as core names them."""
    values = {}
    for name, value in drawn.items():
        if name == "model.d_ff.index":
            values["model.d_ff"] = FACTORS[value] * WIDTH
        else:
            values[name] = value
    return values
