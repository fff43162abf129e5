"""Whether runs' translations differ by more than the luck of the sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import sacrebleu
from sacrebleu.significance import PairedTest, Result

from core.errors import IncomparableError
from core.task import Resampled

_HYPOTHESES, _REFERENCES = "validation.hyp", "validation.ref"
_STEP = re.compile(r"step(\d+)\.")
_FEWEST = 2
"""Sentences; one alone has nothing to be drawn from."""


def compare(folder: Path, other: Path) -> float | None:
    """The p-value of two completed runs' difference, as `resample` has it.

    None where a folder has no validation texts, or the two are not of the same sentences.
    """
    try:
        return resample([folder, other])[1].p_value
    except IncomparableError:
        return None


def resample(folders: Sequence[Path], references_in: Sequence[Path] = ()) -> list[Resampled]:
    """SacreBLEU's paired bootstrap of runs on the validation set, each against the first.

    BLEU of each run's latest hypotheses, its mean and half the width of its 95 percent interval
    over 1,000 draws of sentences, and the two-sided p-value of its difference from the first
    run's; with SacreBLEU's own fixed seed, so that the same runs give the same values.

    Only a run that was completed has references. Those of others are found in the folders of the
    rest, or in `references_in`: that they are of the same set is the caller's to know.

    Raises: IncomparableError where a run has no hypotheses, no references are found, or they are
        not of the same sentences.
    """
    runs = [_last(folder, _HYPOTHESES) for folder in folders]
    for folder, (_, lines) in zip(folders, runs, strict=True):
        if not lines:
            raise IncomparableError(f"{folder.name} left no translations of the validation set")
    known = [
        lines for folder in (*folders, *references_in) if (lines := _last(folder, _REFERENCES)[1])
    ]
    if not known:
        raise IncomparableError("no run of them got as far as to keep the references")
    references = known[0]
    if any(other != references for other in known) or any(
        len(lines) != len(references) for _, lines in runs
    ):
        raise IncomparableError("their validation sets are not the same sentences")
    if len(references) < _FEWEST:
        raise IncomparableError("one sentence alone leaves nothing to draw from")
    test = PairedTest(
        [(str(number), lines) for number, (_, lines) in enumerate(runs)],
        {"BLEU": sacrebleu.BLEU(force=True)},
        [references],
        test_type="bs",
    )
    return [
        _resampled(step, found, is_first=number == 0, is_same=lines == runs[0][1])
        for number, ((step, lines), found) in enumerate(zip(runs, test()[1]["BLEU"], strict=True))
    ]


def _resampled(step: int, found: str | Result, *, is_first: bool, is_same: bool) -> Resampled:
    assert not isinstance(found, str)
    assert found.mean is not None
    assert found.ci is not None
    p_value = found.p_value
    if is_same and not is_first:
        p_value = 1.0  # for equal texts the formula gives the smallest p-value that there is
    return Resampled(step, found.score, float(found.mean), float(found.ci), p_value)


def _last(folder: Path, name: str) -> tuple[int, list[str]]:
    """The latest step's file called `name`: the step and the lines, split on newlines only.

    (0, []) without one.
    """
    paths = sorted((folder / "artifacts").glob(f"step*.{name}"))
    if not paths:
        return 0, []
    text = paths[-1].read_text(encoding="utf-8")
    found = _STEP.match(paths[-1].name)
    return int(found[1]) if found else 0, text.removesuffix("\n").split("\n") if text else []
