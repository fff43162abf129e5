"""Texts as they come, and studies that have none to translate."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core import registry
from hpo.kept import KeptRun
from hpo.translating import NoTranslationError, lines_of, translations
from tests.hpo.made_records import record


def test_lines_are_given_as_soon_as_they_are_whole() -> None:
    out, into = os.pipe()
    lines = lines_of(out)
    os.write(into, "eins\nzwei\u2028noch zwei\ndr".encode())
    assert next(lines) == ["eins", "zwei\u2028noch zwei"]
    os.write(into, b"ei\n\nb\xffd")
    assert next(lines) == ["drei", ""]
    os.close(into)
    assert list(lines) == [["b\ufffdd"]]
    os.close(out)


def test_a_task_without_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")
    run = KeptRun(record(task="toy", name="curves"), 0, None, 1.0, Path())
    with pytest.raises(NoTranslationError, match="curves: its task, toy, has no text"):
        next(translations(run, [["text"]]))
