"""The report's last section: notes on the data, and every setting of the study."""

from __future__ import annotations

from hpo.analysis.facts import settings_table
from hpo.analysis.markup import Html, join, table, tag
from hpo.analysis.settings import SECTIONS
from hpo.records import StudyRecord


def settings_section(record: StudyRecord) -> Html:
    """What was found in the data, and a table of each section of settings."""
    notes = [tag("li", note) for note in record.facts.get("notes") or ()]
    settings = settings_table(record)
    tables = []
    for section in SECTIONS:
        rows = settings[settings["section"] == section]
        if len(rows):
            cells = (
                (tag("code", name), value)
                for name, value in zip(rows["name"], rows["value"], strict=True)
            )
            tables.append(table(section.capitalize(), ("setting", "value"), cells, numeric=(1,)))
    return join(
        (
            tag("h3", "Notes on the data"),
            tag("ul", *notes) if notes else tag("p", "None."),
            tag("div", *tables, class_="columns"),
        )
    )
