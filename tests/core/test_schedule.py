"""The schedule against its closed forms, and where warmup is nothing or everything."""

import math
from collections.abc import Callable
from typing import get_args

import pytest

from core.schedule import DECAYS, WARMUPS, factor
from core.settings import SchedulerType, WarmupShape


def curve(decay: str, *, steps: int, warmup: int, shape: str = "linear") -> list[float]:
    return [
        factor(step, steps=steps, warmup=warmup, decay=decay, shape=shape) for step in range(steps)
    ]


@pytest.mark.parametrize(
    ("decay", "steps", "warmup", "expected"),
    [
        ("linear", 5, 2, [1 / 2, 1, 1, 2 / 3, 1 / 3]),
        ("linear", 3, 0, [1, 2 / 3, 1 / 3]),
        ("cosine", 5, 2, [1 / 2, 1, 1, 3 / 4, 1 / 4]),
        ("cosine", 3, 0, [1, 3 / 4, 1 / 4]),
        ("inverse_sqrt", 5, 2, [1 / 2, 1, math.sqrt(2 / 3), math.sqrt(2 / 4), math.sqrt(2 / 5)]),
        ("inverse_sqrt", 3, 0, [1, math.sqrt(1 / 2), math.sqrt(1 / 3)]),
        ("constant", 5, 2, [1 / 2, 1, 1, 1, 1]),
        ("constant", 3, 0, [1, 1, 1]),
    ],
)
def test_closed_forms(decay: str, steps: int, warmup: int, expected: list[float]) -> None:
    # One rounding each.
    assert curve(decay, steps=steps, warmup=warmup) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("decay", DECAYS)
def test_warmup_may_be_the_whole_budget_or_more(decay: str) -> None:
    assert curve(decay, steps=5, warmup=5) == [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]
    assert curve(decay, steps=3, warmup=7) == [1 / 7, 2 / 7, 3 / 7]


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 2, 19, 96, 97])
def test_rises_to_its_peak_then_never_rises_again(decay: str, shape: str, warmup: int) -> None:
    factors = curve(decay, steps=97, warmup=warmup, shape=shape)
    peak = max(warmup - 1, 0)
    assert factors[peak] == 1
    assert all(0 < share <= 1 for share in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize(
    ("shape", "rises"),
    [
        ("linear", lambda k: k / 7),
        ("exponential", lambda k: 1 - math.exp(-k / 7)),
        ("cosine", lambda k: (1 - math.cos(math.pi * k / 7)) / 2),
    ],
)
@pytest.mark.parametrize("decay", DECAYS)
def test_warmups_have_their_closed_forms(
    decay: str, shape: str, rises: Callable[[int], float]
) -> None:
    found = curve(decay, steps=23, warmup=7, shape=shape)
    # 1 - exp(-x) and expm1 differ in the last bits of a small x.
    assert found[:7] == pytest.approx([rises(k) for k in range(1, 8)], rel=1e-14)


@pytest.mark.parametrize("decay", DECAYS)
def test_an_exponential_warmup_never_ends(decay: str) -> None:
    plain = curve(decay, steps=97, warmup=11)
    found = curve(decay, steps=97, warmup=11, shape="exponential")
    risen = [1 - math.exp(-k / 11) for k in range(12, 98)]
    assert found[11:] == pytest.approx(
        [share * rise for share, rise in zip(plain[11:], risen, strict=True)], rel=1e-14
    )
    assert found[10] == pytest.approx(0.632, abs=5e-4)
    assert max(found) < 1
    peak = found.index(max(found))
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)


@pytest.mark.parametrize("shape", WARMUPS)
@pytest.mark.parametrize("decay", DECAYS)
def test_without_warmup_its_shape_is_nothing(decay: str, shape: str) -> None:
    assert curve(decay, steps=13, warmup=0, shape=shape) == curve(decay, steps=13, warmup=0)


def test_noam_is_the_equation_over_its_own_peak() -> None:
    d_model, warmup = 512, 40
    rates = [d_model**-0.5 * min(k**-0.5, k * warmup**-1.5) for k in range(1, 201)]
    peak = (d_model * warmup) ** -0.5
    assert max(rates) == pytest.approx(peak, rel=1e-15)
    found = curve("noam", steps=200, warmup=warmup)
    assert found == pytest.approx([rate / peak for rate in rates], rel=1e-14)


def test_every_name_that_a_recipe_takes_has_a_shape() -> None:
    assert set(get_args(SchedulerType)) <= DECAYS.keys()
    assert set(get_args(WarmupShape)) == WARMUPS.keys()


def test_refuses_an_update_outside_the_stage() -> None:
    for step in (-1, 5):
        with pytest.raises(ValueError, match=f"update {step} is outside a stage of 5"):
            factor(step, steps=5, warmup=2, decay="linear")
