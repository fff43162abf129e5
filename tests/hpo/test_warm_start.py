"""What a study learns from earlier ones, and how much it trusts them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_records import record, trial
from toy_bench import KINDS, SPACE, MakeStudy
from toy_runs import Watcher, run_study, told_of

from core.task import Metric
from hpo.declarations.space import SearchSpace
from hpo.reading import UnknownStudyError, read_study
from hpo.records import StudyRecord
from hpo.schedulers.thaw import FIRST_PROBES, INITIAL
from hpo.warm_start import IGNORED_BY_EVERY, Prior, WarmStartError, read_prior

TREE = """
task = "toy"
[parameters]
"model.kind" = { type = "categorical", choices = ["fine", "crash"] }
"model.width" = { type = "int", low = 2, high = 97, when = { "model.kind" = "fine" } }
"finetune.rate" = { type = "float", low = 1e-5, high = 1e-1, log = true }
"""
OTHER = """
task = "toy"
[parameters]
"model.kind" = { type = "categorical", choices = ["fine", "silent"] }
"""

Objective = Callable[[dict[str, Any]], float]


def _narrow(point: dict[str, Any]) -> float:
    """Best at width 20 and rate 1e-3; worst at the ends."""
    width, rate = point.get("model.width", 97), point["finetune.rate"]
    return -(((width - 20) / 30) ** 2) - (math.log10(rate) + 3) ** 2


def _points(space: SearchSpace, number: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        space.walk(lambda _, parameter, base: parameter.draw(rng, base)) for _ in range(number)
    ]


def _earlier(
    space: SearchSpace, objective: Objective, *, number: int = 24, seed: int = 0, **more: Any
) -> StudyRecord:
    trials = [
        trial(place, value=objective(point), parameters=point)
        for place, point in enumerate(_points(space, number, seed))
    ]
    return record(*trials, **{"name": "earlier", "task": "toy", **more})


def _search(
    space: SearchSpace, prior: Prior | None, objective: Objective, *, seed: int, budget: int
) -> float:
    """The best of `budget` trials that random search proposes where the prior does not."""
    values: list[float] = []
    tried: list[dict[str, Any]] = []
    for number, point in enumerate(_points(space, budget, 10_000 + seed)):
        drawn = None
        if prior is not None:
            own = list(zip(tried, values, strict=True))
            drawn = prior.propose(seed=seed, number=number, own=own, tried=tried)
        chosen = drawn or point
        tried.append(chosen)
        values.append(objective(chosen))
    return max(values)


def test_a_prior_that_is_right_helps_and_one_that_is_wrong_does_little_harm(
    make_study: MakeStudy,
) -> None:
    space = make_study(space=SPACE).space
    right = Prior(space, [_earlier(space, _narrow)])
    wrong = Prior(space, [_earlier(space, lambda point: -_narrow(point))])
    seeds = range(20)

    def regret(prior: Prior | None, budget: int) -> float:
        """Distance from the best, 0, on average over seeds."""
        found = [_search(space, prior, _narrow, seed=seed, budget=budget) for seed in seeds]
        return -sum(found) / len(found)

    assert regret(right, 8) < regret(None, 8) / 3
    # A wrong one is found out: what it costs is at most half of the trials, and soon a trifle.
    assert regret(wrong, 12) < regret(None, 6)
    assert regret(wrong, 24) < 1.5 * regret(None, 24)


def test_a_prior_that_own_trials_refute_is_left_alone(make_study: MakeStudy) -> None:
    space = make_study(space=SPACE).space
    prior = Prior(space, [_earlier(space, _narrow)])
    points = _points(space, 6, 1)
    as_expected = [(point, _narrow(point)) for point in points]
    contrary = [(point, -_narrow(point)) for point in points]

    def followed(own: Any) -> int:
        return sum(
            prior.propose(seed=5, number=number, own=own, tried=()) is not None
            for number in range(40)
        )

    assert followed(as_expected) > 5
    assert followed(contrary) == 0
    assert followed(contrary[:2]) > 5  # two are too few to tell


def test_it_hangs_on_seed_number_and_own_trials_alone(make_study: MakeStudy) -> None:
    space = make_study(space=SPACE).space

    def drawn(seed: int) -> list[Any]:
        prior = Prior(space, [_earlier(space, _narrow)])
        return [prior.propose(seed=seed, number=n, own=(), tried=()) for n in range(9)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_it_decays_and_every_fourth_trial_ignores_it(make_study: MakeStudy) -> None:
    space = make_study(space=SPACE).space
    prior = Prior(space, [_earlier(space, _narrow)])

    own = [(point, _narrow(point)) for point in _points(space, 54, 1)]

    def followed(complete: int) -> int:
        return sum(
            prior.propose(seed=5, number=number, own=own[:complete], tried=()) is not None
            for number in range(80)
        )

    assert followed(0) == 60
    # 60 draws at 6 / 12 and 6 / 60: 30 and 6, three standard deviations are 12 and 7.
    assert 18 <= followed(6) <= 42
    assert followed(54) <= 13
    numbers = range(IGNORED_BY_EVERY - 1, 80, IGNORED_BY_EVERY)
    assert all(prior.propose(seed=5, number=n, own=(), tried=()) is None for n in numbers)


def test_conditional_parameters_are_drawn_where_they_belong(make_study: MakeStudy) -> None:
    space = make_study(space=TREE).space

    def prefers_fine(point: dict[str, Any]) -> float:
        return point.get("model.width", 0) / 97

    prior = Prior(space, [_earlier(space, prefers_fine)])
    drawn = [prior.propose(seed=seed, number=0, own=(), tried=()) for seed in range(12)]
    for point in drawn:
        assert point is not None
        assert ("model.width" in point) == (point["model.kind"] == "fine")
    assert sum("model.width" in (point or {}) for point in drawn) >= 10


def test_what_an_earlier_study_lacks_is_drawn_at_random(make_study: MakeStudy) -> None:
    space = make_study(space=SPACE).space
    whole, name = _earlier(space, _narrow), "model.width"
    cut = [
        trial(one.number, value=one.value, parameters={name: one.parameters[name]})
        for one in whole.trials
    ]
    prior = Prior(space, [record(*cut, name="cut", task="toy")])
    assert prior.shared == ("model.width",)
    points = [prior.propose(seed=s, number=0, own=(), tried=()) or {} for s in range(20)]
    rates = [math.log10(point["finetune.rate"]) for point in points]
    assert min(rates) < -4
    assert max(rates) > -2
    assert max(point["model.width"] for point in points) < 60


def test_what_is_fixed_already_stays(make_study: MakeStudy) -> None:
    space = make_study(space=SPACE).space
    prior = Prior(space, [_earlier(space, _narrow)])
    ask: dict[str, Any] = {"seed": 1, "number": 0, "own": (), "tried": ()}
    point = prior.propose(**ask, fixed={"model.width": 89})
    assert point is not None
    assert point["model.width"] == 89
    assert abs(math.log10(point["finetune.rate"]) + 3) < 1


def test_where_a_whole_point_is_fixed_its_own_goes_first(make_study: MakeStudy) -> None:
    space = make_study(space=TREE).space
    prior = Prior(space, [_earlier(space, lambda point: point.get("model.width", 0) / 97)])
    ask: dict[str, Any] = {"seed": 1, "own": (), "tried": ()}
    wholes: list[dict[str, Any]] = [
        {"model.kind": "fine", "model.width": 3, "finetune.rate": 1e-5},
        {"model.kind": "crash", "finetune.rate": 1e-5},
    ]
    for whole in wholes:
        assert prior.propose(**ask, number=0, fixed=whole) == prior.propose(**ask, number=0)
        assert prior.propose(**ask, number=IGNORED_BY_EVERY - 1, fixed=whole) is None


def test_several_studies_are_weighed_together(make_study: MakeStudy) -> None:
    space = make_study(space=SPACE).space
    widths = [
        trial(n, value=-abs(n * 4 - 20.0), parameters={"model.width": 2 + n * 4})
        for n in range(20)
    ]
    rates = [
        trial(n, value=-abs(n / 5 - 2.0), parameters={"finetune.rate": 10 ** (n / 5 - 5)})
        for n in range(20)
    ]
    prior = Prior(space, [record(*widths, name="a"), record(*rates, name="b")])
    assert prior.studies == ("a", "b")
    assert prior.shared == ("model.width", "finetune.rate")
    points = [prior.propose(seed=s, number=0, own=(), tried=()) or {} for s in range(9)]
    assert all(abs(point["model.width"] - 22) < 20 for point in points)
    assert all(abs(math.log10(point["finetune.rate"]) + 3) < 1 for point in points)


def test_wrecks_and_pruned_trials_are_shunned(make_study: MakeStudy) -> None:
    space = make_study(space=KINDS).space
    states = {"fine": "complete", "memory": "pruned", "diverge": "pruned"}
    trials = [
        trial(
            place,
            states[kind],
            # A wreck's last score may well be the highest.
            value=float(place % 7 + 10 * (kind == "diverge")),
            parameters={"model.width": 2 + 5 * (place % 19), "model.kind": kind},
            health={"verdict": "diverged"} if kind == "diverge" else {},
        )
        for place, kind in enumerate(["fine", "memory", "diverge"] * 8)
    ]
    prior = Prior(space, [record(*trials)])
    points = [prior.propose(seed=s, number=0, own=(), tried=()) or {} for s in range(15)]
    kinds = [point["model.kind"] for point in points]
    # Of "crash" nothing is known, which is worth a try.
    assert kinds.count("fine") + kinds.count("crash") >= 13
    assert kinds.count("diverge") == 0


def test_no_point_is_tried_twice(make_study: MakeStudy) -> None:
    space = make_study(space=OTHER).space
    points = [{"model.kind": kind} for kind in ("fine", "silent")] * 3
    trials = [trial(n, value=float(n), parameters=point) for n, point in enumerate(points)]
    prior = Prior(space, [record(*trials)])
    ask = {"seed": 1, "number": 0, "own": ()}
    assert prior.propose(**ask, tried=[{"model.kind": "fine"}]) == {"model.kind": "silent"}
    assert prior.propose(**ask, tried=points) is None


def test_a_run_is_begun_warm_and_says_so(make_study: MakeStudy, tmp_path: Path) -> None:
    run_study(make_study("first"), tmp_path, trials=6)
    watch = Watcher()
    result = run_study(make_study("second"), tmp_path, watch, trials=5, warm_start=("first",))
    assert "warm start from first: they tell of model.width, finetune.rate" in watch.notes()
    assert result.record.warm_start == ("first",)
    from_prior = [one.number for one in result.record.trials if one.is_from_prior]
    assert 0 in from_prior
    assert IGNORED_BY_EVERY - 1 not in from_prior
    later = Watcher()
    run_study(make_study("second"), tmp_path, later, trials=6)
    assert any("give --warm-start first to go on with it" in note for note in later.notes())


def test_the_freeze_thaw_scheduler_learns_from_it_too(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    run_study(make_study("first"), tmp_path, trials=6)
    study = make_study("second", overrides={"scheduler.name": "thaw"})
    record = run_study(study, tmp_path, trials=12, warm_start=("first",)).record
    # The first few and the probes are left to the sampler, all others are whole points.
    sampled = {*range(INITIAL), FIRST_PROBES, 3 * FIRST_PROBES}
    assert {one.number for one in record.trials if one.is_from_prior} - sampled


def test_killed_and_begun_warm_again_it_comes_out_the_same(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    def run(name: str, watch: Watcher | None = None) -> None:
        run_study(make_study(name), tmp_path, watch, trials=6, warm_start=("first",))

    run_study(make_study("first"), tmp_path, trials=6)
    run("whole")
    for number in (0, 3):
        with pytest.raises(ZeroDivisionError):
            run("cut", Watcher(lambda event, at=number: getattr(event, "number", None) == at))
    run("cut")
    assert told_of(tmp_path, "cut") == told_of(tmp_path, "whole")


def test_what_cannot_be_learned_from_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    run_study(make_study("few"), tmp_path, trials=2)
    run_study(make_study("first"), tmp_path, trials=3)

    def refused(name: str, message: str, space: str = SPACE) -> None:
        with pytest.raises(WarmStartError, match=message) as caught:
            read_prior(make_study("new", space=space), [name], None, tmp_path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"--warm-start {name}: ")

    refused("few", "too few finished trials, got 2. Allowed: 3 or more.")
    refused("first", "shares no parameter with the search space. Allowed: model.kind.", OTHER)
    refused("new", "cannot learn from itself")
    with pytest.raises(UnknownStudyError, match=r"no study 'firts'.*Did you mean 'first'\?"):
        run_study(make_study("new"), tmp_path, warm_start=("firts",))
    assert "new" not in [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "speech"}, "it is of another task, got 'speech'. Allowed: toy."),
        (
            {"metric": Metric("loss", "", "minimize", 0.0)},
            "its score goes the other way, got 'minimize'. Allowed: maximize.",
        ),
        ({"is_owned": True}, "it is running. Wait for its end."),
    ],
)
def test_a_study_of_another_kind_is_refused(
    changed: dict[str, Any],
    message: str,
    make_study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study(space=SPACE)
    found = _earlier(study.space, _narrow, **changed)
    monkeypatch.setattr("hpo.warm_start.read_study", lambda *_: found)
    with pytest.raises(WarmStartError, match=message):
        read_prior(study, ["earlier"], None, tmp_path)


def test_a_study_that_was_begun_warm_is_read_as_such(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    run_study(make_study("first"), tmp_path)
    assert read_study(None, "first", tmp_path).warm_start == ()
