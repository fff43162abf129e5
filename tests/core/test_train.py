"""The laws of the loop: however a run is broken off, what it comes to is the same, bit for bit."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from toy_task import ToyTask, toy_config

from core.bundle import read_bundle
from core.errors import CheckpointError
from core.history import read_curve
from core.settings import RunConfig
from core.stage_cache import StageCache
from core.task import Evaluation, Outcome, OutcomeState, Placement, Progress, Verdict
from core.telemetry import read_telemetry
from core.train import train

Event = Progress | Evaluation
Place = tuple[type[Event], int]
"""The first event of a type at a step, or after it."""


class Killed(BaseException):
    """Death at an event: nothing is tidied up."""


class Listener:
    """Remembers events and answers the first at each place with a verdict."""

    def __init__(self, answers: Mapping[Place, Verdict] | None = None) -> None:
        self.events: list[Event] = []
        self._answers = dict(answers or {})

    def __call__(self, event: Event) -> Verdict:
        self.events.append(event)
        for place, verdict in self._answers.items():
            if isinstance(event, place[0]) and event.step >= place[1]:
                del self._answers[place]
                return verdict
        return Verdict.CONTINUE

    @property
    def evaluations(self) -> list[Evaluation]:
        return [event for event in self.events if isinstance(event, Evaluation)]


def go(
    folder: Path,
    answers: Mapping[Place, Verdict] | None = None,
    *,
    config: RunConfig | None = None,
    cache: StageCache | None = None,
    listener: Callable[[Event], Verdict] | None = None,
) -> Outcome:
    config = config or toy_config()
    task = ToyTask(config, Placement(), folder)
    return train(task, config, Placement(), folder, cache, listener or Listener(answers))


def result(folder: Path) -> tuple[dict[str, bytes], list[tuple[Any, ...]], pd.DataFrame]:
    """What must not depend on how a run went: weights, curve and telemetry."""
    tensors, _ = read_bundle(folder / "weights", way_out="")
    weights = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    curve = [
        (item.stage, item.step, item.value, dict(item.metrics))
        for item in read_curve(folder / "evaluations.jsonl")
    ]
    return weights, curve, read_telemetry(folder / "telemetry.parquet")


def assert_equal_results(folder: Path, other: Path) -> None:
    weights, curve, telemetry = result(folder)
    other_weights, other_curve, other_telemetry = result(other)
    pd.testing.assert_frame_equal(telemetry, other_telemetry, check_exact=True)
    assert curve == other_curve
    assert weights == other_weights


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing broke off."""
    folder = tmp_path_factory.mktemp("straight")
    assert go(folder).state is OutcomeState.COMPLETED
    return folder


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life after every step and before every evaluation."""
    monkeypatch.setattr("core.reporting.PROGRESS_EVERY_S", 0.0)


@pytest.fixture
def cautious(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    monkeypatch.setattr("core.checkpoint.CheckpointPace.is_due", lambda pace, now, company=1: True)


def test_a_run_learns_and_leaves_its_folder(straight: Path) -> None:
    _, curve, telemetry = result(straight)
    assert [(stage, step) for stage, step, *_ in curve] == [
        ("pretrain", 7),
        ("pretrain", 14),
        ("finetune", 21),
        ("finetune", 28),
        ("finetune", 35),
    ]
    assert curve[-1][2] > 90
    assert [metrics["final"] for *_, metrics in curve] == [0, 0, 0, 0, 1]
    assert list(telemetry["step"]) == list(range(1, 36))
    assert list(telemetry["stage"]) == ["pretrain"] * 14 + ["finetune"] * 21
    # Each stage begins its own warmup: 3e-2 over 5 updates, 2e-2 over 2.
    assert telemetry["learning_rate"][[0, 4, 14, 15]].to_list() == pytest.approx(
        [6e-3, 3e-2, 1e-2, 2e-2]
    )
    assert telemetry["clipped"].any()
    assert telemetry["amp_scale"].isna().all()
    assert (straight / "artifacts" / "step000035.guesses.txt").exists()


def test_the_outcome_sums_the_run_up(tmp_path: Path) -> None:
    listener = Listener()
    outcome = go(tmp_path, listener=listener)
    assert outcome.curve == tuple(listener.evaluations)
    assert (outcome.step, outcome.value) == (35, outcome.curve[-1].value)
    assert outcome.reason == ""
    assert outcome.facts["num_parameters"] == 23 * 11 + 2 * 11 + 11 * 11 + 11
    assert outcome.facts["precision"] == "fp32"
    assert (outcome.facts["threads"], outcome.facts["vocab"]) == (1, 23)
    cost = outcome.cost
    assert min(cost.prepare_s, cost.pretrain_s, cost.finetune_s, cost.evaluate_s) > 0
    assert (cost.cache_hit, cost.wait_s) == (False, 0.0)
    elapsed = [item.elapsed_s for item in outcome.curve]
    assert elapsed == sorted(elapsed)


@pytest.mark.usefixtures("talkative")
def test_events_come_in_order(tmp_path: Path) -> None:
    listener = Listener()
    go(tmp_path, listener=listener)
    assert isinstance(listener.events[0], Progress)
    assert (listener.events[0].note, listener.events[0].loss) == ("preparing", None)
    expected: list[tuple[str, int, str]] = []
    for step in range(1, 36):
        is_on_grid = step % 7 == 0
        expected.append(("Progress", step, "evaluating" if is_on_grid else ""))
        if is_on_grid:
            expected.append(("Evaluation", step, ""))
    assert [
        (type(event).__name__, event.step, getattr(event, "note", ""))
        for event in listener.events[1:]
    ] == expected
    for event in listener.events[1:]:
        assert event.stage == ("pretrain" if event.step <= 14 else "finetune")
        if isinstance(event, Progress):
            assert event.total_steps == 35
            assert event.loss is not None


def test_signs_of_life_are_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.reporting.PROGRESS_EVERY_S", 1e9)
    listener = Listener()
    go(tmp_path, listener=listener)
    assert [type(event) for event in listener.events] == [Progress, *[Evaluation] * 5]


# Left and taken up again


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize(
    "place",
    [
        (Progress, 0),  # before the first step
        (Progress, 1),
        (Progress, 5),
        (Progress, 7),  # before an evaluation that is due
        (Evaluation, 7),
        (Progress, 8),
        (Progress, 14),
        (Evaluation, 14),  # between the stages
        (Progress, 15),
        (Evaluation, 21),
        (Progress, 34),
        (Progress, 35),  # before the last evaluation
    ],
)
@pytest.mark.parametrize("is_cached", [False, True])
def test_paused_equals_uninterrupted(
    place: Place, is_cached: bool, tmp_path: Path, straight: Path
) -> None:
    folder = tmp_path / "run"
    cache = StageCache(tmp_path / "stages") if is_cached else None
    paused = go(folder, {place: Verdict.PAUSE}, cache=cache)
    assert (paused.state, paused.step) == (OutcomeState.PAUSED, place[1])
    assert paused.reason == f"paused at step {place[1]}"
    assert paused.curve == read_curve(folder / "evaluations.jsonl")
    listener = Listener()
    outcome = go(folder, cache=cache, listener=listener)
    assert outcome.state is OutcomeState.COMPLETED
    assert_equal_results(folder, straight)
    told = [(item.step, item.replayed) for item in listener.evaluations]
    earlier = [item.step for item in paused.curve]
    assert told == [(step, step in earlier) for step in (7, 14, 21, 28, 35)]
    assert outcome.facts["changes"] == []


@pytest.mark.usefixtures("talkative")
def test_paused_after_every_step_equals_uninterrupted(tmp_path: Path, straight: Path) -> None:
    elapsed = 0.0
    for step in range(35):
        outcome = go(tmp_path, {(Progress, step + 1): Verdict.PAUSE})
        assert (outcome.state, outcome.step) == (OutcomeState.PAUSED, step + 1)
        cost = outcome.cost
        spent = cost.prepare_s + cost.pretrain_s + cost.finetune_s + cost.evaluate_s
        assert spent > elapsed
        elapsed = spent
    assert go(tmp_path).state is OutcomeState.COMPLETED
    assert_equal_results(tmp_path, straight)


@pytest.mark.usefixtures("talkative", "cautious")
@pytest.mark.parametrize(
    "place",
    [(Progress, 1), (Progress, 9), (Evaluation, 14), (Progress, 15), (Evaluation, 28)],
)
def test_killed_equals_uninterrupted(place: Place, tmp_path: Path, straight: Path) -> None:
    def die(event: Event) -> Verdict:
        if isinstance(event, place[0]) and event.step == place[1]:
            raise Killed
        return Verdict.CONTINUE

    folder, cache = tmp_path / "run", StageCache(tmp_path / "stages")
    with pytest.raises(Killed):
        go(folder, cache=cache, listener=die)
    shutil.copytree(folder, tmp_path / "copy")
    assert go(tmp_path / "copy", cache=cache).state is OutcomeState.COMPLETED
    assert_equal_results(tmp_path / "copy", straight)


def test_a_foreign_checkpoint_is_refused_and_a_damaged_one_thrown_away(
    tmp_path: Path, straight: Path
) -> None:
    go(tmp_path, {(Evaluation, 7): Verdict.PAUSE})
    with pytest.raises(CheckpointError, match="config_digest is that of another configuration"):
        go(tmp_path, config=toy_config(seed=4))
    (state,) = (tmp_path / "checkpoint").glob("*.safetensors")
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(bytes(content))
    listener = Listener()
    assert go(tmp_path, listener=listener).state is OutcomeState.COMPLETED
    (warning,) = {getattr(event, "warning", "") for event in listener.events} - {""}
    assert re.match(r"its checkpoint is damaged, so it begins again \(.*sha256", warning)
    assert_equal_results(tmp_path, straight)


def test_a_changed_machine_is_said(tmp_path: Path) -> None:
    go(tmp_path, {(Evaluation, 14): Verdict.PAUSE})
    config = toy_config()
    task = ToyTask(config, Placement(), tmp_path)
    try:
        outcome = train(task, config, Placement(threads=2), tmp_path, None, Listener())
    finally:
        torch.set_num_threads(1)
    assert outcome.state is OutcomeState.COMPLETED
    assert outcome.facts["changes"] == ["threads 2 from step 14 on, 1 before"]


# The stage cache


def test_a_cached_stage_equals_a_fresh_one(tmp_path: Path, straight: Path) -> None:
    cache = StageCache(tmp_path / "stages")
    first = go(tmp_path / "first", config=toy_config(seed=5), cache=cache)
    listener = Listener()
    second = go(tmp_path / "second", cache=cache, listener=listener)
    assert_equal_results(tmp_path / "second", straight)
    assert [item.replayed for item in listener.evaluations] == [True, True, False, False, False]
    assert (first.cost.cache_hit, second.cost.cache_hit) == (False, True)
    assert second.cost.cache_saved_s > 0
    assert second.cost.pretrain_s == 0.0
    assert first.curve[:2] != second.curve[:2]  # the time and the flag
    assert (tmp_path / "second" / "artifacts" / "step000014.guesses.txt").exists()


@pytest.mark.parametrize("verdict", [Verdict.STOP, Verdict.PAUSE])
@pytest.mark.parametrize("step", [7, 14])
def test_a_verdict_on_a_replayed_evaluation_is_obeyed(
    verdict: Verdict, step: int, tmp_path: Path, straight: Path
) -> None:
    cache = StageCache(tmp_path / "stages")
    go(tmp_path / "first", config=toy_config(seed=5), cache=cache)
    folder = tmp_path / "second"
    answers = {(Evaluation, step): verdict}
    cached = go(folder, answers, cache=cache)
    fresh = go(tmp_path / "third", answers)
    assert (cached.state, cached.step, cached.value) == (fresh.state, fresh.step, fresh.value)
    assert len(cached.curve) == len(fresh.curve) == step // 7
    telemetry = [
        read_telemetry(path / "telemetry.parquet") for path in (folder, tmp_path / "third")
    ]
    pd.testing.assert_frame_equal(*telemetry, check_exact=True)
    if verdict is Verdict.PAUSE:
        assert go(folder, cache=cache).state is OutcomeState.COMPLETED
        assert_equal_results(folder, straight)


def test_paused_in_a_replay_the_cache_may_vanish(tmp_path: Path, straight: Path) -> None:
    cache = StageCache(tmp_path / "stages")
    go(tmp_path / "first", config=toy_config(seed=5), cache=cache)
    assert go(tmp_path / "second", {(Evaluation, 7): Verdict.PAUSE}, cache=cache).step == 7
    shutil.rmtree(tmp_path / "stages")
    listener = Listener()
    go(tmp_path / "second", cache=cache, listener=listener)
    assert_equal_results(tmp_path / "second", straight)
    assert not any(item.replayed for item in listener.evaluations)


@pytest.mark.parametrize(
    ("answers", "data", "is_kept"),
    [
        ({(Evaluation, 7): Verdict.STOP}, {}, False),
        ({(Evaluation, 14): Verdict.STOP}, {}, True),  # all of it was done
        ({(Evaluation, 14): Verdict.PAUSE}, {}, True),
        ({}, {"infinite_loss_at": 13}, False),
        ({}, {"collapse_at": 14}, False),
        ({}, {"undefined_score_at": 14}, False),
        ({}, {"infinite_loss_at": 20}, True),
    ],
)
def test_only_a_finished_sound_stage_is_kept(
    answers: Mapping[Place, Verdict], data: Mapping[str, int], is_kept: bool, tmp_path: Path
) -> None:
    cache = StageCache(tmp_path / "stages")
    go(tmp_path / "first", answers, config=toy_config(data=data), cache=cache)
    assert go(tmp_path / "second", cache=cache).cost.cache_hit == is_kept


@pytest.mark.usefixtures("talkative")
def test_waiting_for_another_run_is_told_and_can_be_paused(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "stages")
    notes: list[str] = []
    waiting: list[Outcome] = []

    def pause_when_waiting(event: Event) -> Verdict:
        note = getattr(event, "note", "")
        notes.append(note)
        return Verdict.PAUSE if note.startswith("waiting") else Verdict.CONTINUE

    def start_another(event: Event) -> Verdict:
        if isinstance(event, Progress) and event.step == 3 and not waiting:
            waiting.append(go(tmp_path / "second", cache=cache, listener=pause_when_waiting))
        return Verdict.CONTINUE

    assert go(tmp_path / "first", cache=cache, listener=start_another).step == 35
    assert notes == ["preparing", "waiting for another run's pretrain"]
    assert (waiting[0].state, waiting[0].step) == (OutcomeState.PAUSED, 0)
    assert waiting[0].cost.wait_s > 0
    resumed = go(tmp_path / "second", cache=cache)
    assert (resumed.state, resumed.cost.cache_hit) == (OutcomeState.COMPLETED, True)
    assert_equal_results(tmp_path / "second", tmp_path / "first")


# Ends


@pytest.mark.parametrize("step", [7, 14, 28])
def test_a_stopped_run_is_what_it_was_at_its_last_evaluation(
    step: int, tmp_path: Path, straight: Path
) -> None:
    outcome = go(tmp_path, {(Evaluation, step): Verdict.STOP})
    assert (outcome.state, outcome.step) == (OutcomeState.STOPPED, step)
    assert outcome.reason == f"stopped at step {step}"
    assert outcome.value == outcome.curve[-1].value == result(straight)[1][step // 7 - 1][2]
    assert len(read_telemetry(tmp_path / "telemetry.parquet")) == step
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("verdict", [Verdict.STOP, Verdict.PAUSE])
def test_after_the_last_evaluation_nothing_is_left_to_stop(
    verdict: Verdict, tmp_path: Path
) -> None:
    outcome = go(tmp_path, {(Evaluation, 35): verdict})
    assert (outcome.state, outcome.step, outcome.reason) == (OutcomeState.COMPLETED, 35, "")


@pytest.mark.parametrize("step", [1, 6, 7, 15, 33])
def test_a_diverged_run_names_its_first_bad_step(step: int, tmp_path: Path) -> None:
    listener = Listener()
    config = toy_config(data={"infinite_loss_at": step})
    outcome = go(tmp_path, config=config, listener=listener)
    assert (outcome.state, outcome.step) == (OutcomeState.DIVERGED, step)
    assert outcome.reason.startswith(f"loss inf and gradient norm nan at step {step}, at learning")
    assert [event.step for event in listener.evaluations] == list(range(7, step, 7))
    assert outcome.value == (outcome.curve[-1].value if step > 7 else None)
    assert (outcome.health.verdict, outcome.health.detail) == ("diverged", outcome.reason)
    assert outcome.health.nonfinite_steps == 1
    assert len(read_telemetry(tmp_path / "telemetry.parquet")) == step


def test_a_score_that_is_no_number_is_divergence(tmp_path: Path) -> None:
    listener = Listener()
    config = toy_config(data={"undefined_score_at": 21})
    outcome = go(tmp_path, config=config, listener=listener)
    assert (outcome.state, outcome.step) == (OutcomeState.DIVERGED, 21)
    assert outcome.reason == "accuracy nan at step 21"
    assert outcome.health.verdict == "diverged"
    assert [event.step for event in listener.evaluations] == [7, 14]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("step", [14, 28, 35])
def test_a_collapsed_run_ends_at_that_evaluation(
    direction: str, step: int, tmp_path: Path
) -> None:
    config = toy_config(direction=direction, data={"collapse_at": step})
    listener = Listener({(Evaluation, step): Verdict.PAUSE})
    outcome = go(tmp_path, config=config, listener=listener)
    assert (outcome.state, outcome.step) == (OutcomeState.COLLAPSED, step)
    assert listener.evaluations[-1].step == step
    verb = "accuracy" if direction == "maximize" else "error"
    assert outcome.reason.startswith(f"{verb} fell to ")
    assert outcome.health.verdict == "collapsed"


def test_a_metric_to_be_minimized_runs_alike(tmp_path: Path, straight: Path) -> None:
    outcome = go(tmp_path, config=toy_config(direction="minimize"))
    assert outcome.state is OutcomeState.COMPLETED
    values = [value for _, _, value, _ in result(straight)[1]]
    assert [item.value for item in outcome.curve] == [100 - value for value in values]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_are_obeyed_and_resumed(precision: str, tmp_path: Path) -> None:
    config = toy_config(precision=precision)
    assert go(tmp_path / "straight", config=config).facts["precision"] == precision
    go(tmp_path / "paused", {(Evaluation, 21): Verdict.PAUSE}, config=config)
    assert go(tmp_path / "paused", config=config).state is OutcomeState.COMPLETED
    assert_equal_results(tmp_path / "straight", tmp_path / "paused")
    scales = read_telemetry(tmp_path / "straight" / "telemetry.parquet")["amp_scale"]
    assert scales.isna().all() if precision == "bf16" else (scales > 0).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_gpu_pauses_and_resumes(precision: str, tmp_path: Path) -> None:
    config = toy_config(precision=precision)
    placement = Placement("cuda:0")
    for answers in ({(Evaluation, 21): Verdict.PAUSE}, {}):
        task = ToyTask(config, placement, tmp_path)
        outcome = train(task, config, placement, tmp_path, None, Listener(answers))
    assert outcome.state is OutcomeState.COMPLETED
    assert outcome.value is not None
    assert outcome.value > 50
    assert outcome.facts["device"].startswith("cuda ")
    assert outcome.cost.peak_memory_bytes > 0


def test_one_stage_is_enough(tmp_path: Path) -> None:
    outcome = go(tmp_path, config=toy_config(pretrain_steps=0))
    assert (outcome.state, outcome.step) == (OutcomeState.COMPLETED, 21)
    assert outcome.curve[0].stage == "finetune"
    assert (outcome.cost.pretrain_s, outcome.cost.finetune_s > 0) == (0.0, True)


def test_large_texts_are_kept_of_a_stage_s_last_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.history.KEPT_TEXT_BYTES", 10)
    go(tmp_path)
    kept = sorted(path.name for path in (tmp_path / "artifacts").iterdir())
    assert kept == ["step000014.guesses.txt", "step000035.guesses.txt"]
