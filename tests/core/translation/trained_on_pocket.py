"""Models trained for a moment on the built-in corpus, for what exports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
MAX_LEN = 23
BEAM_SIZE = 4
LENGTH_PENALTY = 0.7


@dataclass(frozen=True)
class Trained:
    """A model and the validation set."""

    task: TranslationTask
    model: Transformer
    pairs: PairSet

    def translations(self, *, is_greedy: bool) -> list[str]:
        """What our own decoder makes of the validation set."""
        if not is_greedy:
            return self.task.translate(self.model, self.pairs.src)
        tokenizer = self.task.tokenizer
        sources = [ids[: MAX_LEN - 1] for ids in tokenizer.encode(self.pairs.src)]
        return tokenizer.decode(greedy(self.model, sources, max_len=MAX_LEN))


@contextmanager
def train_on_pocket(norm: str, folder: Path) -> Iterator[Trained]:
    """Trains in `folder`."""
    cache = folder / "cache"
    config = _config(norm, cache)
    run(config, Placement(), folder / "run", cache, lambda _: Verdict.CONTINUE)
    with trained(config, Placement(), folder / "run", cache) as (task, model):
        assert isinstance(task, TranslationTask) and isinstance(model, Transformer)
        yield Trained(task, model, task._data.held_out["pretrain"]["validation"])


def _config(norm: str, cache: Path) -> RunConfig:
    protocol = SPEC.protocol.model_validate(
        {
            "pretrain_pairs": 2000, "finetune_pairs": 29, "validation_pairs": PAIRS,
            "vocab_size": 500, "max_len": MAX_LEN, "batch_size": 16, "eval_every": STEPS,
            "pretrain_steps": 0, "finetune_steps": STEPS, "finetune_corpus": "pretrain",
            "beam_size": BEAM_SIZE, "length_penalty": LENGTH_PENALTY, "precision": "fp32",
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


def check_same_texts(ours: Trained, theirs: Sequence[str], *, is_greedy: bool) -> None:
    """Asserts that another decoder, with these weights, gives our texts of the validation set."""
    expected = ours.translations(is_greedy=is_greedy)
    # A model that says one thing always would agree whatever its weights are.
    assert len(expected) == PAIRS and len(set(expected)) >= 10
    same = sum(one == other for one, other in zip(expected, theirs, strict=True))
    assert same >= 0.995 * PAIRS
    tgt = ours.pairs.tgt
    assert abs(corpus_bleu(expected, tgt).value - corpus_bleu(theirs, tgt).value) <= 0.05
