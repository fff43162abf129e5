"""The corpus score is sacrebleu's, with its signature, and counts what is missing."""

import re

import pytest
import sacrebleu

from core.translation.bleu import corpus_bleu
from core.translation.spec import SPEC

REFERENCES = ["A man is riding a red bicycle.", "Two dogs play in the deep snow.", "Er, no."]
HYPOTHESES = ["A man rides a red bicycle.", "Two dogs are playing in the snow.", ""]


def test_equal_to_sacrebleu() -> None:
    bleu = corpus_bleu(HYPOTHESES, REFERENCES)
    assert bleu.value == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert 0 < bleu.value < 100
    assert bleu.empty == 1


def test_signature_says_how() -> None:
    signature = corpus_bleu(HYPOTHESES, REFERENCES).signature
    assert re.fullmatch(
        r"nrefs:1\|case:mixed\|eff:no\|tok:13a\|smooth:exp\|version:\d[\w.]*", signature
    )


def test_the_references_themselves_score_100() -> None:
    # Rounding in the geometric mean of four precisions.
    assert corpus_bleu(REFERENCES, REFERENCES).value == pytest.approx(100)


@pytest.mark.parametrize("hypotheses", [HYPOTHESES[:2], [*HYPOTHESES, "One too many."]])
def test_unequal_counts_are_an_error(hypotheses: list[str]) -> None:
    message = f"{len(hypotheses)} hypotheses for 3 references"
    with pytest.raises(ValueError, match=message):
        corpus_bleu(hypotheses, REFERENCES)


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no hypotheses to score"):
        corpus_bleu([], [])


def test_empty_hypotheses_are_counted_and_score_nothing() -> None:
    bleu = corpus_bleu(["", " ", "\n"], REFERENCES)
    assert (bleu.value, bleu.empty) == (0.0, 3)


def test_no_warning_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> None:
    # sacrebleu takes a hundred of these for untokenized text that was not put together again.
    corpus_bleu(["Two dogs play in the snow ."] * 150, ["Two dogs play in snow ."] * 150)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_the_protocol_names_the_signature_before_anything_is_scored() -> None:
    protocol = SPEC.protocol()
    assert SPEC.signature is not None
    assert SPEC.signature(protocol) == corpus_bleu(["a b", "c"], ["b", "d e f g"]).signature
