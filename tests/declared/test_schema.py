"""The JSON Schemas: what ships is named, current, and fits them; mistakes do not."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hpo.cli import main
from hpo.declarations.schema import schema_text, schemas

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
SCHEMAS = schemas()
FILES = [
    *(("study", path) for path in sorted((ROOT / "studies").glob("*.toml"))),
    *(("search_space", path) for path in sorted((ROOT / "search_spaces").glob("*.toml"))),
]
STUDY = 'task = "translation"\nsearch_space = "depth"\ntrials = 7\n'
SPACE = 'task = "translation"\n'
OWN = 'task = "some.module:Task"\n'


def errors(kind: str, text: str) -> list[Any]:
    validator = jsonschema.Draft202012Validator(SCHEMAS[kind])
    return list(validator.iter_errors(tomllib.loads(text)))


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_a_schema_is_one_and_is_as_it_lies_here(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
    found = (ROOT / "schemas" / f"{kind}.json").read_text("utf-8")
    assert found == schema_text(SCHEMAS[kind]), "run `hpo schema --dir schemas`"


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda one: getattr(one, "stem", one))
def test_what_ships_names_its_schema_and_fits_it(kind: str, path: Path) -> None:
    text = path.read_text("utf-8")
    first = text.partition("\n")[0]
    assert first == f"#:schema ../schemas/{kind}.json"
    assert errors(kind, text) == []


def test_the_files_of_the_how_to_page_fit() -> None:
    page = (ROOT / "docs" / "own-study.md").read_text("utf-8")
    blocks = re.findall(r"^```toml\n(# (\w+)/.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert {folder for _, folder in blocks} == {"studies", "search_spaces"}
    for block, folder in blocks:
        assert errors("study" if folder == "studies" else "search_space", block) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("study", STUDY + "[sampler]\nn_startup_trials = 3"),
        ("study", STUDY + '[sampler]\nname = "qmc"\nqmc_type = "halton"'),
        ("study", STUDY + '[pruner]\nname = "patient"\naround = { n_startup_trials = 3 }'),
        ("study", STUDY + '[[enqueue]]\n"model.norm" = "pre"\nfinetune.warmup_ratio = 0.1'),
        ("study", STUDY + '[[enqueue]]\n"finetune.warmup_steps" = { factor = 0.1 }'),
        (
            "search_space",
            SPACE + '[parameters]\nmodel.norm = { type = "categorical", choices = [] }',
        ),
        ("search_space", SPACE + "[settings.model]\nd_model = 64"),
        ("study", OWN + 'search_space = "x"\ntrials = 7\n[protocol]\nsteps = 5'),
        ("search_space", OWN + '[parameters]\n"net.width" = { type = "int", low = 2, high = 4 }'),
    ],
)
def test_what_may_be_left_out_or_written_otherwise_fits(kind: str, text: str) -> None:
    assert errors(kind, text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("study", STUDY.replace("trials = 7", "trials = 0")),
        ("study", STUDY.replace("trials = 7", "trails = 7")),
        ("study", STUDY.replace("translation", "translating")),
        ("study", STUDY + "[protocol]\nmax_length = 64"),
        ("study", STUDY + '[protocol]\nprecision = "fp8"'),
        ("study", STUDY + "[protocol.pretrain]\nlearning_rate = 2.0"),
        ("study", STUDY + '[data]\nsource_language = "../de"'),
        ("study", STUDY + '[sampler]\nname = "tpi"'),
        ("study", STUDY + '[sampler]\nqmc_type = "halton"'),
        ("study", STUDY + '[pruner]\nname = "patient"'),
        ("study", STUDY + "[finals]\ntop = 0"),
        ("study", STUDY + '[[enqueue]]\n"model.layers" = 3'),
        ("study", STUDY + '[[enqueue]]\n"model.num_layers" = "3"'),
        ("search_space", SPACE + '[settings]\n"model.dropout" = 1.5'),
        ("search_space", SPACE + '[settings]\nmodel.norm = "middle"'),
        ("search_space", SPACE + '[parameters]\n"model.norm" = "pre"'),
        (
            "search_space",
            SPACE + '[parameters]\n"model.d_ff" = { type = "real", low = 1, high = 2 }',
        ),
        ("search_space", SPACE + '[parameters]\n"model.d_ff" = { type = "int", low = 8 }'),
        ("search_space", "trials = 7\n" + SPACE),
        ("study", OWN + 'search_space = "x"\ntrials = 0'),
        ("study", OWN.replace(":", "/") + 'search_space = "x"\ntrials = 7'),
    ],
)
def test_mistakes_are_found(kind: str, text: str) -> None:
    assert errors(kind, text)


def test_fields_are_described_by_their_docstrings() -> None:
    protocol = SCHEMAS["study"]["$defs"]["TranslationProtocol"]["properties"]
    assert protocol["beam_size"]["description"].startswith("Beams on the test set")
    parameters = SCHEMAS["search_space"]["$defs"]["TranslationParameters"]["properties"]
    assert parameters["model.num_layers"]["description"].startswith("Layers of the encoder")


def test_the_command_prints_a_schema_or_writes_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", "study"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMAS["study"]
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMAS
    assert main(["schema", "--dir", str(tmp_path / "made")]) == 0
    for kind, schema in SCHEMAS.items():
        assert json.loads((tmp_path / "made" / f"{kind}.json").read_text("utf-8")) == schema
    capsys.readouterr()
    assert main(["schema", "space"]) == 2
    assert "Allowed: study, search_space." in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["schema", "--dir", str(tmp_path / "file")]) == 2
    assert "file: cannot be written" in capsys.readouterr().err
