"""One translation run: its stages, what is cached, what an evaluation leaves, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import DataError
from core.settings import RunConfig
from core.task import Placement
from core.translation.spec import SPEC
from core.translation.task import SHOWN_SAMPLES, TranslationTask

VALIDATION_PAIRS = 13
MODEL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 24, "dropout": 0.1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def config_of(cache: Path, *, digest: str | None = None, **changes: Any) -> RunConfig:
    """A small run on the built-in corpus; `changes` are settings of any group, by name."""
    fields = {
        "pretrain_pairs": 31, "finetune_pairs": 29, "validation_pairs": VALIDATION_PAIRS,
        "test_pairs": 11, "vocab_size": 300, "max_len": 48, "batch_size": 7, "eval_every": 2,
        "pretrain_steps": 4, "finetune_steps": 2, "beam_size": 3,
    }  # fmt: skip
    own = {name: value for name, value in changes.items() if name in SPEC.protocol.model_fields}
    protocol = SPEC.protocol.model_validate(fields | own)
    data = SPEC.data.model_validate(
        {"pocket": {"pretrain_pairs": 31, "finetune_pairs": 29, "validation_pairs": 17}}
    )
    groups = {}
    for name, given in (("model", MODEL), ("finetune", {"learning_rate": 1e-3})):
        kind = SPEC.groups[name]
        own = {key: value for key, value in changes.items() if key in kind.model_fields}
        groups[name] = kind.model_validate(given | own).model_dump(mode="json")
    return RunConfig(
        task="translation",
        groups=groups,
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=digest or SPEC.prepare(protocol, data, cache).digests["data"],
        structure_seed=5,
        seed=changes.get("seed", 3),
    )


def task_of(cache: Path, **changes: Any) -> TranslationTask:
    return TranslationTask(config_of(cache, **changes), Placement(), cache)


def test_stages_lie_on_one_curve(cache: Path) -> None:
    first, second = task_of(cache).stages
    assert (first.name, first.first_step, first.steps, first.seed) == ("pretrain", 0, 4, 5)
    assert (second.name, second.first_step, second.steps, second.seed) == ("finetune", 4, 2, 3)
    assert second.cache_key is None
    assert (first.about["corpus"], "d_model" in first.about) == ("pocket", True)


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"learning_rate": 1e-4}, True),
        ({"finetune_steps": 4}, True),
        ({"beam_size": 2}, True),
        ({"seed": 4}, True),
        ({"d_ff": 40}, False),
        ({"dropout": 0.2}, False),
        ({"batch_size": 5}, False),
        ({"validation_pairs": 12}, False),
    ],
)
def test_stage_a_is_shared_by_what_cannot_change_it(
    cache: Path, changes: dict[str, Any], is_same: bool
) -> None:
    base, other = task_of(cache).stages[0], task_of(cache, **changes).stages[0]
    assert (base.cache_key == other.cache_key) is is_same


def test_without_stage_a_there_is_one_stage_on_the_named_corpus(cache: Path) -> None:
    task = task_of(cache, pretrain_steps=0, finetune_corpus="pretrain")
    (only,) = task.stages
    assert (only.name, only.first_step) == ("finetune", 0)


def test_an_evaluation_keeps_its_hypotheses_and_the_last_one_shows_samples(cache: Path) -> None:
    torch.manual_seed(1)
    task = task_of(cache)
    model = task.build_model().eval()
    scores = task.evaluate(model, final=False)
    assert set(scores.texts) == {"validation.hyp"}
    assert scores.texts["validation.hyp"].count("\n") == VALIDATION_PAIRS
    assert "finetune_bleu" not in scores.metrics
    final = task.evaluate(model, final=True)
    assert final.texts["validation.src"].count("\n") == VALIDATION_PAIRS
    assert final.texts["validation.beam"].count("\n") == SHOWN_SAMPLES
    assert "finetune_bleu" in final.metrics
    assert final.value == scores.value
    assert final.signature.startswith("nrefs:1|case:mixed")


def test_the_test_set_is_its_own(cache: Path) -> None:
    task = task_of(cache)
    scores = task.test(task.build_model().eval())
    assert scores.texts["test.hyp"].count("\n") == 11


def test_other_data_than_the_study_began_with_are_refused(cache: Path) -> None:
    config = config_of(cache, digest="0" * 64)
    with pytest.raises(DataError, match="the corpora changed since the study began"):
        TranslationTask(config, Placement(), cache)


@pytest.mark.parametrize(
    ("d_model", "batch_size", "threads"),
    [(64, 16, 1), (64, 255, 1), (64, 256, 7), (128, 64, 7), (512, 3, 1), (512, 4, 7)],
)
def test_small_models_train_on_one_thread(
    cache: Path, d_model: int, batch_size: int, threads: int
) -> None:
    task = task_of(cache, d_model=d_model, batch_size=batch_size)
    assert task.useful_threads(7) == threads
    assert task.useful_threads(1) == 1
