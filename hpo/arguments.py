"""The command line's grammar as a whole, made of the commands' own."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.errors import did_you_mean
from hpo import __version__
from hpo.commands import declaring, keeping, laboratory, looking, running, taking_away
from hpo.commands.parsing import Command, CommandError, CommandParser, Parser
from hpo.commands.shared_options import add_json, add_place
from hpo.examples import EXAMPLES, OVERVIEW

COMMANDS: dict[str, Command] = {
    command.name: command
    for room in (running, looking, taking_away, declaring, keeping, laboratory)
    for command in room.COMMANDS
}


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command and its options; `--help` and `--version` print and exit.

    Raises: CommandError for a word that is no command or option, or a value out of bounds.
    """
    prog = "python -m hpo" if Path(sys.argv[0]).name == "__main__.py" else "hpo"
    parser, commands = _build_parsers(prog)
    if "_ARGCOMPLETE" in os.environ:
        from hpo.completion import complete

        complete(parser, commands)
    _check_command(argv, prog)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        command = " ".join([arguments.command, *filter(None, [getattr(arguments, "action", "")])])
        options = re.findall(r"--[a-z-]+", commands[command].format_help())
        raise CommandError(
            f"{command} does not know {name!r}",
            way_out=did_you_mean(name, options) or f"See `{prog} {command} --help`.",
        )
    arguments.prog = prog
    return arguments


def _check_command(argv: Sequence[str], prog: str) -> None:
    """Refuses a first word that is no command, in fewer words than argparse would."""
    word = argv[0] if argv else ""
    if word.startswith("-") or word in COMMANDS:
        return
    raise CommandError(
        f"unknown command {word!r}" if argv else "no command given",
        allowed=", ".join(COMMANDS),
        way_out=did_you_mean(word, COMMANDS) or f"See `{prog} --help`.",
    )


def _build_parsers(prog: str) -> tuple[Parser, dict[str, CommandParser]]:
    """The whole parser, and the commands' own by name, such as `show` and `cache list`."""
    parser = Parser(
        prog=prog,
        description="Search the hyperparameters of Transformers trained from scratch.",
        epilog=OVERVIEW.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hpo {__version__}")
    rooms = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands",
        required=True,
        parser_class=CommandParser,
    )
    parsers = {}
    for name, command in COMMANDS.items():
        own = parsers[name] = rooms.add_parser(
            name,
            help=command.text,
            description=command.description or f"{command.text[0].upper()}{command.text[1:]}.",
            epilog=EXAMPLES[name].format(prog=prog).replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(own)
        if command.has_place:
            add_place(own)
        if command.has_json:
            add_json(own)
    return parser, parsers | dict(_actions(parsers))


def _actions(parsers: Mapping[str, CommandParser]) -> Iterator[tuple[str, CommandParser]]:
    """The parsers of second words, by both words."""
    for name, parser in parsers.items():
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{name} {word}", own) for word, own in action.choices.items())
