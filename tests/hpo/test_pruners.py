from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from core.task import Grid
from hpo.declarations.study import (
    HyperbandSettings,
    MedianSettings,
    NoPrunerSettings,
    PatientSettings,
    PercentileSettings,
    SuccessiveHalvingSettings,
)
from hpo.pruners import (
    CurrentPercentile,
    Halving,
    Hyperband,
    Measured,
    Patient,
    build_pruner,
)

ONE = Grid((("only", 210),), 10)
TWO = Grid((("first", 70), ("second", 140)), 10)


def _study(*curves: dict[int, float], direction: str = "maximize") -> optuna.Study:
    """A study of complete trials with these curves; hyperband's brackets hang on its name."""
    study = optuna.create_study(study_name="pruned", direction=direction)
    for curve in curves:
        study.add_trial(create_trial(value=list(curve.values())[-1], intermediate_values=curve))
    return study


def _is_pruned(
    pruner: optuna.pruners.BasePruner, study: optuna.Study, curve: dict[int, float]
) -> bool:
    """Whether a trial is stopped at the last step of its curve."""
    study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values=curve))
    return pruner.prune(study, study.get_trials()[-1])


def _halving(
    grid: Grid = ONE, factor: int = 3, first: int = 10, rate: int = 0, bootstrap: int = 0
) -> Halving:
    return Halving(
        grid,
        min_resource=first,
        reduction_factor=factor,
        min_early_stopping_rate=rate,
        bootstrap_count=bootstrap,
    )


@pytest.mark.parametrize(
    ("grid", "factor", "first", "rate", "rungs"),
    [
        (ONE, 3, 10, 0, {10, 30, 90}),
        (ONE, 3, 10, 1, {30, 90}),
        (ONE, 4, 10, 0, {10, 40, 160}),
        (ONE, 2, 7, 0, {10, 20, 30, 60, 120}),  # 7, 14, 28, 56, 112, each at its next evaluation
        (TWO, 3, 10, 0, {10, 30, 80, 100, 160}),  # the second stage begins at 70
        (TWO, 2, 35, 0, {40, 70, 110, 140}),  # 35 and 70 in each; the curve's end is none
        (ONE, 3, 500, 0, set()),
    ],
)
def test_rungs_are_counted_from_the_start_of_each_stage(
    grid: Grid, factor: int, first: int, rate: int, rungs: set[int]
) -> None:
    assert _halving(grid, factor, first, rate).rungs == rungs


@pytest.mark.parametrize(
    ("others", "own", "pruned"),
    [
        ([], 1.0, False),  # nobody to compare with
        ([2.0], 1.0, True),  # before there are three, only the best so far goes on
        ([2.0], 2.0, False),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 4.5, False),  # two of six go on
        ([1.0, 2.0, 3.0, 4.0, 5.0], 3.5, True),
    ],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_one_in_three_goes_on_from_a_rung(
    others: list[float], own: float, pruned: bool, direction: str
) -> None:
    sign = 1.0 if direction == "maximize" else -1.0
    study = _study(*({10: sign * value} for value in others), direction=direction)
    assert _is_pruned(_halving(), study, {10: sign * own}) is pruned


def test_halving_agrees_with_optunas_on_one_stage() -> None:
    ours, theirs = _halving(), optuna.pruners.SuccessiveHalvingPruner(10, 3)
    verdicts = []
    for pruner in (ours, theirs):
        study = optuna.create_study(direction="maximize", pruner=pruner)
        told = []
        for number in range(23):
            trial = study.ask()
            for step in range(10, 210, 10):
                trial.report((number * 7919 % 101) * (1 - 2 ** (-step / 40)), step)
                if trial.should_prune():
                    told.append((number, step))
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, 1.0)
        verdicts.append(told)
    assert verdicts[0] == verdicts[1]
    assert len(verdicts[0]) > 10


def test_between_rungs_nobody_is_stopped() -> None:
    study = _study({10: 5.0, 20: 9.0})
    assert not _is_pruned(_halving(), study, {10: 5.0, 20: 0.0})


def test_nobody_goes_on_before_enough_trials_are_there() -> None:
    assert _is_pruned(_halving(bootstrap=2), _study({10: 1.0}), {10: 9.0})
    assert not _is_pruned(_halving(bootstrap=2), _study({10: 1.0}, {10: 2.0}), {10: 9.0})


def test_a_verdict_asked_for_again_is_the_same() -> None:
    """What a driver relies on that was killed before its verdict was obeyed."""
    study = _study({10: 2.0}, {10: 3.0})
    pruner = _halving()
    assert _is_pruned(pruner, study, {10: 1.0})
    assert pruner.prune(study, study.get_trials()[-1])


def test_a_stage_is_judged_by_itself() -> None:
    # The other fell from 30 to 20 in its second stage; 21 there is the best, whatever came before.
    study = _study({30: 29.0, 70: 30.0, 80: 20.0})
    assert not _is_pruned(_halving(TWO), study, {30: 29.5, 70: 29.0, 80: 21.0})
    assert not _is_pruned(_median(), study, {30: 25.0, 70: 26.0, 80: 21.0})
    # Optuna's own median holds the peak for the trial's worth, and shields it.
    theirs = optuna.pruners.MedianPruner(n_startup_trials=1)
    assert not _is_pruned(theirs, study, {30: 29.0, 70: 31.0, 80: 3.0})
    assert _is_pruned(_median(), study, {30: 29.0, 70: 31.0, 80: 3.0})


def _median(
    startup: int = 1, warmup: int = 0, interval: int = 1, least: int = 1
) -> CurrentPercentile:
    return CurrentPercentile(
        50.0,
        n_startup_trials=startup,
        n_warmup_steps=warmup,
        interval_steps=interval,
        n_min_trials=least,
    )


@pytest.mark.parametrize(
    ("direction", "own", "pruned"),
    [
        ("maximize", 3.9, True),
        ("maximize", 4.0, False),
        ("maximize", 4.1, False),
        ("minimize", 4.1, True),
        ("minimize", 4.0, False),
    ],
)
def test_worse_than_the_median_is_stopped(direction: str, own: float, pruned: bool) -> None:
    study = _study({10: 2.0}, {10: 4.0}, {10: 7.0}, direction=direction)
    assert _is_pruned(_median(), study, {10: own}) is pruned


@pytest.mark.parametrize(
    ("pruner", "curve", "pruned"),
    [
        (_median(startup=3), {10: 0.0}, False),  # two are complete
        (_median(startup=2), {10: 0.0}, True),
        (_median(startup=0, least=3), {10: 0.0}, False),
        (_median(warmup=10), {10: 0.0}, False),
        (_median(warmup=10), {10: 0.0, 20: 0.0}, True),
        (_median(warmup=10, interval=20), {10: 0.0, 20: 0.0, 30: 0.0}, True),
        (_median(interval=30), {10: 9.0, 20: 0.0}, False),  # 10 and 20 lie in the same interval
        (_median(interval=30), {10: 9.0, 20: 9.0, 30: 0.0}, True),
        (_median(), {10: 9.0, 40: 0.0}, False),  # nobody to compare with at 40
    ],
)
def test_the_median_waits_as_declared(
    pruner: CurrentPercentile, curve: dict[int, float], pruned: bool
) -> None:
    study = _study(dict.fromkeys((10, 20, 30), 2.0), dict.fromkeys((10, 20, 30), 4.0))
    assert _is_pruned(pruner, study, curve) is pruned


def test_pruned_and_running_trials_are_no_part_of_the_median() -> None:
    study = _study({10: 2.0})
    for state in (TrialState.PRUNED, TrialState.RUNNING):
        study.add_trial(create_trial(state=state, intermediate_values={10: 9.0}))
    assert not _is_pruned(_median(), study, {10: 2.0})


def test_hyperband_has_optunas_brackets_from_the_start() -> None:
    settings = HyperbandSettings(reduction_factor=3, trust="always")
    ours = build_pruner(settings, Grid((("only", 270),), 10))
    assert isinstance(ours, Hyperband)
    theirs = optuna.pruners.HyperbandPruner(10, 270, 3)
    study = optuna.create_study(study_name="named", pruner=theirs)
    trial = study.ask()
    trial.report(1.0, 10)
    trial.should_prune()  # which makes Optuna draw up the brackets
    brackets = set()
    for _ in range(60):
        one = study.ask()
        frozen = study.get_trials()[-1]
        assert ours._get_bracket_id(study, frozen) == theirs._get_bracket_id(study, frozen)
        brackets.add(ours._get_bracket_id(study, frozen))
        study.tell(one, 1.0)
    assert brackets == {0, 1, 2, 3}
    first_rungs = [min(pruner.rungs, default=None) for pruner in ours._pruners]
    assert first_rungs == [10, 30, 90, None]  # 270 is the curve's end


def test_hyperband_compares_trials_of_one_bracket_only() -> None:
    pruner = build_pruner(HyperbandSettings(trust="always"), Grid((("only", 270),), 10))
    study = optuna.create_study(study_name="named", direction="maximize", pruner=pruner)
    for value in range(40):
        study.add_trial(create_trial(value=1.0, intermediate_values={10: 100.0 + value}))
    trial = study.ask()
    trial.report(0.0, 10)
    in_first = pruner._get_bracket_id(study, study.get_trials()[-1]) == 0
    assert trial.should_prune() is in_first


def test_a_curve_shorter_than_the_first_rung_is_never_stopped() -> None:
    pruner = build_pruner(HyperbandSettings(min_resource=500, trust="always"), ONE)
    assert not _is_pruned(pruner, _study({10: 9.0}), {10: 0.0})


@pytest.mark.parametrize(
    ("percentile", "own", "pruned"),
    [
        (0.0, 7.9, True),  # only as good as the best goes on
        (0.0, 8.0, False),
        (25.0, 6.9, True),  # 7 is the upper quartile of 2, 3, 5, 7, 8
        (25.0, 7.0, False),
        (50.0, 4.9, True),
        (50.0, 5.0, False),
        (100.0, 2.0, False),
        (100.0, 1.9, True),
    ],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_percentile_is_of_current_values(
    percentile: float, own: float, pruned: bool, direction: str
) -> None:
    sign = 1.0 if direction == "maximize" else -1.0
    # The peak at step 10 is nobody's merit at step 20.
    curves = [{10: sign * 99.0, 20: sign * value} for value in (5.0, 2.0, 8.0, 3.0, 7.0)]
    settings = PercentileSettings(percentile=percentile, trust="always")
    study = _study(*curves, direction=direction)
    assert _is_pruned(build_pruner(settings, ONE), study, {20: sign * own}) is pruned


def _patient(patience: int, min_delta: float = 0.0) -> Patient:
    around = CurrentPercentile(
        0.0, n_startup_trials=1, n_warmup_steps=0, interval_steps=1, n_min_trials=1
    )
    return Patient(around, TWO, patience=patience, min_delta=min_delta)


@pytest.mark.parametrize(
    ("patience", "delta", "values", "pruned"),
    [
        (1, 0.0, [1.0], False),  # nothing to have improved on
        (1, 0.0, [1.0, 2.0], False),
        (1, 0.0, [2.0, 2.0], True),
        (2, 0.0, [2.0, 2.0], False),
        (2, 0.0, [2.0, 2.0, 2.0], True),
        (2, 0.0, [2.0, 3.0, 1.0], False),  # the second was better than the first
        (1, 0.5, [2.0, 2.5], True),
        (1, 0.5, [2.0, 2.6], False),
        # The second stage begins at 70, with the eighth evaluation: what came before counts not.
        (1, 0.0, [9.0, *[8.0] * 6, 1.0], False),
        (1, 0.0, [9.0, *[8.0] * 6, 1.0, 2.0], False),
        (1, 0.0, [9.0, *[8.0] * 6, 1.0, 1.0], True),
        (2, 0.0, [9.0, *[8.0] * 6, 1.0, 1.0], False),
    ],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_trial_that_improves_is_borne_with(
    patience: int, delta: float, values: list[float], pruned: bool, direction: str
) -> None:
    sign = 1.0 if direction == "maximize" else -1.0
    steps = range(10, 220, 10)
    study = _study(dict.fromkeys(steps, sign * 50.0), direction=direction)
    curve = {step: sign * value for step, value in zip(steps, values, strict=False)}
    assert _is_pruned(_patient(patience, delta), study, curve) is pruned


def test_a_stalled_trial_is_stopped_only_if_the_other_pruner_says_so() -> None:
    study = _study(dict.fromkeys((10, 20), 2.0))
    assert not _is_pruned(_patient(1), study, {10: 3.0, 20: 2.5})


def _agreeing(number: int) -> list[dict[int, float]]:
    """Complete curves whose order at step 20 is the final one, and at step 10 its reverse."""
    return [{10: -float(place), 20: float(place), 210: float(place)} for place in range(number)]


@pytest.mark.parametrize(
    "settings",
    [
        MedianSettings(),
        PercentileSettings(),
        SuccessiveHalvingSettings(reduction_factor=2),
        HyperbandSettings(reduction_factor=2),
    ],
    ids=lambda settings: settings.name,
)
def test_ranks_stop_nobody_before_they_are_known_to_predict(
    settings: MedianSettings | HyperbandSettings,
) -> None:
    hopeless = {10: -99.0, 20: -99.0}
    measured = build_pruner(settings, ONE)
    always = build_pruner(settings.model_copy(update={"trust": "always"}), ONE)
    assert isinstance(measured, Measured)
    five, six = _study(*_agreeing(4)), _study(*_agreeing(6))
    assert not _is_pruned(measured, five, hopeless)
    # The brackets of hyperband hang on the study's name and the trial's number, and in the last
    # ones nobody is stopped.
    stopped = {_is_pruned(always, six, hopeless) for _ in range(9)}
    assert True in stopped
    trial = six.get_trials()[-1]
    assert measured.prune(six, trial) is always.prune(six, trial)
    # At a step whose order says nothing, or the contrary, it goes on.
    early = _study(*_agreeing(6))
    assert not _is_pruned(measured, early, {10: -99.0})


def test_the_guard_is_asked_about_the_rule_that_patience_is_around() -> None:
    around = MedianSettings()
    pruner = build_pruner(PatientSettings(around=around), ONE)
    assert isinstance(pruner, Patient)
    assert isinstance(pruner.around, Measured)
    stalled = {10: -99.0, 20: -99.0}
    assert not _is_pruned(pruner, _study(*_agreeing(4)), stalled)
    assert _is_pruned(pruner, _study(*_agreeing(6)), stalled)


def test_trials_that_did_not_complete_tell_nothing_of_final_ranks() -> None:
    study = _study(*_agreeing(4))
    for value in range(9):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED, value=value, intermediate_values={20: float(value)}
            )
        )
    assert not _is_pruned(build_pruner(MedianSettings(), ONE), study, {20: -99.0})


def test_the_declared_pruner_is_built() -> None:
    halving = build_pruner(SuccessiveHalvingSettings(trust="always"), ONE)
    assert isinstance(halving, Halving)
    assert halving.rungs == {10, 40, 160}
    measured = build_pruner(SuccessiveHalvingSettings(), ONE)
    assert isinstance(measured, Measured)
    assert isinstance(measured.around, Halving)
    assert isinstance(build_pruner(MedianSettings(trust="always"), ONE), CurrentPercentile)
    assert isinstance(build_pruner(NoPrunerSettings(), ONE), optuna.pruners.NopPruner)
