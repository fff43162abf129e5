import json
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from made_study import made_study

from hpo.analysis.command import command_again
from hpo.analysis.facts import facts_table, settings_table
from hpo.arguments import read_arguments
from hpo.declarations import load_study
from hpo.options import RunOptions


def test_settings_are_told_by_section_under_dotted_names(tmp_path):
    table = settings_table(made_study(tmp_path)).set_index(["section", "name"])["value"]
    assert table["protocol", "pretrain.learning_rate"] == "0.002"
    assert table["protocol", "validation_pairs"] == "–"
    assert table["sampler", "name"] == "tpe"


def test_facts_name_digests_counts_machine_and_versions(tmp_path):
    table = facts_table(made_study(tmp_path)).set_index("name")["value"]
    assert table["data digest"] == "5d1c" * 16
    assert table["train pairs"] == "4001"
    assert table["best trial: device"] == "cpu made"
    assert table["best trial: truncated pairs.pretrain"] == "5"
    assert table["optuna"].startswith("5.")


def test_a_lost_or_torn_outcome_costs_its_lines_only(tmp_path):
    record = made_study(tmp_path)
    outcome = record.best.folder / "outcome.json"
    for content in (b'{"outcome"', b"[]", b'{"outcome": 3}', b'{"outcome": {"facts": 3}}'):
        outcome.write_bytes(content)
        assert "best trial: device" not in set(facts_table(record)["name"])
    outcome.unlink()
    assert "data digest" in set(facts_table(record)["name"])


def test_the_command_runs_the_very_study_again(tmp_path):
    """What `--set` changed is found by comparison with the file, and loads to the same study."""
    overrides = ["protocol.finetune_steps=40", "protocol.eval_every=20", "sampler.name=random"]
    study = load_study("quickstart", overrides=[*overrides, "seed=11"], name="mine")
    record = replace(
        made_study(tmp_path), name="mine", declaration=study.as_json(), folder=Path("runs/mine")
    )
    words = shlex.split(command_again(record))
    assert words[:6] == ["python", "-m", "hpo", "run", "--study", "quickstart"]
    options = dict(zip(words[6::2], words[7::2], strict=True))
    assert options["--name"] == "mine"
    assert options["--seed"] == "11"
    assert "--runs-dir" not in options
    given = [word for flag, word in pairwise(words) if flag == "--set"]
    again = load_study("quickstart", overrides=[*given, "seed=11"], name="mine")
    assert again.as_json() == study.as_json()


def test_an_unchanged_study_needs_no_options(tmp_path):
    study = load_study("depth_sweep")
    record = replace(
        made_study(tmp_path), name="depth_sweep", declaration=study.as_json(), total=14,
        folder=Path("elsewhere/depth_sweep"),
    )  # fmt: skip
    assert command_again(record) == (
        "python -m hpo run --study depth_sweep --trials 14 --runs-dir elsewhere"
    )


def test_the_command_has_the_options_of_the_last_run(tmp_path):
    study = load_study(
        "depth_sweep", overrides=["trial_time_limit=1h30m", "scheduler.trials_per_structure=2"]
    )
    options = RunOptions(
        time_limit_s=90061.5, jobs=3, gpus=(0, 2), cluster="ray://head:10001", again=True
    )
    record = replace(
        made_study(tmp_path), name="depth_sweep", declaration=study.as_json(), total=14,
        folder=Path("runs/depth_sweep"), storage="postgresql+psycopg://me@host/db", stopped="",
        options=json.loads(json.dumps(options.as_json())),
    )  # fmt: skip
    asked = (
        "hpo run --study depth_sweep --trials 14 --set scheduler.trials_per_structure=2 "
        "--trial-time-limit 1h30m --time-limit 25h1m2s --jobs 3 --gpus 0,2 "
        "--cluster ray://head:10001{} --storage postgresql+psycopg://me@host/db"
    )
    assert command_again(record, "hpo") == asked.format(" --again")
    assert command_again(replace(record, stopped="finished"), "hpo") == asked.format("")
    read_arguments(shlex.split(asked.format(""))[1:])


def test_a_study_whose_file_is_gone_is_named_by_it(tmp_path):
    record = made_study(tmp_path / "runs" / "made", name="a study")
    assert command_again(record) == (
        "python -m hpo run --study 'studies/a study.toml' --trials 20 "
        f"--runs-dir {shlex.quote(str(tmp_path / 'runs'))}"
    )
