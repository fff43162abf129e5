"""Every declared file loads, and assembles at both ends of its ranges."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.task import Facts
from hpo.declarations import load_study, validate_path
from hpo.declarations.assembly import build_config, check_point, end_points
from hpo.declarations.files import is_search_space
from hpo.declarations.space_file import read_space
from hpo.sampling import drawn_values

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))
SPACES = sorted((ROOT / "search_spaces").glob("*.toml"))
LEAGUE = {
    "model.d_model",
    "model.num_heads",
    "model.num_layers",
    "model.d_ff",
    "model.dropout",
    "finetune.learning_rate",
    "finetune.lr_scheduler_type",
    "finetune.warmup_steps",
    "finetune.weight_decay",
    "finetune.label_smoothing_factor",
}
"""The ten that the league lets vary."""


def test_there_are_files() -> None:
    assert {path.stem for path in STUDIES} >= {
        "quickstart",
        "depth_sweep",
        "league",
        "finetune_sweep",
    }
    assert all(is_search_space(path) for path in SPACES)
    assert not any(is_search_space(path) for path in STUDIES)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_search_space_is_read(path: Path) -> None:
    space = read_space(path)
    assert space.parameters
    assert space.description


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_study_assembles_at_both_ends(path: Path) -> None:
    study = load_study(str(path))
    assert study.description
    assert study.start is not None
    points = [*end_points(study.space), *study.enqueue]
    for number, point in enumerate(points):
        check_point(study.space, study.spec, study.protocol, point, where=path.name)
        config = build_config(study, point, Facts({"data": "0" * 64}), number)
        assert hash(config) == hash(type(config).model_validate(config.model_dump()))
        drawn_values(study.space, point)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_study_bears_a_tiny_budget(path: Path) -> None:
    stages = [f"protocol.{name}_steps=20" for name, _ in load_study(str(path)).grid.stages]
    options = [*stages, "protocol.eval_every=20", "sampler.name=random"]
    study = load_study(str(path), overrides=options)
    assert {steps for _, steps in study.grid.stages} == {20}


def test_everything_found_is_valid() -> None:
    assert [str(one.problem) for one in validate_path(str(ROOT)) if one.problem] == []


def test_league_varies_the_ten_and_nothing_else() -> None:
    space = load_study("league").space
    assert space.parameters.keys() == LEAGUE
    assert not space.settings
    ends = list(end_points(space))
    assert {point["model.dropout"] for point in ends} == {0.1, 0.3}
    assert {round(point["model.d_ff"] / point["model.d_model"]) for point in ends} == {2, 4}


def test_finetune_sweep_varies_the_five_of_one_structure() -> None:
    space = load_study("finetune_sweep").space
    assert space.parameters.keys() == {name for name in LEAGUE if name.startswith("finetune.")}


def test_depth_sweep_varies_depth_from_1_to_12_from_scratch() -> None:
    study = load_study("depth_sweep")
    assert {point["model.num_layers"] for point in end_points(study.space)} == {1, 12}
    assert [name for name, _ in study.grid.stages] == ["finetune"]
    assert study.as_json()["protocol"]["finetune_corpus"] == "pretrain"
