"""The schedule against its closed forms, and where warmup is nothing or everything."""

import math

import pytest

from core.schedule import factor

SHAPES = ["linear", "cosine", "inverse_sqrt", "constant"]


def curve(decay: str, *, steps: int, warmup: int) -> list[float]:
    return [factor(step, steps=steps, warmup=warmup, decay=decay) for step in range(steps)]


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


@pytest.mark.parametrize("decay", SHAPES)
def test_warmup_may_be_the_whole_budget_or_more(decay: str) -> None:
    assert curve(decay, steps=5, warmup=5) == [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]
    assert curve(decay, steps=3, warmup=7) == [1 / 7, 2 / 7, 3 / 7]


@pytest.mark.parametrize("decay", SHAPES)
@pytest.mark.parametrize("warmup", [0, 1, 2, 19, 96, 97])
def test_rises_to_its_peak_then_never_rises_again(decay: str, warmup: int) -> None:
    factors = curve(decay, steps=97, warmup=warmup)
    peak = max(warmup - 1, 0)
    assert factors[peak] == 1
    assert all(0 < share <= 1 for share in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_refuses_an_update_outside_the_stage() -> None:
    for step in (-1, 5):
        with pytest.raises(ValueError, match=f"update {step} is outside a stage of 5"):
            factor(step, steps=5, warmup=2, decay="linear")
