"""The ablation's variants compute what the product computes, and its tables have their rows."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.ablation.__main__ import main
from benchmarks.ablation.measuring import Corpus, Training, read_corpus
from benchmarks.ablation.search_rivals import greedy_variants
from benchmarks.ablation.training_rivals import training_variants
from core.optimizer import StageOptimizer
from core.translation import decoding
from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import PAD_ID

SETTINGS = ModelSettings(d_model=16, num_heads=2, num_layers=1, d_ff=23, dropout=0.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    cache: Path = tmp_path_factory.mktemp("cache")
    return read_corpus("pocket", 400, 7, cache)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_no_variant_of_training_changes_the_loss(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []

    def update(self: StageOptimizer, loss: torch.Tensor) -> None:
        losses.append(float(loss.detach()))

    monkeypatch.setattr(StageOptimizer, "update", update)
    variants = list(training_variants(0.0, compiled=False))
    found = {}
    for variant in variants:
        losses.clear()
        Training(replace(variant, precision="fp32"), corpus, SETTINGS).turn(0)
        found[variant.name] = list(losses)
    product = found.pop("product")
    assert found.pop("batches of like length") != product
    for name, values in found.items():
        assert values == pytest.approx(product, rel=1e-5), name


def test_no_variant_of_greedy_search_changes_what_is_found(corpus: Corpus) -> None:
    torch.manual_seed(1)
    model = Transformer(SETTINGS, corpus.vocab, PAD_ID)
    found = {}
    for variant in greedy_variants():
        with variant.context():
            found[variant.name] = decoding.greedy(model, corpus.validation, max_len=9)
    assert all(hypotheses == found["product"] for hypotheses in found.values())


def test_tables_have_a_row_for_each_variant(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        shlex.split(
            "--data pocket --d-model 16 --layers 1 --pairs 300 --sentences 5 --rounds 2 "
            "--only SDPA argmax"
        )
    )
    out = capsys.readouterr().out
    assert out.count("| SDPA |") == 3
    assert out.count("| argmax |") == 1
