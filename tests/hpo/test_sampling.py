"""Whatever is drawn can be built, and whatever can be built can be drawn again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from core.task import Facts
from hpo.declarations import DeclarationError, SearchSpace, Study, load_study
from hpo.declarations.assembly import end_points
from hpo.sampling import (
    build_config,
    displayed_name,
    distributions,
    drawn_values,
    suggest,
)

FACTS = Facts({"data": "0" * 64})
STUDY = """\
task = "translation"
search_space = "space"
trials = 5
[protocol]
pretrain_steps = 0
finetune_steps = 170
eval_every = 17
"""
# Everything at once: each kind, derived from derived, and conditions on conditions.
SPACE = """\
task = "translation"
[settings]
"finetune.weight_decay" = 0.03
[parameters]
"model.d_model" = { type = "int", low = 24, high = 120, step = 24 }
"model.num_heads" = { type = "divisor", of = "model.d_model", choices = [2, 3, 5, 8, 16] }
"model.d_ff" = { type = "multiple", of = "model.d_model", factors = [0.5, 1.5, 2, 3] }
"model.num_layers" = { type = "int", low = 1, high = 9, log = true }
"model.norm" = { type = "categorical", choices = ["pre", "post"] }
"model.dropout" = { type = "float", low = 0.1, high = 0.3, step = 0.05 }
"finetune.lr_scheduler_type" = { type = "categorical", choices = [
    "linear", "cosine", "inverse_sqrt",
], when = { "model.norm" = "post", "model.num_layers" = [1, 2, 3, 5] } }
"finetune.learning_rate" = { type = "float", low = 1e-6, high = 5e-4, log = true }
"finetune.label_smoothing_factor" = { type = "categorical", choices = [0, 0.1] }
[parameters."finetune.warmup_steps"]
type = "multiple"
of = "protocol.finetune_steps"
factors = [0, 0.1, 1]
when = { "finetune.lr_scheduler_type" = ["linear", "cosine"] }
[parameters."finetune.weight_decay"]
type = "float"
low = 0
high = 0.1
when = { "finetune.warmup_steps" = [0, 170] }
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder: Path = tmp_path_factory.mktemp("sampling")
    (folder / "study.toml").write_text(STUDY)
    (folder / "space.toml").write_text(SPACE)
    return load_study(str(folder / "study.toml"))


def draws(
    space: SearchSpace, count: int, seed: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Realised values and Optuna's parameters of trials drawn at random."""
    for number in range(count):
        # One study asked a thousand times spends its time on bookkeeping; fresh ones do not.
        storage = optuna.storages.InMemoryStorage()
        sampler = optuna.samplers.RandomSampler(seed=seed + number)
        trial = optuna.create_study(sampler=sampler, storage=storage).ask()
        yield suggest(space, trial), trial.params


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


@pytest.mark.parametrize("name", ["quickstart", "depth_sweep", "league", "finetune_sweep"])
def test_no_shipped_study_can_draw_an_invalid_combination(name: str) -> None:
    study = load_study(name)
    for number, (realised, _) in enumerate(draws(study.space, 300, seed=0)):
        config = build_config(study, realised, FACTS, number)
        groups = {g: study.spec.groups[g].model_validate(v) for g, v in config.groups.items()}
        study.spec.check(groups, study.protocol)  # raises for what cannot be built
        assert config.groups["model"]["d_model"] % config.groups["model"]["num_heads"] == 0


def test_thousands_of_draws_are_valid_and_can_be_drawn_again(study: Study) -> None:
    seen: set[tuple[str, ...]] = set()
    for number, (realised, params) in enumerate(draws(study.space, 2_000, seed=1)):
        config = build_config(study, realised, FACTS, number)
        groups = {g: study.spec.groups[g].model_validate(v) for g, v in config.groups.items()}
        study.spec.check(groups, study.protocol)
        model = config.groups["model"]
        assert model["d_model"] % model["num_heads"] == 0
        assert model["d_ff"] / model["d_model"] in (0.5, 1.5, 2, 3)
        assert model["dropout"] in (0.1, 0.15, 0.2, 0.25, 0.3)
        # What is drawn anew from the realised values realises them again.
        again = drawn_values(study.space, realised)
        assert again.keys() == params.keys()
        assert suggest(study.space, FixedTrial(again)) == realised
        seen.add(tuple(realised))
    # No condition holds; one, the scheduler's; also the warmup's; also the decay's.
    assert len(seen) == 4


def test_both_ends_are_drawn(study: Study) -> None:
    space = study.space
    points = list(end_points(space))
    for name, parameter in space.parameters.items():
        seen = [point[name] for point in points if name in point]
        if parameter.type in ("int", "float"):
            assert {parameter.low, parameter.high} <= set(seen)
        elif parameter.type == "categorical":
            assert {parameter.choices[0], parameter.choices[-1]} <= set(seen)
        else:
            assert len(set(seen)) > 1
    for point in points:
        assert suggest(space, FixedTrial(drawn_values(space, point))) == point


def test_enqueued_points_come_out_of_optuna_as_they_went_in() -> None:
    study = load_study("league")
    search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=3))
    for point in study.enqueue:
        search.enqueue_trial(drawn_values(study.space, point))
    for point in study.enqueue:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trial = search.ask()
            assert suggest(study.space, trial) == point
        search.tell(trial, 1.0)


def test_suggest_draws_from_the_distributions_told(study: Study) -> None:
    told = distributions(study.space)
    assert told["model.num_heads.index"] == IntDistribution(0, 4)
    assert told["model.num_layers"] == IntDistribution(1, 9, log=True)
    assert told["model.dropout"] == FloatDistribution(0.1, 0.3, step=0.05)
    assert told["model.norm"] == CategoricalDistribution(("pre", "post"))
    # Core takes 0 for a probability as 0.0; so do the choices.
    assert told["finetune.label_smoothing_factor"] == CategoricalDistribution((0.0, 0.1))
    for number in range(50):
        search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
        trial = search.ask()
        suggest(study.space, trial)
        assert trial.distributions.items() <= told.items()


POST = {"model.norm": "post", "model.num_layers": 2}
LINEAR = {**POST, "finetune.lr_scheduler_type": "linear"}
DRAWN = {
    "all that post-norm asks for": (
        {**LINEAR, "finetune.warmup_steps.index": 2, "finetune.weight_decay": 0.07},
        {**LINEAR, "finetune.warmup_steps": 170, "finetune.weight_decay": 0.07},
    ),
    "a warmup without decay": (
        {**LINEAR, "finetune.warmup_steps.index": 1},
        {**LINEAR, "finetune.warmup_steps": 17},
    ),
    "no warmup after the inverse square root": (
        {**POST, "finetune.lr_scheduler_type": "inverse_sqrt"},
        {**POST, "finetune.lr_scheduler_type": "inverse_sqrt"},
    ),
    "a depth that asks for nothing": (
        {"model.norm": "post", "model.num_layers": 4},
        {"model.norm": "post", "model.num_layers": 4},
    ),
    # Its scheduler is linear by default, but what was not drawn satisfies no condition.
    "pre-norm": (
        {"model.norm": "pre", "model.num_layers": 2},
        {"model.norm": "pre", "model.num_layers": 2},
    ),
}
REST = {
    "model.d_model": 72, "model.num_heads.index": 4, "model.d_ff.index": 1, "model.dropout": 0.2,
    "finetune.learning_rate": 1e-5, "finetune.label_smoothing_factor": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(("drawn", "expected"), DRAWN.values(), ids=DRAWN)
def test_conditions_on_conditions(
    study: Study, drawn: dict[str, Any], expected: dict[str, Any]
) -> None:
    realised = suggest(study.space, FixedTrial({**REST, **drawn}))
    # The largest of 2, 3, 5, 8 and 16 that divides 72 is 8; 1.5 times 72 is 108.
    assert (realised["model.num_heads"], realised["model.d_ff"]) == (8, 108)
    names = {"model.norm", "model.num_layers"} | {n for n in realised if n.startswith("finetune.")}
    names -= {"finetune.learning_rate", "finetune.label_smoothing_factor"}
    assert {name: realised[name] for name in names} == expected
    config = build_config(study, realised, FACTS, 0)
    if "finetune.weight_decay" not in realised:
        assert config.groups["finetune"]["weight_decay"] == 0.03


HEADS = [
    (24, 4, 8),
    (48, 4, 16),
    (72, 3, 8),
    (72, 2, 3),
    (96, 2, 3),
    (120, 2, 5),
    (120, 4, 8),
    (24, 0, 2),
]


@pytest.mark.parametrize(("d_model", "index", "num_heads"), HEADS)
def test_a_divisor_is_the_largest_choice_up_to_the_drawn_one(
    study: Study, d_model: int, index: int, num_heads: int
) -> None:
    drawn = {"model.norm": "pre", "model.num_layers": 1, "model.d_model": d_model}
    trial = FixedTrial({**REST, **drawn, "model.num_heads.index": index})
    assert suggest(study.space, trial)["model.num_heads"] == num_heads


def test_a_point_out_of_reach_is_not_enqueued(study: Study) -> None:
    point = next(iter(end_points(study.space)))
    with pytest.raises(
        DeclarationError, match=r'point\."model\.d_model" is not drawn .* got 25\.'
    ):
        drawn_values(study.space, {**point, "model.d_model": 25})
    with pytest.raises(DeclarationError, match=r'point\."model\.norm" is missing'):
        drawn_values(study.space, {k: v for k, v in point.items() if k != "model.norm"})


@pytest.mark.parametrize(
    ("drawn", "displayed"),
    [
        ("model.d_ff.index", "model.d_ff"),
        ("model.d_ff", "model.d_ff"),
        ("model.index", "model.index"),
        ("other", "other"),
    ],
)
def test_people_see_names_of_core(drawn: str, displayed: str) -> None:
    assert displayed_name(drawn) == displayed


def test_a_space_is_conditional_if_one_parameter_is(study: Study) -> None:
    assert study.space.is_conditional
    assert not load_study("league").space.is_conditional
