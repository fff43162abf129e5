"""A trained model as `transformers` loads it: the same tokens, the same translations."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from core.errors import MissingPackageError
from core.run import run, trained
from core.settings import RunConfig
from core.task import Placement, Verdict
from core.translation.bleu import corpus_bleu
from core.translation.corpus import PairSet
from core.translation.decoding import greedy
from core.translation.model import Transformer
from core.translation.spec import SPEC
from core.translation.task import TranslationTask

STEPS = 300
PAIRS = 101
EXPORT = SPEC.exports["transformers"]


@dataclass(frozen=True)
class Exported:
    """A model trained for a moment on the built-in corpus, and what was made of it."""

    task: TranslationTask
    model: Transformer
    pairs: PairSet
    theirs: Any
    tokenizer: Any


@pytest.fixture(scope="module", params=["pre", "post"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    folder = tmp_path_factory.mktemp(request.param)
    config, cache = _config(request.param, folder / "cache"), folder / "cache"
    run(config, Placement(), folder / "run", cache, lambda _: Verdict.CONTINUE)
    with trained(config, Placement(), folder / "run", cache) as (task, model):
        assert isinstance(task, TranslationTask) and isinstance(model, Transformer)
        assert "from_pretrained" in EXPORT(task, model, folder / "out")
        yield Exported(
            task,
            model,
            task._data.held_out["pretrain"]["validation"],
            AutoModelForSeq2SeqLM.from_pretrained(folder / "out"),
            AutoTokenizer.from_pretrained(folder / "out"),
        )


def _config(norm: str, cache: Path) -> RunConfig:
    protocol = SPEC.protocol.model_validate(
        {
            "pretrain_pairs": 2000, "finetune_pairs": 29, "validation_pairs": PAIRS,
            "vocab_size": 500, "max_len": 23, "batch_size": 16, "eval_every": STEPS,
            "pretrain_steps": 0, "finetune_steps": STEPS, "finetune_corpus": "pretrain",
            "beam_size": 4, "length_penalty": 0.7, "precision": "fp32",
        }
    )  # fmt: skip
    data = SPEC.data.model_validate({"pocket": {"finetune_pairs": 29}})
    given = {
        "model": {"d_model": 64, "num_heads": 4, "num_layers": 1, "d_ff": 128, "norm": norm},
        "finetune": {"learning_rate": 5e-3, "warmup_steps": 30},
    }
    return RunConfig(
        task="translation",
        groups={
            name: kind.model_validate(given[name]).model_dump(mode="json")
            for name, kind in SPEC.groups.items()
        },
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=SPEC.prepare(protocol, data, cache).digests["data"],
        structure_seed=5,
        seed=3,
    )


def _generated(exported: Exported, sources: Sequence[str], **settings: int) -> list[str]:
    """As the card says, in batches."""
    found = []
    for start in range(0, len(sources), 25):
        batch = exported.tokenizer(
            list(sources[start : start + 25]), return_tensors="pt", padding=True, truncation=True
        )
        ids = exported.theirs.generate(**batch, **settings)
        found += exported.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return found


def _greedily(exported: Exported) -> list[str]:
    protocol, tokenizer = exported.task.protocol, exported.task.tokenizer
    sources = [ids[: protocol.max_len - 1] for ids in tokenizer.encode(exported.pairs.src)]
    return tokenizer.decode(greedy(exported.model, sources, max_len=protocol.max_len))


@pytest.mark.parametrize("is_greedy", [True, False])
def test_it_translates_to_the_same_text(exported: Exported, is_greedy: bool) -> None:
    pairs = exported.pairs
    if is_greedy:
        ours, theirs = _greedily(exported), _generated(exported, pairs.src, num_beams=1)
    else:
        ours = exported.task.translate(exported.model, pairs.src)
        theirs = _generated(exported, pairs.src)
    # A model that says one thing always would agree whatever its weights are.
    assert len(ours) == PAIRS and len(set(ours)) >= 10
    same = sum(one == other for one, other in zip(ours, theirs, strict=True))
    assert same >= 0.995 * PAIRS
    difference = corpus_bleu(ours, pairs.tgt).value - corpus_bleu(theirs, pairs.tgt).value
    assert abs(difference) <= 0.05


def test_its_generation_is_that_of_the_protocol(exported: Exported) -> None:
    found = exported.theirs.generation_config
    assert (found.num_beams, found.length_penalty, found.max_length) == (4, 0.7, 24)
    assert (found.forced_bos_token_id, found.forced_eos_token_id) == (None, None)


def test_its_tokenizer_encodes_and_decodes_as_ours(exported: Exported) -> None:
    ours, theirs = exported.task.tokenizer, exported.tokenizer
    texts = [*exported.pairs.src[:7], "", "  zwei  Wörter\t ", "<eos> 🙂 <pad>", "e\u0301 \u00a0"]
    for text, ids in zip(texts, ours.encode(texts), strict=True):
        assert theirs(text).input_ids == [*ids, ours.eos_id]
        (decoded,) = ours.decode([ids])
        assert theirs.decode([*ids, ours.eos_id], skip_special_tokens=True) == decoded
    longest = theirs("Hund " * 99, truncation=True).input_ids
    assert (len(longest), longest[-1]) == (exported.task.protocol.max_len, ours.eos_id)


def test_without_transformers_it_says_what_to_install(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hpo-harness\[export\]'"):
        EXPORT(exported.task, exported.model, tmp_path)
    assert list(tmp_path.iterdir()) == []
