"""`hpo schedule`: the numbers are the schedule's, in a table, as JSON and in a figure."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hpo.analysis.schedules import draw_schedules, schedules, updates_in
from hpo.analysis.sparkline import sparkline
from hpo.cli import main


def test_every_warmup_meets_every_shape_and_decay_once() -> None:
    drawn = schedules(100, [10, 10, 20], ["linear", "cosine"], ["linear", "noam"], 1.0)
    assert len(drawn) == 2 * 2 * 2
    assert drawn[0].name == "linear 10, then linear"
    assert drawn[-1].name == "cosine 20, then noam"


def test_a_share_of_the_updates_is_a_warmup() -> None:
    assert [updates_in(text, 300) for text in ("7", "0", "10%", "2.5%", "100%")] == [
        7, 0, 30, 8, 300
    ]  # fmt: skip


def test_json_tells_every_rate(capsys: pytest.CaptureFixture[str]) -> None:
    words = "schedule --steps 20 --warmup 5 --shape exponential --decay constant --json"
    assert main([*words.split(), "--learning-rate", "0.02"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["schedules"]
    assert (one["steps"], one["warmup"], one["shape"], one["decay"]) == (
        20, 5, "exponential", "constant"
    )  # fmt: skip
    expected = [0.02 * (1 - math.exp(-k / 5)) for k in range(1, 21)]
    assert one["rates"] == pytest.approx(expected, rel=1e-12)


def test_the_table_fits_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = "schedule --steps 100000 --warmup 4000 --decay inverse_sqrt noam --learning-rate 7e-4"
    assert main(words.split()) == 0
    lines = capsys.readouterr().out.split("\n")
    rows = [line for line in lines if line.startswith(("linear", "exponential", "cosine"))]
    assert len(rows) == 6
    assert all(len(line) <= 80 and "…" not in line for line in rows)
    assert rows[0].split()[:6] == ["linear", "4000", "inverse_sqrt", "7e-4", "at", "4000"]
    assert any("noam is inverse_sqrt" in line for line in lines)
    assert any("63 percent" in line for line in lines)


def test_the_figure_has_a_line_a_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = schedules(30, [3], ["linear", "cosine"], ["linear", "cosine"], 1.0)
    figure = draw_schedules(drawn)
    assert [trace.name for trace in figure.data] == [one.name for one in drawn]
    assert list(figure.data[1].y) == drawn[1].rates
    path = tmp_path / "new" / "schedules.html"
    assert main(["schedule", "--figure", str(path)]) == 0
    assert str(path) in capsys.readouterr().out.replace("\n", "")
    page = path.read_text(encoding="utf-8")
    assert "exponential 50, then linear" in page
    assert "The schedules in numbers" in page
    assert "http-equiv" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--steps 0", "--steps must be a whole number from 1 to 1000000, got 0."),
        ("--warmup 10x", "--warmup must be updates or a share, got '10x'. Allowed: 50, or 10%."),
        ("--warmup -5", "--warmup must be updates or a share, got '-5'."),
        ("--shape lineer", "Did you mean 'linear'?"),
        (
            "--decay plateau",
            "Allowed: linear, cosine, inverse_sqrt, noam, constant, reduce_on_plateau.",
        ),
        ("--learning-rate 2", "must be a rate above 0 and at most 1, got '2'."),
        ("--learning-rate nan", "must be a rate above 0 and at most 1, got 'nan'."),
        ("--figure x.pdf", "a figure is a page or a picture, got 'x.pdf'. Allowed: FILE.html or"),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", *words.split()]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0.0, 1.0], 9, "▁█"),
        ([0.0, 0.0, 0.5, 0.5, 1.0, 1.0], 3, "▁▅█"),
        ([-1.0, 2.0], 2, "▁█"),
        ([0.3, math.nan], 2, "▃!"),
        ([1.0, 1.0], 2, "██"),
    ],
)
def test_bars_are_means_of_their_parts(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width, low=0.0, high=1.0) == drawn


def test_bars_of_one_level_lie_low() -> None:
    assert sparkline([2.0, 2.0], 2, low=2.0, high=2.0) == "▁▁"


def test_a_picture_that_cannot_be_drawn_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "schedules.png"
    monkeypatch.setattr("hpo.analysis.pictures.find_spec", lambda _: None)
    assert main(["schedule", "--figure", str(path)]) == 2
    assert capsys.readouterr().err == (
        "hpo: kaleido is not installed. Install it: pip install 'hpo-harness[images]'.\n"
    )
    assert not path.exists()
