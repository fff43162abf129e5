"""Fused runs are what separate ones are, up to rounding, whoever leaves and when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.bundle import read_bundle
from core.fused import train_fused
from core.history import read_curve
from core.kernels import CPU
from core.run import read_outcome, run_fused
from core.settings import RunConfig
from core.stage_cache import StageCache
from core.task import Evaluation, Outcome, OutcomeState, Placement, Progress, Stage, Verdict
from core.telemetry import read_telemetry
from core.train import train
from core.translation.batching import Batch
from core.translation.spec import SPEC
from core.translation.task import TranslationTask

WIDTH, STEPS = 20, 10
PLACEMENT = Placement()
MEMBERS: tuple[dict[str, Any], ...] = (
    {"seed": 3, "learning_rate": 3e-3, "label_smoothing_factor": 0.1, "weight_decay": 0.2},
    {
        "seed": 4, "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 3,
        "warmup_shape": "exponential",
    },
    {
        "seed": 5, "learning_rate": 5e-3, "lr_scheduler_type": "noam", "warmup_steps": 2,
        "warmup_shape": "cosine", "adam_beta2": 0.9,
    },
)  # fmt: skip
"""Every setting of fine-tuning is some member's own."""


class Infinite(TranslationTask):
    """The second member's loss, or a lone run's, is infinite at update 3 of the last stage."""

    updates = 0

    def loss(self, model: nn.Module, batch: Batch, stage: Stage) -> torch.Tensor:
        return super().loss(model, batch, stage) * self._factor(stage)

    def losses(
        self, stacked: nn.Module, batches: Sequence[Batch], stages: Sequence[Stage]
    ) -> list[torch.Tensor]:
        first, second, *others = super().losses(stacked, batches, stages)
        return [first, second * self._factor(stages[0]), *others]

    def _factor(self, stage: Stage) -> float:
        self.updates += stage.name == "finetune"
        return torch.inf if self.updates == 3 else 1.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, its tokenizer and stage A."""
    return tmp_path_factory.mktemp("cache")


def config_of(
    cache: Path, *, dropout: float = 0.0, precision: str = "auto", seed: int, **finetune: Any
) -> RunConfig:
    """With dropout all batches are of one shape, so that masks are those of a separate run."""
    protocol = SPEC.protocol.model_validate(
        {
            "pretrain_pairs": 31, "finetune_pairs": 25, "validation_pairs": 13, "vocab_size": 300,
            "max_len": 5 if dropout else 29, "batch_size": 7, "eval_every": 2, "beam_size": 3,
            "pretrain_steps": 4, "finetune_steps": 6, "pretrain": {"warmup_steps": 2},
            "precision": precision,
        }
    )  # fmt: skip
    data = SPEC.data.model_validate(
        {"pocket": {"pretrain_pairs": 31, "finetune_pairs": 25, "validation_pairs": 17}}
    )
    model = {
        "d_model": WIDTH, "num_heads": 2, "num_layers": 1, "d_ff": 28, "dropout": dropout,
        "norm": "post" if dropout else "pre",
    }  # fmt: skip
    return RunConfig(
        task="translation",
        groups={
            "model": SPEC.groups["model"].model_validate(model).model_dump(mode="json"),
            "finetune": SPEC.groups["finetune"].model_validate(finetune).model_dump(mode="json"),
        },
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=SPEC.prepare(protocol, data, cache).digests["data"],
        structure_seed=5,
        seed=seed,
    )


Event = Progress | Evaluation


class Listener:
    """Remembers evaluations and answers those at given steps."""

    def __init__(self, answers: Mapping[int, Verdict] | None = None) -> None:
        self.answers = dict(answers or {})
        self.evaluations: list[Evaluation] = []

    def __call__(self, event: Event) -> Verdict:
        if isinstance(event, Progress):
            return Verdict.CONTINUE
        self.evaluations.append(event)
        return self.answers.pop(event.step, Verdict.CONTINUE)


def go_alone(
    config: RunConfig,
    cache: Path,
    folder: Path,
    answers: Mapping[int, Verdict] | None = None,
    kind: type[TranslationTask] = TranslationTask,
) -> Outcome:
    task = kind(config, PLACEMENT, cache)
    stages = StageCache(cache / "stages")
    return train(task, config, PLACEMENT, folder, stages, Listener(answers))


def go_fused(
    configs: Sequence[RunConfig],
    cache: Path,
    folder: Path,
    listeners: Sequence[Listener] | None = None,
    kind: type[TranslationTask] = TranslationTask,
) -> list[Outcome]:
    return train_fused(
        [kind(config, PLACEMENT, cache) for config in configs],
        configs,
        PLACEMENT,
        [folder / str(index) for index in range(len(configs))],
        StageCache(cache / "stages"),
        listeners or [Listener() for _ in configs],
    )


def assert_alike(fused: Path, alone: Path) -> None:
    """Telemetry step by step, curve, texts and weights.

    Sums are in another order, which AdamW magnifies where a gradient is small: after six steps
    weights of 0.1 to 1 differ by 1e-6. The keys' biases have no gradient but rounding, and no part
    in the function.
    """
    ours, theirs = (read_telemetry(folder / "telemetry.parquet") for folder in (fused, alone))
    assert list(ours["stage"]) == list(theirs["stage"])
    for name in ("loss", "learning_rate", "grad_norm"):
        torch.testing.assert_close(
            torch.tensor(ours[name]),
            torch.tensor(theirs[name]),
            rtol=2e-4,
            atol=1e-7,
            equal_nan=True,
        )
    curves = [read_curve(folder / "evaluations.jsonl") for folder in (fused, alone)]
    scores = [
        [
            # Means of the gradient norms that were just compared have their rounding.
            (
                item.stage,
                item.step,
                item.value,
                {**item.metrics, "grad_norm": 0, "grad_norm_max": 0},
            )
            for item in curve
        ]
        for curve in curves
    ]
    assert scores[0] == scores[1]
    texts = [
        {
            path.name: path.read_text()
            for path in (folder / "artifacts").glob("*")
            if path.name >= "step000004"  # of a cached stage nothing earlier is there
        }
        for folder in (fused, alone)
    ]
    assert texts[0] == texts[1]
    if (alone / "weights").exists():
        weights = [read_bundle(folder / "weights", way_out="")[0] for folder in (fused, alone)]
        assert weights[0].keys() == weights[1].keys()
        for name, expected in weights[1].items():
            found = weights[0][name]
            if name.endswith(("query_key_value.bias", "key_value.bias")):
                keys = slice(-2 * WIDTH, -WIDTH)
                found[keys] = expected[keys] = 0
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.fixture(scope="module")
def alone(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the members as separate runs."""
    folder = tmp_path_factory.mktemp("alone")
    for index, own in enumerate(MEMBERS):
        go_alone(config_of(cache, **own), cache, folder / str(index))
    return folder


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_fused_equals_separate(dropout: float, cache: Path, alone: Path, tmp_path: Path) -> None:
    configs = [config_of(cache, dropout=dropout, **own) for own in MEMBERS]
    if dropout:
        alone = tmp_path / "alone"
        for index, config in enumerate(configs):
            go_alone(config, cache, alone / str(index))
    listeners = [Listener() for _ in configs]
    outcomes = go_fused(configs, cache, tmp_path, listeners)
    for index, (outcome, listener) in enumerate(zip(outcomes, listeners, strict=True)):
        assert (outcome.state, outcome.step, outcome.reason) == (OutcomeState.COMPLETED, STEPS, "")
        assert outcome.curve == tuple(listener.evaluations)
        assert outcome.health.verdict == "healthy"
        assert outcome.cost.finetune_s > 0
        assert outcome.facts["fused_runs"] == len(configs)
        assert_alike(tmp_path / str(index), alone / str(index))


def test_each_has_its_own_warmup_and_decay(cache: Path, tmp_path: Path) -> None:
    go_fused([config_of(cache, **own) for own in MEMBERS], cache, tmp_path)
    rises = [1 - math.exp(-k / 3) for k in range(1, 7)]
    expected = [
        [3e-3 * share for share in (1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6)],
        [1e-3 * rise * fall for rise, fall in zip(rises, (1, 1, 1, 1, 3 / 4, 1 / 4), strict=True)],
        [5e-3 * share for share in (1 / 2, 1, *(math.sqrt(2 / k) for k in (3, 4, 5, 6)))],
    ]
    for index, rates in enumerate(expected):
        found = read_telemetry(tmp_path / str(index) / "telemetry.parquet")
        own = found.loc[found["stage"] == "finetune", "learning_rate"]
        assert own.to_list() == pytest.approx(rates, rel=1e-6)  # fp32


def test_stage_a_is_done_once(cache: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "cache"
    outcomes = go_fused([config_of(fresh, **own) for own in MEMBERS], fresh, tmp_path)
    assert [outcome.cost.cache_hit for outcome in outcomes] == [False, True, True]
    assert [evaluation.replayed for evaluation in outcomes[1].curve] == [True, True] + [False] * 3


@pytest.mark.parametrize("step", [2, 4, 8])
def test_who_is_stopped_leaves_and_the_others_go_on(
    step: int, cache: Path, alone: Path, tmp_path: Path
) -> None:
    configs = [config_of(cache, **own) for own in MEMBERS]
    answers: list[dict[int, Verdict]] = [{8: Verdict.PAUSE}, {step: Verdict.STOP}, {}]
    outcomes = go_fused(configs, cache, tmp_path, [Listener(own) for own in answers])
    states = [outcome.state for outcome in outcomes]
    assert states == [OutcomeState.PAUSED, OutcomeState.STOPPED, OutcomeState.COMPLETED]
    assert [outcome.step for outcome in outcomes] == [8, step, STEPS]
    stopped = go_alone(configs[1], cache, tmp_path / "stopped", {step: Verdict.STOP})
    assert outcomes[1].value == stopped.value
    assert_alike(tmp_path / "1", tmp_path / "stopped")
    assert_alike(tmp_path / "2", alone / "2")


def test_one_member_s_divergence_is_its_own(cache: Path, alone: Path, tmp_path: Path) -> None:
    configs = [config_of(cache, **own) for own in MEMBERS]
    outcomes = go_fused(configs, cache, tmp_path, kind=Infinite)
    states = [outcome.state for outcome in outcomes]
    assert states == [OutcomeState.COMPLETED, OutcomeState.DIVERGED, OutcomeState.COMPLETED]
    diverged = go_alone(configs[1], cache, tmp_path / "diverged", kind=Infinite)
    assert (outcomes[1].step, outcomes[1].reason) == (7, diverged.reason)
    assert outcomes[1].health == diverged.health
    for index, folder in ((0, alone / "0"), (1, tmp_path / "diverged"), (2, alone / "2")):
        assert_alike(tmp_path / str(index), folder)


@pytest.mark.parametrize("step", [4, 6])
@pytest.mark.parametrize("is_fused_first", [True, False])
def test_what_one_form_paused_the_other_takes_up(
    step: int, is_fused_first: bool, cache: Path, tmp_path: Path
) -> None:
    configs = [config_of(cache, dropout=0.3, **own) for own in MEMBERS]
    answers = {step: Verdict.PAUSE}
    for index, config in enumerate(configs):
        go_alone(config, cache, tmp_path / "alone" / str(index))
        if not is_fused_first:
            go_alone(config, cache, tmp_path / str(index), answers)
    if is_fused_first:
        paused = go_fused(configs, cache, tmp_path, [Listener(answers) for _ in configs])
        assert [outcome.state for outcome in paused] == [OutcomeState.PAUSED] * 3
        outcomes = [
            go_alone(config, cache, tmp_path / str(index)) for index, config in enumerate(configs)
        ]
    else:
        outcomes = go_fused(configs, cache, tmp_path)
    for index, outcome in enumerate(outcomes):
        assert outcome.state is OutcomeState.COMPLETED
        assert_alike(tmp_path / str(index), tmp_path / "alone" / str(index))


@pytest.mark.parametrize(("step", "rows"), [(8, 16), (6, 16), (6, 3)])
def test_members_need_not_be_at_one_place(
    step: int,
    rows: int,
    cache: Path,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.kernels.CPU", replace(CPU, block_rows=rows))
    configs = [config_of(cache, **own) for own in MEMBERS]
    # An epoch has 25 pairs: while some are at its last batch, of 4, others have 7.
    go_alone(configs[1], cache, tmp_path / "1", {step: Verdict.PAUSE})
    outcomes = go_fused(configs, cache, tmp_path)
    for index, outcome in enumerate(outcomes):
        assert outcome.state is OutcomeState.COMPLETED
        assert_alike(tmp_path / str(index), alone / str(index))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_are_fused_too(precision: str, cache: Path, tmp_path: Path) -> None:
    configs = [config_of(cache, precision=precision, **own) for own in MEMBERS]
    for index, outcome in enumerate(go_fused(configs, cache, tmp_path)):
        assert outcome.state is OutcomeState.COMPLETED
        go_alone(configs[index], cache, tmp_path / "alone" / str(index))
        folders = tmp_path / str(index), tmp_path / "alone" / str(index)
        ours, theirs = (read_telemetry(folder / "telemetry.parquet") for folder in folders)
        # Of 8 to 11 bits, over products in another order.
        assert ours["loss"].to_list() == pytest.approx(theirs["loss"].to_list(), rel=2e-2)
        assert ours["amp_scale"].isna().all() == (precision == "bf16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_fuses(cache: Path, tmp_path: Path) -> None:
    configs = [config_of(cache, dropout=0.3, **own) for own in MEMBERS]
    placement = Placement("cuda:0")
    tasks = [TranslationTask(config, placement, cache) for config in configs]
    folders = [tmp_path / str(index) for index in range(len(configs))]
    stages = StageCache(cache / "stages")
    outcomes = train_fused(
        tasks, configs, placement, folders, stages, [Listener() for _ in configs]
    )
    assert [outcome.state for outcome in outcomes] == [OutcomeState.COMPLETED] * len(configs)


def test_folders_are_as_run_leaves_them_and_each_is_told_as_soon_as_it_has_left(
    cache: Path, alone: Path, tmp_path: Path
) -> None:
    configs = [config_of(cache, **own) for own in MEMBERS]
    folders = [tmp_path / str(index) for index in range(len(configs))]
    told: list[tuple[int, OutcomeState, int]] = []
    listeners = [Listener(), Listener({6: Verdict.STOP}), Listener({8: Verdict.PAUSE})]

    def on_outcome(index: int, outcome: Outcome) -> None:
        assert read_outcome(folders[index]) == outcome
        told.append((index, outcome.state, len(listeners[0].evaluations)))

    run_fused(configs, PLACEMENT, folders, cache, listeners, on_outcome)
    assert told == [
        (1, OutcomeState.STOPPED, 3),
        (2, OutcomeState.PAUSED, 4),
        (0, OutcomeState.COMPLETED, 5),
    ]
    assert [(folder / "checkpoint").exists() for folder in folders] == [False, False, True]
    told.clear()
    # What has ended is told at once, and the paused one goes on.
    run_fused(configs, PLACEMENT, folders, cache, [Listener() for _ in configs], on_outcome)
    assert [(index, state) for index, state, _ in told] == [
        (0, OutcomeState.COMPLETED),
        (1, OutcomeState.STOPPED),
        (2, OutcomeState.COMPLETED),
    ]
    for index in (0, 2):
        assert_alike(folders[index], alone / str(index))


def test_only_what_shares_a_structure_is_fused(cache: Path, tmp_path: Path) -> None:
    configs = [config_of(cache, seed=3), config_of(cache, seed=4, dropout=0.1)]
    with pytest.raises(ValueError, match="only runs of one structure, protocol and data"):
        go_fused(configs, cache, tmp_path)
