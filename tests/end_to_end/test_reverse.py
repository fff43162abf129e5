"""A two-layer model learns to reverse digits: corpus, tokenizer, model, loop and score at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.run import read_outcome, run, score_test
from core.settings import RunConfig
from core.task import Evaluation, OutcomeState, Placement, Progress, Verdict
from core.translation.settings import (
    FinetuneSettings,
    ModelSettings,
    TranslationData,
    TranslationProtocol,
)
from core.translation.spec import SPEC

STEPS = 800


def write_corpora(folder: Path) -> None:
    """Sentences of 3 to 7 digits and the same reversed; the two corpora differ in length alone."""
    rng = random.Random(11)
    sizes = {"train": 2_003, "val": 61, "test": 67}
    for corpus in ("short", "long"):
        (folder / corpus).mkdir(parents=True)
        for split, size in sizes.items():
            lengths = (3, 5) if corpus == "short" else (5, 7)
            rows = [rng.choices("0123456789", k=rng.randint(*lengths)) for _ in range(size)]
            for language, step in (("abc", 1), ("cba", -1)):
                text = "".join(" ".join(row[::step]) + "\n" for row in rows)
                (folder / corpus / f"{split}.{language}").write_text(text, encoding="utf-8")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    write_corpora(tmp_path / "corpora")
    protocol = TranslationProtocol(
        vocab_size=300,
        max_len=16,
        batch_size=32,
        pretrain_steps=0,
        finetune_steps=STEPS,
        finetune_corpus="pretrain",
        eval_every=STEPS // 2,
        beam_size=3,
    )
    data = TranslationData.model_validate(
        {
            "source": str(tmp_path / "corpora"),
            "source_language": "abc",
            "target_language": "cba",
            "pretrain": {"folder": "short", "test": "test"},
            "finetune": {"folder": "long"},
        }
    )
    model = ModelSettings(d_model=64, num_heads=4, num_layers=2, d_ff=128, dropout=0.0)
    finetune = FinetuneSettings(learning_rate=3e-3, warmup_steps=80, lr_scheduler_type="linear")
    facts = SPEC.prepare(protocol, data, tmp_path / "cache")
    return RunConfig(
        task="translation",
        groups={
            "model": model.model_dump(mode="json"),
            "finetune": finetune.model_dump(mode="json"),
        },
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=facts.digests["data"],
        structure_seed=3,
        seed=5,
    )


@pytest.mark.slow
def test_a_two_layer_model_learns_to_reverse_digits(config: RunConfig, tmp_path: Path) -> None:
    seen: list[Evaluation] = []

    def watch(event: Progress | Evaluation) -> Verdict:
        if isinstance(event, Evaluation):
            seen.append(event)
        return Verdict.CONTINUE

    folder = tmp_path / "trial"
    outcome = run(config, Placement(), folder, tmp_path / "cache", watch)
    assert outcome.state is OutcomeState.COMPLETED
    assert outcome == read_outcome(folder)
    assert [event.step for event in seen] == [STEPS // 2, STEPS]
    assert outcome.value is not None
    # Copying instead of reversing scores below 30 here; the rule itself scores 100.
    assert outcome.value > 95
    assert outcome.health.nonfinite_steps == 0
    scores = score_test(config, Placement(), folder, tmp_path / "cache")
    hypotheses = scores.texts["test.hyp"].split("\n")
    references = scores.texts["test.ref"].split("\n")
    right = sum(one == other for one, other in zip(hypotheses, references, strict=True))
    assert right > 0.9 * len(references)
    assert scores.value > 95
    assert "version:" in scores.signature
