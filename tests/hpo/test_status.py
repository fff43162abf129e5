"""`hpo status`: what a study is doing, once or followed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_bench import MakeStudy
from toy_runs import run_study

from hpo import attributes
from hpo.as_json import document
from hpo.cli import main
from hpo.declarations import load_study
from hpo.events import Event, TrialEvaluated
from hpo.output import Printer
from hpo.spans import Span
from hpo.status import Status, follow, status_json, status_of, status_page
from tests.hpo.made_records import record, trial

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def made(**more: Any) -> Status:
    """Two trials at work, two finished of five, in 83 seconds."""
    begun = NOW - timedelta(seconds=75)
    stored = SimpleNamespace(
        user_attrs={attributes.QUARANTINED: {"gpu 1": "three device errors in a row"}}
    )
    study = record(
        trial(0, value=30.0),
        trial(1, "failed", None, reason="exit code 134"),
        trial(2, "running", 12.0, spans=(Span(2, "gpu 0", begun, None, "running"),)),
        trial(3, "running", None),
        trial(4, "paused", 5.0),
        optuna_study=stored,
        repeat_spans=(Span(0, "gpu 2", begun, None, "running", 1),),
        **{"is_owned": True, **more},
    )
    return status_of(study, "hpo", NOW)


def shown(*found: Status) -> list[str]:
    console = Printer()
    console.file = io.StringIO()
    console.show(*status_page(found))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_one_screen_tells_what_runs_where_and_what_went_wrong() -> None:
    assert shown(made()) == [
        "depth_sweep: 2 of 5 trials finished (1 complete, 1 failed, 1 paused, 2 running), "
        "1 min 23 s, running now, about 2 min 04 s left for the trials",
        "Best: 30.00 BLEU (trial 0): num_layers=2 learning_rate=0.0003",
        "",
        "trial     slot    step   BLEU         for",
        "3                 0/60      –           –",
        "2         gpu 0  40/60  12.00  1 min 15 s",
        "0 seed 1  gpu 2      –      –  1 min 15 s",
        "",
        "Paused: trial 4",
        "Failed: trial 1: exit code 134",
        "Given no more work: gpu 1: three device errors in a row",
    ]


def test_the_time_left_is_within_the_limit() -> None:
    assert made().left_s == pytest.approx(83 / 2 * 3)
    assert made(options={"time_limit_s": 90.0}).left_s == pytest.approx(7)


def test_a_study_whose_driver_was_killed_says_so_and_how_to_go_on() -> None:
    declared = load_study("depth_sweep").as_json()
    gone = made(is_owned=False, options={"jobs": 2}, declaration=declared, folder=Path("runs/x"))
    *_, cut_off, go_on = shown(gone)
    assert cut_off == "Its driver is gone: it was killed, or an error ended it."
    assert go_on == "Go on with: hpo run --study depth_sweep --trials 5 --jobs 2"
    stopped = shown(made(is_owned=False, stopped="interrupted"))
    assert stopped[-1].startswith("Go on with: ")
    assert cut_off not in stopped
    assert not any("Go on with" in line for line in shown(made()))


def test_as_json_it_is_an_object_for_programs() -> None:
    (told,) = json.loads(document(status_json([made()])))["studies"]
    assert told["state"] == "running"
    assert told["best"] == {"trial": 0, "value": 30.0}
    assert {one["trial"]: one["step"] for one in told["running"]} == {3: 0, 2: 40, 0: None}
    assert told["quarantined"] == {"gpu 1": "three device errors in a row"}


def test_followed_into_a_pipe_it_is_a_line_when_something_has_changed() -> None:
    console = Printer()
    console.file = io.StringIO()
    first = made()
    frames = iter(
        [
            [first],
            [replace(first, elapsed_s=90.0)],
            [replace(first, finished=3)],
            [replace(first, finished=3, state="interrupted", running=())],
        ]
    )

    def read() -> Sequence[Status]:
        return next(frames)

    follow(read, console, look_every_s=0.0)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        "depth_sweep: running, 2 of 5 trials finished; best 30.00 BLEU (trial 0); "
        "trial 3 at step 0 of 60; trial 2 on gpu 0 at step 40 of 60 (12.00 BLEU); "
        "trial 0 seed 1 on gpu 2; 1 paused; 1 failed, the last trial 1: exit code 134"
    )
    assert "interrupted, 3 of 5" in lines[2]
    assert next(frames, None) is None


def test_a_run_that_is_just_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    left = replace(made(), state="interrupted", running=())
    frames = iter([[left], [left], [made()], [left]])
    console = Printer()
    console.file = io.StringIO()
    follow(lambda: next(frames), console, look_every_s=0.0)
    assert next(frames, None) is None
    monkeypatch.setattr("hpo.status.START_S", 0.0)
    follow(lambda: [left], console, look_every_s=0.0)


def test_the_command_reads_while_a_driver_writes(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, place = tmp_path / "runs", ["--runs-dir", str(tmp_path / "runs")]
    pages: list[str] = []

    def look(event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.number == 1 and not pages:
            capsys.readouterr()
            for words in (["toy"], ["--json"]):
                assert main(["status", *words, *place]) == 0
                pages.append(capsys.readouterr().out)

    run_study(make_study(), runs, look, trials=3)  # type: ignore[arg-type]
    assert "toy: 1 of 3 trials finished (1 complete, 1 running)" in pages[0]
    (told,) = json.loads(pages[1])["studies"]
    (running,) = told["running"]
    assert (running["trial"], running["step"], running["place"]) == (1, 3, "cpu")
    assert main(["status", "toy", "--follow", *place]) == 0
    assert "toy: finished, 3 of 3 trials finished" in capsys.readouterr().out
    assert main(["status", *place]) == 0
    assert capsys.readouterr().out == "No study is running here.\n"
    assert main(["status", "tyo", *place]) == 2


def test_ctrl_c_ends_following(
    make_study: MakeStudy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hpo.status._watch", interrupt)
    assert main(["status", "toy", "--follow", "--runs-dir", str(runs)]) == 130
    assert capsys.readouterr().err == "hpo: interrupted\n"
