"""Taking a study or its model to other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.commands.exit_codes import DONE
from hpo.commands.parsing import Command, CommandParser
from hpo.commands.shared_options import add_study, add_trial
from hpo.commands.targets import read_record
from hpo.commands.values import whole_number

if TYPE_CHECKING:
    import argparse

    from hpo.output import Printer


def _translate(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints a line for each text as soon as it is there."""
    from rich.text import Text

    from hpo.kept import find_kept
    from hpo.translating import lines_of, translations

    run = find_kept(read_record(arguments), arguments.trial)
    batches = [arguments.texts] if arguments.texts else lines_of(sys.stdin.fileno())
    for lines in translations(run, batches):
        out.show(*map(Text, lines))
        if out.quiet:  # nobody reads any more
            break
    return DONE


def _export(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.kept import find_kept
    from hpo.names import label

    name, folder = arguments.format
    run = find_kept(read_record(arguments), arguments.trial)
    from hpo.exporting import export  # loads pandas, which a mistake need not wait for

    out.say(f"{run.name}: {label(export(run, name, Path(folder).expanduser()))}")
    return DONE


def _export_study(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.exchange import export_study, write_lines
    from hpo.names import label

    lines = export_study(arguments.storage, arguments.study, arguments.runs_dir)
    if arguments.output is None:
        for line in lines:
            out.show(line)
    else:
        out.say(label(write_lines(lines, arguments.output.expanduser())))
    return DONE


def _import_study(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.exchange import import_study
    from hpo.output import trials_line

    made = import_study(arguments.file, arguments.storage, arguments.runs_dir, name=arguments.name)
    out.say(f"{made.name}: imported, {trials_line(made.states)}")
    return DONE


def _add_translate_arguments(translate: CommandParser) -> None:
    add_study(translate)
    translate.add_argument(
        "texts",
        nargs="*",
        metavar="TEXT",
        help="what to translate (default: standard input, line by line)",
    )
    translate.add_argument(
        "--trial",
        type=whole_number("--trial", 0),
        metavar="N",
        help="translate by this trial's model (default: the best one's)",
    )


def _add_export_arguments(export: CommandParser) -> None:
    add_study(export)
    add_trial(export, nargs="?", default="the best")
    export.add_argument(
        "--format",
        nargs=2,
        required=True,
        metavar=("FORMAT", "DIR"),
        help="transformers or ctranslate2, for translation; and a new folder",
    )


def _add_export_study_arguments(export: CommandParser) -> None:
    add_study(export)
    export.add_argument(
        "--output", type=Path, metavar="FILE", help="a new file (default: standard output)"
    )


def _add_import_study_arguments(take_up: CommandParser) -> None:
    take_up.add_argument(
        "file", type=Path, metavar="FILE", help="what export-study wrote; - for standard input"
    )
    take_up.add_argument(
        "--name", metavar="NEW", help="what to call the study (default: as it was called)"
    )


COMMANDS = (
    Command(
        "translate",
        "translate text by the best model of a study",
        _translate,
        _add_translate_arguments,
    ),
    Command(
        "export",
        "write a study's model for other programs",
        _export,
        _add_export_arguments,
    ),
    Command(
        "export-study",
        "write a study with all its trials as JSON lines",
        _export_study,
        _add_export_study_arguments,
    ),
    Command(
        "import-study",
        "take up a study that export-study wrote",
        _import_study,
        _add_import_study_arguments,
    ),
)
