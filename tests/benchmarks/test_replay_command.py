from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from made_tables import config, write_table

from benchmarks.replay.__main__ import main
from benchmarks.replay.methods import METHODS, Arena
from benchmarks.replay.tables import load_tables
from hpo.declarations.study import SAMPLERS
from hpo.samplers import build_sampler

HEADER = (
    "corpus,method,signal,workers,seed,budget,total_cost,incumbent,regret,"
    "trials_started,decision_cpu_s"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small corpora of eight configurations each."""
    tables = tmp_path / "tables"
    tables.mkdir()
    for corpus, slope in (("one", 1.0), ("two", -1.0)):
        configs = [
            config(x, [slope * x * step + 90 + ord(kind) for step in range(1, 9)], kind=kind)
            for x in (10, 20, 30, 40)
            for kind in "ab"
        ]
        write_table(
            tables / f"{corpus}.json",
            [{**one, "ppl": [float(9 - step) for step in range(8)]} for one in configs],
        )
    return tables


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _run(folder: Path, out: Path, methods: str = "random", *more: str) -> list[dict[str, str]]:
    command = ["--tables", str(folder), "--methods", methods, "--out", str(out), *more]
    assert main([*command, "--seeds", "2"]) == 0
    return _rows(out)


def test_the_rows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _run(folder, tmp_path / "a.csv", "random,tpe", "--workers", "3")
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == HEADER
    assert [(row["corpus"], row["method"], row["seed"], row["budget"]) for row in rows] == [
        (corpus, method, seed, budget)
        for corpus in ("one", "two")
        for method in ("random", "tpe")
        for seed in "01"
        for budget in ("1", "2", "5", "10", "20")
    ]
    assert {(row["signal"], row["workers"]) for row in rows} == {("bleu", "3")}
    assert [float(row["total_cost"]) for row in rows[:5]] == [8, 16, 40, 80, 160]
    # 20 trainings are more than all of the table.
    assert {(row["regret"], row["trials_started"]) for row in rows[4::5]} == {("0.0", "8")}
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == [
        *["corpus", "method", "@1", "@2", "@5", "@10", "@20"], "CPU", "s/run", "ms/decision",
    ]  # fmt: skip
    assert [line.split()[:2] for line in printed[1:]] == [
        [corpus, method] for corpus in ("one", "two", "all") for method in ("random", "tpe")
    ]


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_the_samplers_are_those_of_a_study(name: str, folder: Path) -> None:
    table = load_tables(folder)[0]
    found = METHODS[name](Arena(table.grid, table, seed=1)).sampler(2)
    settings = SAMPLERS[name]()
    assert type(found) is type(build_sampler(settings, seed=1, number=2, conditional=False))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("signal", ["bleu", "ppl"])
def test_the_same_seed_gives_the_same_rows_but_for_the_cpu(
    method: str, signal: str, folder: Path, tmp_path: Path
) -> None:
    if method.startswith("syne-"):
        pytest.importorskip("syne_tune")
    first, second = (
        [
            {key: value for key, value in row.items() if key != "decision_cpu_s"}
            for row in _run(folder, tmp_path / name, method, "--signal", signal)
        ]
        for name in ("a.csv", "b.csv")
    )
    assert first == second


@pytest.mark.parametrize("method", ["tpe-median", "tpe-hyperband", "tpe-sh2", "tpe-sh4"])
def test_stock_pruners_stop_without_waiting_for_trust(method: str, tmp_path: Path) -> None:
    """Ranks predict nothing yet when the first trials are stopped."""
    space = {"x": list(range(60)), "kind": ["a"]}
    falling = [config(x, [60.0 - x + step for step in range(9)]) for x in range(60)]
    write_table(tmp_path / "long.json", [one | {"ppl": [1.0] * 9} for one in falling], space)
    rows = _run(tmp_path, tmp_path / "a.csv", f"random,{method}", "--workers", "1")
    started = [int(row["trials_started"]) for row in rows if row["budget"] == "20"]
    assert min(started[2:]) > max(started[:2])


@pytest.mark.slow
def test_processes_change_nothing(folder: Path, tmp_path: Path) -> None:
    alone = _run(folder, tmp_path / "a.csv", "random,promote")
    shared = _run(folder, tmp_path / "b.csv", "random,promote", "--jobs", "2")
    for row in (*alone, *shared):
        del row["decision_cpu_s"]
    assert alone == shared


def test_the_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-methods"]) == 0
    assert capsys.readouterr().out.split() == list(METHODS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--methods": "random,tpe-sh3"}, "unknown method 'tpe-sh3'. Did you mean 'tpe-sh"),
        ({"--methods": "zzz"}, "unknown method 'zzz'. Allowed: random, tpe, "),
        ({"--methods": ","}, "--methods names none"),
        ({"--tables": "{tmp}/none"}, "none is not a folder"),
        ({"--tables": "{tmp}"}, "holds no *.json table"),
        ({"--out": "{tmp}/none/a.csv"}, "none/a.csv cannot be written: No such file"),
        ({"--out": "{tmp}"}, "cannot be written: Is a directory"),
        ({"--workers": "0"}, "must be a whole number of at least 1, got '0'"),
        ({"--seeds": "few"}, "must be a whole number of at least 1, got 'few'"),
        ({"--signal": "loss"}, "invalid choice: 'loss'"),
        ({"--tables": None}, "--tables is required"),
        ({"--colour": "red"}, "unrecognized arguments: --colour red"),
    ],
)
def test_a_mistake_is_one_line(
    changed: dict[str, str | None],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"--tables": str(folder), "--methods": "random", "--out": str(tmp_path / "a.csv")}
    argv = [
        word.replace("{tmp}", str(tmp_path))
        for option, value in (options | changed).items()
        if value is not None
        for word in (option, value)
    ]
    assert main(argv) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("replay: ")
    assert message in complaint
    assert complaint.count("\n") == 1


def test_a_method_whose_package_is_missing_is_told(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "syne_tune.optimizer", None)
    out = tmp_path / "a.csv"
    assert main(["--tables", str(folder), "--methods", "syne-bohb", "--out", str(out)]) == 2
    complaint = capsys.readouterr().err
    assert "Syne Tune's BOHB needs the package syne_tune" in complaint
    assert "pip install -e '.[replay]'" in complaint
    assert complaint.count("\n") == 1
    assert not out.exists()


def test_a_mistake_leaves_an_earlier_result(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    _run(folder, out)
    before = out.read_text()
    (folder / "one.json").write_text("{")
    assert main(["--tables", str(folder), "--methods", "random", "--out", str(out)]) == 2
    assert out.read_text() == before
