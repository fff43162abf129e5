"""Looking at what was run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpo.commands.exit_codes import DONE
from hpo.commands.parsing import Command, CommandParser
from hpo.commands.shared_options import JSON_TEXT, add_study, add_trial
from hpo.commands.targets import read_record, trial_of
from hpo.commands.values import whole_number

if TYPE_CHECKING:
    import argparse

    from hpo.output import Printer

REPORT_FORMATS = ("html", "markdown", "csv", "json", "png")


def _studies(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo import as_json
    from hpo.declarations import declared_studies
    from hpo.output import studies_table
    from hpo.reading import list_studies

    declared = declared_studies()
    summaries = list_studies(arguments.storage, arguments.runs_dir)
    if arguments.json:
        out.show(as_json.document(as_json.studies(declared, summaries)))
    else:
        out.show(studies_table(declared, summaries))
    return DONE


def _show(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo import as_json
    from hpo.output import study_page, trial_page

    record = read_record(arguments)
    trial = None if arguments.trial is None else trial_of(record, arguments)
    if arguments.json:
        told = as_json.study(record) if trial is None else as_json.trial(record, trial)
        out.show(as_json.document(told))
    else:
        out.show(*(study_page(record) if trial is None else trial_page(record, trial)))
    return DONE


def _explain(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.as_json import document
    from hpo.explaining import explain, explanation_page

    record = read_record(arguments)
    found = explain(record, trial_of(record, arguments))
    out.show(*([document(found.as_json())] if arguments.json else explanation_page(found)))
    return DONE


def _compare(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.as_json import document
    from hpo.comparing import compare, comparison_page
    from hpo.reading import read_study

    found = compare(
        read_record(arguments),
        arguments.others,
        lambda name: read_study(arguments.storage, name, arguments.runs_dir),
    )
    out.show(*([document(found.as_json())] if arguments.json else comparison_page(found)))
    return DONE


def _leaderboard(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints the board as tables or JSON, or writes its page and prints where that is."""
    from hpo.analysis.leaderboard import Apart, rank_studies
    from hpo.names import check_name
    from hpo.reading import read_studies

    if arguments.study is not None:
        check_name(arguments.study, where="--study")
    records, unread = read_studies(arguments.storage, arguments.runs_dir)
    board = rank_studies(
        records, [Apart(one.name, one.problem) for one in unread], first=arguments.study
    )
    if arguments.json:
        from hpo.as_json import document

        out.show(document(board.as_json()))
    elif not board.groups and not board.apart:
        out.say("No study has been run here.")
    elif arguments.html:
        from hpo.analysis.leaderboard_page import write_leaderboard
        from hpo.names import label

        out.say(label(write_leaderboard(board, arguments.runs_dir.expanduser())))
    else:
        from hpo.output import leaderboard_pages

        out.show(*leaderboard_pages(board))
    return DONE


def _report(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.names import label
    from hpo.reporting import write_as

    place = None if arguments.output is None else arguments.output.expanduser()
    for path in write_as(read_record(arguments), arguments.format, place):
        out.say(label(path))
    return DONE


def _dashboard(arguments: argparse.Namespace, _out: Printer) -> int:
    from hpo.dashboard import Listening, serve
    from hpo.storage import locate

    name = arguments.study and read_record(arguments).name
    database = locate(arguments.storage, arguments.runs_dir)
    edits = arguments.allow_edits
    storage = database.open_for_request() if edits else database.open_for_reading()
    listening_on = Listening(
        port=arguments.port,
        host=arguments.host,
        names=tuple(arguments.allow_host),
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        allow_edits=edits,
        path=f"/dashboard/studies/{storage.get_study_id_from_name(name)}" if name else "/",
    )
    serve(storage, listening_on, arguments.runs_dir.expanduser().resolve())
    return DONE


def _add_nothing(_command: CommandParser) -> None:
    """It takes no more than all do."""


def _add_show_arguments(show: CommandParser) -> None:
    add_study(show)
    add_trial(show, nargs="?")


def _add_explain_arguments(explain: CommandParser) -> None:
    add_study(explain)
    add_trial(explain)


def _add_compare_arguments(compare: CommandParser) -> None:
    add_study(compare)
    compare.add_argument(
        "others",
        nargs="+",
        metavar="TRIAL|STUDY",
        help="two or more of its trials; or other studies, by their leading trials",
    )


def _add_leaderboard_arguments(board: CommandParser) -> None:
    board.add_argument(
        "--study", metavar="NAME", help="begin with this study's protocol (default: the largest)"
    )
    form = board.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help=JSON_TEXT)
    form.add_argument("--html", action="store_true", help="write a page into the runs folder")


def _add_report_arguments(report: CommandParser) -> None:
    add_study(report)
    report.add_argument(
        "--format",
        choices=REPORT_FORMATS,
        default="html",
        metavar="|".join(REPORT_FORMATS),
        help="one page; its tables as text; the trials' table; all tables; a folder of figures "
        "(default: html)",
    )
    report.add_argument(
        "--output", type=Path, metavar="PATH", help="where to (default: into the study's folder)"
    )


def _add_dashboard_arguments(dashboard: CommandParser) -> None:
    dashboard.add_argument(
        "study", nargs="?", metavar="STUDY", help="begin at this study (default: the list of all)"
    )
    dashboard.add_argument(
        "--port",
        type=whole_number("--port", 1, 65535),
        default=8080,
        metavar="N",
        help="port to listen on (default: 8080)",
    )
    dashboard.add_argument(
        "--allow-edits",
        action="store_true",
        help="let the browser write notes, upload and delete; without it the dashboard only looks",
    )
    dashboard.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default: 127.0.0.1, this machine alone); others need TLS",
    )
    dashboard.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM")
    dashboard.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="its key (default: in the same file)"
    )
    dashboard.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which browsers may call this machine; repeatable",
    )


COMMANDS = (
    Command(
        "studies",
        "list the studies that are declared and those that were run",
        _studies,
        _add_nothing,
        has_json=True,
    ),
    Command(
        "show",
        "show a study and its trials, or one trial",
        _show,
        _add_show_arguments,
        has_json=True,
    ),
    Command(
        "explain",
        "tell how a trial went, and why it lost or won",
        _explain,
        _add_explain_arguments,
        has_json=True,
    ),
    Command(
        "compare",
        "put trials of a study side by side, or whole studies",
        _compare,
        _add_compare_arguments,
        has_json=True,
    ),
    Command(
        "leaderboard",
        "rank the studies of one protocol by their scores",
        _leaderboard,
        _add_leaderboard_arguments,  # its JSON and its page exclude each other
    ),
    Command(
        "report",
        "write a study's report, as a page, a table, JSON or images",
        _report,
        _add_report_arguments,
    ),
    Command(
        "dashboard",
        "browse the studies with optuna-dashboard, behind a token",
        _dashboard,
        _add_dashboard_arguments,
    ),
)
