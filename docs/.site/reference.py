"""Pages of the site that are made of the program itself, by MkDocs' hooks.

The command line's are its help, those of the files their JSON Schemas, Python's its docstrings.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import hpo
from core import task
from hpo import events
from hpo.arguments import COMMANDS, read_arguments
from hpo.declarations.schema import schemas

_OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(?:#[^)]*)?\)")
_PYTHON = (
    (hpo, ("load_study", "run")),
    (events, ("StudyStarted", "TrialStarted", "TrialEvaluated", "TrialEnded")),
    (task, ("TaskSpec", "Task", "Metric", "Stage", "Evaluation", "Verdict", "Outcome", "Health")),
)
"""What a program of the reader's own calls, hears and implements."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds to the navigation the decisions, and to "How to" the pages that it does not name."""
    docs = Path(config.docs_dir)
    sections = {name: pages for part in config.nav for name, pages in part.items()}
    named = set(re.findall(r"'([^']+\.md)'", repr(config.nav)))
    sections["How to"] += sorted({page.name for page in docs.glob("*.md")} - named)
    decisions = sorted(f"decisions/{page.name}" for page in (docs / "decisions").glob("*.md"))
    sections["Explanation"].append({"Decisions": decisions})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the reference."""
    made = schemas()
    pages = {
        "command-line": _command_line(),
        "study": _schema_page("Study files", made["study"]),
        "search-space": _schema_page("Search space files", made["search_space"]),
        "python": _python(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Names what lies outside the site, which there is nothing to lead to."""
    folder = Path(page.file.src_uri).parent

    def name(found: re.Match[str]) -> str:
        text, target = found.groups()
        inside = Path(os.path.normpath(folder / target))
        if inside.parts[:1] != ("..",):
            return found[0]
        return f"{text} (`{Path(*inside.parts[1:])}`)"

    # A folder has no page.
    return _OUTSIDE.sub(name, markdown).replace("](decisions/)", "](design.md#4-decisions)")


def _command_line() -> str:
    os.environ["COLUMNS"] = "88"
    parts = ["# The command line", _help("--help")]
    parts += [f"## hpo {name}\n\n{_help(name, '--help')}" for name in COMMANDS if name != "cache"]
    parts += [
        f"## hpo cache {name}\n\n{_help('cache', name, '--help')}" for name in ("list", "prune")
    ]
    return "\n\n".join(parts)


def _help(*words: str) -> str:
    said = StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        read_arguments(words)
    return f"```text\n{said.getvalue().rstrip()}\n```"


def _schema_page(title: str, schema: dict[str, Any]) -> str:
    parts = [f"# {title}", _prose(schema), _table(schema, schema)]
    for name, part in sorted(schema.get("$defs", {}).items()):
        if part.get("properties"):
            parts += [f"## {name.strip('_')}", _prose(part), _table(part, schema)]
    return "\n\n".join(parts)


def _table(part: dict[str, Any], schema: dict[str, Any]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = part.get("required", ())
    for name, setting in part.get("properties", {}).items():
        default = f"`{json.dumps(setting['default'])}`" if "default" in setting else ""
        cells = (
            f"`{name}`",
            _kind(setting, schema),
            "**required**" if name in required else default,
            _prose(setting),
        )
        rows.append("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |")
    return "\n".join(rows)


def _kind(setting: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a setting may be, in words."""
    if "$ref" in setting:
        name = setting["$ref"].rpartition("/")[2]
        if not schema["$defs"][name].get("properties"):
            return _kind(schema["$defs"][name], schema)
        title = name.strip("_")
        return f"[{title}](#{title.lower()})"
    if "anyOf" in setting or "oneOf" in setting:
        kinds = [_kind(one, schema) for one in setting.get("anyOf") or setting["oneOf"]]
        return " or ".join(dict.fromkeys(kinds))
    chosen = [setting["const"]] if "const" in setting else setting.get("enum")
    if chosen:
        return ", ".join(f"`{json.dumps(one)}`" for one in chosen)
    kind = str(setting.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(setting.get('items', {}), schema)}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {setting[key]}" for key, sign in signs.items() if key in setting]
    return ", ".join([kind, *bounds])


def _prose(part: dict[str, Any]) -> str:
    return str(part.get("description", "")).replace("|", "\\|")


def _python() -> str:
    parts = ["# Python", inspect.cleandoc(hpo.__doc__ or "")]
    for module, names in _PYTHON:
        parts.append(f"## {module.__name__}")
        for name in names:
            thing = getattr(module, name)
            # A class's fields and their documentation stand in its source.
            source = inspect.getsource(thing) if inspect.isclass(thing) else _signature(thing)
            parts.append(f"### {name}\n\n```python\n{source.rstrip()}\n```")
    return "\n\n".join(parts)


def _signature(function: Any) -> str:
    """A function's source up to the end of its docstring."""
    source = inspect.getsource(function)
    return source[: source.index('"""', source.index('"""') + 3) + 3]
