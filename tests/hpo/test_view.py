"""The live picture and the plain lines, from events made by hand."""

from __future__ import annotations

import io
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from core.task import Evaluation, Metric, Progress
from hpo.events import (
    Event,
    Note,
    RepeatEnded,
    RepeatProgressed,
    RepeatStarted,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.view import Board, LiveView, PlainView, choose_view

BLEU = Metric("BLEU", "", "maximize", 0.0)
EVIL = "\x1b[2Jgone [red]red[/red]"

STORY: list[Event] = [
    StudyStarted("depth_sweep", 0, 3, 2, False),
    Note("3 pairs are also in the test set"),
    TrialStarted(0, 1, {"model.num_layers": 5, "finetune.learning_rate": 3e-4}, 1, 220, "cpu 1"),
    TrialProgressed(0, Progress("pretrain", 13, 220, 6.78901, 5.5)),
    TrialEvaluated(0, Evaluation("pretrain", 20, 1.239)),
    TrialStarted(1, 0, {"model.num_layers": 7}, 2, 220, "cpu 0"),
    TrialEvaluated(1, Evaluation("pretrain", 20, 0.5, replayed=True)),
    TrialEvaluated(1, Evaluation("finetune", 40, 0.7)),
    TrialEnded(1, "pruned", 0.7, 40, "below the median of 3 trials", 17.0, False),
    TrialEvaluated(0, Evaluation("finetune", 220, 30.0)),
    TrialEnded(0, "complete", 30.0, 220, "", 83.0, True),
]


def console(width: int = 80, terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    made = Console(
        file=out, width=width, force_terminal=terminal, markup=False, highlight=False, height=40
    )
    return made, out


def plain(*events: Event) -> list[str]:
    made, out = console()
    with PlainView(BLEU, made) as observe:
        for event in events:
            observe(event)
    return out.getvalue().splitlines()


def picture(*events: Event, width: int = 80, now: float = 90.0) -> str:
    board = Board(BLEU, started=7.0)
    for event in events:
        board.take(event)
    made, out = console(width)
    made.print(board.draw(now))
    return out.getvalue()


REPEAT = (
    RepeatStarted(7, 2, slot=0, attempt=1, total_steps=220, place="cpu 0"),
    RepeatProgressed(7, 2, Progress("finetune", 110, 220, 2.5, 10.0)),
)
REPEATED = RepeatEnded(7, 2, "complete", 30.0, "", 83.0)
BROKEN = RepeatEnded(3, 1, "failed", None, "the worker died", 4.25)


def test_repeats_are_told_by_trial_and_fresh_seed() -> None:
    assert plain(*REPEAT, REPEATED, replace(REPEAT[0], attempt=2), BROKEN) == [
        "finals: trial 7 on fresh seed 2 started on cpu 0",
        "finals: trial 7 on fresh seed 2 complete, 30.00 BLEU, after 1 min 23 s",
        "finals: trial 7 on fresh seed 2 started again on cpu 0, attempt 2",
        "finals: trial 3 on fresh seed 1 failed, after 4.2 s: the worker died",
    ]
    assert "7 seed 2" in picture(*REPEAT)
    assert "110/220" in picture(*REPEAT)
    assert "7 seed 2" not in picture(*REPEAT, REPEATED)


def test_plain_lines_tell_each_start_evaluation_and_end_once() -> None:
    assert plain(*STORY) == [
        "depth_sweep: 3 trials, 2 at the same time",
        "3 pairs are also in the test set",
        "trial 0 started on cpu 1: num_layers=5 learning_rate=0.0003",
        "trial 0 pretrain step 20: 1.24 BLEU",
        "trial 1 started again on cpu 0, attempt 2: num_layers=7",
        "trial 1 finetune step 40: 0.70 BLEU",
        "trial 1 pruned at step 40, 0.70 BLEU, after 17 s: below the median of 3 trials",
        "trial 0 finetune step 220: 30.00 BLEU",
        "trial 0 complete at step 220, 30.00 BLEU, after 1 min 23 s, the best so far",
    ]


def test_a_resumed_study_says_where_it_stands() -> None:
    started = StudyStarted("depth_sweep", 5, 14, 1, True)
    assert plain(started) == ["depth_sweep: 5 of 14 trials done, going on"]
    made, out = console(terminal=True)
    with LiveView(BLEU, made) as observe:
        observe(started)
    assert "depth_sweep: 5 of 14 trials done, going on" in out.getvalue()


def test_a_trial_without_a_score_ends_without_one() -> None:
    ended = TrialEnded(4, "failed", None, 0, "out of memory", 2.0, False)
    assert plain(ended) == ["trial 4 failed at step 0, after 2.0 s: out of memory"]


@pytest.mark.parametrize("width", [80, 140])
def test_the_picture_shows_running_and_ended_trials(width: int) -> None:
    middle = picture(*STORY[:9], width=width)
    head, columns, running, *_ = middle.split("\n")
    assert " ".join(head.split()) == "depth_sweep 1/3 trials 1 min 23 s"
    assert " ".join(columns.split()) == "trial slot stage step loss BLEU steps/s left"
    assert " ".join(running.split()) == "0 cpu 1 pretrain 13/220 6.789 1.24 5.5 38 s"
    assert "pruned" in middle
    assert "below the median of 3 trials" in middle
    assert all(len(line) <= width for line in middle.split("\n"))


def test_the_picture_ends_with_the_best() -> None:
    text = picture(*STORY)
    assert "2/3 trials" in text
    assert "best 30.00 BLEU (trial 0)" in text
    assert "slot" not in text, "nothing is running any more"


def test_only_the_best_is_called_the_best() -> None:
    ended = [TrialEnded(n, "complete", n + 0.5, 9, "", 3.0, True) for n in (3, 5)]
    lines = picture(STORY[0], *ended).split("\n")
    assert [line.split()[0] for line in lines if "the best so far" in line] == ["5"]


def test_the_best_of_earlier_runs_is_known_from_the_start() -> None:
    started = StudyStarted("depth_sweep", 5, 14, 1, True, best=(3, 12.5))
    assert "5/14 trials  1 min 23 s  best 12.50 BLEU (trial 3)" in picture(started)


def test_a_trial_that_only_waits_says_what_for() -> None:
    text = picture(
        *STORY[:3],
        TrialProgressed(0, Progress("pretrain", 0, 220, None, 0.0, "waiting for stage A")),
        width=100,
    )
    assert "0/220 – – – – waiting for stage A" in " ".join(text.split())


def test_on_a_narrow_terminal_the_free_text_gives_way() -> None:
    long = TrialEnded(1, "pruned", 0.7, 40, "word " * 30, 17.0, False)
    lines = picture(STORY[0], long, width=60).split("\n")
    assert all(len(line) <= 60 for line in lines)
    assert sum("pruned" in line for line in lines) == 1
    assert "…" in lines[2]


def test_the_picture_keeps_the_last_few_trials() -> None:
    ended = [TrialEnded(n, "complete", 1.0, 9, "", 3.0, False) for n in range(101, 120)]
    text = picture(STORY[0], *ended)
    assert "19/3 trials" in text
    assert "119" in text
    assert "101" not in text


def test_paused_and_interrupted_trials_are_not_finished() -> None:
    ended = [
        TrialEnded(n, outcome, 1.0, 9, "", 3.0, False)
        for n, outcome in enumerate(("paused", "interrupted"))
    ]
    assert "0/3 trials" in picture(STORY[0], *ended)


def test_the_place_is_named_unless_it_is_the_one_cpu_slot() -> None:
    on_gpu = TrialStarted(3, 1, {"model.num_layers": 5}, 1, 220, "gpu 1")
    repeat = RepeatStarted(7, 2, 0, 2, 220, "gpu 1 #2")
    assert plain(on_gpu, repeat, TrialStarted(4, 0, {"model.num_layers": 5}, 1, 220, "cpu")) == [
        "trial 3 started on gpu 1: num_layers=5",
        "finals: trial 7 on fresh seed 2 started again on gpu 1 #2, attempt 2",
        "trial 4 started: num_layers=5",
    ]
    assert "gpu 1 #2" in picture(STORY[0], on_gpu, repeat)


def test_hostile_names_are_shown_as_text() -> None:
    story: list[Event] = [
        StudyStarted(EVIL, 0, 3, 1, False),
        Note(EVIL),
        TrialStarted(0, 0, {EVIL: EVIL}, 1, 20),
        TrialProgressed(0, Progress(EVIL, 1, 20, 1.0, 1.0, EVIL)),
        TrialEvaluated(0, Evaluation(EVIL, 20, 1.0)),
        TrialEnded(0, EVIL, 1.0, 20, EVIL, 1.0, False),
    ]
    for text in (*plain(*story), picture(*story[:5], width=200), picture(*story, width=200)):
        assert "\x1b" not in text
    assert "[red]red[/red]" in picture(*story, width=200)


def test_the_live_view_draws_while_events_arrive_from_many_threads() -> None:
    made, out = console(120, terminal=True)
    with LiveView(BLEU, made) as observe:
        observe(StudyStarted("s", 0, 500, 5, False))

        def tell(slot: int) -> None:
            for number in range(slot, 500, 5):
                observe(TrialStarted(number, slot, {}, 1, 20))
                observe(TrialEnded(number, "complete", 1.0, 20, "", 1.0, False))

        threads = [threading.Thread(target=tell, args=(slot,)) for slot in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "500/500 trials" in out.getvalue()


def test_colour_is_left_out_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    made, out = console(terminal=True)
    board = Board(BLEU, started=0.0)
    for event in STORY:
        board.take(event)
    made.print(board.draw(1.0))
    assert "\x1b[32m" not in out.getvalue()


def test_a_pipe_gets_lines_even_where_colour_is_forced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "log").open("w") as log:
        assert isinstance(choose_view(BLEU, Console(file=log)), PlainView)


def test_a_terminal_gets_the_live_view_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    main, second = os.openpty()
    with os.fdopen(second, "w") as terminal:
        for term, kind in (("xterm-256color", LiveView), ("dumb", PlainView)):
            monkeypatch.setenv("TERM", term)
            assert isinstance(choose_view(BLEU, Console(file=terminal)), kind)
    os.close(main)
