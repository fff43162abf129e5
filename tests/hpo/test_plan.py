"""What a budget buys, as foretold by a model of costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toy_bench import MakeStudy
from toy_runs import run_study

from core.sealed import write_sealed
from hpo import cli
from hpo.costs import CostModel
from hpo.declarations import Study, load_study
from hpo.declarations.study import NO_FINALS, FinalsSettings, PlainSettings
from hpo.experience import gather, measure_flops_per_s
from hpo.finals.repeats import COMPARING_S
from hpo.plan import Plan, make_plan, plan_page


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("league", overrides=[], data="pocket", name=None)


def plan(study: Study, **options: object) -> Plan:
    model = CostModel(study, flops_per_s=1e13)
    return make_plan(study, model, basis=("a test",), **options)  # type: ignore[arg-type]


def test_examples_are_in_order_and_the_cache_saves_stage_a(study: Study) -> None:
    found = {example.name: example for example in plan(study).examples}
    assert set(found) == {"smallest", "median", "largest", "start"}
    seconds = [found[name].whole.seconds for name in ("smallest", "median", "largest")]
    assert seconds == sorted(seconds)
    assert found["start"].structure["model.d_model"] == 128
    for example in found.values():
        assert example.cached is not None
        assert example.cached.seconds < example.whole.seconds < example.whole.at_most_s


def test_without_a_limit_it_tells_what_the_studys_trials_take(study: Study) -> None:
    whole, half = plan(study), plan(study, trials=20)
    assert (whole.trials, half.trials) == (40, 20)
    assert whole.limit_s is None
    assert half.search_s < whole.search_s


def test_two_slots_take_about_half_as_long(study: Study) -> None:
    one, two = plan(study), plan(study, jobs=2)
    assert two.search_s == pytest.approx(one.search_s / 2, rel=0.15)


def test_a_limit_buys_what_fits_and_more_buys_more(study: Study) -> None:
    bought = [plan(study, time_limit_s=limit) for limit in (600.0, 7_200.0, 72_000.0)]
    for found in bought:
        assert found.total_s <= (found.limit_s or 0)
    assert bought[0].trials < bought[1].trials < bought[2].trials


def test_what_earlier_runs_used_up_buys_nothing(study: Study) -> None:
    whole = plan(study, time_limit_s=7_200.0)
    rest = plan(study, time_limit_s=7_200.0, elapsed_s=6_000.0, finished=30)
    assert rest.trials < whole.trials / 3
    assert rest.total_s <= 1_200.0
    assert plan(study, time_limit_s=600.0, elapsed_s=601.0, finished=3).total_s == 0.0
    assert plan(study, finished=30).trials == 10
    assert plan(study, finished=41).trials == 0


def test_a_limit_of_years_is_answered_at_once(study: Study) -> None:
    found = plan(study, time_limit_s=1e9)
    assert found.trials > 100_000
    assert found.search_s == pytest.approx(1e9, rel=0.01)


def test_a_limit_too_short_for_a_trial_buys_none(study: Study) -> None:
    assert plan(study, time_limit_s=1.0).trials == 0


def test_finals_are_set_aside_with_fresh_stage_as(study: Study) -> None:
    with_finals = replace(study, finals=FinalsSettings(top=3, seeds=2))
    without = replace(study, finals=NO_FINALS)
    less, more = plan(with_finals, time_limit_s=30_000.0), plan(without, time_limit_s=30_000.0)
    median = next(example for example in less.examples if example.name == "median")
    assert less.finals == (3, 2)
    # The start configuration is repeated too, and all are compared with the best.
    assert (less.repeats, less.repeats_asked) == (8, 8)
    whole_s, comparing_s = median.whole.seconds, COMPARING_S * 2 * 3
    assert less.finals_s == pytest.approx(8 * whole_s + 10 * less.test_s + comparing_s)
    assert less.test_s == pytest.approx(more.test_s)
    assert more.finals_s == 0
    short = plan(with_finals, time_limit_s=60.0)
    assert short.repeats == 0
    assert short.finals_s <= 15.0, "a quarter at most"
    some = plan(with_finals, time_limit_s=4 * 3.5 * (whole_s + less.test_s))
    assert some.repeats == 3
    assert some.finals_s < 3.5 * (whole_s + less.test_s)
    said = plan_page(some)[-2]
    assert "(3 of 8 trainings: 3 finalists and the start on 2 seeds)" in str(said)
    assert less.trials < more.trials


def test_groups_share_stage_a(study: Study) -> None:
    shared = plan(replace(study, scheduler=PlainSettings(trials_per_structure=5)))
    own = plan(replace(study, scheduler=PlainSettings()))
    assert shared.cached == pytest.approx(32, abs=3)
    assert shared.search_s < own.search_s


def test_the_machine_is_measured_in_a_moment() -> None:
    assert 1e8 < measure_flops_per_s() < 1e13


def test_without_experience_it_rests_on_the_machine(study: Study, tmp_path: Path) -> None:
    found = gather(study, None, tmp_path, jobs=1, on_gpu=False)
    assert found.model.trials_seen == 0
    assert len(found.basis) == 1
    assert not list(tmp_path.iterdir())


def test_experience_is_what_the_runs_folder_has(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=3)
    study = make_study()
    own = gather(study, None, runs, jobs=1, on_gpu=False)
    assert own.basis == ("3 trials of this study",)
    assert own.model.trials_seen == 3
    other = gather(make_study("another"), None, runs, jobs=1, on_gpu=False)
    assert other.basis == ("3 trials of toy",)
    sooner = make_study(overrides={"protocol.eval_every": 1})
    changed = gather(sooner, None, runs, jobs=1, on_gpu=False)
    assert changed.basis == ("3 trials of toy",)


def test_what_ran_on_another_device_does_not_count(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    result = run_study(make_study(), runs, trials=1)
    said = {"value": 1.0, "curve": [], "health": {"verdict": "healthy"}, "cost": {}, "reason": ""}
    outcome = {**said, "state": "completed", "step": 1, "facts": {"device": "cuda H100"}}
    folder = result.record.trials[0].folder
    write_sealed(folder / "outcome.json", {"outcome": outcome})
    on_gpu = gather(make_study(), None, runs, jobs=1, on_gpu=True)
    assert on_gpu.basis == ("1 trial of this study",)
    on_cpu = gather(make_study(), None, runs, jobs=1, on_gpu=False)
    assert "measurement of this machine" in on_cpu.basis[0]


def test_the_command_prints_a_plan_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "quickstart", "--time-limit", "10m", "--jobs", "2"]
    assert cli.main([*words, "--runs-dir", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    for part in (
        "smallest",
        "largest",
        "start",
        "stage A cached",
        "quickstart: 10 min 00 s buys ",
    ):
        assert part in said
    assert "These figures rest on" in said
    assert not (tmp_path / "runs").exists()


def test_the_command_subtracts_what_the_study_has_had(
    make_study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs, study = tmp_path / "runs", make_study(overrides={"protocol.step_s": 0.03})
    assert run_study(study, runs, trials=3).record.elapsed_s > 1
    monkeypatch.setattr("hpo.declarations.load_study", lambda *_, **__: study)
    words = ["plan", "toy", "--runs-dir", str(runs)]
    assert cli.main(words) == 0
    assert "toy: 4 trials on 1 slot" in (said := capsys.readouterr().out)
    assert "Earlier runs have finished 3 trials and spent " in said
    assert cli.main([*words, "--time-limit", "1s"]) == 0
    assert " buys 0 trials on 1 slot" in capsys.readouterr().out


def test_a_study_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "quickstrat"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
