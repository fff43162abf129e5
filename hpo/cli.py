"""The command: parses, dispatches, prints, and says by its exit code how it went."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.atomic import json_text
from core.errors import UserError
from hpo.arguments import DEFAULT_RUNS_DIR, CommandError, read_arguments

if TYPE_CHECKING:
    import argparse

    from hpo.declarations import Study
    from hpo.declarations.files import Kind
    from hpo.output import Printer
    from hpo.records import StudyRecord, TrialRecord

_PASSWORD = re.compile(r"(:/+[^\s:@]*:)\S*(?=@)|(password=)[^\s'\"]+")
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns 0 done, 1 the run failed, 2 the user's mistake, 130 interrupted.

    A `UserError` is printed as one line; any other exception is a bug and keeps its traceback.
    """
    begun = time.monotonic()
    try:
        arguments = read_arguments(argv)
        arguments.begun = begun
        from hpo.disk import telling_of_room
        from hpo.output import Printer

        with telling_of_room(getattr(arguments, "runs_dir", DEFAULT_RUNS_DIR)):
            return _COMMANDS[arguments.command](arguments, Printer())
    except UserError as error:
        _complain(str(error))
        return MISTAKE
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED


def _complain(line: str) -> None:
    """Prints one line on standard error, with what could act on a terminal spelled out.

    A line may repeat what it was given in the wrong place: a URL with a password, too.
    """
    from hpo.output import visible

    told = _PASSWORD.sub(r"\1\2***", line)
    print(f"hpo: {visible(told)}", file=sys.stderr)


def _run(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.interrupts import terminating_as_ctrl_c
    from hpo.launch import launch
    from hpo.names import label
    from hpo.options import RunOptions
    from hpo.output import standing, study_result
    from hpo.view import choose_view

    study = _declared(arguments)
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
    place = shlex.join(_place(arguments))
    out.say(f"All trials: {arguments.prog} show {record.name} {place}".rstrip())
    out.say(f"In a browser: {arguments.prog} dashboard {place}".rstrip())
    if result.interrupted:
        _complain("interrupted; the same command goes on from here")
        return INTERRUPTED
    if result.failure is not None or record.best is None:
        _complain(f"the run failed: {result.failure or 'no trial is complete'}")
        return FAILED
    return DONE


def _declared(arguments: argparse.Namespace) -> Study:
    """The study that was asked for, with what the options change of it."""
    from hpo.declarations import load_study

    seed = [] if arguments.seed is None else [f"seed={arguments.seed}"]
    limit_s = arguments.trial_time_limit
    limit = [] if limit_s is None else [f"trial_time_limit={limit_s:.0f}s"]
    return load_study(
        arguments.study,
        overrides=[*arguments.overrides, *seed, *limit],
        data=arguments.data,
        name=arguments.name,
    )


def _plan(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo import as_json
    from hpo.experience import gather
    from hpo.memory import MemoryCheck, slot_memory
    from hpo.options import RunOptions
    from hpo.plan import make_plan, plan_page
    from hpo.slots import is_on_gpu
    from hpo.workers.devices import local_places

    study = _declared(arguments)
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


def _place(arguments: argparse.Namespace) -> list[str]:
    """The options that lead other commands to the same files, without a password."""
    place = []
    if arguments.runs_dir != DEFAULT_RUNS_DIR:
        place += ["--runs-dir", str(arguments.runs_dir)]
    if arguments.storage is not None:
        place += ["--storage", arguments.storage]
    return place


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

    record = _read(arguments)
    trial = None if arguments.trial is None else _trial_of(record, arguments)
    if arguments.json:
        told = as_json.study(record) if trial is None else as_json.trial(record, trial)
        out.show(as_json.document(told))
    else:
        out.show(*(study_page(record) if trial is None else trial_page(record, trial)))
    return DONE


def _explain(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.as_json import document
    from hpo.explaining import explain, explanation_page

    record = _read(arguments)
    found = explain(record, _trial_of(record, arguments))
    out.show(*([document(found.as_json())] if arguments.json else explanation_page(found)))
    return DONE


def _compare(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.as_json import document
    from hpo.comparing import compare, comparison_page
    from hpo.reading import read_study

    found = compare(
        _read(arguments),
        arguments.others,
        lambda name: read_study(arguments.storage, name, arguments.runs_dir),
    )
    out.show(*([document(found.as_json())] if arguments.json else comparison_page(found)))
    return DONE


def _report(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.names import label
    from hpo.reporting import write_as

    place = None if arguments.output is None else arguments.output.expanduser()
    for path in write_as(_read(arguments), arguments.format, place):
        out.say(label(path))
    return DONE


def _translate(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints a line for each text as soon as it is there."""
    from rich.text import Text

    from hpo.kept import find_kept
    from hpo.translating import lines_of, translations

    run = find_kept(_read(arguments), arguments.trial)
    batches = [arguments.texts] if arguments.texts else lines_of(sys.stdin.fileno())
    for lines in translations(run, batches):
        out.show(*map(Text, lines))
        if out.quiet:  # nobody reads any more
            break
    return DONE


def _export(arguments: argparse.Namespace, out: Printer) -> int:
    from pathlib import Path

    from hpo.kept import find_kept
    from hpo.names import label

    name, folder = arguments.format
    run = find_kept(_read(arguments), arguments.trial)
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


def _read(arguments: argparse.Namespace) -> StudyRecord:
    from hpo.reading import read_study

    return read_study(arguments.storage, arguments.study, arguments.runs_dir)


def _trial_of(record: StudyRecord, arguments: argparse.Namespace) -> TrialRecord:
    for trial in record.trials:
        if trial.number == arguments.trial:
            return trial
    raise CommandError(
        f"{record.name} has no trial {arguments.trial}",
        way_out=f"See `{arguments.prog} show {record.name}`.",
    )


def _new(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.names import label
    from hpo.starting import write_new

    kind: Kind = "study" if arguments.kind == "study" else "search space"
    out.say(label(write_new(kind, arguments.name)))
    return DONE


def _completion(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.completion import shell_code

    out.show(shell_code(arguments.shell).rstrip())
    return DONE


def _validate(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints a line a file, the problems on standard error."""
    from hpo import as_json
    from hpo.declarations import validate_path
    from hpo.memory import MemoryCheck, slot_memory
    from hpo.options import RunOptions
    from hpo.workers.devices import local_places

    has_bytes = slot_memory([place.device for place in local_places(RunOptions())])
    checked = [
        (file, MemoryCheck(file.study, has_bytes).warning() if file.study else None)
        for file in validate_path(arguments.path)
    ]
    if arguments.json:
        out.show(as_json.document(as_json.validated(checked)))
    for file, warning in () if arguments.json else checked:
        if file.problem is None:
            out.say(f"{file.kind} {file.name}: {file.summary}")
            if warning:
                out.say(f"  {warning}")
        else:
            _complain(str(file.problem))
    return MISTAKE if any(file.problem for file, _ in checked) else DONE


def _schema(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints the schemas, or writes them and prints where."""
    from hpo.declarations.schema import schema_text, schemas, write_schemas

    made, name = schemas(), arguments.name
    if name is not None and name not in made:
        raise CommandError("unknown schema", got=name, allowed=", ".join(made))
    if arguments.dir is None:
        out.show(schema_text(made if name is None else made[name]).rstrip())
        return DONE
    from hpo.names import label

    chosen = made if name is None else {name: made[name]}
    for path in write_schemas(chosen, arguments.dir.expanduser()):
        out.say(label(path))
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


def _repair(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.output import repaired_page
    from hpo.repair import repair

    repaired = repair(arguments.storage, arguments.study, arguments.runs_dir)
    place = shlex.join(_place(arguments))
    out.show(*repaired_page(repaired, f"{arguments.prog} repair", place))
    return DONE


def _dashboard(arguments: argparse.Namespace, _out: Printer) -> int:
    from hpo.dashboard import Listening, serve
    from hpo.storage import locate

    name = arguments.study and _read(arguments).name
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


def _stop(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.output import standing
    from hpo.stopping import stop_study
    from hpo.storage import DatabaseAwayError

    how = stop_study(
        arguments.storage, arguments.study, arguments.runs_dir, now=arguments.now, say=out.say
    )
    try:
        record = _read(arguments)
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

    study = _declared(arguments)
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

    study, space = _declared(arguments), arguments.write_space
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
        say=_complain,
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

    record = _read(arguments)
    ladder = climb(record)
    if arguments.json:
        told = {"obstacle": ladder} if isinstance(ladder, str) else ladder.as_json()
        out.show(json_text({"study": record.name, **told}).rstrip())
    else:
        out.show(*ladder_page(record.name, ladder))
    return DONE


_COMMANDS: dict[str, Callable[[argparse.Namespace, Printer], int]] = {
    "run": _run,
    "plan": _plan,
    "studies": _studies,
    "show": _show,
    "explain": _explain,
    "compare": _compare,
    "translate": _translate,
    "export": _export,
    "export-study": _export_study,
    "import-study": _import_study,
    "leaderboard": _leaderboard,
    "status": _status,
    "stop": _stop,
    "report": _report,
    "new": _new,
    "validate": _validate,
    "schema": _schema,
    "repair": _repair,
    "clean": _clean,
    "cache": _cache,
    "dashboard": _dashboard,
    "schedule": _schedule,
    "advise": _advise,
    "lr-find": _lr_find,
    "ladder": _ladder,
    "completion": _completion,
}
