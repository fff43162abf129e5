"""The command line's grammar: every value at its bounds, every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.arguments import COMMANDS, read_arguments
from hpo.commands.parsing import CommandError
from hpo.durations import duration_option, seconds_in


def test_run_has_the_defaults_that_its_help_states() -> None:
    got = vars(read_arguments(["run", "--study", "quickstart"]))
    del got["prog"]
    assert got == {
        "command": "run",
        "study": "quickstart",
        "trials": None,
        "time_limit": None,
        "trial_time_limit": None,
        "jobs": None,
        "gpus": None,
        "cluster": None,
        "trials_per_gpu": None,
        "fuse": 1,
        "log": [],
        "seed": None,
        "data": None,
        "name": None,
        "overrides": [],
        "again": False,
        "warm_start": [],
        "runs_dir": Path("runs"),
        "storage": None,
    }


def test_set_may_be_repeated() -> None:
    got = read_arguments(["run", "--study", "x", "--set", "a.b=1", "--set", "c.d=e=f"])
    assert got.overrides == ["a.b=1", "c.d=e=f"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90s", 90),
        ("45m", 2_700),
        ("2h", 7_200),
        ("1h30m", 5_400),
        ("1H30M7S", 5_407),
        ("0h0m1s", 1),
        ("99999h", 359_996_400),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    got = read_arguments(["run", "--study", "x", "--time-limit", text]).time_limit
    assert got == seconds
    assert seconds_in(duration_option(seconds - 0.5)) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "90", "0s", "-5m", "1.5h", "30m1h", "2 h", "h", "1d", "٣m", "99999999999h", "99999h1s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--time-limit must be a time, got") as info:
        read_arguments(["run", "--study", "x", f"--time-limit={text}"])
    assert str(info.value).endswith(
        f"got {text!r}. Allowed: 1s to 99999h, for example 90s, 45m, 2h, 1h30m."
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no command given. Allowed: run, plan, status, stop, studies, "),
        ("rnu", "unknown command 'rnu'. Allowed: run, .* Did you mean 'run'?"),
        ("run", "the following arguments are required: --study. See `"),
        ("run --study", "argument --study: expected one argument. See `"),
        ("run --study x --trails 3", "run does not know '--trails'. Did you mean '--trials'?"),
        ("run --study x --trial 3", "run does not know '--trial'. Did you mean '--trials'?"),
        ("run --study x more", "run does not know 'more'. See `.* run --help`."),
        ("run --study x --trials 0", "--trials must be a whole number >= 1, got 0."),
        ("run --study x --trials -3", "--trials must be a whole number >= 1, got -3."),
        ("run --study x --trials 2.0", "--trials must be a whole number >= 1, got '2.0'."),
        ("run --study x --trials 1_0", "--trials must be a whole number >= 1, got '1_0'."),
        ("run --study x --jobs 0", "--jobs must be a whole number >= 1, got 0."),
        ("run --study x --seed -1", "--seed must be a whole number >= 0, got -1."),
        ("show", "the following arguments are required: STUDY. See `.* show --help`."),
        ("show x best", "TRIAL must be a whole number >= 0, got 'best'."),
        ("show x 1 2", "show does not know '2'. See `.* show --help`."),
        ("cache", "the following arguments are required: ACTION. See `.* cache --help`."),
        ("dashboard --port 65536", "--port must be a whole number from 1 to 65535, got 65536."),
        ("--storage x", "argument COMMAND: invalid choice: 'x'"),
        ("--nothing", "the following arguments are required: COMMAND."),
    ],
)
def test_mistakes_are_told_in_one_line(words: str, message: str) -> None:
    with pytest.raises(CommandError, match=f"^{message.replace('?', '[?]')}") as info:
        read_arguments(words.split())
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_printed_and_exits_0(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as info:
        read_arguments([*command, "--help"])
    assert info.value.code == 0
    assert "usage: " in capsys.readouterr().out
