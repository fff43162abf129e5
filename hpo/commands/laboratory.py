"""Learning rates and warmups, before a study and after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.atomic import json_text
from core.schedule import DECAYS, WARMUPS
from hpo.commands.exit_codes import DONE, complain
from hpo.commands.parsing import Command, CommandParser
from hpo.commands.shared_options import (
    add_declaration_options,
    add_declared_study,
    add_figure,
    add_runs_dir,
    add_study,
)
from hpo.commands.targets import declared_study, read_record
from hpo.commands.values import one_of, rate_of, warmup, whole_number

if TYPE_CHECKING:
    import argparse

    from hpo.output import Printer


def _schedule(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.analysis.schedules import schedules, schedules_page, updates_in, write_schedules
    from hpo.names import label

    steps = arguments.steps
    drawn = schedules(
        steps,
        [updates_in(text, steps) for text in arguments.warmup],
        arguments.shape,
        arguments.decay,
        arguments.learning_rate,
    )
    written = arguments.figure and write_schedules(drawn, arguments.figure.expanduser())
    if arguments.json:
        out.show(json_text({"schedules": [one.as_json() for one in drawn]}).rstrip())
        return DONE
    out.show(*schedules_page(drawn))
    if written:
        out.say(f"Figure: {label(written)}")
    return DONE


def _advise(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.advice import advice_page, advise

    study = declared_study(arguments)
    notes = advise(study)
    if arguments.json:
        told = {"study": study.name, "notes": [note.as_json() for note in notes]}
        out.show(json_text(told).rstrip())
    else:
        out.show(*advice_page(study, notes))
    return DONE


def _lr_find(arguments: argparse.Namespace, out: Printer) -> int:
    """Tests, prints, then writes what was asked for; progress goes to standard error."""
    from hpo.analysis.figure_files import check_suffix
    from hpo.lr_find import Ramp, check_narrowing, find_rates, write_narrowed
    from hpo.names import label

    study, space = declared_study(arguments), arguments.write_space
    ramp = Ramp(arguments.low, arguments.high, arguments.steps, arguments.seeds)
    figure = arguments.figure or arguments.runs_dir / f"lr_find_{study.name}.html"
    check_suffix(figure)
    if space is not None:
        check_narrowing(study, ramp, arguments.stage, space.expanduser())
    found = find_rates(
        study,
        arguments.runs_dir,
        ramp,
        at=arguments.at,
        stage=arguments.stage,
        say=complain,
    )
    from hpo.analysis.range_test import range_page, write_figure

    if arguments.json:
        out.show(json_text(found.as_json()).rstrip())
    else:
        out.show(*range_page(found))
    written = [f"Figure: {label(write_figure(found, figure.expanduser()))}"]
    if space is not None and found.suggested is None:
        written.append("No search space is written: there is no range to narrow it to.")
    elif space is not None:
        path = write_narrowed(study, found, space.expanduser())
        written.append(f"Search space: {label(path)}")
    for line in () if arguments.json else written:
        out.say(line)
    return DONE


def _ladder(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.analysis.ladder import climb, ladder_page

    record = read_record(arguments)
    ladder = climb(record)
    if arguments.json:
        told = {"obstacle": ladder} if isinstance(ladder, str) else ladder.as_json()
        out.show(json_text({"study": record.name, **told}).rstrip())
    else:
        out.show(*ladder_page(record.name, ladder))
    return DONE


def _add_schedule_arguments(schedule: CommandParser) -> None:
    schedule.add_argument(
        "--steps",
        type=whole_number("--steps", 1, 1_000_000),
        default=500,
        metavar="N",
        help="updates of the stage (default: 500)",
    )
    schedule.add_argument(
        "--warmup",
        nargs="+",
        type=warmup,
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
            type=one_of(option, allowed),
            default=list(default),
            metavar="NAME",
            help=f"{text}, of {', '.join(allowed)} (default: {' '.join(default)})",
        )
    schedule.add_argument(
        "--learning-rate",
        type=rate_of("--learning-rate"),
        default=1.0,
        metavar="RATE",
        help="the peak (default: 1, which shows factors)",
    )
    add_figure(schedule, "none")


def _add_advise_arguments(advise: CommandParser) -> None:
    add_declared_study(advise)
    add_declaration_options(advise)


def _add_lr_find_arguments(find: CommandParser) -> None:
    _add_advise_arguments(find)
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
            type=rate_of(option),
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
            type=whole_number(option, least),
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
    add_figure(find, "lr_find_STUDY.html in the runs folder")
    add_runs_dir(find)


COMMANDS = (
    Command(
        "schedule",
        "draw learning-rate schedules: warmups times decays",
        _schedule,
        _add_schedule_arguments,
        has_place=False,
        has_json=True,
    ),
    Command(
        "advise",
        "tell what in a study goes against recommendations, and why",
        _advise,
        _add_advise_arguments,
        has_place=False,
        has_json=True,
    ),
    Command(
        "lr-find",
        "find the learning rates worth searching, by a range test",
        _lr_find,
        _add_lr_find_arguments,
        has_place=False,
        has_json=True,
    ),
    Command(
        "ladder",
        "show the learning rate that each depth and width of a study wants",
        _ladder,
        add_study,
        has_json=True,
    ),
)
