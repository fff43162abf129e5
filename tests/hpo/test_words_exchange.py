"""`hpo export-study` and `import-study`: all of a study's records there and back, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from toy_bench import MakeStudy, write_study
from toy_runs import run_study, told_of

from core import registry
from hpo import attributes
from hpo.cli import main
from hpo.declarations import load_study
from hpo.exchange import ExchangeError, export_study, import_study
from hpo.output import study_page
from hpo.reading import read_study
from hpo.storage import locate

Lines = list[dict[str, Any]]


PRUNED = {"pruner.name": "median", "pruner.trust": "always"}


@pytest.fixture(autouse=True)
def _with_the_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, pruned trials in it."""
    folder = tmp_path_factory.mktemp("exchange")
    write_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._MODULES, "toy", "toy_curves")
        overrides = [f"{key}={value}" for key, value in PRUNED.items()]
        study = load_study(str(folder / "toy.toml"), overrides=overrides)
        run_study(study, folder / "runs", trials=5)
    return folder / "runs"


@pytest.fixture(scope="module")
def exported(runs: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._MODULES, "toy", "toy_curves")
        return "".join(f"{line}\n" for line in export_study(None, "toy", runs))


@pytest.fixture
def file(exported: str, tmp_path: Path) -> Path:
    path = tmp_path / "toy.jsonl"
    path.write_text(exported)
    return path


def rewritten(file: Path, change: Callable[[Lines], object], name: str = "changed") -> Path:
    """The file with other lines, under a digest that fits them."""
    lines = [json.loads(line) for line in file.read_text().splitlines()][:-1]
    change(lines)
    body = "".join(f"{json.dumps(line)}\n" for line in lines)
    end = {"kind": "end", "lines": len(lines), "sha256": hashlib.sha256(body.encode()).hexdigest()}
    path = file.with_name(f"{name}.jsonl")
    path.write_text(f"{body}{json.dumps(end)}\n")
    return path


def test_an_imported_study_tells_the_same_and_goes_on(
    runs: Path, file: Path, tmp_path: Path, make_study: MakeStudy
) -> None:
    there = tmp_path / "there"
    made = import_study(file, None, there)
    assert (made.name, made.is_rebuilt, sum(made.states.values())) == ("toy", True, 5)
    assert told_of(there) == told_of(runs)
    before, after = read_study(None, "toy", runs), read_study(None, "toy", there)
    assert [one.health for one in after.trials] == [one.health for one in before.trials]
    assert [one.spans for one in after.trials] == [one.spans for one in before.trials]
    assert (after.readings, after.openings) == (before.readings, before.openings)
    assert after.lock == before.lock
    assert after.elapsed_s == before.elapsed_s
    assert len(study_page(after)) == len(study_page(before))
    study = make_study(overrides=PRUNED)
    result = run_study(study, there, trials=7)
    assert result.record.finished == 7


def test_it_opens_in_plain_optuna(file: Path, tmp_path: Path) -> None:
    import_study(file, None, tmp_path / "there")
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/there/hpo.db")
    assert len(study.trials) == 5
    assert study.best_value == max(
        one.value for one in study.trials if one.state.name == "COMPLETE" and one.value is not None
    )
    assert all(one.distributions for one in study.trials)
    assert any(one.intermediate_values for one in study.trials)


def test_no_place_goes_along_and_a_copy_has_a_name_and_a_key_of_its_own(
    runs: Path, file: Path
) -> None:
    head = json.loads(file.read_text().splitlines()[0])
    assert head["format"] == "hpo-study"
    assert not {attributes.RUNS_DIR, attributes.STORAGE, attributes.FOLDER_KEY} & {
        *head["attributes"]
    }
    assert head["declaration"]["path"] == "toy.toml"
    assert str(runs) not in file.read_text()
    assert import_study(file, None, runs, name="copy").name == "copy"
    mine, theirs = (read_study(None, name, runs) for name in ("toy", "copy"))
    assert theirs.declaration["name"] == "copy"
    keys = {one.optuna_study.user_attrs[attributes.FOLDER_KEY] for one in (mine, theirs)}
    assert len(keys) == 2
    assert told_of(runs, "copy") == told_of(runs)


def test_the_command_writes_a_new_file_or_to_standard_output(
    runs: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--runs-dir", str(runs)]
    assert main(["export-study", "toy", *place]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert main(["export-study", "toy", "--output", str(file), *place]) == 2
    assert "there is a file already" in capsys.readouterr().err
    new = tmp_path / "new" / "toy.jsonl"
    assert main(["export-study", "toy", "--output", str(new), *place]) == 0
    assert new.read_text() == file.read_text()
    assert main(["import-study", str(new), "--runs-dir", str(tmp_path / "there")]) == 0
    assert "toy: imported, 5 trials (" in capsys.readouterr().out
    assert main(["import-study", str(new), "--runs-dir", str(tmp_path / "there")]) == 2
    assert "there is a study 'toy' already" in capsys.readouterr().err


def nothing_is_left(runs: Path) -> bool:
    return not runs.exists() or not (
        [path for path in runs.iterdir() if path.name != ".locks" and "hpo.db" not in path.name]
    )


@pytest.mark.parametrize("kept", [0, 1, 40, 0.3, 0.6, 0.99])
def test_a_file_that_is_cut_off_is_refused(kept: float, file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(ExchangeError) as info:
        import_study(file, None, tmp_path / "there")
    assert "\n" not in str(info.value)
    assert nothing_is_left(tmp_path / "there")


def test_whole_lines_that_are_missing_or_changed_are_found(file: Path, tmp_path: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    for number, changed in enumerate(
        (lines[:-1], [*lines[:3], *lines[4:]], [*lines, lines[-1]], [lines[0], lines[-1]])
    ):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(changed))
        with pytest.raises(ExchangeError):
            import_study(path, None, tmp_path / "there")
    file.write_text(file.read_text().replace('"value": ', '"value":  ', 1))
    with pytest.raises(ExchangeError, match="the digest in its last line does not fit"):
        import_study(file, None, tmp_path / "there")
    assert nothing_is_left(tmp_path / "there")


def put(line: int, *keys: str, value: Any) -> Callable[[Lines], None]:
    """A change of one value, by its keys."""

    def change(lines: Lines) -> None:
        target: Any = lines[line]
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return change


def add(value: Any) -> Callable[[Lines], None]:
    return lambda lines: lines.append(value)


@pytest.mark.parametrize(
    "change",
    [
        put(0, "name", value="../evil"),
        put(0, "name", value=7),
        put(0, "name", value=None),
        put(0, "format", value="other"),
        put(0, "schema_version", value=2),
        put(0, "kind", value="trial"),
        put(0, "declaration", value=None),
        put(0, "declaration", value=[]),
        put(0, "declaration", "task", value="no-such-task"),
        put(0, "declaration", "search_space", value="x"),
        put(0, "attributes", value=[]),
        put(0, "attributes", attributes.SCHEMA, value="repairing"),
        put(0, "attributes", attributes.GRID, value={}),
        put(0, "attributes", attributes.ELAPSED_S, value="long"),
        put(0, "protocol", value={"content": 1}),
        put(0, "system_attributes", value=3),
        put(0, "total", value=None),
        put(1, "number", value=3),
        put(1, "number", value="0"),
        put(1, "state", value="splendid"),
        put(1, "value", value="high"),
        put(1, "value", value=None),
        put(1, "drawn", value={"model.width": 5_000, "finetune.rate": 1e-3}),
        put(1, "distributions", value={"x": {"name": "os.system", "attributes": {}}}),
        put(1, "distributions", value={"x": "rm"}),
        put(1, "curve", value={"x": 1.0}),
        put(1, "curve", value=[1]),
        put(1, "attempt", value=10**400),
        put(1, "started", value="yesterday"),
        put(1, "reason", value=["a"]),
        put(1, "health", value="well"),
        put(1, "cost", value=[3]),
        put(1, "attempt", value="first"),
        put(1, "attributes", value="none"),
        add({"kind": "record", "path": "../../etc/passwd", "content": {"a": 1}}),
        add({"kind": "record", "path": "trials/0000/../../x/config.json", "content": {"a": 1}}),
        add({"kind": "record", "path": "/elsewhere/ledger.json", "content": {"a": 1}}),
        add({"kind": "record", "path": "study.json", "content": {"a": 1}}),
        add({"kind": "record", "path": "trials/0000/config.json", "content": "text"}),
        add({"kind": "record", "path": "finals/finals.json", "content": {"a": 1}}),
        add({"kind": "record", "path": "finals/attempts.json", "content": {"a": 1}}),
        add({"kind": "record"}),
        add({"kind": "trial"}),
        add({"kind": "weights", "content": "x"}),
        add({"kind": 3}),
        add("text"),
        add([]),
        add({"kind": "record", "path": "opening.json", "content": {"a": float("nan")}}),
        add({"kind": "record", "path": "opening.json", "content": {"a": "\ud800"}}),
        lambda lines: lines.clear(),
    ],
)
def test_what_makes_no_sense_is_refused_whole(
    change: Callable[[Lines], object], file: Path, tmp_path: Path
) -> None:
    path, there = rewritten(file, change), tmp_path / "there"
    code = main(["import-study", str(path), "--runs-dir", str(there)])
    assert code == 2
    assert nothing_is_left(there)
    if locate(None, there).exists:
        with pytest.raises(KeyError):
            optuna.load_study(study_name="toy", storage=f"sqlite:///{there}/hpo.db")


def test_nested_too_deeply_is_refused(file: Path, tmp_path: Path) -> None:
    line = '{"kind": "record", "content": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:-1], line, lines[-1]]))
    with pytest.raises(ExchangeError, match="this is no line of JSON"):
        import_study(file, None, tmp_path / "there")


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_a_file_that_cannot_be_read_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="cannot be read"):
        import_study(tmp_path / name, None, tmp_path / "there")


def test_when_the_database_fails_half_a_study_is_left_nowhere(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    create = optuna.storages.RDBStorage.create_new_trial

    def fail(self: Any, study: int, template_trial: Any = None) -> int:
        if template_trial.number == 2:
            raise ZeroDivisionError
        return create(self, study, template_trial)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "create_new_trial", fail)
        with pytest.raises(ZeroDivisionError):
            import_study(file, None, there)
    assert nothing_is_left(there)
    assert optuna.get_all_study_names(f"sqlite:///{there}/hpo.db") == []
    assert import_study(file, None, there).is_rebuilt
