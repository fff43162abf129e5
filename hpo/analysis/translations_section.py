"""The report's section of sample texts: the best trial's output beside the runner-up's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hpo.analysis.markup import Html, join, tag, term_list
from hpo.analysis.tables import rows_of
from hpo.analysis.translations import marked, runner_up, translations_obstacle
from hpo.analysis.widgets import folded, sentence
from hpo.finals.statistics import SENTENCES_AT
from hpo.records import StudyRecord

_SHOWN = 8
"""Samples that are not folded away."""


def translations_section(
    record: StudyRecord, found: pd.DataFrame, apart: tuple[int, float] | None
) -> Html:
    """The samples of `translations_table`, or why there are none; `apart` is from `told_apart`."""
    obstacle = translations_obstacle(record)
    if obstacle is not None:
        return tag("p", obstacle)
    assert record.best is not None
    second = runner_up(record)
    said = f"Validation sentences and what the best trial ({record.best.number}) made of them"
    if second is None:
        said += ". No other trial has texts of the same sentences to compare with."
    elif found["difference"].isna().all():
        said += f"; the runner-up's (trial {second.number}) are the same throughout."
    else:
        said += (
            f", beside the runner-up's (trial {second.number}): those first on which the two "
            "differ most by sentence chrF, whichever way. Words that differ are marked."
        )
    if apart is not None:
        is_told = apart[1] < SENTENCES_AT
        said += (
            f" Over all sentences a paired bootstrap {'tells' if is_told else 'does not tell'} "
            f"the two apart (p = {apart[1]:.2f})."
        )
    names = (f"trial {record.best.number}", "" if second is None else f"trial {second.number}")
    samples = [_sample(row, names) for row in rows_of(found)]
    rest = samples[_SHOWN:]
    return join(
        (
            tag("p", said),
            *samples[:_SHOWN],
            folded(f"{len(rest)} more", join(rest)) if rest else "",
        )
    )


def _sample(row: Mapping[str, Any], names: tuple[str, str]) -> Html:
    best, other, beam = row["best"], row["runner_up"], row["beam"]
    outputs = [(f"{names[0]}, best", _marked(best, other))]
    if other is not None:
        outputs.append((f"{names[1]}, runner-up", _marked(other, best)))
    if beam is not None and beam != best:
        outputs.append((f"{names[0]}, beam search", sentence(beam)))
    apart = row["difference"]
    head = f"Line {row['line']}"
    if apart is not None:
        who = "the best" if apart > 0 else "the runner-up"
        head += f": {who} is {abs(apart):.1f} chrF better"
    return tag(
        "article",
        tag("h3", head),
        term_list(
            (
                ("source", sentence(row["source"])),
                ("reference", sentence(row["reference"])),
                *outputs,
            )
        ),
        class_="sample",
    )


def _marked(text: str, other: str | None) -> Html:
    if not text.strip():
        return sentence(text)
    words = (
        tag("mark", part.text) if part.differs and part.text.strip() else part.text
        for part in marked(text, other)
    )
    return tag("span", *words, dir="auto")
