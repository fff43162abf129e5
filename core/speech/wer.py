"""Word error rate: edits from what was heard to what was said, per word said."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple


class WordErrors(NamedTuple):
    """Errors over a whole set; each in percent of the words said."""

    rate: float
    """Beyond 100 where more is put in than was said."""
    substituted: float
    left_out: float
    put_in: float


def signature() -> str:
    """How it is computed."""
    return f"WER|jiwer:{version('jiwer')}"


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Over all utterances together, so that a long one counts for more.

    Raises: ValueError for unequal numbers of texts, or a reference without a word.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    import jiwer

    found = jiwer.process_words(list(references), list(hypotheses))
    said = found.hits + found.substitutions + found.deletions
    return WordErrors(
        100 * found.wer,
        100 * found.substitutions / said,
        100 * found.deletions / said,
        100 * found.insertions / said,
    )
