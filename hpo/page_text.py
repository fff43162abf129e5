"""The report's page as Markdown, and the figures in it: words and pictures are written once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from hpo.output import visible

_SKIPPED = {
    "script",
    "style",
    "noscript",
    "nav",
    "button",
    "input",
    "select",
    "label",
    "output",
    "svg",
}
_VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
_BLOCKS = {"p", "li", "h3", "h4", "caption", "th", "td", "dt", "dd", "summary", "figcaption"}
_SPECIAL = re.compile(r"[\\`*\[\]<>~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|^[#+-](?=[#\s])")
_NUMBERED = re.compile(r"^(\d+)(?=[.)]\s)")


def markdown_of(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A page of sections, (name, HTML of ours) each, as GitHub's Markdown, without the figures.

    Nothing in the texts is read as markup.
    """
    parts = [f"# {_escaped(title)}"]
    for name, content in sections:
        reader = _Markdown()
        reader.feed(content)
        reader.close()
        parts += [f"## {_escaped(name)}", *reader.parts]
    return "\n\n".join(parts) + "\n"


def figures_of(sections: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Name -> figure as Plotly's JSON, of all figures that are drawn in these sections."""
    reader = _Figures()
    for _, content in sections:
        reader.feed(content)
    reader.close()
    return reader.found


class _Markdown(HTMLParser):
    """Reads HTML of ours, and keeps its blocks as Markdown in `parts`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._text: list[str] = []
        self._skipping: list[str] = []
        """The open elements from the one that is skipped on."""
        self._rows: list[list[str]] = []
        self._term = ""
        self._is_code = self._is_verbatim = False

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_unread = name in _SKIPPED or "hidden" in given or given.get("role") == "img"
        if self._skipping or is_unread or given.get("aria-hidden") == "true":
            if name not in _VOID:
                self._skipping.append(name)
        elif name in _BLOCKS or name == "pre":
            self._flush()
            self._is_verbatim = name == "pre"
        elif name == "code":
            self._is_code = True
        elif name == "strong":
            self._text.append("**")
        elif name == "span":
            self._text.append(" ")  # the parts of a tile stand below each other on the page
        elif name == "tr":
            self._rows.append([])

    def handle_endtag(self, name: str) -> None:
        if self._skipping:
            if name in self._skipping:
                del self._skipping[_last(self._skipping, name) :]
        elif name == "code":
            self._is_code = False
        elif name == "strong":
            self._text.append("**")
        elif name in ("th", "td"):
            self._rows[-1].append(self._taken())
        elif name == "dt":
            self._term = self._taken()
        elif name == "table":
            self._add_table()
        elif name == "pre":
            self._is_verbatim = False
            self.parts.append(f"```\n{''.join(self._text).replace('```', chr(39) * 3)}\n```")
            self._text = []
        elif name in _BLOCKS or name in ("div", "span", "section", "article"):
            self._end_block(name)

    def handle_data(self, text: str) -> None:
        if self._skipping:
            return
        if self._is_verbatim:
            self._text.append("\n".join(visible(line) for line in text.split("\n")))
        elif self._is_code and text.strip():
            self._text.append(f"`{_line(text).replace('`', chr(39))}`")
        else:
            self._text.append(_escaped(text))

    def _end_block(self, name: str) -> None:
        if name == "span":
            self._text.append(" ")
            return
        text = self._taken()
        if not text:
            return
        before = {"h3": "### ", "h4": "#### ", "li": "- "}.get(name, "")
        if name == "dd":
            before = f"- {self._term}: "
        if name in ("caption", "summary"):
            text = f"**{text}**"
        line = f"{before}{text}"
        if before.startswith("- ") and self.parts and self.parts[-1].startswith("- "):
            self.parts[-1] += f"\n{line}"
        else:
            self.parts.append(line)

    def _add_table(self) -> None:
        rows = [row for row in self._rows if row]
        self._rows = []
        if not rows:
            return
        width = max(map(len, rows))
        head, *body = ([*row, *[""] * (width - len(row))] for row in rows)
        lines = [_row(head), "|" + "---|" * width, *map(_row, body)]
        self.parts.append("\n".join(lines))

    def _flush(self) -> None:
        """Text that stands between blocks is a block of its own."""
        text = self._taken()
        if text and not self._rows:
            self.parts.append(text)

    def _taken(self) -> str:
        text = " ".join("".join(self._text).split())
        self._text = []
        return text.replace("** **", "").replace("****", "")


class _Figures(HTMLParser):
    """Keeps the figures that `embed` put into the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, Any]] = {}
        self._name: str | None = None
        self._is_data = False

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if name == "div" and given.get("class") == "figure":
            self._name = given["id"].removeprefix("figure-")
        self._is_data = name == "script" and given.get("class") == "data"

    def handle_data(self, text: str) -> None:
        if self._is_data and self._name is not None:
            self.found[self._name] = json.loads(text)
            self._name = None


def _last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _line(text: str) -> str:
    """On one line, its words set apart by what set them apart."""
    return visible(re.sub(r"\s+", " ", text))


def _escaped(text: str) -> str:
    escaped = _SPECIAL.sub(lambda found: f"\\{found[0]}", _line(text))
    return _NUMBERED.sub(r"\1\\", escaped)
