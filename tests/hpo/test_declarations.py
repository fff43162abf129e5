"""Where declarations are found, what overrides them, and what a loaded study holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.task import Facts, Grid
from hpo.declarations import DeclarationError, declared_studies, load_study, validate_path
from hpo.declarations.assembly import build_config, end_points
from hpo.declarations.study import MedianSettings, RandomSettings, TpeSettings

STUDY = """\
description = "A study for tests"
task = "translation"
search_space = "grid"
trials = 7
seed = 11
[protocol]
pretrain_steps = 6
finetune_steps = 10
eval_every = 2
[sampler]
name = "tpe"
n_startup_trials = 3
[pruner]
name = "successive_halving"
reduction_factor = 2
[[enqueue]]
"model.d_model" = 48
"model.d_ff" = { factor = 1.5 }
"model.num_heads" = 3
"model.norm" = "post"
"model.dropout" = 0.15
"finetune.warmup_steps" = 3
"""
SPACE = """\
task = "translation"
[settings]
"model.num_layers" = 2
"finetune.warmup_steps" = 1
[parameters]
"model.d_model" = { type = "int", low = 24, high = 72, step = 24 }
"model.d_ff" = { type = "multiple", of = "model.d_model", factors = [1, 1.5, 3] }
"model.num_heads" = { type = "divisor", of = "model.d_model", choices = [2, 3, 16] }
"model.norm" = { type = "categorical", choices = ["pre", "post"] }
"model.dropout" = { type = "float", low = 0.1, high = 0.3, step = 0.05 }
[parameters."finetune.warmup_steps"]
type = "multiple"
of = "protocol.finetune_steps"
factors = [0.1, 0.25]
when = { "model.norm" = "post" }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a study and a search space in their own folders."""
    monkeypatch.chdir(tmp_path)
    for folder, name, text in (("studies", "small", STUDY), ("search_spaces", "grid", SPACE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.toml").write_text(text)
    return tmp_path


@pytest.fixture
def _small(here: Path) -> None:
    # round(2.5) is 2: halves go to the even neighbour.
    path = here / "studies" / "small.toml"
    path.write_text(STUDY.replace('"finetune.warmup_steps" = 3', '"finetune.warmup_steps" = 2'))


@pytest.mark.usefixtures("_small")
def test_a_study_holds_what_its_file_declares(here: Path) -> None:
    study = load_study("small")
    assert (study.name, study.trials, study.seed) == ("small", 7, 11)
    assert study.grid == Grid((("pretrain", 6), ("finetune", 10)), 2)
    assert study.sampler == TpeSettings(n_startup_trials=3)
    assert study.storage.keep == 3
    assert (study.finals.top, study.finals.seeds) == (1, 0)
    assert study.path == here / "studies" / "small.toml"
    assert study.start == {
        "model.d_model": 48,
        "model.d_ff": 72,
        "model.num_heads": 3,
        "model.norm": "post",
        "model.dropout": 0.15,
        "finetune.warmup_steps": 2,
    }
    assert json.loads(json.dumps(study.as_json())) == study.as_json()
    assert study.as_json()["enqueue"] == [study.start]


@pytest.mark.usefixtures("_small")
def test_a_configuration_is_complete_and_its_seeds_derive_from_structure_and_number() -> None:
    study = load_study("small")
    facts = Facts({"data": "d" * 64})
    assert study.start is not None
    shallow = {**study.start, "finetune.warmup_steps": 1}
    one, two, other = (
        build_config(study, point, facts, number)
        for point, number in (
            (study.start, 0),
            (shallow, 1),
            ({**study.start, "model.d_ff": 48}, 0),
        )
    )
    assert one.groups["model"] == {
        "d_model": 48,
        "num_heads": 3,
        "num_layers": 2,
        "d_ff": 72,
        "dropout": 0.15,
        "norm": "post",
    }
    assert one.groups["finetune"]["lr_scheduler_type"] == "linear"
    assert one.data_digest == "d" * 64
    assert one.structure_seed == two.structure_seed != other.structure_seed
    assert one.seed == other.seed != two.seed
    reseeded = load_study("small", overrides=["seed=12"])
    assert build_config(reseeded, study.start, facts, 0).structure_seed != one.structure_seed


@pytest.mark.usefixtures("_small")
def test_what_is_not_drawn_takes_the_setting() -> None:
    study = load_study("small")
    point = {k: v for k, v in (study.start or {}).items() if k != "finetune.warmup_steps"}
    config = build_config(study, {**point, "model.norm": "pre"}, Facts({"data": ""}), 0)
    assert config.groups["finetune"]["warmup_steps"] == 1


def test_a_derived_value_that_no_factor_gives_is_refused(here: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_study("small")
    assert str(caught.value) == (
        'studies/small.toml: enqueue[1]."finetune.warmup_steps" is not drawn by the search space, '
        "got 3. Allowed: 1, 2 while protocol.finetune_steps is 10."
    )


OVERRIDES = {
    "protocol.finetune_steps=8": ("protocol", "finetune_steps", 8),
    "protocol.precision=fp32": ("protocol", "precision", "fp32"),
    'protocol.precision="bf16"': ("protocol", "precision", "bf16"),
    " protocol.grad_clip = 0.5 ": ("protocol", "grad_clip", 0.5),
    "data.source=hub": ("data", "source", "hub"),
    "storage.keep=1": ("storage", "keep", 1),
    "finals.seeds=5": ("finals", "seeds", 5),
    "pruner.reduction_factor=3": ("pruner", "reduction_factor", 3),
}


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("option", "expected"), OVERRIDES.items())
def test_an_override_takes_the_place_of_a_value(
    option: str, expected: tuple[str, str, object]
) -> None:
    section, key, value = expected
    assert getattr(getattr(load_study("small", overrides=[option]), section), key) == value


@pytest.mark.usefixtures("_small")
def test_the_time_limit_of_a_trial_is_given_as_people_say_it() -> None:
    assert load_study("small").trial_time_limit_s is None
    limited = load_study("small", overrides=["trial_time_limit=1h30m"])
    assert limited.trial_time_limit_s == 5400.0
    assert limited.as_json()["trial_time_limit_s"] == 5400.0
    assert limited.identity() == load_study("small").identity()


@pytest.mark.usefixtures("_small")
def test_overrides_of_nested_and_top_keys_and_of_the_same_key() -> None:
    study = load_study(
        "small",
        overrides=["protocol.pretrain.learning_rate=0.5", "trials=13", "trials=17", "enqueue=[]"],
    )
    assert study.as_json()["protocol"]["pretrain"]["learning_rate"] == 0.5
    assert study.trials == 17
    assert study.start is None


@pytest.mark.usefixtures("_small")
def test_another_sampler_or_pruner_starts_from_its_own_defaults() -> None:
    study = load_study("small", overrides=["pruner.n_startup_trials=2", "pruner.name=median"])
    assert study.pruner == MedianSettings(n_startup_trials=2)
    assert load_study("small", overrides=["sampler.name=random"]).sampler == RandomSettings()
    kept = load_study("small", overrides=["sampler.name=tpe"]).sampler
    assert kept == TpeSettings(n_startup_trials=3)


@pytest.mark.usefixtures("_small")
def test_points_given_by_factor_follow_an_overridden_protocol() -> None:
    study = load_study("small", overrides=["protocol.finetune_steps=8"])
    assert (study.start or {})["finetune.warmup_steps"] == 2
    assert {point.get("finetune.warmup_steps") for point in end_points(study.space)} == {
        None,
        1,
        2,
    }


@pytest.mark.usefixtures("_small")
def test_identity_forgets_where_a_folder_lies_and_what_may_change(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    studies = [load_study("small", data=name) for name in ("one", "two")]
    assert studies[0].as_json()["data"]["source"] == str((tmp_path / "one").resolve())
    assert studies[0].identity() == studies[1].identity()
    pocket = load_study("small")
    assert pocket.identity() != studies[0].identity()
    free = ["sampler.name=random", "pruner.name=none", "trials=99", "seed=3", "storage.keep=1"]
    free += ["finals.top=2"]
    assert load_study("small", overrides=free, name="other").identity() == pocket.identity()
    longer = load_study("small", overrides=["protocol.finetune_steps=8"])
    assert longer.identity() != pocket.identity()
    path = tmp_path / "search_spaces" / "grid.toml"
    path.write_text(path.read_text().replace("high = 72", "high = 96"))
    assert load_study("small").identity() != pocket.identity()


@pytest.mark.usefixtures("_small")
def test_a_folder_in_the_file_is_relative_to_the_file(here: Path) -> None:
    path = here / "studies" / "small.toml"
    path.write_text(path.read_text() + '[data]\nsource = "../corpora"\n')
    assert load_study("small").as_json()["data"]["source"] == str((here / "corpora").resolve())


def test_a_study_given_as_path_finds_its_space_beside_it(here: Path) -> None:
    study = STUDY[: STUDY.index("[[enqueue]]")].replace('"grid"', '"mine"')
    for place in ("project", "project/search_spaces", "search_spaces"):
        (here / place).mkdir(parents=True, exist_ok=True)
    (here / "project" / "mine.toml").write_text(study)
    spaces = [
        here / "search_spaces" / "mine.toml",
        here / "project" / "search_spaces" / "mine.toml",
    ]
    for depth, path in enumerate(spaces, 1):
        path.write_text(SPACE.replace('num_layers" = 2', f'num_layers" = {depth}'))
        loaded = load_study("project/mine.toml")
        assert loaded.space.path.resolve() == path
        assert loaded.space.settings["model.num_layers"] == depth


def test_the_current_folder_comes_before_what_is_shipped(here: Path) -> None:
    assert load_study("quickstart").space.name == "quickstart"
    (here / "studies" / "quickstart.toml").write_text(STUDY[: STUDY.index("[[enqueue]]")])
    assert load_study("quickstart").space.name == "grid"
    declared = {one.name: one for one in declared_studies()}
    assert declared["quickstart"].description == "A study for tests"
    assert {"small", "league", "depth_sweep", "finetune_sweep"} <= declared.keys()
    (here / "studies" / "broken.toml").write_text("x = ")
    broken = next(one for one in declared_studies() if one.name == "broken")
    assert "studies/broken.toml: invalid TOML" in broken.problem


def test_dotted_tables_mean_the_same_as_quoted_names(here: Path) -> None:
    (here / "studies" / "small.toml").write_text(
        STUDY[: STUDY.index("[[enqueue]]")] + "[[enqueue]]\nmodel.num_layers = 2\nmodel.d_ff = 16"
    )
    (here / "search_spaces" / "grid.toml").write_text(
        'task = "translation"\nsettings.model.d_model = 8\n[parameters.model]\n'
        'num_layers = { type = "int", low = 1, high = 2 }\n'
        'd_ff = { type = "int", low = 8, high = 16, when = { model.num_layers = 2 } }'
    )
    assert load_study("small").start == {"model.num_layers": 2, "model.d_ff": 16}


def test_a_file_with_a_byte_order_mark_and_carriage_returns_loads(here: Path) -> None:
    text = STUDY[: STUDY.index("[[enqueue]]")].replace("\n", "\r\n")
    (here / "studies" / "small.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_study("small").trials == 7


@pytest.mark.usefixtures("_small")
def test_validate_tells_what_is_found_and_what_is_wrong(here: Path) -> None:
    results = validate_path()
    assert {("study", "small"), ("search space", "grid"), ("study", "league")} <= {
        (one.kind, one.name) for one in results
    }
    assert not [one for one in results if one.problem]
    (here / "search_spaces" / "bad.toml").write_text("task = 3")
    problems = [one for one in validate_path(".") if one.problem]
    assert [str(one.problem) for one in problems] == [
        "search_spaces/bad.toml: task must be a string, got 3."
    ]
    assert [(one.kind, one.name) for one in validate_path("grid")] == [("search space", "grid")]
    assert [(one.kind, one.name) for one in validate_path("./studies/small.toml")] == [
        ("study", "small")
    ]


def test_validate_of_nothing_is_refused(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(DeclarationError, match=r"^empty: no studies or search spaces here\."):
        validate_path("empty")
    with pytest.raises(
        DeclarationError, match=r"^validate: no such study.*got 'smal'.*'small'\?$"
    ):
        validate_path("smal")
    with pytest.raises(DeclarationError, match=r"^validate: no such file, got 'x/y\.toml'"):
        validate_path("x/y.toml")


def test_declarations_import_nothing_heavy() -> None:
    code = (
        "import sys, hpo.declarations\n"
        "print({'torch', 'optuna', 'datasets', 'pandas', 'plotly'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
