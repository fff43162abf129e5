"""Running studies: foretelling, watching and stopping them, too."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hpo.commands.exit_codes import DONE, FAILED, INTERRUPTED, complain
from hpo.commands.parsing import Command, CommandParser
from hpo.commands.shared_options import add_declared_study, add_study, add_study_options
from hpo.commands.targets import declared_study, place_of, read_record
from hpo.commands.values import cluster, fuse

if TYPE_CHECKING:
    import argparse

    from hpo.output import Printer


def _run(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.interrupts import terminating_as_ctrl_c
    from hpo.launch import launch
    from hpo.names import label
    from hpo.options import RunOptions
    from hpo.output import standing, study_result
    from hpo.view import choose_view

    study = declared_study(arguments)
    options = RunOptions(
        trials=arguments.trials,
        time_limit_s=arguments.time_limit,
        jobs=arguments.jobs,
        gpus=arguments.gpus,
        trials_per_gpu=arguments.trials_per_gpu,
        fuse=arguments.fuse,
        runs_dir=arguments.runs_dir,
        storage=arguments.storage,
        cluster=arguments.cluster,
        again=arguments.again,
        begun=arguments.begun,
        warm_start=tuple(arguments.warm_start),
        log=tuple(dict.fromkeys(name for names in arguments.log for name in names)),
    )
    with terminating_as_ctrl_c(), choose_view(study.spec.metric, out) as observe:
        result = launch(study, options, observe, showcase=True)
    record = result.record
    out.show(standing(record), *study_result(record))
    if any(trial.is_finished for trial in record.trials):
        from hpo.analysis.report import write_report

        out.say(f"Report: {label(write_report(record))}")
    place = shlex.join(place_of(arguments))
    out.say(f"All trials: {arguments.prog} show {record.name} {place}".rstrip())
    out.say(f"In a browser: {arguments.prog} dashboard {place}".rstrip())
    if result.interrupted:
        complain("interrupted; the same command goes on from here")
        return INTERRUPTED
    if result.failure is not None or record.best is None:
        complain(f"the run failed: {result.failure or 'no trial is complete'}")
        return FAILED
    return DONE


def _plan(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo import as_json
    from hpo.experience import gather
    from hpo.memory import MemoryCheck, slot_memory
    from hpo.options import RunOptions
    from hpo.plan import make_plan, plan_page
    from hpo.slots import is_on_gpu
    from hpo.workers.devices import local_places

    study = declared_study(arguments)
    places = local_places(
        RunOptions(
            jobs=arguments.jobs, gpus=arguments.gpus, trials_per_gpu=arguments.trials_per_gpu
        )
    )
    experience = gather(
        study,
        arguments.storage,
        arguments.runs_dir,
        jobs=len(places),
        on_gpu=is_on_gpu(places[0].device),
    )
    plan = make_plan(
        study,
        experience.model,
        basis=experience.basis,
        jobs=len(places),
        trials=arguments.trials,
        time_limit_s=arguments.time_limit,
        elapsed_s=experience.elapsed_s,
        finished=experience.finished,
    )
    warning = MemoryCheck(study, slot_memory([place.device for place in places])).warning()
    if arguments.json:
        out.show(as_json.document({**as_json.plan(plan), "warning": warning}))
        return DONE
    out.show(*plan_page(plan))
    if warning is not None:
        out.say(f"{study.name}: {warning}. Such trials will be refused.")
    return DONE


def _status(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.as_json import document
    from hpo.status import follow, read_status, status_json, status_page

    names = [] if arguments.study is None else [arguments.study]
    found = read_status(arguments.storage, names, arguments.runs_dir, arguments.prog)
    if arguments.follow:
        names = [one.name for one in found]
        follow(
            lambda: read_status(arguments.storage, names, arguments.runs_dir, arguments.prog),
            out,
            as_json=arguments.json,
        )
    elif arguments.json:
        out.show(document(status_json(found)))
    else:
        out.show(*status_page(found))
    return DONE


def _stop(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.output import standing
    from hpo.stopping import stop_study
    from hpo.storage import DatabaseAwayError

    how = stop_study(
        arguments.storage, arguments.study, arguments.runs_dir, now=arguments.now, say=out.say
    )
    try:
        record = read_record(arguments)
    except DatabaseAwayError as error:  # which the driver on this machine could be stopped without
        out.say(f"{arguments.study}: {how}. How it stands cannot be read: {error}")
        return DONE
    out.show(standing(record))
    if how == "not running":
        out.say(f"{record.name} is not running.")
        return DONE
    from hpo.analysis.command import command_again

    if how == "killed":
        out.say("It did not react and was killed.")
    if arguments.now:
        out.say("What ran goes on from its last checkpoint, or from its start where it has none.")
    out.say(f"Go on with: {command_again(record, arguments.prog)}")
    return DONE


def _add_run_arguments(run: CommandParser) -> None:
    run.add_argument(
        "--study", required=True, metavar="NAME|FILE", help="declared study, or its .toml file"
    )
    add_study_options(run)
    run.add_argument(
        "--fuse",
        type=fuse,
        default=1,
        metavar="K|auto",
        help="trials of one structure to train as one model in each process, at most; pays on a "
        "GPU, where auto measures how many (default: 1)",
    )
    run.add_argument(
        "--cluster",
        type=cluster,
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


def _add_plan_arguments(plan: CommandParser) -> None:
    add_declared_study(plan)
    add_study_options(plan)


def _add_status_arguments(status: CommandParser) -> None:
    status.add_argument(
        "study", nargs="?", metavar="STUDY", help="name of a study (default: all that run now)"
    )
    status.add_argument("--follow", action="store_true", help="keep watching until it stops")


def _add_stop_arguments(stop: CommandParser) -> None:
    add_study(stop)
    stop.add_argument(
        "--now",
        action="store_true",
        help="kill running trials rather than let each save a checkpoint: they go on from the "
        "last one they have, or from their start",
    )


COMMANDS = (
    Command(
        "run",
        "run a study, or go on with it",
        _run,
        _add_run_arguments,
        description="""\
Run a study. Run again, it goes on where the study stands; Ctrl-C stops it cleanly.
At the end the test set is opened, once: for the best trial's model, or for all runs of the
finalists.
""",
    ),
    Command(
        "plan",
        "foretell what a study takes, or a time limit buys",
        _plan,
        _add_plan_arguments,
        has_json=True,
    ),
    Command(
        "status", "show what a study is doing now", _status, _add_status_arguments, has_json=True
    ),
    Command("stop", "stop a running study cleanly, from elsewhere", _stop, _add_stop_arguments),
)
