"""`depth_sweep` with a tiny budget: run, looked at, interrupted, killed, gone on with."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import LONGER, TINY, Command, Running, environment, hpo

Study = tuple[Path, subprocess.CompletedProcess[str]]
FINAL = re.compile(r"^FINAL_TEST_BLEU = \d+\.\d\d \([^()]*version:[^()]*\)$", re.MULTILINE)
READING = ("studies", "show depth_sweep", "show depth_sweep 1", "validate")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running("run", *LONGER, cwd=tmp_path)
    yield made
    made.end()


def scores(folder: Path) -> dict[str, str]:
    """Every evaluation of every trial but the seconds it took, by trial."""
    files = sorted((folder / "runs" / "depth_sweep" / "trials").glob("*/evaluations.jsonl"))
    return {
        file.parent.name: re.sub(r'"elapsed_s": *[0-9.e-]+', "", file.read_text("utf-8"))
        for file in files
    }


def test_it_ends_with_the_best_configuration_the_test_score_and_a_report(
    tiny_study: Study,
) -> None:
    folder, done = tiny_study
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(FINAL.findall(done.stdout)) == 1
    assert "best configuration" in done.stdout
    assert "Best score on validation: " in done.stdout
    report = re.search(r"^Report: (.*)$", done.stdout, re.MULTILINE)
    assert report is not None
    assert (folder / report[1]).read_text("utf-8").startswith("<!DOCTYPE html>")


def test_it_prints_plain_lines_and_nothing_twice(tiny_study: Study) -> None:
    _, done = tiny_study
    lines = [line for line in done.stdout.split("\n") if line.strip()]
    assert len(lines) == len(set(lines))
    assert "\x1b" not in done.stdout
    for line in ("depth_sweep: 2 trials", "trial 0 started: ", "trial 1 complete at step 20, "):
        assert sum(one.startswith(line) for one in lines) == 1, done.stdout


def test_asked_for_no_more_it_prints_its_result_and_is_done(
    tiny_study: Study, command: Command
) -> None:
    folder, first = tiny_study
    before = scores(folder)
    code, out, err = command("run", *TINY, cwd=folder)
    assert (code, err) == (0, "")
    assert FINAL.findall(out) == FINAL.findall(first.stdout)
    assert "started" not in out
    assert scores(folder) == before


def test_a_changed_protocol_is_refused_naming_the_key(tiny_study: Study, command: Command) -> None:
    changed = ("--set", "protocol.batch_size=37")
    code, _, err = command("run", *TINY, *changed, cwd=tiny_study[0])
    assert (code, err.count("\n")) == (2, 1)
    assert "protocol.batch_size" in err
    assert "--name" in err


def test_commands_that_only_look_do_so_without_torch(tiny_study: Study) -> None:
    program = (
        "import sys; from hpo.cli import main\n"
        f"for words in {READING}: assert main(words.split()) == 0\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tiny_study[0],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_show_lists_the_trials_and_then_one(tiny_study: Study, command: Command) -> None:
    folder, _ = tiny_study
    _, study, _ = command("show", "depth_sweep", cwd=folder)
    assert "depth_sweep: 2 of 2 trials finished (2 complete)" in study
    assert "num_layers=3 norm=pre" in study
    assert FINAL.search(study)
    _, trial, _ = command("show", "depth_sweep", "1", cwd=folder)
    for part in ("trial 1: complete", "model.num_layers", "verdict", "telemetry.parquet"):
        assert part in trial
    code, out, err = command("show", "depth_sweep", "7", cwd=folder)
    assert (code, out) == (2, "")
    assert err.startswith("hpo: depth_sweep has no trial 7. See `")


def test_translate_gives_a_line_for_each_text(tiny_study: Study, command: Command) -> None:
    folder, _ = tiny_study
    texts = ("Ein Hund läuft.", " ", "Zwei Kinder spielen.")
    code, out, err = command("translate", "depth_sweep", *texts, cwd=folder)
    assert (code, err) == (0, "")
    # So small a model may have nothing to say.
    _, blank, _, end = out.split("\n")
    assert (blank, end) == ("", "")
    assert command("translate", "--trial", "1", "depth_sweep", texts[2], cwd=folder)[0] == 0
    code, out, err = command("translate", "depth_sweep", "--trial", "2", "x", cwd=folder)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_translate_reads_standard_input_line_by_line(tiny_study: Study) -> None:
    folder, _ = tiny_study
    words = [sys.executable, "-m", "hpo", "translate", "depth_sweep"]
    with subprocess.Popen(
        words, cwd=folder, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in (b"Ein Hund.\n", b"Eine Frau.\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n"), "answered before the next line comes"
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_export_writes_a_folder_that_transformers_loads(
    tiny_study: Study, command: Command, tmp_path: Path
) -> None:
    folder, _ = tiny_study
    into = tmp_path / "out"
    words = ("export", "depth_sweep", "1", "--format", "transformers", str(into))
    assert command(*words, cwd=folder) == (0, f"depth_sweep, trial 1: {into}\n", "")
    assert "# depth_sweep, trial 1\n" in (into / "README.md").read_text("utf-8")
    names = {path.name for path in into.iterdir()}
    assert names > {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"}
    code, out, err = command(*words, cwd=folder)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_studies_lists_what_was_run_beside_what_is_declared(
    tiny_study: Study, command: Command
) -> None:
    _, out, _ = command("studies", cwd=tiny_study[0])
    assert re.search(r"^depth_sweep +finished +2/2 ", out, re.MULTILINE)
    assert re.search(r"^quickstart +declared ", out, re.MULTILINE)


def test_report_and_clean_work_on_a_finished_study(tiny_study: Study, command: Command) -> None:
    folder, _ = tiny_study
    code, report, err = command("report", "depth_sweep", cwd=folder)
    assert (code, err) == (0, "")
    assert (folder / report.strip()).is_file()
    code, out, err = command("clean", "depth_sweep", cwd=folder)
    assert (code, err) == (0, "")
    assert out.startswith("depth_sweep: ")
    assert "2 of 2 trials finished" in command("show", "depth_sweep", cwd=folder)[1]


def test_what_it_writes_is_for_its_user_alone(tiny_study: Study) -> None:
    folder, _ = tiny_study
    for path in [folder / "runs", *(folder / "runs").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_dashboard_serves_the_studies_on_loopback_only(tiny_study: Study) -> None:
    folder, _ = tiny_study
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = hpo("dashboard", "--port", port, cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"hpo: cannot listen on 127.0.0.1:{port}: ")
    serving = Running("dashboard", "--port", port, cwd=folder)
    try:
        address, browser = serving.enter()
        with browser.open(f"{address}/api/studies", timeout=60) as answer:
            (study,) = json.load(answer)["study_summaries"]
        assert study["study_name"] == "depth_sweep"
        with browser.open(f"{address}/api/studies/{study['study_id']}", timeout=60) as answer:
            shown = json.load(answer)
        figures = {one["id"] for one in shown["plotly_graph_objects"]}
        assert figures == {"gradient-norms", "stability-map", "timeline"}
        serving.press_ctrl_c()
        assert serving.wait() == 0
    finally:
        serving.end()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    done = hpo("run", *LONGER, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(
    running: Running, tmp_path: Path, straight: Path
) -> None:
    running.wait_for("step 10:")
    running.press_ctrl_c()
    assert running.wait() == 130, running.errors.read_text("utf-8")
    assert running.survivors() == []
    assert running.errors.read_text("utf-8").count("\n") == 1, "one line, no traceback"
    resumed = hpo("run", *LONGER, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "depth_sweep: 0 of 2 trials done, going on" in resumed.stdout
    assert FINAL.search(resumed.stdout)
    assert scores(tmp_path) == scores(straight), "resumed differs from uninterrupted"


@pytest.mark.slow
def test_after_kill_9_the_next_run_goes_on(
    running: Running, tmp_path: Path, straight: Path
) -> None:
    running.wait_for("step 10:")
    running.kill()
    assert running.survivors() == [], "a worker outlived its driver"
    resumed = hpo("run", *LONGER, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "depth_sweep: 2 of 2 trials finished (2 complete)" in resumed.stdout
    assert FINAL.search(resumed.stdout)
    assert scores(tmp_path) == scores(straight), "resumed differs from uninterrupted"


@pytest.mark.slow
def test_a_second_driver_is_refused_while_the_first_one_runs(
    running: Running, tmp_path: Path
) -> None:
    running.wait_for("trial 0 started")
    second = hpo("run", *LONGER, cwd=tmp_path)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert str(running.process.pid) in second.stderr
    assert "running now" in hpo("show", "depth_sweep", cwd=tmp_path).stdout
    running.press_ctrl_c()
    assert running.wait() == 130


def test_two_jobs_share_the_budget(tmp_path: Path) -> None:
    done = hpo("run", *TINY, "--trials=3", "--jobs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "depth_sweep: 3 trials, 2 at the same time" in done.stdout
    assert len(re.findall(r"^trial \d started", done.stdout, re.MULTILINE)) == 3
    assert FINAL.search(done.stdout)
