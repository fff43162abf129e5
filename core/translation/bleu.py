"""SacreBLEU of a corpus, with the signature that says how it was computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sacrebleu


@dataclass(frozen=True)
class Bleu:
    """One score."""

    value: float
    """On 0 to 100."""
    signature: str
    empty: int
    """Hypotheses without a word."""


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> Bleu:
    """Scores hypotheses against one reference each.

    Raises: ValueError for unequal numbers, which sacrebleu would score in silence, and for none.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    if not hypotheses:
        raise ValueError("no hypotheses to score")
    # `force` only silences the hint that hypotheses look tokenized.
    metric = sacrebleu.BLEU(force=True)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    empty = sum(not hypothesis.strip() for hypothesis in hypotheses)
    return Bleu(float(score.score), str(metric.get_signature()), empty)
