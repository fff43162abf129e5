"""Every command over a PostgreSQL server, whose password goes nowhere."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from benchmarks.postgres_server import PostgresServer
from tests.end_to_end.command import TINY, Command, Running, environment


def _children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == pid:
                found.append(int(entry.name))
    return found


def _write_pg_dump(postgres: str, server: PostgresServer, path: Path) -> None:
    with path.open("wb") as dump:
        subprocess.run(
            [server.binaries / "pg_dump", postgres.replace("+psycopg", "")],
            env=environment(PGPASSWORD=server.password),
            stdout=dump,
            check=True,
        )


def _refuse_the_password(folder: Path, password: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_run_and_every_command_after_it_keep_the_password(
    postgres: str, postgres_server: PostgresServer, tmp_path: Path, command: Command
) -> None:
    password, place = postgres_server.password, ("--storage", postgres)
    running = Running("run", *TINY, *place, cwd=tmp_path)
    try:
        running.wait_for("trial 0")
        for pid in (running.process.pid, *_children_of(running.process.pid)):
            assert password not in Path(f"/proc/{pid}/cmdline").read_text()
        for pid in _children_of(running.process.pid):
            if "hpo.workers" in Path(f"/proc/{pid}/cmdline").read_text():
                assert password not in Path(f"/proc/{pid}/environ").read_text()
        assert running.wait() == 0, running.errors.read_text()
    finally:
        running.end()
    said = []
    for words in (
        ("studies",),
        ("show", "depth_sweep"),
        ("show", "depth_sweep", "0"),
        ("report", "depth_sweep"),
        ("leaderboard", "--json"),
        ("leaderboard", "--html"),
        ("plan", "depth_sweep"),
        ("clean", "depth_sweep"),
    ):
        code, out, err = command(*words, *place, cwd=tmp_path)
        assert (code, err) == (0, ""), words
        assert "depth_sweep" in out or "leaderboard" in out
        said.append(out)
    (tmp_path / "said").write_text("\n".join(said))
    _write_pg_dump(postgres, postgres_server, tmp_path / "dump.sql")
    assert "depth_sweep" in (tmp_path / "dump.sql").read_text()
    assert not (tmp_path / "runs" / "hpo.db").exists()
    _refuse_the_password(tmp_path, password)
    _look_in_a_browser(postgres, tmp_path)
    _refuse_the_password(tmp_path, password)


def _look_in_a_browser(postgres: str, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serving = Running("dashboard", "--port", str(port), "--storage", postgres, cwd=folder)
    try:
        address, browser = serving.enter()
        with browser.open(f"{address}/api/studies", timeout=60) as answer:
            (study,) = json.load(answer)["study_summaries"]
        assert study["study_name"] == "depth_sweep"
        page = f"{address}/api/studies/{study['study_id']}?after=0"
        with browser.open(page, timeout=60) as answer:
            shown = json.load(answer)
        assert len(shown["trials"]) == 2
        assert {one["id"] for one in shown["plotly_graph_objects"]} >= {"timeline"}
        assert all(trial["note"]["body"] for trial in shown["trials"])
    finally:
        serving.end()


@pytest.mark.parametrize(
    "words",
    [
        ["run", *TINY, "--storage", "postgresql://me:{}@127.0.0.1:1/db"],
        ["run", *TINY, "--storage", "postgresql://me@127.0.0.1:1/db?password={}"],
        ["run", *TINY, "--storage", "postgresql://me@127.0.0.1:1/db?sslpassword={}", "--nothing"],
        ["run", *TINY, "--set", "storage.url=postgresql://me:{}@127.0.0.1:1/db"],
        ["run", "--study", "postgresql://me:{}@127.0.0.1:1/db"],
        ["studies", "--storage", "mysql://me:{}@127.0.0.1:1/db"],
        ["studies", "--storag", "postgresql://me:{}@127.0.0.1:1/db"],
        ["show", "postgresql://me:{}@127.0.0.1:1/db"],
        ["postgresql://me:{}@127.0.0.1:1/db"],
        ["studies", "--storage=postgresql://me:{}"],
    ],
)
def test_a_password_in_a_command_is_refused_and_not_repeated(
    words: list[str], command: Command, tmp_path: Path
) -> None:
    password = "secret-of-the-url"
    code, out, err = command(*[word.format(password) for word in words], cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert password not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ['url = "{}"', 'keep = "{}"', '"{}" = 1'])
def test_a_password_in_a_declaration_is_refused_and_not_repeated(
    line: str, command: Command, tmp_path: Path
) -> None:
    url = "postgresql://me:secret-of-the-url@127.0.0.1:1/db"
    (tmp_path / "mine.toml").write_text(
        f'task = "translation"\nsearch_space = "depth"\n[storage]\n{line.format(url)}\n'
    )
    code, _, err = command("run", "--study", "mine.toml", cwd=tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "secret-of-the-url" not in err


@pytest.mark.parametrize("words", [["studies"], ["show", "x"], ["run", *TINY], ["dashboard"]])
@pytest.mark.parametrize("fault", ["no server", "no database", "wrong password"])
def test_a_server_that_does_not_answer_is_one_line(
    words: list[str],
    fault: str,
    postgres: str,
    postgres_server: PostgresServer,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password, url = postgres_server.password, postgres
    if fault == "no server":
        url = url.replace(str(postgres_server.port), "1")
    if fault == "no database":
        url += "x"
    if fault == "wrong password":
        password = "secret-but-wrong"
        monkeypatch.setenv("PGPASSWORD", password)
    code, out, err = command(*words, "--storage", url, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert password not in err
    assert url in err
    assert not (tmp_path / "runs" / "depth_sweep").exists()
