"""What the dashboard is shown of a study: in the database, cheap, and never in a trial's way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pandas as pd
import pytest
from made_records import trial
from optuna_dashboard._app import create_app
from toy_bench import MakeStudy, ToySlot
from toy_runs import Watcher

from core.task import OnEvent, Outcome
from hpo.events import TrialEnded
from hpo.launch import Result, launch
from hpo.options import RunOptions
from hpo.processes import importing_us
from hpo.showcase.contents import note_on, sample_lines, sample_store, thinned
from hpo.showcase.observer import DrawingError, Showcase, StudyDrawing
from hpo.slots import Work
from hpo.storage import StorageError, locate

HOSTILE = (
    '</script><script>alert(1)</script> <img src=x onerror=alert(1)> \x1b[31m =HYPERLINK("x")'
)


class WritingSlot(ToySlot):
    """Leaves texts, as a task with texts does."""

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        write_texts(work.folder, src=["eins", "zwei"], hyp=["one", HOSTILE])
        return super().run(work, on_event)


def write_texts(folder: Path, **texts: list[str]) -> None:
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    for name, lines in texts.items():
        text = "".join(f"{line}\n" for line in lines)
        (folder / "artifacts" / f"step000012.validation.{name}").write_text(text, "utf-8")


def run(
    study: Any, runs: Path, watch: Watcher, trials: int = 2, *, showcase: bool = True
) -> Result:
    def slots(_: RunOptions, cache: Path) -> list[ToySlot]:
        return [WritingSlot(cache)]

    options = RunOptions(trials=trials, runs_dir=runs)
    return launch(study, options, watch, make_slots=slots, showcase=showcase)


def said(watch: Watcher) -> list[str]:
    """The notes but the one on the data."""
    return [note for note in watch.notes() if note != "3 numbers"]


def shown(runs: Path, name: str) -> dict[str, Any]:
    """What the dashboard's page of a study is given."""
    storage = locate(None, runs).open_for_reading()
    app = create_app(storage, artifact_store=sample_store(runs))
    identifier = storage.get_study_id_from_name(name)
    environ: dict[str, Any] = {"PATH_INFO": f"/api/studies/{identifier}"}
    setup_testing_defaults(environ)
    page = json.loads(b"".join(app(environ, lambda *_: None)))
    assert isinstance(page, dict)
    return page


def test_the_dashboard_has_figures_notes_and_samples_of_a_study(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    run(make_study("first"), runs, watch)  # ids in the database are others than numbers from here
    run(make_study("second"), runs, watch, trials=3)
    page = shown(runs, "second")
    (timeline,) = page["plotly_graph_objects"]
    drawn = json.loads(timeline["graph_object"])
    assert timeline["id"] == "timeline"
    assert sum(len(trace["y"]) for trace in drawn["data"]) == 3
    assert len(page["trials"]) == 3
    for told in page["trials"]:
        assert told["note"] == {"version": 1, "body": "complete\n\nhealth: healthy"}
        (sample,) = told["artifacts"]
        assert sample["filename"] == f"samples of trial {told['number']}.jsonl"
        with sample_store(runs).open_reader(sample["artifact_id"]) as file:
            lines = [json.loads(line) for line in file]
        assert lines == [
            {"line": 1, "src": "eins", "hyp": "one"},
            {"line": 2, "src": "zwei", "hyp": HOSTILE},
        ]
    assert said(watch) == []


def test_going_on_adds_what_is_new_and_leaves_the_rest(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    study = make_study()
    run(study, runs, Watcher())
    storage = locate(None, runs).open_for_request()
    first = shown(runs, "toy")["trials"][0]["trial_id"]
    storage.set_study_system_attr(1, f"dashboard:{first}:note_str:0", "mine")
    run(study, runs, Watcher(), trials=3)
    page = shown(runs, "toy")
    assert [one["note"]["body"].partition("\n")[0] for one in page["trials"]] == [
        "mine", "complete", "complete",
    ]  # fmt: skip
    assert [len(one["artifacts"]) for one in page["trials"]] == [1, 1, 1]
    (timeline,) = page["plotly_graph_objects"]
    drawn = json.loads(timeline["graph_object"])
    assert sum(len(trace["y"]) for trace in drawn["data"]) == 3


def test_what_fails_there_is_told_once_and_costs_no_trial(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("a figure\nwent wrong")

    monkeypatch.setattr("hpo.showcase.contents.figures", fail)
    watch = Watcher()
    result = run(make_study(), tmp_path / "runs", watch)
    assert [one.state for one in result.record.trials] == ["complete", "complete"]
    assert said(watch) == [
        "the dashboard does not show all of the study (ZeroDivisionError: a figure went wrong)"
    ]


def test_a_process_draws_what_is_drawn_here(make_study: MakeStudy, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run(make_study(), runs, Watcher(), showcase=False)
    drawing = StudyDrawing(None, "toy", runs)
    here = drawing.here()
    assert {"dashboard:objective_names", "dashboard:1:note_ver"} < here.keys()
    assert any(key.startswith("dashboard:plot_data:timeline:") for key in here)
    assert drawing.apart() == here
    run(make_study(), runs, Watcher(), trials=3)
    assert drawing.apart() == {}  # all of it is there


def test_a_process_that_draws_says_in_a_line_why_it_cannot(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    run(make_study(), runs, Watcher())
    with pytest.raises(DrawingError, match="no study 'other' has been run here"):
        StudyDrawing(None, "other", runs).apart()
    (runs / "hpo.db").write_bytes(b"no database")
    with pytest.raises(StorageError, match=r"hpo\.db"):
        StudyDrawing(None, "toy", runs).apart()


def test_what_a_driver_draws_with_is_not_in_its_memory(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from hpo.showcase.observer import StudyDrawing\n"
        "import hpo.launch\n"
        "try: StudyDrawing(None, 'none', pathlib.Path(sys.argv[1])).apart()\n"
        "except Exception as error: print(error)\n"
        "print({'pandas', 'plotly', 'optuna_dashboard'} & sys.modules.keys())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    told = subprocess.run(command, env=importing_us(), capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "set()"


ENDED = TrialEnded(0, "complete", 1.0, 12, "", 1.0, True)


class Sketch:
    """A drawing that shows nothing and remembers where it was made."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        """`then` is called by whoever draws, before it rests."""
        self.made: list[str] = []
        self._then = then

    def here(self) -> dict[str, Any]:
        return self._make("here")

    def apart(self) -> dict[str, Any]:
        return self._make("apart")

    def stop(self) -> None:
        """Nothing is drawn apart that takes any time."""

    def _make(self, where: str) -> dict[str, Any]:
        self.made.append(where)
        self._then()
        return {}

    def wait_for(self, count: int) -> None:
        """Until it has been made so often."""
        end = time.monotonic() + 30
        while len(self.made) < count:
            assert time.monotonic() < end
            time.sleep(0.001)


def test_it_draws_apart_while_the_study_runs_and_here_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pause = "hpo.showcase.observer._LEAST_PAUSE_S"
    monkeypatch.setattr(pause, 0.0)
    told = Watcher()
    sketch = Sketch(lambda: monkeypatch.setattr(pause, 60.0))  # so it is drawn once, and rests
    with Showcase(_Nothing(), sketch, told) as showcase:  # type: ignore[arg-type]
        showcase(ENDED)
        sketch.wait_for(1)
        showcase(ENDED)
    assert sketch.made == ["apart", "here"]
    assert told.of(TrialEnded) == [ENDED, ENDED]


def test_nothing_is_drawn_after_a_study_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.showcase.observer._LEAST_PAUSE_S", 60.0)
    sketch = Sketch()
    with (
        pytest.raises(KeyError),
        Showcase(_Nothing(), sketch, Watcher()) as showcase,  # type: ignore[arg-type]
    ):
        showcase(ENDED)
        raise KeyError
    assert sketch.made == []


def test_what_fails_again_and_again_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.showcase.observer._LEAST_PAUSE_S", 0.0)
    monkeypatch.setattr("hpo.showcase.observer._LONGEST_PAUSE_S", 0.0)

    def fail() -> None:
        raise ZeroDivisionError("a figure\nwent wrong")

    told, sketch = Watcher(), Sketch(fail)
    with Showcase(_Nothing(), sketch, told) as showcase:  # type: ignore[arg-type]
        for count in (1, 2, 3):
            showcase(ENDED)
            sketch.wait_for(count)
    assert len(said(told)) == 1


def test_a_study_that_ends_does_not_wait_for_what_is_drawn_apart(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    run(make_study(), runs, Watcher(), showcase=False)
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]

    def start(_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(sleeping, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    monkeypatch.setattr(StudyDrawing, "_start", start)
    monkeypatch.setattr("hpo.showcase.observer._LEAST_PAUSE_S", 0.0)
    drawing, told, found = StudyDrawing(None, "toy", runs), Watcher(), optuna.create_study()
    with Showcase(found, drawing, told) as showcase:
        showcase(ENDED)
        while drawing._child is None:
            time.sleep(0.001)
    assert drawing._child.returncode == -signal.SIGKILL
    assert "dashboard:objective_names" in found._storage.get_study_system_attrs(found._study_id)
    assert said(told) == []


class _Nothing:
    """A study whose storage needs no waiting for."""

    _storage = None


def test_a_note_is_text_whatever_it_says() -> None:
    broken = trial(3, "pruned", reason=HOSTILE, health={"verdict": "unstable", "detail": "a_b*c"})
    assert note_on(broken) == (
        r"pruned: \</script\>\<script\>alert(1)\</script\> \<img src=x onerror=alert(1)\> "
        r'\\x1b\[31m =HYPERLINK("x")'
        "\n\nhealth: unstable; a\\_b\\*c"
    )


def test_samples_are_spaced_and_name_what_fits(tmp_path: Path) -> None:
    many = [str(n) for n in range(23)]
    write_texts(tmp_path, hyp=many, ref=many, beam=many[:5], extra=many)
    lines = list(sample_lines(tmp_path))
    assert [one["line"] for one in lines] == [1, 3, 5, 7, 10, 12, 14, 17, 19, 21]
    assert lines[1] == {"line": 3, "ref": "2", "hyp": "2", "extra": "2"}
    assert list(sample_lines(tmp_path / "none")) == []


def test_thinning_keeps_every_peak_and_what_was_not_finite() -> None:
    steps = 4_999
    norms = pd.DataFrame(
        {
            "number": [0] * steps + [1] * 3,
            "step": [*range(1, steps + 1), 1, 2, 3],
            "grad_norm": [1.0] * steps + [2.0, float("nan"), 2.0],
            "nonfinite": [False] * (steps + 1) + [True, False],
        }
    )
    norms.loc[3_333, "grad_norm"] = 77.0
    thin = thinned(norms)
    assert thin.groupby("number").size().to_dict() == {0: 2_500, 1: 3}
    assert thin["grad_norm"].max() == 77.0
    assert thin["nonfinite"].sum() == 1
    assert thin.index.is_monotonic_increasing
