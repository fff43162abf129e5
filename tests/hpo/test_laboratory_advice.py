"""Advice: each rule where it applies and nowhere else, over ranges, conditions and other tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest

from core import registry
from core.settings import Recipe, Settings
from core.task import Facts, Grid, Metric, TaskSpec
from hpo.advice import RULES, Note, advise, recommended_rates
from hpo.cli import main
from hpo.declarations import load_study

MakeNotes = Callable[..., dict[str, list[Note]]]

GOOD = {
    "model.d_model": 64,
    "model.num_heads": 4,
    "model.num_layers": 2,
    "model.d_ff": 128,
    "model.dropout": 0.1,
    "finetune.learning_rate": 3e-4,
    "finetune.warmup_steps": 20,
    "finetune.label_smoothing_factor": 0.1,
}
"""A configuration that nothing speaks against."""


@pytest.fixture
def notes(tmp_path: Path) -> MakeNotes:
    """Notes by rule on a study of fixed settings and some parameters in TOML."""

    def make(
        parameters: str = "",
        *,
        protocol: str = "pretrain_steps = 0",
        task: str = "translation",
        good: Mapping[str, object] = GOOD,
        fixed: Mapping[str, object] | None = None,
        rest: str = "",
    ) -> dict[str, list[Note]]:
        settings = {**good, **(fixed or {})}
        lines = [
            f'"{name}" = {json.dumps(value)}'
            for name, value in settings.items()
            if not re.search(f'^"{name}" = (?!.*when)', parameters, re.MULTILINE)
        ]
        (tmp_path / "space.toml").write_text(
            f'task = "{task}"\n[settings]\n' + "\n".join(lines) + f"\n[parameters]\n{parameters}\n"
        )
        (tmp_path / "own.toml").write_text(
            f'task = "{task}"\nsearch_space = "space.toml"\ntrials = 3\n'
            f"[protocol]\nfinetune_steps = 400\neval_every = 100\n{protocol}\n{rest}"
        )
        found: dict[str, list[Note]] = {}
        for note in advise(load_study(str(tmp_path / "own.toml"))):
            found.setdefault(note.rule.name, []).append(note)
        return found

    return make


def test_nothing_is_said_of_what_is_recommended(notes: MakeNotes) -> None:
    assert notes() == {}


@pytest.mark.parametrize(
    ("fixed", "rule", "furthest"),
    [
        ({"finetune.warmup_steps": 3}, "warmup-short", "3 of 400 updates (1 %)"),
        ({"finetune.warmup_steps": 4}, None, ""),
        ({"finetune.warmup_steps": 40}, None, ""),
        ({"finetune.warmup_steps": 41}, "warmup-long", "41 of 400 updates (10 %)"),
        ({"finetune.warmup_steps": 400}, "warmup-is-all", "400 of 400 updates (100 %)"),
        ({"finetune.learning_rate": 6e-4}, None, ""),
        (
            {"finetune.learning_rate": 7e-4},
            "rate-high",
            "7e-4 at width 64 and depth 2, 2 times 3e-4",
        ),
        ({"finetune.learning_rate": 3e-5}, None, ""),
        (
            {"finetune.learning_rate": 1e-5},
            "rate-low",
            "1e-5 at width 64 and depth 2, 3e-4 divided by 30",
        ),
        (
            {"model.num_layers": 12},
            "rate-high",
            "3e-4 at width 64 and depth 12, 6 times 5e-5",
        ),
        ({"model.num_layers": 5, "model.norm": "post"}, None, ""),
        (
            {
                "model.num_layers": 6,
                "model.norm": "post",
                "finetune.learning_rate": 1e-4,
            },
            "deep-post-norm",
            "post at depth 6",
        ),
        ({"finetune.label_smoothing_factor": 0.2}, "smoothing-unpaid", "0.2 for 400 updates"),
        ({"model.dropout": 0.3}, "dropout-unpaid", "0.3 for 400 updates"),
        ({"model.num_heads": 8}, "head-size", "heads of 8 at width 64 with 8 heads"),
    ],
)
def test_each_rule_at_its_bound(
    notes: MakeNotes, fixed: dict[str, object], rule: str | None, furthest: str
) -> None:
    found = notes(fixed=fixed)
    assert list(found) == ([] if rule is None else [rule])
    for (note,) in found.values():
        assert (note.furthest, note.share) == (furthest, 1)
        assert note.names[0] in GOOD or note.names[0] == "model.norm"
        assert note.rule.source


def test_a_long_training_pays_for_smoothing_and_dropout(notes: MakeNotes) -> None:
    fixed = {"finetune.label_smoothing_factor": 0.2, "model.dropout": 0.3}
    found = notes(fixed=fixed, protocol="pretrain_steps = 700")
    # The last stage is as short as before, and dropout acts in both.
    assert {"smoothing-unpaid"} == found.keys() - {"rate-high", "warmup-long"}


def test_the_clip_of_a_recurrent_net(notes: MakeNotes) -> None:
    found = notes(protocol="pretrain_steps = 0\ngrad_clip = 200.0")
    (note,) = found["clip-of-an-rnn"]
    assert (note.names, note.furthest) == (("protocol.grad_clip",), "200")


def test_a_recipe_in_the_protocol_is_looked_at_while_its_stage_is_run(notes: MakeNotes) -> None:
    recipe = "pretrain_steps = 200\n[protocol.pretrain]\nlearning_rate = 1e-2\nwarmup_steps = 100"
    found = notes(protocol=recipe)
    assert [note.names[0] for note in found["rate-high"]] == ["protocol.pretrain.learning_rate"]
    assert [note.furthest for note in found["warmup-long"]] == ["100 of 200 updates (50 %)"]
    assert notes(protocol=recipe.replace("= 200", "= 0", 1)) == {}


def test_ranges_are_told_by_their_share(notes: MakeNotes) -> None:
    (note,) = notes(
        '"finetune.learning_rate" = { type = "float", low = 3e-4, high = 6e-3, log = true }',
        rest='[[enqueue]]\n"finetune.learning_rate" = 3e-4\n'
        '[[enqueue]]\n"finetune.learning_rate" = 5e-3\n',
    )["rate-high"]
    # log(10) / log(20) of the range lies above 6e-4; a thousand draws tell it within 5 percent.
    assert note.share == pytest.approx(0.769, abs=0.05)
    assert note.furthest == "6e-3 at width 64 and depth 2, 20 times 3e-4"
    assert note.enqueued == (2,)


def test_conditions_and_derived_values_count_where_they_hold(notes: MakeNotes) -> None:
    found = notes(
        '"model.norm" = { type = "categorical", choices = ["pre", "post"] }\n'
        '"model.num_layers" = { type = "int", low = 6, high = 7, when.model.norm = "post" }\n'
        '"finetune.warmup_steps" = { type = "multiple", of = "protocol.finetune_steps", '
        "factors = [0.05, 1] }",
        fixed={"finetune.learning_rate": 1e-4},
    )
    assert found.keys() == {"deep-post-norm", "warmup-is-all"}
    for (note,) in found.values():
        assert note.share == pytest.approx(0.5, abs=0.05)
    assert found["deep-post-norm"][0].furthest == "post at depth 7"


class Backbone(Settings):
    backbone: Literal["gru", "transformer_encoder"] = "gru"
    hidden_size: int = 8
    num_heads: int = 2
    num_layers: int = 6
    norm: Literal["pre", "post"] = "post"


class Train(Settings):
    learning_rate: float = 1e-2
    warmup_ratio: float | None = None
    grad_clip: float | Literal["auto"] = "auto"


class Plain(Settings):
    finetune_steps: int = 400
    eval_every: int = 100


OTHER = TaskSpec(
    name="other",
    metric=Metric("NMSE", "dB", "minimize", 0.0),
    protocol=Plain,
    data=Plain,
    groups={"net": Backbone, "train": Train},
    structure_group="net",
    grid=lambda protocol: Grid((("epochs", protocol.finetune_steps),), protocol.eval_every),
    check=lambda groups, protocol: None,
    prepare=lambda protocol, data, cache: Facts({}),
    build=lambda config, placement, cache: None,  # type: ignore[arg-type,return-value]
)


def test_rules_know_fields_and_not_tasks(
    notes: MakeNotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type("module", (), {"SPEC": OTHER})
    monkeypatch.setattr(registry, "_MODULES", {"other": "other"})
    monkeypatch.setattr(registry, "import_module", lambda name: module)
    chosen = '"net.backbone" = { type = "categorical", choices = ["gru"] }'
    good = {"train.grad_clip": 200.0, "train.warmup_ratio": 0.05}
    assert notes(chosen, task="other", protocol="", good=good) == {}
    chosen = chosen.replace('"gru"', '"transformer_encoder"')
    found = notes(chosen, task="other", protocol="", good=good)
    assert found.keys() == {"clip-of-an-rnn", "deep-post-norm", "head-size", "rate-high"}
    assert found["rate-high"][0].names == (
        "train.learning_rate", "net.hidden_size", "net.num_layers"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("width", "depth", "rates"),
    [
        (511, 1, (3e-4, 3e-4)),
        (512, 5, (1e-4, 1e-4)),
        (1024, 1, (5e-5, 1e-4)),
        (64, 6, (1e-4, 1e-4)),
        (64, 8, (5e-5, 8e-5)),
        (64, 12, (3e-5, 5e-5)),
        (1024, 8, (5e-5, 8e-5)),
        (None, 12, (3e-5, 5e-5)),
        (64, None, (3e-4, 3e-4)),
    ],
)
def test_rates_are_those_of_the_shipped_table(
    width: int | None, depth: int | None, rates: tuple[float, float]
) -> None:
    assert recommended_rates(width, depth) == rates


def test_the_league_speaks_of_the_same_table() -> None:
    text = (Path(__file__).parents[2] / "search_spaces" / "league.toml").read_text()
    told = " ".join(text.replace("#", " ").split())
    assert (
        "width below 512 3e-4, 512 to 1,023 1e-4, from 1,024 on 5e-5 to 1e-4; by depth 6 layers "
        "1e-4, 8 layers 5e-5 to 8e-5, 12 layers 3e-5 to 5e-5"
    ) in told


def test_every_rule_has_a_name_a_reason_and_a_source() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.why and rule.source and rule.recommended for rule in RULES)


def test_recipe_defaults_are_known_by_their_names() -> None:
    """What `recipes` and its rules look for is what core calls so."""
    fields = Recipe.model_fields
    assert {"learning_rate", "warmup_steps", "warmup_ratio", "label_smoothing_factor"} <= set(
        fields
    )


def test_the_command_prints_notes_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "depth_sweep"]) == 0
    said = capsys.readouterr().out
    assert "depth_sweep: 4 notes. Nothing is refused for them." in said
    assert "model.norm reaches post at depth 12" in said
    assert main(["advise", "depth_sweep", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [note["rule"] for note in told["notes"]] == [
        "warmup-short", "warmup-long", "rate-high", "deep-post-norm"
    ]  # fmt: skip
    assert all(note["source"] for note in told["notes"])


def test_a_study_without_notes_says_so(
    notes: MakeNotes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes()
    assert main(["advise", str(tmp_path / "own.toml")]) == 0
    assert "nothing in it goes against the recommendations" in capsys.readouterr().out


def test_a_study_that_does_not_load_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "depth_swep"]) == 2
    assert "Did you mean 'depth_sweep'?" in capsys.readouterr().err
