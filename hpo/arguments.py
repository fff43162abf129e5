"""The command line's grammar: its commands, options and values, each mistake told in one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from core import sizes
from core.errors import UserError, did_you_mean
from core.schedule import DECAYS, WARMUPS
from hpo import __version__
from hpo.durations import ALLOWED, seconds_in
from hpo.examples import EXAMPLES, OVERVIEW

COMMANDS = {
    "run": "run a study, or go on with it",
    "plan": "foretell what a study takes, or a time limit buys",
    "studies": "list the studies that are declared and those that were run",
    "show": "show a study and its trials, or one trial",
    "explain": "tell how a trial went, and why it lost or won",
    "compare": "put trials of a study side by side, or whole studies",
    "translate": "translate text by the best model of a study",
    "export": "write a study's model for other programs",
    "export-study": "write a study with all its trials as JSON lines",
    "import-study": "take up a study that export-study wrote",
    "leaderboard": "rank the studies of one protocol by their scores",
    "status": "show what a study is doing now",
    "stop": "stop a running study cleanly, from elsewhere",
    "report": "write a study's report, as a page, a table, JSON or images",
    "new": "write a study or a search space to start from",
    "validate": "check studies and search spaces",
    "schema": "write JSON Schemas of studies and search spaces, for editors",
    "repair": "rebuild a study in the database from its trials' folders",
    "clean": "delete what a study no longer needs on disk",
    "cache": "list or remove the results of stage A that studies share",
    "schedule": "draw learning-rate schedules: warmups times decays",
    "advise": "tell what in a study goes against recommendations, and why",
    "lr-find": "find the learning rates worth searching, by a range test",
    "ladder": "show the learning rate that each depth and width of a study wants",
    "dashboard": "browse the studies with optuna-dashboard, behind a token",
    "completion": "print what completes commands and studies in a shell",
}

_RUN_TEXT = """\
Run a study. Run again, it goes on where the study stands; Ctrl-C stops it cleanly.
At the end the test set is opened, once: for the best trial's model, or for all runs of the
finalists.
"""

DEFAULT_RUNS_DIR = Path("runs")
REPORT_FORMATS = ("html", "markdown", "csv", "json", "png")
SHELLS = ("bash", "zsh", "fish")

_WITHOUT_STUDIES = {
    *("validate", "schema", "new", "cache", "completion"),
    *("schedule", "advise", "lr-find"),
}
"""Commands that look at no study that was run."""
_WITH_JSON = (
    *("plan", "studies", "show", "explain", "compare", "status", "validate"),
    *("schedule", "advise", "lr-find", "ladder"),
)
"""Commands whose tables can be had as JSON, beside the leaderboard's."""
_JSON_TEXT = "print JSON, for programs"


class CommandError(UserError):
    """A command line that means nothing, or a value out of its bounds."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message, way_out=f"See `{self.prog} --help`.")


class Command(_Parser):
    """A command's own parser, which takes options before, among and behind the other words.

    Python 3.11 takes a word that may be left out for left out at the first option, and then does
    not know the word behind it: options are read first, then the rest.
    """

    is_in_order = False
    """Whether words and options are read in one go: while each of the two is, and to complete."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self.is_in_order or any(one.nargs == argparse.PARSER for one in self._actions):
            return super().parse_known_args(args, namespace)
        self.is_in_order = True  # for what follows calls this again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.is_in_order = False


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


def _build_parsers(prog: str) -> tuple[_Parser, dict[str, Command]]:
    """The whole parser, and the commands' own by name."""
    parser = _Parser(
        prog=prog,
        description="Search the hyperparameters of Transformers trained from scratch.",
        epilog=OVERVIEW.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hpo {__version__}")
    rooms = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True, parser_class=Command
    )
    commands = {
        name: rooms.add_parser(
            name,
            help=text,
            description=_RUN_TEXT if name == "run" else f"{text[0].upper()}{text[1:]}.",
            epilog=EXAMPLES[name].format(prog=prog).replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for name, text in COMMANDS.items()
    }
    _add_run_options(commands["run"])
    _add_plan_arguments(commands["plan"])
    _add_study_and_trial(commands)
    _add_looking(commands)
    _add_taking_away(commands)
    _add_declaring(commands)
    _add_laboratory(commands)
    commands |= _add_cache_actions(commands["cache"])
    for name in COMMANDS.keys() - _WITHOUT_STUDIES:
        _add_place(commands[name])
    for name in (*_WITH_JSON, *(f"cache {action}" for action in ("list", "prune"))):
        _add_json(commands[name])
    return parser, commands


def _add_run_options(run: Command) -> None:
    run.add_argument(
        "--study", required=True, metavar="NAME|FILE", help="declared study, or its .toml file"
    )
    _add_study_options(run)
    run.add_argument(
        "--fuse",
        type=_fuse,
        default=1,
        metavar="K|auto",
        help="trials of one structure to train as one model in each process, at most; pays on a "
        "GPU, where auto measures how many (default: 1)",
    )
    run.add_argument(
        "--cluster",
        type=_cluster,
        metavar="auto|local|ray://HOST:PORT",
        help="run the trials on a Ray cluster: the one of this machine, or at an address",
    )
    run.add_argument(
        "--warm-start",
        nargs="+",
        action="extend",
        default=[],
        metavar="STUDY",
        help="studies that were run here, to learn from; the less the more own trials there are",
    )
    run.add_argument(
        "--log",
        type=lambda text: text.split(","),
        action="append",
        default=[],
        metavar="tensorboard|mlflow|wandb",
        help="stream loss, gradient norm, learning rate and score of each trial there; repeatable",
    )
    run.add_argument(
        "--again",
        action="store_true",
        help="read the test set once more; without it a study reads it once",
    )


def _add_study_options(command: Command) -> None:
    """What changes a declared study and its budget."""
    command.add_argument(
        "--trials",
        type=_whole_number("--trials", 1),
        metavar="N",
        help="finished trials the study is to have at the end (default: the study's own number)",
    )
    command.add_argument(
        "--time-limit",
        type=_duration("--time-limit"),
        metavar="TIME",
        help="wall-clock over the study, resumes included: 90s, 45m, 2h, 1h30m",
    )
    command.add_argument(
        "--jobs",
        type=_whole_number("--jobs", 1),
        metavar="N",
        help="trials at the same time on the CPU (default: 1, where there is no GPU)",
    )
    command.add_argument(
        "--gpus",
        type=_gpus,
        metavar="all|0,1,3",
        help="visible GPUs to run on, by position (default: all there are)",
    )
    command.add_argument(
        "--trials-per-gpu",
        type=_whole_number("--trials-per-gpu", 1),
        metavar="K",
        help="trials at the same time on each GPU (default: 1)",
    )
    _add_declaration_options(command)


def _add_declaration_options(command: Command) -> None:
    """What changes a declared study."""
    command.add_argument(
        "--trial-time-limit",
        type=_duration("--trial-time-limit"),
        metavar="TIME",
        help="of one trial, over all its attempts (default: the study's own, or none)",
    )
    command.add_argument(
        "--seed",
        type=_whole_number("--seed", 0),
        metavar="N",
        help="of the sampler, weights and batches (default: the study's own)",
    )
    command.add_argument(
        "--data", metavar="pocket|hub|FOLDER", help="corpora (default: the study's own)"
    )
    command.add_argument("--name", metavar="NEW", help="run the declaration under another name")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="override the study's file, for example protocol.pretrain_steps=60; repeatable",
    )


def _add_plan_arguments(plan: Command) -> None:
    plan.add_argument("study", metavar="STUDY", help="declared study, or its .toml file")
    _add_study_options(plan)


def _add_study_and_trial(commands: dict[str, Command]) -> None:
    """Which study that was run, and which of its trials."""
    of_a_study = ("show", "explain", "compare", "translate", "export", "export-study")
    for name in (*of_a_study, "stop", "report", "repair", "clean"):
        commands[name].add_argument("study", metavar="STUDY", help="name of a study that was run")
    for name, nargs, text in (
        ("show", "?", ""),
        ("explain", None, ""),
        ("export", "?", " (default: the best)"),
    ):
        commands[name].add_argument(
            "trial",
            nargs=nargs,
            type=_whole_number("TRIAL", 0),
            metavar="TRIAL",
            help=f"number of one of its trials{text}",
        )
    commands["compare"].add_argument(
        "others",
        nargs="+",
        metavar="TRIAL|STUDY",
        help="two or more of its trials; or other studies, by their leading trials",
    )


def _add_looking(commands: dict[str, Command]) -> None:
    """How to look at what is run, and how to stop it."""
    commands["stop"].add_argument(
        "--now",
        action="store_true",
        help="kill running trials rather than let each save a checkpoint: they go on from the "
        "last one they have, or from their start",
    )
    status = commands["status"]
    status.add_argument(
        "study", nargs="?", metavar="STUDY", help="name of a study (default: all that run now)"
    )
    status.add_argument("--follow", action="store_true", help="keep watching until it stops")
    board = commands["leaderboard"]
    board.add_argument(
        "--study", metavar="NAME", help="begin with this study's protocol (default: the largest)"
    )
    form = board.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help=_JSON_TEXT)
    form.add_argument("--html", action="store_true", help="write a page into the runs folder")
    _add_dashboard_options(commands["dashboard"])


def _add_taking_away(commands: dict[str, Command]) -> None:
    """How a study, its report and its model leave for other programs."""
    commands["export"].add_argument(
        "--format",
        nargs=2,
        required=True,
        metavar=("FORMAT", "DIR"),
        help="transformers or ctranslate2, for translation; and a new folder",
    )
    translate = commands["translate"]
    translate.add_argument(
        "texts",
        nargs="*",
        metavar="TEXT",
        help="what to translate (default: standard input, line by line)",
    )
    translate.add_argument(
        "--trial",
        type=_whole_number("--trial", 0),
        metavar="N",
        help="translate by this trial's model (default: the best one's)",
    )
    report = commands["report"]
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
    commands["export-study"].add_argument(
        "--output", type=Path, metavar="FILE", help="a new file (default: standard output)"
    )
    commands["import-study"].add_argument(
        "file", type=Path, metavar="FILE", help="what export-study wrote; - for standard input"
    )
    commands["import-study"].add_argument(
        "--name", metavar="NEW", help="what to call the study (default: as it was called)"
    )
    commands["completion"].add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))


def _add_declaring(commands: dict[str, Command]) -> None:
    """How studies and search spaces are begun and checked."""
    commands["new"].add_argument(
        "kind", choices=("study", "space"), metavar="study|space", help="what to write"
    )
    commands["new"].add_argument("name", metavar="NAME", help="what to call it")
    commands["validate"].add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a .toml file, a folder of them or a name (default: every declaration found)",
    )
    schema = commands["schema"]
    schema.add_argument(
        "name",
        nargs="?",
        metavar="study|search_space",
        help="which one (default: both; printed, one object by these names)",
    )
    schema.add_argument(
        "--dir", type=Path, metavar="DIR", help="write NAME.json into a folder instead"
    )


def _add_dashboard_options(dashboard: Command) -> None:
    dashboard.add_argument(
        "study", nargs="?", metavar="STUDY", help="begin at this study (default: the list of all)"
    )
    dashboard.add_argument(
        "--port",
        type=_whole_number("--port", 1, 65535),
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


def _add_cache_actions(cache: Command) -> dict[str, Command]:
    """What `cache` can do, each with its own parser; returned by both words."""
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
        _add_runs_dir(action)
    which = actions["prune"].add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--limit", type=_size, metavar="SIZE", help="until so much is left: 500M, 20G, 1.5T"
    )
    which.add_argument(
        "--older-than",
        type=_duration("--older-than"),
        metavar="TIME",
        help="what no run has used for so long: 45m, 48h",
    )
    which.add_argument("--all", action="store_true", help="everything")
    actions["prune"].add_argument(
        "--dry-run", action="store_true", help="say what would be removed, and remove nothing"
    )
    return {f"cache {name}": action for name, action in actions.items()}


def _add_laboratory(commands: dict[str, Command]) -> None:
    """Of the commands about learning rates and warmups."""
    _add_schedule_arguments(commands["schedule"])
    advise, find, ladder = (commands[name] for name in ("advise", "lr-find", "ladder"))
    for command in (advise, find):
        command.add_argument("study", metavar="STUDY", help="declared study, or its .toml file")
        _add_declaration_options(command)
    ladder.add_argument("study", metavar="STUDY", help="name of a study that was run")
    find.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="test there instead of at the start configuration, for example model.num_layers=6; "
        "repeatable",
    )
    find.add_argument(
        "--stage", metavar="NAME", help="stage at whose start to test (default: the last one)"
    )
    for option, default, text in (
        ("--low", 1e-6, "first and lowest rate"),
        ("--high", 1.0, "last and highest rate"),
    ):
        find.add_argument(
            option,
            type=_rate(option),
            default=default,
            metavar="RATE",
            help=f"{text} (default: {default:g})",
        )
    for option, least, default, text in (
        ("--steps", 20, 120, "updates from the lowest rate to the highest"),
        ("--seeds", 1, 3, "seeds, which tell the uncertainty"),
    ):
        find.add_argument(
            option,
            type=_whole_number(option, least),
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    find.add_argument(
        "--write-space",
        type=Path,
        metavar="FILE.toml",
        help="write the search space with its learning rate narrowed to the suggested range",
    )
    _add_figure(find, "lr_find_STUDY.html in the runs folder")
    _add_runs_dir(find)


def _add_schedule_arguments(schedule: Command) -> None:
    schedule.add_argument(
        "--steps",
        type=_whole_number("--steps", 1, 1_000_000),
        default=500,
        metavar="N",
        help="updates of the stage (default: 500)",
    )
    schedule.add_argument(
        "--warmup",
        nargs="+",
        type=_warmup,
        default=["10%"],
        metavar="N|SHARE",
        help="updates, or a share of them (default: 10%%)",
    )
    for option, allowed, default, text in (
        ("--shape", WARMUPS, WARMUPS, "shapes of the warmup"),
        ("--decay", DECAYS, ("linear",), "decays after it"),
    ):
        schedule.add_argument(
            option,
            nargs="+",
            type=_one_of(option, allowed),
            default=list(default),
            metavar="NAME",
            help=f"{text}, of {', '.join(allowed)} (default: {' '.join(default)})",
        )
    schedule.add_argument(
        "--learning-rate",
        type=_rate("--learning-rate"),
        default=1.0,
        metavar="RATE",
        help="the peak (default: 1, which shows factors)",
    )
    _add_figure(schedule, "none")


def _add_figure(command: Command, default: str) -> None:
    command.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help=f"write the figure as FILE.html or FILE.png (default: {default})",
    )


def _add_place(command: Command) -> None:
    _add_runs_dir(command)
    command.add_argument(
        "--storage",
        metavar="URL",
        help="database of all studies: sqlite:///FILE or postgresql+psycopg://USER@HOST:PORT/DB "
        "(default: sqlite:///<runs-dir>/hpo.db)",
    )


def _add_runs_dir(command: Command) -> None:
    command.add_argument(
        "--runs-dir",
        type=Path,
        default=DEFAULT_RUNS_DIR,
        metavar="DIR",
        help="folder of the trials' files (default: runs)",
    )


def _add_json(command: Command) -> None:
    command.add_argument("--json", action="store_true", help=_JSON_TEXT)


def _whole_number(name: str, low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`, both included."""
    bounds = f">= {low}" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        is_number = re.fullmatch(r"[+-]?[0-9]{1,18}", text)
        if is_number and low <= int(text) and (high is None or int(text) <= high):
            return int(text)
        got = int(text) if is_number else text
        raise CommandError(f"{name} must be a whole number {bounds}", got=got)

    return read


def _one_of(name: str, allowed: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of some words."""

    def read(text: str) -> str:
        if text in allowed:
            return text
        raise CommandError(
            f"{name} does not know this",
            got=text,
            allowed=", ".join(allowed),
            way_out=did_you_mean(text, allowed),
        )

    return read


def _rate(name: str) -> Callable[[str], float]:
    """A reader of learning rates, above 0 and at most 1."""

    def read(text: str) -> float:
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if 0 < rate <= 1:
            return rate
        raise CommandError(f"{name} must be a rate above 0 and at most 1", got=text)

    return read


def _warmup(text: str) -> str:
    """A number of updates, or a share of them such as `10%`."""
    if re.fullmatch(r"[0-9]{1,7}|[0-9]{1,3}(\.[0-9]{1,3})?%", text):
        return text
    raise CommandError("--warmup must be updates or a share", got=text, allowed="50, or 10%")


def _gpus(text: str) -> Literal["all"] | tuple[int, ...]:
    """`all`, or positions in the list of GPUs, such as `0,1,3`."""
    if text == "all":
        return "all"
    if re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text):
        return tuple(int(index) for index in text.split(","))
    raise CommandError("--gpus must say which", got=text, allowed="all, or numbers such as 0,1,3")


def _fuse(text: str) -> int | Literal["auto"]:
    """`auto`, or how many."""
    return "auto" if text == "auto" else _whole_number("--fuse", 1)(text)


def _cluster(text: str) -> str:
    """Where a Ray cluster is."""
    if text in ("auto", "local") or re.fullmatch(r"ray://[A-Za-z0-9._\-\[\]:]+:[0-9]{1,5}", text):
        return text
    raise CommandError(
        "--cluster names no cluster", got=text, allowed="auto, local, ray://HOST:PORT"
    )


def _duration(name: str) -> Callable[[str], float]:
    """A reader of durations such as `90s`, `45m`, `2h` and `1h30m`, in seconds."""

    def read(text: str) -> float:
        seconds = seconds_in(text)
        if seconds is None:
            raise CommandError(f"{name} must be a time", got=text, allowed=ALLOWED)
        return seconds

    return read


def _size(text: str) -> int:
    """The bytes in a size such as `500M` and `20G`."""
    size = sizes.bytes_in(text)
    if size is None:
        raise CommandError("--limit must be a size above zero", got=text, allowed=sizes.EXAMPLES)
    return size
