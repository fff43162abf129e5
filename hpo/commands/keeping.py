"""Keeping runs folder and database in order."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hpo.commands.exit_codes import DONE
from hpo.commands.parsing import Command, CommandParser
from hpo.commands.shared_options import add_json, add_runs_dir, add_study
from hpo.commands.targets import place_of
from hpo.commands.values import duration, size

if TYPE_CHECKING:
    import argparse

    from hpo.output import Printer


def _repair(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.output import repaired_page
    from hpo.repair import repair

    repaired = repair(arguments.storage, arguments.study, arguments.runs_dir)
    place = shlex.join(place_of(arguments))
    out.show(*repaired_page(repaired, f"{arguments.prog} repair", place))
    return DONE


def _clean(arguments: argparse.Namespace, out: Printer) -> int:
    from core.sizes import size_text
    from hpo.cleaning import clean

    folders, freed = clean(arguments.storage, arguments.study, arguments.runs_dir)
    out.say(f"{arguments.study}: {folders} folders deleted, {size_text(freed)} freed")
    return DONE


def _cache(arguments: argparse.Namespace, out: Printer) -> int:
    """Lists what the stage A cache holds, or removes some of it and says what."""
    from hpo.as_json import document
    from hpo.cache import prune_cache, pruned_json, read_cache
    from hpo.output import cache_page, pruned_page

    if arguments.action == "list":
        contents = read_cache(arguments.runs_dir)
        out.show(*([document(contents.as_json())] if arguments.json else cache_page(contents)))
        return DONE
    pruned = prune_cache(
        arguments.runs_dir,
        limit_bytes=0 if arguments.all else arguments.limit,
        older_than_s=arguments.older_than,
        dry_run=arguments.dry_run,
    )
    left, dry_run = read_cache(arguments.runs_dir), arguments.dry_run
    if arguments.json:
        out.show(document(pruned_json(pruned, left, dry_run=dry_run)))
    else:
        out.show(*pruned_page(pruned, left, dry_run=dry_run))
    return DONE


def _add_cache_arguments(cache: CommandParser) -> None:
    rooms = cache.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    texts = {
        "list": "show what is cached, the least recently used first",
        "prune": "remove what no run holds, the least recently used first",
    }
    actions = {
        name: rooms.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
        )
        for name, text in texts.items()
    }
    for action in actions.values():
        add_runs_dir(action)
        add_json(action)
    which = actions["prune"].add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--limit", type=size, metavar="SIZE", help="until so much is left: 500M, 20G, 1.5T"
    )
    which.add_argument(
        "--older-than",
        type=duration("--older-than"),
        metavar="TIME",
        help="what no run has used for so long: 45m, 48h",
    )
    which.add_argument("--all", action="store_true", help="everything")
    actions["prune"].add_argument(
        "--dry-run", action="store_true", help="say what would be removed, and remove nothing"
    )


COMMANDS = (
    Command(
        "repair", "rebuild a study in the database from its trials' folders", _repair, add_study
    ),
    Command("clean", "delete what a study no longer needs on disk", _clean, add_study),
    Command(
        "cache",
        "list or remove the results of stage A that studies share",
        _cache,
        _add_cache_arguments,
        has_place=False,
    ),
)
