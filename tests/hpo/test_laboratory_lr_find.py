"""`hpo lr-find` from the command to its files, on a task whose divergence is known."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import pytest

from core import registry
from hpo.analysis.range_test import RangeTest, Rate, draw_range_test, read_ramp, sentences
from hpo.cli import main
from hpo.declarations import load_study
from hpo.declarations.narrowing import narrow, space_text, write_space
from hpo.declarations.space_file import read_space
from hpo.lr_find import choose_point, rate_parameter
from hpo.mistakes import DeclarationError

SPACE = """
description = "A parabola, \\"steep\\""
task = "quadratic"
[settings]
"finetune.adam_beta1" = 0.0
"finetune.adam_beta2" = 0.0
"finetune.adam_epsilon" = 0.01
"finetune.weight_decay" = 0.0
[parameters]
"model.curvature" = { type = "categorical", choices = [1.0, 4.0] }
"finetune.learning_rate" = { type = "float", low = 1e-6, high = 1e-1, log = true }
"finetune.warmup_steps" = { type = "multiple", of = "protocol.finetune_steps", factors = [0, 0.1] }
"""
KNOWN = 2 * 1e-2 / 4
"""2 epsilon / curvature."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the study `parabola` in it."""
    monkeypatch.setitem(registry._MODULES, "quadratic", "tests.core.quadratic_task")
    monkeypatch.chdir(tmp_path)
    for name in ("studies", "search_spaces"):
        (tmp_path / name).mkdir()
    (tmp_path / "search_spaces" / "parabola.toml").write_text(SPACE)
    (tmp_path / "studies" / "parabola.toml").write_text(
        'task = "quadratic"\nsearch_space = "parabola"\ntrials = 3\n[pruner]\nname = "none"\n'
        '[[enqueue]]\n"model.curvature" = 4.0\n"finetune.learning_rate" = 1e-3\n'
        '"finetune.warmup_steps" = 4\n'
    )
    return tmp_path


def test_the_command_finds_the_divergence_and_touches_nothing_of_the_study(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "lr-find parabola --steps 120 --low 1e-5 --high 1 --write-space narrow.toml --json"
    assert main(words.split()) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["stage"], told["parameter"]) == ("finetune", "finetune.learning_rate")
    diverges = told["over_seeds"]["diverges"]
    assert 0.6 * KNOWN < diverges["middle"] < 2.5 * KNOWN
    assert diverges["low"] < diverges["middle"] < diverges["high"]
    assert len(told["seeds"]) == 3
    assert len({tuple(seed["losses"]) for seed in told["seeds"]}) == 3
    low, high = told["suggested"]
    assert 1e-5 <= low < high < KNOWN
    # Neither database nor folder of the study, nor what the cache has no stage for.
    assert [path.name for path in (folder / "runs").iterdir()] == ["lr_find_parabola.html"]
    assert captured.err.count("hpo: seed ") == 3
    space = read_space(folder / "narrow.toml")
    parameter = space.parameters["finetune.learning_rate"]
    assert (parameter.low, parameter.high) == (low, high)
    assert (
        (folder / "narrow.toml").read_text().startswith("# parabola, its finetune.learning_rate")
    )
    page = (folder / "runs" / "lr_find_parabola.html").read_text(encoding="utf-8")
    assert "A range test misleads" in page
    assert "parabola: learning-rate range test" in page


def test_people_are_told_range_uncertainty_and_caution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["lr-find", "parabola", "--steps", "100", "--low", "1e-5", "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert "finetune.learning_rate in stage finetune, at model.curvature = 4" in said
    assert "finetune.learning_rate = " not in said
    assert "finetune.warmup_steps" not in said
    assert "Worth searching: " in said
    assert "Over 2 seeds, geometric mean and 95 percent interval: the loss falls from" in said
    assert "A range test misleads" in said
    assert "arXiv:1506.01186" in said
    assert "Figure: runs/lr_find_parabola.html" in said


def test_an_earlier_stage_is_trained_once_for_all_seeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "lr-find parabola --steps 40 --seeds 2 --set protocol.pretrain_steps=40"
    assert main(words.split()) == 0
    err = capsys.readouterr().err
    assert err.count("stage pretrain, not cached yet: 40 updates done") == 1
    assert main([*words.split(), "--stage", "pretrain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "pretrain"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--stage tune", "--stage: there is no such stage, got 'tune'. Allowed: finetune."),
        ("--low 1e-2 --high 1e-3", "the ramp must rise, got '0.01 to 0.001'. Allowed: 0 < low <"),
        ("--low 0", "--low must be a rate above 0 and at most 1, got '0'."),
        ("--steps 5", "--steps must be a whole number >= 20, got 5."),
        ("--seeds 0", "--seeds must be a whole number >= 1, got 0."),
        ("--at model.curve=4", "names no parameter of the search space, got 'model.curve=4'"),
        ("--at model.curvature=3", "is not drawn by the search space, got 3. Allowed: 1.0, 4.0."),
        ("--write-space narrow.json", "a search space ends with .toml"),
        ("--write-space studies/parabola.toml", "there is something here already"),
        ("--write-space n.toml --low 0.5", "nothing would be left of 'finetune.learning_rate'"),
        ("--figure f.svg", "a figure is a page or a picture"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lr-find", "parabola", *words.split()]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_point_is_the_start_with_what_was_asked_for() -> None:
    study = load_study("parabola")
    start = choose_point(study, [])
    assert start == {
        "model.curvature": 4.0,
        "finetune.learning_rate": 1e-3,
        "finetune.warmup_steps": 4,
    }
    moved = choose_point(study, ["model.curvature=1.0", "finetune.warmup_steps=0"])
    assert moved == start | {"model.curvature": 1.0, "finetune.warmup_steps": 0}


def test_a_derived_value_follows_its_base() -> None:
    study = load_study("league")
    point = choose_point(study, ["model.d_model=1024", "model.num_heads=16"])
    # The start's 512 is no multiple of the new width.
    assert (point["model.d_model"], point["model.num_heads"]) == (1024, 16)
    assert point["model.d_ff"] == 2048
    assert point["model.num_layers"] == study.enqueue[0]["model.num_layers"]


def test_the_rate_of_a_stage_is_found_by_its_name() -> None:
    study = load_study("league")
    assert rate_parameter(study, "finetune") == "finetune.learning_rate"
    assert rate_parameter(study, "pretrain") == "protocol.pretrain.learning_rate"


@pytest.mark.parametrize("name", ["league", "depth", "finetune", "quickstart"])
def test_a_written_space_is_the_same_space(name: str, tmp_path: Path) -> None:
    space = read_space(Path(__file__).parents[2] / "search_spaces" / f"{name}.toml")
    written = read_space(write_space(space, tmp_path / f"{name}.toml", comment="as it was"))
    assert written.identity() == space.identity()
    assert written.description == space.description


def test_conditions_and_odd_texts_are_written_too(folder: Path) -> None:
    path = folder / "search_spaces" / "odd.toml"
    path.write_text(
        'description = "\\u0007 \\"ä\\" \\\\ \\u007f"\ntask = "quadratic"\n[settings]\n'
        '"finetune.label_smoothing_factor" = 0.0\n[parameters]\n'
        '"model.curvature" = { type = "float", low = 1.0, high = 2.0, step = 0.5 }\n'
        '"finetune.label_smoothing_factor" = { type = "float", low = 1e-9, high = 0.5, '
        'when = { "model.curvature" = [1.0, 1.5] } }\n'
    )
    space = read_space(path)
    written = tomllib.loads(space_text(space, comment="c"))
    assert written == tomllib.loads(path.read_text())


@pytest.mark.parametrize(
    ("name", "low", "high", "said"),
    [
        ("finetune.learning_rate", 0.2, 0.5, "nothing would be left of 'finetune.learning_rate'"),
        ("finetune.weight_decay", 0.1, 0.2, "'finetune.weight_decay' cannot be narrowed"),
        ("model.curvature", 0.1, 0.2, "'model.curvature' cannot be narrowed, got '1.0, 4.0'"),
    ],
)
def test_what_cannot_be_narrowed_is_told(name: str, low: float, high: float, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        narrow(load_study("parabola").space, name, low, high)


def test_a_narrowed_range_stays_within_the_declared_one() -> None:
    space = narrow(load_study("parabola").space, "finetune.learning_rate", 1e-9, 3e-3)
    parameter = space.parameters["finetune.learning_rate"]
    assert (parameter.low, parameter.high) == (1e-6, 3e-3)


RATES = [10 ** (-6 + 6 * k / 119) for k in range(120)]


def made(lowest: float = 1e-2, *, jitter: float = 0.0) -> list[float]:
    """A loss that falls from 7 around lowest / 30, is lowest there, and rises beyond."""
    return [
        7
        - 2 / (1 + math.exp(-math.log(rate / (lowest / 30))))
        + 5 * max(0.0, math.log10(rate / lowest)) ** 2
        + jitter * math.sin(37.0 * place**2)
        for place, rate in enumerate(RATES)
    ]


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_turns_of_a_made_curve_are_read(jitter: float) -> None:
    reading = read_ramp(RATES, made(jitter=jitter))
    assert reading is not None
    # The logistic has fallen by a tenth at log 9 before its middle, and is steepest there.
    middle = 1e-2 / 30
    assert reading.falls == pytest.approx(middle / 9, rel=0.5)
    assert reading.steepest == pytest.approx(middle, rel=0.6)
    assert reading.lowest == pytest.approx(1e-2, rel=0.5)
    assert reading.diverges == pytest.approx(1e-2 * 10 ** math.sqrt(1 / 5), rel=0.3)


def test_a_loss_that_only_scatters_gives_no_range() -> None:
    losses = [7 + 0.1 * math.sin(37.0 * place**2) for place in range(120)]
    assert read_ramp(RATES, losses) is None
    test = RangeTest("s", "finetune", {}, "finetune.learning_rate", RATES, [losses, made()])
    assert test.suggested is None
    assert sentences(test)[0].startswith("No range can be suggested: for 1 of 2 seeds")
    assert json.dumps(test.as_json())


def test_an_explosion_is_where_it_is() -> None:
    losses = made()
    broken = [*losses[:100], 1e9, math.inf]
    reading = read_ramp(RATES, broken)
    assert reading is not None
    assert reading.diverges is not None
    assert reading.diverges <= RATES[101]
    quiet = [*losses[:70], math.nan]
    reading = read_ramp(RATES, quiet)
    assert reading is not None
    assert reading.diverges == RATES[70]


def test_a_ramp_that_ends_too_soon_is_told() -> None:
    rates, losses = RATES[:80], made()[:80]
    reading = read_ramp(rates, losses)
    assert reading is not None
    assert reading.diverges is None
    test = RangeTest("s", "finetune", {}, "finetune.learning_rate", rates, [losses] * 2)
    assert test.over_seeds("diverges") is None
    assert any("a higher --high may show more" in line for line in sentences(test))


@pytest.mark.parametrize("losses", [[], [math.nan], [3.0, 2.0, math.inf]])
def test_hardly_any_loss_is_no_reading(losses: list[float]) -> None:
    assert read_ramp(RATES, losses) is None
    test = RangeTest("s", "finetune", {}, "finetune.learning_rate", RATES, [losses])
    assert draw_range_test(test).data


def test_rates_are_averaged_in_their_logarithms() -> None:
    rate = Rate.of([1e-4, 1e-3, 1e-2])
    assert rate.middle == pytest.approx(1e-3)
    # Student's t of two degrees of freedom times the standard error of the three logarithms.
    width = 10 ** (4.3027 * 1 / math.sqrt(3))
    assert (rate.low, rate.high) == pytest.approx((1e-3 / width, 1e-3 * width), rel=1e-3)
    assert Rate.of([2e-3]) == Rate(*[pytest.approx(2e-3)] * 3)
    # Equal ones are known no better than the ramp tells two rates apart.
    rate = Rate.of([2e-3, 2e-3], 1.21)
    assert (rate.low, rate.high) == pytest.approx((2e-3 / 1.1, 2e-3 * 1.1))
