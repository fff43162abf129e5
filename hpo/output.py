"""What the commands print, as rich renderables drawn from a record; `cli` prints them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.sizes import size_text
from hpo.analysis.baselines import baseline_sentences
from hpo.analysis.finals import (
    finals_rows,
    finals_sentences,
    interval_text,
    leader_of,
    run_name,
)
from hpo.analysis.formats import (
    MISSING,
    ScoreFormat,
    count,
    decimals_for,
    duration,
    value_text,
)
from hpo.analysis.trials import (
    cache_sentences,
    prior_sentences,
    quarantine_sentences,
    stage_of,
)
from hpo.finals.headline import headline
from hpo.names import label

if TYPE_CHECKING:
    from rich.console import RenderableType

    from core.stage_entries import Pruned
    from hpo.analysis.leaderboard import Leaderboard
    from hpo.cache import CacheContents
    from hpo.declarations import Declared
    from hpo.reading import StudySummary
    from hpo.records import StudyRecord, TestReading, TrialRecord
    from hpo.repair import Repaired


_KEY_LETTERS = 12
"""Of an entry's key: enough to tell it from all others."""
_MINUTE = "%Y-%m-%d %H:%M"


class Printer(Console):
    """Standard output: markup means nothing, and a reader that went away ends no study."""

    def __init__(self) -> None:
        # Into a file or a pipe rows stay whole, for grep; on a terminal they wrap at its edge.
        has_edge = sys.stdout.isatty() or "COLUMNS" in os.environ
        super().__init__(
            markup=False, emoji=False, highlight=False, width=None if has_edge else 1000
        )

    def say(self, line: object) -> None:
        """Prints one line."""
        self.show(Text(visible(line)))

    def show(self, *parts: RenderableType) -> None:
        """Prints each part, tables set off by blank lines; text is never broken into lines."""
        for before, part in zip((None, *parts), parts, strict=False):
            if before is not None and (isinstance(before, Table) or isinstance(part, Table)):
                self.print()
            self.print(part, soft_wrap=not isinstance(part, Table))

    def on_broken_pipe(self) -> None:
        """Goes silent; the default would end the process, and a running study with it."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def visible(text: object) -> str:
    """One line in which nothing acts on a terminal: what does not print is spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def short_parameters(parameters: Mapping[str, Any]) -> str:
    """`num_layers=6 dropout=0.1`: the group is named only where the name alone is ambiguous."""
    lasts = Counter(key.rpartition(".")[2] for key in parameters)
    words = []
    for key, value in parameters.items():
        last = key.rpartition(".")[2]
        words.append(f"{key if lasts[last] > 1 else last}={value_text(value)}")
    return visible(" ".join(words))


def study_result(record: StudyRecord) -> list[RenderableType]:
    """What a study came to: best configuration, score and gain, finals, the last test reading."""
    best = record.best
    if best is None:
        return [Text("No trial is complete.")]
    reading = record.readings[-1] if record.readings else None
    return [
        _best_table(record, best),
        Text(_verdict(record, best)),
        *(_finals_part(record)),
        *(_final_lines(record, reading) if reading else ()),
    ]


def standing(record: StudyRecord) -> Text:
    """How far a study is: `depth_sweep: 5 of 14 trials finished (4 complete, 1 pruned), 48 s`."""
    counts = Counter(trial.state for trial in record.trials)
    states = ("complete", "pruned", "failed", "paused", "running", "interrupted")
    each = ", ".join(f"{counts[state]} {state}" for state in states if counts[state])
    line = f"{visible(record.name)}: {record.finished} of {record.total} trials finished"
    line += f" ({each})" if each else ""
    how = ", running now" if record.is_owned else ""
    if record.is_out_of_time:
        how = ", ended by its time limit"
    return Text(f"{line}, {duration(record.elapsed_s)}{how}")


def trials_line(states: Mapping[str, int]) -> str:
    """`7 trials (5 complete, 2 pruned)`, of trials by state."""
    each = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return f"{count(sum(states.values()), 'trial')} ({each or 'none yet'})"


def repaired_page(repaired: Repaired, command: str, place: str) -> list[Text]:
    """What a repair came to; `command` and `place` make up the next one to give."""
    lines = [f"{repaired.name}: rebuilt from its folder, {trials_line(repaired.states)}"]
    if not repaired.is_rebuilt:
        lines = [f"{repaired.name}: it is in the database, nothing to repair"]
    if repaired.states.get("interrupted"):
        lines.append("Interrupted trials were cut off; the next run goes on with them.")
    if repaired.lost:
        numbers = ", ".join(map(str, repaired.lost))
        lines.append(f"Without a record, so entered as failed: {numbers}")
    if repaired.aside is not None:
        lines.append(f"The damaged database is kept as {repaired.aside}")
    lines += [
        f"Not in the database: {other}. To rebuild it: {command} {other} {place}".rstrip()
        for other in repaired.others
    ]
    return [Text(visible(line)) for line in lines]


def _best_table(record: StudyRecord, best: TrialRecord) -> Table:
    """The best configuration; beside it what the finals selected and the start, where others."""
    others: list[TrialRecord] = []
    heads: list[str] = []
    selected = next((one for one in record.trials if one.number == leader_of(record)), None)
    for what, other in (("selected", selected), ("start", record.start)):
        if other is not None and other.number != best.number and other not in others:
            others.append(other)
            heads.append(f"{what}, trial {other.number}")
    table = _table("best configuration", f"trial {best.number}", *heads)
    for name, value in best.parameters.items():
        before = (value_text(other.parameters.get(name)) for other in others)
        _add_row(table, name, value_text(value), *before)
    return table


def _verdict(record: StudyRecord, best: TrialRecord) -> str:
    """The best score in a sentence, with its gain over the start configuration where known."""
    scores, start = ScoreFormat.of(record), record.start
    line = f"Best score on validation: {scores.named(best.value)} (trial {best.number})"
    if start is None:
        return line
    if start.number == best.number:
        return f"{line}, the start configuration's own"
    if start.state != "complete" or start.value is None or best.value is None:
        return f"{line}; the start configuration (trial {start.number}) is {start.state}"
    gain = scores.difference(*sorted((best.value, start.value), reverse=True))
    return f"{line}, {gain} better than the start configuration ({scores.number(start.value)})"


def _finals_part(record: StudyRecord) -> list[RenderableType]:
    """The table of finalists, and what it says; nothing without finals."""
    rows, scores = finals_rows(record), ScoreFormat.of(record)
    if not rows:
        return []
    table = _table("finals", scores.metric.name, "seeds", "")
    _flush_right(table, 1, 2)
    for row in rows:
        style = "bold" if row.is_selected else ""
        told = (interval_text(row.score, scores), row.score.n, ", ".join(row.notes))
        _add_row(table, row.name, *told, style=style)
    return [table, *(Text(visible(said)) for said in finals_sentences(record, scores))]


def _final_lines(record: StudyRecord, reading: TestReading) -> list[Text]:
    """The test scores on lines of their own, and whose they are."""
    told = headline(reading, record.metric)
    lines = [Text(visible(line)) for line in told.lines(record.final_line)]
    is_old = reading.selected != leader_of(record)
    if len(reading.runs) > 1:
        whose = f"The best of {len(reading.runs)} runs is {run_name(told.final)}"
        if is_old:
            whose += f"; they were read when trial {reading.selected} was the best"
        lines.append(Text(f"{whose}."))
    elif is_old:
        lines.append(Text(f"That is trial {reading.selected}'s, read when it was the best."))
    return lines


def study_page(record: StudyRecord) -> list[RenderableType]:
    """One study: how it stands, its trials by number, what the cache spared it, its result."""
    return [
        standing(record),
        *([] if record.lock is None else [Text(f"Protocol {record.lock.short}, locked")]),
        *(Text(visible(note)) for note in record.facts.get("notes", ())),
        *(Text(visible(f"Baseline: {line}")) for line in baseline_sentences(record)),
        _trials_table(record),
        *(Text(visible(line)) for line in prior_sentences(record)),
        *(Text(visible(line)) for line in quarantine_sentences(record)),
        *(Text(visible(line)) for line in cache_sentences(record)),
        *study_result(record),
    ]


def _trials_table(record: StudyRecord) -> Table:
    scores, best = ScoreFormat.of(record), record.best
    table = _table("trial", "state", scores.metric.name, "step", "parameters", "reason")
    _flush_right(table, 0, 2, 3)
    for trial in sorted(record.trials, key=lambda trial: trial.number):
        is_best = best is not None and trial.number == best.number
        _add_row(
            table,
            trial.number,
            "best" if is_best else trial.state,
            scores.number(trial.value),
            max(trial.curve, default=0),
            short_parameters(trial.parameters),
            trial.reason,
            style="bold" if is_best else "",
        )
    return table


def trial_page(record: StudyRecord, trial: TrialRecord) -> list[RenderableType]:
    """One trial of a study: configuration, curve, health, cost, reason, files."""
    head = f"{visible(record.name)}, trial {trial.number}: {trial.state}"
    if trial.value is not None:
        head += f", {ScoreFormat.of(record).named(trial.value)}"
    if trial.attempts > 1:
        head += f", {trial.attempts} attempts"
    return [
        Text(head),
        *([Text(visible(trial.reason))] if trial.reason else ()),
        *([Text("Its point was proposed by earlier studies.")] if trial.is_from_prior else ()),
        _pairs("parameter", trial.parameters),
        *([_curve(record, trial)] if trial.curve else ()),
        *(_pairs(name, pairs) for name in ("health", "cost") if (pairs := getattr(trial, name))),
        Text(visible(label(trial.folder))),
        _files(trial),
    ]


def _curve(record: StudyRecord, trial: TrialRecord) -> Table:
    """The scores by step, each under its stage."""
    scores = ScoreFormat.of(record)
    rows = [
        (stage_of(record.grid, step)[0], step, scores.number(value))
        for step, value in sorted(trial.curve.items())
    ]
    return rows_table(("stage", "step", scores.metric.name), rows, numeric=(1, 2))


def _files(trial: TrialRecord) -> Table:
    table = _table("file", "bytes")
    _flush_right(table, 1)
    for path in sorted(trial.folder.rglob("*")):
        if path.is_file():
            _add_row(table, path.relative_to(trial.folder), path.stat().st_size)
    return table


def studies_table(declared: Sequence[Declared], summaries: Sequence[StudySummary]) -> Table:
    """All studies by name, the declared and those that were run."""
    told, run = {one.name: one for one in declared}, {one.name: one for one in summaries}
    table = _table("study", "state", "trials", "best", "time", "description")
    for name in sorted(told.keys() | run.keys()):
        description = told[name].problem or told[name].description if name in told else ""
        found = run.get(name)
        if found is None:
            state = "declared" if not told[name].problem else "cannot be read"
            _add_row(table, name, state, "", "", "", description)
            continue
        best = ScoreFormat(found.metric, decimals_for([found.best])).named(found.best)
        _add_row(
            table,
            name,
            found.state,
            f"{found.finished}/{found.total}",
            best if found.best is not None else MISSING,
            duration(found.elapsed_s),
            description,
        )
    return table


def cache_page(contents: CacheContents) -> list[RenderableType]:
    """The stages in the cache, the next to go first, and what they add up to."""
    from core.stage_entries import LIMIT_VARIABLE
    from hpo.cache import moment

    if not contents.stages:
        return [Text("The stage A cache is empty.")]
    table = _table("key", "size", "made (UTC)", "last used", "taken", "cost", "saved", "what")
    _flush_right(table, 1, 4, 5, 6)
    for one in contents.stages:
        entry = one.entry
        _add_row(
            table,
            entry.key[:_KEY_LETTERS],
            size_text(entry.size_bytes),
            f"{moment(entry.made):{_MINUTE}}",
            f"{moment(entry.used):{_MINUTE}}",
            entry.hits,
            duration(one.cost_s),
            duration(one.saved_s),
            short_parameters(one.about) if entry.is_whole else "not whole",
        )
    hits = sum(one.entry.hits for one in contents.stages)
    line = f"{_in_cache(contents)} of {size_text(contents.limit_bytes)} ({LIMIT_VARIABLE}), "
    line += f"taken {count(hits, 'time')}"
    if hits:
        line += f", which saved {duration(sum(one.saved_s for one in contents.stages))}"
    return [table, Text(line)]


def pruned_page(pruned: Pruned, left: CacheContents, *, dry_run: bool) -> list[RenderableType]:
    """What was removed from the cache, or would be, what was held, and what is left."""
    from hpo.cache import moment

    would = "would be " if dry_run else ""
    lines = [
        f"{one.key[:_KEY_LETTERS]} {would}removed, {size_text(one.size_bytes)}, "
        f"last used {moment(one.used):{_MINUTE}} UTC"
        for one in pruned.removed
    ]
    lines += [f"{one.key[:_KEY_LETTERS]} stays, a run holds it" for one in pruned.held]
    freed = size_text(sum(one.size_bytes for one in pruned.removed))
    number = len(pruned.removed)
    entries = "entry" if number == 1 else "entries"
    lines.append(f"{number} {entries} {would}removed, {freed} {would}freed")
    lines.append(f"In the cache now: {_in_cache(left)}")
    return [Text(visible(line)) for line in lines]


def _in_cache(contents: CacheContents) -> str:
    number = len(contents.stages)
    return f"{number} {'entry' if number == 1 else 'entries'}, {size_text(contents.size_bytes)}"


def leaderboard_pages(board: Leaderboard) -> list[RenderableType]:
    """The ranked studies, a table for each protocol and kind of evidence; then those left out."""
    from hpo.analysis.leaderboard_tables import differing_lines, protocol_line, tables_of

    parts: list[RenderableType] = []
    for group in board.groups:
        parts.append(Text(visible(protocol_line(group))))
        parts += [Text(visible(f"  {line}")) for line in differing_lines(group)]
        for ranked in tables_of(group):
            table = rows_table(ranked.heads, ranked.rows, numeric=ranked.numeric)
            parts += [Text(visible(ranked.title)), table]
    if board.apart:
        parts.append(Text("Left out:"))
        parts += [Text(visible(f"  {one.study}: {one.reason}")) for one in board.apart]
    return parts


def _pairs(title: str, pairs: Mapping[str, Any]) -> Table:
    table = _table(title, "")
    for key, item in pairs.items():
        _add_row(table, key, value_text(item))
    return table


def rows_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, numeric: Iterable[int] = ()
) -> Table:
    """A table of these rows; the columns in `numeric` end on the same edge."""
    table = _table(*heads)
    _flush_right(table, *numeric)
    for row in rows:
        _add_row(table, *row)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(Text(visible(column)), overflow="fold")
    return table


def _flush_right(table: Table, *columns: int) -> None:
    for column in columns:
        table.columns[column].justify = "right"


def _add_row(table: Table, *cells: object, style: str = "") -> None:
    """Adds cells as the text they are: markup and control characters in them mean nothing."""
    table.add_row(*(Text(visible(cell)) for cell in cells), style=style)
