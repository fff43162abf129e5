"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

from hpo.commands.parsing import CommandParser
from hpo.commands.values import duration, gpus, whole_number

DEFAULT_RUNS_DIR = Path("runs")
JSON_TEXT = "print JSON, for programs"


def add_study(command: CommandParser) -> None:
    """A study that was run."""
    command.add_argument("study", metavar="STUDY", help="name of a study that was run")


def add_trial(command: CommandParser, *, nargs: str | None = None, default: str = "") -> None:
    """One of its trials."""
    command.add_argument(
        "trial",
        nargs=nargs,
        type=whole_number("TRIAL", 0),
        metavar="TRIAL",
        help=f"number of one of its trials{default and f' (default: {default})'}",
    )


def add_declared_study(command: CommandParser) -> None:
    """A study that may be run."""
    command.add_argument("study", metavar="STUDY", help="declared study, or its .toml file")


def add_study_options(command: CommandParser) -> None:
    """What changes a declared study and its budget."""
    command.add_argument(
        "--trials",
        type=whole_number("--trials", 1),
        metavar="N",
        help="finished trials the study is to have at the end (default: the study's own number)",
    )
    command.add_argument(
        "--time-limit",
        type=duration("--time-limit"),
        metavar="TIME",
        help="wall-clock over the study, resumes included: 90s, 45m, 2h, 1h30m",
    )
    command.add_argument(
        "--jobs",
        type=whole_number("--jobs", 1),
        metavar="N",
        help="trials at the same time on the CPU (default: 1, where there is no GPU)",
    )
    command.add_argument(
        "--gpus",
        type=gpus,
        metavar="all|0,1,3",
        help="visible GPUs to run on, by position (default: all there are)",
    )
    command.add_argument(
        "--trials-per-gpu",
        type=whole_number("--trials-per-gpu", 1),
        metavar="K",
        help="trials at the same time on each GPU (default: 1)",
    )
    add_declaration_options(command)


def add_declaration_options(command: CommandParser) -> None:
    """What changes a declared study."""
    command.add_argument(
        "--trial-time-limit",
        type=duration("--trial-time-limit"),
        metavar="TIME",
        help="of one trial, over all its attempts (default: the study's own, or none)",
    )
    command.add_argument(
        "--seed",
        type=whole_number("--seed", 0),
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


def add_place(command: CommandParser) -> None:
    """Where studies are that were run."""
    add_runs_dir(command)
    command.add_argument(
        "--storage",
        metavar="URL",
        help="database of all studies: sqlite:///FILE or postgresql+psycopg://USER@HOST:PORT/DB "
        "(default: sqlite:///<runs-dir>/hpo.db)",
    )


def add_runs_dir(command: CommandParser) -> None:
    """Where files of studies are."""
    command.add_argument(
        "--runs-dir",
        type=Path,
        default=DEFAULT_RUNS_DIR,
        metavar="DIR",
        help="folder of the trials' files (default: runs)",
    )


def add_figure(command: CommandParser, default: str) -> None:
    """Where to draw what is printed; `default` says in words where without it."""
    command.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help=f"write the figure as FILE.html or FILE.png (default: {default})",
    )


def add_json(command: CommandParser) -> None:
    """The same for programs."""
    command.add_argument("--json", action="store_true", help=JSON_TEXT)
