"""Verdicts by table: what diverged, what collapsed, what spiked, and what was only noise."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from core.health import describe_collapse, examine, find_bad_step
from core.settings import Recipe
from core.task import Evaluation, Health, Metric, Stage
from core.telemetry import Rows, Telemetry

STAGES = (
    Stage("first", 0, 60, Recipe(), seed=1, eval_every=20, grad_clip=1.0),
    Stage("second", 60, 40, Recipe(), seed=1, eval_every=20, grad_clip=1.0),
)
BLEU = Metric("BLEU", "", "maximize", floor=0.0)
NMSE = Metric("NMSE", "dB", "minimize", floor=0.0, clear_gain=3.0)


def rows(*, loss: float = 2.0, norm: float = 0.5, scale: float = np.nan, count: int = 100) -> Rows:
    return np.tile(np.array([loss, 1e-3, norm, scale], np.float32), (count, 1))


def health(values: Rows, curve: Sequence[Evaluation] = ()) -> Health:
    telemetry = Telemetry(STAGES)
    telemetry.put(values)
    return examine(telemetry, STAGES, curve, BLEU)


def curve(*values: float) -> list[Evaluation]:
    return [Evaluation("first", 20 * at, value) for at, value in enumerate(values, 1)]


def test_a_quiet_run_is_healthy() -> None:
    values = rows()
    values[:, 2] = np.linspace(0.01, 1.0, 100)
    found = health(values, curve(5, 9, 12))
    assert found.verdict == "healthy"
    assert found.detail == ""
    # The median of 1..100 hundredths is 50.5 of them, fp32.
    assert found.grad_norm_median == pytest.approx(0.505, abs=1e-6)
    assert found.grad_norm_p95 == pytest.approx(0.9505, abs=1e-6)
    assert found.grad_norm_max == 1.0


def test_a_run_that_did_not_begin_has_no_norms() -> None:
    found = health(rows(count=0))
    assert (found.verdict, found.grad_norm_median, found.grad_norm_max) == ("healthy", None, None)


@pytest.mark.parametrize(
    ("alarms", "verdict"), [(0, "healthy"), (2, "healthy"), (3, "unstable"), (7, "unstable")]
)
def test_steps_above_the_alarm(alarms: int, verdict: str) -> None:
    values = rows()
    values[:alarms, 2] = 11.0
    values[alarms:, 2] = 10.0
    found = health(values)
    assert (found.verdict, found.steps_above_alarm) == (verdict, alarms)
    if alarms:
        expected = f"gradient norm above 10 in {alarms} of 100 steps, the largest 11 at step 1"
        assert found.detail == expected


@pytest.mark.parametrize(
    ("at", "count"),
    [
        ([30], 1),
        ([30, 31, 32], 1),  # one that lasts
        ([30, 40, 50], 3),
        ([20], 0),  # too little past
        ([70], 0),  # the same in the second stage
        ([90], 1),
    ],
)
def test_loss_spikes_are_counted_where_they_begin(at: list[int], count: int) -> None:
    values = rows()
    values[:, 0] += 0.05 * np.cos(np.arange(100))
    values[at, 0] = 3.5
    found = health(values)
    assert found.loss_spikes == count
    assert found.verdict == ("unstable" if count >= 3 else "healthy")
    if count:
        assert f"loss spikes: {count}, the first at step {at[0] + 1}" in found.detail


def test_noise_is_no_spike() -> None:
    values = rows()
    values[:, 0] = np.random.default_rng(1).normal(1.0, 0.6, 100)
    assert health(values).loss_spikes == 0


@pytest.mark.parametrize(
    ("loss", "norm", "scale", "is_bad"),
    [
        (2.0, 0.5, np.nan, False),
        (np.nan, 0.5, np.nan, True),
        (np.inf, 0.5, np.nan, True),
        (2.0, np.nan, np.nan, True),
        (2.0, np.inf, np.nan, True),
        (2.0, np.inf, 2.0, False),  # AMP tries again with a smaller scale
        (2.0, np.nan, 65536.0, False),
        (2.0, np.inf, 1.0, True),  # and has none left
        (np.nan, np.nan, 65536.0, True),
    ],
)
def test_what_no_training_comes_back_from(
    loss: float, norm: float, scale: float, is_bad: bool
) -> None:
    values = rows()
    values[37:39] = [loss, 1e-3, norm, scale]
    bad = find_bad_step(values)
    assert (bad is not None) == is_bad
    assert find_bad_step(values, first=39) is None
    if bad is not None:
        assert bad.step == 38
        expected = f"loss {loss:.4g} and gradient norm {norm:.4g} at step 38, "
        assert bad.words == expected + "at learning rate 0.001"
        found = health(values[:38])
        assert (found.verdict, found.nonfinite_steps, found.detail) == ("diverged", 1, bad.words)
        assert found.grad_norm_max == 0.5


def test_amp_scale_drops_are_counted_within_stages() -> None:
    values = rows(scale=1024.0)
    values[10:, 3] = 512.0
    values[50:, 3] = 256.0
    values[60:, 3] = 64.0  # the second stage's own beginning
    values[80:, 3] = 128.0
    assert health(values).amp_scale_drops == 2


@pytest.mark.parametrize(
    ("metric", "values", "is_collapsed"),
    [
        (BLEU, [], False),
        (BLEU, [0.0], False),
        (BLEU, [4.9, 0.0], False),  # never clearly learned
        (BLEU, [5.0, 0.9], True),
        (BLEU, [30.0, 6.0], False),
        (BLEU, [30.0, 5.9], True),
        (BLEU, [30.0, 5.9, 18.0], False),  # what counts is where it is now
        (BLEU, [34.0, 22.3], False),  # fine-tuned at too high a rate
        (NMSE, [-20.0, -4.0], False),
        (NMSE, [-20.0, -3.9], True),
        (NMSE, [-20.0, 1.0], True),
        (NMSE, [-2.9, 0.0], False),
        (NMSE, [-3.0, -20.0], False),
        (Metric("WER", "%", "minimize", floor=100.0), [60.0, 93.0], True),
        (Metric("WER", "%", "minimize", floor=100.0), [60.0, 91.0], False),
    ],
)
def test_collapse(metric: Metric, values: list[float], is_collapsed: bool) -> None:
    assert (describe_collapse(curve(*values), metric) is not None) == is_collapsed


def test_a_collapse_is_told_with_its_numbers() -> None:
    found = health(rows(), curve(7.25, 31.5, 0.125))
    assert found.verdict == "collapsed"
    assert found.detail == "BLEU fell to 0.125 at step 60 after 31.5 at step 40"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_metric_at_its_floor_from_the_start_has_not_collapsed(
    direction: Literal["maximize", "minimize"],
) -> None:
    metric = Metric("score", "", direction, floor=1.0)
    assert describe_collapse(curve(1.0, 1.0, 1.0), metric) is None
