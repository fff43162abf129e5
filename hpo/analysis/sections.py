"""The report's sections in reading order."""

from __future__ import annotations

from typing import NamedTuple

from hpo.analysis.answer_section import answer_section
from hpo.analysis.courses import read_courses
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.importance_section import importance_section
from hpo.analysis.markup import Html
from hpo.analysis.search_section import search_section
from hpo.analysis.settings_section import settings_section
from hpo.analysis.stability_section import stability_section
from hpo.analysis.translations import told_apart, translations_table
from hpo.analysis.translations_section import translations_section
from hpo.analysis.trial_data import trial_data
from hpo.analysis.trials_section import trials_section
from hpo.records import StudyRecord


class Section(NamedTuple):
    """One part of the page, reached by its anchor."""

    anchor: str
    title: str
    content: Html


def build_sections(record: StudyRecord) -> list[Section]:
    """Answer, search, importance, stability, trials, translations, settings.

    Those about scores come once a trial has finished, those about trials once one has begun.
    """
    scores = ScoreFormat.of(record)
    courses = read_courses(record, scores)
    texts, apart = translations_table(record), told_apart(record)
    sections = [Section("answer", "Answer", answer_section(record, scores))]
    if any(trial.is_finished for trial in record.trials):
        sections += [
            Section("search", "Search", search_section(record, scores)),
            Section("importance", "Importance", importance_section(record, scores)),
            Section("stability", "Stability", stability_section(record, scores, courses)),
        ]
    if record.trials:
        data = trial_data(record, courses, texts, dict([apart] if apart else []))
        sections.append(Section("trials", "Trials", trials_section(record, scores, data)))
    if record.best is not None:
        found = translations_section(record, texts, apart)
        sections.append(Section("translations", "Translations", found))
    return [*sections, Section("settings", "Settings", settings_section(record))]
