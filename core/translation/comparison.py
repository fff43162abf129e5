"""Whether two runs' translations differ by more than the luck of the sentences."""

from __future__ import annotations

from pathlib import Path

import sacrebleu
from sacrebleu.significance import PairedTest

_HYPOTHESES, _REFERENCES = "validation.hyp", "validation.ref"
_FEWEST = 2
"""Sentences; one alone has nothing to be drawn from."""


def compare(folder: Path, other: Path) -> float | None:
    """SacreBLEU's paired bootstrap of two completed runs on the validation set.

    Returns the p-value of their difference in BLEU, two-sided, over 1,000 draws of sentences; with
    SacreBLEU's own fixed seed, so that the same runs give the same value. None where a folder has
    no validation texts, or the two are not of the same sentences.
    """
    texts = [
        _last(place, name) for place in (folder, other) for name in (_HYPOTHESES, _REFERENCES)
    ]
    ours, references, theirs, their_references = texts
    if ours is None or theirs is None or references is None or references != their_references:
        return None
    if not len(ours) == len(theirs) == len(references) >= _FEWEST:
        return None
    if ours == theirs:
        return 1.0
    test = PairedTest(
        [("one", ours), ("other", theirs)],
        {"BLEU": sacrebleu.BLEU(force=True)},
        [references],
        test_type="bs",
    )
    _, scores = test()
    found = scores["BLEU"][1]
    assert not isinstance(found, str)
    assert found.p_value is not None
    return float(found.p_value)


def _last(folder: Path, name: str) -> list[str] | None:
    """Lines of the latest step's file called `name`, split on newlines only; None without one."""
    paths = sorted((folder / "artifacts").glob(f"step*.{name}"))
    if not paths:
        return None
    text = paths[-1].read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n") if text else []
