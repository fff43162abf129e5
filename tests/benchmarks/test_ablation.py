"""The ablation's variants compute what the product computes, and its tables have their rows."""

import shlex
from pathlib import Path

import pytest
import torch

from benchmarks import ablation
from core.translation import decoding
from core.translation.settings import ModelSettings
from core.translation.special import PAD_ID

SETTINGS = ModelSettings(d_model=16, num_heads=2, num_layers=1, d_ff=23, dropout=0.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ablation.Corpus:
    cache: Path = tmp_path_factory.mktemp("cache")
    return ablation.read_corpus("pocket", 400, 7, cache)


def test_no_variant_of_training_changes_the_loss(
    corpus: ablation.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []

    def update(self: ablation.StageOptimizer, loss: torch.Tensor) -> None:
        losses.append(float(loss.detach()))

    monkeypatch.setattr(ablation.StageOptimizer, "update", update)
    variants = list(ablation.training_variants(0.0, compiled=False))
    found = {}
    for variant in variants:
        losses.clear()
        ablation.Training(variant, corpus, SETTINGS).turn(0)
        found[variant.name] = list(losses)
    product = found.pop("product")
    # Batches of other company; packed, they say the same as unpacked.
    random = found.pop("random batches")
    assert found.pop("random batches, packed") == pytest.approx(random, rel=1e-5)
    found.pop("bf16", None)
    for name, values in found.items():
        assert values == pytest.approx(product, rel=1e-5), name


def test_no_variant_of_greedy_search_changes_what_is_found(corpus: ablation.Corpus) -> None:
    torch.manual_seed(1)
    model = ablation.Transformer(SETTINGS, corpus.vocab, PAD_ID)
    found = {}
    for variant in ablation.greedy_variants():
        with variant.context():
            found[variant.name] = decoding.greedy(model, corpus.validation, max_len=9)
    assert all(hypotheses == found["product"] for hypotheses in found.values())


def test_tables_have_a_row_for_each_variant(capsys: pytest.CaptureFixture[str]) -> None:
    ablation.main(
        shlex.split(
            "--data pocket --d-model 16 --layers 1 --pairs 300 --sentences 5 --rounds 2 "
            "--only SDPA argmax"
        )
    )
    out = capsys.readouterr().out
    assert out.count("| SDPA |") == 3
    assert out.count("| argmax |") == 1
